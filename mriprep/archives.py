"""Unpack zip files of strangers."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

MAX_BYTES = 20 * 2**30  # the largest networks of the field take 3 GB
MAX_RATIO = 100  # weights hardly shrink; text shrinks tenfold, a bomb a thousandfold
MAX_ENTRIES = 10_000


class ArchiveError(ValueError):
    """A zip file that is not unpacked; the message says what it is or holds."""


def unpack(archive: Path, folder: Path, files: Sequence[str]) -> None:
    """Unpack a zip file into a folder.

    If all lies below one top folder of the archive, that folder is left out.

    Parameters
    ----------
    archive : Path
        A zip file.
    folder : Path
        An empty folder.
    files : sequence of str
        Relative paths that must be there afterwards.

    Raises
    ------
    ArchiveError
        If it is no zip file, is damaged, lacks a file, or holds what is not safe: paths that
        leave the folder, links, more than `MAX_ENTRIES` files, more than `MAX_BYTES` or
        `MAX_RATIO` times its own size.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            for entry in entries:
                _forbid_unsafe(entry)
            _forbid_bomb(entries, archive.stat().st_size)
            top = _top(entries, files)
            for entry in entries:
                if entry.filename.startswith(top):
                    _extract(opened, entry, folder / entry.filename[len(top) :])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ArchiveError(f'is no zip file, or a damaged one ({error})') from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ArchiveError('holds two files of one name') from error


def _forbid_unsafe(entry: ZipInfo) -> None:
    name = entry.filename
    parts = name.split('/')
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if name.startswith('/') or '\\' in name or ':' in parts[0] or '..' in parts or '' in parts:
        raise ArchiveError(f'holds a file that would leave its folder, {name!r}')
    if kind not in (0, stat.S_IFREG):
        raise ArchiveError(f'holds a link or a device, {name!r}')
    if entry.flag_bits & 1:
        raise ArchiveError(f'holds a file that needs a password, {name!r}')


def _forbid_bomb(entries: Sequence[ZipInfo], packed: int) -> None:
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES:
        raise ArchiveError(f'holds {len(entries)} files, more than {MAX_ENTRIES}')
    if total > min(MAX_BYTES, MAX_RATIO * packed):
        raise ArchiveError(f'holds {packed / 1e6:.3g} MB that unpack to {total / 1e6:.3g} MB')


def _top(entries: Iterable[ZipInfo], files: Iterable[str]) -> str:
    """Return what stands in front of all needed files: nothing, or one folder and a slash."""
    names = {entry.filename for entry in entries}
    tops = {f'{PurePosixPath(name).parts[0]}/' for name in names if '/' in name}
    fitting = [top for top in ('', *sorted(tops)) if all(top + name in names for name in files)]
    if not fitting:
        absent = ', '.join(sorted(set(files) - names))
        raise ArchiveError(f'lacks {absent}; it holds {_listing(names)}')
    return fitting[0]


def _listing(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ', '.join(ordered[:5]) + (', ...' if len(ordered) > 5 else '') or 'nothing'


def _extract(opened: ZipFile, entry: ZipInfo, path: Path) -> None:
    """Write one file, no longer than its entry says, for which zipfile sees."""
    import shutil

    path.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(entry) as source, path.open('xb') as target:
        shutil.copyfileobj(source, target, 1 << 20)
