"""Measures of how near a result comes to a known truth: arrays and matrices in, numbers out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Overlap of two masks on one grid: 1 for equal ones, 0 for disjoint ones.

    Raises
    ------
    ValueError
        If shapes differ or both are empty.
    """
    if found.shape != truth.shape:
        raise ValueError(f'masks {found.shape} and {truth.shape} differ in shape')
    if not (total := int(found.sum()) + int(truth.sum())):
        raise ValueError('both masks are empty')
    return 2 * int((found & truth).sum()) / total


def bias_correlation(
    raw: NDArray[np.floating[Any]],
    corrected: NDArray[np.floating[Any]],
    bias: NDArray[np.floating[Any]],
    brain: NDArray[np.bool_],
) -> float:
    """Correlate the logarithm of the field that a correction took out with the true one.

    Parameters
    ----------
    raw, corrected, bias : (I, J, K) float array
        Image before and after, and the true factor, on one grid; arbitrary units.
    brain : (I, J, K) bool array
        Where to compare.

    Returns
    -------
    float
        Pearson's correlation, from -1 to 1.

    Raises
    ------
    ValueError
        If fewer than two voxels are positive in all three, or nothing was corrected.
    """
    import numpy as np

    usable = brain & (raw > 0) & (corrected > 0) & (bias > 0)
    taken = np.log(raw[usable] / corrected[usable])
    if taken.size < 2 or np.ptp(taken) == 0:
        raise ValueError('the corrected image shows no bias field that was taken out')
    return float(np.corrcoef(taken, np.log(bias[usable]))[0, 1])


def linear_error_mm(
    found: ArrayLike, truth: ArrayLike, points_mm: NDArray[np.floating[Any]]
) -> float:
    """Mean distance between the places to which two transforms take the same points.

    Parameters
    ----------
    found, truth : (4, 4) float array
        Template RAS mm to scanner RAS mm.
    points_mm : (N, 3) float array
        Template RAS mm.
    """
    import numpy as np

    difference = np.asarray(found, float) - np.asarray(truth, float)
    apart = points_mm @ difference[:3, :3].T + difference[:3, 3]
    return float(np.linalg.norm(apart, axis=1).mean())


def brightness_ratio(
    volume: NDArray[np.floating[Any]], affine: ArrayLike, one_mm: ArrayLike, other_mm: ArrayLike
) -> float:
    """Divide the mean brightness around one place by that around another.

    Parameters
    ----------
    volume : (I, J, K) float array
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    one_mm, other_mm : three float
        RAS mm.

    Returns
    -------
    float
        Of balls of 4 mm radius; above 1 if the first place is the brighter one.

    Raises
    ------
    ValueError
        If a place lies outside the image.
    """
    one, other = (_ball_mean(volume, affine, place) for place in (one_mm, other_mm))
    return one / max(other, 1e-6)


def _ball_mean(volume: NDArray[np.floating[Any]], affine: ArrayLike, place: ArrayLike) -> float:
    import numpy as np
    from scipy import ndimage as ndi

    offsets = np.stack(np.meshgrid(*[np.arange(-4.0, 5.0)] * 3, indexing='ij')).reshape(3, -1)
    offsets = offsets[:, (offsets**2).sum(0) <= 16]
    inverse = np.linalg.inv(np.asarray(affine, float))
    points = offsets + np.asarray(place, float)[:, None]
    index = inverse[:3, :3] @ points + inverse[:3, 3:]
    centre = inverse[:3, :3] @ np.asarray(place, float) + inverse[:3, 3]
    if (centre < 0).any() or (centre > np.array(volume.shape) - 1).any():
        raise ValueError(f'{np.round(np.asarray(place, float), 1)} mm lies outside the image')
    return float(ndi.map_coordinates(volume, index, order=1, mode='nearest').mean())
