"""What a BIDS dataset holds, as frozen records; the only module that knows pybids.

Each header and each sidecar is read once, and never the voxels. Nothing is written into the
dataset. A damaged file costs its own image only: what is wrong becomes an `Issue` of it.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mriprep.issues import Issue, Severity
from mriprep.records import ImageRecord, Inventory, read_images
from mriprep.sidecars import natural, read_participants, split_name

__all__ = ['ImageRecord', 'Inventory', 'InventoryError', 'Issue', 'Severity', 'take_inventory']

_EXTENSIONS = ['.nii', '.nii.gz', '.mgz', '.mgh']  # BIDS has the first two
# groups of fMRIPrep's filter files that are about other images
_OTHER_FILTERS = (  # noqa: SIM905
    'anat asl bold cbv dwi flair fmap func m0scan megre mese pdw pet roi sbref t1w t2starw t2w '
    'unit1'
).split()


class InventoryError(ValueError):
    """A dataset that can't be worked on; the message says what, where and what to do."""


def take_inventory(
    bids_dir: Path,
    *,
    participant_labels: Sequence[str] = (),
    session_labels: Sequence[str] = (),
    bids_filters: Mapping[str, Mapping[str, Any]] | None = None,
    database_dir: Path | None = None,
    suffixes: Sequence[str] = ('T1w',),
) -> Inventory:
    """Look at a raw dataset.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset. Only ``sub-*`` folders are entered.
    participant_labels, session_labels : sequence of str
        Restrict to these, with or without ``sub-`` and ``ses-``; empty for all.
    bids_filters : mapping, optional
        In fMRIPrep's format: ``{'t1w': {'acquisition': 'mprage', 'reconstruction': None}}``,
        where None stands for "without this entity" and ``'*'`` for any value of it.
    database_dir : Path, optional
        Folder of a pybids database. An existing one is read; otherwise one is made in its
        subfolder ``mriprep`` (it holds images only, so that no other tool should find it).
        A database is not refreshed: images added later are not seen.
    suffixes : sequence of str
        Which images to look for.

    Returns
    -------
    Inventory
        Images in BIDS order. Those with an `Issue` of `Severity.ERROR` are recorded too.

    Raises
    ------
    InventoryError
        If there is no such folder, no image to be found, a label or a filter's entity is not
        known, or the database is not of this dataset.
    """
    root = _dataset_root(bids_dir)
    description, issues = _read_description(root)
    subjects = _asked_subjects(root, participant_labels)
    groups, filter_issues = _filter_groups(bids_filters, suffixes)
    layout = _open_layout(root, subjects if participant_labels else None, database_dir)
    relatives = _query(layout, groups, suffixes, subjects)
    if relatives and session_labels:
        relatives = _in_sessions(relatives, session_labels)
    if not relatives:
        raise InventoryError(_nothing_found(bids_dir.name, participant_labels, groups, suffixes))
    images = read_images(root, relatives)
    lacking = [subject for subject in subjects if subject not in {i.subject for i in images}]
    severity = Severity.ERROR if participant_labels else Severity.WARNING
    issues += [*filter_issues, *(_without_image(s, suffixes, severity) for s in lacking)]
    doi = description.get('DatasetDOI')
    return Inventory(
        root=root,
        name=str(description.get('Name') or root.name),
        doi=doi if isinstance(doi, str) and doi else None,
        images=images,
        issues=tuple(issues),
        participants=read_participants(root),
    )


def _dataset_root(bids_dir: Path) -> Path:
    root = Path(bids_dir).resolve()
    if not root.exists():
        raise InventoryError(f'{bids_dir}: there is no such folder; check the path of the dataset')
    if not root.is_dir():
        raise InventoryError(f'{bids_dir}: not a folder; give the root folder of a BIDS dataset')
    return root


def _read_description(root: Path) -> tuple[dict[str, Any], list[Issue]]:
    """Content of ``dataset_description.json``, {} when it is of no use, and what is wrong."""
    name = 'dataset_description.json'
    remedy = 'write one with at least "Name" and "BIDSVersion"'
    try:
        content = json.loads((root / name).read_text(encoding='utf-8-sig'))
    except FileNotFoundError:
        problem = 'the file is missing, so this may not be a BIDS dataset'
    except (OSError, ValueError):
        problem = 'not JSON: its values are not used'
    else:
        if isinstance(content, dict):
            return content, []
        # pybids stops on it
        raise InventoryError(f'{name}: not a JSON object; {remedy}')
    return {}, [Issue(severity=Severity.WARNING, where=name, problem=problem, remedy=remedy)]


def _asked_subjects(root: Path, labels: Sequence[str]) -> tuple[str, ...]:
    """Subjects to look at, in order."""
    with os.scandir(root) as entries:
        names = [e.name for e in entries if e.name.startswith('sub-') and e.is_dir()]
    present = sorted((name.removeprefix('sub-') for name in names), key=natural)
    if not labels:
        return tuple(present)
    asked = {label.removeprefix('sub-') for label in labels}
    if unknown := sorted(asked - set(present), key=natural):
        raise InventoryError(_unknown('participant', unknown, present))
    return tuple(label for label in present if label in asked)


def _unknown(kind: str, unknown: Sequence[str], known: Sequence[str]) -> str:
    """Say which labels are not there, and which are the nearest to the first of them."""
    near = difflib.get_close_matches(unknown[0], known, n=5, cutoff=0.5) or list(known[:5])
    hint = f'nearest: {", ".join(near)}' if near else f'it has no {kind} labels at all'
    what = ', '.join(map(repr, unknown[:5])) + (' and more' if len(unknown) > 5 else '')
    return f'{kind} {what} is not in the dataset; check --{kind}-label ({hint})'


