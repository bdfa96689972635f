"""Where a template's brain lies in the image of a head: arrays in, a matrix out.

Tissue labels of the template, one of them for the dark rim just outside of its brain, are laid over
the image, and their mutual information with its intensities is climbed by position, rotation,
scales and shears. It asks for no contrast in particular. Everything happens on 4 mm voxels with
numpy alone, in about a second, and the same input gives the same output.

Wells et al. (1996), Med Image Anal 1:35-51, doi:10.1016/S1361-8415(01)80004-9.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from mriprep.intensity import otsu_threshold
from mriprep.resampling import coarsen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_VOXEL_MM = 4.0
_RIM_MM = 4.1  # what is called rim: CSF, dura, bone. Scalp would pull the brain out to the air
_RIM = 6  # label of the rim; the lower ones are tissues
_LEVELS = 32  # of intensity
_DIM = 0.5  # of Otsu's threshold: what is darker, and not enclosed, is air
_BRAIN_HEIGHT_MM = 130.0  # below the top of the head lies the brain

# what heads are tried at first, about the middle of the upper head
_HEIGHTS_MM = (-60, -72, -84, -96)  # of the brain's centre, from the top of the head
_FORWARDS_MM = (-24, -12, 0, 12, 24)
_PITCHES_DEG = (-30, -15, 0, 15, 30)
_TILTS_DEG = (-18, 0, 18)  # to the side, and about the long axis of the body
_LOG_SCALES = (-0.12, 0.0)
_CLIMBERS = 12  # starts that are followed
_APART = 1.5  # steps by which they differ

# One step of each parameter: shift in mm, rotation in degrees, logarithms of scales, shears
_COARSE = np.array([6, 6, 6, 6, 6, 6, 0.06, 0.06, 0.06, 0, 0, 0])
_FINE = np.array([3, 3, 3, 3, 3, 3, 0.04, 0.04, 0.04, 0.03, 0.03, 0.03])
_ROUNDS = 8

# Brains are smaller than the template's: 1.1 to 1.7 l against 1.9 l. Without this the labels also
# fit a brain as large as the head, with air for a rim.
_PRIOR = 0.02
_LOG_SCALE = (-0.08, 0.08)  # mean and deviation
_AIR = 2.0  # nats that a brain in the air would cost
_STRETCH = 0.06  # deviation of single scales from their mean, and of shears


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledPoints:
    """Points in and just around a template's brain."""

    points_mm: NDArray[np.float64]  # (N, 3), template RAS
    labels: NDArray[np.intp]  # (N,), 0 to 6
    centre_mm: NDArray[np.float64]  # (3,) of the brain


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoarseHead:
    """An image on large voxels, in few levels."""

    levels: NDArray[np.intp]  # (I, J, K), 0 to 31, with a dark border of one voxel
    outside: NDArray[np.bool_]  # (I, J, K), the air around the head
    to_voxel: NDArray[np.float64]  # (4, 4), RAS mm to indices of `levels`
    start_mm: NDArray[np.float64]  # (3,) middle of the upper head, and its top


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """How a template lies in an image."""

    matrix: NDArray[np.float64]  # (4, 4), template RAS mm to image RAS mm
    score: float  # mutual information in nats, less the penalty for odd sizes


