"""How well is another contrast registered to the reference, and what does the guard see?

    python benchmarks/coregistration.py DATA [--ants]

``DATA`` is the folder of real scans of the tests. Three subjects are registered as they are, then
after their other contrasts were moved by known rotations (to 20 degrees) and shifts (to 20 mm), in
the header or by one resampling, made thick, cut, shaded, made noisy, stripped, or given wrong masks.
Printed is the distance between where both answers put the points of the brain. Nobody knows the
true pose of the unmoved images, so that the answer for them is the truth of the moved ones. Then the
guard looks at right poses and at poses that are off by a known distance. ``--ants`` registers the
moved images with antsRegistration, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from mriprep.coregistration import coregister, judge_pose
from mriprep.criteria import Status
from mriprep.geometry import to_ras
from mriprep.image_pair import mean_distance, prepare
from mriprep.images import load, write_image
from mriprep.itk import read_linear
from mriprep.masks import binarize_brain, bounding_box
from mriprep.mutual_information import moved, transformed
from mriprep.resampling import coarsen
from mriprep.tools import activate

STRIPPED = {
    'glioma': ('glioma-four-contrasts-stripped/00001_{}.nii.gz', 't1n', ('t1c', 't2w', 't2f')),
    'stroke': ('stroke-stripped-oblique/{}.nii.gz', 'T1', ('T2', 'FLAIR')),
}
MS = 'ms-t1-t2-flair'
CONSOLE = Console(width=110)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """An image, its mask and its affine."""

    volume: np.ndarray
    affine: np.ndarray
    mask: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """Centre of the brain, RAS mm."""
        return transformed(self.affine, np.argwhere(self.mask).mean(0)[None])[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """Another contrast to be registered, and by what it was moved."""

    name: str
    reference: Scan
    other: Scan
    move: np.ndarray
    own_mask: np.ndarray | None = None

    @property
    def arguments(self) -> tuple:
        """What `coregister` takes."""
        own = self.other.mask if self.own_mask is None else self.own_mask
        reference, other = self.reference, self.other
        return (
            reference.volume,
            reference.affine,
            reference.mask,
            other.volume,
            other.affine,
            own,
        )


def main() -> None:
    """Read, move, register, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument('data', type=Path)
    parser.add_argument('--ants', action='store_true', help='antsRegistration, too')
    options = parser.parse_args()
    activate()
    subjects = read(options.data)
    still = cache(lambda subject, contrast: coregister(*plain(subjects, subject, contrast)))
    consistency(subjects, still, ants=options.ants)
    conditions(subjects, still)
    guard(subjects)


def plain(subjects, subject: str, contrast: str) -> tuple:
    """Arguments of `coregister` for the images as they are."""
    reference, others = subjects[subject]
    return Case(
        name=contrast, reference=reference, other=others[contrast], move=np.eye(4)
    ).arguments


def read(data: Path) -> dict[str, tuple[Scan, dict[str, Scan]]]:
    """Read the subjects: the reference, and the other contrasts by name."""
    out = {}
    scans = {}
    for contrast in ('T1W', 'T2W', 'FLAIR'):
        mask = data / MS / f'patient04_study1_{contrast}_brainmask-from-common.nii.gz'
        scans[contrast] = scan(data / MS / f'study1_{contrast}.nii.gz', mask)
    t1w = scans.pop('T1W')
    out['ms'] = (replace(t1w, volume=without_bias(t1w)), scans)
    for name, (pattern, reference, others) in STRIPPED.items():
        out[name] = (
            scan(data / pattern.format(reference)),
            {other: scan(data / pattern.format(other)) for other in others},
        )
    return out


def scan(path: Path, mask_path: Path | None = None) -> Scan:
    """Read an image in RAS order; of a stripped one the mask is what is bright."""
    image = load(path)
    volume, affine = to_ras(image.get_fdata(dtype=np.float32), image.affine)
    if mask_path is None:
        mask = binarize_brain((volume > 0).astype(np.float32), 0.5)
    else:
        mask = to_ras(np.asanyarray(load(mask_path).dataobj) > 0, image.affine)[0]
    return Scan(volume=np.ascontiguousarray(volume), affine=affine, mask=mask)


def without_bias(image: Scan) -> np.ndarray:
    """Correct the bias field with N4, as the reference's is in a run."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        save(image, work)
        words = f'N4BiasFieldCorrection -d 3 -i {work}/image.nii -x {work}/mask.nii -s 4'
        words += f' -c [50x50x30,1e-3] -o {work}/out.nii'
        subprocess.run(words.split(), check=True, capture_output=True)
        return load(work / 'out.nii').get_fdata(dtype=np.float32)


def save(image: Scan, work: Path, stem: str = '') -> None:
    """Write an image and its mask."""
    for name, array, dtype in (('image', image.volume, 'float32'), ('mask', image.mask, 'uint8')):
        write_image(array, image.affine, work / f'{stem}{name}.nii', dtype=dtype, space_code=1)


def moves(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Shifts and turns that grow to 20 mm and 20 degrees."""
    rng = np.random.default_rng(0)
    out = []
    for number in range(count):
        axis, way = rng.normal(size=(2, 3))
        size = 20 * (number + 1) / count
        out.append((size * way / np.linalg.norm(way), size * axis / np.linalg.norm(axis)))
    return out


