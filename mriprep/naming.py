"""The table of output files: what each is called and what it is.

The same table gives the path under which a derivative is saved and the query that finds it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath, PurePosixPath
from typing import TypeVar

from mriprep.settings import Space

# Order of entities in a file name: BIDS schema 1.10, rules/entities.yaml; `from`, `to` and `mode`
# as the NiPreps place them.
ENTITY_ORDER = (
    'sub', 'ses', 'sample', 'task', 'tracksys', 'acq', 'nuc', 'voi', 'ce', 'trc', 'stain', 'rec',
    'dir', 'run', 'mod', 'echo', 'flip', 'inv', 'mt', 'part', 'proc', 'hemi', 'from', 'to', 'mode',
    'space', 'split', 'recording', 'chunk', 'atlas', 'seg', 'scale', 'res', 'den', 'label', 'desc',
)  # fmt: skip

# Files that BIDS has no rule for. The validator overlooks `*_desc-iqms_*.json` below sessions.
BIDSIGNORE = ('*.html', 'logs/', 'figures', '*_xfm.*', '*_desc-iqms_*')


AnyPath = TypeVar('AnyPath', bound=PurePath)


class Output(StrEnum):
    """Everything that is written."""

    PREPROC = 'preproc'
    BRAIN_MASK = 'brain_mask'
    BRAIN_PROBABILITY = 'brain_probability'
    BRAIN = 'brain'
    ZSCORE = 'zscore'
    FORWARD = 'forward'
    INVERSE = 'inverse'
    TO_REFERENCE = 'to_reference'
    FROM_REFERENCE = 'from_reference'
    TO_INDIVIDUAL = 'to_individual'
    FROM_INDIVIDUAL = 'from_individual'
    FROM_RUN = 'from_run'
    TO_RUN = 'to_run'
    LESION = 'lesion'
    METRICS = 'metrics'
    AUDIT_FIGURE = 'audit_figure'
    BRAIN_FIGURE = 'brain_figure'
    GUARD_FIGURE = 'guard_figure'
    BIAS_FIGURE = 'bias_figure'
    HISTOGRAM_FIGURE = 'histogram_figure'
    REGISTRATION_FIGURE = 'registration_figure'
    COREGISTRATION_FIGURE = 'coregistration_figure'
    COREGISTRATION_GUARD_FIGURE = 'coregistration_guard_figure'
    LESION_FIGURE = 'lesion_figure'


class Kind(StrEnum):
    """How a file is stored."""

    IMAGE = 'image'
    MASK = 'mask'
    PROBABILITY = 'probability'
    TRANSFORM = 'transform'
    METRICS = 'metrics'
    FIGURE = 'figure'


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One row of the table."""

    kind: Kind
    extension: str
    desc: str | None = None
    label: str | None = None
    suffix: str | None = None  # None: the suffix of the source image
    stripped: bool | None = None  # value of SkullStripped; None: not an image
    doc: str = ''

    @property
    def dtype(self) -> str | None:
        """NumPy name of the stored voxels, None for what is not an image."""
        stored = {Kind.IMAGE: 'float32', Kind.MASK: 'uint8', Kind.PROBABILITY: 'float32'}
        return stored.get(self.kind)


