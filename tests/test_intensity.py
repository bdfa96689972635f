"""Scaling of intensities: what it removes, what it keeps, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from mriprep.intensity import apply_mask, zscore, zscore_parameters


@pytest.fixture
def volume():
    return np.random.default_rng(7).normal(100, 20, (5, 6, 7)).astype(np.float32)


def test_the_mask_gets_mean_0_and_deviation_1_and_background_is_not_zeroed(volume):
    mask = volume > 90
    scaled = zscore(volume, zscore_parameters(volume, mask))
    assert scaled.dtype == np.float32
    assert scaled[mask].mean() == pytest.approx(0, abs=1e-5)
    assert scaled[mask].std() == pytest.approx(1, abs=1e-5)
    assert np.all(scaled[~mask] != 0)


def test_gain_and_offset_of_the_scanner_vanish(volume):
    mask = volume > 90
    other = 4.5 * volume + 12
    np.testing.assert_allclose(
        zscore(other, zscore_parameters(other, mask)),
        zscore(volume, zscore_parameters(volume, mask)),
        atol=1e-4,
    )


def test_the_parameters_undo_the_scaling(volume):
    parameters = zscore_parameters(volume, volume > 90)
    restored = zscore(volume, parameters) * parameters.deviation + parameters.mean
    np.testing.assert_allclose(restored, volume, atol=1e-3)
    assert parameters.n_voxels == (volume > 90).sum()


def test_statistics_of_many_bright_voxels_do_not_drown_in_float32():
    volume = np.full((64, 64, 64), 30000, np.float32)
    volume[::2] += 1
    parameters = zscore_parameters(volume, np.ones(volume.shape, bool))
    assert parameters.mean == pytest.approx(30000.5, abs=1e-6)
    assert parameters.deviation == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    ('volume', 'mask'),
    [
        (np.ones((2, 2, 2)), np.zeros((2, 2, 2), bool)),
        (np.ones((2, 2, 2)), np.ones((2, 2, 2), bool)),
        (np.full((2, 2, 2), np.nan), np.ones((2, 2, 2), bool)),
    ],
    ids=['empty', 'constant', 'nan'],
)
def test_a_mask_without_spread_is_refused(volume, mask):
    with pytest.raises(ValueError, match='empty or covers constant'):
        zscore_parameters(volume, mask)


@pytest.mark.parametrize('function', [zscore_parameters, apply_mask])
def test_shapes_must_agree(function):
    with pytest.raises(ValueError, match=r'\(2, 2, 2\) and mask \(2, 2, 3\) differ'):
        function(np.ones((2, 2, 2)), np.ones((2, 2, 3), bool))


def test_apply_mask_zeroes_the_outside_alone_and_leaves_its_input(volume):
    before = volume.copy()
    mask = volume > 90
    masked = apply_mask(volume, mask)
    np.testing.assert_array_equal(masked[mask], volume[mask])
    assert not masked[~mask].any()
    np.testing.assert_array_equal(volume, before)


def test_apply_mask_cuts_off_what_is_not_a_number():
    volume = np.array([[[np.nan, 1.0, np.inf]]])
    np.testing.assert_array_equal(apply_mask(volume, volume == 1), [[[0, 1, 0]]])
