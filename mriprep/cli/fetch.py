"""``mriprep fetch``: get templates and weights ahead of time, for machines without network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mriprep.cli.parser import Parser

if TYPE_CHECKING:
    from mriprep.download import Progress
    from mriprep.settings import Space
    from mriprep.weights import Weights


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = Parser(
        prog='mriprep fetch',
        description='Get the weights of brain extractors, and the templates of output spaces from '
        'TemplateFlow, so that later runs need no network. The embedded template and the weights '
        'of deepbet come with mriprep and need not be fetched. A download that breaks off is '
        'taken up where it was.',
    )
    parser.add_argument(
        'names',
        nargs='*',
        metavar='EXTRACTOR',
        help='brain extractors whose weights are wanted, for example hd-bet',
    )
    parser.add_argument(
        '--spaces',
        '--output-spaces',
        nargs='+',
        default=[],
        metavar='SPACE',
        help='NAME[:cohort-N][:res-N|:res-native], for example MNI152NLin2009cAsym:res-1; kept in '
        'TEMPLATEFLOW_HOME',
    )
    parser.add_argument(
        '--weights-dir',
        type=Path,
        metavar='DIR',
        help='where weights are kept (default: MRIPREP_WEIGHTS_DIR, else a folder of this user)',
    )
    return parser


def main(argv: list[str]) -> int:
    """Fetch weights and templates; return 0, or 2 if any of them could not be had."""
    from mriprep.extractors.base import ExtractorError
    from mriprep.settings import EMBEDDED_SPACE, SettingsError, Space

    parser = make_parser()
    options = parser.parse_args(argv)
    if not options.names and not options.spaces:
        parser.error('nothing is asked for; name extractors, or templates with --spaces')
    try:
        wanted = [(name, weights_of(name)) for name in dict.fromkeys(options.names)]
        spaces = [Space.from_string(word) for word in options.spaces]
    except (SettingsError, ExtractorError) as error:
        return report(str(error))
    code = 0
    for name, weights in wanted:
        if weights is None:
            print(f'{name}: nothing to fetch, {reason(name)}')
        elif message := fetch_weights(weights, options.weights_dir):
            code = report(message)
    for space in spaces:
        if space.is_native or space.name == EMBEDDED_SPACE.name:
            print(f'{space}: nothing to fetch')
        elif message := fetch(space):
            code = report(message)
    return code


def report(message: str) -> int:
    """Print what went wrong; return the exit code."""
    print(f'mriprep fetch: {message}', file=sys.stderr)
    return 2


def weights_of(name: str) -> Weights | None:
    """Return the weights that an extractor downloads; None if it downloads none.

    Raises
    ------
    ExtractorError
        If there is no extractor of that name.
    """
    from mriprep.extractors.registry import get

    return getattr(get(name), 'weights', None)


def reason(name: str) -> str:
    """Say why an extractor has nothing to fetch."""
    from mriprep.extractors.registry import get

    with suppress(ImportError, OSError):
        if get(name).checksum() is None:
            return 'it has no weights'
    return 'its weights come in its wheel'


def fetch_weights(weights: Weights, folder: Path | None) -> str | None:
    """Fetch the weights of one network and print what came; return what went wrong, if any."""
    from mriprep.weights import WeightsError, checksum, read_record
    from mriprep.weights import fetch as get_weights

    try:
        with progress_bar(weights.name) as progress:
            place = get_weights(weights, folder, progress=progress)
        record = read_record(place)
        print(f'{weights.name}: in {place}')
        print(f'  licence: {weights.licence or "unknown"}')
        print(f'  SHA-256 of the weights: {checksum(weights, place)}')
        if record:
            print(f'  SHA-256 of what was downloaded on {record["date"]}: {record["sha256"]}')
    except (WeightsError, OSError) as error:
        return ' '.join(str(error).split())
    return None


@contextmanager
def progress_bar(name: str) -> Iterator[Progress | None]:
    """Show how far a download is, if a person looks at it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def fetch(space: Space) -> str | None:
    """Fetch one template and print its folder; return what went wrong, if anything did."""
    from mriprep.template_flow import TemplateFlowSource
    from mriprep.templates import TemplateError

    try:
        files = TemplateFlowSource().fetch(space)
    except (TemplateError, OSError) as error:
        return ' '.join(str(error).split())
    folder = files[0].parent
    print(f'{space}: {len(files)} files in {folder}')
    return None
