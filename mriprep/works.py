"""Works that are cited: references, author and year in a text, BibTeX.

A text is written with ``[@key]`` where a work is cited, as pandoc does; `resolved` turns these
into author and year, and lists the works.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

_CITED = re.compile(r'\[((?:@\w+(?:; )?)+)\]')
_LETTERS = {'ä': r'\"a', 'ë': r'\"e', 'é': r'\'e', 'ö': r'\"o', 'ü': r'\"u', '&': r'\&'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A work that is cited."""

    key: str
    authors: tuple[str, ...]  # 'Family, Given'; the last may be 'others'
    title: str
    doi: str
    year: int | None = None  # None: software without one edition
    journal: str = ''
    volume: str = ''
    number: str = ''
    pages: str = ''
    publisher: str = ''

    @property
    def short(self) -> str:
        """Author and year, such as ``Tustison et al., 2010``."""
        names = [author.split(',')[0] for author in self.authors]
        who = names[0] if len(names) == 1 else ' and '.join(names)
        if len(names) > 2 or 'others' in names:
            who = f'{names[0]} et al.'
        return f'{who}, {self.year or "n.d."}'

    @property
    def full(self) -> str:
        """Entry of the reference list, Markdown."""
        names = ['et al.' if author == 'others' else _initials(author) for author in self.authors]
        where = f' *{self.journal or self.publisher}*'
        if self.volume:
            where += f' {self.volume}' + (f'({self.number})' if self.number else '')
        where += f':{self.pages.replace("-", "–")}' if self.pages else ''
        link = f'https://doi.org/{self.doi.replace("(", "%28").replace(")", "%29")}'
        names_told = ', '.join(names).rstrip('.')
        return (
            f'{names_told}. ({self.year or "n.d."}). {self.title}.{where}. '
            f'[doi:{self.doi}]({link})'
        )

    @property
    def bibtex(self) -> str:
        """Entry of a BibTeX file."""
        fields = {
            'author': ' and '.join(self.authors),
            'title': f'{{{self.title}}}',
            'journal': self.journal,
            'year': str(self.year or ''),
            'volume': self.volume,
            'number': self.number,
            'pages': self.pages.replace('-', '--'),
            'publisher': self.publisher,
            'doi': self.doi,
        }
        kind = 'article' if self.journal else 'misc'
        rows = [f'  {name} = {{{_latex(text)}}}' for name, text in fields.items() if text]
        return f'@{kind}{{{self.key},\n' + ',\n'.join(rows) + '\n}\n'


def _initials(author: str) -> str:
    """Shorten given names.

    >>> _initials('de la Vega, Alejandro'), _initials('Avants, Brian B.')
    ('de la Vega A', 'Avants BB')
    """
    family, _, given = author.partition(', ')
    return f'{family} {"".join(word[0] for word in given.split())}'


def _latex(text: str) -> str:
    return ''.join(_LETTERS.get(letter, letter) for letter in text)


@cache
def references() -> Mapping[str, Reference]:
    """Every work that the text may cite, by key."""
    import tomllib
    from importlib.resources import files

    text = files('mriprep').joinpath('data', 'references.toml').read_text(encoding='utf-8')
    return {
        key: Reference(key=key, **{**entry, 'authors': tuple(entry['authors'])})
        for key, entry in tomllib.loads(text).items()
    }


def citations(text: str) -> tuple[str, ...]:
    """Keys cited in a text, in the order of their first mention.

    >>> citations('N4 [@tustison2010] in Nipype [@gorgolewski2011; @tustison2010]')
    ('tustison2010', 'gorgolewski2011')
    """
    keys = [key for group in _CITED.findall(text) for key in re.findall(r'@(\w+)', group)]
    return tuple(dict.fromkeys(keys))


def resolved(text: str) -> str:
    """Replace ``[@key]`` by author and year, and append the list of works.

    Raises
    ------
    KeyError
        If a key is not in ``data/references.toml``.
    """
    works = references()

    def cited(match: re.Match[str]) -> str:
        keys = re.findall(r'@(\w+)', match[1])
        return f'({"; ".join(works[key].short for key in keys)})'

    listed = sorted((works[key] for key in citations(text)), key=lambda work: work.short)
    entries = '\n'.join(f'- {work.full}' for work in listed)
    return f'{_CITED.sub(cited, text)}\n\n### References\n\n{entries}\n'


def bibliography(keys: Iterable[str]) -> str:
    """BibTeX of the works with these keys, in alphabetic order of the keys."""
    works = references()
    return '\n'.join(works[key].bibtex for key in sorted(set(keys)))
