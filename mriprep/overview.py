"""Plans for people: the table of ``--dry-run`` and the report of each subject."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mriprep.issues import Issue, Severity
from mriprep.listing import Derivative
from mriprep.metrics import Measured, read_metrics
from mriprep.naming import PATTERNS, Kind, Output, sidecar_path
from mriprep.outcome import Failure
from mriprep.plan import ImagePlan, SessionPlan, SubjectPlan
from mriprep.selection import issue_of
from mriprep.steps import Step, in_order
from mriprep.tables import VERDICTS

if TYPE_CHECKING:
    from mriprep.report import SessionRecord


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

    plans = tuple(plans)
    console = Console()
    sessions = [session for plan in plans for session in plan.sessions]
    lines = [line for session in sessions for line in _session_lines(session, finished)]
    if sessions:
        lines.append(f'spaces: {", ".join(_spaces(sessions[0]))}')
    _print_lines(console, lines)
    if sessions:
        groups = {id(image.steps): image.steps for item in sessions for image in item.images}
        groups |= {id(item.shared_steps): item.shared_steps for item in sessions}
        _print_steps(console, in_order(step for steps in groups.values() for step in steps))
        fullest = max(sessions, key=lambda item: len(item.derivatives))
        _print_lines(console, _file_lines(fullest.name, fullest.derivatives))
    means = [plan.individual for plan in plans if plan.individual is not None]
    for mean in means[:1]:
        _print_lines(console, _file_lines(mean.name, mean.derivatives))
    told = [*issues, *(issue for plan in plans for issue in plan.all_issues)]
    _print_lines(console, [f'{issue.severity.value}: {issue}' for issue in told])
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

    table = Table('step', 'by', 'parameters', title='steps')
    for step in steps:
        parameters = ', '.join(f'{key} {value}' for key, value in step.parameters.items())
        name = f'{step.name} to {step.space}' if step.space else str(step.name)
        table.add_row(name, f'{step.tool} {step.version}', parameters)
    console.print(table)  # type: ignore[attr-defined]


def _print_lines(console: object, lines: Sequence[str]) -> None:
    """Print lines as they are, however long."""
    if lines:
        console.print(  # type: ignore[attr-defined]
            '\n'.join(lines), markup=False, highlight=False, soft_wrap=True
        )


def _file_lines(name: str, derivatives: Iterable[Derivative]) -> list[str]:
    return [f'files of {name}:', *(f'  {item.path}' for item in derivatives)]


def _session_lines(session: SessionPlan, finished: Collection[str]) -> Iterator[str]:
    """Name a session and its images, and tell what becomes of them."""
    price = session.estimate
    time = 'done' if session.name in finished else f'{price.seconds:.0f} s'
    yield (
        f'{session.name}: {time}, {price.memory_gb:.1f} GB of memory, '
        f'{len(session.derivatives)} files, {price.disk_mb:.0f} MB of disk'
    )
    for image in session.images:
        words = [
            image.contrast.words,
            *(['reference'] if image.is_reference else []),
            *(['stripped already'] if image.image.stripped else []),
            *(['lesion drawn'] if image.lesion is not None else []),
            ' x '.join(f'{size:.2f}' for size in image.image.zooms_mm) + ' mm',
        ]
        sources = ' + '.join(source.relative for source in image.choice.sources)
        yield f'  {sources} ({", ".join(words)})'


def _spaces(session: SessionPlan) -> list[str]:
    spaces = [
        str(grid.space) for registration in session.registrations for grid in registration.grids
    ]
    return [f'{session.main.label} (the reference)', *spaces]


def write_report(
    out_dir: Path,
    plan: SubjectPlan,
    *,
    run_id: str,
    failures: Sequence[Failure],
    steps: Sequence[Step],
    contrasts: Sequence[str],
    versions: Mapping[str, str],
    command: str,
    times: Mapping[str, float],
) -> Path:
    """Put the HTML page of one subject together from what was planned, made and missed."""
    import time

    from mriprep.prose import methods_bibliography, methods_text
    from mriprep.report import write_subject_report

    measured = read_metrics(out_dir, plan.sessions)
    sessions = [_record(session, measured) for session in plan.sessions]
    issues = [issue for session in plan.sessions for issue in session.issues]
    issues += [issue for session in plan.sessions for issue in sidecar_warnings(out_dir, session)]
    issues += [issue for each in measured for issue in doubts(each)]
    errors: list[Issue | str] = [
        *(_as_issue(failure) for failure in failures),
        *issues,
    ]
    return write_subject_report(
        out_dir,
        plan.subject,
        run_id,
        summary={'subject': f'sub-{plan.subject}', 'sessions': max(1, len(sessions))},
        methods=methods_text(steps, versions, contrasts),
        bibtex=methods_bibliography(steps, versions, contrasts),
        errors=errors,
        versions=versions,
        command=command,
        times=times,
        sessions=sessions,
        date=time.strftime('%Y-%m-%d %H:%M'),
    )


def _record(session: SessionPlan, measured: Iterable[Measured]) -> SessionRecord:
    """Tell what a report must know of one session."""
    from mriprep.report import SessionRecord

    mine = [item for item in measured if item.session is session]
    return SessionRecord(
        session=session.session,
        summary=session_summary(session) | mask_summary(mine[0].values),
        steps=session.steps,
        spaces=[registration.label for registration in session.registrations],
        contrasts=[image.label for image in session.images],
        images=[_image_row(item) for item in mine] if len(mine) > 1 else [],
        runs=[row for image in session.images for row in _run_rows(image)],
        figures=[item.path.name for item in session.derivatives if _is_figure(item)],
    )


def _is_figure(item: Derivative) -> bool:
    return PATTERNS[item.output].kind is Kind.FIGURE


def _image_row(item: Measured) -> dict[str, object]:
    """One image of a session with several."""
    image, values = item.image, item.values
    remarks = [str(values['contrast_doubt'])] if values.get('contrast_doubt') else []
    if image.image.stripped:
        remarks.append('stripped already')
    if image.lesion is not None:
        remarks.append('a lesion is drawn on it')
    coregistration = VERDICTS.get(str(values.get('coregistration_status')), '')
    if image.is_reference:
        coregistration = 'others are registered to it'
    elif image.to_reference is not None:
        coregistration = 'given'
    return {
        'contrast': image.contrast.words,
        'image': ', '.join(source.relative for source in image.choice.sources),
        'role': 'reference' if image.is_reference else 'other',
        'voxel size (mm)': image.image.zooms_mm,
        'brain mask': mask_summary(values).get('brain mask', ''),
        'co-registration': coregistration,
        'remarks': '; '.join(remarks),
    }


def _run_rows(image: ImagePlan) -> Iterator[dict[str, object]]:
    """What became of each run of a contrast that has several."""
    if not image.choice.reason:
        return
    averaged = len(image.choice.averaged)
    for source in image.choice.sources:
        yield {
            'image': source.relative,
            'what became of it': 'averaged' if averaged else 'used',
            'why': image.choice.reason,
        }
    for source in image.choice.left_out:
        yield {'image': source.relative, 'what became of it': 'left out', 'why': ''}


def sidecar_warnings(out_dir: Path, session: SessionPlan) -> Iterator[Issue]:
    """Read from saved sidecars what is doubted of headers, averages and overlays."""
    for item in (*session.derivatives, *session.individual_files):
        if item.output is not Output.PREPROC:
            continue
        try:
            record = json.loads((out_dir / sidecar_path(item.path)).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            continue
        if not isinstance(record, dict):
            continue
        image = next(each for each in session.images if each.contrast is item.contrast)
        for words in record.get('HeaderWarnings') or ():
            yield issue_of(image.image, Severity.WARNING, words, '')
        if words := record.get('OverlayDoubt'):
            told = f'{item.path.name}: {words}'
            yield issue_of(image.image, Severity.WARNING, told, 'look at the registration')
        if reasons := record.get('GuardReasons'):
            told = f'the average {item.path.name} is doubtful: {" ".join(map(str, reasons))}'
            yield issue_of(image.image, Severity.WARNING, told, 'look at the images that it joins')


def doubts(item: Measured) -> Iterator[Issue]:
    """Tell what the guard doubts of an image; what it refuses is a failure and told as such."""
    record, values = item.image.image, item.values
    if values.get('mask_status') == 'doubtful':
        told = f'the brain mask is doubtful: {item.words("mask_reasons")}'
        yield issue_of(record, Severity.WARNING, told, 'look at its picture')
    elif values.get('own_mask_status'):
        told = f'its own brain mask was not believed: {item.words("own_mask_reasons")}'
        yield issue_of(record, Severity.NOTE, f'{told} The mask of the reference is used', '')
    if values.get('coregistration_status') in ('doubtful', 'refused'):
        told = f'its co-registration is doubtful: {item.words("coregistration_reasons")}'
        yield issue_of(record, Severity.WARNING, told, 'look at its picture')
    if doubt := values.get('contrast_doubt'):
        yield issue_of(record, Severity.WARNING, str(doubt), '')


def mask_summary(metrics: Mapping[str, object]) -> dict[str, object]:
    """Say what found the brain and whether the mask is believed."""
    if not metrics:
        return {}
    status = VERDICTS.get(str(metrics.get('mask_status')), '')
    volume = metrics.get('mask_volume_ml')
    return {
        'brain mask': f'{status} ({metrics.get("mask_extractor")}, {volume:.0f} ml)'
        if isinstance(volume, float)
        else f'{status} ({metrics.get("mask_extractor")})'
    }


def session_summary(session: SessionPlan) -> dict[str, object]:
    """Say what was used and what was not."""
    reference = session.reference
    several = len(session.images) > 1
    name = 'reference' if several else f'{session.main.contrast} image'
    out: dict[str, object] = {
        name: reference.relative,
        'shape': reference.shape,
        'zooms_mm': reference.zooms_mm,
        'output spaces': _spaces(session),
    }
    if session.through_individual:
        out['way to templates'] = 'through the mean of the sessions'
    if (drawn := session.lesion) is not None:
        out['lesion'] = f'drawn on {drawn.contrast}'
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
