"""How a mask compares with the brain of an atlas: an affine fit of surfaces, and what is left.

The fit starts from the orientation that the header states and never flips. It is robust, so that
eyes or a neck stay outside the atlas instead of stretching it, and it resists stretching one axis
against the others, so that half a brain stays half a brain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mriprep.atlas import Atlas
    from mriprep.shape import Blocks, Surface

_FIRST_SCALES_MM = (24.0, 18.0, 14.0, 11.0, 9.0)  # width of the weights, one per iteration
_LAST_SCALES_MM = (8.0, 7.0, 6.0, 6.0, 6.0, 6.0, 6.0)
_NOISE_MM = 3.0  # of a surface about the atlas; heads of adults have 2 to 3 mm after the fit
_STRETCH = 0.06  # standard deviation of an axis' logarithmic stretch against the others'
_PATCHES = 100  # of a surface that count as independent
_STARTS_DEG = (0.0, -20.0, 20.0)  # nods of the head that the fit starts from
_FIT_POINTS = 1200
_LARGEST_STEP = 0.15  # of the linear part in one iteration
_TISSUE_POINTS = 12_000
_DEPTHS_MM = (0.0, 3.0, 6.0, 10.0, 15.0, 22.0, 30.0, 40.0, 55.0, 75.0)  # from one to the next
_DEEP_MM = 6.0  # beyond which a difference from the atlas is more than anatomy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """An affine transform from a subject to an atlas."""

    matrix: NDArray[np.float64]  # (4, 4), subject RAS mm to atlas RAS mm
    cost: float

    @property
    def scale(self) -> float:
        """Linear size of the atlas over the subject's."""
        return float(np.cbrt(np.linalg.det(self.matrix[:3, :3])))

    @property
    def stretch(self) -> float:
        """Largest stretch over the smallest; 1 where shape is kept."""
        values = np.linalg.svd(self.matrix[:3, :3], compute_uv=False)
        return float(values[0] / values[-1])

    @property
    def turn_deg(self) -> float:
        """Angle between the head and the atlas."""
        left, _, right = np.linalg.svd(self.matrix[:3, :3])
        cosine = (np.trace(left @ right) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def fit_to_atlas(
    coarse: Blocks, distance: NDArray[np.float32], surface: Surface, atlas: Atlas
) -> Fit:
    """Find the affine that brings a mask's surface onto an atlas' surface, and back.

    Parameters
    ----------
    coarse : Blocks
        The mask.
    distance : (I, J, K) float32 array
        Signed distance in mm on the grid of `coarse`.
    surface : Surface
        Of the mask.
    atlas : Atlas

    Returns
    -------
    Fit
        Of several that start from different nods of the head, the one that begins best.
    """
    problem = _Problem(coarse, distance, surface, atlas)
    centre = np.average(np.argwhere(coarse.share > 0.5), axis=0)
    centre_mm = coarse.affine[:3, :3] @ centre + coarse.affine[:3, 3]
    target = np.argwhere(atlas.mask > 0.5).mean(0)
    target_mm = atlas.affine[:3, :3] @ target + atlas.affine[:3, 3]
    volume_ml = float(coarse.share.sum() * coarse.block_ml)
    scale = float(np.cbrt(atlas.volume_ml / volume_ml))
    begun = []
    for angle in np.radians(_STARTS_DEG):
        start = np.eye(4)
        cosine, sine = np.cos(angle), np.sin(angle)
        start[:3, :3] = scale * np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
        start[:3, 3] = target_mm - start[:3, :3] @ centre_mm
        begun.append(problem.solve(start, _FIRST_SCALES_MM))
    best = min(begun, key=lambda fit: fit.cost)
    return problem.solve(best.matrix, _LAST_SCALES_MM)


class _Problem:
    """The surfaces, and how far each lies from the other under a transform."""

    def __init__(
        self, coarse: Blocks, distance: NDArray[np.float32], surface: Surface, atlas: Atlas
    ) -> None:
        self._there = _Field(atlas.distance, atlas.affine)
        self._here = _Field(distance, coarse.affine)
        self._points = _thin(surface.points_mm, _FIT_POINTS)
        self._targets = _thin(atlas.surface, _FIT_POINTS)
        self._centre = atlas.surface.mean(0)
        self._coarse = coarse

    def solve(self, matrix: NDArray[np.float64], scales_mm: tuple[float, ...]) -> Fit:
        """Improve a transform by Gauss-Newton steps, one for each width of the weights."""
        for scale_mm in scales_mm:
            normal, rhs, _ = self._system(matrix, scale_mm)
            step = np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(12), rhs)
            delta = step.reshape(3, 4)
            delta *= min(1.0, _LARGEST_STEP / max(float(np.abs(delta[:, :3]).max()), 1e-9))
            move = np.eye(4)
            move[:3, :3] += delta[:, :3]
            move[:3, 3] = delta[:, 3] - delta[:, :3] @ self._centre
            matrix = move @ matrix
        return Fit(matrix=matrix, cost=self._system(matrix, _LAST_SCALES_MM[-1])[2])

    def _system(
        self, matrix: NDArray[np.float64], scale_mm: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Weighted normal equations of a step, and the robust cost where it starts."""
        linear = matrix[:3, :3]
        size = float(np.cbrt(np.linalg.det(linear)))
        there = self._points @ linear.T + matrix[:3, 3]
        first, slope = self._there.at(there)
        rows = [_design(slope, there - self._centre)]
        residuals = [first]
        inverse = np.linalg.inv(linear)
        here = (self._targets - matrix[:3, 3]) @ inverse.T
        second, slope = self._here.at(here)
        rows.append(-size * _design(slope @ inverse, self._targets - self._centre))
        residuals.append(size * second)
        seen = [np.ones(len(first)), self._in_image(here)]
        normal, rhs, cost = np.zeros((12, 12)), np.zeros(12), 0.0
        for design, residual, weight in zip(rows, residuals, seen, strict=True):
            far = (residual / scale_mm) ** 2
            count = max(weight.sum(), 1.0)
            robust = weight / (1 + far) ** 2 * _PATCHES / count / _NOISE_MM**2
            normal += design.T @ (robust[:, None] * design)
            rhs -= design.T @ (robust * residual)
            cost += float((weight * far / (1 + far)).sum() / count)
        stretch, keep = _stretch_prior(linear)
        normal += keep.T @ keep
        rhs -= keep.T @ stretch
        return normal, rhs, cost + float(stretch @ stretch) / _PATCHES

    def _in_image(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """1 for points that the image covers: where it ends, no surface can be missed."""
        index = _to_index(self._coarse.affine, points_mm)
        voxels = self._coarse.to_voxels(index)
        inside = (voxels > -0.5) & (voxels < np.array(self._coarse.image_shape) - 0.5)
        return np.asarray(inside.all(1), np.float64)


class _Field:
    """A distance map that is asked at points in mm; beyond its box it goes on as at the edge."""

    def __init__(self, values: NDArray[np.float32], affine: NDArray[np.float64]) -> None:
        self._values = values
        self._affine = affine
        self._gradient_mm = np.linalg.inv(affine[:3, :3])

    def distances(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distances (N,) in mm."""
        return self._sample(_to_index(self._affine, points_mm))

    def at(
        self, points_mm: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Distances (N,) and their slopes (N, 3) along R, A, S."""
        index = _to_index(self._affine, points_mm)
        steps = np.r_[np.zeros((1, 3)), np.eye(3), -np.eye(3)]
        found = self._sample((index[None] + steps[:, None]).reshape(-1, 3)).reshape(7, -1)
        along = (found[1:4] - found[4:7]) / 2
        return found[0], np.asarray(along.T @ self._gradient_mm)

    def _sample(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy import ndimage

        return np.asarray(
            ndimage.map_coordinates(
                self._values, index.T, order=1, mode='nearest', output=np.float64
            )
        )


def _to_index(affine: NDArray[np.float64], points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    inverse = np.linalg.inv(affine)
    return np.asarray(points_mm @ inverse[:3, :3].T + inverse[:3, 3])


def _thin(points: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    return points[:: max(1, -(-len(points) // most))]


def _design(slope: NDArray[np.float64], offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """Change of distances with the twelve numbers of a step, (N, 12)."""
    homogeneous = np.c_[offset, np.ones(len(offset))]
    return np.asarray((slope[:, :, None] * homogeneous[:, None, :]).reshape(len(offset), 12))


def _stretch_prior(
    linear: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Stretches against the mean one, in standard deviations, and how a step changes them."""
    values, vectors = np.linalg.eigh(linear @ linear.T)
    logarithm = vectors @ np.diag(0.5 * np.log(values)) @ vectors.T
    logarithm -= np.eye(3) * np.trace(logarithm) / 3
    change = np.zeros((9, 12))
    for row in range(3):
        for column in range(3):
            step = np.zeros((3, 3))
            step[row, column] = 1
            step = (step + step.T) / 2 - np.eye(3) * np.trace(step) / 3
            change[:, 4 * row + column] = step.ravel()
    return logarithm.ravel() / _STRETCH, change / _STRETCH


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What is left between a fitted mask and the atlas; volumes in the subject's own ml."""

    dice: float
    distance_mm: float  # 95th percentile, from the mask's surface to the atlas'
    protrusion_ml: float  # largest piece of the mask further than 6 mm outside
    deficit_ml: float  # largest piece of the atlas, deeper than 6 mm, that the mask lacks
    symmetry: float  # Dice of the mask and its mirror image across the midline


def compare(coarse: Blocks, surface: Surface, atlas: Atlas, fit: Fit) -> Likeness:
    """Compare a mask with an atlas after the fit, where the image covers both."""
    from scipy import ndimage

    onto = np.linalg.inv(coarse.affine) @ np.linalg.inv(fit.matrix) @ atlas.affine
    shape = atlas.mask.shape
    share = ndimage.affine_transform(coarse.share, onto, output_shape=shape, order=1)
    covered = coarse.covered.astype(np.float32)
    seen = ndimage.affine_transform(covered, onto, output_shape=shape, order=1, mode='nearest')
    mask, seen = share > 0.5, seen > 0.5
    brain = (atlas.mask > 0.5) & seen
    elsewhere = ~atlas.stem
    out = mask & (atlas.distance > _DEEP_MM) & elsewhere
    lost = brain & ~mask & (atlas.distance < -_DEEP_MM) & elsewhere
    voxel_ml = abs(float(np.linalg.det(atlas.affine[:3, :3]))) / fit.scale**3 / 1000
    mirror = _mirrored(mask, atlas.affine)
    both_seen = seen & _mirrored(seen, atlas.affine)
    there = surface.points_mm @ fit.matrix[:3, :3].T + fit.matrix[:3, 3]
    apart = np.abs(_Field(atlas.distance, atlas.affine).distances(there)) / fit.scale
    return Likeness(
        dice=_dice(mask & seen, brain),
        distance_mm=float(np.percentile(apart, 95)),
        protrusion_ml=_largest(out) * voxel_ml,
        deficit_ml=_largest(lost) * voxel_ml,
        symmetry=_dice(mask & both_seen, mirror & both_seen),
    )


def _mirrored(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mirror across the plane where the first coordinate is 0."""
    length = mask.shape[0]
    zero = -affine[0, 3] / affine[0, 0]
    partner = np.rint(2 * zero - np.arange(length)).astype(int)
    inside = (partner >= 0) & (partner < length)
    out = np.zeros_like(mask)
    out[inside] = mask[partner[inside]]
    return out


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 0.0


def _largest(mask: NDArray[np.bool_]) -> int:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    return int(np.bincount(labels.ravel())[1:].max()) if count else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tissue:
    """What an atlas' tissue maps tell of the intensities in a mask.

    Contrasts are logarithms of a tissue's intensity over that of grey matter.
    """

    share: float = 0.0  # of the variance that shading leaves, explained, 0 to 1
    advantage: float = 0.0  # of `share` over the best with maps turned front to back, upside down
    white_contrast: float = 0.0
    white_error: float = 0.0  # standard error, from the difference between halves of the brain
    fluid_contrast: float = 0.0
    fluid_error: float = 0.0


def explained(
    means: NDArray[np.float32],
    coarse: Blocks,
    distance: NDArray[np.float32],
    atlas: Atlas,
    fit: Fit,
) -> Tissue:
    """How much of the contrast inside a mask an atlas' tissue maps explain.

    Logarithms of block means are modelled by the three tissue maps beside a smooth shading, a
    polynomial of the second degree, and any function of the depth beneath the mask's surface. So
    gain, shading and contrast of the scan play no part; nor does a rim around a core, which a
    fruit has as well as a brain.

    Parameters
    ----------
    means : (I, J, K) float32 array
        Mean intensity of each block.
    coarse : Blocks
        The mask.
    distance : (I, J, K) float32 array
        Signed distance in mm on the grid of `coarse`.
    atlas : Atlas
    fit : Fit

    Returns
    -------
    Tissue
        Zeros where there is nothing to explain.
    """
    index = np.argwhere(coarse.share > 0.9)
    index = index[:: max(1, len(index) // _TISSUE_POINTS)]
    values = means[tuple(index.T)].astype(np.float64)
    if len(index) < 100:
        return Tissue()
    low, high = np.percentile(values, [5, 95])
    if high <= 0:
        return Tissue()
    values = np.log(np.clip(values, max(low, 0.02 * high), high))
    points = index @ coarse.affine[:3, :3].T + coarse.affine[:3, 3]
    there = points @ fit.matrix[:3, :3].T + fit.matrix[:3, 3]
    x, y, z = (there - there.mean(0)).T / 50
    shading = np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, y * z, x * z], 1)
    smooth = np.c_[shading, _depth_columns(-distance[tuple(index.T)])]
    values = _without(smooth, values)
    if (total := float(values @ values)) < 1e-9 * len(values):
        return Tissue()
    middle = (atlas.surface.max(0) + atlas.surface.min(0)) / 2
    maps, shares = [], []
    for turned in ((), (1,), (2,), (1, 2)):
        place = there.copy()
        for axis in turned:
            place[:, axis] = 2 * middle[axis] - place[:, axis]
        maps.append(_without(smooth, atlas.tissue_at(place)))
        left = values - maps[-1] @ _weights(maps[-1], values)
        shares.append(1 - float(left @ left) / total)
    (white, fluid), (white_error, fluid_error) = _contrasts(maps[0], values, there)
    return Tissue(
        share=shares[0],
        advantage=shares[0] - max(shares[1:]),
        white_contrast=white,
        white_error=white_error,
        fluid_contrast=fluid,
        fluid_error=fluid_error,
    )


def _depth_columns(depth_mm: NDArray[np.floating]) -> NDArray[np.float64]:
    """Columns (N, 8) whose sums are linear in depth between some depths."""
    peaks = np.eye(len(_DEPTHS_MM))[1:-1]
    return np.stack([np.interp(depth_mm, _DEPTHS_MM, peak) for peak in peaks], 1)


def _weights(maps: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.lstsq(maps, values, rcond=None)[0])


def _contrasts(
    maps: NDArray[np.float64], values: NDArray[np.float64], points_mm: NDArray[np.float64]
) -> tuple[list[float], list[float]]:
    """Weights of white matter and fluid over that of grey matter, and their standard errors."""
    apart = []
    for side in (points_mm > np.median(points_mm, axis=0)).T:
        one, other = _weights(maps[side], values[side]), _weights(maps[~side], values[~side])
        apart.append((one - other) / 2)
    error = np.sqrt(np.mean([(half[1:] - half[0]) ** 2 for half in apart], axis=0))
    whole = _weights(maps, values)
    return (whole[1:] - whole[0]).tolist(), error.tolist()


def _without(smooth: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take out of values what smooth columns explain."""
    weights = np.linalg.lstsq(smooth.T @ smooth, smooth.T @ values, rcond=None)[0]
    return np.asarray(values - smooth @ weights)