def in_header(case: Case, shift, turn) -> Case:
    """Move an image by its affine."""
    move = moved(shift, turn, case.reference.centre)
    return replace(case, other=replace(case.other, affine=move @ case.other.affine), move=move)


def resampled(case: Case, shift, turn, zooms=None) -> Case:
    """Move an image by one interpolation, onto voxels that may be thick."""
    move, other = moved(shift, turn, case.reference.centre), case.other
    own = np.linalg.norm(other.affine[:3, :3], axis=0)
    zooms = own if zooms is None else np.array(zooms, float)
    margin = np.ceil(30 / zooms).astype(int)
    shape = np.ceil(np.array(other.volume.shape) * own / zooms).astype(int) + 2 * margin
    grid = other.affine @ np.diag([*(zooms / own), 1.0])
    grid[:3, 3] = transformed(grid, -margin[None].astype(float))[0]
    # slices are means of what they hold
    parts = np.where(zooms > 1.5 * own, np.ceil(zooms / own), 1).astype(int)
    fine = grid @ np.diag([*(1 / parts), 1.0])
    fine[:3, 3] = transformed(grid, ((1 / parts - 1) / 2)[None])[0]
    back = np.linalg.inv(move @ other.affine) @ fine

    def onto(volume, order):
        out = ndimage.affine_transform(
            volume.astype(np.float32), back, output_shape=tuple(shape * parts), order=order
        )
        pairs = [size for pair in zip(shape, parts, strict=True) for size in pair]
        return out.reshape(pairs).mean((1, 3, 5)).astype(np.float32)

    volume, mask = onto(other.volume, 3), onto(other.mask, 1) > 0.5
    if other.volume.min() == 0 and (other.volume == 0).mean() > 0.3:
        volume[volume < 0.3 * np.percentile(other.volume[other.mask], 2)] = 0  # ringing
    return replace(case, other=Scan(volume=volume, affine=grid, mask=mask), move=move)


def shaded(case: Case, amplitude: float) -> Case:
    """Multiply by a smooth field."""
    rng = np.random.default_rng(3)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in case.other.volume.shape), indexing='ij')
    terms = [*axes, *(axis**2 - 0.3 for axis in axes), axes[0] * axes[1]]
    field = sum(weight * term for weight, term in zip(rng.normal(size=7), terms, strict=True))
    field = np.exp(amplitude * field / np.abs(field).max()).astype(np.float32)
    return replace(case, other=replace(case.other, volume=case.other.volume * field))


def noisy(case: Case, share: float) -> Case:
    """Add Rician noise."""
    rng, volume = np.random.default_rng(5), case.other.volume
    sigma = share * np.percentile(volume[case.other.mask], 90)
    real, imaginary = rng.normal(0, sigma, (2, *volume.shape))
    noise = np.hypot(volume + real, imaginary).astype(np.float32)
    return replace(case, other=replace(case.other, volume=noise))


def cut(case: Case, axis: int, share: float) -> Case:
    """Keep what lies beyond a share of the brain along an axis."""
    other, part = case.other, bounding_box(case.other.mask)[axis]
    box = [slice(None)] * 3
    start = part.start + int(share * (part.stop - part.start))
    box[axis] = slice(start, None)
    affine, corner = other.affine.copy(), np.zeros((1, 3))
    corner[0, axis] = start
    affine[:3, 3] = transformed(affine, corner)[0]
    kept = Scan(volume=other.volume[tuple(box)], affine=affine, mask=other.mask[tuple(box)])
    return replace(case, other=kept)


