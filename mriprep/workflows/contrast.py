"""Another contrast than the reference: its brain, its way to the reference, and what it gives."""

from __future__ import annotations

from nipype.interfaces import ants
from nipype.pipeline import engine as pe

from mriprep.extractors.base import AtlasFiles
from mriprep.interfaces.contrast import ChooseMask, MaskVolume, TakeLinear, WeighMasks
from mriprep.interfaces.coregister import Coregister
from mriprep.participants import Person
from mriprep.settings import Normalization, Resources, Settings
from mriprep.workflows.brain import init_brain_wf
from mriprep.workflows.finish import init_finish_wf
from mriprep.workflows.native import (
    NATIVE_FIELDS,
    audit_fields,
    connect_finish,
    connect_head,
    init_head_wf,
)
from mriprep.workflows.nodes import buffer
from mriprep.workflows.resampling import init_resampling_wf
from mriprep.workflows.wiring import ImageWiring

# what another contrast gives on the reference's grid
ON_REFERENCE_FIELDS = ('preproc', 'brain', 'preproc_metadata', 'zscore', 'zscore_metadata')


def init_contrast_wf(
    settings: Settings,
    resources: Resources,
    image: ImageWiring,
    atlas: AtlasFiles,
    *,
    person: Person | None = None,
    name: str | None = None,
) -> pe.Workflow:
    """Prepare one more contrast of a session on its own grid and on the reference's.

    It is registered before its bias field is known, since its mask may come from the reference.

    Inputs
    ------
    run1, run2 ..., given_mask, given_corrected, given_lesion
        As of `mriprep.workflows.native.init_native_wf`.
    reference, reference_mask
        Whole head of the reference after bias field correction, and its brain mask.
    given_to_reference, given_from_reference
        ITK transforms; read only where `image` says so.

    Outputs
    -------
    to_reference, from_reference
        Rigid ITK transforms that resample the image onto the reference, and back.
    coregistration
        JSON file: what the guard says of them; not where they are given.
    coregistration_metadata
        What was measured, for sidecars.
    reference_preproc, reference_brain, reference_zscore, reference_lesion
        On the grid of the reference, interpolated once, with the reference's mask.
    reference_preproc_metadata, reference_zscore_metadata, reference_lesion_metadata
        What was measured, for sidecars.

    All others are those of `mriprep.workflows.native.init_native_wf`.
    """
    workflow = pe.Workflow(name=name or contrast_name(image))
    inputnode = buffer(
        'inputnode', *image.run_fields, 'given_mask', 'given_corrected', 'given_lesion',
        'given_to_reference', 'given_from_reference', 'reference', 'reference_mask',
    )  # fmt: skip
    outputnode = buffer(
        'outputnode', *NATIVE_FIELDS, *audit_fields(image),
        'to_reference', 'from_reference', 'coregistration', 'coregistration_metadata',
        *(f'reference_{field}' for field in ON_REFERENCE_FIELDS),
        'reference_lesion', 'reference_lesion_metadata',
    )  # fmt: skip
    head_wf = init_head_wf(settings, resources, image)
    connect_head(workflow, inputnode, head_wf, outputnode, image)
    weigh = pe.Node(WeighMasks(force=settings.brain.force), name='weigh', mem_gb=0.2)
    choose = pe.Node(ChooseMask(), name='choose', run_without_submitting=True)
    if image.extraction is not None:
        brain_wf = init_brain_wf(
            settings.brain,
            resources,
            image.extraction,
            atlas,
            person=person,
            contrast=image.contrast.value,
        )
        workflow.connect([
            (inputnode, brain_wf, [('given_mask', 'inputnode.given_mask')]),
            (head_wf, brain_wf, [('outputnode.head', 'inputnode.head')]),
            (brain_wf, weigh, [
                ('outputnode.mask', 'in_own'),
                ('outputnode.probability', 'in_probability'),
                ('outputnode.verdict', 'in_verdict'),
                ('outputnode.metadata', 'own_metadata'),
            ]),
            (brain_wf, outputnode, [('outputnode.verdict', 'verdict')]),
        ])  # fmt: skip
    ways = buffer('ways', 'to_reference', 'from_reference')
    if image.registered:
        for way in ('to_reference', 'from_reference'):
            take = pe.Node(TakeLinear(), name=f'take_{way}', mem_gb=0.2)
            workflow.connect(inputnode, f'given_{way}', take, 'in_file')
            workflow.connect(take, 'out_file', ways, way)
    else:
        coregister = pe.Node(Coregister(), name='coregister', mem_gb=1.2)
        workflow.connect([
            (inputnode, coregister, [
                ('reference', 'in_reference'),
                ('reference_mask', 'in_reference_mask'),
            ]),
            (head_wf, coregister, [('outputnode.head', 'in_file')]),
            (coregister, ways, [('forward', 'to_reference'), ('inverse', 'from_reference')]),
            (coregister, weigh, [('out_verdict', 'in_registered')]),
            (coregister, outputnode, [
                ('out_verdict', 'coregistration'),
                ('metadata', 'coregistration_metadata'),
            ]),
        ])  # fmt: skip
        if image.extraction is not None:
            workflow.connect(brain_wf, 'outputnode.mask', coregister, 'in_mask')
    carry = pe.Node(
        ants.ApplyTransforms(dimension=3, interpolation='GenericLabel', output_image='mask.nii'),
        name='carry_mask',
        mem_gb=0.6,
    )
    finish_wf = init_finish_wf(settings, resources, image)
    workflow.connect([
        (inputnode, carry, [('reference_mask', 'input_image')]),
        (head_wf, carry, [('outputnode.head', 'reference_image')]),
        (ways, carry, [('from_reference', 'transforms')]),
        (carry, weigh, [('output_image', 'in_carried')]),
        (head_wf, finish_wf, [('outputnode.head', 'inputnode.head')]),
        (inputnode, finish_wf, [
            ('given_corrected', 'inputnode.given_corrected'),
            ('given_lesion', 'inputnode.given_lesion'),
        ]),
        (weigh, choose, [
            ('out_mask', 'in_mask'),
            ('out_probability', 'in_probability'),
            ('metadata', 'metadata'),
            ('refusal', 'refusal'),
        ]),
        (weigh, outputnode, [
            ('out_mask', 'found_mask'),
            ('out_rival', 'rival_mask'),
            ('out_metrics', 'metrics'),
        ]),
        (choose, finish_wf, [('out_mask', 'inputnode.brain_mask')]),
        (choose, outputnode, [
            ('out_mask', 'brain_mask'),
            ('out_probability', 'brain_probability'),
            ('metadata', 'mask_metadata'),
        ]),
        (ways, outputnode, [
            ('to_reference', 'to_reference'),
            ('from_reference', 'from_reference'),
        ]),
    ])  # fmt: skip
    connect_finish(workflow, finish_wf, outputnode, settings, image)
    _connect_on_reference(workflow, settings, image)
    return workflow


