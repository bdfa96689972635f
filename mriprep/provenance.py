"""What stands beside each file: where it comes from and what made it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from mriprep.extractors.registry import names as registry_names
from mriprep.given import RAW
from mriprep.inventory import ImageRecord, Inventory
from mriprep.listing import INDIVIDUAL, Derivative, Place
from mriprep.naming import PATTERNS, Kind, Output, Pattern
from mriprep.plan import ImagePlan, IndividualPlan, SessionPlan
from mriprep.steps import REFERENCE, Step, StepName
from mriprep.templates import Template

BIDS_VERSION = '1.10.0'

_CONFORMED = (StepName.CONFORM, StepName.MERGE)
_FOUND = (*_CONFORMED, StepName.EXTRACT)
# steps on the image's own grid
_MADE_BY: Mapping[Output, tuple[StepName, ...]] = {
    Output.PREPROC: (*_CONFORMED, StepName.BIAS),
    Output.BRAIN_MASK: _FOUND,
    Output.BRAIN_PROBABILITY: _FOUND,
    Output.BRAIN: (*_FOUND, StepName.BIAS),
    Output.ZSCORE: (*_FOUND, StepName.BIAS, StepName.NORMALIZE),
    Output.LESION: (StepName.CONFORM,),
    Output.FROM_RUN: _CONFORMED,
    Output.TO_RUN: _CONFORMED,
    Output.TO_REFERENCE: (StepName.COREGISTER,),
    Output.FROM_REFERENCE: (StepName.COREGISTER,),
    Output.TO_INDIVIDUAL: (StepName.LONGITUDINAL,),
    Output.FROM_INDIVIDUAL: (StepName.LONGITUDINAL,),
}


def sidecar(derivative: Derivative, plan: SessionPlan, version: str) -> dict[str, object]:
    """Describe one derivative, as far as it is known before the run.

    Parameters
    ----------
    derivative
        An image, a mask or a transform of ``plan``.
    plan
        The session that it belongs to.
    version
        Version of mriprep.

    Returns
    -------
    dict
        Keys of BIDS where BIDS has them. ``Sources`` are BIDS URIs; nothing in it is a path of
        this machine.
    """
    pattern = PATTERNS[derivative.output]
    image = _image_of(derivative, plan)
    out = _described(pattern)
    out['Sources'] = list(dict.fromkeys(_sources(derivative, plan, image)))
    if pattern.kind is not Kind.TRANSFORM:
        out['SpatialReference'] = _spatial_reference(derivative, plan)
        if derivative.template is not None:
            zooms_mm = plan.reference.zooms_mm
            out['Resolution'] = resolution_words(derivative.template, zooms_mm)
        elif derivative.place is Place.REFERENCE:
            out['Resolution'] = f'the grid of {plan.main.contrast.words}, the reference'
    out |= _what(derivative, pattern, stripped_source=image.image.stripped)
    out['GeneratedBy'] = [{'Name': 'mriprep', 'Version': version}]
    out['Steps'] = [step_record(step) for step in _steps(derivative, plan, image)]
    return out


def individual_sidecar(
    derivative: Derivative, plan: IndividualPlan, version: str
) -> dict[str, object]:
    """Describe a file of the mean of a subject's sessions; see `sidecar`."""
    pattern = PATTERNS[derivative.output]
    out = _described(pattern)
    if derivative.place is Place.INDIVIDUAL:
        out['Sources'] = [
            f'bids::{found.path}'
            for session in plan.members
            for output in (Output.PREPROC, Output.BRAIN_MASK)
            if (found := session.derivative(output)) is not None
        ]
        out['SpatialReference'] = INDIVIDUAL
    else:
        out['Sources'] = [
            f'bids::{item.path}'
            for item in plan.derivatives
            if item.output in (Output.PREPROC, Output.BRAIN_MASK)
        ]
    stripped = all(session.main.image.stripped for session in plan.members)
    out |= _what(derivative, pattern, stripped_source=stripped)
    out['GeneratedBy'] = [{'Name': 'mriprep', 'Version': version}]
    name = StepName.LONGITUDINAL if derivative.template is None else StepName.REGISTER
    label = derivative.template and derivative.template.space.label
    out['Steps'] = [
        step_record(step)
        for step in plan.members[0].shared_steps
        if step.name is name and step.space == label
    ]
    return out


def _described(pattern: Pattern) -> dict[str, object]:
    return {'Description': pattern.doc[0].upper() + pattern.doc[1:]} if pattern.doc else {}


def _what(derivative: Derivative, pattern: Pattern, *, stripped_source: bool) -> dict[str, object]:
    """Say what kind of file it is, and which template it belongs to."""
    out: dict[str, object] = {}
    if pattern.stripped is not None:
        out['SkullStripped'] = pattern.stripped or stripped_source
    if pattern.kind is Kind.MASK:
        out['Type'] = 'Lesion' if derivative.output is Output.LESION else 'Brain'
    if (template := derivative.template) is not None:
        out['Template'] = {
            'Name': template.space.label,
            'Source': template.source,
            'SHA256': dict(template.sha256),
        }
    return out


