"""From the image's own grid to a template: one registration, one interpolation a grid."""

from __future__ import annotations

from nipype.interfaces import ants
from nipype.pipeline import engine as pe

from mriprep.interfaces.brain import ApplyMask, ZScore
from mriprep.interfaces.grids import ClosestRigid, CropToMask, NativeGrid
from mriprep.registration import stages, threads
from mriprep.settings import (
    Normalization,
    Registration,
    RegistrationSettings,
    Resources,
    Settings,
)
from mriprep.steps import RegistrationPlan
from mriprep.templates import Template
from mriprep.workflows.nodes import buffer, node_name


def init_registration_wf(
    settings: RegistrationSettings,
    resources: Resources,
    target: Template,
    *,
    random_seed: int,
    name: str = 'registration_wf',
) -> pe.Workflow:
    """Register a brain to the brain of a template.

    Inputs
    ------
    preproc
        Bias field corrected image, RAS axes; what lies outside the mask is not looked at.
    brain_mask
        Its mask.

    Outputs
    -------
    forward
        ITK transform, ``.h5``, that resamples the image onto the template.
    inverse
        The way back.
    """
    workflow = pe.Workflow(name=name)
    inputnode = buffer('inputnode', 'preproc', 'brain_mask')
    outputnode = buffer('outputnode', 'forward', 'inverse')
    crop = pe.Node(CropToMask(voxel_mm=settings.voxel_mm), name='crop', mem_gb=0.4)
    crop_template = pe.Node(
        CropToMask(
            in_file=str(target.t1w), in_mask=str(target.brain_mask), voxel_mm=settings.voxel_mm
        ),
        name='crop_template',
        mem_gb=0.4,
    )
    n_threads = threads(settings.transform, resources.n_threads)
    register = pe.Node(
        register_interface(settings, random_seed=random_seed, n_threads=n_threads),
        name='register',
        n_procs=n_threads,
        mem_gb=1.5,
    )
    workflow.connect([
        (inputnode, crop, [('preproc', 'in_file'), ('brain_mask', 'in_mask')]),
        (crop, register, [('out_file', 'moving_image')]),
        (crop_template, register, [('out_file', 'fixed_image')]),
    ])  # fmt: skip
    if settings.transform is Registration.RIGID:
        rigid = pe.Node(ClosestRigid(in_mask=str(target.brain_mask)), name='rigid', mem_gb=0.3)
        workflow.connect([
            (register, rigid, [('composite_transform', 'in_transform')]),
            (rigid, outputnode, [('forward', 'forward'), ('inverse', 'inverse')]),
        ])  # fmt: skip
    else:
        workflow.connect([
            (register, outputnode, [
                ('composite_transform', 'forward'),
                ('inverse_composite_transform', 'inverse'),
            ]),
        ])  # fmt: skip
    return workflow


def register_interface(
    settings: RegistrationSettings, *, random_seed: int, n_threads: int = 1
) -> ants.Registration:
    """Set up antsRegistration: ``moving_image`` to ``fixed_image``, both of them brains."""
    return ants.Registration(
        **stages(settings.transform),
        dimension=3,
        float=True,
        random_seed=random_seed,
        write_composite_transform=True,
        output_transform_prefix='xfm_',
        num_threads=n_threads,
        verbose=True,
    )


