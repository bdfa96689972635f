"""Whether a volume can be a scan of a head at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK_MM = 4.0
_SAMPLE_MM = 1.2  # finer grids are sampled, for speed
_LEAST_CORRELATION = 0.5  # between neighbouring blocks; heads have 0.82 and more, noise 0
_FEWEST_SLICES = 8
_LEAST_SHARE = 0.5  # of the bright blocks that hang together; heads have 0.94 and more
_EXTENT_MM = (60.0, 450.0)  # of the bright part; 60 mm is a stripped neonate's height
_VOLUME_ML = (100.0, 20_000.0)
_LOOK = 'look at the file, and exclude it if it is no scan of a head'


def why_not_a_head(volume: NDArray[np.floating], affine: NDArray[np.floating]) -> str | None:
    """Find a reason why a volume can't be a scan of a head or a brain.

    A cheap check on means of 4 mm blocks, meant to stop noise, empty boxes and wrong voxel
    sizes, not to tell heads from other bodies: neighbouring blocks must resemble each other,
    and what is brighter than Otsu's threshold must be one piece of plausible size.

    Parameters
    ----------
    volume : (I, J, K) float array
        Intensities, finite; stripped or not.
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
    box_mm = zooms * volume.shape
    if box_mm.min() < _EXTENT_MM[0] or min(volume.shape) < _FEWEST_SLICES:
        sizes = f'{_times(volume.shape)} voxels, {_times(box_mm.round())} mm'
        return f'too small for a head ({sizes}); check the voxel size, and {_LOOK}'
    blocks, sizes_mm = _block_means(volume, zooms)
    correlation = min(_neighbour_correlation(blocks, axis) for axis in range(3))
    if correlation < _LEAST_CORRELATION:
        return (
            f'it looks like noise: neighbours correlate by {correlation:.2f}, '
            f'not by {_LEAST_CORRELATION} or more; {_LOOK}'
        )
    return _why_not_a_blob(blocks, sizes_mm)


def _why_not_a_blob(blocks: NDArray[np.floating], sizes_mm: NDArray[np.floating]) -> str | None:
    """Find a reason why the bright blocks are not one piece of the size of a head."""
    import numpy as np
    from scipy import ndimage

    from mriprep.intensity import otsu_threshold

    labels, _ = ndimage.label(blocks > otsu_threshold(blocks))
    counts = np.bincount(labels.ravel())[1:]
    largest = int(counts.argmax()) + 1
    share = counts[largest - 1] / counts.sum()
    if share < _LEAST_SHARE:
        return (
            f'the bright part is scattered: its largest piece holds only {100 * share:.0f} %; '
            f'{_LOOK}'
        )
    box = ndimage.find_objects(labels, max_label=largest)[-1]
    extent = np.array([side.stop - side.start for side in box]) * sizes_mm
    volume_ml = float(counts[largest - 1] * np.prod(sizes_mm) / 1000)
    if not (
        _EXTENT_MM[0] <= extent.min()
        and extent.max() <= _EXTENT_MM[1]
        and _VOLUME_ML[0] <= volume_ml <= _VOLUME_ML[1]
    ):
        return (
            f'the bright part measures {_times(extent.round())} mm '
            f'({volume_ml:.0f} ml), which is no head; check the voxel size, and {_LOOK}'
        )
    return None


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


def _neighbour_correlation(blocks: NDArray[np.floating], axis: int) -> float:
    import numpy as np

    centred = blocks - blocks.mean()
    line = np.moveaxis(centred, axis, 0)
    return float((line[1:] * line[:-1]).mean() / (centred**2).mean())


def _times(numbers: Iterable[float]) -> str:
    return ' x '.join(f'{number:g}' for number in numbers)
