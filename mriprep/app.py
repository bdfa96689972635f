"""The run, phase by phase: check, look, plan, compute, show."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mriprep.computing import SessionNames, compute, unfinished
from mriprep.folders import RefusalError, open_output
from mriprep.metrics import doubtful, read_metrics, write_masks
from mriprep.outcome import (
    Failure,
    planned_failures,
    write_failures,
)
from mriprep.plan import SessionPlan, SubjectPlan
from mriprep.prepare import Run, RunOptions, prepare, say
from mriprep.settings import Resources, Settings, SettingsError, to_toml

if TYPE_CHECKING:
    from mriprep.issues import Issue

__all__ = ['RefusalError', 'RunOptions', 'run']

logger = logging.getLogger('mriprep')


def run(options: RunOptions, settings: Settings, resources: Resources) -> int:
    """Run the participant level; return the exit code.

    Raises
    ------
    RefusalError
        If nothing can be started: usage, input, a missing tool.
    """
    os.environ.setdefault('NIPYPE_NO_ET', '1')
    wanted = (options.out_dir, options.work_dir or Path('work'))
    new = [folder for folder in wanted if not folder.exists()]
    try:
        this = prepare(options, settings, resources)
    except (RefusalError, SettingsError):
        for folder in new:
            with contextlib.suppress(OSError):  # not there, or something is in it
                folder.rmdir()
        raise
    if options.dry_run:
        from mriprep.overview import print_plan

        finished = {session.name for session in this.sessions if this.is_finished(session)}
        print_plan(this.plans, finished=finished, issues=this.inventory.issues)
        return 0
    open_output(this.out_dir, this.inventory, this.versions, this.options.derivatives)
    write_boilerplate(this)
    if options.boilerplate_only:
        return 0
    for issue in _issues(this):
        print(f'mriprep: {issue.severity.value}: {issue}', file=sys.stderr)
    failures = list(planned_failures(this.plans, this.inventory.issues))
    if not this.sessions:
        raise RefusalError(
            f'{options.bids_dir.name}: no session can be processed; '
            + (
                f'{failures[0].where}: {failures[0].cause}; {failures[0].next_step}'
                if failures
                else 'there is no image to prepare'
            )
        )
    start_logs(this)
    if options.reports_only:
        failures += _incomplete(this)
        show(this, this.plans, failures)
    else:
        todo = unfinished(this)
        failures += compute(this, todo)
        show(this, _touched(this, todo, failures), failures)
    return _conclude(this, failures)


def _incomplete(this: Run) -> Iterator[Failure]:
    """Tell the images whose files are not all there."""
    for session in this.sessions:
        for image in session.images:
            planned = [item for item in session.derivatives if item.contrast is image.contrast]
            if image.is_reference:
                planned += session.individual_files
            lost = [
                item.path.name
                for item in planned
                if not item.optional and not (this.out_dir / item.path).exists()
            ]
            if lost:
                yield Failure(
                    subject=session.subject,
                    session=session.session,
                    step='report',
                    where=image.image.relative,
                    cause=f'{len(lost)} of its {len(planned)} files are missing, such as {lost[0]}',
                    next_step='give the same command without --reports-only',
                )


def _touched(
    this: Run, done: Sequence[SessionPlan], failures: Sequence[Failure]
) -> list[SubjectPlan]:
    """Subjects whose page is to be written: the others keep that of the run that made them."""
    from mriprep.naming import report_path

    new = {session.subject for session in done} | {failure.subject for failure in failures}
    return [
        plan
        for plan in this.plans
        if plan.subject in new or not (this.out_dir / report_path(plan.subject)).exists()
    ]


def show(this: Run, plans: Iterable[SubjectPlan], failures: Sequence[Failure]) -> None:
    """Put the reports of subjects together."""
    from mriprep.outcome import subject_times
    from mriprep.overview import write_report

    times = subject_times(this.log_dir / 'timings.tsv', SessionNames(this.sessions))
    steps = this.steps
    for plan in plans:
        write_report(
            this.out_dir,
            plan,
            run_id=this.run_id,
            failures=[failure for failure in failures if failure.subject == plan.subject],
            steps=steps,
            contrasts=this.contrasts,
            versions=this.versions,
            command=shlex.join(this.options.command),
            times=times.get(f'sub-{plan.subject}', {}),
        )


def write_boilerplate(this: Run) -> None:
    """Write the methods text and its bibliography."""
    from mriprep.files import write_text
    from mriprep.prose import methods_bibliography, methods_text

    if steps := this.steps:
        logs = this.out_dir / 'logs'
        logs.mkdir(exist_ok=True)
        told = (steps, this.versions, this.contrasts)
        write_text(methods_text(*told), logs / 'CITATION.md')
        write_text(methods_bibliography(*told), logs / 'CITATION.bib')


def start_logs(this: Run) -> None:
    """Open the run's folder: settings and log file."""
    from mriprep.files import write_text
    from mriprep.logs import hide_places, places_of, start_log
    from mriprep.tables import without_paths

    this.log_dir.mkdir(parents=True, exist_ok=True)
    write_text(to_toml(this.settings), this.log_dir / 'settings.toml')
    places = places_of(bids=this.options.bids_dir, out=this.out_dir, work=this.work_dir)
    level = logging.DEBUG if this.options.verbose else logging.INFO
    start_log(this.log_dir / 'mriprep.log', places, level=level)
    command = without_paths(hide_places(shlex.join(this.options.command), places))
    logger.info('mriprep %s: %s', this.versions['mriprep'], command)
    for name, version in this.versions.items():
        logger.info('%s %s', name, version)
    for issue in _issues(this):
        logger.warning('%s: %s', issue.severity.value, issue)


def _conclude(this: Run, failures: Sequence[Failure]) -> int:
    write_failures(this.log_dir / 'failures.tsv', failures)
    measured = read_metrics(this.out_dir, this.sessions)
    write_masks(this.log_dir / 'masks.tsv', measured)
    for network, (loads, images) in _loads(this).items():
        logger.info('networks: %s was loaded %d times for %d images', network, loads, images)
    names = {(failure.subject, failure.session) for failure in failures}
    for failure in failures:
        say(f'failed: {failure.line}')
        logger.error('failed: %s', failure.line)
    done = sum(1 for session in this.sessions if (session.subject, session.session) not in names)
    say(f'{done} done, {len(names)} failed; see {this.out_dir.name}/sub-*.html')
    for key, what in (
        ('mask_status', 'brain masks'),
        ('coregistration_status', 'co-registrations'),
    ):
        if names_of := list(doubtful(measured, key)):
            listed = ', '.join(names_of[:10]) + (', ...' if len(names_of) > 10 else '')
            say(f'{len(names_of)} {what} are doubtful, look at them: {listed}')
    if named := [item.name for item in measured if item.values.get('contrast_doubt')]:
        say(f'{len(named)} images do not show what their names say: {", ".join(named[:10])}')
    if names:
        say(
            f'each failure with its next step: {this.out_dir.name}/logs/{this.run_id}/failures.tsv'
        )
    return 1 if failures else 0


def _loads(this: Run) -> dict[str, tuple[int, int]]:
    """How often each network was loaded in this run, and for how many images."""
    from mriprep.extractors.loaded import count_loads

    try:
        with (this.log_dir / 'mriprep.log').open(encoding='utf-8', errors='replace') as log:
            return count_loads(log)
    except OSError:
        return {}


def _issues(this: Run) -> list[Issue]:
    return [*this.inventory.issues, *(issue for plan in this.plans for issue in plan.all_issues)]
