"""The bias field between grids: what is smooth comes back as it was."""

from __future__ import annotations

import numpy as np
import pytest

from mriprep.bias import Lattice, lattice_around, spread

GRIDS = [  # shape, zooms in mm
    ((160, 172, 164), (1.0, 1.0, 1.0)),
    ((101, 119, 118), (1.5, 1.5, 1.5)),
    ((190, 186, 40), (0.7, 0.67, 3.0)),
    ((33, 164, 163), (4.8, 1.02, 1.02)),
]


def smooth_log_field(shape, zooms, amplitude=0.4):
    """Make a field with a wavelength of some 200 mm, strong near one corner."""
    axes = (np.arange(n) * mm for n, mm in zip(shape, zooms, strict=True))
    x, y, z = np.meshgrid(*axes, indexing='ij')
    return amplitude * (np.sin(x / 35) * np.cos(y / 40) + 0.5 * np.sin(z / 30 + 1))


@pytest.mark.parametrize(
    ('zooms', 'voxel', 'steps'),
    [
        ((1, 1, 1), 4, (4, 4, 4)),
        ((0.7, 0.67, 0.67), 4, (5, 6, 6)),
        ((0.9, 0.9, 5.5), 4, (4, 4, 1)),
        ((4.2, 4, 4), 4, (1, 1, 1)),
    ],
)
def test_samples_come_near_to_cubes_and_voxels_are_never_split(zooms, voxel, steps):
    assert lattice_around(np.ones((50, 50, 50), bool), zooms, voxel).steps == steps


@pytest.mark.parametrize(('shape', 'zooms'), GRIDS)
def test_a_smooth_field_survives_both_ways_inside_the_brain(shape, zooms):
    log_field = smooth_log_field(shape, zooms)
    mask = np.zeros(shape, bool)
    mask[tuple(slice(n // 4, 3 * n // 4) for n in shape)] = True
    lattice = lattice_around(mask, zooms, 5.0)
    samples = log_field[lattice.slices]
    assert samples.shape == lattice.shape
    ratio = np.exp(spread(samples, lattice, shape) - log_field)
    assert np.abs(ratio[mask] - 1).max() < 0.003


def test_the_lattice_lies_in_the_grid_and_holds_the_mask_with_its_margin():
    mask = np.zeros((60, 70, 80), bool)
    mask[30:50, 2:60, 40:79] = True
    lattice = lattice_around(mask, (1, 1, 1), 4, margin_mm=8)
    for part, size in zip(lattice.slices, mask.shape, strict=True):
        assert 0 <= part.start < part.stop <= size
    assert lattice.slices[0].start <= 30 - 8 + 4
    assert lattice.slices[0].stop >= 50 + 8 - 4


def test_samples_keep_their_place_in_the_world():
    affine = np.array([[-0.7, 0.1, 0, 5], [0.05, 0.9, 0.2, -7], [0, -0.2, 3, 11], [0, 0, 0, 1.0]])
    lattice = Lattice(starts=(3, 5, 0), steps=(5, 4, 1), shape=(3, 4, 6))
    index = np.array([2, 1, 4, 1])
    full = np.array([3 + 2 * 5, 5 + 1 * 4, 0 + 4 * 1, 1])
    np.testing.assert_allclose(lattice.affine(affine) @ index, affine @ full)


def test_beyond_the_outermost_samples_the_field_is_constant():
    field = np.random.default_rng(1).normal(size=(5, 6, 7))
    lattice = Lattice(starts=(2, 2, 2), steps=(4, 4, 4), shape=(5, 6, 7))
    full = spread(field, lattice, (24, 30, 36))
    for axis in range(3):
        along = np.moveaxis(full, axis, 0)
        np.testing.assert_array_equal(along[0], along[2])
        np.testing.assert_array_equal(along[-1], along[-2])
        assert np.abs(along[2] - along[3]).max() > 0


@pytest.mark.parametrize('counts', [(1, 2, 3), (4, 5, 6)])
def test_a_constant_stays_one_for_any_number_of_samples(counts):
    lattice = Lattice(starts=(1, 0, 2), steps=(3, 2, 4), shape=counts)
    full = spread(np.full(counts, 0.3), lattice, (20, 16, 30))
    assert full.dtype == np.float32
    np.testing.assert_allclose(full, 0.3, atol=1e-6)


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match='empty'):
        lattice_around(np.zeros((5, 5, 5), bool), (1, 1, 1), 4)
