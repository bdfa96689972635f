"""Whether a volume can be a scan of a head at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK_MM = 4.0
_SAMPLE_MM = 1.2  # finer grids are sampled, for speed
_FEWEST_SLICES = 8
_FEWEST_VALUES = 9  # tissue labels have fewer, scans of 8 bits a hundred
_LEAST_SHARE = 0.5  # of the body that hangs together; heads have 0.997 and more, noisy ones 0.75
_FAR_MM = 20.0
_LEAST_CORRELATION = 0.1  # of places so far apart; heads have 0.37 and more, noise 0.02
_EXTENT_MM = (60.0, 450.0)  # of the body; 60 mm is a stripped neonate's height
_VOLUME_ML = (100.0, 30_000.0)  # of the body; heads with face and neck have 5000
_CUT, _FREE = 0.92, 0.3  # of the largest section at both ends; slabs of a head have 0.91 and less
_RELIEF_MM = 16.0
_LEAST_RELIEF = 0.09  # range of brightness within so far; heads have 0.37 and more, water 0.07
_LOOK = 'look at the image, and exclude it if it is no scan of a head'
_CHECK_SIZE = f'check the voxel size (is it in mm?), and {_LOOK}'


def why_not_a_head(volume: NDArray[np.floating], affine: NDArray[np.floating]) -> str | None:
    """Find a reason why a volume can't be a scan of a head or a brain.

    A cheap check on means of 4 mm blocks, whatever the contrast. It stops noise, patterns, labels,
    bottles of water, limbs and trunks, and wrong voxel sizes; what looks more like a head than
    these is left to the guard of the brain mask. The *body* is what is brighter than half of
    Otsu's threshold.

    Parameters
    ----------
    volume : (I, J, K) float array
        Intensities, finite; stripped or not; axes in RAS order.
    affine : (4, 4) array
        Voxel indices to mm.

    Returns
    -------
    str or None
        ``what is wrong; what to do``; None when the volume may be a head.

    References
    ----------
    Otsu (1979), IEEE Trans. Syst. Man Cybern. 9:62-66, doi:10.1109/TSMC.1979.4310076.
    """
    import numpy as np

    if volume.max() == volume.min():
        return f'all voxels hold the same value ({volume.max():g}); {_LOOK}'
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    if words := _why_too_small(volume.shape, zooms):
        return words
    blocks, sizes_mm = _block_means(volume, zooms)
    body, share = _body(blocks)
    if share < _LEAST_SHARE:
        return f'the bright part is scattered: its largest piece holds only {share:.0%} of it; {_LOOK}'
    correlation = min(_correlation(blocks, axis, sizes_mm[axis]) for axis in range(3))
    if correlation < _LEAST_CORRELATION:
        return (
            f'it looks like noise or a pattern: places {_FAR_MM:.0f} mm apart correlate by '
            f'{correlation:.2f}, not by {_LEAST_CORRELATION} or more; {_LOOK}'
        )
    if (count := _count_values(volume)) < _FEWEST_VALUES:
        return (
            f'it holds {count} different values only: a mask or labels, not a scan; '
            'give the image that they belong to'
        )
    return (
        _why_of_another_size(body, sizes_mm)
        or _why_cut_off(body)
        or _why_of_one_brightness(blocks, body, sizes_mm)
    )


def _why_too_small(shape: tuple[int, ...], zooms: NDArray[np.floating]) -> str | None:
    """Find a reason why the box of the image can't hold a head."""
    box_mm = zooms * shape
    if min(shape) < _FEWEST_SLICES:
        return (
            f'it has {min(shape)} slices only ({_times(shape)} voxels), as a localizer has; '
            'leave it out, and give a scan of the whole head'
        )
    if box_mm.min() < _EXTENT_MM[0]:
        sizes = f'{_times(shape)} voxels, {_times(box_mm.round())} mm'
        return f'too small for a head ({sizes}); {_CHECK_SIZE}'
    return None


def _body(blocks: NDArray[np.floating]) -> tuple[NDArray[np.bool_], float]:
    """Find the largest piece that is bright, holes filled; and its share of all that is bright."""
    import numpy as np
    from scipy import ndimage

    from mriprep.intensity import otsu_threshold

    floor = _floor(blocks)
    bright = blocks > floor + 0.5 * (otsu_threshold(blocks) - floor)
    labels, _ = ndimage.label(bright)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    body: NDArray[np.bool_] = ndimage.binary_fill_holes(labels == counts.argmax())
    return body, float(counts.max() / counts.sum())


