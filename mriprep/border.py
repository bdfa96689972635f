"""The edge of the brain in the image, looked for along the border of a mask.

Bone gives no signal in any contrast, and a stripped image ends at the brain: going outward,
intensity falls. Where it falls tells a mask that is too small or too large from one that fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mriprep.shape import Surface

_FROM_MM, _TO_MM = -12, 14  # of a profile; negative is inside
_INNER_MM = (-12, -8)  # brain, beneath the cortex and its sulci
_FLOOR_MM = (-8, 8)  # where the darkest place of a profile is taken from
_SEARCH_MM = -9  # where the search for the fall begins
_LEAST_FALL = 0.2  # of the inner intensity; a profile that falls less shows no edge
_REGIONS = 64  # of the surface, each about 10 cm2
_LEAST_POINTS = 8  # of a region, for its edge to count


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """Where the image's edge lies off the mask's border, in mm; positive: outside the mask."""

    offset_mm: float | None  # upper quartile over the border; None: the image shows no edge
    shift_mm: float | None  # how far the mask would have to move for its edges to agree
    rough_mm: float | None  # 90th percentile, over regions, of what offset and shift leave
    seen_share: float  # of the border's points well within the image, that show an edge


def find_border(
    volume: NDArray[np.floating], affine: NDArray[np.floating], surface: Surface
) -> Border:
    """Find the image's edge along a mask's border.

    Parameters
    ----------
    volume : (I, J, K) float array
        Head, whole or stripped.
    affine : (4, 4) array
        Voxel indices to RAS mm.
    surface : Surface
        Of the mask.
    """
    positions, seen, within = edge_positions(volume, affine, surface)
    share = float(seen.sum() / max(within.sum(), 1))
    if seen.sum() < _LEAST_POINTS:
        return Border(offset_mm=None, shift_mm=None, rough_mm=None, seen_share=share)
    offset = float(np.percentile(positions[seen], 75))
    turn = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    normals, edges = _regional(surface.outward @ turn.T, positions, seen)
    if len(edges) < 2 * _LEAST_POINTS:
        return Border(offset_mm=offset, shift_mm=None, rough_mm=None, seen_share=share)
    columns = np.c_[np.ones(len(edges)), normals]
    solution = _robust(columns, edges)
    left = np.abs(edges - columns @ solution)
    return Border(
        offset_mm=offset,
        shift_mm=float(np.linalg.norm(solution[1:])),
        rough_mm=float(np.percentile(left, 90)),
        seen_share=share,
    )


def edge_positions(
    volume: NDArray[np.floating], affine: NDArray[np.floating], surface: Surface
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Find where intensity falls along each outward normal.

    Returns
    -------
    positions : (N,) array
        mm from the mask's border, positive outside.
    seen : (N,) bool array
        Whether the profile falls enough to count.
    within : (N,) bool array
        Whether the profile lies in the image; where it does not, nothing is seen.
    """
    from scipy import ndimage

    depth = np.arange(_FROM_MM, _TO_MM + 1)
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    along = surface.voxels[:, None] + depth[None, :, None] * (surface.outward / zooms)[:, None]
    sampled = ndimage.map_coordinates(
        volume, along.reshape(-1, 3).T, order=1, cval=np.nan, output=np.float32
    )
    profiles = ndimage.uniform_filter1d(sampled.reshape(len(along), -1), 3, axis=1, mode='nearest')
    within = np.isfinite(profiles).all(1)
    profiles = np.where(within[:, None], profiles, 0)
    inner = np.median(profiles[:, _between(depth, *_INNER_MM)], axis=1)
    floor = profiles[:, _between(depth, *_FLOOR_MM)].min(1)
    seen = within & (inner - floor > _LEAST_FALL * inner) & (inner > 0)
    half = (inner + floor) / 2
    below = (profiles < half[:, None]) & (depth >= _SEARCH_MM)
    first = np.maximum(below.argmax(1), 1)
    rows = np.arange(len(profiles))
    before, after = profiles[rows, first - 1], profiles[rows, first]
    step = np.clip((before - half) / np.where(before > after, before - after, 1), 0, 1)
    return depth[first] - 1 + step, seen & below.any(1), within


def _between(depth: NDArray[np.int_], low: int, high: int) -> slice:
    return slice(low - depth[0], high - depth[0] + 1)


def _regional(
    normals: NDArray[np.float64], positions: NDArray[np.float64], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions of regions and the upper quartile of the edges within each."""
    directions = _sphere(_REGIONS)
    nearest = (normals @ directions.T).argmax(1)
    kept, edges = [], []
    for region in range(_REGIONS):
        inside = seen & (nearest == region)
        if inside.sum() >= _LEAST_POINTS:
            kept.append(directions[region])
            edges.append(np.percentile(positions[inside], 75))
    return np.array(kept).reshape(-1, 3), np.array(edges)


def _sphere(count: int) -> NDArray[np.float64]:
    """Directions spread evenly, along a spiral."""
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)


def _robust(columns: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares whose weights fade for values further than about 3 mm off."""
    weights = np.ones(len(values))
    solution = np.zeros(columns.shape[1])
    for _ in range(10):
        root = np.sqrt(weights)[:, None]
        solution = np.linalg.lstsq(columns * root, values * root[:, 0], rcond=None)[0]
        weights = 1 / (1 + ((values - columns @ solution) / 3) ** 2)
    return solution
