"""The halfway space of several images of one head in one contrast: arrays in, arrays out.

Each image is a *member*. All are treated alike: the halfway space has the mean pose of all, each
member is registered to the mean of the others, and each is interpolated once. A *pose* is a rigid
(4, 4) matrix from RAS mm of the halfway space to RAS mm of a member, as ITK resamples.

Reuter et al. (2010), NeuroImage 53:1181-1196, doi:10.1016/j.neuroimage.2010.07.020.
Reuter et al. (2012), NeuroImage 61:1402-1418, doi:10.1016/j.neuroimage.2012.02.084.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from mriprep.criteria import RANK, Check, Rule, Status
from mriprep.lattice import Grid, carry, cut_affine, interpolated, inverse, spline, transformed
from mriprep.masks import binarize_brain, bounding_box
from mriprep.mean_pose import Poses, halfway_poses
from mriprep.robust import biweight, brightness_scales, noise_deviation, robust_mean
from mriprep.same_contrast import motion_parts, relief

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Mask = NDArray[np.bool_]
    Volume = NDArray[np.float32]
    Points = NDArray[np.float64]
    Work = Callable[..., Iterable[Any]]  # like map; may work on several at once

_MARGIN_MM = 10.0  # of air around the heads in the average
RULES = (
    Rule(
        name='correlation',
        accept=(0.85, None),
        believe=(0.70, None),
        low='An image correlates by only {:.2f} with the mean of the others: it is damaged, of '
        'another contrast or another head, or it was registered badly.',
        reason='moved copies have 0.97 and more, very noisy ones 0.91; two heads 0.66 and less',
    ),
    Rule(
        name='mask_overlap',
        unit='Dice',
        accept=(0.93, None),
        believe=(0.85, None),
        low='A brain mask and that of all images overlap by only {:.2f}: look at both.',
        reason='moved copies have 0.99; below 0.85 a tenth of a mask is wrong',
    ),
    Rule(
        name='last_move',
        unit='mm',
        accept=(None, 0.1),
        believe=(None, 0.5),
        high='The registration has not settled: its last round moved an image by {:.2f} mm.',
        reason='moved copies settle below 0.02 mm; two heads stay at 0.07 to 0.4 mm',
    ),
    Rule(
        name='seen_by_all',
        unit='share',
        accept=(0.90, None),
        believe=(0.50, None),
        low='Only {:.0%} of the brain is in the field of view of all images: noise and sharpness '
        'of the average change where an image ends.',
        reason='scans of whole heads have 1',
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Member:
    """One image of the head."""

    volume: Volume  # (I, J, K), arbitrary units, finite, RAS axes
    affine: Matrix  # (4, 4), voxel indices to RAS mm, no shear
    mask: Mask | None = None  # (I, J, K), brain

    def __post_init__(self) -> None:
        if self.mask is not None and self.mask.shape != self.volume.shape:
            raise ValueError(
                f'volume {self.volume.shape} and mask {self.mask.shape} differ in shape'
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Halfway:
    """The average of members and how it came about; tuples are in the order of the members."""

    volume: Volume  # (I, J, K); its brightness is the geometric mean of the members'
    grid: Grid
    mask: Mask | None
    poses: Poses
    scales: tuple[float, ...]  # factors that match the brightness of the members
    weights: tuple[float, ...]  # mean share of each in the average of the brain
    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """What the worst check says."""
        return max((check.status for check in self.checks), key=lambda status: RANK[status])


def average(members: Sequence[Member], n_threads: int = 1) -> Halfway:
    """Average images of one head, in one contrast, in their halfway space.

    The order of the members does not matter, to the last bit: they are worked on in an order that
    their content gives. A member does not count where it has no voxels.

    Parameters
    ----------
    members
        Two or more, each with a brain mask, or none of them. With masks the registration looks at
        the brain, otherwise at the upper head.
    n_threads
        Members worked on at once; does not change the result.

    Raises
    ------
    ValueError
        If there are fewer than two members, only some have a mask, a mask is empty, nothing in an
        image is bright, or no part of the brain is seen by all.
    """
    if len(members) < 2:
        raise ValueError('an average needs two or more images; give all runs or sessions')
    if len({member.mask is None for member in members}) > 1:
        raise ValueError('only some images have a brain mask; give one for each image, or none')
    order = sorted(range(len(members)), key=lambda n: _digest(members[n]))
    with ThreadPoolExecutor(max(1, n_threads)) as pool:
        made = _average([members[n] for n in order], pool.map)
    back = np.argsort(order)
    poses = replace(
        made.poses,
        matrices=tuple(made.poses.matrices[n] for n in back),
        correlations=tuple(made.poses.correlations[n] for n in back),
    )
    scales, weights = (tuple(part[n] for n in back) for part in (made.scales, made.weights))
    return replace(made, poses=poses, scales=scales, weights=weights)


def _digest(member: Member) -> bytes:
    from hashlib import sha256

    content = sha256(np.ascontiguousarray(member.affine, np.float64).data)
    content.update(np.ascontiguousarray(member.volume.T).data)
    if member.mask is not None:
        content.update(np.ascontiguousarray(member.mask.T).data)
    return content.digest()


def _average(members: Sequence[Member], work: Work) -> Halfway:
    reliefs = list(work(lambda one: relief(one.volume, one.affine, one.mask), members))
    poses = halfway_poses(reliefs, work)
    grid = halfway_grid(members, poses.matrices)
    placed = list(work(partial(resample, grid=grid), members, poses.matrices))
    volumes, seen = [volume for volume, _ in placed], [inside for _, inside in placed]
    mask, overlap = _joint_mask(members, poses.matrices, grid, seen, work)
    sparse = (slice(None, None, 2),) * 3  # enough to measure brightness and noise
    if mask is not None:
        region = mask[sparse]
    else:
        thin = grid.every_second()
        carried = [
            carry(one.weight, one.affine, pose, thin)
            for one, pose in zip(reliefs, poses.matrices, strict=True)
        ]
        region = np.mean(carried, axis=0) > 0.5
    by_all = region & np.logical_and.reduce([one[sparse] for one in seen])
    if not by_all.any():
        raise ValueError('no part of the brain is in all images; leave out the one that differs')
    samples = np.stack([volume[sparse][by_all] for volume in volumes])
    scales = brightness_scales(samples)
    for volume, scale in zip(volumes, scales, strict=True):
        volume *= np.float32(scale)
    samples *= scales[:, None].astype(np.float32)
    noise = noise_deviation(samples)
    _, shares = biweight(samples, np.ones(samples.shape, bool), noise)
    values = {
        'correlation': min(poses.correlations),
        'mask_overlap': overlap,
        'last_move': poses.last_move_mm,
        'seen_by_all': float(np.count_nonzero(by_all) / np.count_nonzero(region)),
    }
    return Halfway(
        volume=robust_mean(volumes, seen, noise),
        grid=grid,
        mask=mask,
        poses=poses,
        scales=tuple(float(scale) for scale in scales),
        weights=tuple(float(share) for share in shares.mean(axis=1)),
        checks=tuple(rule.judged(values[rule.name]) for rule in RULES),
    )


def _joint_mask(
    members: Sequence[Member],
    matrices: Sequence[Matrix],
    grid: Grid,
    seen: Sequence[Mask],
    work: Work,
) -> tuple[Mask | None, float | None]:
    """Where half of the members that see a voxel call it brain; and the worst overlap with it."""
    if members[0].mask is None:
        return None, None
    carried = list(work(partial(_carry_mask, grid=grid), members, matrices))
    count = np.sum(seen, axis=0, dtype=np.float32)
    mask = binarize_brain(np.sum(carried, axis=0) / np.maximum(count, 1), 0.5)
    overlaps = []
    for one, inside in zip(carried, seen, strict=True):
        own, joint = one > 0.5, mask & inside
        both, sizes = np.count_nonzero(own & joint), np.count_nonzero(own) + joint.sum()
        overlaps.append(2 * both / max(1, int(sizes)))
    return mask, min(overlaps)


def _carry_mask(member: Member, matrix: Matrix, grid: Grid) -> Volume:
    """Interpolate a mask linearly; only the box around it is looked at."""
    assert member.mask is not None
    box = bounding_box(member.mask, 1)
    own = cut_affine(member.affine, box)
    ends = np.array(list(product(*((0, part.stop - part.start - 1) for part in box))))
    places = transformed(inverse(grid.affine) @ inverse(matrix) @ own, ends)
    first = np.clip(np.floor(places.min(axis=0)).astype(int), 0, grid.shape)
    last = np.clip(np.ceil(places.max(axis=0)).astype(int) + 1, first, grid.shape)
    part = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    i, j, k = (int(n) for n in last - first)
    cut = Grid(affine=cut_affine(grid.affine, part), shape=(i, j, k))
    out = np.zeros(grid.shape, np.float32)
    out[part] = carry(member.mask[box].astype(np.float32), own, matrix, cut)
    return out


def halfway_grid(members: Sequence[Member], matrices: Sequence[Matrix]) -> Grid:
    """Choose voxels for the average: as fine as the finest along each axis, around all heads.

    The axes are those of the halfway space. Voxels are centred on multiples of their size, so that
    a hair's breadth in a pose does not shift them.

    Parameters
    ----------
    members
        RAS axes.
    matrices : sequence of (4, 4) array
        RAS mm of the halfway space to RAS mm of each member.
    """
    from mriprep.extractors.head_alignment import coarse_head

    zooms = np.min([np.linalg.norm(one.affine[:3, :3], axis=0) for one in members], axis=0)
    zooms = np.round(zooms, 4)
    boxes, heads = [], []
    for one, matrix in zip(members, matrices, strict=True):
        back = inverse(matrix)
        ends = np.array(list(product(*((-0.5, n - 0.5) for n in one.volume.shape))))
        boxes.append(transformed(back @ one.affine, ends))
        # every second voxel is enough to see where the head ends
        thin = Grid(affine=one.affine, shape=one.volume.shape).every_second()
        head = coarse_head(one.volume[::2, ::2, ::2], thin.affine)
        if head is None:
            raise ValueError('nothing in an image is bright; leave it out')
        heads.append(transformed(back @ inverse(head.to_voxel), np.argwhere(~head.outside)))
    box, around = np.concatenate(boxes), np.concatenate(heads)
    low = np.maximum(box.min(axis=0), around.min(axis=0) - _MARGIN_MM)
    high = np.minimum(box.max(axis=0), around.max(axis=0) + _MARGIN_MM)
    first, last = np.ceil(low / zooms), np.floor(high / zooms)
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = first * zooms
    i, j, k = (int(n) for n in last - first + 1)
    return Grid(affine=affine, shape=(i, j, k))


def resample(member: Member, matrix: Matrix, grid: Grid) -> tuple[Volume, Mask]:
    """Interpolate a member onto a grid of the halfway space, by cubic B-splines.

    Returns
    -------
    values : (I, J, K) float32 array
        Within the range of the member; 0 where it has no voxels.
    inside : (I, J, K) bool array
        Where it has voxels.
    """
    volume = member.volume
    whole = inverse(member.affine) @ matrix @ grid.affine
    values, inside = interpolated(spline(volume), whole, grid.shape)
    within = np.clip(values, volume.min(), volume.max())
    return np.where(inside, within, np.float32(0)), inside


def verdict(found: Halfway) -> dict[str, object]:
    """Tell in plain values whether an average is believed."""
    ranked = sorted(found.checks, key=lambda check: -RANK[check.status])
    return {
        'status': found.status.value,
        'reasons': [check.words for check in ranked if check.words],
        'checks': [check.record() for check in found.checks],
    }


def metadata(found: Halfway, names: Sequence[str]) -> dict[str, object]:
    """Tell what made an average, as it stands in its sidecar.

    Parameters
    ----------
    found
        From `average`.
    names
        Of the members, in their order.
    """
    moves = [motion_parts(matrix, _middle(found.grid)) for matrix in found.poses.matrices]
    how = 'mean' if len(names) == 2 else "Tukey's biweight, one step from the median"
    return {
        'Method': f'rigid registration to the mean of the others, halfway space, {how}',
        'Members': list(names),
        'Weights': [round(weight, 4) for weight in found.weights],
        'Scales': [round(scale, 6) for scale in found.scales],
        'Correlations': [round(value, 4) for value in found.poses.correlations],
        'RotationsDeg': [round(float(np.degrees(np.linalg.norm(turn))), 3) for turn, _ in moves],
        'ShiftsMm': [round(float(np.linalg.norm(shift)), 3) for _, shift in moves],
        'GuardStatus': found.status.value,
        'GuardReasons': [check.words for check in found.checks if check.words],
    }


def _middle(grid: Grid) -> Points:
    return transformed(grid.affine, (np.array(grid.shape) - 1) / 2)
