"""Slices of images laid out in one picture: cutting, windowing, labels, scale.

All pictures are in neurological display: the left of the picture is the left of the head. Slices
are cut along the voxel axes of an image whose axes run right, anterior, superior (RAS); they may
be tilted against the axes of the scanner, and then the picture says by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

SAMPLE = 1_500_000  # voxels that percentiles and histograms are taken from
MARGIN_MM = 15.0  # shown around the brain
MAX_PIXELS = 1920  # across the picture: more makes the report heavy, not clearer
WIDTH_IN = 12.0  # 1200 px at 100 dpi
# Sizes of what is text, in pixels of a picture that is 1200 wide
LABEL, GAP, HEAD, TITLE, FOOT = 20, 12, 22, 26, 30
TILT_TOLD_DEG = 0.5  # tilts below this are not worth a reader's time
FRONT, BACK = 'mriprep-front', 'mriprep-back'  # groups of layers that are shown in turns
CONTOUR = '#ff8c1a'
RIVAL = '#4dd2ff'  # contour of a second mask
INK = '#e8e8e8'  # text on black
FONT: dict[str, Any] = {'family': 'DejaVu Sans', 'color': INK}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One slice as it is drawn.

    ``pixels`` is an (H, W, 3) uint8 array, first row on top; ``size`` is its width and height in
    mm; ``lines`` are (N, 2) arrays in mm from the lower left corner.
    """

    pixels: NDArray[np.uint8]
    size: tuple[float, float]
    label: str
    sides: tuple[str, str]
    lines: tuple[NDArray[np.floating], ...] = ()
    rivals: tuple[NDArray[np.floating], ...] = ()  # lines of a second mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Rows of panels; layers of one picture lie over each other and have the same layout."""

    rows: Sequence[Sequence[Panel]]
    heads: Sequence[str] = ()  # what each row shows
    title: str = ''
    group: str = ''  # name of the SVG group, for a layer that is shown in turns


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

    def outline(self, mask: NDArray[np.bool_], cut: Cut) -> tuple[NDArray[np.floating], ...]:
        """Contour of a mask on a slice, mm from the lower left corner of the panel."""
        from contourpy import contour_generator

        filled = np.pad(self.slice(mask, cut)[::-1].astype(np.float32), 1)
        zooms = self.zooms[list(cut.plane.axes)]
        # a voxel covers [i, i + 1): its middle is at i + 0.5, and the pad shifts it by one more
        lines = contour_generator(z=filled).lines(0.5)
        return tuple((np.asarray(line) - 0.5) * zooms for line in lines)


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


def thinned(volume: NDArray[Any]) -> NDArray[Any]:
    """Leave out voxels along each axis so that about `SAMPLE` remain: enough for percentiles."""
    step = max(1, round((volume.size / SAMPLE) ** (1 / 3)))
    return volume[::step, ::step, ::step]


