"""A robust mean of images that lie on one grid: arrays in, arrays out."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]
    Mask = NDArray[np.bool_]
    Volume = NDArray[np.float32]

TUKEY = 4.685  # noise deviations; an efficiency of 95 % for Gaussian noise
_LEAST_NOISE = 0.01  # of the brightness; two copies of one image have none
_SLAB = 16  # planes that are averaged at once


def brightness_scales(samples: Array) -> NDArray[np.float64]:
    """Find the factor by which each member matches the others.

    Parameters
    ----------
    samples : (N, M) array
        M places of the brain in N members.

    Returns
    -------
    (N,) float array
        Their geometric mean is 1.
    """
    middle = np.median(samples, axis=1)
    if not (middle > 0).all():
        raise ValueError('the brain of an image is black; leave the image out')
    scales = np.asarray(1 / middle, np.float64)
    for _ in range(2):
        common = np.median(samples * scales[:, None], axis=0)
        tissue = (common > np.median(common)) & (samples > 0).all(axis=0)
        if tissue.any():
            scales = np.median(common[tissue] / samples[:, tissue], axis=1)
    return np.asarray(scales / np.exp(np.log(scales).mean()))


def noise_deviation(samples: Array) -> float:
    """Measure the noise of members from the two that differ least.

    Parameters
    ----------
    samples : (N, M) array
        M places of the brain in N members of one brightness.
    """
    found = []
    for first, second in combinations(samples, 2):
        apart = first - second
        spread = np.median(np.abs(apart - np.median(apart)))
        found.append(1.4826 * float(spread) / np.sqrt(2))
    return float(max(min(found), _LEAST_NOISE * np.median(samples)))


def robust_mean(volumes: Sequence[Volume], seen: Sequence[Mask], noise: float) -> Volume:
    """Average volumes voxel by voxel; what lies far from the median counts less or not at all.

    Of one or two members in a voxel this is the mean: of two that differ, nothing tells which one
    is wrong. Of more it is one step of Tukey's biweight from the median.

    Parameters
    ----------
    volumes : sequence of (I, J, K) float32 array
        Members of one brightness.
    seen : sequence of (I, J, K) bool array
        Where each has voxels.
    noise
        Standard deviation of a member; members further than 4.7 times that from the median are
        left out.

    Returns
    -------
    (I, J, K) float32 array
        0 where no member has voxels.
    """
    out = np.empty(volumes[0].shape, np.float32)
    for start in range(0, len(out), _SLAB):
        part = slice(start, start + _SLAB)
        stack = np.stack([volume[part] for volume in volumes])
        out[part] = biweight(stack, np.stack([one[part] for one in seen]), noise)[0]
    return out


def biweight(stack: Array, seen: Mask, noise: float) -> tuple[Array, Array]:
    """Average over the first axis; also the share of each member, 0 where it is not seen."""
    count = seen.sum(axis=0)
    weights = seen.astype(stack.dtype)
    if len(stack) > 2:
        ordered = np.sort(np.where(seen, stack, np.inf), axis=0)
        last = np.maximum(count - 1, 0)
        low, high = (
            np.take_along_axis(ordered, n[None], axis=0)[0] for n in (last // 2, -(-last // 2))
        )
        middle = np.where(count > 0, (low + high) / 2, 0)
        near = np.clip(1 - ((stack - middle) / (TUKEY * noise)) ** 2, 0, None) ** 2
        # of two, the mean; and where all are far from the median, too
        near[:, (count < 3) | ((near * seen).sum(axis=0) <= 0)] = 1
        weights *= near
    weights /= np.maximum(weights.sum(axis=0), np.finfo(stack.dtype).tiny)
    return (weights * stack).sum(axis=0), weights
