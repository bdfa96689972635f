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
    stream
        Where the lines go.
    """

    total_sessions: int
    session_of: Callable[[str], str | None]
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    clock: Callable[[], float] = time.monotonic
    _live: Any = None
    _task: Any = None
    _started: dict[str, float] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)
    _done: int = 0

    def __enter__(self) -> Self:
        """Open the live line."""
        if self.stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._live = RichProgress(
                TextColumn('{task.completed:.0f}/{task.total:.0f} sessions'),
                BarColumn(),
                TextColumn('{task.description}'),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(file=self.stream),
            )
            self._live.start()
            self._task = self._live.add_task('', total=self.total_sessions)
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
        step = node.rpartition('.')[2]
        if status == 'start':
            self._started.setdefault(session, self.clock())
            self._describe(f'{session} {step}')
        elif status == 'exception':
            if session not in self._failed:
                self._failed.add(session)
                self._finish(session, f'failed at {step}')
        elif step == 'stamp' and session not in self._failed:
            self._finish(session, 'done')

    def _finish(self, session: str, how: str) -> None:
        self._done += 1
        seconds = self.clock() - self._started.get(session, self.clock())
        if self._live is None:
            print(
                f'[{self._done}/{self.total_sessions}] {session} {how} ({seconds:.0f} s)',
                file=self.stream,
                flush=True,
            )
        else:
            self._live.advance(self._task)
            if how != 'done':
                self._live.console.print(f'{session} {how}')

    def _describe(self, words: str) -> None:
        if self._live is not None:
            self._live.update(self._task, description=words)
