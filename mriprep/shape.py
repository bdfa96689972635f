"""The shape of a mask in numbers: pieces, holes, roughness, what lies on the edge of the image.

Masks are looked at in blocks of about 3 mm, which keeps a judgement under half a second; what
depends on single voxels (volume, roughness, contact) is counted on the grid of the mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK_MM = 3.0
_MARGIN_MM = 24.0  # around the mask: as far as the surface of a template may lie off it
_MOST_POINTS = 4000  # of a surface; its estimates no longer change with more


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """A mask averaged over blocks of voxels, in a box around it.

    The box may reach beyond the image, where the mask is empty.
    """

    share: NDArray[np.float32]  # of each block that is inside the mask, 0 to 1
    affine: NDArray[np.float64]  # (4, 4), block indices to RAS mm
    spacing_mm: NDArray[np.float64]  # (3,) of the blocks
    steps: NDArray[np.int_]  # (3,) voxels in a block
    start: NDArray[np.int_]  # (3,) first voxel of the first block; may be negative
    image_shape: tuple[int, int, int]  # voxels of the image

    @property
    def block_ml(self) -> float:
        """Volume of a block."""
        return float(np.prod(self.spacing_mm) / 1000)

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Blocks whose centre lies in the image."""
        along = []
        for axis, count in enumerate(self.share.shape):
            centre = self.start[axis] + (np.arange(count) + 0.5) * self.steps[axis] - 0.5
            along.append((centre > -0.5) & (centre < self.image_shape[axis] - 0.5))
        return np.asarray(along[0][:, None, None] & along[1][:, None] & along[2])

    def averaged(self, volume: NDArray[Any]) -> NDArray[np.float32]:
        """Average a volume of the image's grid over the blocks; zero outside the image."""
        return _averaged(volume, self.start, self.steps, self.share.shape)

    def to_voxels(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take (N, 3) block indices to voxel indices of the image."""
        return np.asarray(self.start + (index + 0.5) * self.steps - 0.5)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """Points where a mask ends within the image."""

    points_mm: NDArray[np.float64]  # (N, 3), RAS
    voxels: NDArray[np.float64]  # (N, 3), voxel indices of the image
    outward: NDArray[np.float64]  # (N, 3), unit vectors along the voxel axes, in mm


def blocks(
    mask: NDArray[np.bool_],
    affine: NDArray[np.floating],
    box: tuple[slice, slice, slice],
    *,
    target_mm: float = _BLOCK_MM,
    margin_mm: float = _MARGIN_MM,
) -> Blocks:
    """Average a mask over blocks in a box around it.

    Parameters
    ----------
    mask : (I, J, K) bool array
        Not empty.
    affine : (4, 4) array
        Voxel indices to RAS mm, without shear; may be oblique.
    box : three slice
        Around the mask; see `mriprep.masks.bounding_box`.
    target_mm : float
        Wanted size of a block; thicker slices are left as they are.
    margin_mm : float
        Of empty space kept on each side of the mask.
    """
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    steps = np.maximum(1, np.rint(target_mm / zooms)).astype(int)
    spacing = zooms * steps
    margin = np.ceil(margin_mm / spacing).astype(int)
    first, last = np.array([side.start for side in box]), np.array([side.stop for side in box])
    start = first - margin * steps
    counts = -(-(last - first) // steps) + 2 * margin
    to_ras = affine @ np.array(
        [*np.c_[np.diag(steps.astype(float)), start + (steps - 1) / 2], [0, 0, 0, 1]]
    )
    i, j, k = (int(n) for n in mask.shape)
    return Blocks(
        share=_averaged(mask, start, steps, tuple(counts.tolist())),
        affine=to_ras,
        spacing_mm=spacing,
        steps=steps,
        start=start,
        image_shape=(i, j, k),
    )


def _averaged(
    volume: NDArray[Any],
    start: NDArray[np.int_],
    steps: NDArray[np.int_],
    counts: tuple[int, ...],
) -> NDArray[np.float32]:
    """Average over blocks, one axis after the other; outside the volume there are zeros."""
    begin = np.maximum(start, 0)  # voxels of the image that blocks hold
    end = np.minimum(start + steps * counts, volume.shape)
    low = (begin - start) // steps  # the first block that holds any
    part = volume[tuple(slice(a, b) for a, b in zip(begin, end, strict=True))]
    order = np.argsort(part.strides)[::-1]  # sums of whole planes are the fastest
    part = part.transpose(order)
    for place, axis in enumerate(order):
        offset = int(begin[axis] - start[axis] - low[axis] * steps[axis])
        part = _summed(part, place, int(steps[axis]), offset)
    part = part.transpose(np.argsort(order))
    out = np.zeros(counts, np.float32)
    inside = tuple(slice(a, a + n) for a, n in zip(low, part.shape, strict=True))
    out[inside] = part / float(np.prod(steps))
    return out


def _summed(values: NDArray[Any], axis: int, step: int, offset: int) -> NDArray[np.float32]:
    """Add `step` neighbours along an axis; the first sum lacks its first `offset` values."""
    shape = list(values.shape)
    shape[axis] = -(-(shape[axis] + offset) // step)
    out = np.zeros(shape, np.float32)
    into, source = np.moveaxis(out, axis, 0), np.moveaxis(values, axis, 0)
    for phase in range(step):
        first = (phase - offset) % step
        taken = source[first::step]
        place = (first + offset) // step
        into[place : place + len(taken)] += taken
    return out


def signed_distance(
    share: NDArray[np.float32], spacing_mm: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Distance in mm from the surface where half a block is inside; negative inside."""
    from scipy import ndimage

    inside = share > 0.5
    half = float(np.prod(spacing_mm)) ** (1 / 3) / 2  # from a block's centre to its face
    out = ndimage.distance_transform_edt(~inside, sampling=spacing_mm) - half
    into = ndimage.distance_transform_edt(inside, sampling=spacing_mm) - half
    return np.where(inside, -into, out).astype(np.float32)


def surface_points(coarse: Blocks, most: int = _MOST_POINTS) -> Surface:
    """Find points between blocks where half of a block would be inside.

    Where the edge of the image cuts the mask there is no surface.
    """
    from scipy import ndimage

    found = []
    for axis in range(3):
        length = coarse.share.shape[axis]
        low = np.take(coarse.share, range(length - 1), axis) - 0.5
        high = np.take(coarse.share, range(1, length), axis) - 0.5
        crossing = (low > 0) != (high > 0)
        index = np.argwhere(crossing).astype(float)
        index[:, axis] += low[crossing] / (low[crossing] - high[crossing])
        found.append(index)
    index = np.concatenate(found)
    voxels = coarse.to_voxels(index)
    reach = coarse.steps / 2
    within = (voxels > reach - 1) & (voxels < coarse.image_shape - reach)
    index, voxels = index[within.all(1)], voxels[within.all(1)]
    every = max(1, -(-len(index) // most))
    index, voxels = index[::every], voxels[::every]
    smooth = ndimage.gaussian_filter(coarse.share, _BLOCK_MM / coarse.spacing_mm)
    slopes = np.gradient(smooth, *coarse.spacing_mm)
    outward = -np.stack([ndimage.map_coordinates(s, index.T, order=1) for s in slopes], axis=1)
    length_ = np.linalg.norm(outward, axis=1, keepdims=True)
    outward /= np.maximum(length_, np.finfo(np.float32).tiny)
    points = index @ coarse.affine[:3, :3].T + coarse.affine[:3, 3]
    return Surface(points_mm=points, voxels=voxels, outward=outward)


def largest_share(coarse: Blocks) -> float:
    """Share of the mask in its largest piece (faces of blocks connect)."""
    from scipy import ndimage

    labels, _ = ndimage.label(coarse.share > 0)
    sizes = np.bincount(labels.ravel(), weights=coarse.share.ravel())[1:]
    return float(sizes.max() / sizes.sum())


def holes_ml(coarse: Blocks) -> float:
    """Volume of cavities that have no way out, as far as blocks show them."""
    from scipy import ndimage

    inside = coarse.share > 0.5
    filled = ndimage.binary_fill_holes(inside)
    return float((filled & ~inside).sum() * coarse.block_ml)


def roughness(part: NDArray[np.bool_], affine: NDArray[np.floating]) -> float:
    """Surface over that of a ball of the same volume, counted on faces of voxels.

    A body of any smooth shape has 1.5 times its true surface in faces that point along three
    axes, whatever the voxel size; 1 is a ball.

    Parameters
    ----------
    part : (I, J, K) bool array
        A mask, not empty; a box around it is enough.
    affine : (4, 4) array
        Voxel indices to RAS mm.
    """
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    area = 0.0
    for axis in range(3):
        line = np.moveaxis(part, axis, 0)
        faces = np.count_nonzero(line[1:] != line[:-1])
        faces += np.count_nonzero(line[0]) + np.count_nonzero(line[-1])
        area += faces * float(np.prod(zooms) / zooms[axis])
    volume = float(np.count_nonzero(part) * np.prod(zooms))
    ball = float(np.cbrt(np.pi) * (6 * volume) ** (2 / 3))
    return area / 1.5 / ball


def cut_share(mask: NDArray[np.bool_], box: tuple[slice, slice, slice]) -> float:
    """How much of the mask the edge of the image cuts off at its worst side.

    The mask's section in the outermost slice of the image over its largest section parallel to
    it; 0 for a mask that does not reach an edge.

    Parameters
    ----------
    mask : (I, J, K) bool array
    box : three slice
        Around the mask.
    """
    worst = 0.0
    part = mask[box]
    for axis, side in enumerate(box):
        ends = [0] * (side.start == 0) + [-1] * (side.stop == mask.shape[axis])
        if ends:
            others = tuple(other for other in range(3) if other != axis)
            sections = np.count_nonzero(part, axis=others)
            worst = max(worst, float(sections[ends].max() / sections.max()))
    return worst
