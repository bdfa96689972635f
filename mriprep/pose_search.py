"""Where a scan lies against another one of the same head: a search on 6 mm voxels, then a climb."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from mriprep.image_pair import (
    FINE_MM,
    RIM_MM,
    WIDE_RIM_MM,
    Image,
    mean_distance,
    near_brain,
    on_voxels,
    pair_up,
)
from mriprep.mutual_information import NothingSharedError, inverse, limits_of, moved, transformed

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUGH_MM = 6.0
_ROUNDS = 2  # of each level, its points chosen anew
_ROUNDS_APART_MM = 0.3  # unless the first moved the brain by less
_ROUGH_LEVELS = 20  # of intensity
_ROUGH_EVERY = 3  # which point is looked at
_ROUGH_STEPS = (10.0, 5.0, 2.5)  # mm and degrees
_ROUGH_ROUNDS = 8
_FEWEST_POINTS = 50
_TURN_DEG = 15.0  # about each axis, that are tried beside a start
_WIDE_DEG, _SHIFT_MM = 30.0, 25.0  # in the wide search
_CLIMBERS, _CLIMBERS_WIDELY = 3, 8  # starts that are followed
_REFINED_WIDELY = 2  # of these
_APART_MM = 8.0  # by which they differ


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """What is climbed on voxels of one size."""

    voxel_mm: float
    rim_mm: float  # around the brain
    empty: bool  # whether points count where an image is empty
    every: int  # which point is looked at


# the edge of a stripped image is an extractor's, not the head's: it only leads the way
_MIDDLE = _Level(voxel_mm=4.0, rim_mm=WIDE_RIM_MM, empty=True, every=1)
_FINE = _Level(voxel_mm=FINE_MM, rim_mm=RIM_MM, empty=False, every=2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attempt:
    """One way in which a pose was looked for."""

    start: str
    matrix: NDArray[np.float64]  # (4, 4), reference RAS mm to RAS mm of the other image
    score: float  # nats on rough voxels, times the share of the brain that is covered


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pose:
    """What the search ends with."""

    matrix: NDArray[np.float64]  # (4, 4), rigid: reference RAS mm to RAS mm of the other image
    score: float  # as of `Attempt`
    attempts: tuple[Attempt, ...]  # the one that led here first


def find_pose(reference: Image, moving: Image, *, widely: bool = False) -> Pose:
    """Find the pose of an image against the reference.

    Parameters
    ----------
    reference : Image
        With its brain.
    moving : Image
    widely
        Look at more turns and shifts than two scans of one session need.

    Raises
    ------
    NothingSharedError
        If the images have nothing in common.
    """
    rough = _Rough(reference, moving)
    starts = _wide_starts if widely else _starts
    ranked = sorted(
        ((rough(matrix), name, matrix) for name, matrix in starts(reference, moving)),
        key=lambda entry: -entry[0],
    )
    chosen: list[tuple[str, NDArray[np.float64]]] = []
    for _, name, matrix in ranked:
        if all(mean_distance(matrix, other, rough.points_mm) > _APART_MM for _, other in chosen):
            chosen.append((name, matrix))
        if len(chosen) == (_CLIMBERS_WIDELY if widely else _CLIMBERS):
            break
    attempts = sorted(
        (rough.climb(name, matrix) for name, matrix in chosen), key=lambda found: -found.score
    )
    poses = []
    for attempt in attempts[: _REFINED_WIDELY if widely else 1]:
        matrix = refine(reference, moving, attempt.matrix)
        others = (other for other in attempts if other is not attempt)
        poses.append(Pose(matrix=matrix, score=rough(matrix), attempts=(attempt, *others)))
    return max(poses, key=lambda pose: pose.score)


def _starts(reference: Image, moving: Image) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The header, the centres of both masks, and turns about both."""
    centre = reference.centre_mm
    shifts = {'header': np.zeros(3)}
    if moving.brain is not None:
        shifts['centres of the masks'] = moving.centre_mm - centre
    for name, shift in shifts.items():
        for turn in product((0.0, -_TURN_DEG, _TURN_DEG), repeat=3):
            turned = f', turned by {np.linalg.norm(turn):.0f} degrees' if any(turn) else ''
            yield f'{name}{turned}', moved(shift, np.array(turn), centre)


