"""How far the surfaces of two masks lie apart: arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mriprep.masks import bounding_box

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceDistances:
    """Distances between two surfaces, in mm, pooled over both directions."""

    mean_mm: float
    percentile95_mm: float
    max_mm: float


def surface_distances(
    a: NDArray[np.bool_], b: NDArray[np.bool_], affine: NDArray[np.floating[Any]]
) -> SurfaceDistances:
    """Measure how far the surfaces of two masks lie apart.

    A surface is made of the voxels of a mask that touch the outside by a face; where the mask
    reaches the edge of the volume, the edge counts as outside. From each such voxel of either mask
    the distance to the nearest one of the other is taken, between centres, so that nothing
    between 0 and the smallest voxel side can come out of a single pair.

    Parameters
    ----------
    a, b : (I, J, K) bool array
        Two masks on one grid.
    affine : (4, 4) array
        Voxel indices to mm; voxels may be anisotropic and oblique, but not sheared.

    Returns
    -------
    SurfaceDistances
        The same when ``a`` and ``b`` change places.

    Raises
    ------
    ValueError
        If shapes differ, or a mask is empty.

    Examples
    --------
    >>> box = np.zeros((9, 9, 9), bool)
    >>> box[2:6, 2:6, 2:6] = True
    >>> surface_distances(box, np.roll(box, 1, axis=2), np.diag([1.0, 1.0, 3.0, 1.0])).max_mm
    3.0
    """
    if a.shape != b.shape:
        raise ValueError(f'masks {a.shape} and {b.shape} differ in shape')
    if not (a.any() and b.any()):
        raise ValueError('a mask is empty and has no surface')
    zooms = np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0)
    box = bounding_box(a | b)
    one, other = _border(a[box]), _border(b[box])
    apart = np.concatenate([_gaps(one, other, zooms), _gaps(other, one, zooms)])
    return SurfaceDistances(
        mean_mm=float(apart.mean(dtype=np.float64)),
        percentile95_mm=float(np.percentile(apart, 95)),
        max_mm=float(apart.max()),
    )


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of a mask that have a face in common with the outside."""
    from scipy import ndimage

    return np.asarray(mask & ~ndimage.binary_erosion(mask))


def _gaps(
    one: NDArray[np.bool_], other: NDArray[np.bool_], zooms: NDArray[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    """Distance in mm from each voxel of one border to the nearest of the other."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~other, sampling=zooms)[one])
