"""What stands beside each file: where it comes from and what made it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from mriprep.extractors.registry import names as registry_names
from mriprep.inventory import ImageRecord, Inventory
from mriprep.naming import PATTERNS, Kind, Output
from mriprep.plan import Derivative, SessionPlan
from mriprep.steps import Step, StepName
from mriprep.templates import Template

BIDS_VERSION = '1.10.0'
RAW = 'raw'  # name of the source data set in BIDS URIs

_MADE_BY: Mapping[Output, tuple[StepName, ...]] = {
    Output.PREPROC: (StepName.CONFORM, StepName.BIAS),
    Output.BRAIN_MASK: (StepName.CONFORM, StepName.EXTRACT),
    Output.BRAIN_PROBABILITY: (StepName.CONFORM, StepName.EXTRACT),
    Output.BRAIN: (StepName.CONFORM, StepName.EXTRACT, StepName.BIAS),
    Output.ZSCORE: (StepName.CONFORM, StepName.EXTRACT, StepName.BIAS, StepName.NORMALIZE),
    Output.FORWARD: (StepName.REGISTER,),
    Output.INVERSE: (StepName.REGISTER,),
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
    template = derivative.template
    out: dict[str, object] = {}
    if pattern.doc:
        out['Description'] = pattern.doc[0].upper() + pattern.doc[1:]
    out['Sources'] = list(_sources(derivative, plan))
    if pattern.kind is not Kind.TRANSFORM:
        out['SpatialReference'] = 'orig' if template is None else _template_uri(template)
        if template is not None:
            out['Resolution'] = resolution_words(template, plan.reference.zooms_mm)
    if pattern.stripped is not None:
        out['SkullStripped'] = pattern.stripped
    if pattern.kind is Kind.MASK:
        out['Type'] = 'Brain'
    if template is not None:
        out['Template'] = {
            'Name': template.space.label,
            'Source': template.source,
            'SHA256': dict(template.sha256),
        }
    out['GeneratedBy'] = [{'Name': 'mriprep', 'Version': version}]
    out['Steps'] = [step_record(step) for step in _steps(derivative, plan)]
    return out


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
        return f'{size} mm, the voxel size of the source image'
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


def _sources(derivative: Derivative, plan: SessionPlan) -> Iterable[str]:
    raw = source_uri(plan.reference)
    template = derivative.template
    preproc = plan.derivative(Output.PREPROC)
    mask = plan.derivative(Output.BRAIN_MASK)
    assert preproc is not None
    assert mask is not None
    if template is None:
        match derivative.output:
            case Output.BRAIN_MASK if plan.given_mask is not None:
                yield from (raw, plan.given_mask.uri)
            case Output.PREPROC | Output.BRAIN_MASK | Output.BRAIN_PROBABILITY:
                yield raw
            case _:
                yield from (f'bids::{preproc.path}', f'bids::{mask.path}')
        return
    if derivative.output in (Output.FORWARD, Output.INVERSE):
        yield from (f'bids::{preproc.path}', f'bids::{mask.path}')
        return
    if derivative.output is not Output.BRAIN_MASK:
        yield f'bids::{preproc.path}'
    if derivative.output is not Output.PREPROC:
        yield f'bids::{mask.path}'
    for item in plan.derivatives:
        same = item.template is not None and item.template.space.label == template.space.label
        if item.output is Output.FORWARD and same:
            yield f'bids::{item.path}'


def _template_uri(template: Template) -> str:
    name = (template.reference or template.t1w).name
    cohort = f'/cohort-{template.space.cohort}' if template.space.cohort else ''
    return f'tpl-{template.space.name}{cohort}/{name}'


def _steps(derivative: Derivative, plan: SessionPlan) -> Iterable[Step]:
    names = set(_MADE_BY.get(derivative.output, ()))
    if derivative.template is not None:
        names.add(StepName.REGISTER)
        if PATTERNS[derivative.output].kind is not Kind.TRANSFORM:
            names.add(StepName.RESAMPLE)
    label = None if derivative.template is None else derivative.template.space.label
    for step in plan.steps:
        if step.name in names and step.space in (None, label):
            yield step
