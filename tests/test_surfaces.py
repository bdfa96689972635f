"""Surface distances of masks whose distances are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mriprep.surfaces import surface_distances


def ball(radius_mm, zooms=(1, 1, 1), centre_mm=(30, 30, 30), box_mm=60):
    """A ball on a grid of a given voxel size."""
    shape = tuple(round(box_mm / zoom) for zoom in zooms)
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    square = sum((i * z - c) ** 2 for i, z, c in zip(axes, zooms, centre_mm, strict=True))
    return square <= radius_mm**2


def test_a_mask_lies_on_itself():
    one = ball(20)
    apart = surface_distances(one, one, np.eye(4))
    assert (apart.mean_mm, apart.percentile95_mm, apart.max_mm) == (0, 0, 0)


@pytest.mark.parametrize('zooms', [(1, 1, 1), (0.8, 0.8, 3.0)])
def test_concentric_balls_are_apart_by_the_difference_of_their_radii(zooms):
    apart = surface_distances(ball(24, zooms), ball(18, zooms), np.diag([*zooms, 1]))
    assert apart.mean_mm == pytest.approx(6, abs=0.5)
    assert 5 < apart.percentile95_mm <= apart.max_mm < 6 + max(zooms)


def test_a_missing_slab_is_seen_in_the_largest_distance_but_hardly_in_the_mean():
    whole = np.zeros((40, 40, 40), bool)
    whole[5:35, 5:35, 5:35] = True
    cut = whole.copy()
    cut[:, :, :11] = False
    apart = surface_distances(whole, cut, np.diag([1, 1, 2, 1]))
    assert apart.max_mm == 12  # six slices of 2 mm
    assert 0.5 < apart.mean_mm < 3


def test_axes_may_be_oblique_flipped_and_of_different_sizes():
    zooms = (1.0, 2.0, 3.0)
    one, other = ball(20, zooms), ball(20, zooms, centre_mm=(34, 30, 24))
    straight = surface_distances(one, other, np.diag([*zooms, 1]))
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler('xyz', (20, 5, -30), degrees=True).as_matrix()
    turned = turned @ np.diag([-1.0, 2.0, 3.0, 1])
    turned[:3, 3] = 55
    oblique = surface_distances(one, other, turned)
    assert oblique.mean_mm == pytest.approx(straight.mean_mm)
    assert oblique.max_mm == pytest.approx(straight.max_mm)
    # a shift of 7.2 mm: no point is farther from the other ball
    assert 0 < straight.mean_mm < straight.max_mm <= np.hypot(4, 6) + 1


def test_masks_may_change_places_and_lie_anywhere_in_the_volume():
    one, other = ball(18), ball(18, centre_mm=(33, 30, 30))
    apart = surface_distances(one, other, np.eye(4))
    assert surface_distances(other, one, np.eye(4)) == apart
    wide = [np.pad(mask, ((40, 0), (0, 7), (3, 3))) for mask in (one, other)]
    assert surface_distances(*wide, np.eye(4)) == apart


def test_a_mask_that_fills_the_volume_has_its_surface_at_the_edge():
    whole = np.ones((10, 10, 10), bool)
    inner = np.zeros_like(whole)
    inner[2:8, 2:8, 2:8] = True
    apart = surface_distances(whole, inner, np.eye(4))
    assert apart.max_mm == pytest.approx(np.sqrt(12))  # corner to corner


@pytest.mark.parametrize(
    ('one', 'other', 'words'),
    [
        (np.ones((3, 3, 3), bool), np.ones((3, 3, 4), bool), 'differ in shape'),
        (np.ones((3, 3, 3), bool), np.zeros((3, 3, 3), bool), 'empty'),
        (np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool), 'empty'),
    ],
)
def test_what_has_no_distance_is_refused(one, other, words):
    with pytest.raises(ValueError, match=words):
        surface_distances(one, other, np.eye(4))