def _image_of(derivative: Derivative, plan: SessionPlan) -> ImagePlan:
    return next(image for image in plan.images if image.contrast is derivative.contrast)


def _spatial_reference(derivative: Derivative, plan: SessionPlan) -> str:
    if derivative.template is not None:
        return _template_uri(derivative.template)
    if derivative.place is Place.REFERENCE:
        preproc = plan.derivative(Output.PREPROC)
        assert preproc is not None
        return f'bids::{preproc.path}'
    return 'orig'


def step_record(step: Step) -> dict[str, object]:
    """Write a step as it stands in sidecars."""
    return {
        'Name': step.name.value,
        'Tool': step.tool,
        'Version': step.version,
        'Parameters': dict(step.parameters),
    }


def resolution_words(template: Template, native_zooms_mm: tuple[float, ...]) -> str:
    """State the voxel size of an output grid in words, as BIDS wants ``Resolution``."""
    size = ' x '.join(f'{mm:.2f}' for mm in template.output_grid(native_zooms_mm).voxel_size_mm)
    if template.resolution is None:
        return f'{size} mm, the voxel size of the reference image'
    return f'{size} mm, grid {template.resolution} of {template.space.label}'


def dataset_description(
    inventory: Inventory,
    out_dir: Path,
    version: str,
    tools: Mapping[str, str],
    given: Mapping[str, Path] | None = None,
) -> dict[str, object]:
    """Describe the output folder.

    ``given`` are the derivative data sets that files were taken from, by name.

    Container and tag are read from ``MRIPREP_CONTAINER`` (``docker:name:tag``), which the
    Dockerfile sets.
    """
    made: dict[str, object] = {'Name': 'mriprep', 'Version': version}
    kind, _, tag = os.environ.get('MRIPREP_CONTAINER', '').partition(':')
    if tag:
        made['Container'] = {'Type': kind, 'Tag': tag}
    others = [
        {'Name': name, 'Version': tools[name]}
        for name in ('ANTs', *registry_names())
        if name in tools
    ]
    source: dict[str, str] = {}
    if inventory.doi:
        source['DOI'] = inventory.doi
    return {
        'Name': f'mriprep: {inventory.name}',
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': 'derivative',
        'GeneratedBy': [made, *others],
        'HowToAcknowledge': 'Please cite what logs/CITATION.md names.',
        **({'SourceDatasets': [source]} if source else {}),
        'DatasetLinks': {
            RAW: raw_link(inventory, out_dir),
            **{name: _way(root, out_dir) for name, root in (given or {}).items()},
        },
    }


def raw_link(inventory: Inventory, out_dir: Path) -> str:
    """Say where the source data set is: its DOI, or the way from the output folder.

    Its ``ReferencesAndLinks`` are no help: most of them are papers.

    A way that climbs to the root of the file system or through a home folder would tell whose
    machine it was; then the name of the folder stands alone.
    """
    if inventory.doi:
        doi = inventory.doi.removeprefix('doi:').removeprefix('https://doi.org/')
        return f'https://doi.org/{doi}'
    return _way(inventory.root, out_dir)


def _way(root: Path, out_dir: Path) -> str:
    """The way from the output folder to another, or that folder's name; see `raw_link`."""
    root, out = root.resolve(), out_dir.resolve()
    common = Path(os.path.commonpath([root, out]))
    homes = (Path('/home'), Path('/Users'), *Path.home().parents)
    if common in (Path('/'), *homes):
        return quote(root.name)
    return quote(Path(os.path.relpath(root, out)).as_posix())


def source_uri(image: ImageRecord) -> str:
    """BIDS URI of a source image."""
    return f'bids:{RAW}:{image.relative}'


def _sources(derivative: Derivative, plan: SessionPlan, image: ImagePlan) -> Iterable[str]:
    """BIDS URIs of the files that a derivative is made from."""
    if derivative.output in (Output.FROM_RUN, Output.TO_RUN):
        yield from map(source_uri, image.choice.sources)
    elif derivative.output in (Output.TO_INDIVIDUAL, Output.FROM_INDIVIDUAL):
        yield from _saved(plan, image, Output.PREPROC, Output.BRAIN_MASK)
        yield from _uris(plan.individual_files, Output.PREPROC, image, None)
    elif derivative.place is Place.REFERENCE:
        yield from _sources_on_reference(derivative, plan, image)
    elif derivative.template is None:
        yield from _native_sources(derivative, plan, image)
    else:
        yield from _sources_in_template(derivative, derivative.template, plan, image)


def _saved(plan: SessionPlan, image: ImagePlan, *outputs: Output) -> Iterable[str]:
    """URIs of files on an image's own grid."""
    for output in outputs:
        if (found := plan.derivative(output, contrast=image.contrast)) is not None:
            yield f'bids::{found.path}'


