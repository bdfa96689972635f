"""Boxes around masks, and one solid brain out of probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from mriprep.masks import binarize_brain, bounding_box


def ball(shape, centre, radius):
    distance = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (distance**2).sum(0) <= radius**2


def test_the_box_is_the_smallest_that_holds_the_mask():
    mask = ball((20, 30, 40), (8, 14, 20), 3)
    box = bounding_box(mask)
    assert box == (slice(5, 12), slice(11, 18), slice(17, 24))
    assert mask[box].sum() == mask.sum()


def test_the_margin_stops_at_the_edge_of_the_volume():
    mask = ball((20, 30, 40), (2, 28, 20), 1)
    assert bounding_box(mask, margin=4) == (slice(0, 8), slice(23, 30), slice(15, 26))


def test_an_empty_mask_has_no_box():
    with pytest.raises(ValueError, match='mask is empty'):
        bounding_box(np.zeros((3, 3, 3), bool))


def test_the_largest_component_is_kept_and_its_holes_filled():
    brain, eye = ball((30, 30, 30), (12, 12, 12), 8), ball((30, 30, 30), (25, 25, 25), 3)
    hole = ball((30, 30, 30), (12, 12, 12), 2)
    probability = np.where((brain & ~hole) | eye, 0.9, 0.1)
    before = probability.copy()
    found = binarize_brain(probability, 0.5)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, brain)
    np.testing.assert_array_equal(probability, before)


def test_a_cavity_open_to_the_outside_stays_open():
    brain = ball((30, 30, 30), (15, 15, 15), 9)
    brain[14:17, 14:17, 15:] = False
    np.testing.assert_array_equal(binarize_brain(brain.astype(float), 0.5), brain)


def test_corners_do_not_connect():
    probability = np.zeros((6, 6, 6))
    probability[1:3, 1:3, 1:3] = 1
    probability[3:5, 3:5, 3] = 1  # touches the cube along an edge at most
    found = binarize_brain(probability, 0.5)
    assert found.sum() == 8
    assert found[1:3, 1:3, 1:3].all()


def test_a_brain_that_touches_the_edge_of_the_volume_is_whole():
    brain = ball((20, 20, 20), (10, 10, 0), 7)
    np.testing.assert_array_equal(binarize_brain(brain.astype(float), 0.5), brain)


@pytest.mark.parametrize('threshold', [0.2, 0.6])
def test_the_threshold_is_exclusive(threshold):
    probability = np.zeros((4, 4, 4))
    probability[1, 1, 1:3] = 0.6, 0.61
    assert binarize_brain(probability, threshold).sum() == (2 if threshold < 0.6 else 1)


def test_no_brain_is_said():
    with pytest.raises(ValueError, match='no voxel is brain'):
        binarize_brain(np.full((3, 3, 3), 0.4), 0.5)
