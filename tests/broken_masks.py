"""Masks broken on purpose: each is a function of a good mask and the scan it belongs to.

Directions are those of RAS voxel axes; lengths are mm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """A scan with a good mask, axes in RAS order."""

    volume: np.ndarray
    affine: np.ndarray
    mask: np.ndarray

    @property
    def zooms(self) -> np.ndarray:
        """Voxel sizes in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last voxel of the mask along each axis."""
        index = [np.flatnonzero(self.mask.any(axis=tuple({0, 1, 2} - {a}))) for a in range(3)]
        return np.array([i[0] for i in index]), np.array([i[-1] for i in index])

    @cached_property
    def depth_mm(self) -> np.ndarray:
        """Depth of each voxel beneath the mask's border, negative outside, to 12 mm there.

        Where the image ends the mask goes on.
        """
        low, high = self.box
        margin = np.ceil(12 / self.zooms).astype(int)
        box = tuple(
            slice(max(0, a), b + 1) for a, b in zip(low - margin, high + margin, strict=True)
        )
        part = np.pad(self.mask[box], 1, mode='edge')
        out = np.full(self.mask.shape, -12, np.float32)
        depth = ndimage.distance_transform_edt(part, sampling=self.zooms)
        depth -= ndimage.distance_transform_edt(~part, sampling=self.zooms)
        out[box] = depth[1:-1, 1:-1, 1:-1]
        return out

    def at(self, *fractions: float) -> np.ndarray:
        """Voxel at fractions of the mask's box, 0 is left, back, bottom."""
        low, high = self.box
        return low + np.array(fractions) * (high - low)

    def ball(self, centre: np.ndarray, radius_mm: float) -> np.ndarray:
        """Voxels around a voxel."""
        axes = [
            ((np.arange(n) - c) * z) ** 2
            for n, c, z in zip(self.mask.shape, centre, self.zooms, strict=True)
        ]
        return axes[0][:, None, None] + axes[1][:, None] + axes[2] <= radius_mm**2

    def halfspace(self, normal: tuple[float, float, float], point: np.ndarray) -> np.ndarray:
        """Voxels on the side of a plane that its normal (in mm) points to."""
        axes = [
            (np.arange(n) - p) * z * c
            for n, p, z, c in zip(self.mask.shape, point, self.zooms, normal, strict=True)
        ]
        return axes[0][:, None, None] + axes[1][:, None] + axes[2] > 0


def resized(head: Head, grow_mm: float) -> np.ndarray:
    """Grow or shrink a mask by a distance; where the image ends nothing is lost."""
    return head.depth_mm > -grow_mm if grow_mm < 0 else head.depth_mm >= -grow_mm


def half(head: Head) -> np.ndarray:
    """Keep the left half."""
    return head.mask & ~head.halfspace((1, 0, 0), head.at(0.5, 0.5, 0.5))


def front(head: Head) -> np.ndarray:
    """Keep the front half."""
    return head.mask & head.halfspace((0, 1, 0), head.at(0.5, 0.5, 0.5))


def no_bottom(head: Head) -> np.ndarray:
    """Lose the lower third."""
    return head.mask & head.halfspace((0, 0, 1), head.at(0.5, 0.5, 1 / 3))


def no_top(head: Head) -> np.ndarray:
    """Lose the upper third."""
    return head.mask & ~head.halfspace((0, 0, 1), head.at(0.5, 0.5, 2 / 3))


def eyes(head: Head) -> np.ndarray:
    """Add two balls of 24 mm beneath the frontal lobes, touching the mask."""
    out = head.mask.copy()
    for side in (0.28, 0.72):
        out |= _touching(head, head.at(side, 0.93, 0.0), 12, axis=2)
    return out


def neck(head: Head) -> np.ndarray:
    """Add a column of 50 mm width that reaches 60 mm below the mask, or to the image's edge."""
    axes = [
        (np.arange(n) - c) * z
        for n, c, z in zip(head.mask.shape, head.at(0.5, 0.35, 0.1), head.zooms, strict=True)
    ]
    column = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 <= 25**2
    low = head.at(0, 0, 0)[2] - 60 / head.zooms[2]
    height = np.arange(head.mask.shape[2])
    return head.mask | (column & (height > low) & (height < head.at(0, 0, 0.3)[2]))


def no_cerebellum(head: Head) -> np.ndarray:
    """Lose what lies behind and below a sloping plane."""
    return head.mask & ~head.halfspace((0, -0.55, -0.83), head.at(0.5, 0.4, 0.33))


def no_temporal_lobe(head: Head) -> np.ndarray:
    """Lose the lower outer quarter on the right, the cerebellum aside."""
    lost = head.halfspace((1, 0, 0), head.at(0.7, 0, 0))
    lost &= ~head.halfspace((0, 0, 1), head.at(0, 0, 0.45))
    lost &= head.halfspace((0, 1, 0), head.at(0, 0.4, 0))
    return head.mask & ~lost


def empty(head: Head) -> np.ndarray:
    """Find nothing."""
    return np.zeros_like(head.mask)


def mirrored(head: Head, axis: int) -> np.ndarray:
    """Turn the mask about the middle of the image's box."""
    return np.flip(head.mask, axis)


def mirrored_in_place(head: Head, axis: int) -> np.ndarray:
    """Turn the mask about the middle of its own box."""
    low, high = head.box
    box = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    out = np.zeros_like(head.mask)
    out[box] = np.flip(head.mask[box], axis)
    return out


