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
