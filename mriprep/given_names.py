"""Under which names files that the user has may lie in derivative data sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from mriprep.naming import file_name


def anat_folder(subject: str, session: str | None) -> PurePosixPath:
    """Folder in which all of these files lie."""
    return PurePosixPath(f'sub-{subject}') / (f'ses-{session}' if session else '') / 'anat'


def transform_paths(
    *,
    subject: str,
    session: str | None = None,
    source_entities: Iterable[tuple[str, str]] = (),
    ends: tuple[str, str],
    exact: bool = False,
) -> tuple[PurePosixPath, ...]:
    """Where the transform from one space to another may lie in a derivative data set.

    ``exact``: its name keeps every entity of its source.

    Examples
    --------
    >>> print(transform_paths(subject='01', ends=('T1w', 'MNI152NLin6Asym'))[0])
    sub-01/anat/sub-01_from-T1w_to-MNI152NLin6Asym_mode-image_xfm.h5
    """
    mark = {'from': ends[0], 'to': ends[1], 'mode': 'image'}
    return _candidates(
        subject, session, source_entities, [mark], 'xfm', ('.h5', '.txt'), exact=exact
    )


def corrected_paths(
    *,
    subject: str,
    session: str | None = None,
    source_entities: Iterable[tuple[str, str]] = (),
    source_suffix: str = 'T1w',
) -> tuple[PurePosixPath, ...]:
    """Where an image without its bias field may lie in a derivative data set.

    Its name keeps every entity of its source.
    """
    marks = ({'desc': 'preproc'}, {'desc': 'n4'}, {'desc': 'biascorrected'})
    extensions = ('.nii.gz', '.nii')
    return _candidates(
        subject, session, source_entities, marks, source_suffix, extensions, exact=True
    )


def lesion_paths(
    *,
    subject: str,
    session: str | None = None,
    source_entities: Iterable[tuple[str, str]] = (),
    source_suffix: str = 'T1w',
    label: str | None = None,
) -> tuple[PurePosixPath, ...]:
    """Where the lesion mask of an image may lie, in the raw or a derivative data set.

    The name may bear the image's entities, suffix or the label of its grid, or nothing but
    subject and session. ``_T1w_label-lesion_roi`` is how fMRIPrep's users name theirs.

    Examples
    --------
    >>> for path in lesion_paths(subject='01')[:2]:
    ...     print(path)
    sub-01/anat/sub-01_space-T1w_label-lesion_mask.nii.gz
    sub-01/anat/sub-01_label-lesion_mask.nii.gz
    """
    spaces = dict.fromkeys((label or source_suffix, source_suffix))
    marks: list[dict[str, str]] = [{'space': space, 'label': 'lesion'} for space in spaces]
    marks += [{'label': 'lesion'}, {'desc': 'lesion'}, {'space': 'orig', 'label': 'lesion'}]
    extensions = ('.nii.gz', '.nii')
    listed = [
        path
        for suffix in ('mask', 'roi')
        for path in _candidates(subject, session, source_entities, marks, suffix, extensions)
    ]
    listed += [
        path.with_name(path.name.replace('_roi.', f'_{source_suffix}_label-lesion_roi.'))
        for path in _candidates(subject, session, source_entities, [{}], 'roi', extensions)
    ]
    return tuple(dict.fromkeys(listed))


def _candidates(
    subject: str,
    session: str | None,
    source_entities: Iterable[tuple[str, str]],
    marks: Iterable[Mapping[str, str]],
    suffix: str,
    extensions: Iterable[str],
    *,
    exact: bool = False,
) -> tuple[PurePosixPath, ...]:
    """Names with the entities of a source image, then unless ``exact`` without; the best first."""
    kept = dict(source_entities)
    marks, extensions = tuple(marks), tuple(extensions)
    folder = anat_folder(subject, session)
    who = {'sub': subject} | ({'ses': session} if session else {})
    names = (
        file_name(who | entities | dict(mark), suffix, extension)
        for extension in extensions
        for entities in ((kept,) if exact else (kept, {}))
        for mark in marks
    )
    return tuple(folder / name for name in dict.fromkeys(names))


def mask_paths(
    *,
    subject: str,
    session: str | None = None,
    source_entities: Iterable[tuple[str, str]] = (),
    source_suffix: str = 'T1w',
    label: str | None = None,
) -> tuple[PurePosixPath, ...]:
    """Where the brain mask of an image may lie in a derivative data set, the best name first.

    The parameters are those of `output_path`. A mask may bear the entities of its image or
    not, and the suffix of its image as ``space-`` where it was made on that image's grid.

    Examples
    --------
    >>> for path in mask_paths(subject='01', source_entities=[('run', '2')])[:2]:
    ...     print(path)
    sub-01/anat/sub-01_run-2_desc-brain_mask.nii.gz
    sub-01/anat/sub-01_run-2_space-T1w_desc-brain_mask.nii.gz
    """
    marks: tuple[dict[str, str], ...] = (
        {'desc': 'brain'},
        {'space': label or source_suffix, 'desc': 'brain'},
        {'label': 'brain'},
        {},
    )
    return _candidates(subject, session, source_entities, marks, 'mask', ('.nii.gz', '.nii'))
