"""Whether an output overlays its source: points carried by the saved transforms, and a correlation.

Directions are those of ITK's files: the transform that resamples image A onto the grid of B takes
points of B to points of A. So points of the native image go to the output through the transform
that resamples the output onto the native grid, `from-<template>_to-T1w` for a template's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mriprep.criteria import Rule
from mriprep.itk import itk_to_ras
from mriprep.masks import bounding_box
from mriprep.transforms import read_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    PointMap = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_FIELD = 'DisplacementFieldTransform'
_FLIP = np.array([-1.0, -1.0, 1.0])  # RAS mm to ITK's LPS mm, and back
_SIGMA_OF_VOXEL = 0.4247  # of a Gaussian whose half maximum is as wide as one voxel, in voxels
_MOST_POINTS = 30_000
_LEAST_INSIDE = 0.5  # share of the points that must lie on the output's grid

RULE = Rule(
    name='overlay',
    unit='correlation',
    accept=(0.95, None),
    believe=(0.90, None),
    low='The output correlates with its source by {:.3f} only where the saved transform puts it: '
    'it may lie in another place, be turned or mirrored, or the transform is of another image.',
    reason='outputs of 1 and 2 mm have 0.967 and more; moved by 3 mm 0.83 and less, mirrored 0.86 '
    'and less',
)


def point_map(*transforms: Path, invert: Sequence[bool] = ()) -> PointMap:
    """Read what takes points from one image to another.

    Parameters
    ----------
    *transforms : Path
        ITK transforms, ``.h5`` or ``.txt``: linear ones, displacement fields, or composites of
        them. A point passes the first one first, as in antsApplyTransformsToPoints.
    invert : sequence of bool
        Which of them are passed backwards; without it none is. Those must be linear.

    Returns
    -------
    callable
        Takes an (N, 3) array of RAS mm of the image that is resampled onto to RAS mm of the image
        that is resampled. Where a field ends, it moves nothing.

    Raises
    ------
    ValueError
        If a file holds no transform, one of a kind that is not known, or a displacement field that
        is to be inverted.
    """
    backwards = list(invert) or [False] * len(transforms)
    steps: list[PointMap] = []
    for path, inverse in zip(transforms, backwards, strict=True):
        parts = read_parts(path)
        if inverse and any(kind.startswith(_FIELD) for kind, _, _ in parts):
            raise ValueError(
                f'{path.name}: holds a displacement field, which can not be inverted; '
                'give the transform of the other direction'
            )
        for kind, parameters, fixed in reversed(parts) if inverse else parts:
            if kind.startswith(_FIELD):
                steps.append(_field_map(np.asarray(parameters), np.asarray(fixed, float)))
            else:
                matrix = itk_to_ras(kind, parameters, fixed)
                steps.append(linear_map(np.linalg.inv(matrix) if inverse else matrix))

    def go(points: NDArray[np.float64]) -> NDArray[np.float64]:
        moved = np.asarray(points, float)
        for step in steps:
            moved = step(moved)
        return moved

    return go


def linear_map(matrix: ArrayLike) -> PointMap:
    """Make a (4, 4) matrix, in RAS mm, a map of points."""
    rows = np.asarray(matrix, float)[:3]
    return lambda points: points @ rows[:, :3].T + rows[:, 3]


def correlation(
    native_volume: NDArray[np.floating],
    native_affine: NDArray[np.floating],
    mask: NDArray[np.bool_],
    output_volume: NDArray[np.floating],
    output_affine: NDArray[np.floating],
    to_output: PointMap,
) -> float:
    """Correlate an image with what was resampled from it, in the places where it should lie.

    The source is smoothed to the voxel size of the output where that is larger, so that what the
    output can't show is not held against it.

    Parameters
    ----------
    native_volume : (I, J, K) array
        The source.
    native_affine : (4, 4) array
        Its voxel indices to RAS mm.
    mask : (I, J, K) bool array
        Voxels that count; at most 30,000 of them are looked at, always the same.
    output_volume : (i, j, k) array
        The source, resampled.
    output_affine : (4, 4) array
        Its voxel indices to RAS mm.
    to_output
        Takes RAS mm of the source to RAS mm of the output; see `point_map`.

    Returns
    -------
    float
        Pearson's correlation; 0 where there is nothing to compare, because half of the points and
        more miss the output's grid, or one of the images is constant.

    Raises
    ------
    ValueError
        If the mask is empty, or has not the shape of its image.
    """
    from scipy import ndimage

    if mask.shape != native_volume.shape:
        raise ValueError(f'volume {native_volume.shape} and mask {mask.shape} differ in shape')
    voxels = _sample(mask)
    there = to_output(linear_map(native_affine)(voxels))
    places = linear_map(np.linalg.inv(output_affine))(there)
    met = ((places >= 0) & (places <= np.array(output_volume.shape) - 1)).all(axis=1)
    if met.mean() < _LEAST_INSIDE:
        return 0.0
    seen = ndimage.map_coordinates(
        np.asarray(output_volume, np.float32), places[met].T, order=1, output=np.float64
    )
    zooms = [np.linalg.norm(np.asarray(m)[:3, :3], axis=0) for m in (native_affine, output_affine)]
    source = _values(
        native_volume, mask, voxels[met].astype(int), zooms[0], float(zooms[1].mean())
    )
    if not (source.std() > 0 and seen.std() > 0):
        return 0.0
    return float(np.corrcoef(source, seen)[0, 1])


def _sample(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Indices of voxels of a mask, the same for equal masks; (N, 3)."""
    inside = np.flatnonzero(mask)
    if inside.size == 0:
        raise ValueError('the mask is empty')
    if inside.size > _MOST_POINTS:
        chosen = np.random.default_rng(0).choice(inside.size, _MOST_POINTS, replace=False)
        inside = inside[np.sort(chosen)]
    return np.stack(np.unravel_index(inside, mask.shape), axis=1).astype(np.float64)


