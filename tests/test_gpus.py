"""GPUs are found, and devices chosen, without torch."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from mriprep import gpus
from mriprep.gpus import Driver, Gpu, TorchBuild, read_driver, resolve_device
from mriprep.settings import SettingsError

SMALL = Gpu(index=0, name='Small', memory_gb=8)
LARGE = Gpu(index=1, name='Large', memory_gb=80)
BOTH = Driver(gpus=(SMALL, LARGE), cuda='12.4')
CUDA_TORCH = TorchBuild(version='2.9.0+cu124', cuda='12.4')
CPU_TORCH = TorchBuild(version='2.9.0+cpu', cuda=None)


def library(sizes, *, start=0, count=0, broken=None, text=b'no device'):
    """What ctypes would give for libcuda: devices of these sizes in bytes."""

    def fill(reference, value):
        reference._obj.value = value
        return 0

    def name(buffer, length, device):
        buffer.value = b'GPU %d' % device.value
        return 0

    return SimpleNamespace(
        cuInit=lambda flags: start,
        cuDriverGetVersion=lambda out: fill(out, 12040),
        cuDeviceGetCount=lambda out: count or fill(out, len(sizes)),
        cuDeviceGet=lambda out, index: fill(out, index),
        cuDeviceGetName=name,
        cuDeviceTotalMem_v2=lambda out, device: (
            2 if device.value == broken else fill(out, sizes[device.value])
        ),
        cuGetErrorString=lambda code, out: fill(out, text),
    )


@pytest.fixture
def machine(monkeypatch):
    """Set driver, torch and platform."""

    def have(driver=None, torch=None, apple=False):
        monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
        monkeypatch.setattr(gpus, 'driver', lambda: driver or Driver())
        monkeypatch.setattr(gpus, 'torch_build', lambda: torch)
        monkeypatch.setattr('platform.system', lambda: 'Darwin' if apple else 'Linux')
        monkeypatch.setattr('platform.machine', lambda: 'arm64')

    return have


@pytest.fixture
def fresh():
    """No answer of the driver is remembered, before and after."""
    gpus._driver.cache_clear()
    yield
    gpus._driver.cache_clear()


# the driver


def test_driver_tells_version_names_and_memory():
    found = read_driver(library([8 * 2**30, 80 * 2**30]))
    assert found == Driver(
        gpus=(
            Gpu(index=0, name='GPU 0', memory_gb=8),
            Gpu(index=1, name='GPU 1', memory_gb=80),
        ),
        cuda='12.4',
    )
    assert str(found.gpus[1]) == 'cuda:1 GPU 1, 80 GiB'


def test_driver_that_can_not_start_says_why():
    found = read_driver(library([2**30], start=100))
    assert found == Driver(problem='the NVIDIA driver can not start (error 100: no device)')
    found = read_driver(library([2**30], start=7, text=None))
    assert found.problem.endswith('(error 7)')


def test_driver_that_can_not_count_says_why():
    found = read_driver(library([2**30], count=3))
    assert (found.gpus, found.cuda) == ((), '12.4')
    assert 'error 3' in found.problem


def test_numbers_have_no_gap_after_a_broken_gpu():
    found = read_driver(library([2**30] * 3, broken=1))
    assert [gpu.index for gpu in found.gpus] == [0]


def test_without_library_there_is_none_and_no_process_is_started(monkeypatch, fresh):
    monkeypatch.setattr(gpus, 'LIBRARY', 'libnosuchdriver.so.1')
    monkeypatch.setattr(subprocess, 'run', None)
    assert gpus.cuda_devices() == ()
    assert gpus.driver() == Driver()


SOURCE = """
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { if (CRASH) abort(); return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    *count = visible && !*visible ? 0 : 1;
    return 0;
}
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strcpy(name, "Made up"); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)24 << 30; return 0; }
int cuGetErrorString(int code, const char **text) { *text = "text"; return 0; }
"""


@pytest.fixture(scope='module')
def compiled(tmp_path_factory):
    """Libraries that stand for libcuda: one that works and one that crashes."""
    compiler = shutil.which('cc') or shutil.which('gcc')
    if compiler is None:
        pytest.skip('no C compiler')
    folder = tmp_path_factory.mktemp('libcuda')
    (folder / 'cuda.c').write_text(SOURCE)
    for crash in (0, 1):
        subprocess.run(
            [compiler, '-shared', '-fPIC', f'-DCRASH={crash}', '-o', f'{crash}.so', 'cuda.c'],
            cwd=folder,
            check=True,
        )
    return folder


def test_a_library_is_asked_in_another_process(monkeypatch, fresh, compiled):
    monkeypatch.setattr(gpus, 'LIBRARY', str(compiled / '0.so'))
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    made_up = Gpu(index=0, name='Made up', memory_gb=24)
    assert gpus.driver() == Driver(gpus=(made_up,), cuda='13.0')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert gpus.cuda_devices() == ()
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    monkeypatch.setattr(subprocess, 'run', None)  # the answer is remembered
    assert gpus.cuda_devices() == (made_up,)


def test_a_driver_that_crashes_takes_nobody_along(monkeypatch, fresh, compiled):
    monkeypatch.setattr(gpus, 'LIBRARY', str(compiled / '1.so'))
    found = gpus.driver()
    assert found.gpus == ()
    assert found.problem == 'the NVIDIA driver does not answer (CalledProcessError)'


def test_a_driver_that_hangs_is_given_up(monkeypatch, fresh, compiled):
    def hang(*_, **options):
        raise subprocess.TimeoutExpired('python', options['timeout'])

    monkeypatch.setattr(gpus, 'LIBRARY', str(compiled / '0.so'))
    monkeypatch.setattr(subprocess, 'run', hang)
    assert 'does not answer' in gpus.driver().problem


# torch


@pytest.mark.parametrize(
    ('text', 'version', 'cuda'),
    [
        ("__version__ = '2.9.0+cpu'\ncuda: Optional[str] = None\n", '2.9.0+cpu', None),
        ("__version__ = '2.9.0+cu128'\ncuda: Optional[str] = '12.8'\n", '2.9.0+cu128', '12.8'),
        ("__version__ = '1.9.0'\ncuda = '11.1'\nhip = None\n", '1.9.0', '11.1'),
        ('debug = False\n', 'unknown', None),
    ],
)
def test_build_of_torch_is_read(monkeypatch, tmp_path, text, version, cuda):
    (tmp_path / 'version.py').write_text(text)
    spec = SimpleNamespace(origin=str(tmp_path / '__init__.py'))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: spec)
    assert gpus.torch_build() == TorchBuild(version=version, cuda=cuda)


def test_without_torch_there_is_no_build(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert gpus.torch_build() is None


def test_installed_torch_agrees_and_is_not_imported():
    code = (
        'import sys; from mriprep import gpus; build = gpus.torch_build(); '
        'gpus.resolve_device("auto"); assert "torch" not in sys.modules; '
        'print(build.version, build.cuda)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == metadata.version('torch')


# the choice


@pytest.mark.parametrize(
    ('word', 'devices'),
    [
        ('auto', ('cuda:0', 'cuda:1')),
        ('cuda', ('cuda:0', 'cuda:1')),
        ('cuda:1', ('cuda:1',)),
        ('cpu', ('cpu',)),
    ],
)
def test_gpus_are_used(machine, word, devices):
    machine(BOTH, CUDA_TORCH)
    assert resolve_device(word) == devices


def test_cpu_is_used_without_asking_anything(monkeypatch):
    monkeypatch.setattr(gpus, 'driver', None)
    assert resolve_device('cpu') == ('cpu',)


@pytest.mark.parametrize(
    ('driver', 'torch', 'words'),
    [
        (None, CUDA_TORCH, 'there is no NVIDIA GPU with a driver; in a container'),
        (Driver(problem='the driver is ill'), CUDA_TORCH, 'the driver is ill; repair the driver'),
        (BOTH, None, 'there is cuda:0 Small, 8 GiB; cuda:1 Large, 80 GiB, but torch is not'),
        (BOTH, CPU_TORCH, r'torch 2\.9\.0\+cpu is a CPU build; install a torch .* for CUDA'),
        (
            Driver(gpus=(SMALL,), cuda='11.4'),
            CUDA_TORCH,
            r'built for CUDA 12\.4 and the driver serves up to CUDA 11\.4; update the driver',
        ),
    ],
)
def test_what_can_not_be_had_is_explained_and_auto_does_without(machine, driver, torch, words):
    machine(driver, torch)
    assert resolve_device('auto') == ('cpu',)
    for word in ('cuda', 'cuda:0'):
        with pytest.raises(SettingsError, match=f'--device {word}: .*{words}.*--device cpu'):
            resolve_device(word)


def test_older_minor_version_of_the_driver_will_do(machine):
    machine(Driver(gpus=(SMALL,), cuda='12.0'), CUDA_TORCH)
    assert resolve_device('auto') == ('cuda:0',)


def test_variable_that_hides_every_gpu_is_named(machine, monkeypatch):
    machine(None, CUDA_TORCH)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    with pytest.raises(SettingsError, match='CUDA_VISIBLE_DEVICES'):
        resolve_device('cuda')


def test_gpu_that_is_not_there_is_named_with_those_that_are(machine):
    machine(BOTH, CUDA_TORCH)
    with pytest.raises(SettingsError, match=r'cuda:2: there is no such GPU; .*Small.*Large'):
        resolve_device('cuda:2')


def test_apple_processor(machine):
    machine(None, CPU_TORCH, apple=True)
    assert resolve_device('auto') == resolve_device('mps') == ('mps',)
    machine(None, None, apple=True)
    assert resolve_device('auto') == ('cpu',)
    machine(None, CPU_TORCH)
    with pytest.raises(SettingsError, match='--device mps: needs an Apple processor'):
        resolve_device('mps')


@pytest.mark.parametrize('word', ['gpu', 'cuda:', 'cuda:-1', 'CUDA', 'cuda:1,2', ''])
def test_words_that_are_no_device(word):
    with pytest.raises(SettingsError, match='choose auto, cpu, cuda, cuda:N or mps'):
        resolve_device(word)


@pytest.mark.parametrize(
    ('needed', 'kept'),
    [(4, ('cuda:0', 'cuda:1')), (8, ('cuda:0', 'cuda:1')), (10, ('cuda:1',)), (100, ())],
)
def test_devices_with_too_little_memory_are_left_out(machine, needed, kept):
    machine(BOTH, CUDA_TORCH)
    assert gpus.with_memory(('cuda:0', 'cuda:1'), needed) == kept
    # nothing is known of others
    assert gpus.with_memory(('mps',), needed) == ('mps',)
