"""Mutual information of two images of one head, and how to climb it: arrays in, numbers out.

One image gives points with their intensities, as they were measured; the other is interpolated at
these points by cubic splines. Their joint histogram is filled with cubic windows along the
interpolated image's intensities, so that it changes smoothly with the pose, and each point's own
share in the slope is known. The outer product of these shares stands for the curvature, which
needs no second derivatives.

Wells et al. (1996), Med Image Anal 1:35-51, doi:10.1016/S1361-8415(01)80004-9;
Mattes et al. (2003), IEEE Trans Med Imaging 22:120-128, doi:10.1109/TMI.2003.809072;
Berndt et al. (1974), Ann Econ Soc Meas 3:653-665.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mriprep.resampling import coarsen

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS = 40  # of intensity
_WINSORIZED = (0.5, 99.5)  # percentiles; what lies beyond is clipped
_TINY = 1e-12  # of probability, so that logarithms exist
_RADIUS_MM = 50.0  # of a head: a turn by one radian moves its points by so much
_LARGEST_STEP_MM = 8.0
_DAMPING = (1e-2, 1e-3, 1e4)  # at first, least, and where climbing ends
_FEWEST_POINTS = 500


class NothingSharedError(ValueError):
    """Two images have no points in common, or one of them shows nothing there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Information:
    """What one image tells of another."""

    nats: float  # mutual information
    normalized: float  # over the mean entropy of both; 0 to 1


def limits_of(values: NDArray[np.floating]) -> tuple[float, float]:
    """Intensities between which a histogram is made.

    Raises
    ------
    NothingSharedError
        If there are hardly any values, or all are alike.
    """
    if values.size < _FEWEST_POINTS:
        raise NothingSharedError(f'only {values.size} points are shared')
    low, high = (float(limit) for limit in np.percentile(values, _WINSORIZED))
    if not high > low:
        raise NothingSharedError(f'the image holds one value ({low:g}) where the brain should be')
    return low, high


