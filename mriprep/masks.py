"""Masks of volumes: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """What cleaning changed in a mask."""

    largest_share: float  # of what exceeded the threshold, in its largest component
    filled_share: float  # of the cleaned mask, that was a hole before


def binarize_brain(probability: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """Turn a probability of brain into one solid mask; the first part of `clean_brain`."""
    return clean_brain(probability, threshold)[0]


def clean_brain(
    probability: NDArray[np.floating], threshold: float
) -> tuple[NDArray[np.bool_], Pieces]:
    """Turn a probability of brain into one solid mask, and tell what that changed.

    The largest component (faces connect) of what exceeds the threshold is kept, and its holes
    are filled.

    Parameters
    ----------
    probability : (I, J, K) float array
        Probability that a voxel is brain, 0 to 1.
    threshold : float
        Probability above which a voxel is brain.

    Returns
    -------
    (I, J, K) bool array
    Pieces

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
    # with a margin what surrounds the brain is one piece, and what is not connected to it a hole:
    # labelling it is three times faster than filling holes
    inside = np.pad(mask[box], 1)
    labels, _ = ndimage.label(inside)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    around, _ = ndimage.label(labels != sizes.argmax())
    solid = around != around[0, 0, 0]
    out = np.zeros_like(mask)
    out[box] = solid[1:-1, 1:-1, 1:-1]
    pieces = Pieces(
        largest_share=float(sizes.max() / sizes.sum()),
        filled_share=float(1 - sizes.max() / np.count_nonzero(solid)),
    )
    return out, pieces
