"""The main job on real heads; the scans lie outside the repository."""

from __future__ import annotations

import json
import subprocess
import tarfile
from types import SimpleNamespace

import nibabel as nb
import numpy as np
import pytest
from runs import start, validate, warnings_of_others_ignored

from mriprep.extractors import registry
from mriprep.extractors.base import LoadOptions
from mriprep.images import load
from mriprep.interfaces.conform import Conform
from mriprep.masks import binarize_brain
from mriprep.settings import EMBEDDED_SPACE
from mriprep.tools import embedded_dcm2niix
from mriprep.truth import dice


def convert(source, folder, name: str) -> None:
    """Turn one DICOM series into ``NAME.nii.gz`` and ``NAME.json``."""
    folder.mkdir(parents=True)
    alone = 'y' if source.is_file() else 'n'  # not its neighbours
    subprocess.run(
        [embedded_dcm2niix(), '-s', alone, '-z', 'y', '-f', name, '-o', folder, source],
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope='module')
def siemens(test_data, tmp_path_factory):
    """The main job with its defaults on a 2 mm head."""
    root = tmp_path_factory.mktemp('siemens')
    bids, out = root / 'bids', root / 'out'
    source = test_data / 'siemens-xa30-enhanced' / 'ser6_NORM.dcm'
    convert(source, bids / 'sub-xa30' / 'anat', 'sub-xa30_T1w')
    (bids / 'README').write_text('One head, for a test of mriprep.\n')
    (bids / 'dataset_description.json').write_text(
        json.dumps({'Name': 'one head', 'BIDSVersion': '1.10.0', 'DatasetType': 'raw'})
    )
    process = start(bids, out, '-w', root / 'work', '--nprocs', '2', '--offline')
    _, errors = process.communicate()
    return SimpleNamespace(bids=bids, out=out, code=process.returncode, errors=errors)


def _mask(out, place: str = ''):
    return nb.load(out / f'sub-xa30/anat/sub-xa30_{place}desc-brain_mask.nii.gz')


def test_a_real_head_is_done(siemens):
    assert siemens.code == 0, siemens.errors
    page = (siemens.out / 'sub-xa30.html').read_text(encoding='utf-8')
    assert 'Finished without errors' in page
    assert len(page) < 5e6


def test_what_goes_in_and_out_is_valid(siemens):
    assert validate(siemens.bids) == []
    assert validate(siemens.out) == []


def test_the_brain_has_the_size_of_one(siemens):
    image = _mask(siemens.out)
    volume_ml = np.asarray(image.dataobj).sum() * abs(np.linalg.det(image.affine)) / 1000
    assert 1000 < volume_ml < 1900


def test_the_brain_lies_on_the_template(siemens, embedded_template):
    image = _mask(siemens.out, f'space-{EMBEDDED_SPACE.label}_res-1_')
    template = nb.load(embedded_template.brain_mask)
    np.testing.assert_allclose(image.affine, template.affine)
    assert dice(np.asarray(image.dataobj) > 0, np.asarray(template.dataobj) > 0) > 0.9


def test_nothing_of_the_patient_is_kept(siemens):
    for path in siemens.out.glob('sub-*/anat/*.json'):
        assert 'Patient' not in path.read_text(encoding='utf-8')


def test_deepbet_agrees_with_hd_bet(test_data, tmp_path):
    source = test_data / 'philips-mprage'
    with tarfile.open(source / 'dicom.tar.gz') as archive:
        archive.extractall(tmp_path / 'dicom', filter='data')
    convert(tmp_path / 'dicom', tmp_path / 'nifti', 'head')
    conformed = Conform(in_file=tmp_path / 'nifti/head.nii.gz').run(cwd=tmp_path).outputs.out_file
    with warnings_of_others_ignored():
        image = load(conformed)
        volume = image.get_fdata(dtype=np.float32)
        network = registry.get('deepbet').load(LoadOptions())
        values = network(volume, image.affine, n_threads=2).values
    mask = binarize_brain(values, 0.5)
    truth = nb.as_closest_canonical(nb.load(source / 'hdbet_brain_mask.nii.gz'))
    np.testing.assert_allclose(image.affine, truth.affine, atol=1e-2)
    assert dice(mask, truth.get_fdata() > 0.5) >= 0.965
