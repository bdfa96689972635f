"""Arrays and affines to matplotlib figures: what the report shows of one image.

Images come with axes that run right, anterior, superior, and with their affine; slices follow the
voxel axes. Figures are in neurological display.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from mriprep.cuts import Frame, three_planes, through
from mriprep.mosaic import (
    CONTOUR,
    FONT,
    INK,
    LESION,
    PLANES,
    RIVAL,
    Layer,
    Panel,
    grey_row,
    in_turns,
    mosaic,
    same_shape,
    thinned,
    window,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

BAR_SPACE = 80  # pixels of 1200
FIELD_COLOURS = 'coolwarm'
LEAST_FIELD = 0.05  # a field within 5 % of 1 does not fill the colour bar
FIELD_PIXELS = 1000  # a field is smooth: its picture may be coarser
LESION_OUTSIDE = 0.05  # share of a lesion outside the brain mask that is worth a warning


def mask_contour(
    volume: NDArray[np.floating],
    affine: NDArray[np.floating],
    mask: NDArray[np.bool_],
    *,
    rival: NDArray[np.bool_] | None = None,
    remark: str = '',
    warning: str = '',
    count: int = 7,
) -> Figure:
    """Draw the contour of the brain mask over the image in three planes.

    Parameters
    ----------
    volume : (I, J, K) float array
        RAS axes, arbitrary units.
    affine : (4, 4) float array
        Voxels to world, mm; may be oblique.
    mask : (I, J, K) bool array
        On the grid of ``volume``. When it is empty, slices cover the whole image.
    rival : (I, J, K) bool array, optional
        Another mask on that grid, drawn in blue.
    remark : str
        What is said below the picture, beside the volume.
    warning : str
        What is said above it.
    count : int
        Slices in each plane, spread evenly over the mask.

    Raises
    ------
    ValueError
        If shapes differ or the axes are not RAS.
    """
    same_shape(volume=volume, mask=mask, **({} if rival is None else {'rival': rival}))
    shown = mask if rival is None else mask | rival
    frame, limits = Frame.around(shown, affine), window(volume, mask)
    # the second mask below, so that the first is seen where both agree
    masks = {CONTOUR: mask} if rival is None else {RIVAL: rival, CONTOUR: mask}
    rows = [grey_row(frame, cuts, volume, limits, masks) for cuts in three_planes(shown, count)]
    millilitres = mask.sum() * frame.voxel_ml
    note = f'Brain mask: {millilitres:.0f} ml.' if mask.any() else 'THE BRAIN MASK IS EMPTY.'
    note = ' '.join(filter(None, [note, remark]))
    figure = mosaic([Layer(rows=rows, heads=PLANES)], frame, note=note, warning=warning)
    return _titled(figure, 'Contour of the brain mask over the image')


def lesion_contour(
    volume: NDArray[np.floating],
    affine: NDArray[np.floating],
    mask: NDArray[np.bool_],
    lesion: NDArray[np.bool_],
    *,
    count: int = 7,
) -> Figure:
    """Draw the contours of a lesion mask and of the brain mask on slices where the lesion is.

    Parameters
    ----------
    volume : (I, J, K) float array
        RAS axes, arbitrary units.
    affine : (4, 4) float array
        Voxels to world, mm.
    mask, lesion : (I, J, K) bool array
        Brain and lesion, on the grid of ``volume``. What of the lesion is outside of the brain is
        told.
    count : int
        Slices in each plane.

    Raises
    ------
    ValueError
        If shapes differ or the axes are not RAS.
    """
    same_shape(volume=volume, mask=mask, lesion=lesion)
    frame, limits = Frame.around(mask | lesion, affine), window(volume, mask)
    masks = {CONTOUR: mask, LESION: lesion}
    rows = [grey_row(frame, cuts, volume, limits, masks) for cuts in through(lesion, count)]
    millilitres, warning = lesion.sum() * frame.voxel_ml, ''
    if not lesion.any():
        note = 'THE LESION MASK IS EMPTY.'
    else:
        note = f'Red: lesion, {millilitres:.{1 if millilitres >= 1 else 2}f} ml. Orange: brain.'
        outside = float((lesion & ~mask).sum() / lesion.sum())
        if outside > LESION_OUTSIDE:
            warning = f'{outside:.0%} of the lesion mask lies outside of the brain mask.'
    figure = mosaic([Layer(rows=rows, heads=PLANES)], frame, note=note, warning=warning)
    return _titled(figure, 'Contour of the lesion mask over the image')


def bias_field(
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    mask: NDArray[np.bool_],
    affine: NDArray[np.floating],
    *,
    count: int = 2,
) -> Figure:
    """Draw the image before and after N4, in one grey window, and the field that was removed.

    Parameters
    ----------
    before, after : (I, J, K) float array
        RAS axes, arbitrary units. The field is their ratio; it is drawn inside the mask only.
    mask : (I, J, K) bool array
        Brain, on the same grid.
    affine : (4, 4) float array
        Voxels to world, mm.
    count : int
        Slices in each plane.

    Raises
    ------
    ValueError
        If shapes differ or the axes are not RAS.
    """
    same_shape(before=before, after=after, mask=mask)
    frame, limits = Frame.around(mask, affine), window(after, mask)
    cuts = list(chain(*three_planes(mask, count)))
    found = _log_ratio(*map(thinned, (before, after, mask)))
    found = found[np.isfinite(found)]
    low, high = np.percentile(found, (0.5, 99.5)) if found.size else (0.0, 0.0)
    extent = max(abs(low), abs(high), np.log1p(LEAST_FIELD))
    plain = [grey_row(frame, cuts, volume, limits) for volume in (before, after)]
    colours = [
        Panel(
            pixels=_coloured(
                _log_ratio(*(frame.slice(volume, cut) for volume in (before, after, mask))),
                extent,
                panel.pixels,
            ),
            size=panel.size,
            label=panel.label,
            sides=panel.sides,
        )
        for cut, panel in zip(cuts, plain[1], strict=True)
    ]
    note = f'Field in the brain: {np.exp(low):.2f} to {np.exp(high):.2f} (99 % of voxels).'
    layer = Layer(rows=[*plain, colours], heads=('before N4', 'after N4', 'field'))
    figure = mosaic([layer], frame, note=note, right=BAR_SPACE, max_pixels=FIELD_PIXELS)
    _colour_bar(figure, extent)
    return _titled(figure, 'Image before and after N4, and the bias field')


def _log_ratio(
    before: NDArray[np.floating], after: NDArray[np.floating], mask: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Logarithm of the field; not a number where it is not known."""
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.where(mask, np.log(before.astype(np.float32) / after), np.nan)


