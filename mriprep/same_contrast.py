"""Rigid registration of images of one head in one contrast: arrays in, a matrix out.

Robust least squares on images without their shading. It looks at the slopes of the fixed image only
(inverse composition), so that neither noise nor interpolation of the moving one pulls.

Reuter et al. (2010), NeuroImage 53:1181-1196, doi:10.1016/j.neuroimage.2010.07.020.
Baker and Matthews (2004), Int J Comput Vis 56:221-255, doi:10.1023/B:VISI.0000011205.11775.fd.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from mriprep.lattice import Grid, carry, cut_affine, interpolated, inverse, spline, transformed
from mriprep.masks import bounding_box
from mriprep.resampling import coarsen
from mriprep.robust import TUKEY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]
    Matrix = NDArray[np.float64]
    Mask = NDArray[np.bool_]
    Volume = NDArray[np.float32]
    Points = NDArray[np.float64]

FINE_MM = 2.0  # voxels of the last registration
_COARSE_MM = (8.0, 4.0)  # and of the search before it
_SHADE_MM = 8.0  # deviation of a Gaussian; what is smoother is shading
_LEAST_SHADE = 0.05  # of its mean; darker places are not raised further
_RANGE = (-4.0, 4.0)  # of a relief
_RIM_MM = 4.0  # looked at around a brain or a head
_FRAME_MM = 16.0  # kept around what is looked at
_UPPER_HEAD_MM = (110.0, 150.0)  # below the top: all counts, nothing counts (jaw and neck)
_COUNTS = 0.01  # least weight of a voxel that is looked at
_RADIUS_MM = 70.0  # of a ball like a brain, to put turns and shifts into one number
_REWEIGHTINGS = 3
_ANGLES_DEG = (-30.0, -15.0, 0.0, 15.0, 30.0)
_LARGEST_ANGLE_DEG = 45.0
_RISES_MM = (-30.0, 0.0, 30.0)
_GLANCE = 4  # which point is looked at to rank the starts
_CLIMBERS = 5  # starts that are followed
_LEAST_SEEN = 0.3  # of the points; a pose that shows fewer counts for nothing
_POINTS = 60_000  # looked at; more of them make it slower, not better
SETTLED_MM = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relief:
    """What is registered: an image without its brightness and shading."""

    values: Volume  # (I, J, K), about 1 in tissue, 0 in air
    weight: Volume  # (I, J, K), 0 to 1: how much a voxel counts
    affine: Matrix  # (4, 4), voxel indices to RAS mm


def relief(
    volume: Array,
    affine: Array,
    mask: Mask | None = None,
) -> Relief:
    """Divide an image by its own shading, on voxels of 2 mm, and choose where it is looked at.

    Parameters
    ----------
    volume : (I, J, K) float array
        Head or brain, RAS axes, finite, arbitrary units.
    affine : (4, 4) array
        Voxel indices to RAS mm.
    mask : (I, J, K) bool array, optional
        Brain; it and a rim of 4 mm are looked at. Without it, the upper head is.

    Raises
    ------
    ValueError
        If the mask is empty, or nothing in the image is bright.
    """
    if mask is not None:
        zooms = np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0)
        box = bounding_box(mask, [int(n) for n in np.ceil(_FRAME_MM / zooms)])
        small, own = coarsen(volume[box], cut_affine(affine, box), FINE_MM)
        brain, _ = coarsen(mask[box].astype(np.float32), affine, FINE_MM)
        weight = _widened(brain > 0.5, own)
        body = weight
    else:
        small, own = coarsen(volume, affine, FINE_MM)
        body, weight = _upper_head(small, own)
        zooms = np.linalg.norm(own[:3, :3], axis=0)
        box = bounding_box(weight > _COUNTS, [int(n) for n in np.ceil(_FRAME_MM / zooms)])
        small, body, weight, own = small[box], body[box], weight[box], cut_affine(own, box)
    shade = _smooth(small * body, own) / np.maximum(_smooth(body, own), 1e-3)
    mean = float(np.average(shade, weights=weight))
    values = np.clip(small / np.maximum(shade, _LEAST_SHADE * mean), *_RANGE)
    return Relief(values=values.astype(np.float32), weight=weight, affine=own)


def _widened(inside: Mask, affine: Matrix) -> Volume:
    """Widen a mask by the rim; 0 and 1."""
    from scipy import ndimage

    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    near = ndimage.distance_transform_edt(~inside, sampling=zooms) <= _RIM_MM
    return np.asarray(near, np.float32)


def _smooth(volume: Volume, affine: Matrix) -> Volume:
    from scipy import ndimage

    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    sigmas = _SHADE_MM / zooms
    out: Volume = ndimage.gaussian_filter(volume, sigmas, truncate=2.5, mode='nearest')
    return out


def _upper_head(volume: Volume, affine: Matrix) -> tuple[Volume, Volume]:
    """Find the head, and how much each voxel of it and its rim counts."""
    from mriprep.extractors.head_alignment import coarse_head

    head = coarse_head(volume, affine)
    if head is None:
        raise ValueError('nothing in the image is bright; leave it out')
    i, j, k = volume.shape
    grid = Grid(affine=affine, shape=(i, j, k))
    within = (~head.outside).astype(np.float32)
    body = carry(within, inverse(head.to_voxel), np.eye(4), grid) > 0.5
    a, b, c = np.ogrid[:i, :j, :k]
    height = affine[2, 0] * a + affine[2, 1] * b + affine[2, 2] * c + affine[2, 3]
    full, none = _UPPER_HEAD_MM
    taper = np.clip((none - head.start_mm[2] + height) / (none - full), 0, 1)
    return body.astype(np.float32), (_widened(body, affine) * taper).astype(np.float32)


def rigid_register(fixed: Relief, moving: Relief) -> Matrix:
    """Register two images of one head, in one contrast, from any pose within 30 degrees.

    Poses about the middle of what is looked at are compared on 8 mm voxels, and the best are
    climbed on 8, 4 and 2 mm voxels.

    Returns
    -------
    (4, 4) array
        RAS mm of the fixed image to RAS mm of the moving image.
    """
    return Fixed(fixed).climb(Moving(moving), search_pose(fixed, moving), n_steps=12)


def search_pose(fixed: Relief, moving: Relief) -> Matrix:
    """Find a pose that is good to a tenth of a millimetre or two."""
    pose = np.eye(4)
    for voxel_mm in _COARSE_MM:
        target, source = Fixed(_coarser(fixed, voxel_mm)), Moving(_coarser(moving, voxel_mm))
        if voxel_mm == _COARSE_MM[0]:
            starts = _starts(target.centre_mm, source.centre_mm)
            starts.sort(key=lambda start: -target.correlation(source, start, _GLANCE))
            climbed = [target.climb(source, start, n_steps=15) for start in starts[:_CLIMBERS]]
            pose = max(climbed, key=lambda found: target.correlation(source, found))
        else:
            pose = target.climb(source, pose, n_steps=15)
    return pose


def _coarser(image: Relief, voxel_mm: float) -> Relief:
    values, affine = coarsen(image.values, image.affine, voxel_mm)
    weight, _ = coarsen(image.weight, image.affine, voxel_mm)
    return Relief(values=values, weight=weight, affine=affine)


def _starts(fixed_mm: Points, moving_mm: Points) -> list[Matrix]:
    """Poses that bring one centre to the other, or near; and that of the scanner."""
    starts = [np.eye(4)]
    for angles in product(_ANGLES_DEG, repeat=3):
        if np.linalg.norm(angles) > _LARGEST_ANGLE_DEG:
            continue
        for rise in _RISES_MM:
            shift = moving_mm - fixed_mm + np.array([0.0, 0.0, rise])
            starts.append(motion_about(np.radians(angles), shift, fixed_mm))
    return starts


class Moving:
    """An image that can be looked up anywhere."""

    def __init__(self, image: Relief) -> None:
        self.coefficients = spline(image.values)
        self.shape = image.values.shape
        self.weight, self.affine = image.weight, image.affine
        self.to_voxel = inverse(image.affine)
        counted = np.argwhere(image.weight > _COUNTS)
        share = image.weight[tuple(counted.T)]
        self.centre_mm = transformed(image.affine, np.average(counted, axis=0, weights=share))
        self.some_mm = transformed(image.affine, counted[::7])  # of the places that count

    def __call__(self, points_mm: Points) -> tuple[NDArray[np.float64], Mask]:
        """Values at (N, 3) places, and whether they lie in the image."""
        from scipy import ndimage

        where = transformed(self.to_voxel, points_mm).T
        ends = np.array(self.shape)[:, None] - 0.5
        inside = ((where >= -0.5) & (where <= ends)).all(axis=0)
        values = ndimage.map_coordinates(
            self.coefficients, where, order=3, prefilter=False, mode='mirror', output=np.float64
        )
        return values, np.asarray(inside)

    def laid_on(self, grid: Grid, pose: Matrix) -> tuple[Volume, Mask]:
        """Values on a grid, 0 outside the image; and what lies inside."""
        whole = self.to_voxel @ pose @ grid.affine
        return interpolated(self.coefficients, whole, grid.shape)


class Fixed:
    """Points of an image that another one is moved to.

    The image's own slopes tell how the other one must move (inverse composition): so neither the
    noise of the other one nor its interpolation pulls at the result.
    """

    def __init__(self, image: Relief) -> None:
        index = np.argwhere(image.weight > _COUNTS)
        index = index[index.sum(axis=1) % (1 + len(index) // _POINTS) == 0]
        at = tuple(index.T)
        self.points_mm = transformed(image.affine, index)
        self.values = image.values[at].astype(np.float64)
        self.weight = image.weight[at].astype(np.float64)
        self.centre_mm = np.average(self.points_mm, axis=0, weights=self.weight)
        slopes = np.stack([part[at] for part in np.gradient(image.values)], axis=1)
        slopes = slopes @ inverse(image.affine[:3, :3])
        arms = self.points_mm - self.centre_mm
        self.slopes = np.hstack([np.cross(arms, slopes), slopes])  # for a turn, and for a shift

    def correlation(self, moving: Moving, pose: Matrix, every: int = 1) -> float:
        """Correlate the images where the fixed one counts; -1 where hardly anything is seen."""
        weight, values = self.weight[::every], self.values[::every]
        other, inside = moving(transformed(pose, self.points_mm[::every]))
        share = weight * inside
        if share.sum() < _LEAST_SEEN * weight.sum():
            return -1.0
        mine = values - np.average(values, weights=share)
        other = other - np.average(other, weights=share)
        norm = (share * mine**2).sum() * (share * other**2).sum()
        return float((share * mine * other).sum() / np.sqrt(norm)) if norm > 0 else -1.0

    def climb(self, moving: Moving, pose: Matrix, n_steps: int) -> Matrix:
        """Improve a pose by robust least squares, until it moves no more."""
        for _ in range(n_steps):
            turn, shift = self._step(moving, pose)
            pose = pose @ inverse(motion_about(turn, shift, self.centre_mm))
            if size_mm(turn, shift) < SETTLED_MM / 4:
                break
        return pose

    def _step(self, moving: Moving, pose: Matrix) -> tuple[Points, Points]:
        """Solve for turn (radians), shift (mm), gain and offset; Tukey's biweight, reweighted."""
        other, inside = moving(transformed(pose, self.points_mm))
        columns = np.column_stack([-self.slopes, other, np.ones_like(other)])
        region = self.weight * inside
        counted = region > 0.5 * region.max()
        weight, solution = region, np.zeros(8)
        for _ in range(_REWEIGHTINGS):
            weighted = columns * weight[:, None]
            normal = np.einsum('ni,nj->ij', weighted, columns)
            normal += np.diag(1e-9 * normal.diagonal() + 1e-12)
            solution = np.linalg.solve(normal, np.einsum('ni,n->i', weighted, self.values))
            rest = self.values - columns @ solution
            noise = 1.4826 * np.median(np.abs(rest[counted])) + 1e-6
            weight = region * np.clip(1 - (rest / (TUKEY * noise)) ** 2, 0, None) ** 2
        return solution[:3], solution[3:6]


def motion_about(turn: Points, shift: Points, centre_mm: Points) -> Matrix:
    """Turn (rotation vector in radians) about a centre, then shift (mm)."""
    from scipy.spatial.transform import Rotation

    out = np.eye(4)
    out[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    out[:3, 3] = centre_mm + shift - out[:3, :3] @ centre_mm
    return out


def motion_parts(matrix: Matrix, centre_mm: Points) -> tuple[Points, Points]:
    """Undo `motion_about`."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(matrix[:3, :3]).as_rotvec()
    return turn, transformed(matrix, centre_mm) - centre_mm


def size_mm(turn: Points, shift: Points) -> float:
    """Root mean square by which a motion moves the places of a brain."""
    return float(np.sqrt(shift @ shift + 0.4 * _RADIUS_MM**2 * (turn @ turn)))
