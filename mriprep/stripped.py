"""Images that come without skull: recognised from their voxels, and the mask that they imply.

A stripped image holds one value everywhere outside one piece of the size of a brain. Heads whose
air was set to zero do so too, and a small or cut head is no larger; but their scalp lies around
dark bone, and nothing bright lies around a dark layer in a brain. docs/contrast-check.md lists
what real scans show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_SAMPLE_MM = 1.6  # grids finer than half of it are sampled, for speed
_BODY = 0.1  # of the brightness of the brightest voxels, above which a voxel surely is tissue
_FAINT = 0.03  # of the median brightness of tissue; less is noise, or ringing of an interpolation
_FAINT_SHARE = 0.03  # of the tissue's volume; stripped images have 0.015 and less
_BRIGHT_SHARE = 0.9  # of tissue above the background; fewer after a z-score
_TOLERANCE = 0.05  # of the median brightness: beyond the second lobe of ringing
_LEAST_FACES = 0.7  # of the six faces of the image that are background
_VOLUME_ML = (200.0, 2400.0)  # of a brain; heads of adults have 2500 and more
_LEAST_PIECE = 0.9  # of the foreground in its largest piece
_DEPTHS_MM = (2, 22)  # beneath the surface, where bone would be
_REACH_MM = 40  # of the profiles: beyond the bone there is brain again
_DARK = 0.5  # of what is brighter on both sides
_MOST_DARK = 0.2  # of the surface with something dark beneath; brains have 0.07, heads 0.29


@dataclass(frozen=True, slots=True, kw_only=True)
class _Background:
    """What lies outside: one value, or all that does not exceed it by more than a tolerance."""

    level: float
    tolerance: float

    def foreground(self, volume: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Voxels that are not background."""
        import numpy as np

        if self.tolerance:
            return np.asarray(volume > self.level + self.tolerance)
        return np.asarray(volume != self.level)


def looks_stripped(volume: NDArray[np.floating], affine: NDArray[np.floating]) -> bool:
    """Tell from the voxels whether an image shows a brain without skull.

    Parameters
    ----------
    volume : (I, J, K) float array
        Intensities, finite, any contrast; voxel axes in any order.
    affine : (4, 4) array
        Voxel indices to mm.

    Returns
    -------
    bool
        False also where a brain is cut so that much of it lies on the faces of the image.
    """
    return _stripped_background(volume, affine) is not None


def stripped_mask(
    volume: NDArray[np.floating], affine: NDArray[np.floating]
) -> NDArray[np.bool_] | None:
    """Mask of a brain in an image that has been stripped of the skull.

    It is a proposal: whether it has the shape and the tissue of a brain is for `mriprep.guard` to
    judge.

    Parameters
    ----------
    volume : (I, J, K) float array
        Intensities, finite, any contrast; voxel axes in any order.
    affine : (4, 4) array
        Voxel indices to mm.

    Returns
    -------
    (I, J, K) bool array or None
        The largest piece of what is not background, holes filled; None for an image that is not
        stripped.
    """
    import numpy as np

    from mriprep.masks import clean_brain

    background = _stripped_background(volume, affine)
    if background is None:
        return None
    return clean_brain(background.foreground(volume).astype(np.float32), 0.5)[0]


def find_stripped(paths: Sequence[Path], *, threads: int = 8) -> frozenset[Path]:
    """Tell which files hold stripped images; the voxels of all of them are read.

    Files that can't be read are left out: others say why. `mriprep.headers.BriefHeader.flat_start`
    tells files that need not be asked for.

    Parameters
    ----------
    paths
        NIfTI files.
    threads
        Files that are read at the same time.
    """
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        return frozenset(
            path
            for path, found in zip(paths, pool.map(_file_looks_stripped, paths), strict=True)
            if found
        )


def _file_looks_stripped(path: Path) -> bool:
    """Tell for one file; only the voxels that are looked at become floats."""
    import numpy as np

    from mriprep.images import ImageError, load

    try:
        image: Any = load(path)
        affine = np.asarray(image.affine, np.float64)
        extra = image.shape[3:]
        if math.prod(extra) != 1 or not np.isfinite(affine).all() or not np.linalg.det(affine):
            return False
        steps = _steps(affine)
        first = (*(slice(None, None, int(n)) for n in steps), *[0] * len(extra))
        sampled = np.asarray(image.dataobj[first], np.float32)
    except (ImageError, ValueError, TypeError, IndexError):
        return False
    sampled = np.nan_to_num(sampled, nan=0.0, posinf=0.0, neginf=0.0)
    return looks_stripped(sampled, _sampled_affine(affine, steps))