def consistency(subjects, still, *, ants: bool) -> None:
    """Move the MS subject's T2w and FLAIR, in the header and by resampling."""
    table = Table(
        'contrast', 'degrees', 'mm', 'how', 'mean mm', 'max mm', 's', 'guard', 'ANTs mm', 's'
    )
    errors = []
    for contrast in ('T2W', 'FLAIR'):
        reference, others = subjects['ms']
        case = Case(name=contrast, reference=reference, other=others[contrast], move=np.eye(4))
        truth = still('ms', contrast).matrix
        by_ants = ants_pose(case, np.eye(4))[0] if ants else None
        for shift, turn in moves(5):
            for how, make in (('header', in_header), ('resampled', resampled)):
                there = make(case, shift, turn)
                mean, most, seconds, found = answer(there, truth)
                errors.append((mean, most))
                peer = ('', '')
                if by_ants is not None:
                    start = moved(np.full(3, 1.5), np.full(3, 1.5), there.reference.centre)
                    pose, spent = ants_pose(there, there.move @ by_ants @ start)
                    peer = (
                        f'{apart(pose, there.move @ by_ants, reference)[0]:.3f}',
                        f'{spent:.1f}',
                    )
                table.add_row(
                    contrast, f'{np.linalg.norm(turn):.0f}', f'{np.linalg.norm(shift):.0f}', how,
                    f'{mean:.3f}', f'{most:.3f}', f'{seconds:.1f}', found.status.value, *peer,
                )  # fmt: skip
    mean, most = np.mean(errors, axis=0)[0], np.max(errors, axis=0)[1]
    table.add_row('all', '', '', '', f'{mean:.3f} (limit 0.5)', f'{most:.3f}', '', '', '', '')
    CONSOLE.print('Self-consistency on the MS subject', table)


def answer(case: Case, truth: np.ndarray):
    """Register; return the mean and largest error, the processor's seconds, and what was found."""
    begun = time.process_time()
    found = coregister(*case.arguments)
    seconds = time.process_time() - begun
    return *apart(found.matrix, case.move @ truth, case.reference), seconds, found


def apart(first, second, reference: Scan) -> tuple[float, float]:
    """Mean and largest distance between where two poses put the brain."""
    points = transformed(reference.affine, np.argwhere(reference.mask)[::97])
    gaps = np.linalg.norm(transformed(first - second, points), axis=1)
    return float(gaps.mean()), float(gaps.max())


def cases(subjects) -> Iterator[tuple[str, str, str, Case]]:
    """Yield every condition: its name, subject, contrast and images."""
    for subject, contrast, name, change in changes():
        reference, others = subjects[subject]
        case = Case(name=name, reference=reference, other=others[contrast], move=np.eye(4))
        yield f'{subject} {contrast}: {name}', subject, contrast, change(case)


def changes() -> Iterator[tuple[str, str, str, Callable[[Case], Case]]]:
    """Yield subject, contrast, name and what is done to the image."""
    steps = moves(5)

    def thick(move, *zooms):
        return lambda case: resampled(case, *move, zooms)

    for contrast in ('T2W', 'FLAIR'):
        for name, change in (
            ('as it is', lambda case: case),
            ('strong shading', lambda case: shaded(case, 0.8)),
            ('15 % noise', lambda case: noisy(case, 0.15)),
            ('upper half', lambda case: cut(case, 2, 0.5)),
            ('right half', lambda case: cut(case, 0, 0.5)),
            ('stripped, moved', lambda case: resampled(stripped(case), *steps[1])),
            ('mask 10 mm too large', lambda case: wrong_mask(case, grown=True)),
            ('half of the mask', lambda case: wrong_mask(case, grown=False)),
        ):
            yield 'ms', contrast, name, change
    yield 'ms', 'T2W', 'axial 5.5 mm, moved', thick(steps[1], 0.8, 0.8, 5.5)
    yield 'ms', 'FLAIR', 'sagittal 5 mm, moved', thick(steps[1], 5, 0.8, 0.8)
    for contrast in ('t1c', 't2w', 't2f'):
        yield 'glioma', contrast, 'as it is', lambda case: case
        yield 'glioma', contrast, 'moved', lambda case: resampled(case, *steps[2])
    yield 'glioma', 't2w', 'axial 5 mm, moved', thick(steps[3], 1, 1, 5)
    yield 'glioma', 't2f', 'sagittal 5 mm, moved', thick(steps[3], 5, 1, 1)
    for contrast in ('T2', 'FLAIR'):
        for name, change in (
            ('as it is', lambda case: case),
            ('moved', lambda case: resampled(case, *steps[4])),
            ('axial 5 mm, moved', thick(steps[3], 1, 1, 5)),
            ('sagittal 5 mm, moved', thick(steps[3], 5, 1, 1)),
            ('strong shading', lambda case: shaded(case, 0.8)),
            ('front half', lambda case: cut(case, 1, 0.5)),
        ):
            yield 'stroke', contrast, name, change


def stripped(case: Case) -> Case:
    """Set what lies outside the mask to zero."""
    volume = np.where(case.other.mask, case.other.volume, 0)
    return replace(case, other=replace(case.other, volume=volume))


