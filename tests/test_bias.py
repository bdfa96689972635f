"""The bias field between grids: what is smooth comes back as it was."""

from __future__ import annotations

import numpy as np
import pytest

from mriprep.bias import block_affine, block_mean, shrink_factors, spread

GRIDS = [  # shape, zooms in mm
    ((60, 72, 64), (1.0, 1.0, 1.0)),
    ((61, 59, 58), (1.0, 1.0, 1.0)),
    ((90, 86, 20), (0.7, 0.67, 3.0)),
    ((33, 64, 63), (4.8, 1.02, 1.02)),
]


def smooth_log_field(shape, zooms, amplitude=0.4):
    """Make a field with a wavelength of some 200 mm, strong near one corner."""
    x, y, z = np.meshgrid(*(np.arange(n) * mm for n, mm in zip(shape, zooms, strict=True)), indexing='ij')
    return amplitude * (np.sin(x / 35) * np.cos(y / 40) + 0.5 * np.sin(z / 30 + 1))


@pytest.mark.parametrize(
    ('zooms', 'voxel', 'factors'),
    [
        ((1, 1, 1), 4, (4, 4, 4)),
        ((0.7, 0.67, 0.67), 4, (5, 6, 6)),
        ((0.9, 0.9, 5.5), 4, (4, 4, 1)),
        ((4.2, 4, 4), 4, (1, 1, 1)),
    ],
)
def test_blocks_come_near_to_cubes_and_voxels_are_never_split(zooms, voxel, factors):
    assert shrink_factors(zooms, voxel) == factors


@pytest.mark.parametrize(('shape', 'zooms'), GRIDS)
def test_a_smooth_field_survives_both_ways(shape, zooms):
    log_field = smooth_log_field(shape, zooms)
    factors = shrink_factors(zooms, 4.0)
    means, fraction = block_mean(np.exp(log_field), np.ones(shape, bool), factors)
    assert means.shape == tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))
    ratio = np.exp(spread(np.log(means), shape, factors) - log_field)
    # half a block at each edge is extrapolated, so that it is not counted here
    inner = tuple(slice(f, (n // f - 1) * f) for n, f in zip(shape, factors, strict=True))
    assert np.abs(ratio[inner] - 1).max() < 0.005
    assert np.abs(ratio - 1).max() < 0.08
    assert fraction.max() <= 1


def test_beyond_the_outermost_centres_the_field_is_constant():
    field = np.random.default_rng(1).normal(size=(5, 6, 7))
    full = spread(field, (20, 24, 28), (4, 4, 4))
    for axis in range(3):
        along = np.moveaxis(full, axis, 0)
        np.testing.assert_array_equal(along[0], along[1])
        np.testing.assert_array_equal(along[-1], along[-2])
        assert np.abs(along[1] - along[2]).max() > 0


@pytest.mark.parametrize('factors', [(1, 1, 1), (2, 3, 1), (4, 4, 4), (7, 9, 11)])
def test_a_constant_stays_one_for_any_number_of_blocks(factors):
    shape = (7, 9, 11)
    blocks = tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))
    full = spread(np.full(blocks, 0.3), shape, factors)
    assert full.shape == shape
    assert full.dtype == np.float32
    np.testing.assert_allclose(full, 0.3, atol=1e-6)


def test_without_shrinking_nothing_changes():
    field = np.random.default_rng(1).normal(size=(5, 6, 7)).astype(np.float32)
    np.testing.assert_allclose(spread(field, field.shape, (1, 1, 1)), field, atol=1e-5)


def test_only_what_lies_in_the_mask_counts():
    volume = np.arange(8.0).reshape(2, 2, 2)
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    mean, fraction = block_mean(np.where(mask, volume, np.nan), mask, (2, 2, 2))
    assert mean.item() == pytest.approx((0 + 7) / 2)
    assert fraction.item() == pytest.approx(2 / 8)


def test_a_block_without_mask_is_zero():
    mask = np.zeros((4, 2, 2), bool)
    mask[:2] = True
    mean, fraction = block_mean(np.full((4, 2, 2), 5.0), mask, (2, 2, 2))
    np.testing.assert_array_equal(mean.ravel(), [5, 0])
    np.testing.assert_array_equal(fraction.ravel(), [1, 0])


def test_block_centres_keep_their_world_coordinates():
    turn = np.radians(20)
    affine = np.diag([-0.7, 1.2, 3.0, 1])  # left-handed, anisotropic
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine = rotation @ affine
    affine[:3, 3] = 11, -22, 33
    factors = (6, 3, 1)
    coarse = block_affine(affine, factors)
    for block in [(0, 0, 0), (3, 2, 5)]:
        voxels = [np.arange(b * f, (b + 1) * f) for b, f in zip(block, factors, strict=True)]
        centre = affine @ [*(v.mean() for v in voxels), 1]
        np.testing.assert_allclose(coarse @ [*block, 1], centre, atol=1e-9)
    np.testing.assert_allclose(
        np.linalg.norm(coarse[:3, :3], axis=0), np.array([0.7, 1.2, 3.0]) * factors
    )
