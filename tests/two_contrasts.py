"""One phantom head in two contrasts, the second one moved and scanned on a grid of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from oblique import oblique_affine
from scipy import ndimage

from mriprep.mutual_information import moved, transformed


@dataclass(frozen=True)
class Scan:
    """An image, its affine, its brain."""

    volume: np.ndarray
    affine: np.ndarray
    mask: np.ndarray


def t1w_of(head, rng) -> Scan:
    """Make the reference: the head as it is, with some noise."""
    volume = head.volume + rng.normal(0, 4, head.volume.shape)
    return Scan(volume.astype(np.float32), head.affine, head.brain_mask)


def t2w_of(head, rng, move=None, zooms=(3.5, 3.5, 6.0), field_of_view_mm=(200, 240, 220)) -> Scan:
    """Make the other contrast: fluid bright, bone and air dark, in thick oblique slices."""
    contrast = np.interp(
        head.volume, (0, 18, 45, 105, 165, 225, 520), (0, 10, 300, 90, 140, 95, 60)
    )
    move = np.eye(4) if move is None else move
    affine = oblique_affine(zooms, (1, 1, 1), 6.0, (0, 0, 0))
    shape = tuple(np.round(np.divide(field_of_view_mm, zooms)).astype(int))
    centre = transformed(move, middle(head)[None])[0]
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    back = np.linalg.inv(move @ head.affine) @ affine
    volume = ndimage.affine_transform(contrast, back, output_shape=shape, order=1)
    mask = ndimage.affine_transform(
        head.brain_mask.astype(float), back, output_shape=shape, order=1
    )
    volume += rng.normal(0, 4, shape)
    return Scan(volume.astype(np.float32), affine, mask > 0.5)


def middle(head) -> np.ndarray:
    """Centre of the brain, RAS mm."""
    return transformed(head.affine, np.argwhere(head.brain_mask).mean(0)[None])[0]


def miss(found, truth, head) -> float:
    """Mean distance, over the brain, between where two poses put it; mm."""
    points = transformed(head.affine, np.argwhere(head.brain_mask)[::31])
    return float(np.linalg.norm(transformed(found - truth, points), axis=1).mean())


def pose(head, shift, turn) -> np.ndarray:
    """Turn the brain about its centre, and shift it."""
    return moved(np.array(shift, float), np.array(turn, float), middle(head))
