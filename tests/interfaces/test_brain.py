"""Masks and scaling on files: grids kept, wrong pairs refused."""

from __future__ import annotations

import nibabel as nb
import numpy as np
import pytest
from oblique import ball, oblique_affine

from mriprep.interfaces.brain import ApplyMask, ZScore

SHAPE = (12, 13, 14)


@pytest.fixture
def volume():
    return np.random.default_rng(7).normal(100, 20, SHAPE).astype(np.float32)


def forms_of(path):
    image = nb.load(path)
    return image.get_qform(coded=True), image.get_sform(coded=True)


@pytest.mark.parametrize('name', ['head.nii', 'head.nii.gz'])
def test_outside_the_mask_is_zero_and_the_grid_stays(tmp_path, make_nifti, volume, name):
    affine, mask = oblique_affine(), ball(SHAPE, (6, 6, 6), 4)
    result = ApplyMask(
        in_file=make_nifti(name, volume, affine, code=4),
        in_mask=make_nifti('mask.nii.gz', mask, affine),
    ).run(cwd=tmp_path)
    image = nb.load(result.outputs.out_file)
    np.testing.assert_array_equal(image.get_fdata(), np.where(mask, volume, 0))
    (qform, q_code), (sform, s_code) = forms_of(result.outputs.out_file)
    assert (q_code, s_code) == (4, 4)
    np.testing.assert_allclose(qform, sform, atol=1e-5)
    np.testing.assert_allclose(image.affine, affine, atol=2e-3)


def test_the_zscore_ignores_the_gain_of_the_scanner_and_keeps_the_grid(
    tmp_path, make_nifti, volume
):
    affine = oblique_affine()
    mask = make_nifti('mask.nii.gz', volume > 90, affine)
    runs = []
    for gain in (1, 4):
        image = make_nifti(f'gain{gain}.nii.gz', gain * volume, affine)
        outputs = ZScore(in_file=image, in_mask=mask).run(cwd=tmp_path).outputs
        runs.append(nb.load(outputs.out_file).get_fdata())
    np.testing.assert_allclose(*runs, atol=1e-5)
    np.testing.assert_allclose(nb.load(outputs.out_file).affine, affine, atol=2e-3)
    assert runs[0][volume > 90].mean() == pytest.approx(0, abs=1e-5)
    assert runs[0][volume > 90].std() == pytest.approx(1, abs=1e-5)


def test_the_metadata_of_a_zscore_undo_it(tmp_path, make_nifti, volume):
    outputs = (
        ZScore(in_file=make_nifti('head.nii', volume), in_mask=make_nifti('mask.nii', volume > 90))
        .run(cwd=tmp_path)
        .outputs
    )
    values = outputs.metadata
    assert values['NormalizationVoxels'] == (volume > 90).sum()
    restored = (
        nb.load(outputs.out_file).get_fdata() * values['NormalizationStandardDeviation']
        + values['NormalizationMean']
    )
    np.testing.assert_allclose(restored, volume, atol=1e-3)


@pytest.mark.parametrize('interface', [ApplyMask, ZScore])
@pytest.mark.parametrize(
    ('shape', 'affine', 'words'),
    [
        ((12, 13, 15), oblique_affine(), '12 x 13 x 14 and 12 x 13 x 15 voxels'),
        (SHAPE, oblique_affine(origin=(31, -22, 9)), '1.00 mm apart'),
        (SHAPE, oblique_affine(signs=(1, 1, 1)), 'mm apart'),
    ],
)
def test_a_mask_on_another_grid_is_refused(
    tmp_path, make_nifti, volume, interface, shape, affine, words
):
    head = make_nifti('head.nii', volume, oblique_affine())
    mask = make_nifti('mask.nii', np.ones(shape, np.uint8), affine)
    with pytest.raises(ValueError, match=words):
        interface(in_file=head, in_mask=mask).run(cwd=tmp_path)


def test_an_empty_mask_has_no_zscore(tmp_path, make_nifti, volume):
    head = make_nifti('head.nii', volume)
    mask = make_nifti('mask.nii', np.zeros(SHAPE, bool))
    with pytest.raises(ValueError, match='mask is empty'):
        ZScore(in_file=head, in_mask=mask).run(cwd=tmp_path)


def test_scaled_integers_count_as_their_values(tmp_path):
    image = nb.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    image.header.set_slope_inter(2.5, -4)
    nb.save(image, tmp_path / 'head.nii')
    nb.save(nb.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), tmp_path / 'mask.nii')
    outputs = (
        ApplyMask(in_file=tmp_path / 'head.nii', in_mask=tmp_path / 'mask.nii')
        .run(cwd=tmp_path)
        .outputs
    )
    np.testing.assert_allclose(
        nb.load(outputs.out_file).get_fdata().ravel(), np.arange(8) * 2.5 - 4
    )
