"""Files that the user has already: found in derivative data sets by the names that BIDS gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mriprep.naming import mask_paths
from mriprep.records import ImageRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFile:
    """A file of a derivative data set."""

    path: Path
    dataset: str  # its name in `DatasetLinks`
    relative: str  # to the root of its data set

    @property
    def uri(self) -> str:
        """BIDS URI."""
        return f'bids:{self.dataset}:{self.relative}'


def find_masks(images: Iterable[ImageRecord], folders: Mapping[str, Path]) -> dict[str, GivenFile]:
    """Find the brain mask of each image in derivative data sets.

    Parameters
    ----------
    images
        Images of the raw data set.
    folders
        Root of each derivative data set, by its name; the first that holds a mask counts.

    Returns
    -------
    dict
        Mask by the relative path of its image; images without one are left out.
    """
    out = {}
    for image in images:
        for dataset, root in folders.items():
            names = mask_paths(
                subject=image.subject,
                session=image.session,
                source_entities=image.entities,
                source_suffix=image.suffix,
            )
            found = next((name for name in names if (root / name).is_file()), None)
            if found is not None:
                out[image.relative] = GivenFile(
                    path=root / found, dataset=dataset, relative=found.as_posix()
                )
                break
    return out