def wrong_mask(case: Case, *, grown: bool) -> Case:
    """Give a mask that is too large, or misses one side."""
    mask = case.other.mask
    if grown:
        zooms = np.linalg.norm(case.other.affine[:3, :3], axis=0)
        return replace(case, own_mask=ndimage.distance_transform_edt(~mask, sampling=zooms) < 10)
    half = mask.copy()
    half[: (bounding_box(mask)[0].start + bounding_box(mask)[0].stop) // 2] = False
    return replace(case, own_mask=half)


def conditions(subjects, still) -> None:
    """Register under every condition."""
    table = Table('condition', 'mean mm', 'max mm', 's', 'guard', 'doubts')
    for name, subject, contrast, case in cases(subjects):
        mean, most, seconds, found = answer(case, still(subject, contrast).matrix)
        doubts = [check.name for check in found.checks if check.status is not Status.ACCEPT]
        if name.endswith('as it is'):
            mean, most = apart(found.matrix, np.eye(4), case.reference)  # against the header
            name += ' (from the header)'
        table.add_row(
            name, f'{mean:.2f}', f'{most:.2f}', f'{seconds:.1f}',
            found.status.value + (', wide' if found.searched_widely else ''), ', '.join(doubts),
        )  # fmt: skip
    CONSOLE.print('Conditions', table)


def guard(subjects) -> None:
    """Show the guard right poses and wrong ones."""
    rng = np.random.default_rng(1)
    found: dict[float, list] = {size: [] for size in (0, 1, 2, 3, 5, 8)}
    for _, _, _, case in cases(subjects):
        if case.own_mask is not None:
            continue
        reference, affine, mask, *other = case.arguments
        here, there = prepare(reference, affine, mask, crop=True), prepare(*other)
        pose = coregister(*case.arguments).matrix
        centre = transformed(pose, case.reference.centre[None])[0]
        brain = transformed(affine, np.argwhere(mask)[::97])
        for size, seen in found.items():
            for kind in ('shift', 'turn', 'both') if size else ('shift',):
                axis, way = rng.normal(size=(2, 3))
                shift = size * way / np.linalg.norm(way) * (kind != 'turn')
                turn = size * axis / np.linalg.norm(axis) * (kind != 'shift')
                off = moved(shift, turn, centre) @ pose
                status, checks = judge_pose(here, there, off)
                values = {check.name: check.value for check in checks}
                doubted = {check.name for check in checks if check.status is not Status.ACCEPT}
                sharp = {'information', 'better_near_by', 'fall'} & doubted
                seen.append((mean_distance(pose, off, brain), status, sharp, values))
    table = Table(
        'mm or degrees off',
        'poses',
        'mean mm',
        'peak doubted',
        'refused',
        'fall',
        'better near by',
        'information',
        'mirrored',
    )
    for size, poses in found.items():
        away, states, doubts, values = zip(*poses, strict=True)
        spread = [
            '{:.3f} to {:.3f}'.format(*np.percentile([v[key] for v in values if v[key] is not None], (0, 100)))
            for key in ('fall', 'better_near_by', 'information', 'mirrored')
        ]  # fmt: skip
        table.add_row(
            str(size), str(len(poses)), f'{np.mean(away):.1f}',
            f'{np.mean([bool(doubt) for doubt in doubts]):.0%}',
            f'{np.mean([state is Status.REFUSED for state in states]):.0%}', *spread,
        )  # fmt: skip
    CONSOLE.print('The guard on right poses (0) and wrong ones', table)


def ants_pose(case: Case, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Register with antsRegistration on 2 mm voxels, one thread; also the seconds it takes."""
    reference, other = case.reference, case.other
    box = bounding_box(reference.mask, 15)
    affine = reference.affine.copy()
    affine[:3, 3] = transformed(affine, np.array([[part.start for part in box]], float))[0]
    fixed, grid = coarsen(reference.volume[box], affine, 2.0)
    near = coarsen(reference.mask[box].astype(np.float32), affine, 2.0)[0] > 0.02
    # the start goes into the header, so that the program begins with none
    there, there_grid = coarsen(other.volume, np.linalg.inv(start) @ other.affine, 2.0)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        save(Scan(volume=fixed, affine=grid, mask=near), work, 'fixed_')
        save(Scan(volume=there, affine=there_grid, mask=there > 0), work, 'moving_')
        words = (
            f'antsRegistration -d 3 --float 1 -o {work}/x -x {work}/fixed_mask.nii -t Rigid[0.1]'
            f' -m MI[{work}/fixed_image.nii,{work}/moving_image.nii,1,32,Regular,1]'
            ' -c [50x50x20,1e-6,10] -f 4x2x1 -s 2x1x0vox --random-seed 1 -a 1'
            ' -w [0.005,0.995]'
        )
        begun = time.perf_counter()
        env = os.environ | {'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS': '1'}
        subprocess.run(words.split(), check=True, capture_output=True, env=env)
        return start @ read_linear(work / 'xComposite.h5'), time.perf_counter() - begun


if __name__ == '__main__':
    main()
