"""Steps to methods text and citations, ready to paste into a manuscript."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from mriprep.settings import GIVEN, STRIPPED
from mriprep.steps import REFERENCE
from mriprep.tables import StepLike
from mriprep.works import bibliography, citations, resolved

WAIVER = (
    'This text was written by *mriprep* so that it can be copied into a manuscript unchanged. '
    'It is released under the [CC0](https://creativecommons.org/publicdomain/zero/1.0/) licence.'
)

OWN = 'mriprep'  # the tool of steps that are done here
_MASKS_GIVEN = 'Brain masks were given.'
_FONOV = 'fonov2011', 'fonov2009'
_TEMPLATES = {
    'MNI152NLin2009': _FONOV,
    'MNIPediatric': _FONOV,
    'MNIInfant': ('fonov2009',),
    'MNI152NLin6': ('evans2012',),
}
EMBEDDED = 'MNI152NLin2009aSym'  # comes with nilearn; every other template from TemplateFlow


def methods_text(
    steps: Iterable[StepLike], versions: Mapping[str, str], contrasts: Sequence[str] = ('T1w',)
) -> str:
    """Tell what was done, as Markdown with citations resolved.

    Parameters
    ----------
    steps : iterable of StepLike
        Steps of the plan, in order; equal ones (of other sessions) are told once.
    versions : mapping of str to str
        Tool to version; ``mriprep`` and ``nipype`` are told.
    contrasts : sequence of str
        What the images show, in the words of `mriprep.contrasts.Contrast`.
    """
    return resolved(_draft(steps, versions, contrasts))


def methods_bibliography(
    steps: Iterable[StepLike], versions: Mapping[str, str], contrasts: Sequence[str] = ('T1w',)
) -> str:
    """BibTeX of the works that `methods_text` cites."""
    return bibliography(citations(_draft(steps, versions, contrasts)))


def _draft(
    steps: Iterable[StepLike], versions: Mapping[str, str], contrasts: Sequence[str]
) -> str:
    """Methods text with unresolved citations."""
    grouped: dict[str, list[StepLike]] = {}
    for step in steps:
        group = grouped.setdefault(str(step.name), [])
        if step not in group:
            group.append(step)
    told = [tell(grouped[name]) for name, tell in _SENTENCES.items() if name in grouped]
    return (
        '### Structural MRI preprocessing\n\n'
        f'{" ".join([_opening(versions, contrasts), *told])}\n\n{_closing()}\n\n{WAIVER}'
    )


_WEIGHTED = {
    'T1w': 'T1-weighted (T1w)',
    'ce-T1w': 'T1-weighted contrast-enhanced',
    'T2w': 'T2-weighted (T2w)',
    'FLAIR': 'FLAIR',
    'PDw': 'proton-density-weighted (PDw)',
}


def _opening(versions: Mapping[str, str], contrasts: Sequence[str]) -> str:
    named = [_WEIGHTED.get(contrast, contrast) for contrast in contrasts] or ['Structural']
    listed = ', '.join(named[:-1]) + (' and ' if named[:-1] else '') + named[-1]
    return (
        f'{listed} images, organised in BIDS [@gorgolewski2016] and queried with PyBIDS '
        f'[@yarkoni2019], were preprocessed with *mriprep*{_version(versions.get("mriprep"))}, '
        f'which is based on *Nipype*{_version(versions.get("nipype"))} [@gorgolewski2011].'
    )


def _closing() -> str:
    return (
        'Images were read and written with NiBabel [@brett_nibabel]. The visual report was made '
        'with NiReports, a part of the NiPreps family [@esteban2019].'
    )


def _version(version: str | None) -> str:
    return f' {version}' if version and version != 'unknown' else ''


def _tool(step: StepLike) -> str:
    return f'`{step.tool}`{_version(step.version)}'


def _conform(steps: Sequence[StepLike]) -> str:
    return (
        'The header of each image was checked, and its voxels were reordered to right-anterior-'
        'superior axes without interpolation.'
    )


def _merge(steps: Sequence[StepLike]) -> str:
    return (
        'Where a contrast had several runs of one protocol, these were registered rigidly to a '
        'space halfway between them and averaged robustly [@reuter2010; @reuter2012].'
    )


def _longitudinal(steps: Sequence[StepLike]) -> str:
    return (
        'The sessions of a subject were registered rigidly to a space halfway between them, and '
        'their robust mean, which treats all sessions alike, was registered to templates in '
        'their place [@reuter2010; @reuter2012].'
    )


def _coregister(steps: Sequence[StepLike]) -> str:
    made = _made(steps)
    if made is None:
        return 'Transforms of other contrasts to the reference image were given.'
    told = (
        'The images of a session were registered to its reference image with a rigid transform '
        f'that maximises mutual information [@wells1996], as implemented in *{made.tool}*; overlap '
        'of the brains, and the sharpness of the optimum, were checked.'
    )
    return (
        told if _all_made(steps) else f'{told} Where such transforms were given, they were used.'
    )


def _made(steps: Sequence[StepLike]) -> StepLike | None:
    """The first step that is not taken from elsewhere."""
    return next((step for step in steps if step.tool != GIVEN), None)


def _all_made(steps: Sequence[StepLike]) -> bool:
    return all(step.tool != GIVEN for step in steps)


_EXTRACTORS = {
    'deepbet': 'a convolutional network, *deepbet*{version} [@fisch2024]',
    'hd-bet': 'a convolutional network, *HD-BET*{version} [@isensee2019; @isensee2021]',
    'synthstrip': 'a convolutional network, *SynthStrip*{version} [@hoopes2022]',
    'template': 'an affine fit of tissue labels of the ICBM 2009 template [@fonov2011; @fonov2009] '
    'by mutual information [@wells1996], as implemented in *mriprep*{version}',
}


def _extractor_words(name: str, version: str) -> str:
    """Name an extractor with its works; those of other packages by name alone."""
    return _EXTRACTORS.get(name, f'*{name}*{{version}}').format(version=_version(version))


def _extract(steps: Sequence[StepLike]) -> str:
    found = [step for step in steps if step.tool not in (GIVEN, STRIPPED, OWN)]
    taken = [step for step in steps if step.tool in (GIVEN, STRIPPED)]
    told = [_found(step) for step in found]
    tools = {step.tool for step in steps}
    if GIVEN in tools:
        told.append('Where brain masks were given, they were used.' if found else _MASKS_GIVEN)
    if STRIPPED in tools:
        told.append('Of images that had been stripped before, the mask was taken from the image.')
    if OWN in tools:
        told.append('The brain mask of the reference image was carried over to other contrasts.')
    guarded = ''
    if found or taken:
        guarded = 'Each mask was checked for volume, shape, position and contrast at its border'
    if found:
        guarded += '; a doubtful one was made again after a correction of the whole head with N4'
        guarded += _second(found, ', and then with {}')
    if taken:
        which = 'a doubtful one from elsewhere' if found else 'a doubtful one'
        guarded += _second(taken, f'; {which} was compared with a mask from {{}}')
    return ' '.join([*dict.fromkeys(told), *([f'{guarded}.'] if guarded else [])])


def _found(step: StepLike) -> str:
    """Tell of an extractor and how its map became a mask."""
    threshold = step.parameters.get('mask_threshold')
    kept = f', keeping voxels with a brain probability above {threshold}' if threshold else ''
    augmented = step.parameters.get('test_time_augmentation')
    averaged = ', averaging over mirrored images' if augmented else ''
    extractor = _extractor_words(step.tool, step.version)
    return f'The brain was extracted with {extractor}{averaged}{kept}.'


def _second(steps: Sequence[StepLike], words: str) -> str:
    """Name what is asked when a mask is not believed, if there is such a thing."""
    seconds = [str(step.parameters['second']) for step in steps if step.parameters.get('second')]
    return words.format(_extractor_words(*_name_and_version(seconds[0]))) if seconds else ''


def _name_and_version(text: str) -> tuple[str, str]:
    name, _, version = text.partition(' ')
    return name, version


def _bias(steps: Sequence[StepLike]) -> str:
    step = _made(steps)
    if step is None:
        return 'Images without bias field were given.'
    told = {
        'fit_voxel_mm': 'fitted to samples {} mm apart',
        'spline_distance_mm': 'knots of the coarsest mesh {} mm apart',
        'iterations': '{} iterations',
        'convergence': 'convergence threshold {}',
    }
    values = ', '.join(
        words.format(_value(step.parameters[key]))
        for key, words in told.items()
        if key in step.parameters
    )
    given = (
        '' if _all_made(steps) else ' Where images without bias field were given, they were used.'
    )
    return (
        'Intensity non-uniformity was estimated inside the brain mask and removed with N4 '
        f'[@tustison2010], {_tool(step)}, distributed with ANTs'
        f'{f" ({values})" if values else ""}.{given}'
    )


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return '×'.join(str(item) for item in value)
    return f'{value:g}' if isinstance(value, float) else str(value)


def _register(steps: Sequence[StepLike]) -> str:
    step = _made(steps)
    if step is None:
        return 'Transforms to templates were given.'
    kept_out = ''
    if any(one.parameters.get('lesion') for one in steps):
        kept_out = ', keeping lesions that had been drawn out of the metric'
    kinds = {
        'rigid': 'a rigid transform',
        'affine': 'an affine transform',
        'syn': 'an affine transform followed by a symmetric diffeomorphic one (SyN) [@avants2008]',
    }
    transform = str(step.parameters.get('transform', ''))
    metric = str(step.parameters.get('metric', '')) or 'mutual information'
    spaces = dict.fromkeys(one.space for one in steps if one.space and one.tool != GIVEN)
    given = '' if _all_made(steps) else ' Where transforms were given, they were used.'
    return (
        f'The brain was registered to {_joined([_template(space) for space in spaces])} with '
        f'{kinds.get(transform, "a transform")}, maximising {metric}{kept_out}, using '
        f'{_tool(step)} (ANTs) [@avants2011; @avants2014].{given}'
    )


def _template(space: str) -> str:
    """Name a template and cite it.

    >>> _template('MNIPediatricAsym+3')
    '*MNIPediatricAsym*, cohort 3 [@fonov2011; @fonov2009], from TemplateFlow [@ciric2022]'
    """
    name, _, cohort = space.partition('+')
    keys = next((keys for start, keys in _TEMPLATES.items() if name.startswith(start)), ())
    cited = f' [{"; ".join(f"@{key}" for key in keys)}]' if keys else ''
    source = 'from TemplateFlow [@ciric2022]'
    if name == EMBEDDED:
        source = 'as distributed with nilearn [@abraham2014]'
    return f'*{name}*{f", cohort {cohort}" if cohort else ""}{cited}, {source}'


def _joined(items: Sequence[str]) -> str:
    """List in words.

    >>> _joined(['a']), _joined(['a', 'b']), _joined(['a', 'b', 'c'])
    ('a', 'a and b', 'a; b; and c')
    """
    if len(items) < 3:
        return ' and '.join(items) or 'the template'
    return '; '.join([*items[:-1], f'and {items[-1]}'])


def _resample(steps: Sequence[StepLike]) -> str:
    # the step of a template tells of masks too
    step = next((one for one in steps if one.space != REFERENCE), steps[0])
    grids = [
        words
        for words, there in (
            ('of the reference image', any(one.space == REFERENCE for one in steps)),
            ('of each template', step.space != REFERENCE),
        )
        if there
    ]
    kind = step.parameters.get('images', step.parameters.get('interpolation'))
    masks = step.parameters.get('masks')
    how = ', '.join(
        f'{kind_of} with {named} interpolation'
        for kind_of, named in (('images', kind), ('masks', masks))
        if named
    )
    return (
        f'Each image was brought to the grid {" and ".join(grids)} with a single interpolation '
        f'from its own grid{f" ({how})" if how else ""}, using {_tool(step)}.'
    )


def _normalize(steps: Sequence[StepLike]) -> str:
    if steps[0].parameters.get('method', 'zscore') != 'zscore':
        return f'Intensities were normalised ({steps[0].parameters["method"]}).'
    return (
        'Intensities were standardised to mean 0 and standard deviation 1 over the voxels of the '
        'brain mask [@reinhold2019].'
    )


_SENTENCES: Mapping[str, Callable[[Sequence[StepLike]], str]] = {
    'conform': _conform,
    'merge': _merge,
    'extract': _extract,
    'coregister': _coregister,
    'bias': _bias,
    'longitudinal': _longitudinal,
    'register': _register,
    'resample': _resample,
    'normalize': _normalize,
}
