"""What Nipype's crash files say: which node failed, and why, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FEWER = 'run fewer steps at a time with a smaller --nprocs'
WORKER_DIED = f'the worker process was killed, most often for lack of memory; {_FEWER}'
PROGRAM_DIED = f'the program was killed, most often for lack of memory; {_FEWER}'


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailure:
    """One node that failed."""

    node: str  # full name, from the top workflow down
    cause: str  # one line
    crash_file: Path


# errors whose words are for people
_WORDED = ('ImageError', 'BrainError', 'ExtractorError', 'SettingsError', 'WeightsError')
_KILLED = re.compile(r'subprocess exited with code (?:-9|137)\.')
_SIGNALS = ('Segmentation fault', 'Aborted', 'Killed')  # what a shell says of a dead program
_NODE = re.compile(r'^Node: (?P<name>\S+)$', re.MULTILINE)
_RAISED = re.compile(
    r'^(?P<kind>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit))(?:: ?(?P<words>.*))?$'
)


def read_crash(path: Path) -> NodeFailure:
    """Read the node and the cause, in one line, out of Nipype's text crash file."""
    text = path.read_text(encoding='utf-8', errors='replace')
    found = _NODE.search(text)
    return NodeFailure(
        node=found['name'] if found else path.stem, cause=cause_of(text), crash_file=path
    )


def cause_of(text: str) -> str:
    """Find the one line in a crash that says what went wrong.

    A failed program: the last line it wrote to stderr or stdout. A Python error: the words of the
    last exception, which is ours where a library's was raised before it.

    Examples
    --------
    >>> cause_of('Traceback (most recent call last):\\n  File "x"\\nValueError: a.nii: too small\\n')
    'a.nii: too small'
    """
    if 'No space left on device' in text or 'Disk quota exceeded' in text:
        return 'no space left on the disk; make room and give the same command again'
    if _KILLED.search(text):
        return PROGRAM_DIED
    lines = text.splitlines()
    program = list(_program_words(lines))
    raised = [match for line in lines if (match := _RAISED.match(line.strip()))]
    real = [match for match in raised if 'NodeExecutionError' not in match['kind']]
    if program:
        informative = [line for line in program if line not in _SIGNALS]
        return (informative or program)[-1]
    if real:
        match = real[-1]
        kind = match['kind'].rpartition('.')[2]
        told = kind.endswith(_WORDED) or kind in (
            'ValueError',
            'RuntimeError',
        )
        if words := match['words']:
            return words if told else f'{kind}: {words}'
        return kind
    return 'an unexpected error; see the crash file'


def _program_words(lines: list[str]) -> Iterator[str]:
    """Yield what a failed command wrote, from Nipype's summary of it, and its return code."""
    section = ''
    for line in lines:
        text = line.strip()
        if text in ('Cmdline:', 'Stdout:', 'Stderr:', 'Traceback:'):
            section = text
        elif section in ('Stdout:', 'Stderr:') and text:
            yield text