def init_resampling_wf(
    settings: Settings,
    grid: Template,
    *,
    name: str = 'resampling_wf',
) -> pe.Workflow:
    """Bring an image and its mask onto one grid of a template.

    Inputs
    ------
    preproc
        Whole head, bias field corrected.
    brain_mask
        Its mask.
    forward
        Transform to the template.

    Outputs
    -------
    preproc, brain_mask, brain
        As on the native grid, each image interpolated once; the mask label-aware.
    zscore
        Mean 0 and deviation 1 inside the mask of this grid; unless normalisation is off.
    zscore_metadata
        Its statistics.
    """
    workflow = pe.Workflow(name=name)
    inputnode = buffer('inputnode', 'preproc', 'brain_mask', 'forward')
    outputnode = buffer(
        'outputnode', 'preproc', 'brain_mask', 'brain', 'zscore', 'zscore_metadata'
    )
    head = pe.Node(
        ants.ApplyTransforms(
            dimension=3,
            float=True,
            interpolation=settings.registration.interpolation.value,
            output_image='head.nii',
        ),
        name='head',
        mem_gb=0.8,
    )
    mask = pe.Node(
        ants.ApplyTransforms(dimension=3, interpolation='GenericLabel', output_image='mask.nii'),
        name='mask',
        mem_gb=0.8,
    )
    strip = pe.Node(ApplyMask(), name='strip', mem_gb=0.4)
    workflow.connect([
        (inputnode, head, [('preproc', 'input_image'), ('forward', 'transforms')]),
        (inputnode, mask, [('brain_mask', 'input_image'), ('forward', 'transforms')]),
        (head, strip, [('output_image', 'in_file')]),
        (mask, strip, [('output_image', 'in_mask')]),
        (head, outputnode, [('output_image', 'preproc')]),
        (mask, outputnode, [('output_image', 'brain_mask')]),
        (strip, outputnode, [('out_file', 'brain')]),
    ])  # fmt: skip
    if grid.reference is not None:
        head.inputs.reference_image = str(grid.reference)
        mask.inputs.reference_image = str(grid.reference)
    else:
        native_grid = pe.Node(NativeGrid(in_target=str(grid.t1w)), name='native_grid', mem_gb=0.4)
        workflow.connect([
            (inputnode, native_grid, [('preproc', 'in_file')]),
            (native_grid, head, [('out_file', 'reference_image')]),
            (native_grid, mask, [('out_file', 'reference_image')]),
        ])  # fmt: skip
    if settings.normalization is Normalization.ZSCORE:
        zscore = pe.Node(ZScore(), name='zscore', mem_gb=0.5)
        workflow.connect([
            (head, zscore, [('output_image', 'in_file')]),
            (mask, zscore, [('output_image', 'in_mask')]),
            (zscore, outputnode, [('out_file', 'zscore'), ('metadata', 'zscore_metadata')]),
        ])  # fmt: skip
    return workflow


def init_template_wf(
    settings: Settings,
    resources: Resources,
    registration: RegistrationPlan,
    *,
    name: str | None = None,
) -> pe.Workflow:
    """Register to one template and resample onto each of its grids.

    The results of each grid are those of the sub-workflow `resampling_name` of that grid.

    Inputs
    ------
    preproc, brain_mask
        From `mriprep.workflows.native.init_native_wf`.

    Outputs
    -------
    forward, inverse
        Transforms to the template and back.
    """
    workflow = pe.Workflow(name=name or template_name(registration))
    inputnode = buffer('inputnode', 'preproc', 'brain_mask')
    outputnode = buffer('outputnode', 'forward', 'inverse')
    registration_wf = init_registration_wf(
        settings.registration, resources, registration.target, random_seed=settings.random_seed
    )
    workflow.connect([
        (inputnode, registration_wf, [
            ('preproc', 'inputnode.preproc'),
            ('brain_mask', 'inputnode.brain_mask'),
        ]),
        (registration_wf, outputnode, [
            ('outputnode.forward', 'forward'),
            ('outputnode.inverse', 'inverse'),
        ]),
    ])  # fmt: skip
    for grid in registration.grids:
        resampling_wf = init_resampling_wf(settings, grid, name=resampling_name(grid))
        workflow.connect([
            (inputnode, resampling_wf, [
                ('preproc', 'inputnode.preproc'),
                ('brain_mask', 'inputnode.brain_mask'),
            ]),
            (registration_wf, resampling_wf, [('outputnode.forward', 'inputnode.forward')]),
        ])  # fmt: skip
    return workflow


def template_name(registration: RegistrationPlan) -> str:
    """Name the part of the workflow that serves one template."""
    return node_name(registration.label, 'wf')


def resampling_name(grid: Template) -> str:
    """Name the part of the workflow that writes one grid."""
    return node_name('res', grid.resolution or 'native', 'wf')
