"""HD-BET: where its weights are looked for, what it declares, what a run leaves behind."""

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tiny_nnunet

from mriprep.extractors import hdbet
from mriprep.extractors.base import ExtractorError, LoadOptions, MapKind
from mriprep.extractors.hdbet import EXTRACTOR, WEIGHTS

needs_nnunet = pytest.mark.skipif(
    importlib.util.find_spec('nnunetv2') is None, reason='nnunetv2 is not installed'
)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A user without weights anywhere; returns the home."""
    home = tmp_path / 'home'
    monkeypatch.setenv('HOME', str(home))
    monkeypatch.setenv('USERPROFILE', str(home))
    monkeypatch.setenv('MRIPREP_WEIGHTS_DIR', str(tmp_path / 'weights'))
    monkeypatch.setitem(sys.modules, 'HD_BET.paths', None)
    return home


def test_what_it_declares():
    facts = EXTRACTOR.facts
    assert facts.name == WEIGHTS.name == 'hd-bet'
    assert facts.gives is MapKind.PROBABILITY
    assert facts.augments
    assert set(WEIGHTS.files) == set(tiny_nnunet.FILES)
    assert WEIGHTS.archive
    assert WEIGHTS.url.startswith('https://')


@needs_nnunet
def test_absent_weights_are_named_with_what_to_do(nowhere, tmp_path):
    assert EXTRACTOR.problem() is not None
    assert 'mriprep fetch hd-bet' in EXTRACTOR.problem()
    with pytest.raises(ExtractorError, match='mriprep fetch hd-bet'):
        EXTRACTOR.load(LoadOptions(weights_dir=tmp_path))


def test_an_absent_package_is_named_with_what_to_do(nowhere, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert 'pip install "mriprep[hd-bet]"' in EXTRACTOR.problem()


@needs_nnunet
@pytest.mark.parametrize('where', ['own', 'named', 'given'])
def test_weights_are_found_and_used(nowhere, tmp_path, where):
    place, given = {
        'own': (nowhere / 'hd-bet_params' / 'release_2.0.0', None),
        'named': (tmp_path / 'weights' / 'hd-bet', None),
        'given': (tmp_path / 'other' / 'hd-bet', tmp_path / 'other'),
    }[where]
    tiny_nnunet.write_folder(place, known={})
    assert EXTRACTOR.problem(given) is None
    assert len(EXTRACTOR.checksum(given)) == 64
    network = EXTRACTOR.load(LoadOptions(weights_dir=given))
    volume, truth = tiny_nnunet.box((20, 21, 22), (3, 4, 5), (10, 12, 14))
    found = network(volume, np.eye(4), n_threads=1)
    np.testing.assert_array_equal(found.values > 0.5, truth)


def test_the_folder_that_hd_bet_was_told_is_looked_into(nowhere, monkeypatch, tmp_path):
    paths = type(sys)('HD_BET.paths')
    paths.folder_with_parameter_files = str(tmp_path / 'mine')
    monkeypatch.setitem(sys.modules, 'HD_BET', type(sys)('HD_BET'))
    monkeypatch.setitem(sys.modules, 'HD_BET.paths', paths)
    assert hdbet.own_folders() == (
        nowhere / 'hd-bet_params' / 'release_2.0.0',
        tmp_path / 'mine',
    )


@needs_nnunet
def test_a_fresh_process_stays_silent_and_clean(tmp_path):
    tiny_nnunet.write_folder(tmp_path / 'weights' / 'hd-bet', known={}, spacing=(2, 1, 1))
    here = tmp_path / 'here'
    here.mkdir()
    script = """
        import os, sys
        from pathlib import Path
        environment, stdout, stderr = dict(os.environ), sys.stdout, sys.stderr
        from mriprep.extractors.base import LoadOptions
        from mriprep.extractors.hdbet import EXTRACTOR
        weights = Path(sys.argv[1])
        assert EXTRACTOR.problem(weights) is None
        heavy = {'torch', 'nnunetv2', 'scipy', 'SimpleITK'} & set(sys.modules)
        assert not heavy, heavy
        network = EXTRACTOR.load(LoadOptions(weights_dir=weights))
        import numpy as np
        volume = np.full((20, 21, 22), 10, np.float32)
        volume[5:12, 6:14, 7:15] = 100
        found = network(volume, np.eye(4), n_threads=1)
        assert (found.values > 0.5).any()
        import multiprocessing
        assert not multiprocessing.active_children()
        assert dict(os.environ) == environment, set(os.environ) ^ set(environment)
        assert sys.stdout is stdout
        assert sys.stderr is stderr
        assert 'HD_BET.hd_bet_prediction' not in sys.modules
    """
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', textwrap.dedent(script), str(tmp_path / 'weights')],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ('', '', 0)
    assert not list(Path(here).iterdir())
