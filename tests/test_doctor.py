"""What the doctor finds, and what it says where something is missing."""

from __future__ import annotations

import json
import shutil
import socket

import pytest

from mriprep import doctor, tools
from mriprep.cli.doctor import main
from mriprep.doctor import State, can_run
from mriprep.extractors import deepbet


def by_name(findings, name):
    (finding,) = (each for each in findings if each.name == name)
    return finding


def test_this_machine_can_run_and_nothing_is_written_or_fetched(monkeypatch, tmp_path):
    def refuse(*_):
        raise AssertionError('the doctor reached for the network')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(tmp_path / 'templates'))
    findings = doctor.examine([tmp_path / 'work'])
    assert can_run(findings)
    assert list(tmp_path.iterdir()) == []
    assert by_name(findings, 'ANTs (embedded)').value.startswith('2.')
    assert by_name(findings, 'TemplateFlow').remedy.startswith('mriprep fetch --spaces ')
    assert by_name(findings, 'disk').origin == str(tmp_path / 'work')


@pytest.mark.parametrize('name', ['antspyx', 'deepbet', 'nipype', 'torch'])
def test_requirements_of_mriprep_are_looked_at(name):
    found = by_name(doctor.packages(), name)
    assert found.state is State.OK
    assert found.remedy == ''


def test_extras_are_not_required():
    assert 'pytest' not in {finding.name for finding in doctor.packages()}


@pytest.mark.parametrize(
    ('name', 'value'), [('no-such-package', 'not installed'), ('numpy', '>=999 is needed')]
)
def test_a_package_that_is_missing_or_old_can_be_mended(name, value):
    found = doctor.package(name, '>=999')
    assert found.state is State.MISSING
    assert value in found.value
    assert found.remedy.endswith(f"-m pip install '{name}>=999'")
    assert not can_run([found])


def test_without_antspyx_nothing_runs(monkeypatch):
    monkeypatch.setattr(tools, 'embedded_ants', lambda: None)
    found = by_name(doctor.ants(), 'ANTs (embedded)')
    assert found.state is State.MISSING
    assert found.remedy.endswith("install 'antspyx'")


def test_without_executable_scripts_nothing_runs(monkeypatch, tmp_path):
    (tmp_path / 'antsRegistration').touch()
    monkeypatch.setattr(tools, 'BIN', tmp_path)
    found = by_name(doctor.ants(), 'ANTs (embedded)')
    assert found.state is State.MISSING
    assert found.remedy == f'chmod +x {tmp_path}/*'


def test_half_an_ants_installation_is_named_and_does_no_harm(monkeypatch, tmp_path):
    program = tmp_path / 'antsRegistration'
    program.write_text('#!/bin/sh\necho "ANTs Version: v9.8.7"\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tools.BIN}:{tmp_path}')
    found = by_name(doctor.ants(), 'ANTs (system)')
    assert (found.state, found.origin) == (State.NOTE, str(program))
    assert 'lacks N4BiasFieldCorrection' in found.value
    for name in tools.ANTS_NEEDED:
        shutil.copy(program, tmp_path / name) if name != program.name else None
    found = by_name(doctor.ants(), 'ANTs (system)')
    assert (found.state, found.value) == (State.OK, '9.8.7')


def test_one_changed_byte_in_the_weights_is_found(monkeypatch, tmp_path):
    for path in deepbet.weights_folder().glob('*.pt'):
        shutil.copy(path, tmp_path)
    assert doctor.weights().state is State.OK
    monkeypatch.setattr(deepbet, 'weights_folder', lambda: tmp_path)
    assert doctor.weights().state is State.OK
    content = bytearray((tmp_path / 'model.pt').read_bytes())
    content[1000] ^= 1
    (tmp_path / 'model.pt').write_bytes(content)
    found = doctor.weights()
    assert found.state is State.MISSING
    assert found.value == 'missing or damaged: model.pt'
    assert '--force-reinstall' in found.remedy
    (tmp_path / 'bbox_model.pt').unlink()
    assert doctor.weights().value == 'missing or damaged: model.pt, bbox_model.pt'


def test_placeholders_of_templateflow_are_no_templates(tmp_path):
    for name, content in (('A', b''), ('B', b'image'), ('C/cohort-1', b'image')):
        folder = tmp_path / f'tpl-{name}'
        folder.mkdir(parents=True)
        (folder / 'T1w.nii.gz').write_bytes(content)
    found = doctor.template_cache(tmp_path)
    assert (found.state, found.value, found.remedy) == (State.OK, '2: B, C', '')


def test_template_folder_is_the_one_of_templateflow(monkeypatch, tmp_path):
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(tmp_path))
    assert doctor.template_home() == tmp_path


def test_user_without_home_is_told(monkeypatch):
    import platformdirs

    def fail(_):
        raise RuntimeError('could not determine the home directory')

    monkeypatch.delenv('TEMPLATEFLOW_HOME', raising=False)
    monkeypatch.setattr(platformdirs, 'user_cache_path', fail)
    found = doctor.template_cache(doctor.template_home())
    assert found.state is State.MISSING
    assert found.remedy.startswith('export HOME=')


def test_little_disk_is_a_note(monkeypatch, tmp_path):
    usage = type(shutil.disk_usage(tmp_path))(2**40, 2**40 - 2**30, 2**30)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage)
    found = doctor.disk(tmp_path)
    assert (found.state, found.value) == (State.NOTE, '1.0 GiB free')


def test_exit_code_and_json_agree(monkeypatch, capsys):
    assert main(['--json']) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer['can_run'] is True
    assert {'topic', 'name', 'state', 'value', 'origin', 'remedy'} == set(answer['findings'][0])
    monkeypatch.setattr(tools, 'embedded_ants', lambda: None)
    assert main(['--json']) == 1
    assert json.loads(capsys.readouterr().out)['can_run'] is False


def test_table_ends_with_commands_to_copy(monkeypatch, capsys):
    monkeypatch.setattr(tools, 'embedded_ants', lambda: None)
    monkeypatch.setenv('COLUMNS', '60')
    assert main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert f'    {doctor.install("antspyx")}' in lines
    assert lines[-1] == 'mriprep can not run here yet.'
