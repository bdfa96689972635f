"""From the reference to a template: one registration, one interpolation a grid and image."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.interfaces import ants
from nipype.pipeline import engine as pe

from mriprep.interfaces.contrast import JoinTransforms
from mriprep.interfaces.grids import ClosestRigid, CropToMask, NativeGrid
from mriprep.registration import stages, threads
from mriprep.settings import Registration, RegistrationSettings, Resources, Settings
from mriprep.steps import RegistrationPlan
from mriprep.templates import Template
from mriprep.workflows.contrast import lesion_nodes
from mriprep.workflows.nodes import buffer, merge_node, node_name
from mriprep.workflows.resampling import init_resampling_wf

# what a template's workflow takes of each other contrast
OTHER_PORTS = ('preproc', 'brain_mask', 'to_reference', 'from_reference')


def init_registration_wf(
    settings: RegistrationSettings,
    resources: Resources,
    target: Template,
    *,
    random_seed: int,
    lesion: bool = False,
    name: str = 'registration_wf',
) -> pe.Workflow:
    """Register a brain to the brain of a template.

    Inputs
    ------
    preproc
        Bias field corrected image, RAS axes; what lies outside the mask is not looked at.
    brain_mask
        Its mask.
    lesion
        Lesion mask on its grid; read only with ``settings.lesion_masking``.

    Outputs
    -------
    forward
        ITK transform, ``.h5``, that resamples the image onto the template.
    inverse
        The way back.
    """
    workflow = pe.Workflow(name=name)
    inputnode = buffer('inputnode', 'preproc', 'brain_mask', 'lesion')
    outputnode = buffer('outputnode', 'forward', 'inverse')
    masked = lesion and settings.lesion_masking
    crop = pe.Node(
        CropToMask(voxel_mm=settings.voxel_mm, metric_mask=masked), name='crop', mem_gb=0.4
    )
    crop_template = pe.Node(
        CropToMask(
            in_file=str(target.t1w),
            in_mask=str(target.brain_mask),
            voxel_mm=settings.voxel_mm,
            metric_mask=masked,
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
    if masked:
        workflow.connect([
            (inputnode, crop, [('lesion', 'in_excluded')]),
            (crop, register, [('out_metric_mask', 'moving_image_masks')]),
            (crop_template, register, [('out_metric_mask', 'fixed_image_masks')]),
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


def init_template_wf(
    settings: Settings,
    resources: Resources,
    registration: RegistrationPlan,
    *,
    others: Sequence[str] = (),
    lesion: str | None = None,
    handed: bool = False,
    name: str | None = None,
) -> pe.Workflow:
    """Register the reference to one template; bring all contrasts onto each of its grids.

    The reference's results on a grid are those of the sub-workflow `resampling_name` of that
    grid; those of another contrast stand in its `joined_name`.

    Parameters
    ----------
    settings, resources
        Scientific choices, and what the machine may spend.
    registration
        The template and its grids.
    others
        Labels of the other contrasts.
    lesion
        Label of the contrast on which a lesion is drawn; ``''`` for the reference, None for none.
    handed
        Whether the transforms come from elsewhere.

    Inputs
    ------
    preproc, brain_mask
        Of the reference.
    forward, inverse
        Transforms to the template and back; read only where they are handed.
    LABEL_preproc, LABEL_brain_mask, LABEL_to_reference, LABEL_from_reference
        Of each other contrast.
    lesion
        Lesion mask on the grid of its contrast.
    reference_lesion
        The same on the grid of the reference.

    Outputs
    -------
    forward, inverse
        Transforms to the template and back.
    """
    workflow = pe.Workflow(name=name or template_name(registration))
    inputnode = buffer(
        'inputnode', 'preproc', 'brain_mask', 'forward', 'inverse', 'lesion', 'reference_lesion',
        *(f'{label}_{port}' for label in others for port in OTHER_PORTS),
    )  # fmt: skip
    outputnode = buffer('outputnode', 'forward', 'inverse')
    if handed:
        workflow.connect(
            [(inputnode, outputnode, [('forward', 'forward'), ('inverse', 'inverse')])]
        )
    else:
        registration_wf = init_registration_wf(
            settings.registration,
            resources,
            registration.target,
            random_seed=settings.random_seed,
            lesion=lesion is not None,
        )
        workflow.connect([
            (inputnode, registration_wf, [
                ('preproc', 'inputnode.preproc'),
                ('brain_mask', 'inputnode.brain_mask'),
                ('reference_lesion', 'inputnode.lesion'),
            ]),
            (registration_wf, outputnode, [
                ('outputnode.forward', 'forward'),
                ('outputnode.inverse', 'inverse'),
            ]),
        ])  # fmt: skip
    parts = {label: _init_joined_wf(settings, registration, label) for label in others}
    for label, joined_wf in parts.items():
        workflow.connect([
            (inputnode, joined_wf, [
                (f'{label}_{port}', f'inputnode.{port}') for port in OTHER_PORTS
            ]),
            (outputnode, joined_wf, [
                ('forward', 'inputnode.forward'),
                ('inverse', 'inputnode.inverse'),
            ]),
        ])  # fmt: skip
    for grid in registration.grids:
        _connect_grid(workflow, settings, grid, parts, lesion)
    return workflow


def _connect_grid(
    workflow: pe.Workflow,
    settings: Settings,
    grid: Template,
    parts: dict[str, pe.Workflow],
    lesion: str | None,
) -> None:
    """Bring every contrast onto one grid, with the reference's mask."""
    inputnode, outputnode = workflow.get_node('inputnode'), workflow.get_node('outputnode')
    resampling_wf = init_resampling_wf(settings, name=resampling_name(grid))
    workflow.connect([
        (inputnode, resampling_wf, [
            ('preproc', 'inputnode.preproc'),
            ('brain_mask', 'inputnode.brain_mask'),
            ('brain_mask', 'inputnode.own_mask'),
        ]),
        (outputnode, resampling_wf, [
            ('forward', 'inputnode.forward'),
            ('inverse', 'inputnode.inverse'),
        ]),
    ])  # fmt: skip
    onto = [(resampling_wf, 'inputnode.grid')]
    for joined_wf in parts.values():
        place = f'{resampling_name(grid)}.inputnode'
        workflow.connect(resampling_wf, 'outputnode.brain_mask', joined_wf, f'{place}.brain_mask')
        onto.append((joined_wf, f'{place}.grid'))
    if lesion is not None:
        carry, volume = lesion_nodes(f'_{resampling_name(grid)}')
        way = (outputnode, 'forward')
        if lesion:
            way = (parts[lesion], 'outputnode.forward')
        workflow.connect([
            (inputnode, carry, [('lesion', 'input_image')]),
            (way[0], carry, [(way[1], 'transforms')]),
            (carry, volume, [('output_image', 'in_file')]),
        ])  # fmt: skip
        onto.append((carry, 'reference_image'))
    if grid.reference is not None:
        for node, port in onto:
            _set_input(node, port, str(grid.reference))
        return
    native_grid = pe.Node(
        NativeGrid(in_target=str(grid.t1w)),
        name=node_name('native_grid', grid.resolution),
        mem_gb=0.4,
    )
    workflow.connect(inputnode, 'preproc', native_grid, 'in_file')
    for node, port in onto:
        workflow.connect(native_grid, 'out_file', node, port)


