"""What the graph of a session must know of its images."""

from __future__ import annotations

from dataclasses import dataclass

from mriprep.contrasts import Contrast
from mriprep.extractors.choice import Extraction


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageWiring:
    """What the graph must know of the image of one contrast."""

    contrast: Contrast
    extraction: Extraction | None  # None: it takes the reference's mask
    n_runs: int = 1  # that are averaged; 1 for one alone
    corrected: bool = False  # whether an image without bias field is given
    registered: bool = False  # whether transforms to the reference and back are given
    lesion: bool = False  # whether a lesion is drawn on it

    @property
    def label(self) -> str:
        """Name of its grid."""
        return self.contrast.label

    @property
    def run_fields(self) -> tuple[str, ...]:
        """Inputs that take its files."""
        return tuple(f'run{number}' for number in range(1, self.n_runs + 1))
