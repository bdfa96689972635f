"""Running workflows: what failed and why, workers that die, runs that are interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import psutil
import pytest
import troubles
from nipype import config as nipype_config
from nipype.interfaces.base import BaseInterfaceInputSpec, CommandLine, SimpleInterface, traits
from nipype.pipeline import engine as pe

from mriprep.crashes import cause_of
from mriprep.engine import (
    Timings,
    Workers,
    configure,
    execute,
    execution_config,
    make_plugin,
    read_plugin_file,
)
from mriprep.images import ImageError, load
from mriprep.settings import Resources, SettingsError


@pytest.fixture(autouse=True)
def _same_options_afterwards():
    """Nipype's options are global: give them back."""
    options = nipype_config._config
    before = {section: dict(options.items(section)) for section in options.sections()}
    yield
    for section, values in before.items():
        for option in set(options.options(section)) - set(values):
            options.remove_option(section, option)
        for option, value in values.items():
            options.set(section, option, value)


class _RaiseInputSpec(BaseInterfaceInputSpec):
    how = traits.Str(desc='which error')
    path = traits.Str(desc='a file')


class Raise(SimpleInterface):
    """Fail the way Python code fails."""

    input_spec = _RaiseInputSpec

    def _run_interface(self, runtime):
        match self.inputs.how:
            case 'value':
                raise ValueError('scan.nii: all zeros; look at it')
            case 'image':
                load(Path(self.inputs.path))
            case 'key':
                return {}['missing']
            case 'memory':
                raise MemoryError
            case 'array':
                np.zeros((10**6, 10**6, 10**3))
            case 'system':
                raise OSError(28, 'No space left on device')
            case 'during':
                try:
                    int('x')
                except ValueError:
                    raise ImageError('scan.nii: no number; correct it')  # noqa: B904
            case 'lines':
                raise RuntimeError('first line\nsecond line')
            case 'assert':
                raise AssertionError
        return runtime


def shell(script):
    return CommandLine(command='sh', args=f"-c '{script}'", terminal_output='allatonce')


def run_linear(tmp_path, interface, name='broken'):
    """Run one node and return its failure as a whole run would tell it."""
    workflow = pe.Workflow(name='top', base_dir=str(tmp_path / 'work'))
    workflow.add_nodes([pe.Node(interface, name=name)])
    crash_dir = tmp_path / 'crash'
    crash_dir.mkdir(exist_ok=True)
    configure(workflow, execution_config(crash_dir, stop_on_first_crash=False))
    failures = execute(workflow, 'Linear', crash_dir=crash_dir)
    assert len(failures) == 1
    assert failures[0].node == f'top.{name}'
    assert failures[0].crash_file.parent == crash_dir
    assert '\n' not in failures[0].cause
    return failures[0].cause


@pytest.mark.parametrize(
    ('how', 'cause'),
    [
        ('value', 'scan.nii: all zeros; look at it'),
        ('key', "KeyError: 'missing'"),
        ('lines', 'first line'),
        ('during', 'scan.nii: no number; correct it'),
    ],
)
def test_an_error_of_python_is_told_in_its_words(tmp_path, how, cause):
    assert run_linear(tmp_path, Raise(how=how)) == cause


def test_a_full_disk_is_told(tmp_path):
    assert 'no space left on the disk' in run_linear(tmp_path, Raise(how='system'))


@pytest.mark.parametrize(('how', 'words'), [('memory', 'MemoryError'), ('array', 'Unable to all')])
def test_lack_of_memory_is_told(tmp_path, how, words):
    assert words in run_linear(tmp_path, Raise(how=how))


def test_an_error_without_words_is_told_by_its_name(tmp_path):
    assert 'AssertionError' in run_linear(tmp_path, Raise(how='assert'))


def test_our_words_go_before_those_of_the_library_beneath(tmp_path):
    """A damaged image: gzip raises first, and mriprep says which file and what to do."""
    import gzip

    damaged = tmp_path / 'sub-01_T1w.nii.gz'
    damaged.write_bytes(gzip.compress(os.urandom(5000))[:2000])
    cause = run_linear(tmp_path, Raise(how='image', path=str(damaged)))
    assert cause.startswith('sub-01_T1w.nii.gz: truncated')
    assert cause.endswith('copy the file again or convert it again')


