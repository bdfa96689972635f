"""The bias field on files: what N4 sees, and what comes out of a field that is known."""

from __future__ import annotations

import nibabel as nb
import numpy as np
import pytest
from oblique import ball, oblique_affine

from mriprep.bias import lattice_around
from mriprep.interfaces.bias import CorrectBias, SampleForBias

SHAPE = (60, 64, 30)
ZOOMS = (1.0, 1.0, 3.0)
CENTRE = (28, 34, 15)


@pytest.fixture
def mask():
    return ball(SHAPE, CENTRE, 12)


@pytest.fixture
def log_field():
    x, y, z = np.indices(SHAPE) * np.reshape(ZOOMS, (3, 1, 1, 1))
    return 0.3 * np.sin(x / 30) + 0.2 * np.cos(y / 40) + 0.003 * z + 0.7


def test_samples_lie_where_their_voxels_lie(tmp_path, make_nifti, mask):
    affine = oblique_affine(ZOOMS)
    head = np.random.default_rng(1).permutation(mask.size).reshape(SHAPE).astype(np.float32)
    outputs = (
        SampleForBias(
            in_file=make_nifti('head.nii.gz', head, affine),
            in_mask=make_nifti('mask.nii.gz', mask, affine),
            voxel_mm=4.0,
        )
        .run(cwd=tmp_path)
        .outputs
    )
    samples, kept = nb.load(outputs.out_file), nb.load(outputs.out_mask)
    np.testing.assert_allclose(samples.header.get_zooms(), (4, 4, 3), rtol=1e-5)
    np.testing.assert_array_equal(samples.affine, kept.affine)
    assert kept.get_data_dtype() == np.uint8
    for index in [(0, 0, 0), (3, 2, 5), tuple(n - 1 for n in samples.shape)]:
        (voxel,) = np.argwhere(head == samples.get_fdata()[index])
        np.testing.assert_allclose(samples.affine @ [*index, 1], affine @ [*voxel, 1], atol=2e-3)
        assert kept.get_fdata()[index] == mask[tuple(voxel)]


@pytest.mark.parametrize(
    'affine', [oblique_affine(ZOOMS, origin=(0, 0, 0)), oblique_affine(ZOOMS, (1, 1, 1))]
)
def test_a_mask_on_another_grid_is_refused(tmp_path, make_nifti, mask, affine):
    head = make_nifti('head.nii', mask.astype(np.float32), oblique_affine(ZOOMS))
    with pytest.raises(ValueError, match='grids differ'):
        SampleForBias(in_file=head, in_mask=make_nifti('mask.nii', mask, affine)).run(cwd=tmp_path)


def correct(tmp_path, make_nifti, head, mask, log_field, gain=1.0):
    affine = oblique_affine(ZOOMS)
    lattice = lattice_around(mask, ZOOMS, 4.0)
    samples = gain * np.exp(log_field)[lattice.slices].astype(np.float32)
    outputs = (
        CorrectBias(
            in_file=make_nifti('head.nii.gz', head.astype(np.float32), affine, code=1),
            in_mask=make_nifti('mask.nii.gz', mask, affine),
            in_field=make_nifti('field.nii', samples, lattice.affine(affine)),
            voxel_mm=4.0,
        )
        .run(cwd=tmp_path)
        .outputs
    )
    return nb.load(outputs.out_file)


def test_a_known_field_is_taken_out_of_the_brain(tmp_path, make_nifti, mask, log_field):
    image = correct(tmp_path, make_nifti, 100 * np.exp(log_field), mask, log_field)
    corrected = image.get_fdata()
    assert np.ptp(corrected[mask]) / corrected[mask].mean() < 0.002
    np.testing.assert_allclose(image.affine, oblique_affine(ZOOMS), atol=2e-3)
    assert image.get_data_dtype() == np.float32


def test_outside_the_samples_the_head_is_neither_lost_nor_inflated(
    tmp_path, make_nifti, mask, log_field
):
    head = 100 * np.exp(log_field)
    corrected = correct(tmp_path, make_nifti, head, mask, log_field).get_fdata()
    level = corrected[mask].mean()
    span = np.exp(np.ptp(log_field))
    assert corrected.min() > level / span
    assert corrected.max() < level * span


@pytest.mark.parametrize('gain', [1, 50])
def test_the_brightness_of_the_brain_stays(tmp_path, make_nifti, mask, log_field, gain):
    head = np.random.default_rng(3).uniform(80, 120, SHAPE) * np.exp(log_field)
    corrected = correct(tmp_path, make_nifti, head, mask, log_field, gain).get_fdata()
    assert np.log(corrected[mask]).mean() == pytest.approx(np.log(head[mask]).mean(), abs=1e-4)


def test_a_flat_field_changes_nothing(tmp_path, make_nifti, mask):
    head = np.random.default_rng(3).uniform(0, 120, SHAPE).astype(np.float32)
    corrected = correct(tmp_path, make_nifti, head, mask, np.full(SHAPE, 1.3))
    np.testing.assert_allclose(corrected.get_fdata(), head, rtol=1e-5)