class Splined:
    """An image in levels of intensity that can be asked between its voxels.

    Parameters
    ----------
    volume : (I, J, K) float array
    affine : (4, 4) array
        Voxel indices to mm.
    limits
        Intensities of the lowest and the highest level.
    """

    def __init__(
        self,
        volume: NDArray[np.floating],
        affine: NDArray[np.floating],
        limits: tuple[float, float],
    ) -> None:
        from scipy import ndimage

        levels = _in_levels(volume, limits).astype(np.float32)
        self._to_index = inverse(affine)
        self._spline = ndimage.spline_filter(levels, 3, output=np.float32, mode='mirror')
        self._slopes = np.gradient(levels)

    def levels(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Levels (N,) at points (N, 3)."""
        from scipy import ndimage

        index = transformed(self._to_index, points_mm).T
        found = ndimage.map_coordinates(
            self._spline, index, order=3, prefilter=False, mode='mirror', output=np.float64
        )
        return np.asarray(np.clip(found, 0, _LEVELS - 1))

    def slopes(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Levels per mm along R, A and S, (N, 3)."""
        from scipy import ndimage

        index = transformed(self._to_index, points_mm).T
        along = [ndimage.map_coordinates(s, index, order=1, mode='nearest') for s in self._slopes]
        return np.asarray(np.stack(along, 1) @ self._to_index[:3, :3], np.float64)


class Comparison:
    """Points of one image against another image, as a function of the pose between them.

    Parameters
    ----------
    points_mm : (N, 3) array
        In the space of the first image.
    values : (N,) array
        Its intensities there.
    limits
        Intensities of the lowest and the highest level.
    image : Splined
        The second image.
    """

    def __init__(
        self,
        points_mm: NDArray[np.float64],
        values: NDArray[np.floating],
        limits: tuple[float, float],
        image: Splined,
    ) -> None:
        self.points_mm = points_mm
        self._rows = np.rint(_in_levels(values, limits)).astype(np.intp) * _WIDTH
        self._image = image
        self._last: tuple[bytes, NDArray[np.float64], NDArray[np.float64]] | None = None

    def information(self, matrix: NDArray[np.float64]) -> Information:
        """Measure mutual information under a transform.

        Parameters
        ----------
        matrix : (4, 4) array
            From the space of the points to that of the second image, mm.
        """
        column, weights, _ = self._columns(self._seen(matrix)[1])
        joint = self._joint(column, weights)
        first, second = joint.sum(1), joint.sum(0)
        entropies = [-float((p * np.log(p + _TINY)).sum()) for p in (first, second, joint.ravel())]
        nats = entropies[0] + entropies[1] - entropies[2]
        return Information(nats=nats, normalized=2 * nats / max(sum(entropies[:2]), _TINY))

    def slope(
        self, matrix: NDArray[np.float64], centre_mm: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How mutual information changes with a small move about a centre.

        Returns
        -------
        gradient : (6,) array
            Nats per mm of shift along R, A, S, and of turn about them, at 50 mm from the centre.
        curvature : (6, 6) array
            Its outer products, mean over the points.
        """
        there, levels = self._seen(matrix)
        column, weights, changes = self._columns(levels, slopes=True)
        joint = self._joint(column, weights)
        gain = np.log((joint + _TINY) / (joint.sum(0) + _TINY)).ravel()
        cells = self._rows + column
        share = sum(change * gain[cells + k] for k, change in enumerate(changes))
        pull = np.asarray(share)[:, None] * self._image.slopes(there)
        parts = np.c_[pull, np.cross(there - centre_mm, pull) / _RADIUS_MM]
        # not by matrix products: their last digits depend on how many threads share them
        return parts.mean(0), np.einsum('ni,nj->ij', parts, parts) / len(parts)

    def _seen(
        self, matrix: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where the points come to lie, and the levels there; kept for the next call."""
        key = matrix.tobytes()
        if self._last is None or self._last[0] != key:
            there = transformed(matrix, self.points_mm)
            self._last = (key, there, self._image.levels(there))
        return self._last[1:]

    def _columns(
        self, levels: NDArray[np.float64], *, slopes: bool = False
    ) -> tuple[NDArray[np.intp], list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """First of the four cells of each point, what falls into them, and how that changes."""
        column = levels.astype(np.intp)
        t = levels - column
        rest = 1 - t
        weights = [rest**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6]
        weights += [(3 * rest**3 - 6 * rest**2 + 4) / 6, t**3 / 6]
        if not slopes:
            return column, weights, []
        changes = [-(rest**2) / 2, (3 * t**2 - 4 * t) / 2]
        changes += [-(3 * rest**2 - 4 * rest) / 2, t**2 / 2]
        return column, weights, changes

    def _joint(
        self,
        column: NDArray[np.intp],
        weights: list[NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """Joint probability of levels, (levels, levels + 3)."""
        cells, size = self._rows + column, _LEVELS * _WIDTH
        counts = sum(np.bincount(cells + k, w, minlength=size) for k, w in enumerate(weights))
        return np.asarray(counts).reshape(_LEVELS, _WIDTH) / len(column)


_WIDTH = _LEVELS + 3  # cubic windows reach beyond the ends


def climb(
    comparison: Comparison,
    matrix: NDArray[np.float64],
    *,
    steps: int = 25,
    least_mm: float = 0.003,
) -> NDArray[np.float64]:
    """Improve a rigid transform until its steps get small.

    Parameters
    ----------
    comparison
        What is compared.
    matrix : (4, 4) array
        Where to begin; rigid.
    steps
        At most so many.
    least_mm
        Ends when a step is smaller.

    Returns
    -------
    (4, 4) array
        Rigid as well; at least as good as the start.
    """
    first, least, most = _DAMPING
    damping = first
    centre = transformed(matrix, comparison.points_mm).mean(0)
    best = comparison.information(matrix).nats
    for _ in range(steps):
        gradient, curvature = comparison.slope(matrix, centre)
        while damping < most:
            damped = curvature + damping * np.diag(np.diag(curvature)) + _TINY * np.eye(6)
            step = np.linalg.solve(damped, gradient)
            step /= max(1.0, float(np.abs(step).max()) / _LARGEST_STEP_MM)
            tried = moved(step[:3], np.degrees(step[3:] / _RADIUS_MM), centre) @ matrix
            if (found := comparison.information(tried).nats) > best:
                break
            damping *= 6
        else:
            break
        matrix, best, damping = tried, found, max(damping / 6, least)
        if np.linalg.norm(step) < least_mm:
            break
    return matrix


def moved(
    shift_mm: NDArray[np.floating],
    turn_deg: NDArray[np.floating],
    centre_mm: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Rigid transform that turns about a centre and then shifts.

    Parameters
    ----------
    shift_mm : (3,) array
    turn_deg : (3,) array
        Axis times angle.
    centre_mm : (3,) array
    """
    from scipy.spatial.transform import Rotation

    out = np.eye(4)
    out[:3, :3] = Rotation.from_rotvec(np.asarray(turn_deg), degrees=True).as_matrix()
    out[:3, 3] = np.asarray(centre_mm) + shift_mm - out[:3, :3] @ centre_mm
    return out


def transformed(
    matrix: NDArray[np.floating], points_mm: NDArray[np.floating] | NDArray[np.integer]
) -> NDArray[np.float64]:
    """Apply a (4, 4) matrix to points (N, 3)."""
    return np.asarray(points_mm @ matrix[:3, :3].T + matrix[:3, 3], np.float64)


def inverse(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """Invert a (4, 4) matrix."""
    return np.asarray(np.linalg.inv(np.asarray(matrix, np.float64)))


def normalized_mutual_information(
    reference: NDArray[np.floating],
    reference_affine: NDArray[np.floating],
    moving: NDArray[np.floating],
    moving_affine: NDArray[np.floating],
    matrix: NDArray[np.floating],
    mask: NDArray[np.bool_],
    *,
    voxel_mm: float = 2.0,
) -> Information:
    """Measure what an image tells of a reference, inside a mask, under a transform.

    Parameters
    ----------
    reference : (I, J, K) float array
    reference_affine, moving_affine : (4, 4) array
        Voxel indices to RAS mm.
    moving : (L, M, N) float array
    matrix : (4, 4) array
        From points of the reference to points of the moving image, RAS mm.
    mask : (I, J, K) bool array
        Where it is measured; what the moving image does not cover is left out.
    voxel_mm
        Finer voxels are averaged before.

    Raises
    ------
    NothingSharedError
        If hardly any points are shared, or an image is constant there.
    """
    coarse, grid = coarsen(reference, reference_affine, voxel_mm)
    inside = coarsen(mask.astype(np.float32), reference_affine, voxel_mm)[0] > 0.5
    there, there_grid = coarsen(moving, moving_affine, voxel_mm)
    points = transformed(grid, np.argwhere(inside))
    pose = np.asarray(matrix, np.float64)
    seen = covered(there.shape, there_grid, transformed(pose, points))
    values = coarse[inside][seen]
    limits, (low, high) = limits_of(values), limits_of(there)
    # of the moving image only what lies in the mask counts
    rough = Splined(there, there_grid, (low, high)).levels(transformed(pose, points[seen]))
    found = low + (high - low) * rough / (_LEVELS - 1)
    image = Splined(there, there_grid, limits_of(found))
    return Comparison(points[seen], values, limits, image).information(pose)


def covered(
    shape: tuple[int, ...], affine: NDArray[np.floating], points_mm: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Which points (N, 3) lie within the voxels of a grid."""
    index = transformed(inverse(affine), points_mm)
    return np.asarray(((index >= -0.5) & (index <= np.array(shape) - 0.5)).all(1))


def _in_levels(values: NDArray[np.floating], limits: tuple[float, float]) -> NDArray[np.floating]:
    low, high = limits
    return np.clip((values - low) / (high - low), 0, 1) * (_LEVELS - 1)
