"""The atlas, and how masks are brought onto it."""

from __future__ import annotations

import numpy as np
import pytest
from oblique import oblique_affine
from scipy import ndimage

from mriprep.atlas import load_atlas, make_atlas
from mriprep.extractors.base import AtlasFiles
from mriprep.images import ImageError
from mriprep.likeness import compare, explained, fit_to_atlas
from mriprep.masks import bounding_box
from mriprep.shape import blocks, signed_distance, surface_points


def files_of(template):
    tissue = template.tissue
    return AtlasFiles(
        t1w=template.t1w, brain_mask=template.brain_mask,
        gm=tissue['GM'], wm=tissue['WM'], csf=tissue['CSF'],
    )  # fmt: skip


@pytest.fixture(scope='module')
def atlas(embedded_template):
    return load_atlas(files_of(embedded_template))


def posed(atlas, pose, zooms):
    """The atlas' brain and an image of its white matter, scanned in a pose on some grid."""
    affine = oblique_affine(zooms, signs=(1, 1, 1), degrees=6)
    shape = np.ceil(220 / np.array(zooms)).astype(int)
    affine[:3, 3] -= affine[:3] @ np.append((shape - 1) / 2, 1)  # its middle is at zero
    onto = np.linalg.inv(atlas.affine) @ pose @ affine
    mask = ndimage.affine_transform(atlas.mask, onto, output_shape=tuple(shape), order=1) > 0.5
    white = ndimage.affine_transform(atlas.tissue[1], onto, output_shape=tuple(shape), order=1)
    return mask, (100 + 80 * white) * mask, affine


def fitted(mask, affine, atlas):
    coarse = blocks(mask, affine, bounding_box(mask))
    surface = surface_points(coarse)
    distance = signed_distance(coarse.share, coarse.spacing_mm)
    return coarse, distance, surface, fit_to_atlas(coarse, distance, surface, atlas)


def pose(degrees=(0.0, 0.0, 0.0), scales=(1.0, 1.0, 1.0), shift=(0.0, -18.0, 8.0)):
    """Turn about R, A, S, scale and move: a subject's mm to the atlas' mm."""
    out = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        one, two = (i for i in range(3) if i != axis)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        out[:3, :3] = turn @ out[:3, :3]
    out[:3, :3] = out[:3, :3] @ np.diag(scales)
    out[:3, 3] = shift
    return out


def test_the_embedded_template_is_read_once(embedded_template, atlas):
    assert load_atlas(files_of(embedded_template)) is atlas
    assert atlas.volume_ml == pytest.approx(1886.5, abs=1)
    inside = atlas.mask.sum() * abs(np.linalg.det(atlas.affine)) / 1000
    assert inside == pytest.approx(atlas.volume_ml, rel=1e-3)
    assert (atlas.distance[atlas.mask > 0.9] < 0).all()
    assert atlas.tissue.max() <= 1


def test_files_on_different_grids_are_refused(embedded_template, make_nifti):
    files = files_of(embedded_template)
    other = make_nifti('gm.nii', np.ones((4, 4, 4), np.float32))
    wrong = AtlasFiles(
        t1w=files.t1w, brain_mask=files.brain_mask, gm=other, wm=files.wm, csf=files.csf
    )
    with pytest.raises(ImageError, match='grids differ'):
        load_atlas(wrong)


def test_the_surface_of_a_ball_is_its_surface():
    index = np.indices((40, 40, 40)) - 19.5
    mask = (index**2).sum(0) <= 15**2
    tissue = np.zeros((3, *mask.shape), np.float32)
    atlas = make_atlas(mask, tissue, np.diag([2.0, 2, 2, 1]), voxel_mm=4)
    radius = np.linalg.norm(atlas.surface - 39, axis=1)
    np.testing.assert_allclose(radius.mean(), 30, atol=0.5)
    assert radius.std() < 1
    centre = np.linalg.inv(atlas.affine) @ [39, 39, 39, 1]
    assert ndimage.map_coordinates(atlas.distance, centre[:3, None], order=1)[0] < -26