def shifted(head: Head, *millimetres: float) -> np.ndarray:
    """Move the mask along R, A, S voxel axes."""
    moved = np.rint(np.array(millimetres) / head.zooms).astype(int)
    out = np.zeros_like(head.mask)
    here = tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(moved, out.shape, strict=True))
    there = tuple(slice(max(0, -s), n + min(0, -s)) for s, n in zip(moved, out.shape, strict=True))
    out[here] = head.mask[there]
    return out


def whole_head(head: Head) -> np.ndarray:
    """Take all that is bright, filled."""
    step = tuple(slice(None, None, max(1, round(2 / z))) for z in head.zooms)
    values = head.volume[step].astype(float)
    bright = head.volume > 0.25 * np.percentile(values[values > values.mean()], 80)
    labels, _ = ndimage.label(bright)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(labels == sizes.argmax())


def shell(head: Head) -> np.ndarray:
    """Keep a ring of 8 mm around the brain, as if the skull were it."""
    return resized(head, 9) & ~resized(head, 1)


def noise(head: Head) -> np.ndarray:
    """Draw smooth blobs all over the image."""
    field = np.random.default_rng(0).standard_normal(head.mask.shape, np.float32)
    return ndimage.gaussian_filter(field, 8 / head.zooms) > 0


def rough(head: Head) -> np.ndarray:
    """Draw the border anew with noise of 6 mm."""
    field = np.random.default_rng(1).standard_normal(head.mask.shape, np.float32)
    field = ndimage.gaussian_filter(field, 2 / head.zooms)
    return head.depth_mm + 6 * field / field.std() > 0


def checkered(head: Head) -> np.ndarray:
    """Lose every other voxel of the outer 10 mm."""
    odd = np.indices(head.mask.shape).sum(0) % 2 == 1
    return head.mask & (odd | (head.depth_mm > 10))


def hollow(head: Head) -> np.ndarray:
    """Leave a hole of 50 mm in the middle."""
    return head.mask & ~head.ball(head.at(0.5, 0.5, 0.55), 25)


def scattered(head: Head) -> np.ndarray:
    """Keep a brain and 12 balls of 20 mm about it, or what of them the image holds."""
    rng = np.random.default_rng(2)
    out = head.mask.copy()
    for way in rng.normal(size=(12, 3)):
        reach = (head.box[1] - head.box[0]) / 2 * way / np.linalg.norm(way) * 1.35
        out |= head.ball(head.at(0.5, 0.5, 0.5) + reach, 10)
    return out


def ball(head: Head) -> np.ndarray:
    """Put a ball of the brain's volume at its centre."""
    volume = head.mask.sum() * np.prod(head.zooms)
    return head.ball(np.argwhere(head.mask).mean(0), float(np.cbrt(volume * 3 / (4 * np.pi))))


def _touching(head: Head, centre: np.ndarray, radius_mm: float, axis: int) -> np.ndarray:
    """Put a ball so that it just enters the mask from below."""
    centre = centre.copy()
    column = [round(float(c)) for c in centre]
    line: list = list(column)
    line[axis] = slice(None)
    hits = np.flatnonzero(head.mask[tuple(line)])
    if hits.size:
        centre[axis] = hits[0] - (radius_mm - 4) / head.zooms[axis]
    return head.ball(centre, radius_mm)


BREAKS: dict[str, Callable[[Head], np.ndarray]] = {
    'eroded 3 mm': lambda head: resized(head, -3),
    'eroded 5 mm': lambda head: resized(head, -5),
    'dilated 3 mm': lambda head: resized(head, 3),
    'dilated 5 mm': lambda head: resized(head, 5),
    'dilated 8 mm': lambda head: resized(head, 8),
    'left half only': half,
    'front half only': front,
    'lower third gone': no_bottom,
    'upper third gone': no_top,
    'eyes in': eyes,
    'neck in': neck,
    'cerebellum gone': no_cerebellum,
    'temporal lobe gone': no_temporal_lobe,
    'empty': empty,
    'mirrored front to back': lambda head: mirrored(head, 1),
    'mirrored left to right': lambda head: mirrored(head, 0),
    'upside down': lambda head: mirrored(head, 2),
    'front to back in place': lambda head: mirrored_in_place(head, 1),
    'upside down in place': lambda head: mirrored_in_place(head, 2),
    'shifted 10 mm': lambda head: shifted(head, 0, 10, 0),
    'shifted 15 mm': lambda head: shifted(head, 9, 0, -12),
    'whole head': whole_head,
    'shell': shell,
    'noise': noise,
    'rough border': rough,
    'checkered border': checkered,
    'hole': hollow,
    'scattered pieces': scattered,
    'ball': ball,
}


def borrowed(head: Head, other: Head) -> np.ndarray:
    """Put the mask of another head where this one's is, by their centres and axes in mm."""
    centre = np.append(np.argwhere(head.mask).mean(0), 1)
    shift = np.eye(4)
    shift[:3, 3] = other.affine[:3] @ np.append(np.argwhere(other.mask).mean(0), 1)
    shift[:3, 3] -= head.affine[:3] @ centre
    onto = np.linalg.inv(other.affine) @ shift @ head.affine
    whole = ndimage.affine_transform(
        other.mask.astype(np.float32), onto, output_shape=head.mask.shape, order=1
    )
    return whole > 0.5
