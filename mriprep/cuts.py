"""Where an image is cut for a picture: planes, slices, the box that is shown, contours.

Slices are cut along the voxel axes of an image whose axes run right, anterior, superior (RAS);
they may be tilted against the axes of the scanner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARGIN_MM = 15.0  # shown around the brain
Lines = tuple['NDArray[np.floating]', ...]


class Plane(IntEnum):
    """A cut through the head; the value is the voxel axis that it is perpendicular to."""

    SAGITTAL = 0
    CORONAL = 1
    AXIAL = 2

    @property
    def axes(self) -> tuple[int, int]:
        """Voxel axes that run to the right and up in the picture."""
        return ((1, 2), (0, 2), (0, 1))[self]

    @property
    def sides(self) -> tuple[str, str]:
        """Letters at the left and the right edge of the picture."""
        return ('P', 'A') if self is Plane.SAGITTAL else ('L', 'R')


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One slice: which plane, and the voxel index along its normal."""

    plane: Plane
    index: int


@dataclass(frozen=True, slots=True)
class Frame:
    """Geometry of the pictures of one image: its grid and the box that is shown.

    ``box`` holds the first and one past the last voxel along each axis.
    """

    affine: NDArray[np.floating]
    shape: tuple[int, int, int]
    box: tuple[tuple[int, int], ...]
    zooms: NDArray[np.floating] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'zooms', np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))

    @classmethod
    def around(cls, mask: NDArray[np.bool_], affine: NDArray[np.floating]) -> Frame:
        """Show a mask and `MARGIN_MM` around it, or everything when the mask is empty.

        Raises
        ------
        ValueError
            If the axes of the image do not run right, anterior, superior.
        """
        from nibabel.orientations import aff2axcodes

        codes = ''.join(str(code) for code in aff2axcodes(affine))  # type: ignore[no-untyped-call]
        if codes != 'RAS':
            raise ValueError(f'axes of the image run {codes}, not RAS; conform it before drawing')
        whole = cls(affine, mask.shape, tuple((0, size) for size in mask.shape))
        box = [
            (
                max(0, first - round(MARGIN_MM / zoom)),
                min(size, last + 1 + round(MARGIN_MM / zoom)),
            )
            for (first, last), zoom, size in zip(
                _bounds(mask), whole.zooms, mask.shape, strict=True
            )
        ]
        return cls(affine, mask.shape, tuple(box))

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, ml."""
        return float(np.prod(self.zooms)) / 1000

    @property
    def tilt(self) -> float:
        """Angle between the axes of the voxels and of the world, degrees."""
        cosines = np.abs(np.diag(self.affine[:3, :3])) / self.zooms
        return float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))

    def size(self, plane: Plane) -> tuple[float, float]:
        """Width and height of a slice, mm."""
        across, up = (
            float((self.box[axis][1] - self.box[axis][0]) * self.zooms[axis])
            for axis in plane.axes
        )
        return across, up

    def position(self, cut: Cut) -> float:
        """World coordinate along the normal at the middle of the slice, mm."""
        voxel = [(first + last - 1) / 2 for first, last in self.box]
        voxel[cut.plane] = cut.index
        return float((self.affine @ [*voxel, 1])[cut.plane])

    def label(self, cut: Cut) -> str:
        """Position for the reader, such as ``z = −12 mm``."""
        position = round(self.position(cut))
        number = f'{position:+d}'.replace('-', '−') if position else '0'
        text = f'{"xyz"[cut.plane]} = {number} mm'
        if cut.plane is Plane.SAGITTAL and position:
            text += ' (L)' if position < 0 else ' (R)'
        return text

    def slice(self, volume: NDArray[Any], cut: Cut) -> NDArray[Any]:
        """Cut a volume: (I, J, K, ...) to (H, W, ...), first row on top."""
        ranges = [slice(*ends) for ends in self.box]
        plane = np.moveaxis(volume, cut.plane, 0)[cut.index]
        across, up = cut.plane.axes
        return np.swapaxes(plane[ranges[across], ranges[up]], 0, 1)[::-1]

    def outline(self, mask: NDArray[np.bool_], cut: Cut) -> Lines:
        """Contour of a mask on a slice, mm from the lower left corner of the panel."""
        from contourpy import contour_generator

        filled = np.pad(self.slice(mask, cut)[::-1].astype(np.float32), 1)
        zooms = self.zooms[list(cut.plane.axes)]
        # a voxel covers [i, i + 1): its middle is at i + 0.5, and the pad shifts it by one more
        lines = contour_generator(z=filled).lines(0.5)
        return tuple((_without_idle_points(np.asarray(line)) - 0.5) * zooms for line in lines)


def _without_idle_points(line: NDArray[np.floating]) -> NDArray[np.floating]:
    """Leave out points of a line where it goes straight on: half of them, in a contour."""
    before, after = np.diff(line[:-1], axis=0), np.diff(line[1:], axis=0)
    kept = np.ones(len(line), bool)
    kept[1:-1] = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    out: NDArray[np.floating] = line[kept]
    return out


def _bounds(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last voxel of a mask along each axis; the whole grid when it is empty."""
    bounds = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        bounds.append((int(hit[0]), int(hit[-1])) if hit.size else (0, mask.shape[axis] - 1))
    return bounds


def three_planes(
    mask: NDArray[np.bool_], count: int, order: Sequence[Plane] = tuple(reversed(Plane))
) -> list[list[Cut]]:
    """Slices spread evenly over a mask, one list for each plane (axial, coronal, sagittal)."""
    bounds = _bounds(mask)
    return [
        [
            Cut(plane=plane, index=int(index))
            for index in np.rint(np.linspace(*bounds[plane], count + 2)[1:-1])
        ]
        for plane in order
    ]


def through(mask: NDArray[np.bool_], count: int) -> list[list[Cut]]:
    """Slices that meet a mask, one list for each plane, as `three_planes` has them.

    They are spread evenly over the slices where the mask is, which a mask of several pieces
    leaves gaps between; slices beside it are added when it is thinner than ``count``.
    """
    planes = []
    for plane in reversed(Plane):
        size = mask.shape[plane]
        hit = np.flatnonzero(mask.any(axis=plane.axes))
        if hit.size < count:
            middle = (hit[0] + hit[-1]) // 2 if hit.size else size // 2
            first = max(0, min(middle - count // 2, size - count))
            hit = np.arange(first, min(size, first + count))
        wanted = min(count, hit.size)
        places = ((np.arange(wanted) + 0.5) * hit.size / wanted).astype(int)
        planes.append([Cut(plane=plane, index=int(hit[place])) for place in places])
    return planes
