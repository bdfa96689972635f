"""Run the main job in tests: quick settings, here or in a process of its own."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from mriprep.cli import main
from mriprep.phantom import write_bids
from mriprep.tools import ANTS_NEEDED, BIN

QUICK_TOML = """\
output_spaces = ["T1w"]

[bias]
iterations = [4]
"""


def quick(folder: Path) -> list[str]:
    """Options of a run without registration that stays in one process."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, plugin = folder / 'quick.toml', folder / 'linear.yml'
    settings.write_text(QUICK_TOML)
    plugin.write_text('plugin: Linear\n')
    return ['--config-file', str(settings), '--use-plugin', str(plugin), *ONE, '--offline']


ONE = ('--nprocs', '1', '--omp-nthreads', '1')


def stand_ins(folder: Path, n4: str) -> dict[str, str]:
    """ANTs programs to put first on ``PATH`` (``--ants system``): a shell line comes before N4."""
    folder.mkdir()
    for name in ANTS_NEEDED:
        before = n4 if name == 'N4BiasFieldCorrection' else ''
        program = folder / name
        program.write_text(
            f'#!/bin/sh\n{before}\nMRIPREP_PYTHON={sys.executable} exec {BIN / name} "$@"\n'
        )
        program.chmod(0o755)
    return {'PATH': f'{folder}{os.pathsep}{os.environ["PATH"]}'}


@contextlib.contextmanager
def warnings_of_others_ignored() -> Iterator[None]:
    """Only warnings that mriprep's own modules give are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.filterwarnings('error', module='mriprep')
        yield


def run(bids: Path, out: Path, *words: str | Path) -> int:
    """Run the participant level in this process."""
    with warnings_of_others_ignored():
        return main([str(bids), str(out), 'participant', *map(str, words)])


def command(bids: Path, out: Path, *words: str | Path) -> list[str]:
    """Words that start the participant level in another process."""
    start = [sys.executable, '-m', 'mriprep', str(bids), str(out), 'participant']
    return [*start, *map(str, words)]


def start(bids: Path, out: Path, *words: str | Path, **options) -> subprocess.Popen:
    """Start the participant level in another process."""
    return subprocess.Popen(
        command(bids, out, *words), stderr=subprocess.PIPE, text=True, **options
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def derivatives(out: Path, subject: str = '*') -> dict[str, bytes]:
    """Content of images, transforms and sidecars of subjects, by relative path."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.glob(f'sub-{subject}/**/anat/*'))
    }


def newest_log(out: Path, name: str) -> Path:
    """A file of the last run's logs."""
    return max(out.glob(f'logs/*/{name}'), key=lambda path: path.stat().st_mtime_ns)


def _rows(out: Path, name: str) -> list[dict[str, str]]:
    with newest_log(out, name).open(newline='', encoding='utf-8') as stream:
        return list(csv.DictReader(stream, delimiter='\t'))


def failures(out: Path) -> list[dict[str, str]]:
    """Rows of the last run's ``failures.tsv``."""
    return _rows(out, 'failures.tsv')


def masks(out: Path) -> list[dict[str, str]]:
    """Rows of the last run's ``masks.tsv``."""
    return _rows(out, 'masks.tsv')


def nodes(out: Path) -> list[str]:
    """Names of the nodes that the last run ran, from its ``timings.tsv``."""
    return [row['node'] for row in _rows(out, 'timings.tsv')]


def finished(out: Path) -> dict[str, list[str]]:
    """Files of each finished session, by the name of its stamp."""
    return {
        path.stem: list(json.loads(path.read_text())['Files'])
        for path in sorted(out.glob('logs/finished/*.json'))
    }


def half_written(folder: Path) -> list[str]:
    """Names that a whole file never has."""
    return [path.name for path in folder.rglob('*.part')]


def validate(folder: Path) -> list[dict]:
    """Errors that the BIDS validator finds."""
    program = Path(sys.executable).with_name('bids-validator-deno')
    answer = subprocess.run(
        [program, '--format', 'json', '--ignoreWarnings', folder],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {'NO_COLOR': '1'},
    )
    report = json.loads(answer.stdout)
    return [
        {key: issue.get(key) for key in ('code', 'subCode', 'location', 'issueMessage')}
        for issue in report['issues']['issues']
        if issue['severity'] == 'error'
    ]


def whole_run(tmp_path_factory, phantoms) -> SimpleNamespace:
    """Run phantoms to two grids of the embedded template and their own, once in a test session."""
    if 'whole' not in _KEPT:
        root = tmp_path_factory.mktemp('whole')
        bids, out, work = root / 'bids', root / 'out', root / 'work'
        write_bids(bids, phantoms)
        spaces = ['T1w', 'MNI152NLin2009aSym:res-2', 'MNI152NLin2009aSym:res-native']
        config, linear = quick(root / 'settings')[:2], quick(root / 'settings')[2:4]
        options = [*config, '--output-spaces', *spaces, '--random-seed', '7']
        options += ['--omp-nthreads', '1', '--offline']
        process = start(bids, out, '-w', work, '--nprocs', '2', *options)
        _, errors = process.communicate()
        _KEPT['whole'] = SimpleNamespace(
            bids=bids,
            out=out,
            work=work,
            options=options,
            linear=linear,
            code=process.returncode,
            errors=errors,
        )
    return _KEPT['whole']


_KEPT: dict[str, SimpleNamespace] = {}
