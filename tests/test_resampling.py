"""Coarser voxels: the anatomy stays where it is."""

from __future__ import annotations

import numpy as np
import pytest
from oblique import oblique_affine

from mriprep.resampling import coarsen


def blob(shape, affine, centre_mm, width_mm=6.0):
    """A Gaussian in world coordinates."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    return np.exp(-((points - centre_mm) ** 2).sum(-1) / (2 * width_mm**2))


@pytest.mark.parametrize('zooms', [(1, 1, 1), (0.7, 0.67, 0.67), (0.9, 1.0, 3.0), (1, 1, 1.3)])
def test_a_blob_stays_where_it_is(zooms):
    affine = oblique_affine(zooms)
    shape = tuple(round(80 / zoom) for zoom in zooms)
    centre = affine[:3] @ [*(np.array(shape) / 2 + 3.3), 1]
    volume, coarse = coarsen(blob(shape, affine, centre), affine, 2.0)
    sizes = np.sqrt((coarse[:3, :3] ** 2).sum(0))
    np.testing.assert_allclose(sizes, np.maximum(zooms, 2.0))
    index = np.moveaxis(np.indices(volume.shape), 0, -1)
    points = index @ coarse[:3, :3].T + coarse[:3, 3]
    found = (points * volume[..., None]).sum((0, 1, 2)) / volume.sum()
    np.testing.assert_allclose(found, centre, atol=0.05)
    assert volume.dtype == np.float32


def test_the_box_is_covered_to_its_end():
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    volume, coarse = coarsen(np.ones((9, 8, 7)), affine, 2.0)
    ends = coarse[:3] @ [*(np.array(volume.shape) - 1), 1]
    assert (ends + 1 >= np.array([8.5, 7.5, 6.5])).all()
    np.testing.assert_allclose(volume, 1, rtol=1e-6)


def test_large_voxels_are_kept_as_they_are():
    volume = np.random.default_rng(1).normal(size=(6, 7, 8)).astype(np.float32)
    affine = np.diag([4.0, 3.0, 2.0, 1.0])
    same, own = coarsen(volume, affine, 2.0)
    np.testing.assert_allclose(same, volume, atol=1e-6)
    np.testing.assert_array_equal(own, affine)


def test_a_pattern_finer_than_the_voxels_is_smoothed_away():
    stripes = np.indices((64, 64, 64))[0] % 2 * 1.0
    volume, _ = coarsen(stripes, np.eye(4), 4.0)
    assert np.ptp(volume[2:-2]) < 0.02