def _native_sources(derivative: Derivative, plan: SessionPlan, image: ImagePlan) -> Iterable[str]:
    raw = [source_uri(source) for source in image.choice.sources]
    match derivative.output:
        case Output.PREPROC:
            yield from raw
            if image.corrected is not None:
                yield image.corrected.uri
        case Output.BRAIN_MASK if image.extraction is None:
            yield from raw
            yield from _saved(plan, plan.main, Output.BRAIN_MASK)
            yield from _transform(plan, image, Output.FROM_REFERENCE)
        case Output.BRAIN_MASK | Output.BRAIN_PROBABILITY:
            yield from raw
            if image.mask is not None:
                yield image.mask.uri
        case Output.LESION if image.lesion is not None:
            yield image.lesion.uri
        case _:
            yield from _saved(plan, image, Output.PREPROC, Output.BRAIN_MASK)


def _sources_on_reference(
    derivative: Derivative, plan: SessionPlan, image: ImagePlan
) -> Iterable[str]:
    given = {
        Output.TO_REFERENCE: image.to_reference,
        Output.FROM_REFERENCE: image.from_reference,
    }
    if derivative.output in given:
        if (file := given[derivative.output]) is not None:
            yield file.uri
            return
        yield from map(source_uri, image.choice.sources)
        yield from _saved(plan, plan.main, Output.PREPROC, Output.BRAIN_MASK)
        return
    moved = Output.LESION if derivative.output is Output.LESION else Output.PREPROC
    yield from _saved(plan, image, moved)
    if derivative.output in (Output.BRAIN, Output.ZSCORE):
        yield from _saved(plan, plan.main, Output.BRAIN_MASK)
    yield from _transform(plan, image, Output.TO_REFERENCE)


def _sources_in_template(
    derivative: Derivative, template: Template, plan: SessionPlan, image: ImagePlan
) -> Iterable[str]:
    output = derivative.output
    if output in (Output.FORWARD, Output.INVERSE):
        yield from _sources_of_way(output, template, plan, image)
        return
    if output is Output.LESION:
        yield from _saved(plan, image, Output.LESION)
    elif output is not Output.BRAIN_MASK:
        yield from _saved(plan, image, Output.PREPROC)
    if output not in (Output.PREPROC, Output.LESION):
        yield from _saved(plan, plan.main, Output.BRAIN_MASK)
    yield from _transform(plan, image, Output.FORWARD, template)


def _sources_of_way(
    output: Output, template: Template, plan: SessionPlan, image: ImagePlan
) -> Iterable[str]:
    """What a transform to a template, or back, was made from; of joined ones their parts."""
    forward = output is Output.FORWARD
    if not image.is_reference:
        yield from _transform(
            plan, image, Output.TO_REFERENCE if forward else Output.FROM_REFERENCE
        )
        yield from _transform(plan, plan.main, output, template)
    elif plan.through_individual:
        yield from _transform(
            plan, image, Output.TO_INDIVIDUAL if forward else Output.FROM_INDIVIDUAL
        )
        yield from _uris(plan.individual_files, output, image, template)
    elif (given := plan.given_transforms.get(template.space.label)) is not None:
        yield given[not forward].uri
    else:
        yield from _saved(plan, image, Output.PREPROC, Output.BRAIN_MASK)
        if (lesion := _kept_out(plan)) is not None:
            yield f'bids::{lesion.path}'


def _kept_out(plan: SessionPlan) -> Derivative | None:
    """The lesion, on the reference's grid, that takes no part in the registration."""
    if plan.lesion is None or not any('lesion' in step.parameters for step in plan.shared_steps):
        return None
    place = Place.NATIVE if plan.lesion.is_reference else Place.REFERENCE
    return plan.derivative(Output.LESION, contrast=plan.lesion.contrast, place=place)


def _transform(
    plan: SessionPlan, image: ImagePlan, output: Output, template: Template | None = None
) -> Iterable[str]:
    """URI of a transform of an image; one serves all grids of a template."""
    yield from _uris(plan.derivatives, output, image, template)


def _uris(
    files: Iterable[Derivative], output: Output, image: ImagePlan, template: Template | None
) -> Iterable[str]:
    label = template and template.space.label
    for item in files:
        same = (item.template and item.template.space.label) == label
        if item.output is output and item.contrast is image.contrast and same:
            yield f'bids::{item.path}'


def _template_uri(template: Template) -> str:
    name = (template.reference or template.t1w).name
    cohort = f'/cohort-{template.space.cohort}' if template.space.cohort else ''
    return f'tpl-{template.space.name}{cohort}/{name}'


def _steps(derivative: Derivative, plan: SessionPlan, image: ImagePlan) -> Iterable[Step]:
    """Steps that led to a file, in order."""
    names = set(_MADE_BY.get(derivative.output, ()))
    label = derivative.template and derivative.template.space.label
    transform = PATTERNS[derivative.output].kind is Kind.TRANSFORM
    elsewhere = label is not None or derivative.place is Place.REFERENCE
    if elsewhere and not image.is_reference:
        names.add(StepName.COREGISTER)
    if label is not None:
        names |= {StepName.REGISTER, StepName.LONGITUDINAL}
    if elsewhere and not transform:
        names.add(StepName.RESAMPLE)
    for step in image.steps:
        if step.name in names:
            yield step
    for step in plan.shared_steps:
        wanted = {None, label}
        if step.name is StepName.RESAMPLE:
            wanted = {label or REFERENCE}
        if step.name in names and step.space in wanted:
            yield step
