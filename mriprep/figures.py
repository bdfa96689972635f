"""Arrays and affines to matplotlib figures: what the report shows of one image.

Images come with axes that run right, anterior, superior, and with their affine; slices follow the
voxel axes. Figures are in neurological display.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from mriprep.mosaic import (
    BACK,
    FONT,
    FRONT,
    INK,
    Frame,
    Layer,
    Panel,
    grey_row,
    mosaic,
    same_shape,
    thinned,
    three_planes,
    window,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

BAR_SPACE = 80  # pixels of 1200
FIELD_COLOURS = 'coolwarm'
LEAST_FIELD = 0.05  # a field within 5 % of 1 does not fill the colour bar


def mask_contour(
    volume: NDArray[np.floating],
    affine: NDArray[np.floating],
    mask: NDArray[np.bool_],
    *,
    rival: NDArray[np.bool_] | None = None,
    remark: str = '',
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
    rows = [
        grey_row(frame, cuts, volume, limits, mask, rival) for cuts in three_planes(shown, count)
    ]
    millilitres = mask.sum() * float(np.prod(frame.zooms)) / 1000
    note = f'Brain mask: {millilitres:.0f} ml.' if mask.any() else 'THE BRAIN MASK IS EMPTY.'
    note = ' '.join(filter(None, [note, remark]))
    layer = Layer(rows=rows, heads=('axial', 'coronal', 'sagittal'))
    return _titled(mosaic([layer], frame, note=note), 'Brain mask contour over the T1w image')


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
    figure = mosaic([layer], frame, note=note, right=BAR_SPACE)
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
    count: int = 5,
) -> Figure:
    """Draw the registered image over the template, both with the template's brain contour.

    `mriprep.svg.save_svg` makes a picture of it that shows the two in turns while the pointer is on it.

    Parameters
    ----------
    subject, template : (I, J, K) float array
        On one grid with RAS axes; each gets its own grey window.
    template_mask : (I, J, K) bool array
        Brain of the template.
    affine : (4, 4) float array
        Voxels to world, mm.
    names : tuple of str
        Titles of the two layers.
    count : int
        Slices in each plane.

    Raises
    ------
    ValueError
        If shapes differ or the axes are not RAS.
    """
    same_shape(subject=subject, template=template, template_mask=template_mask)
    frame, planes = Frame.around(template_mask, affine), three_planes(template_mask, count)
    layers = [
        Layer(
            rows=[
                grey_row(frame, cuts, volume, limits, template_mask)
                for limits in [window(volume, template_mask)]
                for cuts in planes
            ],
            heads=('axial', 'coronal', 'sagittal'),
            title=name,
            group=group,
        )
        for volume, name, group in (
            (template, names[1], BACK),
            (subject, names[0], FRONT),
        )
    ]
    figure = mosaic(layers, frame, note='Contour: brain of the template.')
    return _titled(figure, f'{names[0]} and {names[1]} in turns')


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
        axes.legend(frameon=False, fontsize=9, loc='upper left', bbox_to_anchor=(0.05, 1))
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


def _titled(figure: Figure, title: str) -> Figure:
    figure.set_label(title)
    return figure
