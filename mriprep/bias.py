"""The bias field on two grids: fitted on a coarse lattice, applied on the image's own grid.

A bias field is smooth, so that nothing is lost by fitting it on every n-th voxel, and most of the
time of N4 is saved. Voxels are picked, not averaged: N4 sharpens the histogram of intensities, and
averages over the edges of tissues would blur it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mriprep.masks import bounding_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST_LOG_FIELD = 1.6  # a factor of 5; coils stay far below


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Every n-th voxel of a box in a grid."""

    starts: tuple[int, int, int]
    steps: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """What picks the lattice out of an array on the full grid."""
        i, j, k = (
            slice(start, start + step * (count - 1) + 1, step)
            for start, step, count in zip(self.starts, self.steps, self.shape, strict=True)
        )
        return i, j, k

    def affine(self, affine: NDArray[np.floating]) -> NDArray[np.float64]:
        """Affine of the lattice, for the (4, 4) affine of the full grid.

        Examples
        --------
        >>> lattice = Lattice(starts=(3, 0, 0), steps=(2, 1, 1), shape=(4, 4, 4))
        >>> lattice.affine(np.eye(4))[0]
        array([2., 0., 0., 3.])
        """
        scale = np.diag([*self.steps, 1.0])
        scale[:3, 3] = self.starts
        out: NDArray[np.float64] = np.asarray(affine, dtype=float) @ scale
        return out


def lattice_around(
    mask: NDArray[np.bool_], zooms_mm: Sequence[float], voxel_mm: float, margin_mm: float = 10.0
) -> Lattice:
    """Choose the lattice that a field is fitted on.

    Parameters
    ----------
    mask : (I, J, K) bool array
        The brain.
    zooms_mm : three float
        Voxel size of the grid.
    voxel_mm
        Distance that neighbours in the lattice should nearly have; anisotropic voxels come near to
        cubes.
    margin_mm
        Kept around the mask, so that the field goes on beyond its edge.

    Raises
    ------
    ValueError
        If the mask is empty.

    Examples
    --------
    >>> mask = np.ones((100, 100, 20), bool)
    >>> lattice_around(mask, (1.0, 0.7, 4.8), 5.0).steps
    (5, 7, 1)
    """
    i, j, k = (max(1, int(voxel_mm / zoom + 0.25)) for zoom in zooms_mm)
    steps = (i, j, k)
    box = bounding_box(mask)
    starts, counts = [], []
    for part, size, zoom, step in zip(box, mask.shape, zooms_mm, steps, strict=True):
        margin = int(np.ceil(margin_mm / zoom))
        first = max(0, part.start - margin) + step // 2
        last = min(size, part.stop + margin) - 1
        first = min(first, last)
        starts.append(first)
        counts.append((last - first) // step + 1)
    return Lattice(
        starts=(starts[0], starts[1], starts[2]),
        steps=steps,
        shape=(counts[0], counts[1], counts[2]),
    )


def spread(
    field: NDArray[np.floating], lattice: Lattice, shape: Sequence[int]
) -> NDArray[np.float32]:
    """Bring a smooth volume from a lattice to the full grid.

    Cubic splines along each axis; beyond the outermost points the field stays constant, since a
    cubic would run away there.

    Parameters
    ----------
    field : (i, j, k) float array
        Samples on the lattice.
    lattice
        Where the samples lie.
    shape : three int
        Shape of the full grid.

    Returns
    -------
    ``shape`` float32 array
    """
    out = np.asarray(field, dtype=np.float32)
    for axis in range(3):
        weights = _spline_weights(
            lattice.starts[axis], lattice.steps[axis], out.shape[axis], shape[axis]
        )
        out = np.moveaxis(np.tensordot(weights, out, (1, axis)), 0, axis)
    return np.ascontiguousarray(out)


def take_out(
    volume: NDArray[np.floating],
    samples: NDArray[np.floating],
    lattice: Lattice,
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Divide a volume by a bias field that is known on a lattice.

    Parameters
    ----------
    volume : (I, J, K) float array
        Arbitrary units.
    samples : (i, j, k) float array
        The field on the lattice, positive.
    lattice
        Where the samples lie.
    mask : (I, J, K) bool array
        Where the field was fitted.

    Returns
    -------
    (I, J, K) float32 array
        As bright inside the mask as before: the mean logarithm of the field is zero there.
    """
    field = spread(np.log(samples), lattice, volume.shape)
    # brightness as a whole is not bias
    field -= field[mask].mean()
    # outside the mask nothing holds the field
    np.clip(field, -_LARGEST_LOG_FIELD, _LARGEST_LOG_FIELD, out=field)
    np.exp(-field, out=field)
    field *= volume
    return field


def _spline_weights(start: int, step: int, count: int, size: int) -> NDArray[np.float32]:
    """Weight of each of ``count`` lattice points in each of ``size`` voxels along one axis."""
    from scipy.interpolate import make_interp_spline

    if count == 1:
        return np.ones((size, 1), dtype=np.float32)
    points = start + step * np.arange(count)
    where = np.clip(np.arange(size), points[0], points[-1])
    spline = make_interp_spline(points, np.eye(count), k=3 if count > 3 else 1)
    return np.asarray(spline(where), dtype=np.float32)
