"""What failed and what took how long, as tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mriprep.files import write_text
from mriprep.issues import Issue, Severity
from mriprep.plan import SessionPlan, SubjectPlan, session_name

if TYPE_CHECKING:
    from mriprep.crashes import NodeFailure

_NEXT_STEP = {
    'conform': 'look at the image and its header, repair or exclude it, and run again',
    'believe': 'look at the picture of the mask in the report',
    'extract': 'look at the image: is it a head, whole and the right way up?',
    'head': 'look at the registration in the report',
    'register': 'look at the brain mask in the report',
    'coregister': 'look at both images: do they show one head?',
    'choose': 'look at the picture of the co-registration in the report',
    'average': 'look at the brain masks of all sessions in the report',
}
# between the names of a session and of its part, where both are one word of a node's name
PREFIX_END = '__'
_OTHERWISE = 'run the same command again; it goes on from here. The log and crash file tell more'


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One session or contrast that was not finished, or could not be started."""

    subject: str
    session: str | None
    step: str
    where: str  # image, relative to the data set
    cause: str
    next_step: str

    @property
    def line(self) -> str:
        """All of it for people."""
        name = session_name(self.subject, self.session)
        return f'{name}, {self.step}: {self.cause}; {self.next_step}'


def planned_failures(
    plans: Iterable[SubjectPlan], dataset_issues: Iterable[Issue] = ()
) -> Iterator[Failure]:
    """Tell the sessions and contrasts that could not be planned, one line each."""
    for issue in dataset_issues:
        if issue.severity is Severity.ERROR and issue.subject is not None:
            yield _failure_of_issue(issue, issue.subject)
    for plan in plans:
        told = set()
        for issue in plan.issues:
            if issue.severity is Severity.ERROR and issue.session not in told:
                told.add(issue.session)
                yield _failure_of_issue(issue, plan.subject)
        for session in plan.sessions:
            for issue in session.lost:
                yield _failure_of_issue(issue, plan.subject)


def _failure_of_issue(issue: Issue, subject: str) -> Failure:
    return Failure(
        subject=subject,
        session=issue.session,
        step='read',
        where=issue.where,
        cause=issue.problem,
        next_step=issue.remedy,
    )


def failure_of(failed: NodeFailure, sessions: Mapping[str, SessionPlan]) -> Failure:
    """Tell which session a failed node belongs to, and what to do.

    Parameters
    ----------
    failed
        From `mriprep.engine.execute`.
    sessions
        Session by the name of its workflow.
    """
    words = failed.node.split('.')
    session = next(
        (sessions[name] for word in reversed(words) if (name := session_word(word)) in sessions),
        None,
    )
    if session is None:
        raise KeyError(f'{failed.node} belongs to no session')
    step = words[-1].rpartition(PREFIX_END)[2]
    image = next((item for item in session.others if f'{item.label}_wf' in words), session.main)
    cause, _, remedy = failed.cause.partition('; ')
    return Failure(
        subject=session.subject,
        session=session.session,
        step=step,
        where=image.image.relative,
        cause=cause,
        next_step=remedy or _NEXT_STEP.get(step, _OTHERWISE),
    )


def session_word(word: str) -> str:
    """Take the name of a session's workflow out of one word of a node's full name.

    >>> session_word('sub_01_ses_a_wf__images_wf'), session_word('sub_01_wf')
    ('sub_01_ses_a_wf', 'sub_01_wf')
    """
    return word.partition(PREFIX_END)[0]


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Write ``failures.tsv``; with its head alone when nothing failed."""
    rows = [
        {
            'participant_id': f'sub-{failure.subject}',
            'session_id': 'n/a' if failure.session is None else f'ses-{failure.session}',
            'step': failure.step,
            'image': failure.where,
            'cause': failure.cause,
            'next_step': failure.next_step,
        }
        for failure in failures
    ]
    columns = ('participant_id', 'session_id', 'step', 'image', 'cause', 'next_step')
    write_table(path, columns, rows)


def write_timings(path: Path, seconds: Mapping[str, float]) -> None:
    """Write ``timings.tsv``: seconds of each node, by its full name."""
    rows = [{'node': node, 'seconds': f'{value:.2f}'} for node, value in seconds.items()]
    write_table(path, ('node', 'seconds'), rows)


def subject_times(
    path: Path, session_of: Callable[[str], str | None]
) -> dict[str, dict[str, float]]:
    """Read ``timings.tsv`` back: seconds of each step, by ``sub-X``; {} without a file.

    Parameters
    ----------
    path
        The table.
    session_of
        Gives the name of the session (``sub-X ses-Y``) that a node belongs to.
    """
    times: dict[str, dict[str, float]] = {}
    if not path.exists():
        return times
    with path.open(encoding='utf-8', newline='') as stream:
        for row in csv.DictReader(stream, delimiter='\t'):
            session = session_of(row['node'])
            if session is not None:
                steps = times.setdefault(session.split(' ')[0], {})
                step = row['node'].rpartition('.')[2]
                steps[step] = steps.get(step, 0.0) + float(row['seconds'])
    return times


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table as BIDS wants it: tabs, one line a row, whole or not at all."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, delimiter='\t', lineterminator='\n')
    writer.writeheader()
    # tables of BIDS have no quotes: neither tabs nor line breaks inside a value
    writer.writerows(
        {key: ' '.join(str(value).split()) for key, value in row.items()} for row in rows
    )
    write_text(stream.getvalue(), path)
