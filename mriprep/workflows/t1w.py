"""The main job for one T1w image, without a word about files: the part that others embed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nipype.pipeline import engine as pe
from platformdirs import user_cache_path

from mriprep.extractors.at_hand import choose_here
from mriprep.extractors.base import AtlasFiles
from mriprep.extractors.choice import Extraction
from mriprep.participants import Person
from mriprep.plan import plan_registrations
from mriprep.settings import Normalization, Resources, Settings
from mriprep.steps import RegistrationPlan
from mriprep.templates import Template, embedded_atlas
from mriprep.tools import activate
from mriprep.workflows.native import init_native_wf
from mriprep.workflows.nodes import buffer, merge_node
from mriprep.workflows.template import init_template_wf, resampling_name, template_name

NATIVE_WF = 'native_wf'


def init_t1w_wf(
    settings: Settings,
    resources: Resources,
    templates: Sequence[Template],
    *,
    person: Person | None = None,
    cache: Path | None = None,
    name: str = 't1w_wf',
) -> pe.Workflow:
    """Prepare one T1w image inside another Nipype workflow.

    The ANTs programs that ``settings.ants`` chooses are put on ``PATH`` of this process, where
    Nipype looks for them when the workflow runs.

    Parameters
    ----------
    settings
        Scientific choices; their ``output_spaces`` are not read here.
    resources
        Threads for the steps that can use several.
    templates
        One item an output grid, from `mriprep.templates.find_template`. Grids of one template
        share its registration. May be empty.
    person
        Age and sex of the head, for the norms of the guard.
    cache
        Folder for files derived from the embedded template; None: one in the user's cache.

    Inputs
    ------
    t1w
        Raw 3D NIfTI of a head, any orientation.
    given_mask
        Mask on the voxels of ``t1w``; read only with ``settings.brain.extractor`` ``given``.

    Raises
    ------
    ExtractorError
        If the extractor that ``settings.brain`` names can't run here.

    Outputs
    -------
    preproc, brain_mask, brain
        On the image's own grid with RAS axes: whole head after bias field correction, mask,
        stripped head.
    audit, verdict
        JSON files: what was found in the header and what was changed, and what the guard says of
        the mask.
    forward, inverse
        Lists of ITK transforms to each template and back; one item a template.
    std_preproc, std_brain_mask, std_brain, std_zscore
        Lists of images on the grids of ``templates``; one item a grid, joined by template.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mriprep.settings import EMBEDDED_SPACE, Resources, Settings
    >>> from mriprep.templates import find_template
    >>> template = find_template(EMBEDDED_SPACE, Path('cache'))  # doctest: +SKIP
    >>> workflow = init_t1w_wf(Settings(), Resources(), [template])  # doctest: +SKIP
    """
    activate(settings.ants)
    registrations = plan_registrations(templates)
    workflow = init_core_wf(
        settings,
        resources,
        registrations,
        choose_here(
            settings.brain, resources.devices, resources.weights_dir, mem_gb=resources.mem_gb
        ),
        embedded_atlas(cache or user_cache_path('mriprep') / 'templates'),
        person=person,
        name=name,
    )
    inputnode = buffer('inputnode', 't1w', 'given_mask')
    native = ('preproc', 'brain_mask', 'brain', 'audit', 'verdict')
    transforms = ('forward', 'inverse')
    standard = ['preproc', 'brain_mask', 'brain']
    if settings.normalization is Normalization.ZSCORE:
        standard.append('zscore')
    outputnode = buffer(
        'outputnode', *native, *transforms, *(f'std_{field}' for field in standard)
    )
    native_wf = workflow.get_node(NATIVE_WF)
    for field in ('t1w', 'given_mask'):
        workflow.connect(inputnode, field, native_wf, f'inputnode.{field}')
    for field in native:
        workflow.connect(native_wf, f'outputnode.{field}', outputnode, field)
    if not registrations:
        return workflow
    for field in transforms:
        merged = merge_node(f'all_{field}', len(registrations))
        for index, registration in enumerate(registrations, start=1):
            part = workflow.get_node(template_name(registration))
            workflow.connect(part, f'outputnode.{field}', merged, f'in{index}')
        workflow.connect(merged, 'out', outputnode, field)
    grids = [
        (template_name(registration), resampling_name(grid))
        for registration in registrations
        for grid in registration.grids
    ]
    for field in standard:
        merged = merge_node(f'all_{field}', len(grids))
        for index, (part_name, grid_name) in enumerate(grids, start=1):
            part = workflow.get_node(part_name)
            workflow.connect(part, f'{grid_name}.outputnode.{field}', merged, f'in{index}')
        workflow.connect(merged, 'out', outputnode, f'std_{field}')
    return workflow


def init_core_wf(
    settings: Settings,
    resources: Resources,
    registrations: Sequence[RegistrationPlan],
    extraction: Extraction,
    atlas: AtlasFiles,
    *,
    person: Person | None = None,
    normalize_native: bool = False,
    name: str = 'core_wf',
) -> pe.Workflow:
    """Join the native part and the part of each template.

    Its sub-workflows are `NATIVE_WF`, whose ``inputnode.t1w`` is to be set, and one
    `template_name` for each registration.
    """
    workflow = pe.Workflow(name=name)
    native_wf = init_native_wf(
        settings,
        resources,
        extraction,
        atlas,
        person=person,
        normalize=normalize_native,
        name=NATIVE_WF,
    )
    workflow.add_nodes([native_wf])
    for registration in registrations:
        template_wf = init_template_wf(settings, resources, registration)
        workflow.connect([
            (native_wf, template_wf, [
                ('outputnode.preproc', 'inputnode.preproc'),
                ('outputnode.brain_mask', 'inputnode.brain_mask'),
            ]),
        ])  # fmt: skip
    return workflow