def window(volume: NDArray[np.floating], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Intensities to show as black and white, from percentiles that single voxels can't move.

    Black is the 1st percentile of the whole image, white a little above the 99.5th of the brain.
    Without brain voxels the whole image is used.
    """
    sample = thinned(volume)
    known = np.isfinite(sample)
    inside = sample[thinned(mask) & known]
    sample = sample[known]
    if sample.size == 0:
        return 0.0, 1.0
    low = float(np.percentile(sample, 1))
    high = float(np.percentile(inside if inside.size else sample, 99.5))
    high += 0.1 * (high - low)
    return (low, high) if high > low else (low, low + 1.0)


def grey(
    picture: NDArray[np.floating], limits: tuple[float, float], dim: float = 1.0
) -> NDArray[np.uint8]:
    """Intensities to (..., 3) uint8 grey; what is not finite is black."""
    low, high = limits
    scaled = np.nan_to_num((picture - low) / (high - low), nan=0, posinf=1, neginf=0)
    return np.repeat((np.clip(scaled, 0, 1) * 255 * dim).astype(np.uint8)[..., None], 3, axis=-1)


def grey_row(
    frame: Frame,
    cuts: Sequence[Cut],
    volume: NDArray[np.floating],
    limits: tuple[float, float],
    mask: NDArray[np.bool_] | None = None,
    rival: NDArray[np.bool_] | None = None,
) -> list[Panel]:
    """Cut one volume into panels, with the contours of one or two masks where they are given."""
    return [
        Panel(
            pixels=grey(frame.slice(volume, cut), limits),
            size=frame.size(cut.plane),
            label=frame.label(cut),
            sides=cut.plane.sides,
            lines=() if mask is None else frame.outline(mask, cut),
            rivals=() if rival is None else frame.outline(rival, cut),
        )
        for cut in cuts
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where panels go, in mm from the lower left corner of the picture."""

    corners: list[list[tuple[float, float]]]  # lower left corner of each panel
    width: float
    height: float
    pixel: float  # mm of a pixel when the picture is 1200 wide

    @classmethod
    def of(cls, layer: Layer, right: float) -> _Layout:
        """Rows below each other, each spread over the width of the widest."""
        left = HEAD if layer.heads else GAP
        taken = [sum(panel.size[0] for panel in row) for row in layer.rows]
        free = [1200 - left - GAP - right - GAP * (len(row) - 1) for row in layer.rows]
        pixel = max(mm / room for mm, room in zip(taken, free, strict=True))
        tallest = [max(panel.size[1] for panel in row) for row in layer.rows]
        top = (TITLE if layer.title else 4) * pixel
        height = sum(tallest) + (FOOT + LABEL * len(tallest)) * pixel + top
        corners, y = [], height - top
        for row, mm, tall in zip(layer.rows, taken, tallest, strict=True):
            spread = (1200 - left - GAP - right) * pixel - mm
            step = spread / max(1, len(row) - 1)
            y -= LABEL * pixel + tall
            x, line = left * pixel + (spread / 2 if len(row) == 1 else 0), []
            for panel in row:
                line.append((x, y + (tall - panel.size[1]) / 2))
                x += panel.size[0] + step
            corners.append(line)
        return cls(corners=corners, width=1200 * pixel, height=height, pixel=pixel)


def mosaic(layers: Sequence[Layer], frame: Frame, *, note: str = '', right: float = 0) -> Figure:
    """Lay panels out in rows, all at one scale, with sides, positions and a scale bar.

    Parameters
    ----------
    layers : sequence of Layer
        Drawn over each other, the last on top.
    frame : Frame
        Geometry that the panels were cut from.
    note : str
        Sentence at the foot of the picture.
    right : float
        Pixels, of 1200, that are kept free at the right for a colour bar.
    """
    from matplotlib.figure import Figure

    layout = _Layout.of(layers[0], right)
    size = (WIDTH_IN, WIDTH_IN * layout.height / layout.width)
    figure = Figure(figsize=size, facecolor='black', dpi=100)
    for layer in layers:
        axes = figure.add_axes((0, 0, 1, 1), label=layer.group)
        axes.set_axis_off()
        axes.set(xlim=(0, layout.width), ylim=(0, layout.height))
        if layer.group:
            axes.set_gid(layer.group)
        _draw_layer(axes, layer, layout, float(frame.zooms.min()))
        _draw_foot(axes, frame, layout, note)
    return figure


def _draw_layer(axes: Any, layer: Layer, layout: _Layout, finest_mm: float) -> None:
    """Paint the panels into one raster, since a raster for each slice is slow and heavy."""
    from matplotlib.collections import LineCollection
    from PIL import Image

    width, height, pixel = layout.width, layout.height, layout.pixel
    pitch = max(finest_mm, width / MAX_PIXELS)
    canvas = Image.new('RGB', (round(width / pitch), round(height / pitch)))
    outlines, rivals = [], []
    for panel, (x, y) in zip(chain(*layer.rows), chain(*layout.corners), strict=True):
        across, up = panel.size
        picture = Image.fromarray(np.ascontiguousarray(panel.pixels)).resize(
            (max(1, round(across / pitch)), max(1, round(up / pitch))), Image.Resampling.BICUBIC
        )
        canvas.paste(picture, (round(x / pitch), round((height - y - up) / pitch)))
        outlines += [line + np.array((x, y)) for line in panel.lines]
        rivals += [line + np.array((x, y)) for line in panel.rivals]
        style = {'fontsize': 8.5, 'va': 'bottom', **FONT}
        above = y + up + 3 * pixel
        axes.text(x + across / 2, above, panel.label, ha='center', **style)
        for side, place, anchor in zip(
            panel.sides, (x, x + across), ('left', 'right'), strict=True
        ):
            axes.text(place, above, side, ha=anchor, fontweight='bold', **style)
    axes.imshow(
        np.asarray(canvas), extent=(0, width, 0, height), aspect='auto', interpolation='none'
    )
    # the second mask below, so that the first is seen where both agree
    axes.add_collection(LineCollection(rivals, colors=RIVAL, linewidths=0.9), autolim=False)
    axes.add_collection(LineCollection(outlines, colors=CONTOUR, linewidths=0.9), autolim=False)
    style = {'ha': 'center', 'va': 'center', 'fontsize': 10, **FONT}
    for head, row, line in zip(layer.heads, layer.rows, layout.corners, strict=False):
        axes.text(10 * pixel, line[0][1] + row[0].size[1] / 2, head, rotation=90, **style)
    style = {'va': 'top', 'fontsize': 12, 'fontweight': 'bold', **FONT}
    axes.text(HEAD * pixel, height - 6 * pixel, layer.title, **style)


def _draw_foot(axes: Any, frame: Frame, layout: _Layout, note: str) -> None:
    """Scale bar, convention and tilt along the lower edge."""
    left, middle, length = HEAD * layout.pixel, FOOT / 2 * layout.pixel, 50
    ends = [left, left + length]
    axes.plot(ends, [middle, middle], color=INK, linewidth=2.5, solid_capstyle='butt')
    style = {'fontsize': 8.5, 'va': 'center', **FONT}
    axes.text(ends[1] + 6 * layout.pixel, middle, f'{length} mm', **style)
    words = ['Neurological display: left of the picture is left of the head (L).']
    if frame.tilt >= TILT_TOLD_DEG:
        words.append(f'Slices tilted {frame.tilt:.1f}° from the axes; positions at their middle.')
    told = ' '.join([*filter(None, [note]), *words])
    axes.text(layout.width - GAP * layout.pixel, middle, told, ha='right', **style)


def same_shape(**volumes: NDArray[Any]) -> None:
    """Raise `ValueError` unless all volumes are 3D and on one grid."""
    shapes = {name: volume.shape for name, volume in volumes.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 3 for shape in shapes.values()):
        raise ValueError(f'volumes must be 3D on one grid, got {shapes}')
