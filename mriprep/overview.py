"""Plans for people: the table of ``--dry-run`` and the report of each subject."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mriprep.issues import Issue, Severity
from mriprep.metrics import read_metrics
from mriprep.naming import Output, sidecar_path
from mriprep.outcome import Failure
from mriprep.plan import SessionPlan, SubjectPlan
from mriprep.steps import Step
from mriprep.tables import VERDICTS


def print_plan(
    plans: Iterable[SubjectPlan],
    *,
    finished: Collection[str] = (),
    issues: Iterable[Issue] = (),
) -> None:
    """Print what would be done: images, steps, spaces, outputs, issues, rough price.

    Parameters
    ----------
    plans
        From `mriprep.plan.plan_run`.
    finished
        Names of sessions that are done already.
    issues
        What is wrong with the data set as a whole.
    """
    from rich.console import Console
    from rich.table import Table

    plans = tuple(plans)
    console = Console()
    table = Table('session', 'image', 'voxels (mm)', 'spaces', 'files', 'time', 'memory', 'disk')
    sessions = [session for plan in plans for session in plan.sessions]
    for session in sessions:
        price = session.estimate
        time = 'done' if session.name in finished else f'{price.seconds:.0f} s'
        table.add_row(
            session.name,
            session.reference.relative,
            ' x '.join(f'{size:.2f}' for size in session.reference.zooms_mm),
            ', '.join(_spaces(session)),
            str(len(session.derivatives)),
            time,
            f'{price.memory_gb:.1f} GB',
            f'{price.disk_mb:.0f} MB',
        )
    console.print(table)
    if sessions:
        _print_steps(console, sessions[0].steps)
        _print_outputs(console, sessions[0])
    told = [*issues, *(issue for plan in plans for issue in plan.all_issues)]
    for issue in told:
        console.print(
            f'{issue.severity.value}: {issue}', markup=False, highlight=False, soft_wrap=True
        )
    todo = [session for session in sessions if session.name not in finished]
    seconds = sum(session.estimate.seconds for session in todo)
    disk = sum(session.estimate.disk_mb for session in todo)
    refused = len({
        (issue.subject, issue.session)
        for plan in plans
        for issue in plan.issues
        if issue.severity is Severity.ERROR
    })  # fmt: skip
    console.print(
        f'{len(sessions)} sessions, {len(todo)} to do, {refused} refused; '
        f'about {duration(seconds)} on two processors, {disk / 1000:.1f} GB'
    )


def duration(seconds: float) -> str:
    """Word a rough time.

    >>> duration(40), duration(1500), duration(30000)
    ('1 min', '25 min', '8.3 h')
    """
    minutes = max(1, round(seconds / 60)) if seconds else 0
    return f'{minutes} min' if minutes < 120 else f'{seconds / 3600:.1f} h'


def _print_steps(console: object, steps: Sequence[Step]) -> None:
    from rich.table import Table

    table = Table('step', 'by', 'parameters', title='steps of each session')
    for step in steps:
        parameters = ', '.join(f'{key} {value}' for key, value in step.parameters.items())
        name = f'{step.name} to {step.space}' if step.space else str(step.name)
        table.add_row(name, f'{step.tool} {step.version}', parameters)
    console.print(table)  # type: ignore[attr-defined]


def _print_outputs(console: object, session: SessionPlan) -> None:
    console.print(f'files of {session.name}:')  # type: ignore[attr-defined]
    for derivative in session.derivatives:
        console.print(  # type: ignore[attr-defined]
            f'  {derivative.path}', markup=False, highlight=False, soft_wrap=True
        )


def _spaces(session: SessionPlan) -> list[str]:
    spaces = [
        str(grid.space) for registration in session.registrations for grid in registration.grids
    ]
    # the native grid is always written; being asked for, it is z-scored too
    return [*spaces, 'T1w'] if session.derivative(Output.ZSCORE) or not spaces else spaces


def write_report(
    out_dir: Path,
    plan: SubjectPlan,
    *,
    run_id: str,
    failures: Sequence[Failure],
    steps: Sequence[Step],
    versions: Mapping[str, str],
    command: str,
    times: Mapping[str, float],
) -> Path:
    """Put the HTML page of one subject together from what was planned, made and missed."""
    import time

    from mriprep.prose import methods_bibliography, methods_text
    from mriprep.report import SessionRecord, write_subject_report

    measured = [(session, read_metrics(out_dir, session)) for session in plan.sessions]
    sessions = [
        SessionRecord(
            session=session.session,
            summary=session_summary(session) | mask_summary(metrics),
            steps=session.steps,
            spaces=[registration.label for registration in session.registrations],
        )
        for session, metrics in measured
    ]
    issues = [issue for session in plan.sessions for issue in session.issues]
    issues += [issue for session in plan.sessions for issue in header_warnings(out_dir, session)]
    issues += [issue for each in measured for issue in mask_doubts(*each)]
    errors: list[Issue | str] = [
        *(_as_issue(failure) for failure in failures),
        *issues,
    ]
    return write_subject_report(
        out_dir,
        plan.subject,
        run_id,
        summary={'subject': f'sub-{plan.subject}', 'sessions': max(1, len(sessions))},
        methods=methods_text(steps, versions),
        bibtex=methods_bibliography(steps, versions),
        errors=errors,
        versions=versions,
        command=command,
        times=times,
        sessions=sessions,
        date=time.strftime('%Y-%m-%d %H:%M'),
    )


def header_warnings(out_dir: Path, session: SessionPlan) -> Iterator[Issue]:
    """Read from the saved sidecar what the header audit warned of; nothing if it is not there."""
    preproc = session.derivative(Output.PREPROC)
    if preproc is None:
        return
    try:
        record = json.loads((out_dir / sidecar_path(preproc.path)).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return
    warnings = record.get('HeaderWarnings') if isinstance(record, dict) else None
    for words in warnings or ():
        yield Issue(
            severity=Severity.WARNING,
            where=session.reference.relative,
            problem=words,
            remedy='',
            subject=session.subject,
            session=session.session,
        )


def mask_doubts(session: SessionPlan, metrics: Mapping[str, object]) -> Iterator[Issue]:
    """Tell that the guard doubts a mask; a refused one is a failure and told as such."""
    if metrics.get('mask_status') == 'doubtful':
        reasons = metrics.get('mask_reasons')
        told = ' '.join(map(str, reasons)) if isinstance(reasons, list) else ''
        yield Issue(
            severity=Severity.WARNING,
            where=session.reference.relative,
            problem=f'the brain mask is doubtful: {told}',
            remedy='look at its picture',
            subject=session.subject,
            session=session.session,
        )


def mask_summary(metrics: Mapping[str, object]) -> dict[str, object]:
    """Say what found the brain and whether the mask is believed."""
    if not metrics:
        return {}
    status = VERDICTS.get(str(metrics.get('mask_status')), '')
    volume = metrics.get('mask_volume_ml')
    return {
        'brain mask': f'{status} ({metrics.get("mask_extractor")}, {volume:.0f} ml)'
        if isinstance(volume, float)
        else status
    }


def session_summary(session: SessionPlan) -> dict[str, object]:
    """Say what was used and what was not."""
    reference = session.reference
    out: dict[str, object] = {
        'T1w image': reference.relative,
        'shape': reference.shape,
        'zooms_mm': reference.zooms_mm,
        'output spaces': _spaces(session),
    }
    if session.passed_over:
        out['T1w images left out'] = [image.relative for image in session.passed_over]
    return out


def _as_issue(failure: Failure) -> Issue:
    return Issue(
        severity=Severity.ERROR,
        where=f'{failure.where}, {failure.step}',
        problem=failure.cause,
        remedy=failure.next_step,
        subject=failure.subject,
        session=failure.session,
    )
