"""HD-BET in a whole run: weights fetched from a server, then one network for all images."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from functools import partial

import nibabel as nb
import pytest
import tiny_nnunet
from runs import newest_log, quick, run

pytest.importorskip('nnunetv2', reason='nnunetv2 is not installed')


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server(tmp_path):
    """A local server with a tiny HD-BET; returns the address of its archive."""
    folder = tmp_path / 'server'
    tiny_nnunet.write_folder(folder / 'release', known={}, spacing=(4, 4, 4))
    shutil.make_archive(str(folder / 'release'), 'zip', folder / 'release')
    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever, daemon=True)
        thread.start()
        yield f'http://127.0.0.1:{web.server_port}/release.zip'
        web.shutdown()


def test_fetched_loaded_once_and_recorded(tmp_path, tiny_bids, server, monkeypatch, capsys):
    monkeypatch.setenv('MRIPREP_WEIGHTS_URL_HD_BET', server)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    out = tmp_path / 'out'
    words = [word for word in quick(tmp_path / 'settings') if word != '--offline']
    words += ['--extractor', 'hd-bet', '--weights-dir', tmp_path / 'weights', '-w']
    # a network that finds what is bright finds no brain: the guard says so, and is overruled
    words += [tmp_path / 'work', '--device', 'cpu', '--second-extractor', 'none', '--force']
    assert run(tiny_bids, out, *words, '--dry-run') == 0
    assert 'the weights of HD-BET 2 would be fetched first' in capsys.readouterr().err
    assert not (tmp_path / 'weights').exists()
    assert run(tiny_bids, out, *words, '--dry-run', '--offline') == 2
    capsys.readouterr()

    assert run(tiny_bids, out, *words) == 0
    told = capsys.readouterr()
    assert 'fetching the weights of HD-BET' in told.err
    assert told.out == ''
    origin = json.loads((tmp_path / 'weights/hd-bet/origin.json').read_text())
    for subject in ('01', '02'):
        stem = out / f'sub-{subject}/anat/sub-{subject}_desc-brain'
        sidecar = json.loads(stem.with_name(f'{stem.name}_mask.json').read_text())
        assert sidecar['Extractor'].startswith('hd-bet')
        assert sidecar['Device'] == 'cpu'
        assert len(sidecar['WeightsSHA256']) == 64
        (step,) = (step for step in sidecar['Steps'] if step['Name'] == 'extract')
        # averaging over mirrored images is for GPUs
        assert step['Parameters']['test_time_augmentation'] is False
        probability = nb.load(stem.with_name(f'{stem.name}_probseg.nii.gz')).get_fdata()
        assert probability.min() >= 0
        assert probability.max() == pytest.approx(1, abs=1e-3)
    assert origin['sha256']
    log = newest_log(out, 'mriprep.log').read_text()
    assert log.count('extractor hd-bet: loaded on cpu') == 1

    # everything is here now: no network is needed, and nothing is done twice
    monkeypatch.setenv('MRIPREP_WEIGHTS_URL_HD_BET', 'http://127.0.0.1:9/gone')
    assert run(tiny_bids, out, *words, '--offline') == 0
