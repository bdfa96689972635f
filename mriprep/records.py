"""Frozen records of the images of a raw dataset, made from their headers and sidecars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from mriprep.headers import BriefHeader, HeaderError, header_findings, read_header
from mriprep.issues import Issue, Severity
from mriprep.naming import ENTITY_ORDER
from mriprep.sidecars import (
    entity_sort_key,
    natural,
    ordered_entities,
    read_sidecar,
    sidecar_finder,
    split_name,
)

_READERS = 8  # threads; what they wait for is a disk, perhaps behind a network
_NOT_PLAIN = {
    'echo': 'one echo of several',
    'flip': 'one flip angle of several',
    'inv': 'one inversion of several',
    'mt': 'one of a magnetization transfer series',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image file of a raw dataset."""

    path: Path  # absolute
    relative: str  # to the dataset, with forward slashes
    subject: str  # without 'sub-'
    session: str | None  # without 'ses-'
    suffix: str
    entities: tuple[tuple[str, str], ...] = ()  # short keys in BIDS order, no 'sub' and 'ses'
    shape: tuple[int, ...] = ()  # () when the header can't be read
    zooms_mm: tuple[float, ...] = ()
    flat_start: bool = False  # whether its first voxels hold one value, as outside of a brain
    stripped: bool = False  # whether it shows a brain without its head
    metadata: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)
    issues: tuple[Issue, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether nothing that is known forbids to process this image."""
        return not any(issue.severity is Severity.ERROR for issue in self.issues)

    @property
    def set_apart(self) -> str | None:
        """Why this is not a plain image of its suffix, in words; None when it is one."""
        return _why_set_apart(dict(self.entities))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The part of a dataset that was asked for."""

    root: Path  # absolute
    name: str
    doi: str | None = None
    images: tuple[ImageRecord, ...] = ()  # in BIDS order
    issues: tuple[Issue, ...] = ()  # of the dataset and of subjects; images carry their own
    participants: Mapping[str, Mapping[str, str]] = field(default_factory=dict, compare=False)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects with at least one image, in order."""
        return tuple(dict.fromkeys(image.subject for image in self.images))


def read_images(root: Path, relatives: Sequence[str]) -> tuple[ImageRecord, ...]:
    """Read the headers and sidecars of images, each file once.

    Parameters
    ----------
    root : Path
        Root of the dataset.
    relatives : sequence of str
        Images, as paths relative to ``root`` with forward slashes.

    Returns
    -------
    tuple of ImageRecord
        In BIDS order: subject, session, suffix, then each entity in the order of the schema,
        absent before present, 2 before 10.
    """
    find = sidecar_finder(root)
    sidecars = {path: find(path) for path in relatives}
    unique = list(dict.fromkeys(name for names in sidecars.values() for name in names))
    with ThreadPoolExecutor(_READERS) as pool:
        contents = dict(zip(unique, pool.map(lambda n: read_sidecar(root / n), unique)))  # noqa: B905
        headers = list(pool.map(lambda path: _try_header(root / path), relatives))
    images = [
        _record(root, path, header, {name: contents[name] for name in sidecars[path]})
        for path, header in zip(relatives, headers, strict=True)
    ]
    return tuple(sorted(images, key=_bids_order))


def _try_header(path: Path) -> BriefHeader | HeaderError:
    try:
        return read_header(path)
    except HeaderError as error:
        return error


def _bids_order(image: ImageRecord) -> tuple[object, ...]:
    entities = entity_sort_key(dict(image.entities))
    return (
        natural(image.subject),
        natural(image.session or ''),
        image.suffix,
        entities,
        image.relative,
    )


def _record(
    root: Path,
    relative: str,
    header: BriefHeader | HeaderError,
    sidecars: Mapping[str, dict[str, object] | None],
) -> ImageRecord:
    name = split_name(relative)
    subject, session = relative.split('/')[0].removeprefix('sub-'), name.entities.get('ses')
    findings = [
        *_name_findings(relative),
        *_header_findings(relative, header),
        *(
            (Severity.WARNING, path, 'not JSON: its values are not used', 'correct or delete it')
            for path, content in sidecars.items()
            if content is None
        ),
    ]
    metadata: dict[str, object] = {}
    for content in sidecars.values():
        metadata |= content or {}
    read = header if isinstance(header, BriefHeader) else None
    return ImageRecord(
        path=root / relative,
        relative=relative,
        subject=subject,
        session=session,
        suffix=name.suffix,
        entities=ordered_entities(name.entities),
        shape=read.shape if read else (),
        zooms_mm=read.zooms_mm if read else (),
        flat_start=read is not None and read.flat_start,
        metadata=metadata,
        issues=tuple(
            Issue(
                severity=severity,
                where=where,
                problem=problem,
                remedy=remedy,
                subject=subject,
                session=session,
            )
            for severity, where, problem, remedy in findings
        ),
    )


_Finding = tuple[Severity, str, str, str]  # severity, where, problem, remedy


def _name_findings(relative: str) -> list[_Finding]:
    name, folders = split_name(relative), relative.split('/')[:-1]
    lies_in = [folder for folder in folders[:2] if folder.startswith(('sub-', 'ses-'))]
    named = [f'{key}-{name.entities[key]}' for key in ('sub', 'ses') if key in name.entities]
    unknown = [key for key in name.entities if key not in ENTITY_ORDER]
    if not name.regular or lies_in != named or unknown:
        problem = 'the name does not follow BIDS, or contradicts the folders it lies in'
        remedy = f'rename it to sub-<label>[_ses-<label>][_<key>-<value>...]_{name.suffix}'
        return [(Severity.ERROR, relative, problem, remedy)]
    if reason := _why_set_apart(name.entities):
        return [(Severity.NOTE, relative, f'{reason}: not taken for a plain {name.suffix}', '')]
    return []


def _header_findings(relative: str, header: BriefHeader | HeaderError) -> list[_Finding]:
    if isinstance(header, HeaderError):
        return [(Severity.ERROR, relative, header.problem, header.remedy)]
    return [(level, relative, what, remedy) for level, what, remedy in header_findings(header)]


def _why_set_apart(entities: Mapping[str, str]) -> str | None:
    if (part := entities.get('part', 'mag')) != 'mag':
        return f'one part of a complex image (part-{part})'
    for key, words in _NOT_PLAIN.items():
        if key in entities:
            return f'{words} ({key}-{entities[key]})'
    return None