@pytest.mark.parametrize(
    ('script', 'cause'),
    [
        ('echo reading; echo bad voxel >&2; exit 3', 'bad voxel'),
        ('echo reading; echo no such image; exit 1', 'no such image'),
        ('echo one >&2; echo; echo two >&2; exit 1', 'two'),
        ('exit 4', 'subprocess exited with code 4.'),
    ],
)
def test_a_program_is_told_by_its_last_words(tmp_path, script, cause):
    assert run_linear(tmp_path, shell(script)) == cause


@pytest.mark.parametrize('script', ['echo iteration 12; kill -9 $$', 'kill -9 $$'])
def test_a_killed_program_is_not_told_by_its_progress(tmp_path, script):
    cause = run_linear(tmp_path, shell(script))
    assert 'iteration' not in cause
    assert 'kill' in cause.lower()


def test_a_program_that_is_not_there_is_named(tmp_path):
    cause = run_linear(tmp_path, CommandLine(command='antsNoSuchProgram'))
    assert 'antsNoSuchProgram' in cause


def test_a_text_without_an_error_points_to_the_file():
    assert 'crash file' in cause_of('Node: a.b\nWorking directory: /x\n')


def test_what_is_no_node_s_failure_goes_on_up(tmp_path):
    workflow = pe.Workflow(name='top', base_dir=str(tmp_path))
    with pytest.raises(Exception, match='NoSuchPlugin'):
        execute(workflow, 'NoSuchPlugin', crash_dir=tmp_path)


def test_failures_of_an_earlier_run_are_not_told_again(tmp_path):
    run_linear(tmp_path, Raise(how='value'))
    assert run_linear(tmp_path, Raise(how='key'), name='other') == "KeyError: 'missing'"


@pytest.mark.parametrize('stop', [True, False])
def test_options_of_nipype(tmp_path, stop):
    options = execution_config(tmp_path, stop_on_first_crash=stop)['execution']
    assert options['stop_on_first_crash'] == str(stop).lower()
    assert options['crashfile_format'] == 'txt'
    assert options['check_version'] == 'false'
    assert float(options['poll_sleep_duration']) <= 0.1


def test_options_reach_the_nodes(tmp_path):
    workflow = pe.Workflow(name='top')
    workflow.add_nodes([pe.Node(Raise(), name='a')])
    configure(workflow, execution_config(tmp_path, stop_on_first_crash=False))
    assert workflow.config['execution']['crashdump_dir'] == str(tmp_path)
    assert nipype_config.get('execution', 'crashfile_format') == 'txt'


def test_times_of_nodes(monkeypatch):
    clock = iter([10.0, 12.5, 13.0])
    monkeypatch.setattr('time.monotonic', lambda: next(clock))
    told = []
    timings = Timings(report=lambda node, status: told.append((node, status)))
    node = pe.Node(Raise(), name='a')
    timings(node, 'start')
    timings(node, 'end')
    timings(pe.Node(Raise(), name='cached'), 'end')
    assert timings.seconds == {'a': 2.5, 'cached': 0.0}
    assert told == [('a', 'start'), ('a', 'end'), ('cached', 'end')]


def test_a_plugin_file_names_a_plugin_and_its_arguments(tmp_path):
    path = tmp_path / 'plugin.yml'
    path.write_text('plugin: SLURM\nplugin_args: {sbatch_args: --time=60}\n')
    assert read_plugin_file(path) == {
        'plugin': 'SLURM',
        'plugin_args': {'sbatch_args': '--time=60'},
    }
    path.write_text('plugin: Linear\n')
    assert read_plugin_file(path) == {'plugin': 'Linear', 'plugin_args': {}}


@pytest.mark.parametrize(
    'text',
    ['', 'SLURM', 'plugin_args: {}', 'plugin: [a', 'plugin: 3', 'plugin: SLURM\nplugin_args: 5'],
)
def test_a_plugin_file_that_names_none_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / 'plugin.yml'
    path.write_text(text)
    with pytest.raises(SettingsError, match=r'plugin\.yml') as refusal:
        read_plugin_file(path)
    assert '\n' not in str(refusal.value)


def test_a_plugin_file_that_is_absent_is_refused(tmp_path):
    with pytest.raises(SettingsError, match='can not be read'):
        read_plugin_file(tmp_path / 'absent.yml')


