"""Weights of networks: where they lie, whether they are what was fetched, how they are fetched."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mriprep.download import Progress

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = 'MRIPREP_WEIGHTS_DIR'
RECORD = 'origin.json'  # in each folder of weights: what was fetched, from where, its checksums


class WeightsError(RuntimeError):
    """Weights that can't be had or trusted; the message says which, why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights of one network, as they are fetched and found."""

    name: str  # folder below the weights folder; as `mriprep fetch NAME`
    url: str
    files: tuple[str, ...]  # relative paths that must be there
    sha256: str | None = None  # of what is downloaded; None: recorded when first fetched
    archive: bool = False  # a zip file that is unpacked
    elsewhere: tuple[Path, ...] = ()  # other folders that are looked into
    licence: str = ''

    def __post_init__(self) -> None:
        if not self.files or (len(self.files) > 1 and not self.archive):
            raise ValueError(f'{self.name}: one file is downloaded, or several in an archive')

    @property
    def url_variable(self) -> str:
        """Name of the environment variable that names a mirror.

        Examples
        --------
        >>> Weights(name='hd-bet', url='', files=('a',)).url_variable
        'MRIPREP_WEIGHTS_URL_HD_BET'
        """
        return f'MRIPREP_WEIGHTS_URL_{re.sub("[^A-Z0-9]", "_", self.name.upper())}'


def weights_folder(given: Path | None = None) -> Path:
    """Return the folder that holds a folder for each network; it need not exist.

    Parameters
    ----------
    given : Path, optional
        What the user chose with ``--weights-dir``; else ``MRIPREP_WEIGHTS_DIR`` counts, else
        the place for data of this user.

    Raises
    ------
    WeightsError
        If nothing is given and the user has no home.
    """
    import platformdirs

    if given is not None:
        return given.absolute()
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named).absolute()
    try:
        folder = platformdirs.user_data_path('mriprep', appauthor=False) / 'weights'
    except RuntimeError:
        folder = Path('~')
    if not folder.is_absolute():
        raise WeightsError(
            f'this user has no home folder for weights; name one with --weights-dir or '
            f'{FOLDER_VARIABLE}'
        )
    return folder


def find(weights: Weights, folder: Path | None = None) -> Path | None:
    """Return the folder that holds all files of the weights; None if there is none.

    The weights folder is looked into first, then the places that other programs use. A folder
    that the user names may also hold the files themselves.
    """
    places: list[Path] = []
    try:
        root = weights_folder(folder)
    except WeightsError:
        pass
    else:
        places += [root / weights.name, root]
    places += [path for path in weights.elsewhere if path.is_absolute()]
    for place in places:
        if all((place / name).is_file() for name in weights.files):
            return place
    return None


def checksum(weights: Weights, folder: Path | None = None) -> str:
    """Return a SHA-256 over all files: the one of what ``sha256sum FILE...`` prints for them.

    Raises
    ------
    WeightsError
        If they are not there.
    """
    return _checksum(weights, _found(weights, folder))


def _checksum(weights: Weights, place: Path) -> str:
    lines = ''.join(f'{file_checksum(place / name)}  {name}\n' for name in weights.files)
    return hashlib.sha256(lines.encode()).hexdigest()


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file, read once in the life of a process unless it changes."""
    status = path.stat()
    return _file_checksum(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _file_checksum(path: Path, size: int, modified_ns: int) -> str:
    with path.open('rb') as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest()


def verify(weights: Weights, folder: Path | None = None) -> str:
    """Compare weights with the record of when they were fetched; return their `checksum`.

    Files that were put there by hand, without a record, are taken as they are.

    Raises
    ------
    WeightsError
        If they are not there, or a file is not what was fetched.
    """
    place = _found(weights, folder)
    _verify(weights, place)
    return _checksum(weights, place)


def _verify(weights: Weights, place: Path) -> None:
    remedy = f'mriprep fetch {weights.name} puts it back'
    record = read_record(place)
    files: Mapping[str, Any] = record.get('files', {}) if record else {}
    for name in weights.files:
        if name in files and file_checksum(place / name) != files[name].get('sha256'):
            raise WeightsError(
                f'{place / name}: not what was fetched on {record["date"]}; {remedy}'
            )
    pinned = weights.sha256
    if pinned is not None:
        had = record.get('sha256') if record else None
        if not record and not weights.archive:
            had = file_checksum(place / weights.files[0])
        if had not in (None, pinned):
            raise WeightsError(
                f'{place}: not the weights that this version of mriprep expects '
                f'(SHA-256 {had} instead of {pinned}); {remedy}'
            )


def read_record(place: Path) -> dict[str, Any]:
    """Return what was recorded when weights were fetched into a folder; empty without a record.

    Raises
    ------
    WeightsError
        If the record can't be read.
    """
    path = place / RECORD
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(record, dict) or not isinstance(record.get('files'), dict):
            raise json.JSONDecodeError('not a record of weights', '', 0)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(
            f'{path}: can not be read ({error}); delete {place} and fetch the weights again'
        ) from error
    return record


def fetch(
    weights: Weights, folder: Path | None = None, *, progress: Progress | None = None
) -> Path:
    """Get weights unless they are there; return the folder that holds them.

    Only for callers who may use the network. Two processes that fetch at once download once.
    What is damaged is fetched again and must then be what it was before.

    Parameters
    ----------
    weights : Weights
        What is wanted.
    folder : Path, optional
        As in `weights_folder`.
    progress : callable, optional
        Called with the bytes had so far and the bytes in all.

    Raises
    ------
    WeightsError
        If they can't be had, are not what was expected, or the folder can't be written.
    """
    from mriprep.fetching import fetch_into

    root = weights_folder(folder)
    place = root / weights.name
    for there in (place, root):
        if is_sound(weights, there):
            return there
    named = folder is not None or os.environ.get(FOLDER_VARIABLE)
    if not named and not place.exists() and (found := find(weights)) is not None:
        return found
    with _locked(root, weights.name):
        if not is_sound(weights, place):  # another process may have been faster
            fetch_into(place, weights, progress)
    return place


def is_sound(weights: Weights, place: Path) -> bool:
    """Whether a folder holds weights that need not be fetched again."""
    if not all((place / name).is_file() for name in weights.files):
        return False
    try:
        _verify(weights, place)
        record = read_record(place)
    except WeightsError:
        return False
    return bool(record.get('url', weights.url) == weights.url)


@contextmanager
def _locked(root: Path, name: str) -> Iterator[None]:
    """Let one process at a time change the weights of one network."""
    from filelock import FileLock, Timeout

    lock = FileLock(root / f'.{name}.lock')
    try:
        root.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning('%s: another process fetches it; waiting', name)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise WeightsError(explain_write(root, error)) from error
    try:
        yield
    finally:
        lock.release()


def _found(weights: Weights, folder: Path | None) -> Path:
    place = find(weights, folder)
    if place is None:
        raise WeightsError(
            f'{weights.name}: its weights are not in {weights_folder(folder) / weights.name}; '
            f'mriprep fetch {weights.name} gets them'
        )
    return place


def explain_write(folder: Path, error: Exception) -> str:
    """Say why a folder for weights can't be written."""
    number = getattr(error, 'errno', None)
    what = os.strerror(number) if number else str(error)
    return (
        f'{folder}: the folder for weights can not be written ({what}); make room there, or '
        f'choose another with --weights-dir or {FOLDER_VARIABLE}'
    )
