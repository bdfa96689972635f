"""Which image of a session stands for each contrast, and which contrast is the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from mriprep.contrasts import Contrast, contrast_of
from mriprep.issues import Issue, Severity
from mriprep.records import ImageRecord
from mriprep.settings import AUTO, ImageSettings
from mriprep.sidecars import natural

_SAME_SIZE_MM = 0.05  # below which two voxel sizes are one
_NORMALIZED = 'norm'  # in the label of ``rec-``: intensities were evened by the scanner
# what runs that can be averaged may differ in
_REPEATED = ('run',)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The image of one contrast of a session, and what became of its other runs."""

    contrast: Contrast
    image: ImageRecord  # the one that is used; of several that are averaged the first
    averaged: tuple[ImageRecord, ...] = ()  # all that are averaged; () for one alone
    left_out: tuple[ImageRecord, ...] = ()
    reason: str = ''  # why this one, where there was a choice

    @property
    def sources(self) -> tuple[ImageRecord, ...]:
        """The images that the result is made from."""
        return self.averaged or (self.image,)

    @property
    def entities(self) -> tuple[tuple[str, str], ...]:
        """Entities of the result: those that all its sources share."""
        shared = set.intersection(*(set(image.entities) for image in self.sources))
        return tuple(pair for pair in self.image.entities if pair in shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is prepared of a session."""

    choices: tuple[Choice, ...]  # the reference first; empty when nothing can be used
    issues: tuple[Issue, ...] = ()
    lost: tuple[Issue, ...] = ()  # of contrasts whose images can't be used, one each


def contrast_in(image: ImageRecord) -> Contrast | None:
    """Name the contrast of an image; None for what is not a plain image of one."""
    if image.set_apart is not None:
        return None
    return contrast_of(image.suffix, dict(image.entities))


def select(images: Sequence[ImageRecord], settings: ImageSettings) -> Selection:
    """Choose the images of one session.

    Parameters
    ----------
    images
        All images of the session, in BIDS order; at least one.
    settings
        Which contrasts are wanted, which is the reference, and whether runs are averaged.

    Returns
    -------
    Selection
        Of several runs the best: the smallest of the largest voxel edge, then the smallest
        voxel, then no agent, ``rec-norm``, no ``acq``, and the first in BIDS order.
    """
    issues: list[Issue] = []
    lost: list[Issue] = []
    present: list[Contrast] = []
    choices: dict[Contrast, Choice] = {}
    for contrast in Contrast:
        if contrast not in settings.contrasts:
            continue
        runs = [image for image in images if contrast_in(image) is contrast]
        usable = [image for image in runs if image.usable]
        present += [contrast] if runs else []
        if usable:
            choices[contrast] = _choose(contrast, usable, merge=settings.merge_runs)
        elif runs:
            lost.append(_why_lost(runs))
    if not choices:
        return Selection(choices=(), lost=tuple(lost))
    wanted, reference = _reference(present, choices, settings)
    if wanted is not reference:
        issues.append(
            issue_of(
                choices[reference].image,
                Severity.WARNING,
                f'this session has no usable {wanted} image, so that {reference} is the reference',
                'look for a wrong name or a damaged file, or choose a --reference-contrast',
            )
        )
    issues += [
        _note_of(choice, merge=settings.merge_runs) for choice in choices.values() if choice.reason
    ]
    ordered = [reference, *(contrast for contrast in choices if contrast is not reference)]
    return Selection(
        choices=tuple(choices[contrast] for contrast in ordered),
        issues=tuple(issues),
        lost=tuple(lost),
    )


def issue_of(image: ImageRecord, severity: Severity, problem: str, remedy: str) -> Issue:
    """Tell something of an image."""
    return Issue(
        severity=severity,
        where=image.relative,
        problem=problem,
        remedy=remedy,
        subject=image.subject,
        session=image.session,
    )


def _reference(
    present: Sequence[Contrast], usable: Iterable[Contrast], settings: ImageSettings
) -> tuple[Contrast, Contrast]:
    """Which contrast should be the reference, and which can be."""
    known = tuple(usable)
    wanted = present[0] if settings.reference == AUTO else Contrast(settings.reference)
    return wanted, wanted if wanted in known else known[0]


def _why_lost(runs: Sequence[ImageRecord]) -> Issue:
    """The first reason why no run of a contrast can be used."""
    return next(
        issue for image in runs for issue in image.issues if issue.severity is Severity.ERROR
    )


def _choose(contrast: Contrast, runs: Sequence[ImageRecord], *, merge: bool) -> Choice:
    if len(runs) == 1:
        return Choice(contrast=contrast, image=runs[0])
    finest = _finest(runs)
    best = min(finest, key=_labels)  # the first of equal ones: BIDS order decides last
    averaged: tuple[ImageRecord, ...] = ()
    if merge:
        alike = tuple(image for image in finest if _protocol(image) == _protocol(best))
        averaged = alike if len(alike) > 1 else ()
    used = averaged or (best,)
    return Choice(
        contrast=contrast,
        image=best,
        averaged=averaged,
        left_out=tuple(image for image in runs if image not in used),
        reason=f'{len(averaged)} runs are averaged' if averaged else _reason(best, finest),
    )


def _finest(runs: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Those with the smallest largest edge of a voxel, and of these with the smallest voxel."""
    left = list(runs)
    for size in (_largest_edge_mm, _mean_edge_mm):
        limit = min(map(size, left)) + _SAME_SIZE_MM
        left = [image for image in left if size(image) <= limit]
    return left


def _largest_edge_mm(image: ImageRecord) -> float:
    return max(image.zooms_mm[:3], default=math.inf)


def _mean_edge_mm(image: ImageRecord) -> float:
    """Edge of a cube with the volume of a voxel."""
    zooms = image.zooms_mm[:3]
    return math.prod(zooms) ** (1 / len(zooms)) if zooms else math.inf


def _labels(image: ImageRecord) -> tuple[object, ...]:
    """Sort key that puts the best first, as far as names tell."""
    entities = dict(image.entities)
    return (
        'ce' in entities,
        _NORMALIZED not in entities.get('rec', '').lower(),
        'rec' in entities,
        natural(entities.get('acq', '')),
        natural(entities.get('rec', '')),
    )


def _reason(best: ImageRecord, finest: Sequence[ImageRecord]) -> str:
    if len(finest) == 1:
        return 'it has the best resolution'
    if any(_labels(image) != _labels(best) for image in finest):
        return 'rec-, ce- and acq- labels decide between equal resolutions'
    return 'the first of equal runs'


def _protocol(image: ImageRecord) -> tuple[object, ...]:
    """What runs that can be averaged have in common."""
    return image.stripped, {pair for pair in image.entities if pair[0] not in _REPEATED}


def _note_of(choice: Choice, *, merge: bool) -> Issue:
    """Tell which of several runs are used."""
    remedy = 'choose another with --bids-filter-file' + ('' if merge else ', or --merge-runs')
    if choice.averaged:
        told = f'{len(choice.averaged)} {choice.contrast} images are averaged: '
        told += _names(choice.averaged)
        remedy = ''
    else:
        count = 1 + len(choice.left_out)
        told = f'this one of {count} {choice.contrast} images is used ({choice.reason})'
    left = f'; left out: {_names(choice.left_out)}' if choice.left_out else ''
    return issue_of(choice.image, Severity.NOTE, told + left, remedy)


def _names(images: Iterable[ImageRecord]) -> str:
    return ', '.join(PurePosixPath(image.relative).name for image in images)