@pytest.fixture(scope='module')
def after_deaths(tmp_path_factory):
    """Run a chain, a node that raises, and two whose worker dies: one alone, one with company.

    Returns
    -------
    tuple
        Folder with one file for each node that ended well, and what `troubles.run` printed.
    """
    folder = tmp_path_factory.mktemp('deaths')
    nodes = {
        'chain1': {'what': 'write'},
        'chain2': {'what': 'write'},
        'raises': {'what': 'raise'},
        'after_raises': {'what': 'write'},
        'exits': {'what': 'exit'},
        'after_exits': {'what': 'write'},
        # killed while its companion is at work in another process, which ends after that is known
        'killed': {'what': 'kill', 'when': str(folder / 'companion.begun')},
        'companion': {'what': 'write', 'when': str(folder / 'crash' / 'crash-*-killed-*')},
        'after_killed': {'what': 'write'},
    }
    edges = [
        ('chain1', 'chain2'),
        ('raises', 'after_raises'),
        ('chain2', 'exits'),
        ('exits', 'after_exits'),
        ('killed', 'after_killed'),
    ]
    told = troubles.finish(troubles.start(folder, n_procs=4, nodes=nodes, edges=edges), folder)
    return folder, told


def test_a_worker_that_dies_fails_its_own_node(after_deaths):
    _, told = after_deaths
    for node in ('top.exits', 'top.killed'):
        cause, _, remedy = told['failures'][node].partition('; ')
        assert 'worker process' in cause
        assert 'memory' in cause
        assert '--nprocs' in remedy or '--mem-gb' in remedy, 'what follows "; " is the next step'


def test_other_nodes_run_to_their_end(after_deaths):
    folder, told = after_deaths
    assert told['failures']['top.raises'] == 'scan.nii: too dark; switch on the light'
    for name in ('chain1', 'chain2'):
        assert (folder / f'{name}.txt').exists(), name


def test_a_node_at_work_beside_a_worker_that_dies_is_unharmed(after_deaths):
    folder, told = after_deaths
    assert set(told['failures']) == {'top.raises', 'top.exits', 'top.killed'}
    assert (folder / 'companion.txt').exists()


def test_what_depends_on_a_failed_node_is_not_run(after_deaths):
    folder, told = after_deaths
    for name in ('after_raises', 'after_exits', 'after_killed'):
        assert not (folder / f'{name}.begun').exists()
        assert f'top.{name}' not in told['failures']


def test_statuses_are_told_once(after_deaths):
    _, told = after_deaths
    of = {
        name: [status for node, status in told['statuses'] if node == f'top.{name}']
        for name in ('chain1', 'raises', 'killed', 'after_raises')
    }
    assert of == {
        'chain1': ['start', 'end'],
        'raises': ['start', 'exception'],
        'killed': ['start', 'exception'],
        'after_raises': [],
    }


def places(folder, names):
    """Device and process of each node that wrote its file."""
    return {name: tuple((folder / f'{name}.txt').read_text().split()) for name in names}


def test_each_gpu_has_one_node_at_a_time_and_one_process(tmp_path):
    # two wait for each other: they can only end when both devices are at work at once
    nodes = {
        'one': {'use_gpu': True, 'network': 'net', 'when': str(tmp_path / 'two.begun')},
        'two': {'use_gpu': True, 'network': 'net', 'when': str(tmp_path / 'one.begun')},
    }
    nodes |= {f'more{n}': {'use_gpu': True, 'network': 'net'} for n in range(6)}
    nodes |= {f'plain{n}': {} for n in range(4)}
    process = troubles.start(
        tmp_path, n_procs=6, n_threads=1, devices=('cuda:0', 'cuda:1'), nodes=nodes
    )
    told = troubles.finish(process, tmp_path)
    assert told['failures'] == {}, 'a node found another one on its device'
    found = places(tmp_path, nodes)
    on_gpu = {name: place for name, place in found.items() if not name.startswith('plain')}
    assert {device for device, _ in on_gpu.values()} == {'cuda:0', 'cuda:1'}
    # what a process has loaded for a device serves all images of that device
    assert len(set(on_gpu.values())) == 2
    others = {process for name, (_, process) in found.items() if name.startswith('plain')}
    assert not others & {process for _, process in on_gpu.values()}


