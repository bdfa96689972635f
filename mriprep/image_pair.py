"""Two scans of one head on voxels of 2 mm, and the points that both show: arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mriprep.masks import bounding_box
from mriprep.mutual_information import (
    Comparison,
    Information,
    NothingSharedError,
    Splined,
    climb,
    inverse,
    limits_of,
    transformed,
)
from mriprep.resampling import coarsen

if TYPE_CHECKING:
    from numpy.typing import NDArray

FINE_MM = 2.0
RIM_MM = 4.0  # of what lies around the brain that is compared too: fluid, and the inner skull
WIDE_RIM_MM = 12.0  # with which a pose is looked for
_FRAME_MM = 18.0  # kept around the brain of the reference
_BACKGROUND = (
    0.005  # of the brightness: what is no brighter, and connected to the border, is empty
)
_MOSTLY = 0.98  # of a cell, that must show something


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Image:
    """One scan, on voxels of 2 mm where it had smaller ones."""

    volume: NDArray[np.float32]  # (I, J, K), arbitrary units
    affine: NDArray[np.float64]  # (4, 4) voxel indices to RAS mm
    shows: NDArray[np.bool_]  # (I, J, K), False where the image is empty, as a stripped one is
    brain: NDArray[np.bool_] | None  # (I, J, K)
    thickness_mm: float  # of the largest voxels of the scan as it was

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """Centre of the brain; without a mask, of what the image shows."""
        inside = self.shows if self.brain is None else self.brain
        where = np.argwhere(inside) if inside.any() else np.array(self.volume.shape)[None] / 2
        out: NDArray[np.float64] = transformed(self.affine, where.mean(0)[None])[0]
        return out


def prepare(
    volume: NDArray[np.floating],
    affine: NDArray[np.floating],
    mask: NDArray[np.bool_] | None = None,
    *,
    crop: bool = False,
) -> Image:
    """Bring a scan onto 2 mm voxels; larger ones stay.

    Parameters
    ----------
    volume : (I, J, K) float array
        Finite, arbitrary units.
    affine : (4, 4) array
        Voxel indices to RAS mm; may be oblique.
    mask : (I, J, K) bool array, optional
        Brain.
    crop
        Keep only the box around the brain.
    """
    own = np.asarray(affine, np.float64)
    zooms = np.linalg.norm(own[:3, :3], axis=0)
    if crop and mask is not None:
        box = bounding_box(mask, [int(np.ceil(_FRAME_MM / zoom)) for zoom in zooms])
        own = own.copy()
        own[:3, 3] = transformed(own, np.array([[part.start for part in box]], float))[0]
        volume, mask = volume[box], mask[box]
    small, grid = coarsen(volume, own, FINE_MM)
    brain = None
    if mask is not None:
        brain = coarsen(mask.astype(np.float32), own, FINE_MM)[0] > 0.5
    return Image(
        volume=small,
        affine=grid,
        shows=_shown(small),
        brain=brain if brain is not None and brain.any() else None,
        thickness_mm=float(zooms.max()),
    )


def _shown(volume: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where an image shows something: not in the emptiness around what was stripped."""
    from scipy import ndimage

    low, high = float(volume.min()), float(np.percentile(volume, 99.5))
    dark = np.pad(volume <= low + _BACKGROUND * (high - low), 3, constant_values=True)
    labels, _ = ndimage.label(ndimage.binary_opening(dark))
    around = (labels == labels[2, 2, 2])[3:-3, 3:-3, 3:-3]
    if around.all():
        return np.ones(volume.shape, bool)
    # voxels at the edge are in part empty, and so are splines through them
    return np.asarray(~ndimage.binary_dilation(around))


def on_voxels(image: Image, voxel_mm: float) -> Image:
    """Bring an image onto larger voxels."""
    if voxel_mm <= FINE_MM:
        return image
    volume, affine = coarsen(image.volume, image.affine, voxel_mm)
    shows = coarsen(image.shows.astype(np.float32), image.affine, voxel_mm)[0] > 0.9
    brain = None
    if image.brain is not None:
        brain = coarsen(image.brain.astype(np.float32), image.affine, voxel_mm)[0] > 0.5
    return Image(
        volume=volume, affine=affine, shows=shows, brain=brain, thickness_mm=image.thickness_mm
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """Two images at the points that both show; of the thicker slices the voxels are the points."""

    comparison: Comparison
    backwards: bool  # the points are those of the other image

    def information(self, matrix: NDArray[np.float64]) -> Information:
        """Mutual information of both under a transform from the reference to the other image."""
        return self.comparison.information(inverse(matrix) if self.backwards else matrix)

    def climbed(self, matrix: NDArray[np.float64], *, steps: int = 25) -> NDArray[np.float64]:
        """Improve a transform, in at most so many steps."""
        if not self.backwards:
            return climb(self.comparison, matrix, steps=steps)
        return inverse(climb(self.comparison, inverse(matrix), steps=steps))


def pair_up(
    reference: Image,
    moving: Image,
    matrix: NDArray[np.float64],
    *,
    rim_mm: float = RIM_MM,
    empty: bool = False,
    every: int = 1,
) -> Pair:
    """Choose the points in and just around the brain that both images show under a pose.

    Parameters
    ----------
    reference : Image
        With its brain.
    moving : Image
    matrix : (4, 4) array
        Reference RAS mm to RAS mm of the other image.
    rim_mm
        How far around the brain.
    empty
        Whether points count where an image is empty.
    every
        Take every which point.

    Raises
    ------
    NothingSharedError
        If hardly any points are shared, or an image is constant there.
    """
    region, there = near_brain(reference, rim_mm), np.ones(moving.shows.shape, bool)
    if not empty:
        region, there = region & reference.shows, moving.shows
    backwards = moving.thickness_mm >= reference.thickness_mm
    first, chosen, second, target = (
        (moving, there, reference, region) if backwards else (reference, region, moving, there)
    )
    pose = inverse(matrix) if backwards else matrix
    points = transformed(first.affine, np.argwhere(chosen))
    inside = _within(target, second.affine, transformed(pose, points))
    points, values = points[inside][::every], first.volume[chosen][inside][::every]
    found = _sampled(second.volume, second.affine, transformed(pose, points))
    splined = Splined(second.volume, second.affine, limits_of(found))
    return Pair(
        comparison=Comparison(points, values, limits_of(values), splined), backwards=backwards
    )


def near_brain(reference: Image, rim_mm: float) -> NDArray[np.bool_]:
    """In and just around the brain."""
    from scipy import ndimage

    if reference.brain is None:
        raise NothingSharedError('the mask of the reference is empty')
    zooms = np.linalg.norm(reference.affine[:3, :3], axis=0)
    away = ndimage.distance_transform_edt(~reference.brain, sampling=zooms)
    return np.asarray(away <= rim_mm)


def _within(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.bool_]:
    return _sampled(mask.astype(np.float32), affine, points) > _MOSTLY


def _sampled(
    volume: NDArray[np.floating], affine: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    from scipy import ndimage

    index = transformed(inverse(affine), points).T
    return np.asarray(
        ndimage.map_coordinates(volume, index, order=1, mode='constant', output=np.float64)
    )


def mean_distance(
    first: NDArray[np.float64], second: NDArray[np.float64], points: NDArray[np.float64]
) -> float:
    """How far apart two transforms take points, mean in mm."""
    apart = transformed(first - second, points)
    return float(np.linalg.norm(apart, axis=1).mean())
