"""``mriprep demo``: heads with known truth through the main job, and a table against the truth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mriprep.cli.parser import Parser


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = Parser(
        prog='mriprep demo',
        description='Build a small BIDS data set of two heads whose brain mask, bias field, pose '
        'and left side are known, run the main job on it, and print how near it comes to the '
        'truth. No network is needed. Other options go to the main job, for example --nprocs 2.',
    )
    parser.add_argument('out_dir', type=Path, metavar='OUT', help='folder for everything')
    return parser


def main(argv: list[str]) -> int:
    """Run the demo; 0: all passed, 1: something failed, 2: nothing was started."""
    try:
        options, others = make_parser().parse_known_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    from mriprep.cli import participant
    from mriprep.demo import run_demo
    from mriprep.templates import TemplateError

    try:
        return run_demo(options.out_dir, participant.main, others)
    except TemplateError as error:
        print(f'mriprep demo: {error}', file=sys.stderr)
    except OSError as error:
        print(
            f'mriprep demo: {error.filename or options.out_dir} cannot be written '
            f'({error.strerror or error}); choose another folder',
            file=sys.stderr,
        )
    return 2
