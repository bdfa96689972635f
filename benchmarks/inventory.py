"""Time and memory of the inventory of a large dataset.

Builds 1,000 subjects x 2 sessions x (T1w, T2w, FLAIR), each with a sidecar, out of tiny images
in a temporary folder, looks at it in child processes, and prints a table. The target for the
whole plan is 20 s and 1 GB.

    python benchmarks/inventory.py [SUBJECTS]
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUFFIXES = ('T1w', 'T2w', 'FLAIR')
LIMIT_S, LIMIT_GB = 20.0, 1.0
CODE = """
import sys
from mriprep.inventory import take_inventory
arguments = dict(eval(sys.argv[2]))
print(len(take_inventory(sys.argv[1], **arguments).images))
"""
RUNS = (
    ('T1w', {}),
    ('T1w, T2w, FLAIR', {'suffixes': SUFFIXES}),
    ('one participant', {'participant_labels': ('0000',)}),
    ('database made', {'database_dir': 'DB', 'suffixes': SUFFIXES}),
    ('database read', {'database_dir': 'DB', 'suffixes': SUFFIXES}),
)


def build(root: Path, n_subjects: int) -> None:
    """Write the dataset."""
    import nibabel as nb
    import numpy as np

    image = nb.Nifti1Image(np.ones((8, 8, 8), np.int16), np.eye(4))
    content = gzip.compress(image.to_bytes())
    # as many keys as dcm2niix writes
    sidecar = json.dumps({f'Parameter{i}': i / 7 for i in range(60)}).encode()
    (root / 'dataset_description.json').write_text('{"Name": "Large", "BIDSVersion": "1.9.0"}')
    for subject in range(n_subjects):
        for session in ('pre', 'post'):
            folder = root / f'sub-{subject:04d}' / f'ses-{session}' / 'anat'
            folder.mkdir(parents=True)
            for suffix in SUFFIXES:
                stem = f'sub-{subject:04d}_ses-{session}_{suffix}'
                (folder / f'{stem}.nii.gz').write_bytes(content)
                (folder / f'{stem}.json').write_bytes(sidecar)


def measure(root: Path, arguments: dict[str, object]) -> tuple[float, float, int]:
    """Seconds, peak GB and number of images of one run, from process start to end."""
    command = [sys.executable, '-c', CODE, str(root), repr(arguments)]
    output, seconds, gigabytes = run(command)
    return seconds, gigabytes, int(output)


def run(command: list[str]) -> tuple[bytes, float, float]:
    """What a command prints, its seconds and its peak GB."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return output, time.perf_counter() - start, usage.ru_maxrss / 2**20


def main() -> None:
    """Build, measure, print."""
    n_subjects = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / 'raw'
        root.mkdir()
        build(root, n_subjects)
        print(f'{n_subjects} subjects, 2 sessions; limits {LIMIT_S:g} s and {LIMIT_GB:g} GB')
        print(f'{"inventory of":18}{"images":>8}{"s":>8}{"of limit":>10}{"GB":>8}{"of limit":>10}')
        for name, arguments in RUNS:
            if 'database_dir' in arguments:
                arguments = arguments | {'database_dir': str(Path(scratch) / 'db')}
            seconds, gigabytes, n_images = measure(root, arguments)
            show(name, n_images, seconds, gigabytes)
        command = [sys.executable, '-m', 'mriprep', str(root), f'{scratch}/out', 'participant']
        _, seconds, gigabytes = run([*command, '--dry-run'])
        show('whole plan', 2 * n_subjects, seconds, gigabytes)


def show(name: str, n_images: int, seconds: float, gigabytes: float) -> None:
    """Print one row."""
    print(
        f'{name:18}{n_images:8d}{seconds:8.2f}{seconds / LIMIT_S:10.2f}'
        f'{gigabytes:8.2f}{gigabytes / LIMIT_GB:10.2f}'
    )


if __name__ == '__main__':
    main()
