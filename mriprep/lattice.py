"""Grids, and what is interpolated on them: arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]
    Matrix = NDArray[np.float64]
    Mask = NDArray[np.bool_]
    Volume = NDArray[np.float32]
    Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Where voxels lie."""

    affine: Matrix  # (4, 4), voxel indices to RAS mm
    shape: tuple[int, int, int]

    def every_second(self) -> Grid:
        """Leave out every second voxel along each axis."""
        i, j, k = (-(-n // 2) for n in self.shape)
        return Grid(affine=self.affine @ np.diag([2.0, 2.0, 2.0, 1.0]), shape=(i, j, k))


def interpolated(
    coefficients: Volume, whole: Matrix, shape: tuple[int, int, int]
) -> tuple[Volume, Mask]:
    """Look splines up on a grid, given the transform of its indices; also where there are any."""
    from scipy import ndimage

    values: Volume = ndimage.affine_transform(
        coefficients, whole[:3, :3], whole[:3, 3],
        output_shape=shape, output=np.float32, order=3, prefilter=False, mode='mirror',
    )  # fmt: skip
    inside = seen_from(coefficients.shape, whole, shape)
    values[~inside] = 0
    return values, inside


def spline(volume: Volume) -> Volume:
    """Coefficients of the cubic B-spline through the voxels."""
    from scipy import ndimage

    out: Volume = ndimage.spline_filter(volume, 3, output=np.float32, mode='mirror')
    return out


def carry(volume: Volume, affine: Matrix, matrix: Matrix, grid: Grid) -> Volume:
    """Interpolate weights linearly; 0 outside."""
    from scipy import ndimage

    whole = inverse(affine) @ matrix @ grid.affine
    out: Volume = ndimage.affine_transform(
        volume, whole[:3, :3], whole[:3, 3],
        output_shape=grid.shape, output=np.float32, order=1, mode='grid-constant',
    )  # fmt: skip
    return out


def seen_from(shape: tuple[int, ...], whole: Matrix, out_shape: tuple[int, int, int]) -> Mask:
    """Tell which voxels of a grid fall on voxels of another, given the indices' transform."""
    i, j, k = np.ogrid[tuple(slice(n) for n in out_shape)]
    inside = np.ones(out_shape, bool)
    for (a, b, c, d), size in zip(whole[:3], shape, strict=True):
        place = (a * i + b * j + d) + c * k
        inside &= (place >= -0.5) & (place <= size - 0.5)
    return inside


def cut_affine(affine: Array, box: tuple[slice, ...]) -> Matrix:
    out = np.array(affine, np.float64)
    out[:3, 3] += out[:3, :3] @ [part.start for part in box]
    return out


def inverse(matrix: Array) -> Matrix:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def transformed(matrix: Matrix, points: NDArray[Any]) -> Points:
    """Apply a (4, 4) matrix to (..., 3) points."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])
