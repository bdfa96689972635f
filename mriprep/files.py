"""Write files whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it when the block ends well.

    Whatever happens, no half-written file stands under ``path``, and two processes that write the
    same file don't disturb each other.
    """
    handle, name = tempfile.mkstemp(prefix=f'.{path.name}.', suffix='.part', dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o666 & ~umask)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_text(text: str, path: Path) -> None:
    """Write a UTF-8 text file."""
    with written_whole(path) as beside:
        beside.write_text(text, encoding='utf-8')


def write_json(values: Mapping[str, object], path: Path) -> None:
    """Write a JSON file, indented, keys in the order given."""
    write_text(json.dumps(values, indent=2, ensure_ascii=False) + '\n', path)


def copy_whole(source: Path, path: Path) -> None:
    """Copy the content of a file."""
    with written_whole(path) as beside:
        shutil.copyfile(source, beside)
