"""The choice of programs: what PATH holds, and what is said where something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mriprep import tools
from mriprep.settings import AntsSource
from mriprep.tools import ToolError, activate


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    """A PATH without ANTs; what `activate` sets is undone after the test."""
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv(tools.PYTHON_VARIABLE, '')
    monkeypatch.setenv(tools.LIBRARY_VARIABLE, '')


def path_words() -> list[str]:
    return os.environ['PATH'].split(os.pathsep)


def fake_program(folder: Path, name: str) -> Path:
    program = folder / name
    program.write_text('#!/bin/sh\necho "ANTs Version: v9.8.7"\n')
    program.chmod(0o755)
    return program


def test_activating_twice_is_activating_once(tmp_path):
    activate()
    once = path_words()
    activate(AntsSource.EMBEDDED)
    assert path_words() == once
    assert once[0] == str(tools.BIN)
    assert once[-1] == str(tmp_path)


def test_embedded_programs_win_over_those_on_path(tmp_path):
    fake_program(tmp_path, 'antsRegistration')
    activate()
    for program in tools.ANTS_NEEDED:
        assert shutil.which(program) == str(tools.BIN / program)


def test_system_uses_the_programs_on_path(tmp_path):
    for name in tools.ANTS_NEEDED:
        fake_program(tmp_path, name)
    activate(AntsSource.EMBEDDED)
    activate(AntsSource.SYSTEM)
    assert str(tools.BIN) not in path_words()
    assert tools.PYTHON_VARIABLE not in os.environ
    assert shutil.which('antsRegistration') == str(tmp_path / 'antsRegistration')
    assert tools.program_version('antsRegistration') == '9.8.7'


def test_system_without_ants_names_what_is_missing(tmp_path):
    fake_program(tmp_path, 'antsRegistration')
    activate(AntsSource.EMBEDDED)
    with pytest.raises(ToolError, match='--ants system') as caught:
        activate(AntsSource.SYSTEM)
    assert 'N4BiasFieldCorrection, antsAffineInitializer, antsApplyTransforms not' in str(
        caught.value
    )
    assert '--ants embedded' in str(caught.value)


def test_missing_antspyx_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(tools, 'embedded_ants', lambda: None)
    with pytest.raises(ToolError, match='pip install antspyx'):
        activate()


def test_scripts_that_lost_their_executable_bit_are_reported(monkeypatch, tmp_path):
    (tmp_path / 'antsRegistration').write_text('#!/bin/sh\n')
    monkeypatch.setattr(tools, 'BIN', tmp_path)
    with pytest.raises(ToolError, match=r'not executable; run: chmod \+x'):
        activate()


@pytest.mark.parametrize('source', AntsSource)
def test_dcm2niix_of_the_wheel_comes_first(tmp_path, source):
    for name in ('dcm2niix', *tools.ANTS_NEEDED):
        fake_program(tmp_path, name)
    activate(source)
    assert shutil.which('dcm2niix') == str(tools.embedded_dcm2niix())
    assert tools.versions()['dcm2niix'].startswith('1.0.')


def test_versions_name_what_is_there_and_nothing_else(monkeypatch):
    activate()
    found = tools.versions()
    assert found['ANTs'].startswith('2.')
    assert {'antspyx', 'torch', 'nipype'} <= set(found)
    monkeypatch.setattr(tools, '_PACKAGES', ('no-such-package',))
    monkeypatch.setenv('PATH', '')
    assert tools.versions() == {}


def test_versions_import_no_package():
    code = (
        'import sys, mriprep.tools as t; t.activate(); t.versions();'
        "print(sorted({'torch', 'ants', 'nipype', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, '-c', code], text=True) == '[]\n'
