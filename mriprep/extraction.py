"""Find a brain and believe it or not: extract, judge, and try again when in doubt.

The steps are handed in as functions, so that what is done when is told here alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mriprep.criteria import RANK
from mriprep.extractors.base import BrainMap, MapKind, NoBrainError
from mriprep.guard import Check, Status, Verdict
from mriprep.masks import Pieces, clean_brain
from mriprep.settings import GIVEN, STRIPPED
from mriprep.truth import dice

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Two masks that are both doubtful support each other only when they nearly agree: good extractors
# reach a Dice of 0.94 to 0.98 with each other (docs/extractors.md), masks that are wrong in
# different ways stay below 0.9.
_AGREE = 0.90
_DISAGREE = 0.80


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """One extractor, ready to look at images."""

    name: str
    gives: MapKind
    look: Callable[[NDArray[np.float32]], BrainMap]
    from_template: bool = False  # its mask has a template's shape, whatever the image shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one extractor found in an image, and what the guard says of it."""

    extractor: str
    evened: bool  # whether the bias field of the head was removed first
    mask: NDArray[np.bool_]  # (I, J, K)
    probability: NDArray[np.float32] | None  # (I, J, K), where the extractor gives one
    verdict: Verdict
    device: str = ''
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Words for people."""
        return f'{self.extractor} after N4' if self.evened else self.extractor


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The mask that is kept, and the others that were tried."""

    best: Attempt
    others: tuple[Attempt, ...] = ()  # in the order in which they were made
    agreement: float | None = None  # Dice of `best` and `rival`

    @property
    def rival(self) -> Attempt | None:
        """The attempt that `best` is compared with: another extractor's if there is one."""
        return _rival(self.best, self.others)

    @property
    def status(self) -> Status:
        """Whether the mask is believed."""
        return self.best.verdict.status


Judge = Callable[['NDArray[np.bool_]', Pieces | None], Verdict]


def find_brain(
    volume: NDArray[np.float32],
    first: Finder,
    second: Finder | None,
    *,
    judge: Judge,
    even: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    threshold: float = 0.5,
) -> Found:
    """Find the brain; when the guard doubts the mask, try N4 first, then a second extractor.

    Parameters
    ----------
    volume : (I, J, K) float32 array
        Head, RAS axes.
    first, second
        Extractors. A mask that is given is never replaced by another, only compared.
    judge
        Says what the guard thinks of a mask; its second argument tells what cleaning changed, None
        for a mask that is given.
    even
        Removes the bias field of a head without knowing the brain.
    threshold
        Probability above which a voxel is brain.

    Returns
    -------
    Found
        Its best attempt may be refused: that is for the caller to act upon.
    """
    attempts: list[Attempt] = []
    for attempt in _attempts(volume, first, second, judge, even, threshold):
        attempts.append(attempt)
        if attempt.verdict.status is Status.ACCEPT:
            break
    best = attempts[0] if first.name == GIVEN else min(attempts, key=_rank)
    others = tuple(attempt for attempt in attempts if attempt is not best)
    if second is not None and second.from_template and best.extractor == second.name:
        best = replace(best, verdict=_supported(best, others))
    rival = _rival(best, others)
    agreement = None
    if rival is not None and best.mask.any() and rival.mask.any():
        agreement = dice(best.mask, rival.mask)
    if rival is not None and agreement is not None and rival.extractor != best.extractor:
        best = replace(best, verdict=_compared(best, rival, agreement))
    return Found(best=best, others=others, agreement=agreement)


def _attempts(
    volume: NDArray[np.float32],
    first: Finder,
    second: Finder | None,
    judge: Judge,
    even: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    threshold: float,
) -> Iterator[Attempt]:
    """Try one way after another, for as long as the caller asks for more."""
    yield _attempt(volume, first, judge, threshold)
    computed = first.name not in (GIVEN, STRIPPED)
    if computed:
        volume = even(volume)
        yield replace(_attempt(volume, first, judge, threshold), evened=True)
    if second is not None:
        yield replace(_attempt(volume, second, judge, threshold), evened=computed)


def _attempt(
    volume: NDArray[np.float32], finder: Finder, judge: Judge, threshold: float
) -> Attempt:
    given = finder.name == GIVEN
    try:
        found = finder.look(volume)
        values = found.values
        if not (values > threshold).any():
            raise NoBrainError('no voxel is brain')
    except NoBrainError as exc:
        nothing = np.zeros(volume.shape, dtype=bool)
        return Attempt(
            extractor=finder.name,
            evened=False,
            mask=nothing,
            probability=None,
            verdict=judge(nothing, None),
            remarks=(' '.join(str(exc).split()),),
        )
    mask, pieces = (values > threshold, None) if given else clean_brain(values, threshold)
    return Attempt(
        extractor=finder.name,
        evened=False,
        mask=mask,
        probability=values if finder.gives is MapKind.PROBABILITY and not given else None,
        verdict=judge(mask, pieces),
        device=found.device,
        remarks=found.remarks,
    )


def _rank(attempt: Attempt) -> tuple[bool, int, int, int]:
    """Order attempts by how much they are believed, the best first; empty masks come last."""
    states = [check.status for check in attempt.verdict.checks]
    return (
        not attempt.mask.any(),
        RANK[attempt.verdict.status],
        states.count(Status.REFUSED),
        states.count(Status.DOUBTFUL),
    )


def _rival(best: Attempt, others: tuple[Attempt, ...]) -> Attempt | None:
    different = [other for other in others if other.extractor != best.extractor]
    return min(different or others, key=_rank, default=None)


def _supported(best: Attempt, others: tuple[Attempt, ...]) -> Verdict:
    """Doubt a mask of a template's shape that no other mask supports.

    Its shape says nothing of the image, so that half of the checks can't fail.
    """
    refused = [other for other in others if other.verdict.status is Status.REFUSED]
    status = Status.DOUBTFUL if len(refused) == len(others) else Status.ACCEPT
    check = Check(
        name='support',
        value=float(len(others) - len(refused)),
        unit='masks',
        accept=(1, None),
        believe=(None, None),
        status=status,
        words=''
        if status is Status.ACCEPT
        else f'Only {best.name} found what may be a brain, and its mask has the shape of one anyway.',
        reason='the mask of a template has the shape of a brain, whatever the image shows',
    )
    return _with(best.verdict, check)


def _compared(best: Attempt, rival: Attempt, agreement: float) -> Verdict:
    """Add to a verdict how well another extractor agrees.

    Where the rival is believed less, its disagreement says nothing against a mask that is
    accepted.
    """
    status = Status.ACCEPT
    if best.verdict.status is not Status.ACCEPT and agreement < _AGREE:
        status = Status.DOUBTFUL if agreement >= _DISAGREE else Status.REFUSED
    check = Check(
        name='agreement',
        value=round(agreement, 4),
        unit='Dice',
        accept=(_AGREE, None),
        believe=(_DISAGREE, None),
        status=status,
        words=''
        if status is Status.ACCEPT
        else f'{best.name} and {rival.name} do not agree (Dice {agreement:.2f}).',
        reason='masks of good extractors overlap by 0.94 and more',
    )
    return _with(best.verdict, check)


def _with(verdict: Verdict, check: Check) -> Verdict:
    """Add a check, which may make a verdict worse and never better."""
    worst = max(verdict.status, check.status, key=lambda status: RANK[status])
    return replace(verdict, status=worst, checks=(*verdict.checks, check))
