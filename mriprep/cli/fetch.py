"""``mriprep fetch``: get templates ahead of time, for machines without network."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from mriprep.cli.parser import Parser

if TYPE_CHECKING:
    from mriprep.settings import Space


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = Parser(
        prog='mriprep fetch',
        description='Get the templates of output spaces from TemplateFlow and keep them in '
        'TEMPLATEFLOW_HOME, so that later runs need no network. The embedded template and the '
        'weights of the brain extraction come with mriprep and need not be fetched.',
    )
    parser.add_argument(
        '--spaces',
        '--output-spaces',
        nargs='+',
        required=True,
        metavar='SPACE',
        help='NAME[:cohort-N][:res-N|:res-native], for example MNI152NLin2009cAsym:res-1',
    )
    return parser


def main(argv: list[str]) -> int:
    """Fetch the templates; return 0, or 2 if any of them could not be had."""
    from mriprep.settings import EMBEDDED_SPACE, SettingsError, Space

    options = make_parser().parse_args(argv)
    try:
        spaces = [Space.from_string(word) for word in options.spaces]
    except SettingsError as error:
        print(f'mriprep fetch: {error}', file=sys.stderr)
        return 2
    code = 0
    for space in spaces:
        if space.is_native or space.name == EMBEDDED_SPACE.name:
            print(f'{space}: nothing to fetch')
        elif message := fetch(space):
            print(f'mriprep fetch: {message}', file=sys.stderr)
            code = 2
    return code


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