def _connect_on_reference(workflow: pe.Workflow, settings: Settings, image: ImageWiring) -> None:
    """Bring the image, and a lesion drawn on it, onto the reference's grid."""
    names = ('inputnode', 'ways', 'outputnode', 'choose', 'finish_wf')
    inputnode, ways, outputnode, choose, finish_wf = map(workflow.get_node, names)
    onto_wf = init_resampling_wf(settings, with_mask=False, name='on_reference_wf')
    workflow.connect([
        (inputnode, onto_wf, [
            ('reference', 'inputnode.grid'),
            ('reference_mask', 'inputnode.brain_mask'),
        ]),
        (finish_wf, onto_wf, [('outputnode.preproc', 'inputnode.preproc')]),
        (ways, onto_wf, [
            ('to_reference', 'inputnode.forward'),
            ('from_reference', 'inputnode.inverse'),
        ]),
        (choose, onto_wf, [('out_mask', 'inputnode.own_mask')]),
    ])  # fmt: skip
    wanted = (
        ON_REFERENCE_FIELDS
        if settings.normalization is Normalization.ZSCORE
        else ON_REFERENCE_FIELDS[:3]
    )
    for field in wanted:
        workflow.connect(onto_wf, f'outputnode.{field}', outputnode, f'reference_{field}')
    if image.lesion:
        lesion, volume = lesion_nodes()
        workflow.connect([
            (inputnode, lesion, [('reference', 'reference_image')]),
            (finish_wf, lesion, [('outputnode.lesion', 'input_image')]),
            (ways, lesion, [('to_reference', 'transforms')]),
            (lesion, volume, [('output_image', 'in_file')]),
            (lesion, outputnode, [('output_image', 'reference_lesion')]),
            (volume, outputnode, [('metadata', 'reference_lesion_metadata')]),
        ])  # fmt: skip


def lesion_nodes(name: str = '') -> tuple[pe.Node, pe.Node]:
    """Make the nodes that carry a lesion mask to another grid and measure it there."""
    carry = pe.Node(
        ants.ApplyTransforms(dimension=3, interpolation='GenericLabel', output_image='lesion.nii'),
        name=f'lesion{name}',
        mem_gb=0.6,
    )
    volume = pe.Node(MaskVolume(), name=f'lesion_volume{name}', run_without_submitting=True)
    return carry, volume


def contrast_name(image: ImageWiring) -> str:
    """Name the part of the workflow that serves one contrast."""
    return f'{image.label}_wf'
