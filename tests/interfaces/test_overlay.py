"""OverlayCheck on files: believed in its place, not when mirrored, moved, or the wrong way round."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from oblique import oblique_affine
from scipy import ndimage

from mriprep.interfaces.overlay import OverlayCheck
from mriprep.itk import write_linear

SHAPE = (48, 50, 46)
GRID = np.array([[2.0, 0, 0, -60], [0, 2, 0, -62], [0, 0, 2, -58], [0, 0, 0, 1]])
POSE = np.array([[0.98, -0.19, 0, 3], [0.19, 0.98, 0.02, -4], [0, -0.02, 1, 6], [0, 0, 0, 1]])


@pytest.fixture
def files(tmp_path, make_nifti):
    """An oblique native image, its mask, and what was resampled from it; the transforms beside."""
    native_affine = oblique_affine(origin=(50, -60, -55))
    noise = np.random.default_rng(2).normal(size=SHAPE)
    native = (1000 * ndimage.gaussian_filter(noise, 2.5)).astype(np.float32)
    mask = np.zeros(SHAPE, bool)
    mask[12:-12, 12:-12, 12:-12] = True
    # POSE takes mm of the output to mm of the native image, as a forward transform does
    path = np.linalg.inv(native_affine) @ POSE @ GRID
    output = ndimage.affine_transform(native, path, output_shape=(60, 62, 58), order=3)
    write_linear(POSE, tmp_path / 'forward.h5')
    write_linear(np.linalg.inv(POSE), tmp_path / 'inverse.h5')
    return {
        'in_file': make_nifti('native.nii', native, native_affine),
        'in_mask': make_nifti('mask.nii', mask, native_affine),
        'in_output': make_nifti('output.nii', output.astype(np.float32), GRID, code=4),
        'in_transform': str(tmp_path / 'inverse.h5'),
    }


def check(files, folder, **changes):
    outputs = OverlayCheck(**(files | changes)).run(cwd=folder).outputs
    verdict = json.loads(Path(outputs.out_verdict).read_text())
    told = {'OverlayDoubt': verdict['reasons'][0]} if verdict['reasons'] else {}
    assert outputs.metadata == {'OverlayCorrelation': round(outputs.correlation, 4), **told}
    assert verdict['checks'][0]['value'] == pytest.approx(outputs.correlation, abs=1e-4)
    assert verdict['checks'][0]['status'] == verdict['status']
    return outputs.correlation, verdict


def test_an_output_in_its_place_is_accepted(files, tmp_path):
    found, verdict = check(files, tmp_path)
    assert found > 0.97
    assert (verdict['status'], verdict['reasons']) == ('accept', [])


def test_an_inverse_can_be_had_from_the_other_direction(files, tmp_path):
    found, _ = check(
        files, tmp_path, in_transform=str(tmp_path / 'forward.h5'), invert=[True]
    )  # fmt: skip
    assert found == pytest.approx(check(files, tmp_path)[0], abs=1e-6)


def test_transforms_are_passed_in_their_order(files, tmp_path):
    half = np.array([[0, -1, 0, 20], [1, 0, 0, -10], [0, 0, 1, 5], [0, 0, 0, 1.0]])
    write_linear(half, tmp_path / 'first.h5')
    write_linear(np.linalg.inv(POSE) @ np.linalg.inv(half), tmp_path / 'second.h5')
    both = [str(tmp_path / 'first.h5'), str(tmp_path / 'second.h5')]
    assert check(files, tmp_path, in_transform=both)[0] > 0.97
    assert check(files, tmp_path, in_transform=both[::-1])[0] < 0.95


def test_the_wrong_direction_is_refused(files, tmp_path):
    found, verdict = check(files, tmp_path, in_transform=str(tmp_path / 'forward.h5'))
    assert found < 0.5
    assert verdict['status'] == 'refused'
    assert 'may lie in another place' in verdict['reasons'][0]


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_a_mirrored_output_is_refused(files, tmp_path, make_nifti, axis):
    output = nb.load(files['in_output'])
    mirrored = make_nifti('mirrored.nii', np.flip(output.get_fdata(), axis), output.affine)
    assert check(files, tmp_path, in_output=mirrored)[1]['status'] == 'refused'


def test_an_output_elsewhere_is_refused(files, tmp_path, make_nifti):
    output = nb.load(files['in_output'])
    away = output.affine.copy()
    away[2, 3] += 300
    moved = make_nifti('moved.nii', output.get_fdata(), away)
    found, verdict = check(files, tmp_path, in_output=moved)
    assert (found, verdict['status']) == (0, 'refused')
