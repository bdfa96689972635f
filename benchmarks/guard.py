"""What the guard of the mask says of good masks, and of masks broken on purpose.

    python benchmarks/guard.py DATA_DIR [HEAD ...]

``DATA_DIR`` is the folder of real scans that the tests use; ``HEAD`` takes some of the heads below.
Masks of whole heads are deepbet's, those of stripped ones what is not zero, and four come with the
scans. Each good mask is broken in every way of ``tests/broken_masks.py``, and given to the head of
another subject. Breaks that change next to nothing (Dice above 0.9975 with the good mask) are counted
apart: there was nothing to break, as a neck beyond the edge of the image. The whole of a stripped
head is a good mask and no break. All heads take six minutes on one processor.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / 'tests'))

from broken_masks import BREAKS, Head, borrowed

from mriprep.atlas import Atlas, load_atlas
from mriprep.extractors import registry
from mriprep.extractors.base import AtlasFiles, LoadOptions
from mriprep.guard import Status, Verdict, judge
from mriprep.images import load, load_mask_on
from mriprep.interfaces.conform import Conform
from mriprep.masks import binarize_brain
from mriprep.settings import EMBEDDED_SPACE
from mriprep.templates import find_template
from mriprep.tools import embedded_dcm2niix
from mriprep.truth import dice

UNCHANGED = 0.9975
OTHER = "another subject's"
MS = 'ms-t1-t2-flair'
WHOLE = {
    'philips': ('philips-mprage/dicom.tar.gz', 'philips-mprage/hdbet_brain_mask.nii.gz'),
    'studyforrest': ('studyforrest-t1w/dicom.tar.xz', None),
    'xa30-5': ('siemens-xa30-enhanced/ser5_no-prescan-norm.dcm', None),
    'xa30-6': ('siemens-xa30-enhanced/ser6_NORM.dcm', None),
    'sagittal': ('sagittal-jpeg2000-dicom/jpeg2000-lossless', None),
    'cropped': ('cropped-head-uint8/MR.nii.gz', None),
    'flair-named-t2': ('flair-named-t2/t2.nii.gz', None),
    **{
        f'ms-{kind.lower()}': (
            f'{MS}/study1_{kind}.nii.gz',
            f'{MS}/patient04_study1_{kind}_brainmask-from-common.nii.gz',
        )
        for kind in ('T1W', 'T2W', 'FLAIR')
    },
}
STRIPPED = {
    **{
        f'glioma-{kind}': f'glioma-four-contrasts-stripped/00001_{kind}.nii.gz'
        for kind in ('t1n', 't1c', 't2w', 't2f')
    },
    **{
        f'stroke-{kind.lower()}': f'stroke-stripped-oblique/{kind}.nii.gz'
        for kind in ('T1', 'T2', 'FLAIR')
    },
}


def main(data: Path, wanted: list[str]) -> None:
    """Judge and print."""
    console = Console(width=150)
    matrix: dict[str, Counter[str]] = {}
    values = Table('good mask', 'status', 'ml', 'cpu s', *NUMBERS.values(), 'reasons')
    with tempfile.TemporaryDirectory() as name:
        atlas = embedded_atlas(Path(name))

        def count(title: str, kind: str, head: Head, mask: np.ndarray) -> None:
            found = verdict(head, mask, atlas)
            counts = matrix.setdefault(kind, Counter())
            same = dice(mask, head.mask) if mask.any() else 0.0
            if same > UNCHANGED:
                counts['unchanged'] += 1
                return
            counts[found.status] += 1
            if found.status is Status.ACCEPT:
                console.print(f'missed: {title}, {kind}, Dice {same:.3f} with the good mask')

        before: Head | None = None
        last: Head | None = None
        alone: list[tuple[str, Head]] = []  # of the first subject, who follows nobody
        subject = ''
        for title, head in heads(data, Path(name), wanted):
            seconds = time.process_time()
            good = verdict(head, head.mask, atlas)
            seconds = time.process_time() - seconds
            values.add_row(*row(title, good, seconds))
            matrix.setdefault('good', Counter())[good.status] += 1
            if subject != title.split('-')[0]:
                before, subject = last, title.split('-')[0]
            for kind, make in BREAKS.items():
                if not (kind == 'whole head' and title in STRIPPED):
                    count(title, kind, head, make(head))
            if before is None:
                alone.append((title, head))
            else:
                count(title, OTHER, head, borrowed(head, before))
            last = head
        if last is not None and before is not None:
            for title, head in alone:
                count(title, OTHER, head, borrowed(head, last))
    console.print(values)
    show(console, matrix)


def show(console: Console, matrix: dict[str, Counter[str]]) -> None:
    """Print how masks of each kind were judged."""
    table = Table('masks', 'n', *Status, 'unchanged')
    total: Counter[str] = Counter()
    for kind, counts in matrix.items():
        judged = [counts[status] for status in Status]
        table.add_row(kind, str(sum(judged)), *map(str, judged), str(counts['unchanged']))
        if kind != 'good':
            total += counts
    console.print(table)
    broken = sum(total[status] for status in Status)
    if broken:
        caught = broken - total[Status.ACCEPT]
        console.print(f'{caught} of {broken} broken masks caught: {caught / broken:.1%}')


NUMBERS = {
    'roughness': 'rough',
    'template_stretch': 'stretch',
    'template_dice': 'Dice',
    'template_distance': 'dist',
    'protrusion': 'out',
    'deficit': 'lost',
    'symmetry': 'sym',
    'tissue': 'tissue',
    'tissue_advantage': 'adv',
    'edge_offset': 'offset',
    'edge_shift': 'shift',
    'edge_disagreement': 'disagr',
}


def row(title: str, found: Verdict, seconds: float) -> list[str]:
    """Put a verdict into the columns of the table."""
    by_name = {check.name: check.value for check in found.checks}
    numbers = [by_name.get(name) for name in NUMBERS]
    words = ['' if number is None else f'{number:.3g}' for number in numbers]
    reasons = [check.name for check in found.checks if check.status is not Status.ACCEPT]
    volume = f'{found.volume_ml:.0f}'
    return [title, str(found.status), volume, f'{seconds:.2f}', *words, ', '.join(reasons)]


def verdict(head: Head, mask: np.ndarray, atlas: Atlas) -> Verdict:
    """Judge as for a person of unknown age."""
    return judge(head.volume, head.affine, mask, atlas=atlas)


def embedded_atlas(scratch: Path) -> Atlas:
    """The atlas that every run uses."""
    template = find_template(EMBEDDED_SPACE, scratch, offline=True)
    tissue = template.tissue
    return load_atlas(
        AtlasFiles(
            t1w=template.t1w,
            brain_mask=template.brain_mask,
            gm=tissue['GM'],
            wm=tissue['WM'],
            csf=tissue['CSF'],
        )
    )


def heads(data: Path, scratch: Path, wanted: list[str]) -> Iterator[tuple[str, Head]]:
    """Yield each head once for each of its good masks."""
    network = registry.get('deepbet').load(LoadOptions())
    for name, (place, given) in WHOLE.items():
        if wanted and name not in wanted:
            continue
        path = conformed(data / place, scratch / name)
        volume, affine = arrays(path)
        values = network(volume, affine, n_threads=1).values
        yield name, Head(volume=volume, affine=affine, mask=binarize_brain(values, 0.5))
        if given:
            mask = load_mask_on(load(path), conformed(data / given, scratch / f'{name}-mask'))
            yield f'{name}-given', Head(volume=volume, affine=affine, mask=mask)
    for name, place in STRIPPED.items():
        if wanted and name not in wanted:
            continue
        volume, affine = arrays(conformed(data / place, scratch / name))
        mask = binarize_brain((volume != 0).astype(np.float32), 0.5)
        yield name, Head(volume=volume, affine=affine, mask=mask)


def conformed(source: Path, folder: Path) -> Path:
    """Bring a scan, DICOM or NIfTI, into RAS order."""
    folder.mkdir()
    if '.tar.' in source.name:
        with tarfile.open(source) as archive:
            archive.extractall(folder / 'dicom', filter='data')
        source = folder / 'dicom'
    if not source.name.endswith('.nii.gz'):
        alone = 'y' if source.is_file() else 'n'
        subprocess.run(
            [embedded_dcm2niix(), '-s', alone, '-z', 'y', '-f', 'scan', '-o', folder, source],
            check=True,
            capture_output=True,
        )
        source = folder / 'scan.nii.gz'
    done = Conform(in_file=str(source.resolve()), check_head=False).run(cwd=str(folder))
    return Path(done.outputs.out_file)


def arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine."""
    image = load(path)
    return image.get_fdata(dtype=np.float32), image.affine


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
