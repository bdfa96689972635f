"""Files that the user has already: found by the names that BIDS gives, and by their grids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypedDict

from mriprep.contrasts import Contrast
from mriprep.given_names import (
    anat_folder,
    corrected_paths,
    lesion_paths,
    mask_paths,
    transform_paths,
)
from mriprep.issues import Issue, Severity
from mriprep.records import ImageRecord
from mriprep.selection import contrast_in, issue_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RAW = 'raw'  # name of the source data set in BIDS URIs
_GRID_TOLERANCE_MM = 0.1  # between corners; as `mriprep.images.load_given_mask` forgives


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFile:
    """A file of a derivative data set, or of the raw one."""

    path: Path
    dataset: str  # its name in `DatasetLinks`
    relative: str  # to the root of its data set

    @property
    def uri(self) -> str:
        """BIDS URI."""
        return f'bids:{self.dataset}:{self.relative}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the user has, by the relative path of the image that it belongs to."""

    masks: Mapping[str, GivenFile] = field(default_factory=dict)
    corrected: Mapping[str, GivenFile] = field(default_factory=dict)  # without bias field
    lesions: Mapping[str, GivenFile] = field(default_factory=dict)
    # by the image, and the values of ``from-`` and ``to-``; never one way without the other
    transforms: Mapping[tuple[str, str, str], GivenFile] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()

    def issues_of(self, subject: str, session: str | None) -> Iterator[Issue]:
        """What is wrong with the files of one session."""
        for issue in self.issues:
            if (issue.subject, issue.session) == (subject, session):
                yield issue


def find_given(
    images: Iterable[ImageRecord],
    folders: Mapping[str, Path],
    *,
    raw: Path,
    spaces: Iterable[str] = (),
) -> Given:
    """Find what belongs to the images of a data set.

    Parameters
    ----------
    images
        Images of the raw data set, in its order.
    folders
        Root of each derivative data set, by its name; the first that holds a file counts.
    raw
        Root of the raw data set, which may hold lesion masks.
    spaces
        Labels of the templates whose transforms are looked for.

    Returns
    -------
    Given
        Lesion masks that lie on the grid of no image are not in it: its issues name them.
    """
    found = _Finder(folders=folders)
    lesions = _Finder(folders={**folders, RAW: raw})
    masks: dict[str, GivenFile] = {}
    corrected: dict[str, GivenFile] = {}
    transforms: dict[tuple[str, str, str], GivenFile] = {}
    lesion_of: dict[str, GivenFile] = {}
    issues: list[Issue] = []
    spaces = tuple(spaces)
    for _, group in groupby(images, lambda image: (image.subject, image.session)):
        session = [(image, contrast) for image in group if (contrast := contrast_in(image))]
        counts = Counter(contrast.label for _, contrast in session)
        for image, contrast in session if folders else ():
            if file := found.mask(image, contrast):
                masks[image.relative] = file
            if file := found.corrected(image):
                corrected[image.relative] = file
            ends = [label for label in (*counts, *spaces) if label != contrast.label]
            transforms |= dict(found.transforms(image, contrast, ends, counts))
        of_session, told = lesions.lesions(session)
        lesion_of |= of_session
        issues += told
    return Given(
        masks=masks,
        corrected=corrected,
        lesions=lesion_of,
        transforms=transforms,
        issues=tuple(issues),
    )


class _Who(TypedDict):
    """Whose files are looked for."""

    subject: str
    session: str | None
    source_entities: tuple[tuple[str, str], ...]


def _who(image: ImageRecord) -> _Who:
    return {
        'subject': image.subject,
        'session': image.session,
        'source_entities': image.entities,
    }


