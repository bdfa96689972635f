"""The main job beside a hand-written script that calls the same tools, and its other numbers.

    python benchmarks/main_job.py DATA_DIR [REPEATS]

``DATA_DIR`` is the folder of real scans that the tests use. Prints one table; every time is from
process start to process end, the smallest of the repeats; the peak is of another run.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nb
import numpy as np
from measure import Cost, cost_of

HERE = Path(__file__).parent
MRIPREP = (sys.executable, '-m', 'mriprep')


def main(data: Path, repeats: int) -> None:
    """Measure and print."""
    from rich.console import Console
    from rich.table import Table

    table = Table('what', 'wall s', 'peak GB', 'limit', 'ratio')
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        heads = build(scratch / 'bids', data)
        for subject, limits in (('philips', '45 s, 3 GB'), ('studyforrest', '100 s, 4 GB')):
            whole = best(repeats, lambda run, who=subject: main_job(scratch, who, run))
            by_hand = best(repeats, lambda run, who=subject: script(scratch, heads[who], run))
            again = best(1, lambda _, who=subject: main_job(scratch, who, '0'))
            ratio = whole.wall_s / by_hand.wall_s
            table.add_row(*row(f'{subject}, mriprep', whole), limits, f'{ratio:.2f} (limit 1.15)')
            table.add_row(*row(f'{subject}, script by hand', by_hand), '', '1')
            table.add_row(*row(f'{subject}, finished, again', again), '5 s', '')
        mask = scratch / 'out-philips-0/sub-philips/anat/sub-philips_desc-brain_mask.nii.gz'
        truth = data / 'philips-mprage' / 'hdbet_brain_mask.nii.gz'
        table.add_row('philips, Dice against HD-BET', f'{dice(mask, truth):.4f}', '', '0.965', '')
        for option, limit in (('--version', '0.2 s'), ('--help', '0.4 s')):
            cost = best(5, lambda _, word=option: (*MRIPREP, word), memory=False)
            table.add_row(*row(option, cost), limit, '')
    Console(width=110).print(table)


def row(what: str, cost: Cost) -> tuple[str, str, str]:
    """Put a cost into the columns of the table."""
    failed = '' if cost.exit_code == 0 else f' (exit code {cost.exit_code})'
    return what + failed, f'{cost.wall_s:.2f}', f'{cost.peak_gb:.2f}'


def best(repeats: int, command: Callable[[str], Sequence[str]], *, memory: bool = True) -> Cost:
    """The quickest of several runs; the memory is that of one more, since looking at it costs."""
    costs = [cost_of(command(str(run))) for run in range(repeats)]
    peak = cost_of(command('memory'), memory=True).peak_gb if memory else 0.0
    return Cost(
        wall_s=min(cost.wall_s for cost in costs),
        peak_gb=peak,
        exit_code=max(cost.exit_code for cost in costs),
    )


def main_job(scratch: Path, subject: str, run: str) -> Sequence[str]:
    """Words of one run of mriprep on one subject, on two processors."""
    return (
        *MRIPREP, str(scratch / 'bids'), str(scratch / f'out-{subject}-{run}'), 'participant',
        '-w', str(scratch / f'work-{subject}-{run}'), '--participant-label', subject,
        '--nprocs', '2',
    )  # fmt: skip


def script(scratch: Path, head: Path, run: str) -> Sequence[str]:
    """Words of one run of the script by hand."""
    out = scratch / f'hand-{head.name.split("_")[0]}-{run}'
    return (sys.executable, str(HERE / 'handwritten.py'), str(head), str(out))


def build(bids: Path, data: Path) -> dict[str, Path]:
    """Make a BIDS data set of the Philips and the studyforrest head."""
    import dcm2niix

    heads = {}
    for subject, archive in (
        ('philips', data / 'philips-mprage' / 'dicom.tar.gz'),
        ('studyforrest', data / 'studyforrest-t1w' / 'dicom.tar.xz'),
    ):
        folder = bids / f'sub-{subject}' / 'anat'
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as dicom, tarfile.open(archive) as packed:
            packed.extractall(dicom, filter='data')
            words = ['-z', 'y', '-b', 'y', '-f', f'sub-{subject}_T1w', '-o', str(folder), dicom]
            dcm2niix.main(words, capture_output=True, check=True)
        heads[subject] = folder / f'sub-{subject}_T1w.nii.gz'
    description = {'Name': 'Two heads', 'BIDSVersion': '1.10.0'}
    (bids / 'dataset_description.json').write_text(json.dumps(description))
    return heads


def dice(first: Path, second: Path) -> float:
    """Overlap of two masks on one grid."""
    a, b = (nb.as_closest_canonical(nb.load(path)) for path in (first, second))
    assert np.allclose(a.affine, b.affine, atol=1e-3)
    one, two = (np.asanyarray(image.dataobj) > 0.5 for image in (a, b))
    return float(2 * (one & two).sum() / (one.sum() + two.sum()))


if __name__ == '__main__':
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 2)