def _set_input(node: pe.Node, port: str, value: str) -> None:
    """Set an input of a node, or of one inside a workflow."""
    *path, field = port.split('.')
    for name in path:
        node = node.get_node(name)
    setattr(node.inputs, field, value)


def _init_joined_wf(settings: Settings, registration: RegistrationPlan, label: str) -> pe.Workflow:
    """Bring another contrast onto the grids of a template, through joined transforms.

    Inputs
    ------
    preproc, brain_mask, to_reference, from_reference
        The contrast, whole head, its own mask, and its way to the reference.
    forward, inverse
        The reference's way to the template.

    Outputs
    -------
    forward, inverse
        ITK transforms, ``.h5``, between the contrast and the template.
    """
    workflow = pe.Workflow(name=joined_name(label))
    inputnode = buffer('inputnode', *OTHER_PORTS, 'forward', 'inverse')
    outputnode = buffer('outputnode', 'forward', 'inverse')
    # in the order that a point passes them, from the grid that is resampled onto
    for port, way in (
        ('forward', ('forward', 'to_reference')),
        ('inverse', ('from_reference', 'inverse')),
    ):
        both = merge_node(f'{port}_parts', 2)
        join = pe.Node(JoinTransforms(), name=f'join_{port}', mem_gb=0.3)
        workflow.connect([
            (inputnode, both, [(field, f'in{place}') for place, field in enumerate(way, 1)]),
            (both, join, [('out', 'in_files')]),
            (join, outputnode, [('out_file', port)]),
        ])  # fmt: skip
    for grid in registration.grids:
        resampling_wf = init_resampling_wf(settings, with_mask=False, name=resampling_name(grid))
        workflow.connect([
            (inputnode, resampling_wf, [
                ('preproc', 'inputnode.preproc'),
                ('brain_mask', 'inputnode.own_mask'),
            ]),
            (outputnode, resampling_wf, [
                ('forward', 'inputnode.forward'),
                ('inverse', 'inputnode.inverse'),
            ]),
        ])  # fmt: skip
    return workflow


def template_name(registration: RegistrationPlan) -> str:
    """Name the part of the workflow that serves one template."""
    return node_name(registration.label, 'wf')


def resampling_name(grid: Template) -> str:
    """Name the part of the workflow that writes one grid."""
    return node_name('res', grid.resolution or 'native', 'wf')


def joined_name(label: str) -> str:
    """Name the part of a template's workflow that serves another contrast."""
    return node_name(label, 'wf')


def lesion_name(grid: Template) -> str:
    """Name the node that carries a lesion mask onto one grid."""
    return f'lesion_{resampling_name(grid)}'
