"""BIDS file names taken apart, and the text files that describe images: JSON and TSV.

pybids can read sidecars too, but one that is not JSON stops it for the whole dataset.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mriprep.naming import ENTITY_ORDER

_ORDER = tuple(key for key in ENTITY_ORDER if key not in ('sub', 'ses'))
_LABEL = re.compile('[A-Za-z0-9+]+')


class BidsName(NamedTuple):
    """A file name in parts."""

    entities: dict[str, str]  # in the order of the name
    suffix: str
    regular: bool  # whether every part but the last is key-value, and no key comes twice


def split_name(path: str) -> BidsName:
    """Take a BIDS file name apart; folders before it are ignored.

    Examples
    --------
    >>> split_name('sub-1/anat/sub-1_acq-mprage_T1w.nii.gz')
    BidsName(entities={'sub': '1', 'acq': 'mprage'}, suffix='T1w', regular=True)
    >>> split_name('sub-1_T1w.mgz').suffix
    'T1w'
    """
    *parts, suffix = path.rsplit('/', 1)[-1].split('.', 1)[0].split('_')
    pairs = [part.split('-', 1) for part in parts]
    entities = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    regular = len(entities) == len(parts) and all(map(_LABEL.fullmatch, entities.values()))
    return BidsName(entities, suffix, regular)


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """Sort key that puts 2 before 10.

    Examples
    --------
    >>> sorted(['10', '2', 'b1'], key=natural)
    ['2', '10', 'b1']
    """
    pieces = re.findall(r'\d+|\D+', text)
    return tuple((int(piece), '') if piece.isdecimal() else (10**18, piece) for piece in pieces)


def ordered_entities(entities: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Entities in the order of the BIDS schema, without ``sub`` and ``ses``."""
    rank = {key: place for place, key in enumerate(_ORDER)}
    keys = sorted(set(entities) - {'sub', 'ses'}, key=lambda key: (rank.get(key, 99), key))
    return tuple((key, entities[key]) for key in keys)


def entity_sort_key(entities: Mapping[str, str]) -> tuple[object, ...]:
    """Sort key over names: by each entity in BIDS order, absent before present, 2 before 10."""
    return tuple(natural(entities.get(key, '')) for key in _ORDER)


def sidecar_finder(root: Path) -> Callable[[str], tuple[str, ...]]:
    """Make a function that names the JSON files of an image by the inheritance principle.

    Parameters
    ----------
    root : Path
        Root of the dataset. Each folder below it is listed at most once.

    Returns
    -------
    callable
        From the image's path, relative to ``root``, to paths of JSON files, relative to
        ``root``; a later one overrides an earlier one.
    """

    @cache
    def candidates(folder: str) -> tuple[tuple[str, frozenset[tuple[str, str]], str], ...]:
        try:
            names = sorted(p.name for p in (root / folder).iterdir() if p.suffix == '.json')
        except OSError:  # a folder that only an old database knows
            return ()
        prefix = f'{folder}/' if folder else ''
        parts = [(prefix + name, split_name(name)) for name in names]
        found = [(path, frozenset(part.entities.items()), part.suffix) for path, part in parts]
        return tuple(sorted(found, key=lambda item: len(item[1])))

    def find(image: str) -> tuple[str, ...]:
        name = split_name(image)
        entities = frozenset(name.entities.items())
        folders = image.split('/')[:-1]
        return tuple(
            path
            for depth in range(len(folders) + 1)
            for path, keys, suffix in candidates('/'.join(folders[:depth]))
            if suffix == name.suffix and keys <= entities
        )

    return find


def read_sidecar(path: Path) -> dict[str, object] | None:
    """Content of a JSON file; None when it can't be read or is not a JSON object."""
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def read_participants(root: Path) -> dict[str, dict[str, str]]:
    """Rows of ``participants.tsv`` by subject (without ``sub-``); {} when there is no such table.

    Values stay text; ``n/a`` and empty ones are left out.
    """
    try:
        text = (root / 'participants.tsv').read_text(encoding='utf-8-sig', errors='replace')
    except OSError:
        return {}
    rows = csv.DictReader(text.splitlines(), delimiter='\t', quoting=csv.QUOTE_NONE, restval='')
    table = {}
    for row in rows:
        values = {
            key.strip(): value.strip()
            for key, value in row.items()
            if isinstance(key, str) and isinstance(value, str)
        }
        if subject := values.pop('participant_id', '').removeprefix('sub-'):
            given = {key: value for key, value in values.items() if value not in ('', 'n/a')}
            table[subject] = given
    return table