@dataclass(frozen=True, kw_only=True)
class _Finder:
    """Looks into data sets, each folder once."""

    folders: Mapping[str, Path]
    _listings: dict[Path, frozenset[str]] = field(default_factory=dict)

    def _names_in(self, folder: Path) -> frozenset[str]:
        """Names of the files of a folder; none if it is not there."""
        if folder not in self._listings:
            try:
                names = frozenset(path.name for path in folder.iterdir())
            except OSError:
                names = frozenset()
            self._listings[folder] = names
        return self._listings[folder]

    def has(self, image: ImageRecord, word: str) -> bool:
        """Whether it is worth while to look for files of an image with this in their name."""
        folder = anat_folder(image.subject, image.session)
        return any(
            word in name
            for root in self.folders.values()
            for name in self._names_in(root / folder)
        )

    def all(self, candidates: Iterable[PurePosixPath]) -> Iterator[GivenFile]:
        """All that are there, the data sets in their order."""
        names = tuple(candidates)
        for dataset, root in self.folders.items():
            for name in names:
                if name.name in self._names_in(root / name.parent):
                    yield GivenFile(path=root / name, dataset=dataset, relative=str(name))

    def mask(self, image: ImageRecord, contrast: Contrast) -> GivenFile | None:
        """Brain mask of an image.

        A mask whose name tells of no contrast may be that of any: the one that lies on the
        image's grid is taken. A T1w takes it on another grid too, so that the mistake is told.
        """
        if not self.has(image, 'mask'):
            return None
        candidates = mask_paths(**_who(image), source_suffix=image.suffix, label=contrast.label)
        files = list(self.all(candidates))
        if contrast is Contrast.T1W and len(files) == 1:
            return files[0]
        for file in files:
            named = f'_space-{contrast.label}_' in file.relative
            if named or same_grid_on_disk(file.path, image.path):
                return file
        return files[0] if files and contrast is Contrast.T1W else None

    def corrected(self, image: ImageRecord) -> GivenFile | None:
        """Image without bias field, on the grid of the raw one."""
        if not self.has(image, '_desc-'):
            return None
        files = self.all(corrected_paths(**_who(image), source_suffix=image.suffix))
        return next((file for file in files if same_grid_on_disk(file.path, image.path)), None)

    def transforms(
        self,
        image: ImageRecord,
        contrast: Contrast,
        ends: Iterable[str],
        counts: Mapping[str, int],
    ) -> Iterator[tuple[tuple[str, str, str], GivenFile]]:
        """Transforms between an image and other spaces, where one data set has both ways.

        Of several images of one contrast in a session, ``counts``, none is told by its label
        alone: then the name must bear the entities of this one, and the other end be one image.
        """
        exact = counts[contrast.label] > 1
        for end in ends if self.has(image, '_xfm.') else ():
            if counts.get(end, 1) > 1:
                continue
            ways = ((contrast.label, end), (end, contrast.label))
            found = [
                self._first_of_each(transform_paths(**_who(image), ends=way, exact=exact))
                for way in ways
            ]
            both = next((name for name in self.folders if all(name in one for one in found)), None)
            if both is not None:
                for way, files in zip(ways, found, strict=True):
                    yield (image.relative, *way), files[both]

    def _first_of_each(self, candidates: Iterable[PurePosixPath]) -> dict[str, GivenFile]:
        """The best file of each data set."""
        out: dict[str, GivenFile] = {}
        for file in self.all(candidates):
            out.setdefault(file.dataset, file)
        return out

    def lesions(
        self, session: Iterable[tuple[ImageRecord, Contrast]]
    ) -> tuple[dict[str, GivenFile], list[Issue]]:
        """Lesion masks of the images of a session, each with the images on whose grid it lies."""
        out: dict[str, GivenFile] = {}
        astray: dict[Path, tuple[ImageRecord, GivenFile]] = {}
        fitting: set[Path] = set()
        for image, contrast in session:
            if not self.has(image, 'lesion'):
                continue
            candidates = lesion_paths(
                **_who(image), source_suffix=image.suffix, label=contrast.label
            )
            for file in self.all(candidates):
                if same_grid_on_disk(file.path, image.path):
                    out.setdefault(image.relative, file)
                    fitting.add(file.path)
                else:
                    astray.setdefault(file.path, (image, file))
        issues = [
            issue_of(
                image,
                Severity.WARNING,
                f'the lesion mask {PurePosixPath(file.relative).name} lies on the grid of no '
                'image of its session: it is not used',
                'resample it onto the image that it was drawn on',
            )
            for path, (image, file) in astray.items()
            if path not in fitting
        ]
        return out, issues


def same_grid_on_disk(first: Path, second: Path) -> bool:
    """Whether two files hold the same voxels, from their headers; False when one can't be read."""
    from mriprep.images import corner_distance

    try:
        (shape, affine), (other_shape, other) = map(_canonical_grid, (first, second))
    except Exception:  # noqa: BLE001 - nibabel raises many kinds; what is wrong is told elsewhere
        return False
    return shape == other_shape and corner_distance(affine, other, shape) <= _GRID_TOLERANCE_MM


def _canonical_grid(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine of an image once its axes are in RAS order; no voxel is read."""
    import nibabel as nb
    import numpy as np
    from nibabel.orientations import inv_ornt_aff, io_orientation

    image: Any = nb.load(path)
    shape = image.shape[:3]
    order: Any = io_orientation(image.affine)  # type: ignore[no-untyped-call]
    affine = image.affine @ inv_ornt_aff(order, shape)  # type: ignore[no-untyped-call]
    sizes = [shape[list(order[:, 0]).index(axis)] for axis in range(3)]
    return tuple(sizes), np.asarray(affine, np.float64)
