"""Which GPUs there are and which devices a run uses, without importing torch, which takes seconds.

The driver's own library is asked, in a child process: it numbers and hides devices exactly as
torch will (NVML knows neither ``CUDA_VISIBLE_DEVICES`` nor torch's order), and initializing it
here would break CUDA in every process forked from this one.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mriprep.settings import SettingsError

LIBRARY = 'libcuda.so.1'
TIMEOUT_S = 60  # a driver that wakes many GPUs takes seconds; a broken one hangs


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One CUDA device, as torch will number it."""

    index: int
    name: str
    memory_gb: float  # in all, in units of 2**30 bytes

    def __str__(self) -> str:
        return f'cuda:{self.index} {self.name}, {self.memory_gb:.0f} GiB'


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What the NVIDIA driver of this machine says."""

    gpus: tuple[Gpu, ...] = ()
    cuda: str | None = None  # newest CUDA version that it serves, such as '12.4'
    problem: str = ''  # why it has no GPU, where it is installed but says so


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchBuild:
    """The torch that is installed."""

    version: str
    cuda: str | None  # CUDA version that it is built for; None for a CPU build


def cuda_devices() -> tuple[Gpu, ...]:
    """Return the CUDA devices that this process may use; empty without a driver."""
    return driver().gpus


def driver() -> Driver:
    """Ask the NVIDIA driver; never fails."""
    return _driver(os.environ.get('CUDA_VISIBLE_DEVICES'))


@functools.cache
def _driver(visible: str | None) -> Driver:  # what the driver shows depends on the variable
    try:
        ctypes.CDLL(LIBRARY)  # initializes nothing
    except OSError:
        return Driver()
    try:
        answer = subprocess.run(
            [sys.executable, '-P', '-m', 'mriprep.gpus', LIBRARY],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        ).stdout
        values = json.loads(answer.splitlines()[-1])
        gpus = tuple(Gpu(**item) for item in values.pop('gpus'))
        return Driver(gpus=gpus, **values)
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, LookupError) as error:
        return Driver(problem=f'the NVIDIA driver does not answer ({type(error).__name__})')


def read_driver(library: Any) -> Driver:
    """Ask the driver's library, which is initialized in this process.

    Parameters
    ----------
    library : ctypes.CDLL
        ``libcuda``.
    """
    if code := library.cuInit(0):
        return Driver(problem=f'the NVIDIA driver can not start ({_error_text(library, code)})')
    number = ctypes.c_int()
    cuda = None
    if library.cuDriverGetVersion(ctypes.byref(number)) == 0:
        cuda = f'{number.value // 1000}.{number.value % 1000 // 10}'
    count = ctypes.c_int()
    if code := library.cuDeviceGetCount(ctypes.byref(count)):
        problem = f'the NVIDIA driver counts no GPUs ({_error_text(library, code)})'
        return Driver(cuda=cuda, problem=problem)
    gpus = []
    for index in range(count.value):
        device, size = ctypes.c_int(), ctypes.c_size_t()
        name = ctypes.create_string_buffer(256)
        if (
            library.cuDeviceGet(ctypes.byref(device), index)
            or library.cuDeviceGetName(name, len(name), device)
            or library.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        ):
            break  # torch numbers without gaps
        words = name.value.decode(errors='replace')
        gpus.append(Gpu(index=index, name=words, memory_gb=size.value / 2**30))
    return Driver(gpus=tuple(gpus), cuda=cuda)


def _error_text(library: Any, code: int) -> str:
    text = ctypes.c_char_p()
    library.cuGetErrorString(code, ctypes.byref(text))
    return (
        f'error {code}: {text.value.decode(errors="replace")}' if text.value else f'error {code}'
    )


def torch_build() -> TorchBuild | None:
    """Return version and build of the installed torch, read from its files; None without one."""
    spec = importlib.util.find_spec('torch')
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name('version.py').read_text(encoding='utf-8')
    except OSError:
        return None
    values = dict(
        re.findall(r'^(\w+)\s*(?::[^=\n]*)?=\s*[\'"]([^\'"\n]*)[\'"]', text, re.MULTILINE)
    )
    return TorchBuild(version=values.get('__version__', 'unknown'), cuda=values.get('cuda'))


def resolve_device(word: str) -> tuple[str, ...]:
    """Turn what ``--device`` says into the devices that networks run on.

    Parameters
    ----------
    word : str
        ``auto``: every CUDA device, else the GPU of an Apple processor, else ``cpu``. ``cuda``:
        every CUDA device. ``cuda:N``, ``mps``, ``cpu``: this one.

    Returns
    -------
    tuple of str
        At least one of ``cuda:N``, ``mps``, ``cpu``.

    Raises
    ------
    SettingsError
        If the word is no device, or the device is not there.
    """
    if word == 'cpu':
        return ('cpu',)
    if word not in ('auto', 'cuda', 'mps') and not re.fullmatch(r'cuda:\d+', word):
        raise SettingsError(
            f'--device {word}: no such device; choose auto, cpu, cuda, cuda:N or mps'
        )
    if word == 'mps':
        if not has_mps():
            raise SettingsError(
                '--device mps: needs an Apple processor with macOS and torch; use --device auto'
            )
        return ('mps',)
    devices = cuda_devices()
    problem = cuda_problem()
    if word == 'auto':
        if problem is None:
            return tuple(f'cuda:{gpu.index}' for gpu in devices)
        return ('mps',) if has_mps() else ('cpu',)
    if problem is not None:
        raise SettingsError(f'--device {word}: {problem}, or use --device cpu')
    wanted = [gpu for gpu in devices if word in ('cuda', f'cuda:{gpu.index}')]
    if not wanted:
        raise SettingsError(
            f'--device {word}: there is no such GPU; there is {"; ".join(map(str, devices))}'
        )
    return tuple(f'cuda:{gpu.index}' for gpu in wanted)


def with_memory(devices: Sequence[str], needed_gb: float) -> tuple[str, ...]:
    """Leave out CUDA devices that have less memory in all; what others use is not known.

    Parameters
    ----------
    devices : sequence of str
        From `resolve_device`.
    needed_gb : float
        In units of 2**30 bytes.
    """
    sizes = {f'cuda:{gpu.index}': gpu.memory_gb for gpu in cuda_devices()}
    return tuple(device for device in devices if sizes.get(device, needed_gb) >= needed_gb)


def cuda_problem() -> str | None:
    """Say why networks can't run on CUDA here, and what to do; None when they can."""
    build, found = torch_build(), driver()
    if not found.gpus:
        if found.problem:
            return f'{found.problem}; repair the driver'
        if os.environ.get('CUDA_VISIBLE_DEVICES') is not None:
            return 'there is no NVIDIA GPU that CUDA_VISIBLE_DEVICES shows; change that variable'
        return 'there is no NVIDIA GPU with a driver; in a container, pass the GPU through'
    listing = '; '.join(map(str, found.gpus))
    if build is None:
        return f'there is {listing}, but torch is not installed; pip install torch'
    if build.cuda is None:
        return (
            f'there is {listing}, but torch {build.version} is a CPU build; '
            'install a torch that is built for CUDA'
        )
    if found.cuda is not None and _major(build.cuda) > _major(found.cuda):
        return (
            f'there is {listing}, but torch {build.version} is built for CUDA {build.cuda} and the '
            f'driver serves up to CUDA {found.cuda}; update the driver or install a torch that '
            f'is built for CUDA {_major(found.cuda)}'
        )
    return None


def has_mps() -> bool:
    """Whether torch can use the GPU of an Apple processor."""
    apple = platform.system() == 'Darwin' and platform.machine() == 'arm64'
    return apple and torch_build() is not None


def _major(version: str) -> int:
    found = re.match(r'\d+', version)
    return int(found[0]) if found else 0


if __name__ == '__main__':
    print(json.dumps(asdict(read_driver(ctypes.CDLL(sys.argv[1])))))
