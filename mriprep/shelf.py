"""Figures of one session, found by their names and put into blocks, one for each contrast."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mriprep.contrasts import Contrast, contrast_of
from mriprep.sidecars import split_name

if TYPE_CHECKING:
    from mriprep.report import SessionRecord

CAPTIONS = {
    'brain': (
        'Contour of the brain mask over the image. It should follow the surface of the brain: '
        'no skull, eyes or neck inside, no cortex or cerebellum outside. A blue contour is the '
        'mask that it was compared with.'
    ),
    'bias': (
        'The same slices before and after N4, shown in the same grey window, and the field that '
        'was divided out (inside the brain mask). The field should be smooth and show no anatomy; '
        'white matter should be even after the correction.'
    ),
    'histogram': (
        'Intensities in the brain before (grey) and after (black) N4, and outside of it (dashed); '
        'peaks of tissues should become narrower.'
    ),
    'coregistration': (
        'The other contrast, brought to the reference, and the reference in turns: hold the '
        'pointer on the picture, or tap it. Ventricles, sulci and the outline of the brain should '
        'stay in place.'
    ),
    'lesion': (
        'Contour of the lesion mask (red) and of the brain mask (orange) over the image, on '
        'slices where the lesion is.'
    ),
    'registration': (
        'The registered image and the template in turns: hold the pointer on the picture, or tap '
        'it. Ventricles and the outline of the brain should stay in place.'
    ),
}
NOT_MADE = {
    'audit': 'The header audit',
    'brain': 'The picture of the brain mask',
    'guard': 'The verdict on the brain mask',
    'bias': 'The picture of the bias field',
    'histogram': 'The picture of the histograms',
    'coregistration': 'The picture of the co-registration',
    'coregguard': 'The verdict on the co-registration',
    'lesion': 'The picture of the lesion',
    'registration': 'The picture of the registration',
}
OF_OTHERS = ('coregistration', 'coregguard')  # made for each contrast but the reference
IF_GIVEN = ('lesion',)  # made only for some images
PARTS = {'coregistration': OF_OTHERS, 'coregguard': ()}  # what stands together; others alone


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """What one or more figures show."""

    desc: str
    contrast: str  # its label
    space: str = ''  # the template of a registration

    @classmethod
    def of(cls, name: str) -> Slot:
        """Read it from the name of a file."""
        entities, suffix, _ = split_name(name)
        contrast = contrast_of(suffix, entities)
        label = contrast.label if contrast else suffix
        return cls(entities.get('desc', ''), label, entities.get('space', ''))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Figures of one session: those that are there, and those that should be."""

    files: Mapping[Slot, Sequence[Path]]  # in the order of their names
    planned: Sequence[Slot]
    contrasts: Sequence[str]
    reference: str  # '' when it is not known
    reason: str  # why one may be missing
    numbers: Iterator[int]

    @classmethod
    def of(
        cls, figures: Path, record: SessionRecord, reason: str, numbers: Iterator[int]
    ) -> Shelf:
        """Find the figures of a session, and list those that should be there."""
        files: dict[Slot, list[Path]] = {}
        for path in sorted(figures.glob('sub-*')):
            slot = Slot.of(path.name)
            if path.suffix in ('.svg', '.html') and (
                split_name(path.name).entities.get('ses') == record.session
            ):
                files.setdefault(slot, []).append(path)
        named = [Slot.of(name) for name in record.figures]
        order = [contrast.label for contrast in Contrast]
        found = {slot.contrast for slot in (*files, *named) if slot.desc in NOT_MADE}
        others = found - set(record.contrasts)
        ranked = sorted(
            others, key=lambda name: (order.index(name) if name in order else len(order), name)
        )
        contrasts = [*record.contrasts, *ranked] or [Contrast.T1W.label]
        planned = named or list(_expected(record.contrasts or contrasts[:1], record.spaces))
        return cls(
            files=files,
            planned=planned if reason else (),
            contrasts=contrasts,
            reference=record.contrasts[0] if record.contrasts else '',
            reason=reason,
            numbers=numbers,
        )

    def kept(self, desc: str) -> str:
        """Fragments that an earlier run wrote."""
        paths = chain(*(paths for slot, paths in self.files.items() if slot.desc == desc))
        return ''.join(_read(path, self.numbers) for path in paths)

    def heading(self, contrast: str) -> str:
        """Title of the block of one contrast."""
        words = {known.label: known.words for known in Contrast}.get(contrast, contrast)
        role = ' <small>reference</small>' if contrast == self.reference else ''
        return f'<h4 class="contrast">{escape(words)}{role}</h4>'

    def block(self, contrast: str, parts: Sequence[str]) -> str:
        """Figures of one contrast that stand together, those of a template below its name."""
        slots = [
            slot
            for slot in dict.fromkeys((*self.planned, *self.files))
            if slot.contrast == contrast and slot.desc in parts
        ]
        html = ''
        for space in dict.fromkeys(slot.space for slot in slots):
            html += f'<h4>{escape(space)}</h4>' if space else ''
            for part in parts:
                slot = Slot(part, contrast, space)
                html += self._pictures(slot) if slot in slots else ''
        return html

    def _pictures(self, slot: Slot) -> str:
        """What is there, with a title each when there are several; or that it is missing."""
        paths = self.files.get(slot, ())
        titles = _differences([path.name for path in paths])
        html = ''
        for path, title in zip(paths, titles, strict=True):
            if picture := _read(path, self.numbers):
                html += f'<h5>{escape(title)}</h5>{picture}' if title else picture
        if html or slot not in self.planned:
            return html
        return f'<p class="missing">{NOT_MADE[slot.desc]} was not made: {self.reason}.</p>'


def _expected(contrasts: Sequence[str], spaces: Sequence[str]) -> Iterator[Slot]:
    """Figures that every session has, the reference being the first of its contrasts."""
    for desc in NOT_MADE:
        if desc == 'registration':
            yield from (Slot(desc, contrasts[0], space) for space in spaces)
        elif desc not in IF_GIVEN:
            shown = contrasts[1:] if desc in OF_OTHERS else contrasts
            yield from (Slot(desc, contrast) for contrast in shown)


def _differences(names: Sequence[str]) -> list[str]:
    """Tell files of one kind apart by the entities that not all of them have alike.

    >>> _differences(['sub-1_run-1_T1w.svg', 'sub-1_run-2_T1w.svg'])
    ['run-1', 'run-2']
    """
    parts = [set(split_name(name).entities.items()) for name in names]
    shared = set.intersection(*parts) if parts else set()
    return [
        ' '.join(
            f'{key}-{value}'
            for key, value in split_name(name).entities.items()
            if (key, value) not in shared
        )
        for name in names
    ]


def _read(path: Path, numbers: Iterator[int]) -> str:
    """Take a figure or a fragment into the page; '' when the file is broken."""
    text = path.read_text(encoding='utf-8', errors='replace').strip()
    if path.suffix == '.html':
        return text
    start = text.find('<svg')
    if start < 0 or not text.endswith('</svg>'):
        return ''
    # names inside a figure must not meet those of another one on the page
    text = re.sub(r'\b(id="|url\(#|href="#)', rf'\1f{next(numbers)}-', text[start:])
    return f'<figure>{text}</figure>'
