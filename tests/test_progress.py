"""Lines for people while a run goes on."""

from __future__ import annotations

import io

import pytest

from mriprep.progress import Progress

NAMES = {'a_wf': 'sub-a', 'b_wf': 'sub-b ses-1'}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def progress(clock, stream):
    def session_of(node):
        return next((NAMES[word] for word in node.split('.') if word in NAMES), None)

    with Progress(total_sessions=2, session_of=session_of, stream=stream, clock=clock) as made:
        yield made


def test_one_plain_line_a_session_with_its_seconds(progress, clock, stream):
    progress('top.a_wf.conform', 'start')
    clock.now = 3
    progress('top.b_wf.conform', 'start')
    progress('top.a_wf.conform', 'end')
    progress('top.a_wf.n4', 'start')
    clock.now = 10.4
    progress('top.a_wf.stamp', 'end')
    assert stream.getvalue() == '[1/2] sub-a done (10 s)\n'
    progress('top.all_wf.b_wf.b_wf__stamp', 'end')
    assert stream.getvalue().splitlines()[1] == '[2/2] sub-b ses-1 done (7 s)'


def test_a_session_fails_once(progress, clock, stream):
    progress('top.a_wf.core.extract', 'start')
    clock.now = 2
    progress('top.a_wf.core.extract', 'exception')
    progress('top.a_wf.core.register', 'exception')
    assert stream.getvalue() == '[1/2] sub-a failed at extract (2 s)\n'


def test_a_stamp_that_fails_is_not_done(progress, stream):
    """Nipype reports ``end`` after ``exception`` for a node that runs in the main process."""
    progress('top.a_wf.stamp', 'exception')
    progress('top.a_wf.stamp', 'end')
    assert stream.getvalue() == '[1/2] sub-a failed at stamp (0 s)\n'


def test_a_session_that_was_found_done_takes_no_time(progress, clock, stream):
    clock.now = 50
    progress('top.a_wf.stamp', 'end')
    assert stream.getvalue() == '[1/2] sub-a done (0 s)\n'


def test_lines_go_to_the_stderr_of_the_moment(monkeypatch, clock, stream):
    monkeypatch.setattr('sys.stderr', stream)
    Progress(total_sessions=1, session_of=lambda node: 'sub-a', clock=clock)('a.stamp', 'end')
    assert stream.getvalue() == '[1/1] sub-a done (0 s)\n'


def test_nodes_of_no_session_are_silent(progress, stream):
    for status in ('start', 'exception', 'end'):
        progress('top.other.stamp', status)
    assert stream.getvalue() == ''


def test_on_a_terminal_the_line_is_live(clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv('TERM', 'xterm')
    stream = Terminal()
    with Progress(
        total_sessions=1, session_of=lambda node: 'sub-a', stream=stream, clock=clock
    ) as progress:
        progress('top.a_wf.conform', 'start')
        progress('top.a_wf.conform', 'exception')
    text = stream.getvalue()
    assert '1/1 sessions' in text
    assert 'sub-a failed at conform' in text