def _coloured(
    log_ratio: NDArray[np.floating], extent: float, background: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Colour the field where it is known, over a dimmed image."""
    from matplotlib import colormaps

    colour = colormaps[FIELD_COLOURS](np.nan_to_num(log_ratio) / (2 * extent) + 0.5, bytes=True)
    known = np.isfinite(log_ratio)[..., None]
    return np.where(known, colour[..., :3], background // 3).astype(np.uint8)


def _colour_bar(figure: Figure, extent: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = figure.add_axes((1 - (BAR_SPACE - 10) / 1200, 0.08, 0.014, 0.2))
    bar = figure.colorbar(ScalarMappable(Normalize(-extent, extent), FIELD_COLOURS), cax=axes)
    ticks = np.linspace(-extent, extent, 5)
    bar.set_ticks([float(tick) for tick in ticks], labels=[f'{np.exp(t):.2f}' for t in ticks])
    axes.tick_params(colors=INK, labelsize=8.5, labelfontfamily=FONT['family'])
    axes.set_title('before\n÷ after', fontsize=8.5, **FONT)


def template_overlay(
    subject: NDArray[np.floating],
    template: NDArray[np.floating],
    template_mask: NDArray[np.bool_],
    affine: NDArray[np.floating],
    *,
    names: tuple[str, str] = ('registered image', 'template'),
    warning: str = '',
    count: int = 5,
) -> Figure:
    """Draw the registered image over the template, both with the template's brain contour.

    `mriprep.svg.save_svg` makes a picture of it that shows the two in turns while the pointer is
    on it.

    Parameters
    ----------
    subject, template : (I, J, K) float array
        On one grid with RAS axes; each gets its own grey window. When the subject is stripped,
        the template is shown inside its mask alone.
    template_mask : (I, J, K) bool array
        Brain of the template.
    affine : (4, 4) float array
        Voxels to world, mm.
    names : tuple of str
        Titles of the two layers.
    warning : str
        What is said above the picture.
    count : int
        Slices in each plane.

    Raises
    ------
    ValueError
        If shapes differ or the axes are not RAS.
    """
    same_shape(subject=subject, template=template, template_mask=template_mask)
    note = 'Contour: brain of the template.'
    volumes = (template, subject)
    return in_turns(volumes, template_mask, affine, names[::-1], note, warning, count)


def coregistration_overlay(
    other: NDArray[np.floating],
    reference: NDArray[np.floating],
    mask: NDArray[np.bool_],
    affine: NDArray[np.floating],
    *,
    names: tuple[str, str] = ('other contrast', 'reference'),
    warning: str = '',
    count: int = 4,
) -> Figure:
    """Draw another contrast over the reference, to be shown in turns, both with the brain contour.

    Parameters
    ----------
    other, reference : (I, J, K) float array
        On the grid of the reference, RAS axes; voxels may be thick. Each gets its own window.
    mask : (I, J, K) bool array
        Brain of the reference.
    affine, names, warning, count
        As in `template_overlay`.

    Raises
    ------
    ValueError
        If shapes differ or the axes are not RAS.
    """
    same_shape(other=other, reference=reference, mask=mask)
    note = f'Contour: brain of the {names[1]}.'
    return in_turns((reference, other), mask, affine, names[::-1], note, warning, count)


def histograms(
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    zscored: NDArray[np.floating] | None,
    mask: NDArray[np.bool_],
) -> Figure:
    """Draw intensities before and after N4, in the brain and around it, and after z-scoring.

    Parameters
    ----------
    before, after : (I, J, K) float array
        Arbitrary units.
    zscored : (I, J, K) float array, optional
        Dimensionless; without it the figure has one panel.
    mask : (I, J, K) bool array
        Brain, on the same grid.

    Raises
    ------
    ValueError
        If shapes differ.
    """
    from matplotlib.figure import Figure

    same_shape(before=before, after=after, mask=mask)
    figure = Figure(figsize=(12, 3.4), dpi=100, facecolor='white')
    panels = figure.subplots(1, 1 if zscored is None else 2, squeeze=False)[0]
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.17, top=0.89, wspace=0.13)
    told = _statistics(zscored, mask)
    before, after, mask = map(thinned, (before, after, mask))
    outside = after[~mask & np.isfinite(after)]
    curves = [('brain, before N4', before[mask], '#9a9a9a'), ('brain, after N4', after[mask], 'k')]
    top = _limits(np.concatenate([values for _, values, _ in curves]), (0, 99.8))[1] * 1.05
    for name, values, colour in curves:
        _curve(panels[0], values, (0, top), color=colour, label=name)
    peak = panels[0].get_ylim()[1]
    _curve(panels[0], outside, (0, top), color='#d95f02', label='outside, after N4', ls='--')
    # air makes a spike at 0 that would flatten everything else
    panels[0].set(xlim=(0, top), ylim=(0, peak), xlabel='intensity (arbitrary units)')
    panels[0].set_title('Before and after bias field correction', fontsize=11)
    if zscored is not None:
        inside = thinned(zscored)[mask]
        low, high = _limits(inside, (0.1, 99.9))
        ends = (min(-4.0, low), max(4.0, high))
        _curve(panels[1], inside, ends, color='k', label='brain')
        panels[1].axvline(0, color='#1b9e77', lw=1)
        panels[1].axvspan(-1, 1, color='#1b9e77', alpha=0.12, lw=0, label='mean ± 1 deviation')
        panels[1].set(xlim=ends, xlabel='z-score (deviations from the mean of the brain)')
        panels[1].set_title(f'After z-scoring: {told}', fontsize=11)
    for axes in panels:
        axes.set_ylim(bottom=0)
        axes.set_ylabel('share of voxels (% per bin)')
        place = _free_side(axes)
        axes.legend(frameon=False, fontsize=9, loc=f'upper {place[0]}', bbox_to_anchor=place[1])
        axes.spines[['top', 'right']].set_visible(False)
    return _titled(figure, 'Histograms of intensities')


def _statistics(zscored: NDArray[np.floating] | None, mask: NDArray[np.bool_]) -> str:
    """Mean and deviation inside the mask, of all voxels."""
    if zscored is None:
        return ''
    same_shape(zscored=zscored, mask=mask)
    inside = zscored[mask]
    inside = inside[np.isfinite(inside)].astype(np.float64)
    if not inside.size:
        return 'the mask is empty'
    return f'mean {round(inside.mean(), 2) + 0.0:.2f}, deviation {inside.std():.2f}'


def _limits(values: NDArray[np.floating], percentiles: tuple[float, float]) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, percentiles) if values.size else (0.0, 1.0)
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _curve(
    axes: Any, values: NDArray[np.floating], ends: tuple[float, float], **style: Any
) -> None:
    """Outline of a histogram of 150 bins; heights are per cent of all values.

    Light smoothing hides the comb that whole numbers make when bins are not whole numbers wide.
    """
    counts, edges = np.histogram(values[np.isfinite(values)], bins=150, range=ends)
    kernel = np.exp(-(np.arange(-7, 8) ** 2) / (2 * 2.5**2))
    smooth = np.convolve(np.pad(counts, 7, mode='edge'), kernel / kernel.sum(), mode='valid')
    middles = (edges[:-1] + edges[1:]) / 2
    axes.plot(middles, 100 * smooth / max(1, values.size), linewidth=1.4, **style)


def _free_side(axes: Any) -> tuple[str, tuple[float, float]]:
    """Side of the panel where the curve of the brain is low, and the corner of a legend there."""
    low, high = axes.get_xlim()
    x, y = axes.lines[0].get_data()
    peak = (float(x[np.argmax(y)]) - low) / (high - low)
    return ('left', (0.05, 1)) if peak > 0.45 else ('right', (1, 1))


def _titled(figure: Figure, title: str) -> Figure:
    figure.set_label(title)
    return figure
