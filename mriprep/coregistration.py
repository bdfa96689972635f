"""The pose of another contrast against the reference of its session: arrays in, a matrix out.

What is asked for is the rigid transform under which the two images tell most of each other in and
just around the brain. It is searched on 6 mm voxels, from the header and from the centres of the
brain masks, then climbed on 4 and 2 mm. What the guard does not believe is searched again from
many poses. Nothing is random, and nothing depends on the number of threads.

What was measured, against ANTs too, is in docs/coregistration.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mriprep.coregistration_checks import judged, measure, words_of
from mriprep.criteria import RANK, Check, Status
from mriprep.image_pair import Image, prepare
from mriprep.mutual_information import NothingSharedError
from mriprep.pose_search import Attempt, find_pose

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ['Coregistration', 'coregister', 'judge_pose']

_WORTH_ANOTHER = {'information', 'better_near_by', 'fall'}  # checks whose doubt asks for a search
_SHARP = 0.3  # fall that needs no support by masks, which may be wrong
_BETTER = 1.01  # times the score of the first pose


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coregistration:
    """A pose, and what the guard says of it."""

    matrix: NDArray[np.float64]  # (4, 4), rigid: reference RAS mm to RAS mm of the other image
    status: Status
    checks: tuple[Check, ...]
    attempts: tuple[Attempt, ...] = ()  # the one that led to the pose first
    searched_widely: bool = False
    trouble: str = ''  # why there is no pose

    @property
    def values(self) -> dict[str, float | None]:
        """What was measured, by the names of the checks."""
        return {check.name: check.value for check in self.checks}

    def record(self) -> dict[str, object]:
        """Describe the pose for JSON."""
        reasons = [self.trouble] if self.trouble else []
        return {
            'status': self.status.value,
            'reasons': reasons + words_of(self.checks),
            'checks': [check.record() for check in self.checks],
            'searched_widely': self.searched_widely,
            'attempts': [
                {'start': attempt.start, 'score': round(attempt.score, 4)}
                for attempt in self.attempts
            ],
        }

    def metadata(self) -> dict[str, object]:
        """Describe the pose for the sidecar of a transform."""
        values, start = self.values, self.attempts[0].start if self.attempts else None
        out = {
            'TransformType': 'rigid',
            'Metric': 'mutual information',
            'Start': start,
            'NormalizedMutualInformation': _rounded(values.get('information')),
            'MaskOverlapDice': _rounded(values.get('overlap')),
            'ReferenceBrainCovered': _rounded(values.get('coverage')),
            'Verdict': self.status.value,
        }
        return {key: value for key, value in out.items() if value is not None}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def coregister(
    reference: NDArray[np.floating],
    reference_affine: NDArray[np.floating],
    reference_mask: NDArray[np.bool_],
    moving: NDArray[np.floating],
    moving_affine: NDArray[np.floating],
    moving_mask: NDArray[np.bool_] | None = None,
) -> Coregistration:
    """Register another contrast rigidly to the reference.

    Parameters
    ----------
    reference : (I, J, K) float array
        Head or brain, finite, any contrast.
    reference_affine, moving_affine : (4, 4) array
        Voxel indices to RAS mm; may be oblique and anisotropic.
    reference_mask : (I, J, K) bool array
        Its brain.
    moving : (L, M, N) float array
        The same head in another contrast; slices may be thick, and parts may be missing.
    moving_mask : (L, M, N) bool array, optional
        Its own brain. It gives one more start and one more check; a wrong one does no harm.

    Raises
    ------
    ValueError
        If shapes of an image and its mask differ, or the mask of the reference is empty.
    """
    for name, image, mask in (
        ('reference', reference, reference_mask), ('other image', moving, moving_mask),
    ):  # fmt: skip
        if mask is not None and image.shape != mask.shape:
            raise ValueError(f'{name} {image.shape} and its mask {mask.shape} differ in shape')
    here = prepare(reference, reference_affine, reference_mask, crop=True)
    there = prepare(moving, moving_affine, moving_mask)
    first = _found(here, there, widely=False)
    if not _worth_another(first[1]):
        return first[1]
    second = _found(here, there, widely=True)
    best = second if second[0] > _BETTER * first[0] else first
    tried = (*best[1].attempts, *(first if best is second else second)[1].attempts)
    return replace(best[1], attempts=tried, searched_widely=True)


def _worth_another(found: Coregistration) -> bool:
    """Whether a pose is so doubtful that others are looked for."""
    doubted = {check.name for check in found.checks if check.status is not Status.ACCEPT}
    fall = found.values.get('fall')
    blunt = fall is None or fall < _SHARP
    return not doubted.isdisjoint(_WORTH_ANOTHER) or ('overlap' in doubted and blunt)


def judge_pose(
    reference: Image, moving: Image, matrix: NDArray[np.float64]
) -> tuple[Status, tuple[Check, ...]]:
    """Judge any rigid transform between two images, from wherever it comes.

    Parameters
    ----------
    reference, moving : Image
        From `mriprep.image_pair.prepare`; the reference with its brain.
    matrix : (4, 4) array
        Reference RAS mm to RAS mm of the other image.
    """
    return judged(measure(reference, moving, matrix))


def _found(reference: Image, moving: Image, *, widely: bool) -> tuple[float, Coregistration]:
    """Search, and judge; with the score of the pose."""
    try:
        pose = find_pose(reference, moving, widely=widely)
    except NothingSharedError as error:
        status, checks = judged({'information': 0.0})
        assert RANK[status] == RANK[Status.REFUSED]
        words = str(error)
        nothing = Coregistration(
            matrix=np.eye(4),
            status=status,
            checks=checks,
            trouble=f'{words[0].upper()}{words[1:]}.',
        )
        return 0.0, nothing
    status, checks = judge_pose(reference, moving, pose.matrix)
    found = Coregistration(
        matrix=pose.matrix, status=status, checks=checks, attempts=pose.attempts
    )
    return pose.score, found
