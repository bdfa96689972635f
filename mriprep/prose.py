"""Steps to methods text and citations, ready to paste into a manuscript.

The text is written with ``[@key]`` where a work is cited, as pandoc does; `resolved` turns these
into author and year, and lists the works.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from mriprep.settings import GIVEN
from mriprep.tables import StepLike

WAIVER = (
    'This text was written by *mriprep* so that it can be copied into a manuscript unchanged. '
    'It is released under the [CC0](https://creativecommons.org/publicdomain/zero/1.0/) licence.'
)

_CITED = re.compile(r'\[((?:@\w+(?:; )?)+)\]')
_LETTERS = {'ä': r'\"a', 'ë': r'\"e', 'é': r'\'e', 'ö': r'\"o', 'ü': r'\"u', '&': r'\&'}
_FONOV = 'fonov2011', 'fonov2009'
_TEMPLATES = {
    'MNI152NLin2009': _FONOV,
    'MNIPediatric': _FONOV,
    'MNIInfant': ('fonov2009',),
    'MNI152NLin6': ('evans2012',),
}
EMBEDDED = 'MNI152NLin2009aSym'  # comes with nilearn; every other template from TemplateFlow


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


def methods_text(steps: Iterable[StepLike], versions: Mapping[str, str]) -> str:
    """Tell what was done, as Markdown with citations resolved.

    Parameters
    ----------
    steps : iterable of StepLike
        Steps of the plan, in order; equal ones (of other sessions) are told once.
    versions : mapping of str to str
        Tool to version; ``mriprep`` and ``nipype`` are told.
    """
    return resolved(_draft(steps, versions))


def methods_bibliography(steps: Iterable[StepLike], versions: Mapping[str, str]) -> str:
    """BibTeX of the works that `methods_text` cites."""
    return bibliography(citations(_draft(steps, versions)))


def _draft(steps: Iterable[StepLike], versions: Mapping[str, str]) -> str:
    """Methods text with unresolved citations."""
    grouped: dict[str, list[StepLike]] = {}
    for step in steps:
        group = grouped.setdefault(str(step.name), [])
        if step not in group:
            group.append(step)
    told = [_SENTENCES[name](group) for name, group in grouped.items() if name in _SENTENCES]
    return (
        '### Structural MRI preprocessing\n\n'
        f'{" ".join([_opening(versions), *told])}\n\n{_closing()}\n\n{WAIVER}'
    )


def _opening(versions: Mapping[str, str]) -> str:
    return (
        f'T1-weighted (T1w) images, organised in BIDS [@gorgolewski2016] and queried with PyBIDS '
        f'[@yarkoni2019], were preprocessed with *mriprep*{_version(versions.get("mriprep"))}, '
        f'which is based on *Nipype*{_version(versions.get("nipype"))} [@gorgolewski2011].'
    )


def _closing() -> str:
    return (
        'Images were read and written with NiBabel [@brett_nibabel]. The visual report was made '
        'with NiReports, a part of the NiPreps family [@esteban2019].'
    )


def _version(version: str | None) -> str:
    return f' {version}' if version and version != 'unknown' else ''


def _tool(step: StepLike) -> str:
    return f'`{step.tool}`{_version(step.version)}'


def _conform(steps: Sequence[StepLike]) -> str:
    return (
        'The header of each image was checked, and its voxels were reordered to right-anterior-'
        'superior axes without interpolation.'
    )


_EXTRACTORS = {
    'deepbet': 'a convolutional network, *deepbet*{version} [@fisch2024]',
    'hd-bet': 'a convolutional network, *HD-BET*{version} [@isensee2019; @isensee2021]',
    'synthstrip': 'a convolutional network, *SynthStrip*{version} [@hoopes2022]',
    'template': 'an affine fit of tissue labels of the ICBM 2009 template [@fonov2011; @fonov2009] '
    'by mutual information [@wells1996], as implemented in *mriprep*{version}',
}


def _extractor_words(name: str, version: str) -> str:
    """Name an extractor with its works; those of other packages by name alone."""
    return _EXTRACTORS.get(name, f'*{name}*{{version}}').format(version=_version(version))


def _extract(steps: Sequence[StepLike]) -> str:
    return ' '.join(dict.fromkeys(_extract_one(step) for step in steps))


def _extract_one(step: StepLike) -> str:
    threshold = step.parameters.get('mask_threshold')
    second = str(step.parameters.get('second') or '')
    guarded = 'Each mask was checked for volume, shape, position and contrast at its border'
    if step.tool == GIVEN:
        told = 'Brain masks were given.'
        if second:
            words = _extractor_words(*_name_and_version(second))
            guarded += f'; a doubtful one was compared with a mask from {words}'
        return f'{told} {guarded}.'
    kept = f', keeping voxels with a brain probability above {threshold}' if threshold else ''
    averaged = ''
    if step.parameters.get('test_time_augmentation'):
        averaged = ', averaging over mirrored images'
    told = f'The brain was extracted with {_extractor_words(step.tool, step.version)}'
    guarded += '; a doubtful one was made again after a correction of the whole head with N4'
    if second:
        guarded += f', and then with {_extractor_words(*_name_and_version(second))}'
    return f'{told}{averaged}{kept}. {guarded}.'


def _name_and_version(text: str) -> tuple[str, str]:
    name, _, version = text.partition(' ')
    return name, version


def _bias(steps: Sequence[StepLike]) -> str:
    step = steps[0]
    told = {
        'fit_voxel_mm': 'fitted to samples {} mm apart',
        'spline_distance_mm': 'knots of the coarsest mesh {} mm apart',
        'iterations': '{} iterations',
        'convergence': 'convergence threshold {}',
    }
    values = ', '.join(
        words.format(_value(step.parameters[key]))
        for key, words in told.items()
        if key in step.parameters
    )
    return (
        'Intensity non-uniformity was estimated inside the brain mask and removed with N4 '
        f'[@tustison2010], {_tool(step)}, distributed with ANTs'
        f'{f" ({values})" if values else ""}.'
    )


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return '×'.join(str(item) for item in value)
    return f'{value:g}' if isinstance(value, float) else str(value)


def _register(steps: Sequence[StepLike]) -> str:
    step = steps[0]
    kinds = {
        'rigid': 'a rigid transform',
        'affine': 'an affine transform',
        'syn': 'an affine transform followed by a symmetric diffeomorphic one (SyN) [@avants2008]',
    }
    transform = str(step.parameters.get('transform', ''))
    metric = str(step.parameters.get('metric', '')) or 'mutual information'
    spaces = [step.space for step in steps if step.space]
    return (
        f'The brain was registered to {_joined([_template(space) for space in spaces])} with '
        f'{kinds.get(transform, "a transform")}, maximising {metric}, using '
        f'{_tool(step)} (ANTs) [@avants2011; @avants2014].'
    )


def _template(space: str) -> str:
    """Name a template and cite it.

    >>> _template('MNIPediatricAsym+3')
    '*MNIPediatricAsym*, cohort 3 [@fonov2011; @fonov2009], from TemplateFlow [@ciric2022]'
    """
    name, _, cohort = space.partition('+')
    keys = next((keys for start, keys in _TEMPLATES.items() if name.startswith(start)), ())
    cited = f' [{"; ".join(f"@{key}" for key in keys)}]' if keys else ''
    source = 'from TemplateFlow [@ciric2022]'
    if name == EMBEDDED:
        source = 'as distributed with nilearn [@abraham2014]'
    return f'*{name}*{f", cohort {cohort}" if cohort else ""}{cited}, {source}'


def _joined(items: Sequence[str]) -> str:
    """List in words.

    >>> _joined(['a']), _joined(['a', 'b']), _joined(['a', 'b', 'c'])
    ('a', 'a and b', 'a; b; and c')
    """
    if len(items) < 3:
        return ' and '.join(items) or 'the template'
    return '; '.join([*items[:-1], f'and {items[-1]}'])


def _resample(steps: Sequence[StepLike]) -> str:
    step = steps[0]
    kind = step.parameters.get('images', step.parameters.get('interpolation'))
    masks = step.parameters.get('masks')
    how = ', '.join(
        f'{kind_of} with {named} interpolation'
        for kind_of, named in (('images', kind), ('masks', masks))
        if named
    )
    return (
        'Each image was brought to the grid of each template with a single interpolation from its '
        f'own grid{f" ({how})" if how else ""}, using {_tool(step)}.'
    )


def _normalize(steps: Sequence[StepLike]) -> str:
    if steps[0].parameters.get('method', 'zscore') != 'zscore':
        return f'Intensities were normalised ({steps[0].parameters["method"]}).'
    return (
        'Intensities were standardised to mean 0 and standard deviation 1 over the voxels of the '
        'brain mask [@reinhold2019].'
    )


_SENTENCES: Mapping[str, Callable[[Sequence[StepLike]], str]] = {
    'conform': _conform,
    'extract': _extract,
    'bias': _bias,
    'register': _register,
    'resample': _resample,
    'normalize': _normalize,
}
