"""The middle of a run: what is not finished yet is computed, one group of sessions after another."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mriprep.folders import forbid_full_disk
from mriprep.outcome import Failure, failure_of, session_word, write_timings
from mriprep.plan import SessionPlan
from mriprep.prepare import Run, say
from mriprep.settings import GIVEN, STRIPPED

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

    from mriprep.engine import Timings, Workers
    from mriprep.progress import Progress
    from mriprep.workflows.subject import Sink

# Nipype's cost grows with the square of a graph, so that many sessions run one batch after another.
IMAGES_PER_PROCESSOR = 4
IMAGES_PER_BATCH = 16


def unfinished(this: Run) -> list[SessionPlan]:
    """Sessions that are to be computed; one of several that share a mean brings the others."""
    todo = [session for session in this.sessions if not this.is_finished(session)]
    names = {session.name for session in todo}
    shared = {session.subject for session in todo if session.through_individual}
    return [
        session
        for session in this.sessions
        if session.name in names or (session.through_individual and session.subject in shared)
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
    size = max(IMAGES_PER_BATCH, IMAGES_PER_PROCESSOR * this.resources.n_procs)
    with (
        Progress(total_sessions=len(todo), session_of=SessionNames(todo)) as progress,
        contextlib.closing(Workers()) as workers,
    ):
        if this.plugin is None:
            load_ahead(this, todo, workers)
        timings = Timings(report=progress)
        for batch in batches(todo, size):
            failures += _compute_batch(batch, this, timings, progress, workers)
            write_timings(this.log_dir / 'timings.tsv', timings.seconds)
            if failures and this.options.stop_on_first_crash:
                break
    return failures


def batches(todo: Sequence[SessionPlan], size: int) -> Iterator[list[SessionPlan]]:
    """Divide sessions into groups of so many images; one head's mean stays in one group."""
    batch: list[SessionPlan] = []
    for session in todo:
        joined = bool(batch) and batch[-1].subject == session.subject
        count = sum(len(item.images) for item in batch)
        if (
            batch
            and count + len(session.images) > size
            and not (joined and session.through_individual)
        ):
            yield batch
            batch = []
        batch.append(session)
    if batch:
        yield batch


def load_ahead(this: Run, todo: Sequence[SessionPlan], workers: Workers) -> None:
    """Let a worker for each device load the network and the atlas, while the first image is read.

    Not where work was begun before: the brains may have been found already.
    """
    from mriprep.extractors.loaded import load_options, warm
    from mriprep.interfaces.brain import worker_key

    resources = this.resources
    found = (image.extraction for session in todo for image in session.images)
    extraction = next(
        (each for each in found if each and each.first.name not in (GIVEN, STRIPPED)), None
    )
    if extraction is None or any(this.work_dir.glob('mriprep_*_wf')):
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
    from mriprep.workflows.subject import Sink, count_steps, session_wf_name

    crash_dir = this.work_dir / 'crash' / this.run_id
    crash_dir.mkdir(parents=True, exist_ok=True)
    top = pe.Workflow(
        name=node_name('mriprep', this.versions['mriprep'], 'wf'), base_dir=str(this.work_dir)
    )
    sinks = {
        session.name: Sink(
            out_dir=this.out_dir,
            version=this.versions['mriprep'],
            fingerprint=this.fingerprint(session),
        )
        for session in batch
    }
    parts = {}
    for session in batch:
        name = part_name(session)
        if name not in parts:
            parts[name] = _part_of(session, this, sinks)
            top.add_nodes([parts[name]])
    progress.steps_per_session = sum(map(count_steps, parts.values())) // len(batch)
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
    by_name = {part_name(session): session for session in batch}
    by_name |= {session_wf_name(session): session for session in batch}
    failures = [failure_of(item, by_name) for item in failed]
    told = {(failure.subject, failure.session) for failure in failures}
    failures += [
        _left_behind(session)
        for session in batch
        if session.through_individual
        and (session.subject, session.session) not in told
        and not this.is_finished(session)
    ]
    if this.options.clean_workdir:
        for name in parts:
            mine = [session for session in batch if part_name(session) == name]
            if all(map(this.is_finished, mine)):
                shutil.rmtree(this.work_dir / top.name / name, ignore_errors=True)
    return failures


def _left_behind(session: SessionPlan) -> Failure:
    """Tell of a session that waits for others of its head."""
    return Failure(
        subject=session.subject,
        session=session.session,
        step='average',
        where=session.reference.relative,
        cause='it goes to templates through the mean of its sessions, which failed or lacks one',
        next_step='mend what failed, or leave that session out with --session-label, and run again',
    )


def part_name(session: SessionPlan) -> str:
    """Name the workflow that a session is in: its own, or that of all sessions of its subject."""
    from mriprep.workflows.longitudinal import subject_wf_name
    from mriprep.workflows.subject import session_wf_name

    if session.through_individual:
        return subject_wf_name(session.subject)
    return session_wf_name(session)


def _part_of(session: SessionPlan, this: Run, sinks: Mapping[str, Sink]) -> Workflow:
    from mriprep.workflows.longitudinal import init_subject_wf
    from mriprep.workflows.subject import init_session_wf

    if not session.through_individual:
        sink = sinks[session.name]
        return init_session_wf(session, this.settings, this.resources, sink, this.atlas)
    plan = next(plan for plan in this.plans if plan.subject == session.subject)
    return init_subject_wf(plan, this.settings, this.resources, sinks, this.atlas)


class SessionNames:
    """Words for the session that a node belongs to, from the node's full name."""

    def __init__(self, sessions: Sequence[SessionPlan]) -> None:
        from mriprep.workflows.subject import session_wf_name

        self._names = {session_wf_name(session): session.name for session in sessions}

    def __call__(self, node: str) -> str | None:
        """Name the session, or None."""
        words = map(session_word, node.split('.'))
        return next((self._names[word] for word in words if word in self._names), None)


def _forecast(todo: Sequence[SessionPlan], this: Run) -> str:
    from mriprep.overview import duration

    seconds = sum(session.estimate.seconds for session in todo)
    lanes = max(1, min(len(todo), this.resources.n_procs // 2))
    disk = sum(session.estimate.disk_mb for session in todo)
    return (
        f'{len(todo)} sessions to do, about {duration(seconds / lanes)} and {disk / 1000:.1f} GB '
        f'on {this.resources.n_procs} processors'
    )
