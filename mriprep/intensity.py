"""Intensities of volumes: arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class ZScoreParameters:
    """What undoes a z-score: ``volume = zscore * deviation + mean``."""

    mean: float
    deviation: float
    n_voxels: int


def zscore_parameters(volume: NDArray[np.floating], mask: NDArray[np.bool_]) -> ZScoreParameters:
    """Measure mean and standard deviation of the intensities inside a mask.

    Parameters
    ----------
    volume : (I, J, K) float array
        Image intensities, arbitrary units.
    mask : (I, J, K) bool array
        Voxels that count.

    Raises
    ------
    ValueError
        If shapes differ, or the mask is empty or covers constant intensities.
    """
    if volume.shape != mask.shape:
        raise ValueError(f'volume {volume.shape} and mask {mask.shape} differ in shape')
    inside = volume[mask].astype(np.float64)
    if inside.size == 0 or not (deviation := float(inside.std())) > 0:
        raise ValueError('mask is empty or covers constant intensities')
    return ZScoreParameters(mean=float(inside.mean()), deviation=deviation, n_voxels=inside.size)


def zscore(volume: NDArray[np.floating], parameters: ZScoreParameters) -> NDArray[np.float32]:
    """Centre and scale a volume.

    Parameters
    ----------
    volume : (I, J, K) float array
        Image intensities, arbitrary units.
    parameters
        From `zscore_parameters`.

    Returns
    -------
    (I, J, K) float32 array
        Dimensionless; mean 0, deviation 1 over the voxels that gave ``parameters``.
        Background is shifted too, not zeroed.

    References
    ----------
    Reinhold et al. (2019), Proc. SPIE 10949, doi:10.1117/12.2513089.
    """
    return ((volume - parameters.mean) / parameters.deviation).astype(np.float32)


def apply_mask(volume: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Set a volume to zero outside a mask of the same shape."""
    if volume.shape != mask.shape:
        raise ValueError(f'volume {volume.shape} and mask {mask.shape} differ in shape')
    return np.where(mask, volume, 0).astype(np.float32)


def otsu_threshold(values: NDArray[np.floating]) -> float:
    """Threshold between dark and bright that leaves the least variance within both.

    Parameters
    ----------
    values : array of any shape
        Intensities; the brightest 0.5 % are clipped first.

    References
    ----------
    Otsu (1979), IEEE Trans. Syst. Man Cybern. 9:62-66, doi:10.1109/TSMC.1979.4310076.
    """
    high = np.percentile(values, 99.5)
    counts, edges = np.histogram(np.minimum(values, high), 128)
    centres = (edges[1:] + edges[:-1]) / 2
    below, moment = np.cumsum(counts)[:-1], np.cumsum(counts * centres)[:-1]
    above = counts.sum() - below
    total = (counts * centres).sum()
    with np.errstate(divide='ignore', invalid='ignore'):
        between = below * above * (moment / below - (total - moment) / above) ** 2
    return float(edges[1:-1][np.nan_to_num(between).argmax()])
