"""``mriprep fetch``, without network."""

from __future__ import annotations

import pytest

from mriprep.cli.fetch import main
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


def test_a_space_must_be_given(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert '--spaces' in capsys.readouterr().err