def labelled_points(
    mask: NDArray[np.floating[Any]],
    gm: NDArray[np.floating[Any]],
    wm: NDArray[np.floating[Any]],
    csf: NDArray[np.floating[Any]],
    affine: NDArray[np.floating[Any]],
) -> LabelledPoints:
    """Label a template's brain, and the rim around it.

    Parameters
    ----------
    mask, gm, wm, csf : (I, J, K) float array
        Brain and tissue probabilities, 0 to 1, on one grid.
    affine : (4, 4) array
        Voxel indices to template RAS mm.
    """
    from scipy import ndimage

    zooms = np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0)
    margin = np.ceil(2 * _VOXEL_MM / zooms).astype(int)
    own = np.asarray(affine, float).copy()
    own[:3, 3] -= own[:3, :3] @ margin
    brain, grid = coarsen(np.pad(mask, [(n, n) for n in margin]), own, _VOXEL_MM)
    grey, white, fluid = (
        coarsen(np.pad(tissue, [(n, n) for n in margin]), own, _VOXEL_MM)[0]
        for tissue in (gm, wm, csf)
    )
    inside = brain > 0.5
    sizes = np.linalg.norm(grid[:3, :3], axis=0)
    depth = ndimage.distance_transform_edt(~inside, sampling=sizes)
    kinds = (white > 0.75, white > 0.45, grey > 0.75, fluid > 0.7, fluid > 0.4)
    tissue = np.select(kinds, (0, 1, 2, 5, 4), 3)  # 3: grey matter in part
    labels = np.where(inside, tissue, _RIM)
    voxels = np.argwhere(depth < _RIM_MM)
    points = voxels @ grid[:3, :3].T + grid[:3, 3]
    chosen = labels[tuple(voxels.T)]
    # behind the rim of the lower brain lie face and neck, each other in each head
    height, forward = points[:, 2], points[:, 1]
    keep = (chosen < _RIM) | (height > -35 + 0.35 * (forward + 20))
    return LabelledPoints(
        points_mm=points[keep],
        labels=chosen[keep].astype(np.intp),
        centre_mm=points[chosen < _RIM].mean(axis=0),
    )


def coarse_head(
    volume: NDArray[np.floating[Any]], affine: NDArray[np.floating[Any]]
) -> CoarseHead | None:
    """Make an image coarse, and find the middle and the top of its head.

    Parameters
    ----------
    volume : (I, J, K) float array
        Head or brain, RAS axes, finite, arbitrary units.
    affine : (4, 4) array
        Voxel indices to RAS mm; may be oblique.

    Returns
    -------
    CoarseHead or None
        None when nothing in the image is bright.
    """
    from scipy import ndimage

    small, grid = coarsen(volume, np.asarray(affine, float), _VOXEL_MM)
    if small.max() <= small.min():
        return None
    threshold = otsu_threshold(small)
    parts, count = ndimage.label(ndimage.binary_opening(small > threshold))
    if not count:
        return None
    counts = np.bincount(parts.ravel())
    counts[0] = 0
    places = np.argwhere(parts == counts.argmax()) @ grid[:3, :3].T + grid[:3, 3]
    top = np.percentile(places[:, 2], 99.8)
    upper = places[places[:, 2] > top - _BRAIN_HEIGHT_MM]
    middle = np.percentile(upper[:, :2], (1, 99), axis=0).mean(axis=0)
    brightest = np.percentile(small[small > threshold], 99)
    levels = np.clip(small * (_LEVELS / brightest), 0, _LEVELS - 1).astype(np.intp)
    to_voxel = np.asarray(np.linalg.inv(grid), np.float64)
    to_voxel[:3, 3] += 1
    return CoarseHead(
        levels=np.pad(levels, 1),
        outside=~np.pad(_filled(small > _DIM * threshold), 1),
        to_voxel=to_voxel,
        start_mm=np.array([*middle, top]),
    )