def test_nodes_with_one_network_share_a_process_when_they_run_in_turns(tmp_path):
    nodes = {}
    for n in range(5):
        nodes |= {f'net{n}': {'network': 'net'}, f'plain{n}': {}}
    edges = [(f'net{n}', f'plain{n}') for n in range(5)]
    edges += [(f'plain{n}', f'net{n + 1}') for n in range(4)]
    process = troubles.start(tmp_path, n_procs=2, nodes=nodes, edges=edges)
    assert troubles.finish(process, tmp_path)['failures'] == {}
    found = places(tmp_path, nodes)
    assert len({found[f'net{n}'] for n in range(5)}) == 1
    assert found['net0'] not in {found[f'plain{n}'] for n in range(5)}


def test_what_a_worker_began_with_is_there_for_the_first_task_with_its_key(tmp_path):
    workers = Workers(str(tmp_path))
    try:
        workers.begin(os.putenv, 'NOTHING', 'now', key='net')  # any task that takes its time
        first = workers.submit(os.getpid, key='net').result(60)
        assert workers.submit(os.getpid, key='net').result(60) == first
        assert workers.submit(os.getpid).result(60) != first
        assert len(workers._pools) == 2
    finally:
        workers.close()


def lives(process):
    """Whether a process is there and no zombie, which nobody may collect in a container."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize('by', ['SIGTERM of a batch system', 'Ctrl-C at a terminal'])
def test_an_interrupted_run_ends_its_children(tmp_path, by):
    nodes = {'long': {'what': 'write', 'when': str(tmp_path / 'never')}}
    process = troubles.start(tmp_path, n_procs=2, nodes=nodes, new_session=True)
    assert troubles.wait_for(tmp_path / 'long.begun', 60), process.communicate(timeout=5)
    children = psutil.Process(process.pid).children(recursive=True)
    assert int((tmp_path / 'long.begun').read_text()) in {child.pid for child in children}
    if by.startswith('SIGTERM'):
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)  # a terminal tells all processes of the group
    try:
        out, _ = process.communicate(timeout=troubles.PATIENCE_S - 5)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail('the interrupted run goes on')
    assert troubles.until(lambda: not any(map(lives, children)), 5), children
    assert 'KeyboardInterrupt' in out
    assert process.returncode != 0
    assert not (tmp_path / 'long.txt').exists()


def test_stopping_at_the_first_crash_ends_what_still_runs(tmp_path):
    nodes = {
        'raises': {'what': 'raise', 'when': str(tmp_path / 'long.begun')},
        'long': {'what': 'write', 'when': str(tmp_path / 'never')},
        'later': {'what': 'write'},
    }
    told = troubles.finish(
        troubles.start(
            tmp_path, n_procs=2, nodes=nodes, edges=[('long', 'later')], stop_on_first_crash=True
        ),
        tmp_path,
    )
    assert set(told['failures']) == {'top.raises'}
    assert not (tmp_path / 'later.txt').exists()
    assert not (tmp_path / 'long.txt').exists(), (
        'the run waited for a node that it no longer wants'
    )


class Pool:
    """Take jobs and never end them."""

    def submit(self, *args, **options):
        return Future()

    def shutdown(self, *args, **options):
        """Do nothing."""


def test_no_job_waits_that_could_be_started(tmp_path, monkeypatch):
    """What is done in the main process frees others; the plugin must not wait before it looks."""
    nodes = {
        'long': {'what': 'write'},
        'local1': {'what': 'write', 'local': True},
        'local2': {'what': 'write', 'local': True},
        'next': {'what': 'write'},
    }
    workflow = troubles.make_workflow(tmp_path, nodes, [('local1', 'local2'), ('local2', 'next')])
    plugin = make_plugin(Resources(n_procs=4, mem_gb=4), lambda node, status: None)
    plugin.pool.shutdown()
    plugin.pool = Pool()
    ready_at_waits = []

    class Report:
        def wait(self, timeout):
            depends = np.asarray(plugin.depidx.sum(axis=0)).ravel() > 0
            ready_at_waits.append(
                [plugin.procs[i].name for i in np.flatnonzero(~plugin.proc_done & ~depends)]
            )
            if (tmp_path / 'local2.txt').exists() and not ready_at_waits[-1]:
                raise KeyboardInterrupt
            if len(ready_at_waits) > 9:
                raise KeyboardInterrupt

        def clear(self):
            """Forget nothing."""

        set = clear

    plugin._reported = Report()
    with pytest.raises(KeyboardInterrupt):
        workflow.run(plugin=plugin)
    assert [names for names in ready_at_waits if names] == []
