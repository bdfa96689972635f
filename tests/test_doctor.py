"""What the doctor finds, and what it says where something is missing."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest

from mriprep import doctor, gpus, network_findings, tools
from mriprep.cli.doctor import main
from mriprep.doctor import can_run
from mriprep.extractors import deepbet, registry
from mriprep.extractors.base import Facts
from mriprep.findings import State
from mriprep.weights import Weights, checksum


def by_name(findings, name):
    (finding,) = (each for each in findings if each.name == name)
    return finding


def test_this_machine_can_run_and_nothing_is_written_or_fetched(monkeypatch, tmp_path):
    def refuse(*_):
        raise AssertionError('the doctor reached for the network')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(tmp_path / 'templates'))
    monkeypatch.setenv('MRIPREP_WEIGHTS_DIR', str(tmp_path / 'weights'))
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


# extractors and their weights


@dataclass(frozen=True)
class Optional:
    """An extractor whose weights are fetched."""

    facts: Facts
    weights: Weights | None = None
    trouble: str | None = None

    def problem(self, weights_dir=None):
        return self.trouble


FACTS = Facts(
    name='hd-bet',
    title='HD-BET 2',
    package='numpy',
    citations=(),
    licence='BSD',
    contrasts=('T1w',),
    ages_years=(0, 100),
    memory_gb=1,
    gpu_memory_gb=None,
)
WEIGHTS = Weights(name='hd-bet', url='', files=('a',), licence='CC0')


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Folder of the weights, which are not there yet."""
    monkeypatch.setenv('MRIPREP_WEIGHTS_DIR', str(tmp_path))
    place = tmp_path / 'hd-bet'
    place.mkdir()
    return place


def look(extractor):
    return network_findings.extractor(extractor.facts.name, extractor)


def test_every_registered_extractor_is_looked_at_and_none_is_required():
    found = {each.name: each for each in network_findings.extractors()}
    assert set(found) == set(registry.names()) - {'deepbet'}
    assert can_run(found.values())


def test_weights_that_are_not_here_are_fetched(folder):
    found = look(Optional(FACTS, WEIGHTS, 'no weights'))
    assert (found.state, found.origin) == (State.NOTE, '')
    assert found.value == 'HD-BET 2; its weights are not here; licence CC0'
    assert found.remedy == 'mriprep fetch hd-bet'


def test_weights_that_are_here_are_shown_with_folder_checksum_and_licence(folder):
    (folder / 'a').write_bytes(b'weights')
    found = look(Optional(FACTS, WEIGHTS))
    assert (found.state, found.origin, found.remedy) == (State.OK, str(folder), '')
    assert found.value == f'HD-BET 2; sha256 {checksum(WEIGHTS)}; licence CC0'


def test_changed_weights_are_a_note_with_the_remedy(folder):
    (folder / 'a').write_bytes(b'weights')
    record = {'date': 'Monday', 'sha256': 'x', 'files': {'a': {'sha256': 'x', 'size': 7}}}
    (folder / 'origin.json').write_text(json.dumps(record))
    found = look(Optional(FACTS, WEIGHTS))
    assert (found.state, found.remedy) == (State.NOTE, 'mriprep fetch hd-bet')
    assert f'{folder / "a"}: not what was fetched on Monday' in found.value


def test_absent_package_is_installed_as_an_extra_of_mriprep(folder):
    absent = replace(FACTS, package='no-such-package')
    found = look(Optional(absent, WEIGHTS, 'not installed'))
    assert found.state is State.NOTE
    assert 'no-such-package is not installed' in found.value
    assert found.remedy.endswith(" -m pip install 'mriprep[hd-bet]' && mriprep fetch hd-bet")
    found = look(Optional(replace(absent, name='of-others'), None, 'not installed'))
    assert found.remedy.endswith("install 'no-such-package'")


def test_extractor_without_weights_is_fine_or_says_its_problem():
    assert look(Optional(FACTS)).value == 'HD-BET 2; licence BSD'
    found = look(Optional(FACTS, None, 'it is ill; cure it'))
    assert (found.state, found.value) == (State.NOTE, 'HD-BET 2; it is ill; cure it')


def test_user_without_home_for_weights_still_gets_an_answer(monkeypatch):
    import platformdirs

    def fail(*_, **__):
        raise RuntimeError('no home')

    monkeypatch.delenv('MRIPREP_WEIGHTS_DIR', raising=False)
    monkeypatch.setattr(platformdirs, 'user_data_path', fail)
    assert look(Optional(FACTS, WEIGHTS)).state is State.NOTE


def test_broken_extractor_of_somebody_else_is_a_note(monkeypatch):
    def get(name):
        raise registry.ExtractorError(f'{name} is broken')

    monkeypatch.setattr(registry, 'names', lambda: ('deepbet', 'foreign'))
    monkeypatch.setattr(registry, 'get', get)
    (found,) = network_findings.extractors()
    assert (found.name, found.state, found.value) == ('foreign', State.NOTE, 'foreign is broken')


# torch and GPUs


@pytest.mark.parametrize(
    ('build', 'state', 'value'),
    [
        (gpus.TorchBuild(version='2.9', cuda=None), State.OK, 'for processors, without CUDA'),
        (gpus.TorchBuild(version='2.9', cuda='12.8'), State.OK, 'for CUDA 12.8'),
        (None, State.MISSING, 'torch is not there'),
    ],
)
def test_build_of_torch(monkeypatch, build, state, value):
    monkeypatch.setattr(gpus, 'torch_build', lambda: build)
    found = doctor.torch()
    assert (found.state, found.value) == (state, value)
    assert found.remedy.endswith("install 'torch' --force-reinstall") == (build is None)


GPU = gpus.Gpu(index=0, name='Made up', memory_gb=24)


@pytest.mark.parametrize(
    ('driver', 'cuda', 'state', 'value'),
    [
        (gpus.Driver(), None, State.NOTE, 'none, and not needed'),
        (gpus.Driver(problem='ill'), '12.8', State.NOTE, 'ill; repair the driver'),
        (gpus.Driver(gpus=(GPU,), cuda='12.9'), '12.8', State.OK, 'cuda:0 Made up, 24 GiB'),
        (gpus.Driver(gpus=(GPU,), cuda='12.9'), None, State.NOTE, 'torch 2.9 is a CPU build'),
    ],
)
def test_gpu_is_shown_or_why_it_can_not_be_used(monkeypatch, driver, cuda, state, value):
    monkeypatch.setattr(gpus, 'driver', lambda: driver)
    monkeypatch.setattr(gpus, 'torch_build', lambda: gpus.TorchBuild(version='2.9', cuda=cuda))
    monkeypatch.setattr(gpus, 'has_mps', lambda: False)
    found = doctor.gpu()
    assert found.state is state
    assert value in found.value
    assert found.origin == (f'driver for CUDA up to {driver.cuda}' if driver.cuda else '')


def test_torch_is_not_imported():
    code = (
        'import sys; from mriprep.cli.doctor import main; main(["--json"]); '
        'sys.exit("torch" in sys.modules or "HD_BET.hd_bet_prediction" in sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, check=False)
    assert done.returncode == 0
