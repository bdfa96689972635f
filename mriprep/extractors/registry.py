"""Every extractor that is installed here, by name.

They are found through the entry-point group ``mriprep.extractors``: another package adds its own
by naming an object that follows `mriprep.extractors.base.Extractor`.
"""

from __future__ import annotations

import functools
from importlib import metadata
from typing import TYPE_CHECKING, cast

from mriprep.extractors.base import ExtractorError

if TYPE_CHECKING:
    from mriprep.extractors.base import Extractor

GROUP = 'mriprep.extractors'


@functools.cache
def _entries() -> dict[str, metadata.EntryPoint]:
    found = {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
    return dict(sorted(found.items()))


def names() -> tuple[str, ...]:
    """Names of the extractors, in alphabetic order."""
    return tuple(_entries())


@functools.cache
def get(name: str) -> Extractor:
    """Return an extractor; its network is not loaded yet.

    Raises
    ------
    ExtractorError
        If there is none of this name, or its package is broken.
    """
    entry = _entries().get(name)
    if entry is None:
        raise ExtractorError(
            f'extractor {name!r} is not installed; installed are {", ".join(names())}'
        )
    try:
        extractor = cast('Extractor', entry.load())
        declared = extractor.facts.name
    except Exception as exc:
        words = ' '.join(str(exc).split()) or type(exc).__name__
        where = entry.dist.name if entry.dist else entry.value
        raise ExtractorError(
            f'extractor {name!r} can not be imported ({words}); repair or remove {where}'
        ) from exc
    if declared != name:
        raise ExtractorError(
            f'extractor {name!r} calls itself {declared!r}; its entry point must have its name'
        )
    return extractor


def version(name: str) -> str:
    """Version of the package that holds an extractor; ``unknown`` where it is not installed."""
    try:
        return metadata.version(get(name).facts.package)
    except metadata.PackageNotFoundError:
        return 'unknown'