PATTERNS: Mapping[Output, Pattern] = {
    Output.PREPROC: Pattern(
        kind=Kind.IMAGE,
        extension='.nii.gz',
        desc='preproc',
        stripped=False,
        doc='whole head, bias field corrected',
    ),
    Output.BRAIN_MASK: Pattern(
        kind=Kind.MASK, extension='.nii.gz', desc='brain', suffix='mask', doc='brain mask'
    ),
    Output.BRAIN_PROBABILITY: Pattern(
        kind=Kind.PROBABILITY,
        extension='.nii.gz',
        desc='brain',
        suffix='probseg',
        doc='probability that a voxel is brain, to a thousandth',
    ),
    Output.BRAIN: Pattern(
        kind=Kind.IMAGE,
        extension='.nii.gz',
        desc='brain',
        stripped=True,
        doc='bias field corrected, zero outside the brain mask',
    ),
    Output.ZSCORE: Pattern(
        kind=Kind.IMAGE,
        extension='.nii.gz',
        desc='zscore',
        stripped=False,
        doc='whole head, mean 0 and standard deviation 1 inside the brain mask',
    ),
    Output.FORWARD: Pattern(
        kind=Kind.TRANSFORM, extension='.h5', suffix='xfm', doc='ITK transform to the template'
    ),
    Output.INVERSE: Pattern(
        kind=Kind.TRANSFORM, extension='.h5', suffix='xfm', doc='ITK transform from the template'
    ),
    **{
        output: Pattern(kind=Kind.TRANSFORM, extension='.txt', suffix='xfm', doc=doc)
        for output, doc in (
            (Output.TO_REFERENCE, 'rigid ITK transform to the reference'),
            (Output.FROM_REFERENCE, 'rigid ITK transform from the reference'),
            (Output.TO_INDIVIDUAL, 'rigid ITK transform to the mean of the sessions'),
            (Output.FROM_INDIVIDUAL, 'rigid ITK transform from the mean of the sessions'),
            (Output.FROM_RUN, 'rigid ITK transform from one run to the average'),
            (Output.TO_RUN, 'rigid ITK transform from the average to one run'),
        )
    },
    Output.LESION: Pattern(
        kind=Kind.MASK, extension='.nii.gz', label='lesion', suffix='mask', doc='lesion mask'
    ),
    Output.METRICS: Pattern(
        kind=Kind.METRICS, extension='.json', desc='iqms', doc='what the guard measured'
    ),
    Output.AUDIT_FIGURE: Pattern(kind=Kind.FIGURE, extension='.html', desc='audit'),
    Output.BRAIN_FIGURE: Pattern(kind=Kind.FIGURE, extension='.svg', desc='brain'),
    Output.GUARD_FIGURE: Pattern(kind=Kind.FIGURE, extension='.html', desc='guard'),
    Output.BIAS_FIGURE: Pattern(kind=Kind.FIGURE, extension='.svg', desc='bias'),
    Output.HISTOGRAM_FIGURE: Pattern(kind=Kind.FIGURE, extension='.svg', desc='histogram'),
    Output.REGISTRATION_FIGURE: Pattern(kind=Kind.FIGURE, extension='.svg', desc='registration'),
    Output.COREGISTRATION_FIGURE: Pattern(
        kind=Kind.FIGURE, extension='.svg', desc='coregistration'
    ),
    Output.COREGISTRATION_GUARD_FIGURE: Pattern(
        kind=Kind.FIGURE, extension='.html', desc='coregguard'
    ),
    Output.LESION_FIGURE: Pattern(kind=Kind.FIGURE, extension='.svg', desc='lesion'),
}


def file_name(entities: Mapping[str, str], suffix: str, extension: str) -> str:
    """Join entities in the order of the BIDS schema.

    Raises
    ------
    ValueError
        If an entity is not in `ENTITY_ORDER`.

    Examples
    --------
    >>> file_name({'desc': 'brain', 'sub': '01', 'space': 'T1w'}, 'mask', '.nii.gz')
    'sub-01_space-T1w_desc-brain_mask.nii.gz'
    """
    if unknown := set(entities) - set(ENTITY_ORDER):
        raise ValueError(f'entities {sorted(unknown)} have no place in an output name')
    words = [f'{key}-{entities[key]}' for key in ENTITY_ORDER if key in entities]
    return '_'.join((*words, suffix + extension))


