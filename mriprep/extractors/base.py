"""What finds brains: the protocol that every extractor follows, and what it declares of itself.

An extractor is an object that an entry point of the group ``mriprep.extractors`` names. Its module
must import fast: torch and the like are imported when a network is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NoBrainError(ValueError):
    """An extractor finds no brain in the image."""


class ExtractorError(RuntimeError):
    """An extractor that can't run; the message says what is missing and what to do."""


class MapKind(StrEnum):
    """What the values of a brain map mean."""

    PROBABILITY = 'probability'  # that a voxel is brain
    MASK = 'mask'  # 1 inside the brain, 0 outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an extractor declares of itself."""

    name: str  # as --extractor takes it
    title: str  # as people know it
    package: str  # distribution whose version is recorded
    citations: tuple[str, ...]  # keys of data/references.toml, or DOIs
    licence: str  # of program and weights
    contrasts: tuple[str, ...]  # BIDS suffixes of the images that it was made for
    ages_years: tuple[float, float]  # of the heads that it was made for
    memory_gb: float  # main memory for an image of 256 x 256 x 256 voxels, without a GPU
    gpu_memory_gb: float | None  # memory of the GPU; None: it can't use one
    seconds: float = 5  # rough time of a head of 1 mm on two processors, for the forecast
    gpu_seconds: float = 5  # and on a GPU
    gives: MapKind = MapKind.PROBABILITY
    augments: bool = False  # whether it can average over mirrored images
    from_template: bool = (
        False  # whether its mask has a template's shape, whatever the image shows
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasFiles:
    """A stripped template on one grid: T1w, brain mask and tissue probabilities (0 to 1)."""

    t1w: Path
    brain_mask: Path
    gm: Path
    wm: Path
    csf: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What a network is loaded with; equal options share one loaded network."""

    device: str = 'cpu'  # 'cpu', 'cuda:N' or 'mps'
    test_time_augmentation: bool = False
    weights_dir: Path | None = None  # None: where `mriprep fetch` puts them
    atlas: AtlasFiles | None = None  # for extractors that work with a template


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainMap:
    """What an extractor finds in one image."""

    values: NDArray[np.float32]  # (I, J, K), 0 to 1, on the grid of the image
    device: str  # where it was computed in the end
    remarks: tuple[str, ...] = ()  # sentences: what was done otherwise than asked, and why


class Network(Protocol):
    """A loaded network, or whatever stands for it; serves any number of images."""

    def __call__(
        self, volume: NDArray[np.float32], affine: NDArray[np.float64], *, n_threads: int
    ) -> BrainMap:
        """Find the brain.

        Parameters
        ----------
        volume : (I, J, K) float32 array
            Head, RAS axes, arbitrary units, finite.
        affine : (4, 4) array
            Voxel indices to RAS mm; may be oblique.
        n_threads
            Processors that may be used.

        Raises
        ------
        NoBrainError
            If there is none.
        """


class Extractor(Protocol):
    """One way to find the brain."""

    @property
    def facts(self) -> Facts:
        """What it declares of itself."""

    def problem(self, weights_dir: Path | None = None) -> str | None:
        """Say why it can't run here, as ``what is wrong; what to do``; None when it can.

        Cheap, without network: packages are looked for, not imported.
        """

    def checksum(self, weights_dir: Path | None = None) -> str | None:
        """SHA-256 of the weights; None for an extractor without any."""

    def load(self, options: LoadOptions) -> Network:
        """Load the network; costly, so that callers keep what they get."""
