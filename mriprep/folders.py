"""The folders of a run: whether they can be used, and what stands in the output from the start."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mriprep.app import RunOptions
    from mriprep.inventory import Inventory
    from mriprep.plan import SessionPlan

README = """\
# Derivatives of structural MRI, made by mriprep

`sub-*.html` is the report of each subject: look at it first. `sub-*/anat` holds images, masks and
transforms; the JSON file beside each says where it comes from and what made it.
`logs/CITATION.md` is a methods text with its references; `logs/<run>` holds the settings of each
run, its times, and `failures.tsv`, which names what failed and what to do.
"""


class RefusalError(ValueError):
    """Nothing can be started; the message says what, where and what to do."""


def check_folders(options: RunOptions) -> RunOptions:
    """Make paths absolute and refuse folders that can't be used.

    Raises
    ------
    RefusalError
        If there is no such data set, or the output or work folder lies inside the raw data
        (``derivatives`` excepted) or can't be written.
    """
    bids_dir, out_dir = options.bids_dir, options.out_dir
    if not bids_dir.exists():
        raise RefusalError(f'{bids_dir}: no such folder; give the folder of a BIDS data set')
    if not bids_dir.is_dir():
        raise RefusalError(f'{bids_dir}: not a folder; give the folder of a BIDS data set')
    raw = bids_dir.resolve()
    for what, folder in (('output', out_dir), ('work', options.work_dir or Path('work'))):
        inside = folder.resolve()
        if inside == raw or (
            raw in inside.parents and (raw / 'derivatives') not in (inside, *inside.parents)
        ):
            raise RefusalError(
                f'{folder}: the {what} folder lies inside the raw data; '
                'choose one outside, or below its derivatives folder'
            )
    if not options.dry_run:
        make_writable(out_dir, 'output')
        make_writable(options.work_dir or Path('work'), 'work')
    return replace(
        options,
        bids_dir=raw,
        out_dir=out_dir.resolve(),
        work_dir=(options.work_dir or Path('work')).resolve(),
    )


def make_writable(folder: Path, what: str) -> None:
    """Make a folder and try to write in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b'0' * 4096)
    except OSError as exc:
        option = 'another OUT_DIR' if what == 'output' else 'another one with -w'
        raise RefusalError(
            f'{folder}: the {what} folder can not be written ({os.strerror(exc.errno or 0)}); '
            f'choose {option}'
        ) from exc


def forbid_full_disk(out_dir: Path, work_dir: Path, todo: Sequence[SessionPlan]) -> None:
    """Refuse to start when one session would not fit on the disk.

    Raises
    ------
    RefusalError
    """
    need_mb = max(session.estimate.disk_mb for session in todo)
    # working files are uncompressed
    for what, folder, mb in (('output', out_dir, need_mb), ('work', work_dir, 6 * need_mb)):
        free_mb = shutil.disk_usage(folder).free / 1e6
        if free_mb < mb:
            raise RefusalError(
                f'{folder.name}: the {what} folder has {free_mb:.0f} MB free and a session needs about '
                f'{mb:.0f} MB; make room or choose another disk'
            )


def open_output(
    out_dir: Path,
    inventory: Inventory,
    versions: Mapping[str, str],
    given: Mapping[str, Path] | None = None,
) -> None:
    """Write what every derivative data set has; equal files are left alone.

    ``given`` are the derivative data sets that files are taken from, by name.
    """
    import json

    from mriprep.files import write_text
    from mriprep.naming import BIDSIGNORE
    from mriprep.provenance import dataset_description

    description = dataset_description(inventory, out_dir, versions['mriprep'], versions, given)
    for name, text in (
        ('dataset_description.json', json.dumps(description, indent=2) + '\n'),
        ('.bidsignore', '\n'.join(BIDSIGNORE) + '\n'),
        ('README.md', README),
    ):
        path = out_dir / name
        try:
            if not path.exists() or path.read_text(encoding='utf-8') != text:
                write_text(text, path)
        except OSError as exc:
            raise RefusalError(
                f'{path}: can not be written ({os.strerror(exc.errno or 0)}); choose another OUT_DIR'
            ) from exc
