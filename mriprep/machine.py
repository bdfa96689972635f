"""How many processors and how much memory this process may use, control groups included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def available_processors() -> int:
    """Count the processors that affinity and control groups leave to this process."""
    if hasattr(os, 'sched_getaffinity'):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    limit = cgroup_processors(Path('/sys/fs/cgroup'), _membership())
    return count if limit is None else max(1, min(count, int(limit)))


def available_memory_gb() -> float:
    """Return the memory that machine and control groups leave to this process.

    In GB of 2**30 bytes; what it may use in all, whatever others use at the moment.
    """
    import psutil

    total = int(psutil.virtual_memory().total)
    limit = cgroup_memory(Path('/sys/fs/cgroup'), _membership())
    return (total if limit is None else min(total, limit)) / 2**30


def cgroup_memory(root: Path, membership: str) -> int | None:
    """Return the smallest memory limit, in bytes, of a process's control groups, or None.

    Parameters
    ----------
    root : Path
        Where control groups are mounted.
    membership : str
        Text of ``/proc/self/cgroup``: lines of ``id:controllers:path``; version 1 and 2.
    """
    limits = [
        int(text)
        for group in _groups(root, membership, 'memory')
        for name in ('memory.max', 'memory.limit_in_bytes')
        if (text := _read(group / name)).isdecimal()
    ]
    return min(limits, default=None)


def cgroup_processors(root: Path, membership: str) -> float | None:
    """Return the smallest processor quota of a process's control groups, or None.

    The parameters are those of `cgroup_memory`.
    """
    limits = []
    for group in _groups(root, membership, 'cpu'):
        quota, _, period = _read(group / 'cpu.max').partition(' ')
        if not quota:
            quota = _read(group / 'cpu.cfs_quota_us')
            period = _read(group / 'cpu.cfs_period_us')
        if quota.isdecimal() and period.isdecimal() and int(period):
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def _groups(root: Path, membership: str, controller: str) -> Iterator[Path]:
    """Yield the folders of a process's groups for one controller, each with its parents.

    Inside a container the path may be the host's: then only the mount's root exists.
    """
    for line in membership.splitlines():
        _, _, rest = line.partition(':')
        controllers, _, path = rest.partition(':')
        if controllers and controller not in controllers.split(','):
            continue
        mount = root / controller if controllers else root
        group = mount / path.strip('/')
        yield from (group, *(parent for parent in group.parents if parent.is_relative_to(mount)))


def _membership() -> str:
    return _read(Path('/proc/self/cgroup'))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ''
