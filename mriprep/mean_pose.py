"""Poses of several images of one head about their mean: arrays in, matrices out.

Reuter et al. (2012), NeuroImage 61:1402-1418, doi:10.1016/j.neuroimage.2012.02.084.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mriprep.lattice import Grid, carry, inverse, transformed
from mriprep.same_contrast import (
    FINE_MM,
    SETTLED_MM,
    Fixed,
    Moving,
    Relief,
    motion_about,
    motion_parts,
    search_pose,
    size_mm,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Matrix = NDArray[np.float64]
    Points = NDArray[np.float64]
    Work = Callable[..., Iterable[Any]]  # like map; may work on several at once

_ROUNDS = 4
_LOST = 0.6  # correlation below which a member is searched once more


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Poses:
    """How members lie in their halfway space."""

    matrices: tuple[Matrix, ...]  # (4, 4), RAS mm of the halfway space to RAS mm of each member
    correlations: tuple[float, ...]  # of each relief with the mean of the others
    last_move_mm: float  # by which the last round moved a member, over a brain


def mean_rigid(matrices: ArrayLike, centre_mm: ArrayLike) -> Matrix:
    """Average rigid transforms: rotations by their geometric mean, and where they take a centre.

    Parameters
    ----------
    matrices : (N, 4, 4) array
    centre_mm : (3,) array
        Middle of what is moved.

    Returns
    -------
    (4, 4) array
        Of two, the one that is half a turn and half a shift from each.

    Examples
    --------
    >>> from scipy.spatial.transform import Rotation
    >>> turned = np.eye(4)
    >>> turned[:3, :3] = Rotation.from_rotvec([0, 0, 10], degrees=True).as_matrix()
    >>> mean = mean_rigid([np.eye(4), turned], (0, 0, 0))
    >>> Rotation.from_matrix(mean[:3, :3]).as_rotvec(degrees=True).round(6).tolist()
    [0.0, 0.0, 5.0]

    References
    ----------
    Moakher (2002), SIAM J Matrix Anal Appl 24:1-16, doi:10.1137/S0895479801383877.
    """
    from scipy.spatial.transform import Rotation

    stack, centre = np.asarray(matrices, float), np.asarray(centre_mm, float)
    rotations = Rotation.from_matrix(stack[:, :3, :3])
    mean = rotations.mean()
    for _ in range(20):
        step = (rotations * mean.inv()).as_rotvec().mean(axis=0)
        mean = Rotation.from_rotvec(step) * mean
        if np.linalg.norm(step) < 1e-12:
            break
    out = np.eye(4)
    out[:3, :3] = mean.as_matrix()
    places = stack[:, :3, :3] @ centre + stack[:, :3, 3]
    out[:3, 3] = places.mean(axis=0) - out[:3, :3] @ centre
    return out


def halfway_poses(reliefs: Sequence[Relief], work: Work = map) -> Poses:
    """Find the poses of members about their mean pose.

    The first member only gives the start. Then, in rounds, each member is registered to the mean of
    the others, and all poses are shifted so that their mean is no motion. A member moves by
    (N - 1)/N of what was found, since the others move towards it at the same time. Before that, a
    member that looks lost is searched once more, against the mean of the others.

    Parameters
    ----------
    reliefs
        Two or more, from `relief`.
    work
        Like ``map``; may work on several members at once.
    """
    movings = [Moving(one) for one in reliefs]
    matrices = [np.eye(4), *work(partial(search_pose, reliefs[0]), reliefs[1:])]
    matrices, centre = _centred(movings, matrices)
    share = 1 - 1 / len(movings)
    sizes, correlations = [0.0], [0.0]
    for round_ in range(_ROUNDS):
        means = _means_of_others(movings, matrices)
        targets = [Fixed(mean) for mean in means]
        correlations = list(map(Fixed.correlation, targets, movings, matrices))
        lost = int(np.argmin(correlations))
        if round_ == 0 and correlations[lost] < _LOST:
            found = search_pose(means[lost], reliefs[lost])
            if targets[lost].correlation(movings[lost], found) > correlations[lost]:
                matrices[lost] = found
                matrices, centre = _centred(movings, matrices)
                continue
        climbed = list(work(partial(Fixed.climb, n_steps=4), targets, movings, matrices))
        sizes = []
        for n, (old, new) in enumerate(zip(matrices, climbed, strict=True)):
            turn, shift = motion_parts(inverse(old) @ new, centre)
            sizes.append(size_mm(turn, shift))
            matrices[n] = old @ motion_about(share * turn, share * shift, centre)
        matrices, centre = _centred(movings, matrices)
        if max(sizes) < SETTLED_MM:
            break
    return Poses(
        matrices=tuple(matrices), correlations=tuple(correlations), last_move_mm=max(sizes)
    )


def _centred(movings: Sequence[Moving], matrices: Sequence[Matrix]) -> tuple[list[Matrix], Points]:
    """Take the mean out of poses; also where the middle of the brain is."""
    pairs = list(zip(movings, matrices, strict=True))
    middle = np.mean([transformed(inverse(m), one.centre_mm) for one, m in pairs], axis=0)
    mean = mean_rigid(matrices, middle)
    back = inverse(mean)
    return [matrix @ back for matrix in matrices], transformed(mean, middle)


def _means_of_others(movings: Sequence[Moving], matrices: Sequence[Matrix]) -> list[Relief]:
    """Lay members over each other and average all but one, for each one."""
    pairs = list(zip(movings, matrices, strict=True))
    grid = _grid_around(pairs)
    parts = [one.laid_on(grid, matrix) for one, matrix in pairs]
    carried = [carry(one.weight, one.affine, matrix, grid) for one, matrix in pairs]
    weight = np.mean(carried, axis=0, dtype=np.float32)
    total = np.sum([values for values, _ in parts], axis=0)
    count = np.sum([inside for _, inside in parts], axis=0, dtype=np.float32)
    out = []
    for values, inside in parts:
        left = count - inside
        mean = (total - values) / np.maximum(left, 1)
        out.append(Relief(values=mean, weight=weight * (left > 0), affine=grid.affine))
    return out


def _grid_around(pairs: Sequence[tuple[Moving, Matrix]]) -> Grid:
    """Voxels of 2 mm of the halfway space around all that is looked at."""
    places = np.concatenate([transformed(inverse(matrix), one.some_mm) for one, matrix in pairs])
    first = np.floor(places.min(axis=0) / FINE_MM) - 2
    i, j, k = (int(n) for n in np.ceil(places.max(axis=0) / FINE_MM) + 3 - first)
    affine = np.diag([FINE_MM, FINE_MM, FINE_MM, 1.0])
    affine[:3, 3] = first * FINE_MM
    return Grid(affine=affine, shape=(i, j, k))
