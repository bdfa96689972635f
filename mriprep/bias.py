"""The bias field on two grids: fitted on a coarse one, applied on the image's own.

A bias field is smooth, so that nothing is lost by fitting it on voxels of some millimetres, and
most of the time of N4 is saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def shrink_factors(zooms_mm: Sequence[float], voxel_mm: float) -> tuple[int, int, int]:
    """How many voxels are averaged along each axis to come near a voxel size.

    Never more than it takes: anisotropic voxels become nearly cubic.

    Examples
    --------
    >>> shrink_factors((1.0, 0.7, 3.0), 4.0)
    (4, 5, 1)
    """
    i, j, k = (max(1, int(voxel_mm / zoom + 0.25)) for zoom in zooms_mm)
    return i, j, k


def block_mean(
    volume: NDArray[np.floating], mask: NDArray[np.bool_], factors: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Average a volume over blocks, counting only what lies in a mask.

    Parameters
    ----------
    volume : (I, J, K) float array
    mask : (I, J, K) bool array
    factors : three int
        Voxels in a block along each axis. The last block of an axis may be cut.

    Returns
    -------
    mean : (ceil(I / fi), ceil(J / fj), ceil(K / fk)) float32 array
        Mean over the masked voxels of each block; 0 where there are none.
    fraction : float32 array of that shape
        Part of the block that lies in the mask, 0 to 1.
    """
    total = np.where(mask, volume, 0).astype(np.float32)
    count = mask.astype(np.float32)
    for axis, factor in enumerate(factors):
        starts = np.arange(0, volume.shape[axis], factor)
        total = np.add.reduceat(total, starts, axis=axis)
        count = np.add.reduceat(count, starts, axis=axis)
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return mean, count / float(np.prod(factors))


def block_affine(affine: NDArray[np.floating], factors: Sequence[int]) -> NDArray[np.float64]:
    """Affine of the grid of blocks: its voxels are centred on the blocks.

    Examples
    --------
    >>> block_affine(np.eye(4), (2, 1, 1))[0]
    array([2. , 0. , 0. , 0.5])
    """
    scale = np.diag([*factors, 1.0])
    scale[:3, 3] = (np.asarray(factors) - 1) / 2
    out: NDArray[np.float64] = np.asarray(affine, dtype=float) @ scale
    return out


def spread(
    field: NDArray[np.floating], shape: Sequence[int], factors: Sequence[int]
) -> NDArray[np.float32]:
    """Bring a smooth volume from the grid of blocks to the full grid.

    Cubic splines along each axis; beyond the outermost block centres the field stays constant,
    since a cubic would run away there.

    Parameters
    ----------
    field : (i, j, k) float array
        Samples at block centres.
    shape : three int
        Shape of the full grid.
    factors : three int
        Voxels in a block along each axis.

    Returns
    -------
    ``shape`` float32 array
    """
    out = np.asarray(field, dtype=np.float32)
    for axis in range(3):
        weights = _spline_weights(out.shape[axis], shape[axis], factors[axis])
        out = np.moveaxis(np.tensordot(weights, out, (1, axis)), 0, axis)
    return np.ascontiguousarray(out)


def _spline_weights(n_blocks: int, n_voxels: int, factor: int) -> NDArray[np.float32]:
    """Weight of each block in each voxel along one axis, (n_voxels, n_blocks)."""
    from scipy.interpolate import make_interp_spline

    if n_blocks == 1:
        return np.ones((n_voxels, 1), dtype=np.float32)
    centres = (np.arange(n_blocks) + 0.5) * factor - 0.5
    where = np.clip(np.arange(n_voxels), centres[0], centres[-1])
    spline = make_interp_spline(centres, np.eye(n_blocks), k=3 if n_blocks > 3 else 1)
    return np.asarray(spline(where), dtype=np.float32)
