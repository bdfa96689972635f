"""Volumes on coarser grids: arrays in, arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Standard deviation of a Gaussian whose half maximum is as wide as one voxel, in voxels.
_SIGMA_OF_VOXEL = 1 / np.sqrt(8 * np.log(2))


def coarsen(
    volume: NDArray[np.floating], affine: NDArray[np.floating], voxel_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Bring a volume onto larger voxels, smoothed so that nothing is aliased.

    Axes whose voxels are larger already keep them.

    Parameters
    ----------
    volume : (I, J, K) float array
    affine : (4, 4) float array
        Voxel indices to mm.
    voxel_mm
        Wanted voxel size.

    Returns
    -------
    volume : (i, j, k) float32 array
        Covers the same box.
    affine : (4, 4) float array
        Of the coarse grid; its voxels are centred on the box's parts.

    Examples
    --------
    >>> volume, affine = coarsen(np.ones((8, 8, 8)), np.diag([1.0, 1.0, 3.0, 1.0]), 2.0)
    >>> volume.shape, float(affine[0, 3])
    ((4, 4, 8), 0.5)
    """
    from scipy import ndimage

    zooms = np.sqrt((np.asarray(affine, float)[:3, :3] ** 2).sum(axis=0))
    step = np.maximum(1.0, voxel_mm / zooms)
    # what is smooth already needs only the rest of the wanted width
    sigma = _SIGMA_OF_VOXEL * np.sqrt(step**2 - 1)
    smooth = ndimage.gaussian_filter(np.asarray(volume, np.float32), sigma, truncate=3)
    shape = tuple(int(np.ceil(size / part)) for size, part in zip(volume.shape, step, strict=True))
    scale = np.diag([*step, 1.0])
    scale[:3, 3] = (step - 1) / 2
    out = ndimage.affine_transform(smooth, scale, output_shape=shape, order=1, mode='nearest')
    own: NDArray[np.float64] = np.asarray(affine, float) @ scale
    return np.asarray(out, dtype=np.float32), own
