"""What ``participants.tsv`` tells of a head: age and sex."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NUMBER = re.compile(r'(\d+(?:\.\d+)?)\+?')  # BIDS writes 89+ for those above 89
_SEXES = {'m': 'male', 'male': 'male', 'f': 'female', 'female': 'female'}
_LARGEST_AGE = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What the norms of a head depend on; None where it is not known."""

    age_years: float | None = None
    sex: str | None = None  # 'male' or 'female'


def person(row: Mapping[str, str]) -> Person:
    """Read age and sex from a row of ``participants.tsv``; what is not understood is left out.

    Examples
    --------
    >>> person({'age': '89+', 'sex': 'F'})
    Person(age_years=89.0, sex='female')
    >>> person({'age': 'n/a', 'sex': 'o'})
    Person(age_years=None, sex=None)
    """
    values = {name.strip().lower(): str(value).strip().lower() for name, value in row.items()}
    found = _NUMBER.fullmatch(values.get('age', ''))
    age = float(found[1]) if found else None
    return Person(
        age_years=age if age is not None and age <= _LARGEST_AGE else None,
        sex=_SEXES.get(values.get('sex', values.get('gender', ''))),
    )
