"""``mriprep fetch``, without network."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from mriprep import weights
from mriprep.cli.fetch import main
from mriprep.extractors import registry
from mriprep.template_flow import TemplateFlowSource
from mriprep.templates import TemplateError


@pytest.mark.parametrize('space', ['T1w', 'MNI152NLin2009aSym:res-1'])
def test_what_comes_with_mriprep_is_not_fetched(monkeypatch, capsys, space):
    monkeypatch.setattr(TemplateFlowSource, 'fetch', None)
    assert main(['--spaces', space]) == 0
    assert capsys.readouterr().out == f'{space}: nothing to fetch\n'


def test_malformed_space_is_one_line(capsys):
    assert main(['--spaces', 'MNI152NLin2009cAsym:wrong']) == 2
    message = capsys.readouterr().err
    assert message.startswith('mriprep fetch: ')
    assert message.count('\n') == 1


@pytest.mark.parametrize('error', [TemplateError('no\nconnection'), PermissionError('no entry')])
def test_one_failure_is_one_line_and_the_others_are_fetched(monkeypatch, capsys, tmp_path, error):
    def fetch(self, space):
        if space.name == 'Bad':
            raise error
        return [tmp_path / 'T1w.nii.gz', tmp_path / 'mask.nii.gz']

    monkeypatch.setattr(TemplateFlowSource, 'fetch', fetch)
    assert main(['--spaces', 'Bad', 'Good:cohort-2:res-1']) == 2
    answer = capsys.readouterr()
    assert answer.err.splitlines() == [f'mriprep fetch: {" ".join(str(error).split())}']
    assert answer.out == f'Good:cohort-2:res-1: 2 files in {tmp_path}\n'


def test_something_must_be_asked_for(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert 'name extractors, or templates with --spaces' in message
    assert message.count('\n') == 1


NET = weights.Weights(name='net', url='', files=('a',), licence='CC0')


@pytest.fixture
def net(monkeypatch):
    """An extractor with weights is the only one; what is fetched is written by the test."""
    monkeypatch.setattr(registry, 'get', lambda name: SimpleNamespace(weights=NET))

    def fetch(wanted, folder, *, progress):
        assert progress is None  # nobody looks at it
        (folder / 'net').mkdir(exist_ok=True)
        (folder / 'net' / 'a').write_bytes(b'weights')
        return folder / 'net'

    monkeypatch.setattr(weights, 'fetch', fetch)


def test_fetched_weights_are_shown_with_folder_licence_and_checksum(net, capsys, tmp_path):
    assert main(['net', '--weights-dir', str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f'net: in {tmp_path / "net"}',
        '  licence: CC0',
        f'  SHA-256 of the weights: {weights.checksum(NET, tmp_path)}',
    ]


def test_weights_that_can_not_be_had_are_one_line_and_templates_are_still_fetched(
    net, monkeypatch, capsys
):
    def fail(*_, **__):
        raise weights.WeightsError('net: no\nconnection')

    monkeypatch.setattr(weights, 'fetch', fail)
    assert main(['net', '--spaces', 'T1w']) == 2
    answer = capsys.readouterr()
    assert answer.err == 'mriprep fetch: net: no connection\n'
    assert answer.out == 'T1w: nothing to fetch\n'


def test_what_comes_in_a_wheel_is_not_fetched(monkeypatch, capsys):
    monkeypatch.setattr(weights, 'fetch', None)
    assert main(['deepbet']) == 0
    assert capsys.readouterr().out == 'deepbet: nothing to fetch, its weights come in its wheel\n'


def test_unknown_extractor_is_one_line_with_the_known_ones(capsys):
    assert main(['no-such-net']) == 2
    message = capsys.readouterr().err
    assert message.startswith("mriprep fetch: extractor 'no-such-net'")
    assert 'deepbet' in message
    assert message.count('\n') == 1


@pytest.mark.parametrize('name', ['hd-bet', 'synthstrip'])
def test_extractors_with_weights_name_them(name):
    found = registry.get(name).weights
    assert found.name == name
    assert found.url.startswith('https://')
    assert found.licence


def test_progress_is_shown_to_a_person(monkeypatch):
    from mriprep.cli.fetch import progress_bar

    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    with progress_bar('net') as progress:
        progress(10, None)
        progress(20, 20)


def test_help_imports_nothing_heavy():
    code = (
        'import sys; from mriprep.cli.fetch import make_parser; make_parser().format_help(); '
        'heavy = {"requests", "rich", "numpy", "torch", "platformdirs"} & set(sys.modules); '
        'print(sorted(heavy))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == '[]\n'
