"""What the person at the terminal sees while a run goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self, TextIO


@dataclass(slots=True)
class Progress:
    """Count steps and sessions; a live line on a terminal, one plain line a session elsewhere.

    Parameters
    ----------
    total_sessions
        How many sessions will be run.
    session_of
        Words for the session that a node belongs to, from the node's full name; None for a node
        of no session.
    steps_per_session
        How many nodes a session has, for the bar.
    stream
        Where the lines go.
    """

    total_sessions: int
    session_of: Callable[[str], str | None]
    steps_per_session: int = 1  # how many nodes make the bar of one session
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    clock: Callable[[], float] = time.monotonic
    _live: Any = None
    _task: Any = None
    _started: dict[str, float] = field(default_factory=dict)
    _steps: dict[str, int] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)
    _done: int = 0

    def __enter__(self) -> Self:
        """Open the live line."""
        if self.stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._live = RichProgress(
                TextColumn('{task.fields[done]}/{task.total:.0f} sessions'),
                BarColumn(),
                TextColumn('{task.description}'),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(file=self.stream),
            )
            self._live.start()
            self._task = self._live.add_task('', total=self.total_sessions, done=0)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the live line."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, node: str, status: str) -> None:
        """Take the start, end or failure of a node."""
        session = self.session_of(node)
        if session is None:
            return
        step = step_of(node)
        if status == 'start':
            self._started.setdefault(session, self.clock())
            self._describe(f'{session} {step_words(step)}')
        elif status == 'exception':
            if session not in self._failed:
                self._failed.add(session)
                self._finish(session, f'failed at {step}')
        elif session not in self._failed:
            self._advance(session)
            if step == 'stamp':
                self._finish(session, 'done')

    def _advance(self, session: str) -> None:
        self._steps[session] = min(self._steps.get(session, 0) + 1, self.steps_per_session)
        self._draw_bar()

    def _draw_bar(self) -> None:
        if self._live is not None:
            completed = sum(self._steps.values()) / self.steps_per_session
            self._live.update(self._task, completed=completed, done=self._done)

    def _finish(self, session: str, how: str) -> None:
        self._done += 1
        seconds = self.clock() - self._started.get(session, self.clock())
        if self._live is None:
            print(
                f'[{self._done}/{self.total_sessions}] {session} {how} ({seconds:.0f} s)',
                file=self.stream,
                flush=True,
            )
        elif how != 'done':
            self._live.console.print(f'{session} {how}')
        self._steps[session] = self.steps_per_session
        self._draw_bar()

    def _describe(self, words: str) -> None:
        if self._live is not None:
            self._live.update(self._task, description=words)


def step_of(node: str) -> str:
    """Take the step out of a node's full name; the session may stand before it.

    >>> step_of('top.sub_a_all_wf.sub_a_ses_1_wf__stamp'), step_of('top.sub_a_wf.stamp')
    ('stamp', 'stamp')
    """
    return node.rpartition('.')[2].rpartition('__')[2]


def step_words(node: str) -> str:
    """Word a node's name in little room.

    >>> step_words('draw_registration_figure_MNI152NLin2009aSym')
    'draw registration'
    """
    return ' '.join(node.split('_')[:2])
