"""The share of a machine that control groups leave."""

from __future__ import annotations

import os

import pytest

from mriprep.machine import (
    available_memory_gb,
    available_processors,
    cgroup_memory,
    cgroup_processors,
)


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace('__', '.')).write_text(f'{text}\n')


def test_version_2_takes_the_smallest_of_a_group_and_its_parents(tmp_path):
    write(tmp_path / 'slurm', memory__max=8 * 2**30, cpu__max='400000 100000')
    write(tmp_path / 'slurm' / 'job', memory__max=2**32, cpu__max='max 100000')
    assert cgroup_memory(tmp_path, '0::/slurm/job\n') == 2**32
    assert cgroup_processors(tmp_path, '0::/slurm/job\n') == 4


def test_version_1_has_a_mount_for_each_controller(tmp_path):
    write(tmp_path / 'memory' / 'job', memory__limit_in_bytes=2**31)
    write(tmp_path / 'cpu' / 'job', cpu__cfs_quota_us=150000, cpu__cfs_period_us=100000)
    membership = '4:memory:/job\n2:cpu:/job\n'
    assert cgroup_memory(tmp_path, membership) == 2**31
    assert cgroup_processors(tmp_path, membership) == 1.5


def test_path_of_the_host_inside_a_container(tmp_path):
    write(tmp_path / 'memory', memory__limit_in_bytes=2**30)
    assert cgroup_memory(tmp_path, '4:memory:/docker/abc\n') == 2**30


@pytest.mark.parametrize('membership', ['', '0::/', '2:cpu:/job'])
def test_no_limit(tmp_path, membership):
    write(tmp_path, memory__max='max', cpu__max='max 100000')
    write(tmp_path / 'cpu' / 'job', cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    assert cgroup_memory(tmp_path, membership) is None
    assert cgroup_processors(tmp_path, membership) is None


def test_this_process_has_a_share():
    assert 1 <= available_processors() <= os.cpu_count()
    assert available_memory_gb() > 0
