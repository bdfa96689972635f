"""Run a command and measure it: wall time, processor time, memory of the whole process tree."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

INTERVAL_S = 0.1  # between two looks at memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one command took."""

    wall_s: float
    peak_gb: float  # proportional set size, summed over the tree: shared pages count once
    exit_code: int


def cost_of(command: Sequence[str], *, memory: bool = False) -> Cost:
    """Run a command to its end and measure it.

    Looking at memory takes processor time from the command: a run is good for its time or for its
    memory.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    tree = psutil.Process(process.pid)
    while memory and process.poll() is None:
        peak = max(peak, _memory(tree))
        time.sleep(INTERVAL_S)
    process.wait()
    return Cost(
        wall_s=time.perf_counter() - start, peak_gb=peak / 2**30, exit_code=process.returncode
    )


def _memory(tree: psutil.Process) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        for process in [tree, *tree.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total
