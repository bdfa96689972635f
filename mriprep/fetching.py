"""Put weights in their place: download, compare, unpack, record."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriprep.weights import (
    FOLDER_VARIABLE,
    RECORD,
    Weights,
    WeightsError,
    explain_write,
    file_checksum,
    read_record,
)

if TYPE_CHECKING:
    from mriprep.download import Progress


def fetch_into(place: Path, weights: Weights, progress: Progress | None) -> None:
    """Fetch weights into a folder, which stands whole or not at all.

    The caller holds the lock of the folder.

    Raises
    ------
    WeightsError
        If they can't be had, are not what was expected, or the folder can't be written.
    """
    from mriprep.download import DownloadError, download, forget

    _forbid_other_files(place)
    url = os.environ.get(weights.url_variable) or weights.url
    part = place.with_name(f'{weights.name}.part')
    try:
        download(url, part, progress=progress)
    except DownloadError as error:
        raise WeightsError(f'{weights.name}: {error}') from error
    with part.open('rb') as stream:
        had = hashlib.file_digest(stream, 'sha256').hexdigest()
    try:
        _compare(weights, place, had)
        _install(weights, part, place, _origin(weights, url, had))
    except WeightsError:
        forget(part)
        raise
    except OSError as error:  # what was downloaded is kept
        raise WeightsError(explain_write(place.parent, error)) from error
    forget(part)


def _forbid_other_files(place: Path) -> None:
    """Never replace a folder that holds anything but what was fetched."""
    if place.is_dir() and any(place.iterdir()) and not (place / RECORD).is_file():
        raise WeightsError(
            f'{place}: holds files that mriprep did not fetch; move them away, or choose another '
            f'folder with --weights-dir or {FOLDER_VARIABLE}'
        )


def _compare(weights: Weights, place: Path, had: str) -> None:
    """Refuse a download that is not what is pinned, or not what came the first time."""
    shown = _shown_url(weights)
    if weights.sha256 is not None:
        if had != weights.sha256:
            raise WeightsError(
                f'{weights.name}: what {shown} gives has the SHA-256 {had} instead of '
                f'{weights.sha256}, so it was damaged or exchanged; try again, then report this'
            )
        return
    try:
        record = read_record(place)
    except WeightsError:
        return  # it is written anew
    before = record.get('sha256')
    if record.get('url') == weights.url and before not in (None, had):
        raise WeightsError(
            f'{weights.name}: what {shown} gives now (SHA-256 {had}) is not what was fetched on '
            f'{record.get("date")} (SHA-256 {before}); find out why, and delete {place} if the '
            'new one is wanted'
        )


def _shown_url(weights: Weights) -> str:
    from mriprep.download import without_secrets

    return without_secrets(os.environ.get(weights.url_variable) or weights.url)


def _origin(weights: Weights, url: str, sha256: str) -> dict[str, Any]:
    """Return the record of a download, but for its files."""
    from datetime import UTC, datetime

    from mriprep import __version__
    from mriprep.download import without_secrets

    return {
        'name': weights.name,
        'url': weights.url,
        'fetched_from': without_secrets(url),
        'sha256': sha256,
        'licence': weights.licence,
        'date': datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%SZ'),
        'mriprep': __version__,
    }


def _install(weights: Weights, part: Path, place: Path, origin: Mapping[str, Any]) -> None:
    """Unpack a download beside its place, record its files, then rename the folder whole."""
    from mriprep.archives import ArchiveError, unpack
    from mriprep.files import write_json

    for stale in place.parent.glob(f'.{weights.name}.*.new'):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(prefix=f'.{weights.name}.', suffix='.new', dir=place.parent))
    try:
        content = beside / 'new'
        content.mkdir()  # with the user's own permissions, unlike a temporary folder
        if weights.archive:
            unpack(part, content, weights.files)
        else:
            (content / weights.files[0]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part, content / weights.files[0])
        files = {
            name: {
                'sha256': file_checksum(content / name),
                'size': (content / name).stat().st_size,
            }
            for name in weights.files
        }
        write_json({**origin, 'files': files}, content / RECORD)
        _swap(content, place, beside / 'old')
    except ArchiveError as error:
        raise WeightsError(f'{weights.name}: what {_shown_url(weights)} gives {error}') from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _swap(new: Path, place: Path, old: Path) -> None:
    """Put a folder in the place of another, which is moved away, or moved back on failure."""
    exists = place.exists()
    if exists:
        place.rename(old)
    try:
        new.rename(place)
    except OSError:
        if exists:
            old.rename(place)
        raise