def _filter_groups(
    filters: Mapping[str, Mapping[str, Any]] | None, suffixes: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], list[Issue]]:
    """Entities to filter each suffix by."""
    wanted = {suffix.lower(): suffix for suffix in suffixes}
    groups: dict[str, dict[str, Any]] = {}
    issues = []
    for key, group in (filters or {}).items():
        if not isinstance(group, Mapping):
            raise InventoryError(
                f'BIDS filters: {key!r} holds {group!r}; write entities and their values, '
                'for example {"t1w": {"acquisition": "mprage"}}'
            )
        if key.lower() in wanted:
            groups[wanted[key.lower()]] = dict(group)
        elif key.lower() not in _OTHER_FILTERS:
            problem = f'BIDS filters: {key!r} is not an image that is looked for'
            remedy = f'write one of: {", ".join(sorted(wanted))}'
            warning = Severity.WARNING
            issues.append(Issue(severity=warning, where='', problem=problem, remedy=remedy))
    return groups, issues


def _open_layout(root: Path, subjects: Sequence[str] | None, database_dir: Path | None) -> Any:
    """Index the folders of ``subjects`` (None: all), or open the database of an earlier index."""
    if database_dir is None:
        return _index(root, subjects, None)
    folder = Path(database_dir).resolve()
    if not (folder / 'layout_index.sqlite').exists():
        folder /= 'mriprep'
    if not (folder / 'layout_index.sqlite').exists():
        _make_database(root, folder)
    try:
        layout = _index(root, None, folder)
        layout.get_entities()
    except Exception as error:
        raise InventoryError(
            f'{folder}: not a database that this version of pybids reads '
            f'({type(error).__name__}); delete the folder, and it is made anew'
        ) from error
    if Path(layout.root).resolve() != root:
        raise InventoryError(
            f'{folder}: a database of another dataset ({layout.root}); '
            'give another folder with --bids-database-dir'
        )
    return layout


def _make_database(root: Path, folder: Path) -> None:
    """Index the whole dataset into a new folder, which appears complete or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f'{folder.name}-', dir=folder.parent))
    except OSError as error:
        raise InventoryError(
            f'{folder.parent}: can not be written ({error.strerror}); '
            'give another folder with --bids-database-dir'
        ) from error
    try:
        layout = _index(root, None, scratch)
        layout.connection_manager.session.close()
        layout.connection_manager.engine.dispose()
        scratch.chmod(0o755)
        scratch.rename(folder)
    except OSError:
        if not (folder / 'layout_index.sqlite').exists():  # no other process was faster
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _index(root: Path, subjects: Sequence[str] | None, database_dir: Path | None) -> Any:
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    labels = '[^/]+' if subjects is None else '|'.join(map(re.escape, subjects))
    ignore = [
        re.compile(rf'^/(?!sub-(?:{labels})(?:/|$))'),
        re.compile(r'/(?:beh|dwi|eeg|fmap|func|ieeg|meg|micr|motion|mrs|nirs|perf|pet)(?:/|$)'),
        re.compile(r'(?<!\.nii)\.(?!(?:nii|mgz|mgh)$)[^/.]+$'),  # what is no image
    ]
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignore)
    return BIDSLayout(
        root, validate=False, derivatives=False, database_path=database_dir, indexer=indexer
    )


def _query(
    layout: Any,
    groups: Mapping[str, Mapping[str, Any]],
    suffixes: Sequence[str],
    subjects: Sequence[str],
) -> list[str]:
    """Images of the suffixes, subjects and filters, as paths relative to the dataset."""
    from bids.layout import Query

    known = set(layout.get_entities())
    folders = {f'sub-{subject}' for subject in subjects}
    special = {None: Query.NONE, '*': Query.ANY}
    found = []
    for suffix in suffixes:
        terms: dict[str, Any] = {'suffix': suffix, 'extension': _EXTENSIONS}
        for entity, value in groups.get(suffix, {}).items():
            if entity not in known:
                raise InventoryError(
                    f'BIDS filters: there is no entity {entity!r}; '
                    f'write one of: {", ".join(sorted(known))}'
                )
            terms[entity] = special[value] if value is None or value == '*' else value
        found += layout.get(return_type='filename', **terms)
    relatives = [Path(path).relative_to(layout.root).as_posix() for path in found]
    return [path for path in dict.fromkeys(relatives) if path.split('/')[0] in folders]


def _in_sessions(relatives: Sequence[str], labels: Sequence[str]) -> list[str]:
    asked = [label.removeprefix('ses-') for label in labels]
    present = {split_name(path).entities.get('ses', '') for path in relatives}
    if unknown := [label for label in asked if label not in present]:
        raise InventoryError(_unknown('session', unknown, sorted(present - {''}, key=natural)))
    return [path for path in relatives if split_name(path).entities.get('ses') in asked]


def _nothing_found(
    name: str, participants: Sequence[str], groups: Mapping[str, Any], suffixes: Sequence[str]
) -> str:
    what = ' or '.join(suffixes)
    if groups:
        return f'{name}: no {what} image passes the BIDS filters; check --bids-filter-file'
    if participants:
        labels = ', '.join(label.removeprefix('sub-') for label in participants[:5])
        return f'{name}: no {what} image of participant {labels}; check --participant-label'
    return (
        f'{name}: no {what} image; give the root folder of a BIDS dataset, '
        f'with files like sub-01/anat/sub-01_{suffixes[0]}.nii.gz'
    )


def _without_image(subject: str, suffixes: Sequence[str], severity: Severity) -> Issue:
    return Issue(
        severity=severity,
        where=f'sub-{subject}',
        problem=f'no {" or ".join(suffixes)} image',
        remedy='check its files and names, and the filters if there are any',
        subject=subject,
    )
