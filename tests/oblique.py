"""Grids that show what goes wrong: oblique, anisotropic, left-handed."""

from __future__ import annotations

import numpy as np


def oblique_affine(zooms=(2.0, 2.5, 3.0), signs=(-1, 1, 1), degrees=15.0, origin=(31, -22, 8)):
    """Make an affine, by default LAS, turned about two axes."""
    a, b = np.radians([degrees, degrees / 2])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(np.multiply(zooms, signs))
    affine[:3, 3] = origin
    return affine


def ball(shape, centre, radius):
    """Make a mask: voxels within ``radius`` voxels of ``centre``."""
    distance = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (distance**2).sum(0) <= radius**2


def turned_affine(*zooms):
    """Affine with these zooms (mm), turned about an axis that is none of the grid's."""
    turn = np.linalg.qr(np.array([[1, 0.2, -0.1], [-0.2, 1, 0.3], [0.15, -0.3, 1]]))[0]
    turn *= np.sign(np.diag(turn))
    affine = np.eye(4)
    affine[:3, :3] = turn * zooms
    affine[:3, 3] = -20, 10, 5
    return affine
