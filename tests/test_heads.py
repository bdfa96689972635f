"""Noise is refused; anything like a head, phantom or real, is let through."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mriprep.heads import why_not_a_head
from mriprep.images import load

RNG = np.random.default_rng(11)
SHAPES = [(16, 16, 16), (64, 64, 64), (128, 128, 30), (160, 200, 180)]


def uniform(shape):
    return RNG.random(shape, dtype=np.float32)


def gaussian(shape):
    return RNG.standard_normal(shape, dtype=np.float32)


def rician(shape, mean=3.0):
    return np.hypot(mean + gaussian(shape), gaussian(shape))


def salt_and_pepper(shape):
    return np.where(uniform(shape) < 0.02, np.float32(200), np.float32(50))


def ellipsoid(shape, zooms, radii_mm, noise=0.0):
    """Bright ellipsoid with a darker core, in the middle of the box."""
    grid = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing='ij')
    radius = np.sqrt(sum((g * z / r) ** 2 for g, z, r in zip(grid, zooms, radii_mm, strict=True)))
    clean = 100.0 * (radius < 1) - 30.0 * (radius < 0.7)
    return np.hypot(clean + noise * gaussian(shape), noise * gaussian(shape)).astype(np.float32)


@pytest.mark.parametrize('zoom', [1.0, 2.0, 4.0])
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('make', [uniform, gaussian, rician, salt_and_pepper])
def test_noise_is_refused(make, shape, zoom):
    reason = why_not_a_head(make(shape), np.diag([zoom, zoom, zoom, 1]))
    assert reason is not None
    assert '; ' in reason


def test_noise_is_called_noise():
    assert 'noise' in why_not_a_head(rician((128, 128, 128)), np.eye(4))


@pytest.mark.parametrize(
    ('shape', 'zooms', 'radii', 'noise'),
    [
        ((90, 110, 100), (2.0, 2.0, 2.0), (80, 100, 110), 1),
        ((90, 110, 100), (2.0, 2.0, 2.0), (80, 100, 110), 30),  # a poor coil
        ((128, 128, 25), (1.5, 1.5, 6.0), (75, 95, 90), 5),  # thick slices
        ((70, 90, 35), (2.0, 2.0, 2.0), (75, 95, 90), 5),  # a slab: the head is cut off
        ((60, 70, 60), (2.0, 2.0, 2.0), (42, 50, 35), 1),  # a stripped neonate
    ],
)
def test_head_like_phantoms_pass(shape, zooms, radii, noise):
    volume = ellipsoid(shape, zooms, radii, noise)
    assert why_not_a_head(volume, np.diag([*zooms, 1.0])) is None


def test_oblique_pose_does_not_matter():
    affine = np.diag([2.0, 2, 2, 1])
    affine[:2, :2] = [[np.sqrt(2), -np.sqrt(2)], [np.sqrt(2), np.sqrt(2)]]
    assert why_not_a_head(ellipsoid((90, 110, 100), (2, 2, 2), (80, 100, 110), 1), affine) is None


@pytest.mark.parametrize('zoom', [0.2, 0.7, 12.0])
def test_wrong_voxel_size_is_refused(zoom):
    volume = ellipsoid((90, 110, 100), (2, 2, 2), (80, 60, 70), 1)
    reason = why_not_a_head(volume, np.diag([zoom, zoom, zoom, 1]))
    assert 'check the voxel size' in reason


def test_scattered_pieces_are_refused():
    volume = np.zeros((120, 120, 120), np.float32)
    for corner in np.ndindex(5, 5, 5):
        volume[tuple(slice(24 * c, 24 * c + 16) for c in corner)] = 1
    assert 'scattered' in why_not_a_head(volume, np.diag([2.0, 2, 2, 1]))


@pytest.mark.parametrize('value', [0, 9])
def test_empty_box_is_refused(value):
    volume = np.full((64, 64, 64), value, np.float32)
    assert f'the same value ({value})' in why_not_a_head(volume, np.eye(4))


@pytest.mark.skipif('MRIPREP_TEST_DATA' not in os.environ, reason='MRIPREP_TEST_DATA is not set')
@pytest.mark.parametrize(
    'name',
    [
        'cropped-head-uint8/MR.nii.gz',
        'flair-named-t2/t2.nii.gz',
        'glioma-four-contrasts-stripped/00001_t1n.nii.gz',
        'ms-t1-t2-flair/study1_T1W.nii.gz',
        'ms-t1-t2-flair/study1_T2W.nii.gz',
        'stroke-stripped-oblique/T2.nii.gz',
    ],
)
def test_real_scans_pass(name):
    image = load(Path(os.environ['MRIPREP_TEST_DATA']) / name)
    assert why_not_a_head(image.get_fdata(dtype=np.float32), image.affine) is None
