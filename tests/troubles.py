"""Nodes that fail in the ways of the world, and runs of them in a process of their own."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

PATIENCE_S = 15


class _TroubleInputSpec(BaseInterfaceInputSpec):
    what = traits.Enum('write', 'raise', 'exit', 'kill', desc='what happens')
    out_path = traits.Str(mandatory=True, desc='file that is written when all is well')
    before = traits.Any(desc='anything that must be done first')
    when = traits.Str(desc='file (or pattern of one) that is waited for, for a while')
    network = traits.Str(desc='what a worker must have loaded')
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc='takes a device for itself')
    device = traits.Str('auto', usedefault=True, nohash=True, desc='that it got')


class _TroubleOutputSpec(TraitedSpec):
    out_file = File(desc='the file')


class Trouble(SimpleInterface):
    """Tell that it began, wait for a file if there is one to wait for, then do what it is for."""

    input_spec = _TroubleInputSpec
    output_spec = _TroubleOutputSpec

    @property
    def worker_key(self):
        network = self.inputs.network or ''
        return f'{network} on {self.inputs.device}' if network else ''

    def _run_interface(self, runtime):
        with self._device_alone():
            return self._do(runtime)

    @contextlib.contextmanager
    def _device_alone(self):
        """Fail when another node is on this device."""
        lock = Path(self.inputs.out_path).with_name(f'{self.inputs.device}.lock')
        if not self.inputs.use_gpu:
            yield
            return
        lock.touch(exist_ok=False)
        try:
            yield
        finally:
            lock.unlink()

    def _do(self, runtime):
        from nipype.interfaces.base import isdefined

        out_path = Path(self.inputs.out_path)
        begun = out_path.with_suffix('.begun')
        begun.with_suffix('.pid').write_text(str(os.getpid()))
        begun.with_suffix('.pid').rename(begun)
        if isdefined(self.inputs.when):
            wait_for(self.inputs.when)
        match self.inputs.what:
            case 'raise':
                raise ValueError('scan.nii: too dark; switch on the light')
            case 'exit':
                os._exit(7)
            case 'kill':
                os.kill(os.getpid(), signal.SIGKILL)
            case _:
                out_path.write_text(f'{self.inputs.device} {os.getpid()}')
        self._results['out_file'] = str(out_path)
        return runtime


def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> bool:
    """Wait until a condition holds, and tell whether it does."""
    pause = threading.Event()
    for _ in range(int(patience_s * 50)):
        if condition():
            return True
        pause.wait(0.02)
    return False


def wait_for(pattern: str | Path, patience_s: float = PATIENCE_S) -> bool:
    """Wait until a file is there, and tell whether it is."""
    return until(lambda: glob.glob(str(pattern)), patience_s)  # noqa: PTH207 - may be absolute


def make_workflow(folder: Path, nodes, edges=(), *, stop_on_first_crash: bool = False):
    """Make a workflow of `Trouble` nodes; ``nodes``: name to inputs, ``edges``: pairs of names."""
    from nipype.pipeline import engine as pe

    from mriprep.engine import configure, execution_config

    workflow = pe.Workflow(name='top', base_dir=str(folder / 'work'))
    made = {}
    for name, inputs in nodes.items():
        options = {key: inputs.pop(key) for key in ('local',) if key in inputs}
        made[name] = pe.Node(
            Trouble(out_path=str(folder / f'{name}.txt'), **inputs),
            name=name,
            run_without_submitting=options.get('local', False),
        )
    workflow.add_nodes(list(made.values()))
    for first, second in edges:
        workflow.connect(made[first], 'out_file', made[second], 'before')
    crash_dir = folder / 'crash'
    crash_dir.mkdir(exist_ok=True)
    configure(workflow, execution_config(crash_dir, stop_on_first_crash=stop_on_first_crash))
    return workflow


def run(
    folder: str, n_procs: int, n_threads: int = 1, devices: tuple[str, ...] = ('cpu',), **options
) -> None:
    """Run a workflow with mriprep's own plugin; write what happened to ``told.json``."""
    from mriprep.engine import Timings, execute, interruptible, make_plugin
    from mriprep.settings import Resources

    home = Path(folder)
    workflow = make_workflow(home, **options)
    statuses: list[tuple[str, str]] = []
    timings = Timings(report=lambda node, status: statuses.append((node, status)))
    resources = Resources(n_procs=n_procs, n_threads=n_threads, mem_gb=4, devices=tuple(devices))
    plugin = make_plugin(resources, timings)
    with interruptible(plugin):
        failures = execute(workflow, plugin, crash_dir=home / 'crash')
    causes = {failure.node: failure.cause for failure in failures}
    (home / 'told.json').write_text(json.dumps({'failures': causes, 'statuses': statuses}))


def start(folder: Path, *, new_session: bool = False, **options) -> subprocess.Popen:
    """Start `run` in a process of its own."""
    code = f'import troubles; troubles.run({str(folder)!r}, **{options!r})'
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')])
    return subprocess.Popen(
        [sys.executable, '-c', code],
        cwd=folder,
        env=os.environ | {'PYTHONPATH': path, 'NIPYPE_NO_ET': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=new_session,
    )


def finish(process: subprocess.Popen, folder: Path, timeout_s: float = 90) -> dict:
    """Wait for a process of `start`; a run that hangs is killed with all it started."""
    import psutil

    try:
        out, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        out, _ = process.communicate()
        raise AssertionError(f'the run hangs\n{out}') from None
    assert process.returncode == 0, out
    return json.loads((folder / 'told.json').read_text())