@pytest.mark.parametrize(
    ('true', 'zooms'),
    [
        (pose(), (2, 2, 2)),
        (pose((4, -6, 5), (1.1, 1.15, 1.05), (5, -10, 0)), (2, 2, 2)),
        (pose((-25, 3, 8), (1.2, 1.2, 1.2), (-4, 0, 20)), (2, 2, 2)),
        (pose((25, -8, -10), (1.05, 1.1, 1.1), (0, -30, 0)), (2, 2, 2)),
        (pose((8, 4, -6), (1.1, 1.05, 1.1)), (1.5, 1.5, 5)),
        (pose((0, 5, 5), (1.7, 1.7, 1.7)), (2, 2, 2)),  # the size of a newborn
    ],
)
def test_a_known_pose_is_found_again(atlas, true, zooms):
    mask, image, affine = posed(atlas, true, zooms)
    coarse, distance, surface, fit = fitted(mask, affine, atlas)
    points = (atlas.surface - true[:3, 3]) @ np.linalg.inv(true[:3, :3]).T
    found = points @ fit.matrix[:3, :3].T + fit.matrix[:3, 3]
    assert np.linalg.norm(found - atlas.surface, axis=1).mean() < 2.5
    assert fit.scale == pytest.approx(np.cbrt(np.linalg.det(true[:3, :3])), rel=0.02)
    left = compare(coarse, surface, atlas, fit)
    assert left.dice > 0.97
    assert left.symmetry > 0.97
    assert left.protrusion_ml + left.deficit_ml < 0.2
    tissue = explained(coarse.averaged(image), coarse, distance, atlas, fit)
    assert tissue.share > 0.8
    assert tissue.advantage > 0.5
    assert tissue.white_contrast > 0.2


@pytest.mark.parametrize('zooms', [(2, 2, 2), (1.5, 1.5, 5)])
def test_what_depends_on_depth_alone_is_no_tissue(atlas, zooms):
    """Rind, flesh and core: a fruit in the shape of a brain."""
    mask, brain, affine = posed(atlas, pose((4, -6, 5), (1.1, 1.15, 1.05)), zooms)
    depth = ndimage.distance_transform_edt(mask, sampling=zooms)
    fruit = np.interp(depth, [0, 8, 16, 30, 45, 50], [70, 70, 170, 150, 150, 90]) * mask
    fruit += np.random.default_rng(0).normal(0, 15, mask.shape)
    coarse, distance, _, fit = fitted(mask, affine, atlas)
    found = explained(coarse.averaged(fruit), coarse, distance, atlas, fit)
    assert found.share < 0.02
    assert found.advantage < 0.015
    filled = fruit + (brain > 140) * 60  # with white matter in it, it is a brain
    found = explained(coarse.averaged(filled), coarse, distance, atlas, fit)
    assert found.share > 0.3
    assert found.advantage > 0.2


def test_what_the_image_cuts_off_is_not_missed(atlas):
    mask, _, affine = posed(atlas, pose((4, -6, 5), (1.1, 1.1, 1.1)), (2, 2, 2))
    low = int(np.flatnonzero(mask.any(axis=(0, 1)))[0]) + 22
    coarse, _, surface, fit = fitted(mask[:, :, low:], affine @ _shift(low), atlas)
    cut = compare(coarse, surface, atlas, fit)
    assert cut.dice > 0.98
    assert cut.deficit_ml < 0.5
    gone = mask.copy()
    gone[:, :, :low] = False  # the image goes on, and the mask does not
    coarse, _, surface, fit = fitted(gone, affine, atlas)
    missed = compare(coarse, surface, atlas, fit)
    assert missed.dice < 0.95
    assert missed.deficit_ml > 3


def _shift(slices):
    out = np.eye(4)
    out[2, 3] = slices
    return out
