"""Masks of volumes: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def bounding_box(
    mask: NDArray[np.bool_], margin: int | Sequence[int] = 0
) -> tuple[slice, slice, slice]:
    """Smallest box that holds a mask, widened by a margin within the volume.

    Parameters
    ----------
    mask : (I, J, K) bool array
    margin
        Voxels added on each side; one number, or one for each axis.

    Raises
    ------
    ValueError
        If the mask is empty.

    Examples
    --------
    >>> mask = np.zeros((5, 5, 5), bool)
    >>> mask[2, 1:3, 4] = True
    >>> bounding_box(mask, margin=1)
    (slice(1, 4, None), slice(0, 4, None), slice(3, 5, None))
    """
    margins = (margin,) * 3 if isinstance(margin, int) else tuple(margin)
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        if hits.size == 0:
            raise ValueError('the mask is empty')
        start, stop = max(0, int(hits[0]) - margins[axis]), int(hits[-1]) + 1 + margins[axis]
        box.append(slice(start, min(mask.shape[axis], stop)))
    return box[0], box[1], box[2]


def binarize_brain(probability: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """Turn a probability of brain into one solid mask.

    The largest component (faces connect) of what exceeds the threshold is kept, and its holes
    are filled.

    Parameters
    ----------
    probability : (I, J, K) float array
        Probability that a voxel is brain, 0 to 1.
    threshold
        Probability above which a voxel is brain.

    Returns
    -------
    (I, J, K) bool array

    Raises
    ------
    ValueError
        If no voxel exceeds the threshold.
    """
    from scipy import ndimage

    mask = probability > threshold
    if not mask.any():
        raise ValueError('no voxel is brain')
    box = bounding_box(mask)
    labels, count = ndimage.label(mask[box])
    if count > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        labels = labels == sizes.argmax()
    out = np.zeros_like(mask)
    out[box] = ndimage.binary_fill_holes(labels > 0)
    return out
