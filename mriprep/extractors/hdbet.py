"""Brain extraction with HD-BET 2, through nnU-Net's predictor on arrays.

HD-BET's own prediction module replaces ``sys.stdout``, takes all processors and starts pools, so
nothing of it is imported but the place where it keeps its weights.

Isensee et al. (2019), Hum Brain Mapp, doi:10.1002/hbm.24750.
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mriprep.extractors.base import ExtractorError, Facts
from mriprep.weights import Weights, WeightsError, checksum, find, verify

if TYPE_CHECKING:
    from mriprep.extractors.base import LoadOptions
    from mriprep.extractors.nnunet import NnunetNetwork


def own_folders() -> tuple[Path, ...]:
    """Folders where HD-BET itself keeps its weights: by default, and as it is installed."""
    found = []
    with suppress(RuntimeError):  # a user without a home
        found.append(Path.home() / 'hd-bet_params' / 'release_2.0.0')
    with suppress(ImportError):
        from HD_BET.paths import folder_with_parameter_files

        found.append(Path(folder_with_parameter_files))
    return tuple(dict.fromkeys(found))


LICENCE = 'Apache-2.0 (the weights: as on zenodo.org/records/14445620)'

WEIGHTS = Weights(
    name='hd-bet',
    url='https://zenodo.org/records/14445620/files/release_v1.5.0.zip?download=1',
    files=('dataset.json', 'plans.json', 'fold_all/checkpoint_final.pth'),
    archive=True,
    licence=LICENCE,
)


def _weights() -> Weights:
    """Return the weights with the folders of the present home."""
    return replace(WEIGHTS, elsewhere=own_folders())


@dataclass(frozen=True, slots=True)
class HdBet:
    """HD-BET 2: a nnU-Net trained with adults who have brain tumours."""

    facts: Facts = Facts(
        name='hd-bet',
        title='HD-BET 2',
        package='nnunetv2',
        citations=('isensee2019', 'isensee2021'),
        licence=LICENCE,
        contrasts=('T1w', 'T2w', 'FLAIR'),  # T1w with agent too
        ages_years=(18, 100),
        memory_gb=4,
        gpu_memory_gb=4,
        seconds=330,
        gpu_seconds=5,
        augments=True,
    )

    @property
    def weights(self) -> Weights:
        """What ``mriprep fetch`` gets."""
        return _weights()

    def problem(self, weights_dir: Path | None = None) -> str | None:
        """Say why it can't run here."""
        if importlib.util.find_spec('nnunetv2') is None:
            return 'nnU-Net is not installed; pip install "mriprep[hd-bet]"'
        if find(_weights(), weights_dir) is None:
            return 'the weights of HD-BET are not here; run `mriprep fetch hd-bet`'
        return None

    def checksum(self, weights_dir: Path | None = None) -> str:
        """SHA-256 of the weights."""
        return checksum(_weights(), weights_dir)

    def load(self, options: LoadOptions) -> NnunetNetwork:
        """Load the network."""
        from mriprep.extractors.nnunet import load_network

        folder = find(_weights(), options.weights_dir)
        if (words := self.problem(options.weights_dir)) is not None or folder is None:
            raise ExtractorError(words)
        try:
            verify(_weights(), options.weights_dir)
        except WeightsError as error:
            raise ExtractorError(str(error)) from error
        return load_network(folder, options, name=self.facts.name)


EXTRACTOR = HdBet()
