"""The run, phase by phase: check, look, plan, compute, show."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriprep.folders import RefusalError, forbid_full_disk, open_output
from mriprep.metrics import mask_states, read_metrics, write_masks
from mriprep.outcome import Failure, failure_of, planned_failures, write_failures, write_timings
from mriprep.plan import SessionPlan, SubjectPlan
from mriprep.prepare import Run, RunOptions, prepare, say
from mriprep.settings import GIVEN, Resources, Settings, SettingsError, to_toml

if TYPE_CHECKING:
    from mriprep.engine import Timings, Workers
    from mriprep.issues import Issue
    from mriprep.progress import Progress

__all__ = ['RefusalError', 'RunOptions', 'run']

logger = logging.getLogger('mriprep')


# Nipype's cost grows with the square of a graph, so that many sessions run one batch after another.
SESSIONS_PER_PROCESSOR = 4
SESSIONS_PER_BATCH = 16


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
    open_output(this.out_dir, this.inventory, this.versions, options.derivatives)
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
                else 'there is no T1w image'
            )
        )
    start_logs(this)
    if options.reports_only:
        show(this, this.plans, failures)
    else:
        todo = [session for session in this.sessions if not this.is_finished(session)]
        failures += compute(this, todo)
        show(this, _touched(this, todo, failures), failures)
    return _conclude(this, failures)


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


def compute(this: Run, todo: Sequence[SessionPlan]) -> list[Failure]:
    """Run what is not finished yet, batch by batch."""
    from mriprep.engine import Timings, Workers
    from mriprep.progress import Progress

    if len(todo) < len(this.sessions):
        say(f'{len(this.sessions) - len(todo)} of {len(this.sessions)} sessions are finished')
    if not todo:
        return []
    forbid_full_disk(this.out_dir, this.work_dir, todo)
    say(_forecast(todo, this))
    # what the reports need is imported while workers compute
    threading.Thread(
        target=importlib.import_module, args=('nireports.assembler.report',), daemon=True
    ).start()
    failures: list[Failure] = []
    size = max(SESSIONS_PER_BATCH, SESSIONS_PER_PROCESSOR * this.resources.n_procs)
    with (
        Progress(total_sessions=len(todo), session_of=SessionNames(todo)) as progress,
        contextlib.closing(Workers()) as workers,
    ):
        if this.plugin is None:
            load_ahead(this, todo, workers)
        timings = Timings(report=progress)
        for start in range(0, len(todo), size):
            batch = todo[start : start + size]
            failures += _compute_batch(batch, this, timings, progress, workers)
            write_timings(this.log_dir / 'timings.tsv', timings.seconds)
            if failures and this.options.stop_on_first_crash:
                break
    return failures


def load_ahead(this: Run, todo: Sequence[SessionPlan], workers: Workers) -> None:
    """Let a worker for each device load the network and the atlas, while the first image is read.

    Not where work was begun before: the brains may have been found already.
    """
    from mriprep.extractors.loaded import load_options, warm
    from mriprep.interfaces.brain import worker_key

    extraction, resources = todo[0].extraction, this.resources
    if extraction.first.name == GIVEN or any(this.work_dir.glob('mriprep_*_wf')):
        return
    lent = resources.uses_gpu and extraction.can_use_gpu
    for device in resources.devices if lent else (resources.device,):
        options = load_options(
            extraction.first,
            device,
            augment=extraction.test_time_augmentation,
            weights_dir=resources.weights_dir,
            atlas=this.atlas,
        )
        key = worker_key(extraction.first.name, device)  # type: ignore[no-untyped-call]
        workers.begin(warm, extraction.first.name, options, key=key)


def _compute_batch(
    batch: Sequence[SessionPlan],
    this: Run,
    timings: Timings,
    progress: Progress,
    workers: Workers,
) -> list[Failure]:
    from nipype.pipeline import engine as pe

    from mriprep import engine
    from mriprep.workflows.nodes import node_name
    from mriprep.workflows.subject import Sink, count_steps, init_session_wf, session_wf_name

    crash_dir = this.work_dir / 'crash' / this.run_id
    crash_dir.mkdir(parents=True, exist_ok=True)
    top = pe.Workflow(
        name=node_name('mriprep', this.versions['mriprep'], 'wf'), base_dir=str(this.work_dir)
    )
    for session in batch:
        part = init_session_wf(
            session,
            this.settings,
            this.resources,
            Sink(
                out_dir=this.out_dir,
                version=this.versions['mriprep'],
                fingerprint=this.fingerprint(session),
            ),
            this.atlas,
        )
        top.add_nodes([part])
        progress.steps_per_session = count_steps(part)
    config = engine.execution_config(
        crash_dir,
        stop_on_first_crash=this.options.stop_on_first_crash,
        poll_s=0 if this.plugin is None else 2,
    )
    engine.configure(top, config)
    if this.options.write_graph:
        top.write_graph(str(this.log_dir / 'graph.dot'), graph2use='colored', simple_form=True)
    plugin: Any
    if this.plugin is None:
        plugin, arguments = engine.make_plugin(this.resources, timings, workers), {}
    else:
        plugin = this.plugin['plugin']
        arguments = {**this.plugin['plugin_args'], 'status_callback': timings}
    with engine.interruptible(plugin):
        failed = engine.execute(top, plugin, arguments, crash_dir=crash_dir)
    by_name = {session_wf_name(session): session for session in batch}
    if this.options.clean_workdir:
        for name, session in by_name.items():
            if this.is_finished(session):
                shutil.rmtree(this.work_dir / top.name / name, ignore_errors=True)
    return [failure_of(item, by_name) for item in failed]


class SessionNames:
    """Words for the session that a node belongs to, from the node's full name."""

    def __init__(self, sessions: Sequence[SessionPlan]) -> None:
        from mriprep.workflows.subject import session_wf_name

        self._names = {session_wf_name(session): session.name for session in sessions}

    def __call__(self, node: str) -> str | None:
        """Name the session, or None."""
        return next((self._names[part] for part in node.split('.') if part in self._names), None)


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
        write_text(methods_text(steps, this.versions), logs / 'CITATION.md')
        write_text(methods_bibliography(steps, this.versions), logs / 'CITATION.bib')


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
    measured = [(session, read_metrics(this.out_dir, session)) for session in this.sessions]
    write_masks(this.log_dir / 'masks.tsv', measured)
    for network, (loads, images) in _loads(this).items():
        logger.info('networks: %s was loaded %d times for %d images', network, loads, images)
    names = {(failure.subject, failure.session) for failure in failures}
    for failure in failures:
        say(f'failed: {failure.line}')
        logger.error('failed: %s', failure.line)
    done = sum(1 for session in this.sessions if (session.subject, session.session) not in names)
    say(f'{done} done, {len(names)} failed; see {this.out_dir.name}/sub-*.html')
    doubtful = [name for name, status in mask_states(measured) if status == 'doubtful']
    if doubtful:
        listed = ', '.join(doubtful[:10]) + (', ...' if len(doubtful) > 10 else '')
        say(f'{len(doubtful)} brain masks are doubtful, look at them: {listed}')
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


def _forecast(todo: Sequence[SessionPlan], this: Run) -> str:
    from mriprep.overview import duration

    seconds = sum(session.estimate.seconds for session in todo)
    lanes = max(1, min(len(todo), this.resources.n_procs // 2))
    disk = sum(session.estimate.disk_mb for session in todo)
    return (
        f'{len(todo)} sessions to do, about {duration(seconds / lanes)} and {disk / 1000:.1f} GB '
        f'on {this.resources.n_procs} processors'
    )
