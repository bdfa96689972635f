"""Slices of images laid out in one picture: cutting, windowing, labels, scale.

All pictures are in neurological display: the left of the picture is the left of the head. A
picture says by how much its slices are tilted against the axes of the scanner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from textwrap import wrap
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mriprep.cuts import Cut, Frame, Lines, three_planes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

SAMPLE = 1_500_000  # voxels that percentiles and histograms are taken from
PLANES = ('axial', 'coronal', 'sagittal')
MAX_PIXELS = 1300  # across the picture, as a page shows it on a laptop; more makes it heavy
TURNS_PIXELS = 225  # a slice, of two rasters in one picture
BARE = 0.03  # of the median in the brain: what an image that is stripped has around it at most
WHITE = 2.5  # brightest shade, times the median of the brain: liquor in T2w may saturate
WIDTH_IN = 12.0  # 1200 px at 100 dpi
# Sizes of what is text, in pixels of a picture that is 1200 wide
LABEL, GAP, HEAD, TITLE, FOOT, WARNING = 20, 12, 22, 26, 30, 18
WARNING_LETTERS = 140  # of a line
TILT_TOLD_DEG = 0.5  # tilts below this are not worth a reader's time
FRONT, BACK = 'mriprep-front', 'mriprep-back'  # groups of layers that are shown in turns
CONTOUR = '#ff8c1a'
RIVAL = '#4dd2ff'  # contour of a second mask
LESION = '#ff2d2d'
INK = '#e8e8e8'  # text on black
AMBER = '#ffd24d'  # what is doubtful, on black
FONT: dict[str, Any] = {'family': 'DejaVu Sans', 'color': INK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One slice as it is drawn.

    ``pixels`` is an (H, W, 3) uint8 array, first row on top; ``size`` is its width and height in
    mm; ``contours`` are (N, 2) arrays in mm from the lower left corner, by their colour.
    """

    pixels: NDArray[np.uint8]
    size: tuple[float, float]
    label: str
    sides: tuple[str, str]
    contours: Mapping[str, Lines] = field(default_factory=dict)  # the last is drawn on top


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Rows of panels; layers of one picture lie over each other and have the same layout."""

    rows: Sequence[Sequence[Panel]]
    heads: Sequence[str] = ()  # what each row shows
    title: str = ''
    group: str = ''  # name of the SVG group, for a layer that is shown in turns


def thinned(volume: NDArray[Any]) -> NDArray[Any]:
    """Leave out voxels along each axis so that about `SAMPLE` remain: enough for percentiles."""
    step = max(1, round((volume.size / SAMPLE) ** (1 / 3)))
    return volume[::step, ::step, ::step]


def window(volume: NDArray[np.floating], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Intensities to show as black and white, from percentiles that single voxels can't move.

    Black is the 1st percentile of the whole image. White is a little above the 99.5th of the
    brain, but at most `WHITE` times its median, so that liquor and vessels don't darken the rest.
    Without brain voxels the whole image is used.
    """
    sample = thinned(volume)
    known = np.isfinite(sample)
    inside = sample[thinned(mask) & known]
    sample = sample[known]
    if sample.size == 0:
        return 0.0, 1.0
    low = float(np.percentile(sample, 1))
    middle, high = np.percentile(inside if inside.size else sample, (50, 99.5)).tolist()
    high += 0.1 * (high - low)
    if inside.size and middle > low:
        high = min(high, low + WHITE * (middle - low))
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
    masks: Mapping[str, NDArray[np.bool_]] = MappingProxyType({}),
) -> list[Panel]:
    """Cut one volume into panels, with the contours of masks, which are given by their colour."""
    return [
        Panel(
            pixels=grey(frame.slice(volume, cut), limits),
            size=frame.size(cut.plane),
            label=frame.label(cut),
            sides=cut.plane.sides,
            contours={colour: frame.outline(mask, cut) for colour, mask in masks.items()},
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
    def of(cls, layer: Layer, right: float, warnings: int) -> _Layout:
        """Rows below each other, each spread over the width of the widest."""
        left = HEAD if layer.heads else GAP
        taken = [sum(panel.size[0] for panel in row) for row in layer.rows]
        free = [1200 - left - GAP - right - GAP * (len(row) - 1) for row in layer.rows]
        pixel = max(mm / room for mm, room in zip(taken, free, strict=True))
        tallest = [max(panel.size[1] for panel in row) for row in layer.rows]
        top = ((TITLE if layer.title else 4) + WARNING * warnings) * pixel
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


def mosaic(
    layers: Sequence[Layer],
    frame: Frame,
    *,
    note: str = '',
    warning: str = '',
    right: float = 0,
    max_pixels: int = MAX_PIXELS,
) -> Figure:
    """Lay panels out in rows, all at one scale, with sides, positions and a scale bar.

    Parameters
    ----------
    layers : sequence of Layer
        Drawn over each other, the last on top; contours of all lie above them.
    frame : Frame
        Geometry that the panels were cut from.
    note : str
        Sentence at the foot of the picture.
    warning : str
        Sentences at its head, below the title.
    right : float
        Pixels, of 1200, that are kept free at the right for a colour bar.
    max_pixels : int
        Width of the raster at most.
    """
    from matplotlib.figure import Figure

    warnings = wrap(warning, WARNING_LETTERS)
    layout = _Layout.of(layers[0], right, len(warnings))
    size = (WIDTH_IN, WIDTH_IN * layout.height / layout.width)
    figure = Figure(figsize=size, facecolor='black', dpi=100)
    pitch = max(float(frame.zooms.min()), layout.width / max_pixels)
    for layer in layers:
        axes = _whole(figure, layout, layer.group)
        _draw_layer(axes, layer, layout, pitch)
    if layers[-1].group:
        axes = _whole(figure, layout)  # what does not change when layers are shown in turns
    _draw_contours(axes, layers, layout)
    _draw_foot(axes, frame, layout, note)
    y = layout.height - (TITLE if layers[0].title else 4) * layout.pixel
    for number, line in enumerate(warnings):
        style = {'fontsize': 9.5, 'va': 'top', **FONT, 'color': AMBER}
        axes.text(HEAD * layout.pixel, y - number * WARNING * layout.pixel, line, **style)
    return figure


def in_turns(
    volumes: tuple[NDArray[np.floating], NDArray[np.floating]],
    mask: NDArray[np.bool_],
    affine: NDArray[np.floating],
    names: tuple[str, str],
    note: str,
    warning: str,
    count: int,
) -> Figure:
    """Draw two volumes as layers, the second in front, and the contour of a mask above them.

    When the front one is stripped, the other is shown inside the mask alone, so that nothing but
    a shift flickers. The parameters are those of `mriprep.figures.template_overlay`.
    """
    back, front = volumes
    if _is_bare(front, mask) and not _is_bare(back, mask):
        back = np.where(mask, back, 0)
    frame, planes = Frame.around(mask, affine), three_planes(mask, count)
    layers = []
    for volume, name, group in zip((back, front), names, (BACK, FRONT), strict=True):
        limits, masks = window(volume, mask), {CONTOUR: mask} if group == FRONT else {}
        rows = [grey_row(frame, cuts, volume, limits, masks) for cuts in planes]
        layers.append(Layer(rows=rows, heads=PLANES, title=name, group=group))
    figure = mosaic(layers, frame, note=note, warning=warning, max_pixels=TURNS_PIXELS * count)
    figure.set_label(f'{names[1]} and {names[0]} in turns')
    return figure


def _is_bare(volume: NDArray[np.floating], mask: NDArray[np.bool_]) -> bool:
    """Whether there is nothing around the brain: the image is stripped."""
    sample, inside = thinned(volume), thinned(mask)
    around = sample[~inside & np.isfinite(sample)]
    brain = sample[inside & np.isfinite(sample)]
    if not around.size or not brain.size:
        return False
    return float(np.percentile(np.abs(around), 90)) < BARE * float(np.median(brain))


def _whole(figure: Figure, layout: _Layout, group: str = '') -> Any:
    """Axes over the whole figure, in mm, which become a group of the SVG."""
    axes = figure.add_axes((0, 0, 1, 1), label=group)
    axes.set_axis_off()
    axes.set(xlim=(0, layout.width), ylim=(0, layout.height))
    if group:
        axes.set_gid(group)
    return axes


def _draw_layer(axes: Any, layer: Layer, layout: _Layout, pitch: float) -> None:
    """Paint the panels into one raster, since a raster for each slice is slow and heavy."""
    from PIL import Image

    width, height, pixel = layout.width, layout.height, layout.pixel
    canvas = Image.new('RGB', (round(width / pitch), round(height / pitch)))
    for panel, (x, y) in zip(chain(*layer.rows), chain(*layout.corners), strict=True):
        across, up = panel.size
        picture = Image.fromarray(np.ascontiguousarray(panel.pixels)).resize(
            (max(1, round(across / pitch)), max(1, round(up / pitch))), Image.Resampling.BICUBIC
        )
        canvas.paste(picture, (round(x / pitch), round((height - y - up) / pitch)))
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
    style = {'ha': 'center', 'va': 'center', 'fontsize': 10, **FONT}
    for head, row, line in zip(layer.heads, layer.rows, layout.corners, strict=False):
        axes.text(10 * pixel, line[0][1] + row[0].size[1] / 2, head, rotation=90, **style)
    style = {'va': 'top', 'fontsize': 12, 'fontweight': 'bold', **FONT}
    axes.text(HEAD * pixel, height - 6 * pixel, layer.title, **style)


def _draw_contours(axes: Any, layers: Sequence[Layer], layout: _Layout) -> None:
    """Draw lines of one colour after the other, in the order in which panels have them."""
    from matplotlib.collections import LineCollection

    lines: dict[str, list[NDArray[np.floating]]] = {}
    for layer in layers:
        for panel, corner in zip(chain(*layer.rows), chain(*layout.corners), strict=True):
            for colour, found in panel.contours.items():
                lines.setdefault(colour, []).extend(line + np.array(corner) for line in found)
    for colour, drawn in lines.items():
        axes.add_collection(LineCollection(drawn, colors=colour, linewidths=0.9), autolim=False)


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
