"""The bias field on files: what N4 sees, and what comes out of a field that is known."""

from __future__ import annotations

import nibabel as nb
import numpy as np
import pytest
from oblique import ball, oblique_affine

from mriprep.bias import block_affine, block_mean
from mriprep.interfaces.bias import CorrectBias, ShrinkForBias

SHAPE = (40, 44, 22)
ZOOMS = (1.0, 1.0, 3.0)
FACTORS = (4, 4, 1)
CENTRE = (20, 22, 11)


@pytest.fixture
def mask():
    return ball(SHAPE, CENTRE, 9)


@pytest.fixture
def log_field():
    x, y, z = np.indices(SHAPE) * np.reshape(ZOOMS, (3, 1, 1, 1))
    return 0.3 * np.sin(x / 30) + 0.2 * np.cos(y / 40) + 0.003 * z + 0.7


def test_blocks_lie_where_their_voxels_lie(tmp_path, make_nifti, mask):
    affine = oblique_affine(ZOOMS)
    head = np.zeros(SHAPE, np.float32)
    head[20:24, 20:24, 12] = 80  # fills the block (5, 5, 12)
    outputs = ShrinkForBias(
        in_file=make_nifti('head.nii.gz', head, affine),
        in_mask=make_nifti('mask.nii.gz', mask, affine),
        voxel_mm=4.0,
    ).run(cwd=tmp_path).outputs
    blocks = nb.load(outputs.out_file)
    assert blocks.shape == (10, 11, 22)
    (where,) = np.argwhere(blocks.get_fdata() == 80)
    np.testing.assert_array_equal(where, (5, 5, 12))
    np.testing.assert_allclose(
        blocks.affine @ [5, 5, 12, 1], affine @ [21.5, 21.5, 12, 1], atol=1e-4
    )
    np.testing.assert_allclose(blocks.affine, nb.load(outputs.out_mask).affine)


def test_only_the_brain_goes_into_the_blocks(tmp_path, make_nifti, mask):
    affine = oblique_affine(ZOOMS)
    outputs = ShrinkForBias(
        in_file=make_nifti('head.nii', np.where(mask, 50, 4000).astype(np.float32), affine),
        in_mask=make_nifti('mask.nii', mask, affine),
    ).run(cwd=tmp_path).outputs
    blocks = nb.load(outputs.out_file).get_fdata()
    kept = nb.load(outputs.out_mask)
    assert kept.get_data_dtype() == np.uint8
    inside = kept.get_fdata() > 0
    assert inside.any()
    np.testing.assert_allclose(blocks[inside], 50)
    _, fraction = block_mean(mask.astype(float), mask, FACTORS)
    np.testing.assert_array_equal(inside, fraction >= 0.5)


def test_a_mask_on_another_grid_is_refused(tmp_path, make_nifti, mask):
    head = make_nifti('head.nii', mask.astype(np.float32), oblique_affine(ZOOMS))
    other = make_nifti('mask.nii', mask, oblique_affine(ZOOMS, origin=(0, 0, 0)))
    with pytest.raises(ValueError, match='grids differ'):
        ShrinkForBias(in_file=head, in_mask=other).run(cwd=tmp_path)


def correct(tmp_path, make_nifti, head, mask, blocks):
    affine = oblique_affine(ZOOMS)
    outputs = CorrectBias(
        in_file=make_nifti('head.nii.gz', head.astype(np.float32), affine, code=1),
        in_mask=make_nifti('mask.nii.gz', mask, affine),
        in_field=make_nifti('field.nii', blocks.astype(np.float32), block_affine(affine, FACTORS)),
        voxel_mm=4.0,
    ).run(cwd=tmp_path).outputs
    return nb.load(outputs.out_file)


def test_a_known_field_is_taken_out_of_the_whole_head(tmp_path, make_nifti, mask, log_field):
    blocks = np.exp(block_mean(log_field, np.ones(SHAPE, bool), FACTORS)[0])
    image = correct(tmp_path, make_nifti, 100 * np.exp(log_field), mask, blocks)
    corrected = image.get_fdata()
    assert corrected[mask].std() / corrected[mask].mean() < 0.002
    inner = corrected[4:-4, 4:-4]
    assert np.ptp(inner) / inner.mean() < 0.02
    np.testing.assert_allclose(image.affine, oblique_affine(ZOOMS), atol=1e-4)
    assert image.get_data_dtype() == np.float32


def test_the_brightness_of_the_brain_stays(tmp_path, make_nifti, mask, log_field):
    head = np.random.default_rng(3).uniform(80, 120, SHAPE) * np.exp(log_field)
    blocks = np.exp(block_mean(log_field, np.ones(SHAPE, bool), FACTORS)[0])
    for gain in (1, 50):
        corrected = correct(tmp_path, make_nifti, head, mask, gain * blocks).get_fdata()
        assert np.log(corrected[mask]).mean() == pytest.approx(np.log(head[mask]).mean(), abs=1e-4)


def test_a_flat_field_changes_nothing(tmp_path, make_nifti, mask):
    head = np.random.default_rng(3).uniform(0, 120, SHAPE).astype(np.float32)
    corrected = correct(tmp_path, make_nifti, head, mask, np.full((10, 11, 22), 3.7))
    np.testing.assert_allclose(corrected.get_fdata(), head, rtol=1e-5)
