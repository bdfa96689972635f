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

    def load(self, options: LoadOptions) -> _Network:
        """Load both networks."""
        if words := self.problem():
            raise ExtractorError(words)
        from deepbet import BrainExtraction

        model = BrainExtraction(no_gpu=True)
        for part in (model.model, model.bbox_model):
            part.to(options.device)
        return _Network(model, options.device)


@dataclass(frozen=True, slots=True)
class _Network:
    model: Any
    device: str

    def __call__(
        self, volume: NDArray[np.float32], affine: NDArray[np.float64], *, n_threads: int
    ) -> BrainMap:
        """Find the brain; see `mriprep.extractors.base.Network`."""
        import numpy as np
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(n_threads)
        try:
            # torch takes no arrays with negative strides
            values: NDArray[np.float32] = self.model.run_model(np.ascontiguousarray(volume))
        except AssertionError as exc:
            # deepbet fails so when its first, coarse network sees no foreground
            raise NoBrainError(_NOTHING) from exc
        except ValueError as exc:
            # and so when nothing is left to be the largest component
            if 'empty sequence' not in str(exc):
                raise
            raise NoBrainError(_NOTHING) from exc
        finally:
            torch.set_num_threads(before)
        return BrainMap(values=values, device=self.device)


EXTRACTOR = DeepBet()
