"""``mriprep doctor``: what this machine has, and the command that mends what it lacks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mriprep.cli.parser import Parser

if TYPE_CHECKING:
    from mriprep.findings import Finding


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = Parser(
        prog='mriprep doctor',
        description='Look at this machine: programs, packages, weights, templates, processors, '
        'memory, disk. Uses no network. Exit code 0 if a run with default settings can start, '
        'else 1.',
    )
    parser.add_argument(
        'folders',
        nargs='*',
        type=Path,
        metavar='FOLDER',
        help='folders whose free disk is shown (default: the current and the temporary folder)',
    )
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    return parser


def main(argv: list[str]) -> int:
    """Print what was found; return 0 if a run with default settings can start, else 1."""
    from mriprep.doctor import can_run, default_folders, examine

    options = make_parser().parse_args(argv)
    findings = examine(options.folders or default_folders())
    healthy = can_run(findings)
    if options.json:
        records = [asdict(finding) for finding in findings]
        json.dump({'can_run': healthy, 'findings': records}, sys.stdout, indent=2)
        sys.stdout.write('\n')
    else:
        show(findings, healthy)
    return 0 if healthy else 1


def show(findings: Sequence[Finding], healthy: bool) -> None:
    """Print findings as a table, then each command that mends something, ready to be copied."""
    from rich.console import Console
    from rich.table import Table

    colours = {'ok': 'green', 'note': 'yellow', 'missing': 'red'}
    table = Table(box=None, pad_edge=False)
    for title in ('', 'what', 'found', 'where'):
        table.add_column(title, overflow='fold', no_wrap=title in ('', 'what'))
    for finding in condensed(findings):
        colour = colours[finding.state]
        table.add_row(
            f'[{colour}]{finding.state}[/]',
            finding.name,
            *(_plain(text) for text in (finding.value, finding.origin)),
        )
    console = Console(highlight=False)
    console.print(table)
    for finding in findings:
        if finding.remedy:
            console.print(f'\n{finding.name}: {_plain(finding.value)}', soft_wrap=True)
            console.print(f'    {_plain(finding.remedy)}', soft_wrap=True)
    words = 'mriprep can run here.' if healthy else 'mriprep can not run here yet.'
    console.print(f'\n{words}')


def condensed(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield findings for a table, the packages that are in order joined in one row."""
    from mriprep.findings import Finding, State, Topic

    findings = list(findings)
    fine = [
        finding
        for finding in findings
        if finding.topic is Topic.PACKAGE and finding.state is State.OK
    ]
    for finding in findings:
        if finding not in fine:
            yield finding
        elif finding is fine[0]:
            yield Finding(
                topic=Topic.PACKAGE,
                name='Python packages',
                state=State.OK,
                value=', '.join(f'{each.name} {each.value}' for each in fine),
                origin=finding.origin,
            )


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
