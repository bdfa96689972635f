"""Brain extraction with deepbet, whose weights come in its wheel.

Fisch et al. (2024), Comput Biol Med, doi:10.1016/j.compbiomed.2024.108845.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger('nipype.interface')

WEIGHTS = ('model.pt', 'bbox_model.pt')


class NoBrainError(ValueError):
    """The network finds no brain in the image."""


def weights_folder() -> Path:
    """Folder that holds deepbet's weights, found without importing deepbet."""
    import importlib.util

    spec = importlib.util.find_spec('deepbet')
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError('deepbet is not installed; pip install deepbet')
    return Path(spec.origin).parents[1] / 'data' / 'models'


@functools.cache
def weights_checksum() -> str:
    """SHA-256 over the weights of both networks."""
    digest = hashlib.sha256()
    for name in WEIGHTS:
        digest.update((weights_folder() / name).read_bytes())
    return digest.hexdigest()


@functools.cache
def _network() -> Any:
    """Load the networks once in the life of a process."""
    from deepbet import BrainExtraction

    logger.info('deepbet: weights loaded')
    return BrainExtraction(no_gpu=True)


def brain_probability(volume: NDArray[np.float32], *, n_threads: int) -> NDArray[np.float32]:
    """Probability that a voxel is brain.

    Parameters
    ----------
    volume : (I, J, K) float32 array
        T1w head, RAS axes, arbitrary units.
    n_threads
        Processors that torch may use.

    Returns
    -------
    (I, J, K) float32 array
        0 to 1, on the grid of ``volume``.

    Raises
    ------
    NoBrainError
        If the network finds nothing.
    """
    import torch

    torch.set_num_threads(n_threads)
    try:
        probability: NDArray[np.float32] = _network().run_model(volume)
    except (AssertionError, ValueError) as exc:
        # deepbet fails so when its first, coarse network sees no foreground
        raise NoBrainError('no brain was found in the image; look at it, is it a head?') from exc
    return probability
