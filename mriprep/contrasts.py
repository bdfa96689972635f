"""Contrasts: which images of a session are prepared, and what each is called in names and words."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Contrast(StrEnum):
    """What an image shows, in the order in which a reference is looked for."""

    T1W = 'T1w'
    CE_T1W = 'ce-T1w'
    T2W = 'T2w'
    FLAIR = 'FLAIR'
    PDW = 'PDw'

    @property
    def suffix(self) -> str:
        """BIDS suffix of its files."""
        return self.value.removeprefix('ce-')

    @property
    def label(self) -> str:
        """Name of its grid in the entities ``space-``, ``from-`` and ``to-``.

        >>> Contrast.CE_T1W.label, Contrast.FLAIR.label
        ('ceT1w', 'FLAIR')
        """
        return self.value.replace('-', '')

    @property
    def words(self) -> str:
        """Name for people.

        >>> Contrast.CE_T1W.words
        'T1w with contrast agent'
        """
        return 'T1w with contrast agent' if self is Contrast.CE_T1W else self.value


SUFFIXES = tuple(dict.fromkeys(contrast.suffix for contrast in Contrast))


def contrast_of(suffix: str, entities: Mapping[str, str]) -> Contrast | None:
    """Name the contrast of an image; None for a suffix that is not prepared.

    An agent makes a T1w another contrast, and leaves the others what they are.

    >>> contrast_of('T1w', {'ce': 'gadolinium'}), contrast_of('bold', {})
    (<Contrast.CE_T1W: 'ce-T1w'>, None)
    """
    if suffix == Contrast.T1W.suffix:
        return Contrast.CE_T1W if 'ce' in entities else Contrast.T1W
    return Contrast(suffix) if suffix in SUFFIXES else None