def output_path(
    output: Output,
    *,
    subject: str,
    session: str | None = None,
    source_entities: Iterable[tuple[str, str]] = (),
    source_suffix: str = 'T1w',
    label: str | None = None,
    apart: bool = False,
    space: Space | None = None,
) -> PurePosixPath:
    """Where a file is written, relative to the output folder.

    Parameters
    ----------
    output
        The row of the table.
    subject, session
        Labels without ``sub-`` and ``ses-``.
    source_entities
        Further entities of the source image, in short form (``('acq', 'mprage')``); they are
        kept, so that derivatives of different images never share a name.
    source_suffix
        Suffix of the source image.
    label
        Name of the source image's grid, where it is not the suffix.
    apart
        Whether the source image is not the reference: then masks on its own grid say so.
    space
        Space of the output, or the other end of a transform; None for the image's own grid.

    Examples
    --------
    >>> tpl = Space('MNIPediatricAsym', '3', '1')
    >>> str(output_path(Output.BRAIN_MASK, subject='01', session='a', space=tpl))
    'sub-01/ses-a/anat/sub-01_ses-a_space-MNIPediatricAsym+3_res-1_desc-brain_mask.nii.gz'
    >>> str(output_path(Output.INVERSE, subject='01', space=tpl))
    'sub-01/anat/sub-01_from-MNIPediatricAsym+3_to-T1w_mode-image_xfm.h5'
    >>> str(output_path(Output.BRAIN_MASK, subject='01', source_suffix='FLAIR', apart=True))
    'sub-01/anat/sub-01_space-FLAIR_desc-brain_mask.nii.gz'
    """
    pattern = PATTERNS[output]
    own = label or source_suffix
    entities = {'sub': subject, **dict(source_entities)}
    if session is not None:
        entities['ses'] = session
    for key, value in (('desc', pattern.desc), ('label', pattern.label)):
        if value is not None:
            entities[key] = value
    if pattern.kind is Kind.TRANSFORM:
        origin, target = _ends(output, own, space)
        entities |= {'from': origin, 'to': target, 'mode': 'image'}
    elif space is not None:
        entities['space'] = space.label
        # one registration serves all grids of a template, and so does its figure
        if space.resolution is not None and pattern.kind is not Kind.FIGURE:
            entities['res'] = space.resolution
    elif apart and pattern.suffix is not None:
        entities['space'] = own
    name = file_name(entities, pattern.suffix or source_suffix, pattern.extension)
    if pattern.kind is Kind.FIGURE:
        return PurePosixPath(f'sub-{subject}/figures/{name}')
    home = f'sub-{subject}' if session is None else f'sub-{subject}/ses-{session}'
    return PurePosixPath(f'{home}/anat/{name}')


def _ends(output: Output, own: str, space: Space | None) -> tuple[str, str]:
    """Values of ``from-`` and ``to-``."""
    if output in (Output.FROM_RUN, Output.TO_RUN):
        other = 'orig'
    elif space is not None:
        other = space.label
    else:
        raise ValueError(f'{output} needs the space at its other end')
    away = (Output.FORWARD, Output.TO_REFERENCE, Output.TO_INDIVIDUAL, Output.TO_RUN)
    return (own, other) if output in away else (other, own)


def report_path(subject: str) -> PurePosixPath:
    """HTML page of one subject, relative to the output folder."""
    return PurePosixPath(f'sub-{subject}.html')


def stamp_path(subject: str, session: str | None) -> PurePosixPath:
    """Record of a finished session, relative to the output folder."""
    name = f'sub-{subject}' + (f'_ses-{session}' if session is not None else '')
    return PurePosixPath('logs') / 'finished' / f'{name}.json'


def individual_stamp_path(subject: str) -> PurePosixPath:
    """Record of a finished mean of sessions, relative to the output folder."""
    return PurePosixPath('logs') / 'finished' / f'sub-{subject}_individual.json'


def sidecar_path(path: AnyPath) -> AnyPath:
    """JSON file that describes an image or a transform.

    Examples
    --------
    >>> sidecar_path(PurePosixPath('sub-01_T1w.nii.gz'))
    PurePosixPath('sub-01_T1w.json')
    """
    return path.with_name(path.name.split('.', 1)[0] + '.json')