def _floor(blocks: NDArray[np.floating]) -> float:
    """Brightness of air, or of what lies outside a stripped brain."""
    import numpy as np

    return float(np.percentile(blocks, 0.5))


def _why_of_another_size(body: NDArray[np.bool_], sizes_mm: NDArray[np.floating]) -> str | None:
    """Find a reason why the body is too small or too large for a head."""
    import numpy as np

    extent = np.array([np.ptp(np.flatnonzero(area)) + 1 for area in _sections(body)]) * sizes_mm
    volume_ml = float(np.count_nonzero(body) * np.prod(sizes_mm) / 1000)
    if extent.min() < _EXTENT_MM[0] or volume_ml < _VOLUME_ML[0]:
        what = 'too small for a head or a brain'
    elif extent.max() > _EXTENT_MM[1] or volume_ml > _VOLUME_ML[1]:
        what = 'too large for a head'
    else:
        return None
    return (
        f'what it shows is {what} ({_times(extent.round())} mm, {volume_ml:.0f} ml); {_CHECK_SIZE}'
    )


def _why_cut_off(body: NDArray[np.bool_]) -> str | None:
    """Find out whether the body runs from one end of the image to the other, with air beside it."""
    import numpy as np

    ends = [min(area[0], area[-1]) / area.max() for area in _sections(body)]
    axis = int(np.argmax(ends))
    if ends[axis] < _CUT or min(ends) > _FREE:
        return None
    along = ('left to right', 'back to front', 'bottom to top')[axis]
    return (
        f'what it shows runs through the image from {along} without an end, as a limb, a '
        f'trunk or a neck does; {_LOOK}'
    )


def _why_of_one_brightness(
    blocks: NDArray[np.floating], body: NDArray[np.bool_], sizes_mm: NDArray[np.floating]
) -> str | None:
    """Find out whether the body has no structure inside; shading is no structure."""
    import numpy as np
    from scipy import ndimage

    sigma = _RELIEF_MM / sizes_mm
    height = np.where(body, blocks - _floor(blocks), 0)
    smooth = ndimage.gaussian_filter(height, sigma)
    weight = ndimage.gaussian_filter(body.astype(np.float32), sigma)
    inside = ndimage.binary_erosion(body, iterations=2, border_value=1) & (smooth > 0)
    if not inside.any():
        return None
    low, high = np.percentile(height[inside] * weight[inside] / smooth[inside], [5, 95])
    if high - low >= _LEAST_RELIEF:
        return None
    return f'it is of one brightness inside, as a bottle or a phantom of water is; {_LOOK}'


def _count_values(volume: NDArray[np.floating]) -> int:
    """Count different values in a sample of voxels."""
    import numpy as np

    step = tuple(slice(None, None, max(1, n // 48)) for n in volume.shape)
    return len(np.unique(volume[step]))


def _block_means(
    volume: NDArray[np.floating], zooms: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.floating]]:
    """Average over blocks of about 4 mm; also the size of a block in mm."""
    import numpy as np

    skip = np.maximum(1, np.rint(_SAMPLE_MM / zooms).astype(int))
    volume, zooms = volume[tuple(slice(None, None, n) for n in skip)], zooms * skip
    steps = np.clip(np.rint(_BLOCK_MM / zooms).astype(int), 1, volume.shape)
    shape = np.array(volume.shape) // steps
    whole = volume[tuple(slice(n) for n in shape * steps)]
    split = whole.reshape(np.c_[shape, steps].ravel().tolist())
    return split.mean(axis=(1, 3, 5), dtype=np.float32), steps * zooms


def _correlation(blocks: NDArray[np.floating], axis: int, size_mm: float) -> float:
    """Correlate places that lie apart along an axis."""
    import numpy as np

    centred = blocks - blocks.mean()
    line = np.moveaxis(centred, axis, 0)
    lag = min(max(1, round(_FAR_MM / size_mm)), len(line) - 1)
    return float((line[lag:] * line[:-lag]).mean() / (centred**2).mean())


def _sections(body: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Areas of the sections across each axis, in blocks."""
    return [body.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]


def _times(numbers: Iterable[float]) -> str:
    return ' x '.join(f'{number:g}' for number in numbers)
