"""Boxes and grids on files: world coordinates stay."""

from __future__ import annotations

import nibabel as nb
import numpy as np
import pytest
from oblique import ball, oblique_affine
from plans import fake_template

from mriprep.interfaces.grids import CropToMask, NativeGrid

SHAPE = (30, 32, 20)
CENTRE = (12, 20, 9)


def crop(tmp_path, make_nifti, volume, mask, affine, **options):
    outputs = (
        CropToMask(
            in_file=make_nifti('head.nii.gz', volume, affine),
            in_mask=make_nifti('mask.nii.gz', mask, affine),
            **options,
        )
        .run(cwd=tmp_path)
        .outputs
    )
    return nb.load(outputs.out_file)


@pytest.mark.parametrize('signs', [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, 1, -1)])
def test_world_coordinates_stay_on_oblique_anisotropic_grids(tmp_path, make_nifti, signs):
    affine = oblique_affine((0.7, 1.1, 4.0), signs)
    volume = np.ones(SHAPE, np.float32)
    volume[CENTRE] = 99
    image = crop(tmp_path, make_nifti, volume, ball(SHAPE, CENTRE, 5), affine, margin_mm=2.0)
    (where,) = np.argwhere(image.get_fdata() == 99)
    np.testing.assert_allclose(image.affine @ [*where, 1], affine @ [*CENTRE, 1], atol=2e-3)
    np.testing.assert_allclose(image.affine[:3, :3], affine[:3, :3], atol=2e-3)
    np.testing.assert_allclose(
        *(form[0] for form in (image.get_qform(True), image.get_sform(True)))
    )


def test_nothing_of_the_brain_is_lost_and_nothing_else_is_kept(tmp_path, make_nifti):
    volume = np.random.default_rng(1).uniform(1, 2, SHAPE).astype(np.float32)
    mask = ball(SHAPE, CENTRE, 5)
    image = crop(tmp_path, make_nifti, volume, mask, np.eye(4), margin_mm=0.0)
    assert image.shape == (11, 11, 11)
    values = image.get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(np.sort(values[values > 0]), np.sort(volume[mask]))


@pytest.mark.parametrize('zooms', [(2.0, 2.0, 2.0), (1.0, 1.0, 5.0)])
def test_the_margin_is_that_many_millimetres_along_each_axis(tmp_path, make_nifti, zooms):
    mask = np.zeros((60, 60, 60), bool)
    mask[30, 30, 30] = True
    image = crop(
        tmp_path, make_nifti, mask.astype(np.float32), mask, np.diag([*zooms, 1]), margin_mm=10.0
    )
    expected = [1 + 2 * round(10 / zoom) for zoom in zooms]
    assert list(image.shape) == expected


def test_the_margin_stops_where_the_image_ends(tmp_path, make_nifti):
    image = crop(
        tmp_path, make_nifti, np.ones(SHAPE), ball(SHAPE, CENTRE, 5), np.eye(4), margin_mm=500.0
    )
    assert image.shape == SHAPE
    np.testing.assert_array_equal(image.affine, np.eye(4))


def test_a_mask_on_another_grid_is_refused(tmp_path, make_nifti):
    head = make_nifti('head.nii', np.ones(SHAPE), oblique_affine())
    mask = make_nifti('mask.nii', np.ones(SHAPE, bool), oblique_affine(signs=(1, 1, 1)))
    with pytest.raises(ValueError, match='grids differ'):
        CropToMask(in_file=head, in_mask=mask).run(cwd=tmp_path)


def test_an_empty_mask_is_refused(tmp_path, make_nifti):
    with pytest.raises(ValueError, match='mask is empty'):
        crop(tmp_path, make_nifti, np.ones(SHAPE), np.zeros(SHAPE, bool), np.eye(4))


@pytest.mark.parametrize('zooms', [(0.7, 0.67, 3.0), (1.0, 1.0, 1.0)])
def test_the_native_grid_is_the_one_that_was_planned(tmp_path, make_nifti, zooms):
    template = fake_template('A:res-native')
    target = make_nifti(
        'target.nii.gz', np.zeros(template.target_grid.shape, np.uint8),
        template.target_grid.matrix, code=4,
    )  # fmt: skip
    image = make_nifti(
        'head.nii', np.zeros((4, 5, 6), np.float32), oblique_affine(zooms, (1, 1, 1))
    )
    outputs = NativeGrid(in_file=image, in_target=target).run(cwd=tmp_path).outputs
    made, planned = nb.load(outputs.out_file), template.output_grid(zooms)
    assert made.shape == planned.shape
    np.testing.assert_allclose(made.affine, planned.matrix, atol=2e-3)
    np.testing.assert_allclose(made.header.get_zooms(), zooms, atol=1e-3)
    last = made.affine @ [*(np.array(made.shape) - 1), 1]
    end = template.target_grid.matrix @ [*(np.array(template.target_grid.shape) - 1), 1]
    assert np.all(last[:3] >= end[:3] - 1e-3)
    assert np.all(last[:3] < end[:3] + zooms)
    assert made.header['sform_code'] == 4