def _values(
    volume: NDArray[np.floating],
    mask: NDArray[np.bool_],
    voxels: NDArray[np.intp],
    zooms: NDArray[np.floating],
    voxel_mm: float,
) -> NDArray[np.float64]:
    """Values of voxels of a mask, after smoothing to voxels of another size."""
    from scipy import ndimage

    sigma = _SIGMA_OF_VOXEL * np.sqrt(np.maximum(0, voxel_mm**2 - zooms**2)) / zooms
    box = bounding_box(mask, [int(width) for width in np.ceil(4 * sigma)])
    part = np.asarray(volume[box], np.float32)
    if sigma.any():
        part = ndimage.gaussian_filter(part, sigma)
    start = [side.start for side in box]
    return np.asarray(part[tuple((voxels - start).T)], np.float64)


def _field_map(vectors: NDArray[np.floating], fixed: NDArray[np.float64]) -> PointMap:
    """Make a displacement field a map of points.

    Parameters
    ----------
    vectors : float array
        LPS mm, all three of a voxel together, the first axis fastest.
    fixed : float array
        Size, origin, spacing and direction of the grid in LPS mm.
    """
    from scipy import ndimage

    size = fixed[:3].astype(int)
    field = np.moveaxis(vectors.reshape(*size[::-1], 3), 3, 0).transpose(0, 3, 2, 1)
    to_index = np.linalg.inv(fixed[9:18].reshape(3, 3) * fixed[6:9])

    def go(points: NDArray[np.float64]) -> NDArray[np.float64]:
        index = (points * _FLIP - fixed[3:6]) @ to_index.T
        within = ((index >= -0.5) & (index < size - 0.5)).all(axis=1)
        moved = points.copy()
        moved[within] += _FLIP * np.stack(
            [
                ndimage.map_coordinates(axis, index[within].T, order=1, mode='nearest')
                for axis in field
            ],
            axis=1,
        )
        return moved

    return go