def _steps(affine: NDArray[np.floating]) -> NDArray[np.int_]:
    """Every which voxel is looked at, along each axis."""
    import numpy as np

    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    return np.asarray(np.maximum(1, np.rint(_SAMPLE_MM / np.maximum(zooms, 0.1))), np.int_)


def _sampled_affine(affine: NDArray[np.floating], steps: NDArray[np.int_]) -> NDArray[np.float64]:
    import numpy as np

    return np.asarray(affine @ np.diag([*steps.tolist(), 1]), np.float64)


def _stripped_background(
    volume: NDArray[np.floating], affine: NDArray[np.floating]
) -> _Background | None:
    """Find what lies outside the brain of a stripped image; None for any other image."""
    import numpy as np

    from mriprep.heads import why_not_a_head
    from mriprep.masks import clean_brain

    steps = _steps(affine)
    affine = _sampled_affine(np.asarray(affine, np.float64), steps)
    volume = np.ascontiguousarray(volume[tuple(slice(None, None, n) for n in steps)])
    background = _background(volume)
    if background is None:
        return None
    foreground = background.foreground(volume)
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    low, high = _VOLUME_ML
    if not low <= np.count_nonzero(foreground) * voxel_ml <= high / _LEAST_PIECE:
        return None
    mask, pieces = clean_brain(foreground.astype(np.float32), 0.5)
    if pieces.largest_share < _LEAST_PIECE or np.count_nonzero(mask) * voxel_ml > high:
        return None
    brightness = _brightness(volume, mask, background.level)
    if _dark_share(brightness, affine, mask) > _MOST_DARK or why_not_a_head(brightness, affine):
        return None
    return background


def _background(volume: NDArray[np.floating]) -> _Background | None:
    """Find the value around what the image shows; None where tissue reaches the faces."""
    import numpy as np

    faces = np.concatenate([
        volume[tuple(end if axis == other else slice(None) for other in range(3))].ravel()
        for axis in range(3)
        for end in (0, -1)
    ])  # fmt: skip
    level = float(np.median(faces))
    away = np.abs(volume - np.float32(level))
    body = away > _BODY * float(np.percentile(away, 99.5))
    if not body.any():
        return None
    bright = float(np.median(away[body]))
    faint = np.count_nonzero((away > 0) & (away < _FAINT * bright))
    above = np.count_nonzero(volume[body] > level)
    blurred = min(faint / _FAINT_SHARE, above / _BRIGHT_SHARE) > np.count_nonzero(body)
    found = _Background(level=level, tolerance=_TOLERANCE * bright if blurred else 0.0)
    outside = np.count_nonzero(~found.foreground(faces))
    return found if outside >= _LEAST_FACES * len(faces) else None


def _brightness(
    volume: NDArray[np.floating], mask: NDArray[np.bool_], level: float
) -> NDArray[np.float32]:
    """Intensities above the background, or above what is darkest where the background is not.

    After a z-score the background lies among the tissues; marks such as -1000 lie far below.
    """
    import numpy as np

    low = float(np.percentile(volume[mask], 0.5))
    floor = 0.0 if level < 0 <= low else min(level, low)
    return np.where(mask, np.maximum(volume - floor, 0), 0).astype(np.float32)


def _dark_share(
    brightness: NDArray[np.floating], affine: NDArray[np.floating], mask: NDArray[np.bool_]
) -> float:
    """Share of a mask's surface that has something dark beneath, and what is brighter around it."""
    import numpy as np
    from scipy import ndimage

    from mriprep.masks import bounding_box
    from mriprep.shape import blocks, surface_points

    surface = surface_points(blocks(mask, affine, bounding_box(mask)))
    if not len(surface.voxels):
        return 1.0
    depth = np.arange(_REACH_MM)
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    along = surface.voxels[:, None] - depth[None, :, None] * (surface.outward / zooms)[:, None]
    sampled = ndimage.map_coordinates(
        brightness, along.reshape(-1, 3).T, order=1, mode='nearest', output=np.float32
    )
    profiles = ndimage.uniform_filter1d(sampled.reshape(len(along), -1), 2, axis=1)
    around = np.minimum(
        np.maximum.accumulate(profiles, axis=1),
        np.maximum.accumulate(profiles[:, ::-1], axis=1)[:, ::-1],
    )
    around = np.minimum(around, np.median(brightness[mask]))  # the fluid of T2w is no measure
    dark = (profiles < _DARK * around)[:, slice(*_DEPTHS_MM)]
    return float(dark.any(axis=1).mean())
