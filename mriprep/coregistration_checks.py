"""The guard of a co-registration: whether a pose is believable, and why not.

Numbers are compared with ranges as `mriprep.guard` does for masks. Where the ranges come from is in
docs/coregistration.md.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from mriprep.criteria import RANK, Check, Rule, Status
from mriprep.image_pair import Image, on_voxels, pair_up
from mriprep.mutual_information import NothingSharedError, covered, inverse, moved, transformed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_NEAR, _FAR = 2.0, 4.0  # mm and degrees of the offsets that a pose is compared with
_EVERY = 3  # which point is looked at
_MIRROR_MM = 4.0  # voxels on which a mirror image is tried
_MIRROR_STEPS = 10


def measure(
    reference: Image, moving: Image, matrix: NDArray[np.float64]
) -> dict[str, float | None]:
    """Measure what speaks for and against a pose.

    Parameters
    ----------
    reference : Image
        With its brain.
    moving : Image
        With its own brain, or without.
    matrix : (4, 4) array
        Rigid, reference RAS mm to RAS mm of the other image.

    Returns
    -------
    dict
        By the names of `RULES`; None for what can not be measured.
    """
    assert reference.brain is not None
    brain = transformed(reference.affine, np.argwhere(reference.brain))
    there = transformed(matrix, brain)
    seen = covered(moving.volume.shape, moving.affine, there)
    apart = np.linalg.norm(there - brain, axis=1)
    turn = (np.trace(matrix[:3, :3]) - 1) / 2
    values: dict[str, float | None] = {
        'coverage': float(seen.mean()),
        'overlap': _overlap(reference, moving, matrix),
    }
    values |= _peak(reference, moving, matrix)
    values['mirrored'] = _mirrored(reference, moving, matrix)
    return values | {
        'turn': float(np.degrees(np.arccos(np.clip(turn, -1, 1)))),
        'move': float(apart.mean()),
    }  # fmt: skip


def _overlap(reference: Image, moving: Image, matrix: NDArray[np.float64]) -> float | None:
    """Dice of both brains, where both images reach."""
    from scipy import ndimage

    if moving.brain is None or reference.brain is None:
        return None
    onto = inverse(moving.affine) @ matrix @ reference.affine
    shape = reference.brain.shape
    share = ndimage.affine_transform(
        moving.brain.astype(np.float32), onto, output_shape=shape, order=1
    )
    points = transformed(matrix @ reference.affine, np.argwhere(np.ones(shape, bool)))
    seen = covered(moving.volume.shape, moving.affine, points).reshape(shape)
    first, second = reference.brain & seen, (share > 0.5) & seen
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else None


def _peak(reference: Image, moving: Image, matrix: NDArray[np.float64]) -> dict[str, float | None]:
    """Mutual information at a pose, against that of poses that are a little off."""
    try:
        pair = pair_up(reference, moving, matrix, every=_EVERY)
    except NothingSharedError:
        return {'information': 0.0, 'better_near_by': None, 'fall': None}
    here = pair.information(matrix)
    centre = transformed(matrix, reference.centre_mm[None])[0]
    beside = {}
    for size, axis, sign in product((_NEAR, _FAR), range(6), (1, -1)):
        by = np.zeros(6)
        by[axis] = sign * size
        nats = pair.information(moved(by[:3], by[3:], centre) @ matrix).nats
        beside[size, axis, sign] = nats / here.nats - 1 if here.nats > 0 else 1.0
    return {
        'information': here.normalized,
        'better_near_by': max(beside.values()),
        'fall': -max(change for (size, _, _), change in beside.items() if size == _FAR),
    }


def _mirrored(reference: Image, moving: Image, matrix: NDArray[np.float64]) -> float | None:
    """By how much mutual information changes when the other image is mirrored, and fitted anew."""
    here, there = (on_voxels(image, _MIRROR_MM) for image in (reference, moving))
    swapped = replace(
        there,
        volume=there.volume[::-1],
        shows=there.shows[::-1],
        brain=None if there.brain is None else there.brain[::-1],
    )
    swap = np.diag([-1.0, 1, 1, 1])
    swap[0, 3] = there.volume.shape[0] - 1
    across = np.diag([-1.0, 1, 1, 1])
    across[0, 3] = 2 * reference.centre_mm[0]
    # two reflections, of the image and of the head, are a rigid transform
    pose = there.affine @ swap @ inverse(there.affine) @ matrix @ across
    try:
        nats = []
        for image, start in ((there, matrix), (swapped, pose)):
            pair = pair_up(here, image, start)
            best = start if image is there else pair.climbed(start, steps=_MIRROR_STEPS)
            nats.append(pair.information(best).nats)
    except NothingSharedError:
        return None
    return nats[1] / nats[0] - 1 if nats[0] > 0 else None


def judged(values: Mapping[str, float | None]) -> tuple[Status, tuple[Check, ...]]:
    """Judge numbers by `RULES`; the worst check decides."""
    checks = tuple(rule.judged(values[rule.name]) for rule in RULES if rule.name in values)
    return max((check.status for check in checks), key=lambda status: RANK[status]), checks


def words_of(checks: Sequence[Check]) -> list[str]:
    """Sentences of the checks that are not accepted, the worst first."""
    worst_first = sorted(checks, key=lambda check: -RANK[check.status])
    return [check.words for check in worst_first if check.words]


RULES: tuple[Rule, ...] = (
    Rule(
        name='coverage',
        unit='share',
        accept=(0.95, None),
        believe=(0.10, None),
        low='The image covers only {:.0%} of the brain of the reference: the rest stays without '
        'it.',
        reason='scans of whole heads cover 1.0; halves of brains were still registered to 0.3 mm',
    ),
    Rule(
        name='overlap',
        unit='Dice',
        accept=(0.92, None),
        believe=(None, None),
        low='Its own brain mask and that of the reference overlap by only {:.2f}: one mask is '
        'wrong, or the images do not lie on each other.',
        reason='right poses have 0.97 and more where both masks are right; a mask that is wrong '
        'does not move the pose',
    ),
    Rule(
        name='information',
        unit='share of the entropy',
        accept=(0.040, None),
        believe=(0.012, None),
        low='The two images tell little of each other ({:.3f}): they may not show the same head, '
        'or one is very noisy.',
        reason='right poses have 0.046 (tumour, thick slices) to 0.28, other heads 0.02 to 0.05, '
        'noise 0.003',
    ),
    Rule(
        name='better_near_by',
        unit='change',
        accept=(None, -0.02),
        believe=(None, 0.05),
        high='Shifted by 2 or 4 mm, or turned by as many degrees, the images fit nearly as well or '
        'better ({:+.1%}): the pose is not certain.',
        reason='right poses have -0.025 (tumour, thick slices) to -0.30; other heads -0.03 to '
        '-0.02; poses that are 2 mm off -0.01 and more, 3 mm off 0.01 and more',
    ),
    Rule(
        name='fall',
        unit='share',
        accept=(0.10, None),
        believe=(0.02, None),
        low='Shifted by 4 mm, or turned by 4 degrees, the images still fit nearly as well: mutual '
        'information falls by {:.0%} only, so that the pose is not certain.',
        reason='right poses have 0.11 (tumour, thick slices) to 0.55, other heads 0.07 to 0.13; '
        'poses that are 5 mm off have a better one at that distance',
    ),
    Rule(
        name='mirrored',
        unit='change',
        accept=(None, 0.2),
        believe=(None, None),
        high='With left and right of the other image swapped the two fit better '
        '({:+.0%}): left and right of one of them may be swapped in its header.',
        reason='right poses have 0.09 (tumour) to -0.81, swapped images 0.58 to 3.0',
    ),
    Rule(
        name='turn',
        unit='degrees',
        accept=(None, 15.0),
        believe=(None, None),
        high='The head is turned by {:.0f} degrees against what the headers say: it moved between '
        'the scans, or a header is wrong.',
        reason='within a session heads turn by a few degrees; measured on real scans 0.1 to 0.5',
    ),
    Rule(
        name='move',
        unit='mm',
        accept=(None, 25.0),
        believe=(None, None),
        high='The brain lies {:.0f} mm from where the headers say: it moved between the scans, or '
        'a header is wrong.',
        reason='within a session heads move by a few mm; measured on real scans 0.2 to 2.5',
    ),
)