def _wide_starts(reference: Image, moving: Image) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Turns by up to 50 degrees about several centres, and shifts from them."""
    centre = reference.centre_mm
    box = transformed(moving.affine, (np.array(moving.volume.shape)[None] - 1) / 2)[0]
    centres = {
        'header': centre, 'centres of the masks': moving.centre_mm, 'centre of the image': box,
    }  # fmt: skip
    shifts = [np.zeros(3), *(_SHIFT_MM * np.eye(3)), *(-_SHIFT_MM * np.eye(3))]
    for (name, there), turn, shift in product(
        centres.items(), product((0.0, -_WIDE_DEG, _WIDE_DEG), repeat=3), shifts
    ):
        yield f'wide search about {name}', moved(there - centre + shift, np.array(turn), centre)


def refine(reference: Image, moving: Image, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Climb mutual information from a pose that is nearly right, on 4 and then on 2 mm voxels."""
    for level in (_MIDDLE, _FINE):
        here, there = (on_voxels(image, level.voxel_mm) for image in (reference, moving))
        for _ in range(_ROUNDS):
            before = matrix
            pair = pair_up(
                here, there, matrix, rim_mm=level.rim_mm, empty=level.empty, every=level.every
            )
            matrix = pair.climbed(matrix)
            if mean_distance(before, matrix, pair.comparison.points_mm) < _ROUNDS_APART_MM:
                break
    return matrix


class _Rough:
    """How well a pose fits on 6 mm voxels: what the other image tells, and how much it covers."""

    def __init__(self, reference: Image, moving: Image) -> None:
        here, there = (on_voxels(image, _ROUGH_MM) for image in (reference, moving))
        # of a stripped image the empty space around the brain tells most about its place
        region = near_brain(here, WIDE_RIM_MM)
        if region.sum() < _FEWEST_POINTS:
            raise NothingSharedError('the brain of the reference is tiny')
        self.points_mm = transformed(here.affine, np.argwhere(region)[::_ROUGH_EVERY])
        levels = _binned(here.volume, here.volume[region])
        self._rows = levels[region][::_ROUGH_EVERY] * _ROUGH_LEVELS
        self._levels = _binned(there.volume, there.volume[there.shows])
        self._to_index = inverse(there.affine)
        self._last = np.array(there.volume.shape) - 1

    def __call__(self, matrix: NDArray[np.float64]) -> float:
        """Mutual information in nats, times the share of the points that are covered."""
        index = transformed(self._to_index @ matrix, self.points_mm)
        seen = np.asarray(((index >= -0.5) & (index <= self._last + 0.5)).all(1))
        count = int(seen.sum())
        if count < _FEWEST_POINTS:
            return 0.0
        lower = np.clip(np.floor(index[seen]).astype(np.intp), 0, np.maximum(self._last - 1, 0))
        part = np.clip(index[seen] - lower, 0, 1)
        rows, joint = self._rows[seen], np.zeros(_ROUGH_LEVELS**2)
        # partial volumes: each of the eight neighbours counts by its share
        for corner in product((0, 1), repeat=3):
            at = np.minimum(lower + corner, self._last)
            share = np.prod(np.where(corner, part, 1 - part), axis=1)
            cells = rows + self._levels[tuple(at.T)]
            joint += np.bincount(cells, share, minlength=_ROUGH_LEVELS**2)
        table = joint.reshape(_ROUGH_LEVELS, -1) / joint.sum()
        apart = table.sum(1, keepdims=True) * table.sum(0)
        filled = table > 0
        nats = float((table[filled] * np.log(table[filled] / apart[filled])).sum())
        return nats * count / len(self.points_mm)

    def climb(self, start: str, matrix: NDArray[np.float64]) -> Attempt:
        """Walk uphill, one shift or turn after the other, by steps that get smaller."""
        centre = self.points_mm.mean(0)
        score = self(matrix)
        for step in _ROUGH_STEPS:
            for _ in range(_ROUGH_ROUNDS):
                before = score
                for axis, sign in product(range(6), (1.0, -1.0)):
                    by = np.zeros(6)
                    by[axis] = sign * step
                    there = transformed(matrix, centre[None])[0]
                    tried = moved(by[:3], by[3:], there) @ matrix
                    if (found := self(tried)) > score:
                        score, matrix = found, tried
                if score == before:
                    break
        return Attempt(start=start, matrix=matrix, score=score)


def _binned(volume: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.intp]:
    low, high = limits_of(values)
    scaled = (volume - low) * ((_ROUGH_LEVELS - 1) / (high - low))
    return np.rint(np.clip(scaled, 0, _ROUGH_LEVELS - 1)).astype(np.intp)
