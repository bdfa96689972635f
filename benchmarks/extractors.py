"""How well, how fast and with how much memory each extractor finds brains.

    python benchmarks/extractors.py DATA_DIR [--threads N]
    python benchmarks/extractors.py DATA_DIR --loads [--threads N]

``DATA_DIR`` is the folder of real scans that the tests use. The first form prints a Markdown table
of what each extractor that can run here makes of a T1w image (truth: HD-BET's mask) and of the
T1w, T2w and FLAIR images of a patient with multiple sclerosis (truth: masks carried over from a
common space), each extracted on its own. The second compares eight images through one process with
eight processes that each load deepbet.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import nibabel as nb
import numpy as np
from measure import cost_of

from mriprep.extractors import registry
from mriprep.extractors.base import LoadOptions
from mriprep.images import load, write_image
from mriprep.masks import binarize_brain
from mriprep.surfaces import surface_distances
from mriprep.templates import embedded_atlas
from mriprep.truth import dice

PHILIPS = 'Philips T1w'
N_IMAGES = 8
HEAD = '| image | extractor | Dice | mean mm | 95 % mm | ml (truth) | s | load s | peak GB |'


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('data', type=lambda word: Path(word).resolve())
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--loads', action='store_true')
    parser.add_argument('--one', nargs='+', metavar=('NAME', 'IMAGE'), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        name, *images = chosen.one
        print(json.dumps(extract(name, list(map(Path, images)), chosen.data, chosen.threads)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.loads:
            loads(chosen.data, Path(scratch), chosen.threads)
        else:
            accuracy(chosen.data, Path(scratch), chosen.threads)


def accuracy(data: Path, scratch: Path, threads: int) -> None:
    """Print the table."""
    pairs = scans(data, scratch)
    print(HEAD)
    print('|---' * (HEAD.count('|') - 1) + '|')
    for name in registry.names():
        if problem := registry.get(name).problem():
            print(f'{name} is left out: {problem}', file=sys.stderr)
            continue
        for what, (image, truth) in pairs.items():
            print(row(what, name, image, truth, scratch, threads), flush=True)


def row(what: str, name: str, image: Path, truth: Path, scratch: Path, threads: int) -> str:
    """Extract in processes of their own, one for the time and one for the memory."""
    words = command(name, [image], scratch, threads)
    answer = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(answer.stdout.splitlines()[-1])
    found, known = mask_of(image.with_name(f'{name}_{image.name}')), mask_of(truth)
    affine = load(image).affine
    apart = surface_distances(found, known, affine)
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    peak = cost_of(words, memory=True).peak_gb
    return (
        f'| {what} | {name} | {dice(found, known):.3f} | {apart.mean_mm:.1f} '
        f'| {apart.percentile95_mm:.1f} | {found.sum() * voxel_ml:.0f} '
        f'({known.sum() * voxel_ml:.0f}) | {told["seconds"][0]:.1f} | {told["load_s"]:.1f} '
        f'| {peak:.2f} |'
    )


def loads(data: Path, scratch: Path, threads: int) -> None:
    """Compare one process for all images with one for each."""
    image, _ = scans(data, scratch, only=PHILIPS)[PHILIPS]
    start = time.perf_counter()
    words = command('deepbet', [image] * N_IMAGES, scratch, threads)
    answer = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    together = time.perf_counter() - start
    told = json.loads(answer.stdout.splitlines()[-1])
    costs = [cost_of(command('deepbet', [image], scratch, threads)) for _ in range(N_IMAGES)]
    apart = sum(cost.wall_s for cost in costs)
    first, later = told['seconds'][0], told['seconds'][1:]
    print('| what | s |\n|---|---|')
    print(f'| one process, {N_IMAGES} images | {together:.1f} |')
    print(f'| of it: loading | {told["load_s"]:.1f} |')
    print(f'| of it: first image | {first:.1f} |')
    print(f'| of it: each further image (limit 3) | {np.mean(later):.2f} (to {max(later):.2f}) |')
    print(f'| the same, seconds of one processor | {np.mean(told["processor_s"][1:]):.2f} |')
    print(f'| {N_IMAGES} processes, one image each | {apart:.1f} |')
    print(f'| ratio | {apart / together:.2f} |')


def command(name: str, images: list[Path], scratch: Path, threads: int) -> list[str]:
    """Words of a process that loads one extractor and finds the brain in images."""
    paths = map(str, images)
    count = ['--threads', str(threads)]
    return [sys.executable, __file__, str(scratch), *count, '--one', name, *paths]


def extract(name: str, images: list[Path], scratch: Path, threads: int) -> dict[str, object]:
    """Find brains, write their masks beside the images; return the seconds."""
    options = LoadOptions(atlas=embedded_atlas(scratch))
    start = time.perf_counter()
    network = registry.get(name).load(options)
    load_s = time.perf_counter() - start
    seconds, processor_s = [], []
    for path in images:
        start, used = time.perf_counter(), time.process_time()
        image = load(path)
        volume = image.get_fdata(dtype=np.float32)
        values = network(volume, image.affine, n_threads=threads).values
        mask = binarize_brain(values, 0.5)
        seconds.append(time.perf_counter() - start)
        processor_s.append(time.process_time() - used)
        out = path.with_name(f'{name}_{path.name}')
        write_image(mask, image.affine, out, dtype='uint8', space_code=1)
    return {'load_s': load_s, 'seconds': seconds, 'processor_s': processor_s}


def scans(data: Path, scratch: Path, only: str | None = None) -> dict[str, tuple[Path, Path]]:
    """Write images and the true masks, all with RAS axes; by what they are."""
    philips, ms = data / 'philips-mprage', data / 'ms-t1-t2-flair'
    sources = {PHILIPS: (philips / 'dicom.tar.gz', philips / 'hdbet_brain_mask.nii.gz')}
    for kind in ('T1W', 'T2W', 'FLAIR'):
        mask = ms / f'patient04_study1_{kind}_brainmask-from-common.nii.gz'
        sources[f'MS {kind.replace("W", "w")}'] = (ms / f'study1_{kind}.nii.gz', mask)
    out = {}
    for what, (image, mask) in sources.items():
        if only in (None, what):
            stem = what.replace(' ', '_')
            if image.suffixes == ['.tar', '.gz']:
                image = converted(image, scratch)
            out[what] = tuple(
                canonical(path, scratch / f'{stem}_{part}.nii', dtype)
                for path, part, dtype in ((image, 'head', 'float32'), (mask, 'mask', 'uint8'))
            )
    return out


def converted(archive: Path, scratch: Path) -> Path:
    """Turn packed DICOM files into an image."""
    import dcm2niix

    with tempfile.TemporaryDirectory() as dicom, tarfile.open(archive) as packed:
        packed.extractall(dicom, filter='data')
        words = ['-z', 'n', '-b', 'n', '-f', 'converted', '-o', str(scratch), dicom]
        dcm2niix.main(words, capture_output=True, check=True)
    return scratch / 'converted.nii'


def canonical(source: Path, path: Path, dtype: str) -> Path:
    """Write an image with RAS axes."""
    image = nb.as_closest_canonical(load(source))
    write_image(image.get_fdata(), image.affine, path, dtype=dtype, space_code=1)
    return path


def mask_of(path: Path) -> np.ndarray:
    """Read a mask."""
    return np.asanyarray(load(path).dataobj) > 0.5


if __name__ == '__main__':
    main()