def _filled(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the head: its largest piece, and in each axial slice what it encloses."""
    from scipy import ndimage

    in_slice = np.zeros((3, 3, 3), bool)
    in_slice[:, 1, 1] = in_slice[1, :, 1] = True
    closed = ndimage.binary_closing(np.pad(bright, 3), in_slice, iterations=2)[3:-3, 3:-3, 3:-3]
    parts, _ = ndimage.label(ndimage.binary_fill_holes(closed, in_slice))
    counts = np.bincount(parts.ravel())
    counts[0] = 0
    return np.asarray(parts == counts.argmax())


def align(template: LabelledPoints, head: CoarseHead) -> Alignment:
    """Lay a template's brain over an image."""
    every_ninth = _Fit(template, head, 9)
    starts = _apart(sorted(((every_ninth(start), start) for start in _starts(head)), reverse=True))
    climbed = [every_ninth.climb(np.array(start), _COARSE, (1, 0.5)) for start in starts]
    _, best = max(climbed, key=lambda pair: pair[0])
    score, best = _Fit(template, head, 3).climb(best, _FINE, (1, 0.5, 0.25))
    return Alignment(matrix=_matrix(best, template.centre_mm), score=score)


class _Fit:
    """How well every n-th point fits, as a function of twelve parameters."""

    def __init__(self, template: LabelledPoints, head: CoarseHead, every: int) -> None:
        self.points = template.points_mm[::every]
        self.rows = template.labels[::every] * _LEVELS
        self.brain = template.labels[::every] < _RIM
        self.n_labels = _RIM + 1
        self.centre_mm = template.centre_mm
        self.head = head
        self.last = np.array(head.levels.shape) - 1

    def __call__(self, parameters: Sequence[float] | NDArray[np.float64]) -> float:
        """Mutual information in nats, less the penalty."""
        parameters = np.asarray(parameters, float)
        whole = self.head.to_voxel @ _matrix(parameters, self.centre_mm)
        where = np.rint(self.points @ whole[:3, :3].T + whole[:3, 3]).astype(np.intp)
        i, j, k = np.clip(where, 0, self.last).T
        levels = self.head.levels[i, j, k]
        air = self.head.outside[i, j, k][self.brain].mean()
        counts = np.bincount(self.rows + levels, minlength=self.n_labels * _LEVELS)
        found = _mutual_information(counts.reshape(self.n_labels, _LEVELS))
        return found - _AIR * float(air) - _penalty(parameters)

    def climb(
        self, parameters: NDArray[np.float64], steps: NDArray[np.float64], factors: Sequence[float]
    ) -> tuple[float, NDArray[np.float64]]:
        """Walk uphill, one parameter after the other, by steps that get smaller."""
        score = self(parameters)
        for factor in factors:
            for _ in range(_ROUNDS):
                before = score
                for step in np.diag(factor * steps)[steps > 0]:
                    for tried in (parameters + step, parameters - step):
                        if (found := self(tried)) > score:
                            score, parameters = found, tried
                            break
                if score == before:
                    break
        return score, parameters


def _starts(head: CoarseHead) -> list[tuple[float, ...]]:
    """Poses and sizes from which the search begins."""
    right, front, top = head.start_mm
    grid = product(_LOG_SCALES, _HEIGHTS_MM, _FORWARDS_MM, _PITCHES_DEG, _TILTS_DEG, _TILTS_DEG)
    return [
        (right, front + forward, top + height, pitch, roll, yaw, *(scale,) * 3, 0.0, 0.0, 0.0)
        for scale, height, forward, pitch, roll, yaw in grid
    ]


def _apart(
    ranked: Sequence[tuple[float, tuple[float, ...]]],
) -> list[tuple[float, ...]]:
    """Take the best starts of which no two are near each other."""
    chosen: list[tuple[float, ...]] = []
    for _, start in ranked:
        gaps = [np.abs(np.subtract(start, other))[:6].max() / _COARSE[0] for other in chosen]
        if not gaps or min(gaps) > _APART:
            chosen.append(start)
        if len(chosen) == _CLIMBERS:
            break
    return chosen


def _matrix(
    parameters: NDArray[np.float64], centre_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Transform from template to image RAS mm that takes the brain's centre to the first three."""
    from scipy.spatial.transform import Rotation

    shape = np.diag(np.exp(parameters[6:9]))
    shape[0, 1], shape[0, 2], shape[1, 2] = parameters[9:]
    turn = Rotation.from_euler('xyz', parameters[3:6], degrees=True).as_matrix()
    out = np.eye(4)
    out[:3, :3] = turn @ shape
    out[:3, 3] = parameters[:3] - out[:3, :3] @ centre_mm
    return out


def _penalty(parameters: NDArray[np.float64]) -> float:
    """Nats that a size and a shape unlike a brain's cost."""
    scales, shears = parameters[6:9], parameters[9:]
    mean, deviation = _LOG_SCALE
    square = ((scales.mean() - mean) / deviation) ** 2
    square += (((scales - scales.mean()) / _STRETCH) ** 2).sum() + ((shears / _STRETCH) ** 2).sum()
    return float(_PRIOR * square)


def _mutual_information(counts: NDArray[np.intp]) -> float:
    """Mutual information, in nats, of the rows and columns of a table of counts."""
    joint = counts / counts.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / apart[filled])).sum())
