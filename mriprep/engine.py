"""Run a Nipype workflow: options, plugin, progress, failures, interruption."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriprep.crashes import WORKER_DIED, NodeFailure, read_crash
from mriprep.settings import Resources, SettingsError

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow


@dataclass(slots=True)
class Timings:
    """When each node ran, in seconds since the clock's zero; fed by Nipype's status callback."""

    report: Callable[[str, str], None] = lambda node, status: None
    started: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, node: Any, status: str) -> None:
        """Take a message of Nipype: ``start``, ``end`` or ``exception`` of a node."""
        now = time.monotonic()
        if status == 'start':
            self.started[node.fullname] = now
        else:
            self.seconds[node.fullname] = now - self.started.get(node.fullname, now)
        self.report(node.fullname, status)


def execution_config(
    crash_dir: Path, *, stop_on_first_crash: bool, poll_s: float = 0
) -> dict[str, dict[str, str]]:
    """Nipype's options for one run.

    Parameters
    ----------
    crash_dir
        Where crash files go.
    stop_on_first_crash
        Whether one failed node ends the run.
    poll_s
        Seconds between two looks at the jobs of a plugin that can't tell when one is done;
        `make_plugin` makes one that can.
    """
    return {
        'execution': {
            'crashdump_dir': str(crash_dir),
            'crashfile_format': 'txt',
            'check_version': 'false',
            'hash_method': 'timestamp',
            'poll_sleep_duration': str(poll_s),
            'remove_unnecessary_outputs': 'true',
            'stop_on_first_crash': str(stop_on_first_crash).lower(),
            'use_relative_paths': 'false',
            'create_report': 'false',
        },
        'monitoring': {'enabled': 'false'},
    }


class Workers:
    """Worker processes, each in a pool of its own: one that dies takes no other's task with it.

    Tasks with a key go to workers that do nothing else, so that what these have loaded is there
    for the next task with that key.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder or str(Path.cwd())
        self._idle: dict[str, list[ProcessPoolExecutor]] = {}
        self._pools: list[ProcessPoolExecutor] = []

    def submit(self, task: Callable[..., Any], *args: Any, key: str = '') -> Future[Any]:
        """Give a task to an idle worker with its key, the last used first, or to a new one."""
        idle = self._idle.setdefault(key, [])
        while idle:
            pool = idle.pop()
            with contextlib.suppress(BrokenExecutor):  # it died while it was idle
                return self._start(pool, idle, task, args)
        self._pools.append(pool := self._make_pool())
        return self._start(pool, idle, task, args)

    def begin(self, task: Callable[..., Any], *args: Any, key: str) -> None:
        """Start a worker with something that serves later tasks with its key.

        The first of these waits in this worker until it is done.
        """
        self._pools.append(pool := self._make_pool())
        pool.submit(task, *args)
        self._idle.setdefault(key, []).append(pool)

    def _make_pool(self) -> ProcessPoolExecutor:
        from mriprep.workers import start

        return ProcessPoolExecutor(
            max_workers=1,
            initializer=start,
            initargs=(self._folder, dict(os.environ)),
            mp_context=_worker_context(),
        )

    def _start(
        self,
        pool: ProcessPoolExecutor,
        idle: list[ProcessPoolExecutor],
        task: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> Future[Any]:
        future = pool.submit(task, *args)
        future.add_done_callback(lambda _: idle.append(pool))
        return future

    def close(self) -> None:
        """End all workers that have nothing to do, and the others when they are done."""
        self.shutdown(wait=False)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all workers."""
        for pool in self._pools:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def _worker_context() -> Any:
    import multiprocessing as mp

    context = mp.get_context('forkserver')
    context.set_forkserver_preload(['mriprep.preload'])
    return context


def warm_up() -> None:
    """Start importing what workers need, in a process beside this one."""
    from multiprocessing.forkserver import ensure_running

    _worker_context()
    ensure_running()


def make_plugin(
    resources: Resources, status: Callable[[Any, str], None], workers: Workers | None = None
) -> Any:
    """Nipype's MultiProc, which wakes when a worker reports instead of polling.

    A worker that dies (killed for memory, say) fails its own node and is replaced; in MultiProc
    it would hang the run.

    Parameters
    ----------
    resources
        Processors, memory and devices.
    status
        Called with each node when it starts and ends.
    workers
        Processes that several graphs share, one after another, with the networks that they have
        loaded; whoever made them ends them. None: the plugin has its own.
    """
    from traceback import format_exception

    import networkx as nx
    import numpy as np
    from nipype.pipeline.plugins.multiproc import MultiProcPlugin, run_node

    class EventProc(MultiProcPlugin):  # type: ignore[misc]
        def __init__(self, plugin_args: dict[str, Any]) -> None:
            super().__init__(plugin_args=plugin_args)
            self._reported = threading.Event()
            self._free_devices = list(resources.devices) if resources.uses_gpu else []
            self.pool.shutdown()  # MultiProc's own, of which no process has started yet
            self.pool: Any = workers or Workers(self._cwd)

        def _generate_dependency_list(self, graph: Any) -> None:
            """Rank the nodes: session after session, and first what most others wait for."""
            super()._generate_dependency_list(graph)
            parts = enumerate(nx.weakly_connected_components(graph))
            part = {node: number for number, nodes in parts for node in nodes}
            self._rank = [(part[node], -len(nx.descendants(graph, node))) for node in self.procs]

        def _sort_jobs(self, jobids: Any, scheduler: str | None = 'tsort') -> Any:
            return sorted(jobids, key=lambda job: self._rank[job])

        def _submit_job(self, node: Any, updatehash: bool = False) -> int:
            self._taskid += 1
            taskid = int(self._taskid)
            if getattr(node.interface, 'terminal_output', '') == 'stream':
                node.interface.terminal_output = 'allatonce'
            device = self._lend_device(node)
            key = getattr(node.interface, 'worker_key', '')
            future = self.pool.submit(run_node, node, updatehash, taskid, key=key)
            self._task_obj[taskid] = future
            if device is not None:
                # before the result is taken: the next image finds the device free
                future.add_done_callback(lambda _: self._free_devices.append(device))
            future.add_done_callback(lambda done: self._take(taskid, done))
            return taskid

        def _lend_device(self, node: Any) -> str | None:
            """Give a GPU to a node that wants one, for itself alone."""
            if not node.is_gpu_node() or not self._free_devices:
                return None
            device = self._free_devices.pop(0)
            node.inputs.device = device  # not part of the node's hash
            return device

        def _take(self, taskid: int, done: Future[dict[str, Any]]) -> None:
            """Keep the result of a task; called in another thread."""
            try:
                result = done.result()
            except BrokenExecutor:
                result = {'result': None, 'traceback': [f'RuntimeError: {WORKER_DIED}\n']}
            except BaseException as exc:  # noqa: BLE001 - for example, what can't be pickled
                result = {'result': None, 'traceback': format_exception(exc)}
            self._taskresult[taskid] = result
            self._reported.set()

        def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
            def finished() -> int:
                return int(np.sum(self.proc_done & ~self.proc_pending))

            before = finished()
            super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
            # what was done here, in this process, or found done, may have freed other jobs
            if self.pending_tasks and finished() == before:
                self._reported.wait(timeout=10)
                self._reported.clear()

        def _postrun_check(self) -> None:
            if workers is None:
                super()._postrun_check()

        def terminate(self) -> None:
            """End the workers and whatever they started."""
            self.pool.shutdown(wait=False, cancel_futures=True)
            end_children()

    return EventProc(
        {
            'n_procs': resources.n_procs,
            'memory_gb': resources.mem_gb,
            # Nipype counts a node's processors as slots of GPUs: one node a device
            'n_gpu_procs': resources.n_threads * len(resources.devices),
            'raise_insufficient': False,
            'status_callback': status,
        }
    )


def end_children() -> None:
    """End every process that this one started, and theirs."""
    import psutil

    children = [p for p in psutil.Process().children(recursive=True) if not _is_tracker(p)]
    for child in children:
        _quietly(child.terminate)
    _, alive = psutil.wait_procs(children, timeout=3)
    for child in alive:
        _quietly(child.kill)


def _is_tracker(process: Any) -> bool:
    """Whether this is multiprocessing's resource tracker, which ignores SIGTERM and ends last."""
    import psutil

    try:
        return any('resource_tracker' in word for word in process.cmdline())
    except psutil.Error:
        return False


def _quietly(action: Callable[[], None]) -> None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        action()


def read_plugin_file(path: Path) -> dict[str, Any]:
    """Read ``--use-plugin``: a YAML or JSON file with ``plugin`` and ``plugin_args``.

    Raises
    ------
    SettingsError
        If the file can't be read or lacks ``plugin``.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        words = ' '.join(str(exc).split())
        raise SettingsError(f'{path}: plugin file can not be read ({words}); correct it') from exc
    if not isinstance(values, Mapping) or not isinstance(values.get('plugin'), str):
        raise SettingsError(
            f'{path}: plugin file must name a plugin, for example "plugin: SLURM" and plugin_args'
        )
    arguments = values.get('plugin_args') or {}
    if not isinstance(arguments, Mapping):
        raise SettingsError(f'{path}: plugin_args must be a table, got {arguments!r}')
    from nipype.pipeline import plugins

    if not hasattr(plugins, f'{values["plugin"]}Plugin'):
        known = sorted(name.removesuffix('Plugin') for name in dir(plugins) if 'Plugin' in name)
        raise SettingsError(
            f'{path}: Nipype has no plugin {values["plugin"]!r}; known: {", ".join(known)}'
        )
    return {'plugin': values['plugin'], 'plugin_args': dict(arguments)}


def execute(
    workflow: Workflow,
    plugin: Any,
    plugin_args: Mapping[str, Any] | None = None,
    *,
    crash_dir: Path,
) -> tuple[NodeFailure, ...]:
    """Run a workflow to its end and tell which nodes failed.

    Nipype raises when any node failed; here that is a value, since the other subjects are done.
    What is raised without a crash file behind it is not a node's failure and goes on up.
    """
    before = set(crash_dir.glob('crash-*.txt'))
    problem: Exception | None = None
    # Nipype collects garbage before each job it submits; what is there already is none
    gc.freeze()
    try:
        workflow.run(plugin=plugin, plugin_args=dict(plugin_args or {}))
    except Exception as exc:  # noqa: BLE001 - Nipype raises what its nodes raised
        problem = exc
    finally:
        gc.unfreeze()
    new = sorted(set(crash_dir.glob('crash-*.txt')) - before)
    if problem is not None and not new:
        raise problem
    if new and _stops_at_once(workflow) and hasattr(plugin, 'terminate'):
        plugin.terminate()
    return tuple(read_crash(path) for path in new)


def _stops_at_once(workflow: Workflow) -> bool:
    return bool(workflow.config['execution'].get('stop_on_first_crash') == 'true')


def configure(workflow: Workflow, config: Mapping[str, Mapping[str, str]]) -> None:
    """Give a workflow Nipype's options; nodes carry them to their workers."""
    from nipype import config as nipype_config

    for section, options in config.items():
        for option, value in options.items():
            nipype_config.set(section, option, value)
            workflow.config.setdefault(section, {})[option] = value


@contextlib.contextmanager
def interruptible(plugin: Any) -> Iterator[None]:
    """End the children of a run when it is interrupted, by Ctrl-C or by a batch system's SIGTERM.

    Raises
    ------
    KeyboardInterrupt
        After the children are gone.
    """
    import signal

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, interrupt) if main else None
    try:
        yield
    except KeyboardInterrupt:
        if hasattr(plugin, 'terminate'):
            plugin.terminate()
        else:
            end_children()
        raise
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
