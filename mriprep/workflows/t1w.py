"""The main job for one T1w image, without a word about files: the part that others embed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nipype.pipeline import engine as pe
from platformdirs import user_cache_path

from mriprep.contrasts import Contrast
from mriprep.extractors.at_hand import choose_here
from mriprep.participants import Person
from mriprep.plan import plan_registrations
from mriprep.settings import Normalization, Resources, Settings
from mriprep.templates import Template, embedded_atlas
from mriprep.tools import activate
from mriprep.workflows.core import NATIVE_WF, add_core
from mriprep.workflows.nodes import buffer, merge_node
from mriprep.workflows.template import resampling_name, template_name
from mriprep.workflows.wiring import ImageWiring


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
    extraction = choose_here(
        settings.brain, resources.devices, resources.weights_dir, mem_gb=resources.mem_gb
    )
    workflow = pe.Workflow(name=name)
    images_wf, templates_wf = add_core(
        workflow,
        settings,
        resources,
        [ImageWiring(contrast=Contrast.T1W, extraction=extraction)],
        registrations,
        embedded_atlas(cache or user_cache_path('mriprep') / 'templates'),
        person=person,
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
    for field, port in (('t1w', 'run1'), ('given_mask', 'given_mask')):
        workflow.connect(inputnode, field, images_wf, f'{NATIVE_WF}.inputnode.{port}')
    for field in native:
        port = 'audit1' if field == 'audit' else field
        workflow.connect(images_wf, f'{NATIVE_WF}.outputnode.{port}', outputnode, field)
    if not registrations:
        return workflow
    for field in transforms:
        merged = merge_node(f'all_{field}', len(registrations))
        for index, registration in enumerate(registrations, start=1):
            port = f'{template_name(registration)}.outputnode.{field}'
            workflow.connect(templates_wf, port, merged, f'in{index}')
        workflow.connect(merged, 'out', outputnode, field)
    grids = [
        f'{template_name(registration)}.{resampling_name(grid)}'
        for registration in registrations
        for grid in registration.grids
    ]
    for field in standard:
        merged = merge_node(f'all_{field}', len(grids))
        for index, part in enumerate(grids, start=1):
            workflow.connect(templates_wf, f'{part}.outputnode.{field}', merged, f'in{index}')
        workflow.connect(merged, 'out', outputnode, f'std_{field}')
    return workflow
