"""Does the affine registration repeat itself? One brain, moved by known rotations and shifts.

    python benchmarks/registration.py DERIVATIVES SUBJECT [MOVES]

``DERIVATIVES`` is an output folder of mriprep that holds the subject. The moves grow to a rotation
of 20 degrees about a random axis and a shift of 20 mm in a random direction; the brain is resampled
once, by cubic splines, and registered again. Printed is the distance between where the two
registrations put the points of the template's brain, mean over them, and the time of the program on
one thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nb
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mriprep.images import load, write_image
from mriprep.intensity import apply_mask
from mriprep.itk import closest_rigid, read_linear
from mriprep.masks import bounding_box
from mriprep.resampling import coarsen
from mriprep.settings import EMBEDDED_SPACE, Settings
from mriprep.templates import find_template
from mriprep.tools import activate
from mriprep.workflows.template import register_interface


def main(derivatives: Path, subject: str, moves: int) -> None:
    """Register, move, register again, print."""
    activate()
    stem = derivatives / f'sub-{subject}' / 'anat' / f'sub-{subject}'
    brain, mask = load(f'{stem}_desc-brain_T1w.nii.gz'), load(f'{stem}_desc-brain_mask.nii.gz')
    volume = brain.get_fdata(dtype=np.float32)
    inside = np.asanyarray(mask.dataobj) > 0
    centre = nb.affines.apply_affine(brain.affine, np.argwhere(inside).mean(0))
    table = Table('move', 'degrees', 'mm', 'affine, mean mm', 'rigid of it, mean mm', 's')
    errors = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        template = find_template(EMBEDDED_SPACE, work)
        points = template_points(template, work)
        still, _ = register(work, volume, inside, brain.affine)
        rng = np.random.default_rng(0)
        for number in range(moves):
            share = (number + 1) / moves  # the last move is the largest
            way = rng.normal(size=3)
            degrees, shift = 20 * share, 20 * share * way / np.linalg.norm(way)
            move = pose(rng, degrees, shift, centre)
            moved, seconds = register(work, *resampled(volume, inside, brain.affine, move))
            error = distance(move @ still, moved, points)
            rigid = distance(
                move @ closest_rigid(still, points), closest_rigid(moved, points), points
            )
            errors.append((error, rigid))
            table.add_row(
                str(number + 1), f'{degrees:.0f}', f'{np.linalg.norm(shift):.0f}',
                f'{error:.3f}', f'{rigid:.3f}', f'{seconds:.1f}',
            )  # fmt: skip
    affine_mean, rigid_mean = np.mean(errors, axis=0)
    table.add_row('mean', '', '', f'{affine_mean:.3f} (limit 0.35)', f'{rigid_mean:.3f}', '')
    Console(width=100).print(table)


def pose(rng, degrees, shift, centre) -> np.ndarray:
    """Rotate about a centre and shift, as a (4, 4) matrix in RAS mm."""
    axis = rng.normal(size=3)
    out = np.eye(4)
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * axis / np.linalg.norm(axis))
    out[:3, :3] = turn.as_matrix()
    out[:3, 3] = centre + shift - out[:3, :3] @ centre
    return out


def resampled(volume, mask, affine, move) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move a brain on a grid that is large enough for it."""
    margin = 40
    grid = affine.copy()
    grid[:3, 3] = affine[:3] @ [-margin, -margin, -margin, 1]
    shape = tuple(n + 2 * margin for n in volume.shape)
    back = np.linalg.inv(move @ affine) @ grid
    moved = ndimage.affine_transform(volume, back, output_shape=shape, order=3)
    inside = ndimage.affine_transform(mask.astype(np.float32), back, output_shape=shape, order=1)
    return moved, inside > 0.5, grid


def template_points(template, work: Path) -> np.ndarray:
    """Write the fixed image; return points of the template's brain, (N, 3), RAS mm."""
    image = load(template.t1w)
    mask = np.asanyarray(load(template.brain_mask).dataobj) > 0
    save_brain(image.get_fdata(dtype=np.float32), mask, image.affine, work / 'fixed.nii')
    return nb.affines.apply_affine(image.affine, np.argwhere(mask)[::500])


def register(work: Path, volume, mask, affine) -> tuple[np.ndarray, float]:
    """Register a brain; return the transform, template to brain in RAS mm, and the seconds."""
    settings = Settings()
    save_brain(volume, mask, affine, work / 'moving.nii')
    interface = register_interface(settings.registration, random_seed=settings.random_seed)
    interface.inputs.fixed_image = [str(work / 'fixed.nii')]
    interface.inputs.moving_image = [str(work / 'moving.nii')]
    interface.inputs.output_transform_prefix = str(work / 'xfm_')
    start = time.perf_counter()
    environment = {**os.environ, 'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS': '1'}
    subprocess.run(
        interface.cmdline, shell=True, check=True, stdout=subprocess.DEVNULL, env=environment
    )
    return read_linear(work / 'xfm_Composite.h5'), time.perf_counter() - start


def save_brain(volume, mask, affine, path: Path) -> None:
    """Write the box around a brain, as the workflow does."""
    box = bounding_box(mask, 5)
    own = affine.copy()
    own[:3, 3] = affine[:3] @ [*(part.start for part in box), 1]
    brain, own = coarsen(apply_mask(volume[box], mask[box]), own, Settings().registration.voxel_mm)
    write_image(brain, own, path, dtype='float32', space_code=1)


def distance(first, second, points) -> float:
    """Mean distance between where two transforms put points."""
    gap = nb.affines.apply_affine(first, points) - nb.affines.apply_affine(second, points)
    return float(np.linalg.norm(gap, axis=1).mean())


if __name__ == '__main__':
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 5)
