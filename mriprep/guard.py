"""The guard of the brain mask: whether a mask of a head is believable, and why not.

Each check compares one number with two ranges: within the first it is accepted, within the second
doubted, beyond it refused. The worst check decides. Where the ranges come from, and what they catch
on masks broken on purpose, is in docs/guard.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mriprep.criteria import LEAST_POINTS, RANK, RULES, Check, Range, Rule, Status
from mriprep.masks import bounding_box

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mriprep.atlas import Atlas
    from mriprep.masks import Pieces

__all__ = ['Check', 'Status', 'Verdict', 'judge', 'measure', 'rules_for', 'verdict_of']

_LEAST_ML = 20.0  # a tenth of a newborn's brain: nothing to compare with a template
_WHITE_BRIGHT = 0.05  # logarithm by which white matter outshines grey matter in T1w
_WHITE_BRIGHT_MM = -1.1  # by which the edge lies deeper there: cortex and fluid are both darker


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the guard says of a mask."""

    status: Status
    checks: tuple[Check, ...]
    volume_ml: float

    @property
    def reasons(self) -> tuple[str, ...]:
        """Sentences of the checks that are not accepted, the worst first."""
        worst_first = sorted(self.checks, key=lambda check: -RANK[check.status])
        return tuple(check.words for check in worst_first if check.words)


def judge(
    volume: NDArray[np.floating],
    affine: NDArray[np.floating],
    mask: NDArray[np.bool_],
    *,
    atlas: Atlas,
    age_years: float | None = None,
    sex: str | None = None,
    pieces: Pieces | None = None,
) -> Verdict:
    """Judge whether a mask may be the brain of a head image.

    Parameters
    ----------
    volume : (I, J, K) float array
        Head, whole or stripped, T1w (with agent or without), T2w or FLAIR; RAS axes, arbitrary
        units, finite.
    affine : (4, 4) array
        Voxel indices to RAS mm; may be oblique.
    mask : (I, J, K) bool array
        Brain.
    atlas : Atlas
        Brain of a template; see `mriprep.atlas.load_atlas`.
    age_years : float, optional
        Of the subject; see `mriprep.norms.brain_volume_range`.
    sex : str, optional
        ``M`` or ``F``; anything else means either.
    pieces : Pieces, optional
        What cleaning changed, from `mriprep.masks.clean_brain`.

    Raises
    ------
    ValueError
        If the shapes differ, or the age can't be.
    """
    if volume.shape != mask.shape:
        raise ValueError(f'volume {volume.shape} and mask {mask.shape} differ in shape')
    mask = np.asarray(mask, bool)
    matrix: NDArray[np.float64] = np.asarray(affine, np.float64)
    voxel_ml = abs(float(np.linalg.det(matrix[:3, :3]))) / 1000
    volume_ml = float(np.count_nonzero(mask)) * voxel_ml
    values: dict[str, float | None] = {'volume': volume_ml}
    if pieces is not None:
        values['largest_before_cleaning'] = pieces.largest_share
        values['filled_before_cleaning'] = pieces.filled_share
    if volume_ml >= _LEAST_ML:
        values |= measure(volume, matrix, mask, atlas)
    return verdict_of(values, rules_for(values, age_years, sex))


def verdict_of(values: Mapping[str, float | None], rules: tuple[Rule, ...]) -> Verdict:
    """Judge numbers; a rule without its number is left out, and a number without a rule too.

    ``doubts``, the number of checks that doubt, is counted here.
    """
    checks = [rule.judged(values[rule.name]) for rule in rules if rule.name in values]
    doubts = sum(check.status is Status.DOUBTFUL for check in checks)
    checks += [rule.judged(float(doubts)) for rule in rules if rule.name == 'doubts']
    worst = max((check.status for check in checks), key=lambda status: RANK[status])
    return Verdict(status=worst, checks=tuple(checks), volume_ml=values['volume'] or 0.0)


def rules_for(
    values: Mapping[str, float | None], age_years: float | None = None, sex: str | None = None
) -> tuple[Rule, ...]:
    """Rules for a mask, whose volume depends on the person and whose edge on the contrast."""
    contrast = values.get('white_contrast')
    rules: tuple[Rule, ...] = RULES
    if contrast is not None and contrast > _WHITE_BRIGHT:
        rules = tuple(_moved(rule) if rule.name == 'edge_offset' else rule for rule in RULES)
    return (_volume_rule(age_years, sex), *rules)


def measure(
    volume: NDArray[np.floating],
    affine: NDArray[np.float64],
    mask: NDArray[np.bool_],
    atlas: Atlas,
) -> dict[str, float | None]:
    """Measure all that the checks ask for, and ``white_contrast``; see `judge`."""
    from mriprep import border, likeness, shape

    box = bounding_box(mask)
    coarse = shape.blocks(mask, affine, box)
    surface = shape.surface_points(coarse)
    out: dict[str, float | None] = {
        'largest_piece': shape.largest_share(coarse),
        'holes': shape.holes_ml(coarse),
        'roughness': shape.roughness(mask[box], affine),
        'cut_by_image': shape.cut_share(mask, box),
        'surface': float(len(surface.points_mm)),
    }
    if len(surface.points_mm) < LEAST_POINTS:
        return out
    distance = shape.signed_distance(coarse.share, coarse.spacing_mm)
    fit = likeness.fit_to_atlas(coarse, distance, surface, atlas)
    left = likeness.compare(coarse, surface, atlas, fit)
    tissue = likeness.explained(coarse.averaged(volume), coarse, distance, atlas, fit)
    edge = border.find_border(volume, affine, surface)
    return out | {
        'template_scale': fit.scale,
        'template_stretch': fit.stretch,
        'template_turn': fit.turn_deg,
        'template_dice': left.dice,
        'template_distance': left.distance_mm,
        'protrusion': left.protrusion_ml,
        'deficit': left.deficit_ml,
        'symmetry': left.symmetry,
        'tissue': tissue.share,
        'tissue_advantage': tissue.advantage,
        'white_contrast': tissue.white_contrast,
        'edge_offset': edge.offset_mm,
        'edge_shift': edge.shift_mm,
        'edge_disagreement': edge.rough_mm,
        'edge_seen': edge.seen_share,
    }


def _volume_rule(age_years: float | None, sex: str | None) -> Rule:
    """Rule for the volume, from norms."""
    from mriprep.norms import brain_volume_range

    limits = brain_volume_range(age_years, sex)
    person = 'this age and sex' if age_years is not None and sex else 'this age'
    whom = person if age_years is not None else 'anyone beyond early childhood (no age is known)'
    return Rule(
        name='volume',
        unit='ml',
        accept=limits.accept,
        believe=limits.believe,
        low=f'The mask holds {{:.0f}} ml, too little for {whom}: parts of the brain may be missing.',
        high=f'The mask holds {{:.0f}} ml, too much for {whom}: it may hold more than brain.',
        reason='published volumes of brain and skull by age and sex, 3 and 3.5 SD beyond '
        '(doubt), 4.5 and 7 SD (refusal), where an SD is 10 %',
    )


def _moved(rule: Rule) -> Rule:
    def move(limits: Range) -> Range:
        low, high = ((None if end is None else round(end + _WHITE_BRIGHT_MM, 3)) for end in limits)
        return low, high

    return replace(rule, accept=move(rule.accept), believe=move(rule.believe))
