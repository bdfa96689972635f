"""Brain extraction with deepbet, whose weights come in its wheel.

Fisch et al. (2024), Comput Biol Med, doi:10.1016/j.compbiomed.2024.108845.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriprep.extractors.base import BrainMap, ExtractorError, Facts, LoadOptions, NoBrainError
from mriprep.extractors.devices import CPU, Attempt, first_that_fits, torch_device, torch_threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NOTHING = 'no brain was found in the image; look at it, is it a head?'
WEIGHTS = ('model.pt', 'bbox_model.pt')


def weights_folder() -> Path:
    """Folder that holds deepbet's weights, found without importing deepbet."""
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


@dataclass(frozen=True, slots=True)
class DeepBet:
    """The extractor that comes with mriprep."""

    facts: Facts = Facts(
        name='deepbet',
        title='deepbet',
        package='deepbet',
        citations=('fisch2024',),
        licence='MIT',
        contrasts=('T1w',),
        ages_years=(18, 100),
        memory_gb=1.8,
        gpu_memory_gb=3,
        seconds=3,
        gpu_seconds=1,
    )

    def problem(self, weights_dir: Path | None = None) -> str | None:
        """Say why it can't run here."""
        try:
            missing = [name for name in WEIGHTS if not (weights_folder() / name).is_file()]
        except ModuleNotFoundError as exc:
            return str(exc)
        if missing:
            return f'deepbet lacks {", ".join(missing)}; pip install --force-reinstall deepbet'
        return None

    def checksum(self, weights_dir: Path | None = None) -> str:
        """SHA-256 of the weights."""
        return weights_checksum()

    def load(self, options: LoadOptions) -> DeepBetNetwork:
        """Load both networks."""
        if words := self.problem():
            raise ExtractorError(words)
        from deepbet import BrainExtraction

        return DeepBetNetwork(BrainExtraction(no_gpu=True), options.device)


class DeepBetNetwork:
    """Both networks of deepbet: the first finds the box of the brain, the second the brain."""

    def __init__(self, model: Any, device: str) -> None:
        self._model = model
        self._attempts = [Attempt(device=name) for name in dict.fromkeys((device, CPU))]

    def __call__(
        self, volume: NDArray[np.float32], affine: NDArray[np.float64], *, n_threads: int
    ) -> BrainMap:
        """Find the brain; see `mriprep.extractors.base.Network`."""
        import numpy as np

        # torch takes no arrays with negative strides
        whole = np.ascontiguousarray(volume)
        with torch_threads(n_threads):
            values, done, remarks = first_that_fits(
                lambda attempt: self._probability(whole, attempt), self._attempts, 'deepbet'
            )
        return BrainMap(values=values, device=done.device, remarks=remarks)

    def _probability(self, volume: NDArray[np.float32], attempt: Attempt) -> NDArray[np.float32]:
        device = torch_device(attempt.device)
        for part in (self._model.model, self._model.bbox_model):
            part.to(device)
        try:
            found: NDArray[np.float32] = self._model.run_model(volume)
        except AssertionError as exc:
            # deepbet fails so when its first, coarse network sees no foreground
            raise NoBrainError(_NOTHING) from exc
        except ValueError as exc:
            # and so when nothing is left to be the largest component
            if 'empty sequence' not in str(exc):
                raise
            raise NoBrainError(_NOTHING) from exc
        return found


EXTRACTOR = DeepBet()
