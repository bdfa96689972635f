"""Everything that happens on the reference's own grid, and the parts of it that contrasts share."""

from __future__ import annotations

from nipype.pipeline import engine as pe

from mriprep.extractors.base import AtlasFiles
from mriprep.interfaces.brain import BelieveMask
from mriprep.interfaces.conform import Conform
from mriprep.interfaces.halfway import HalfwayAverage
from mriprep.participants import Person
from mriprep.settings import Normalization, Resources, Settings
from mriprep.workflows.brain import init_brain_wf
from mriprep.workflows.finish import init_finish_wf
from mriprep.workflows.nodes import buffer, merge_node
from mriprep.workflows.wiring import ImageWiring

HALFWAY_GB = 1.5


# what every image gives on its own grid
NATIVE_FIELDS = (
    'conformed', 'preproc', 'brain_mask', 'brain_probability', 'brain', 'zscore', 'lesion',
    'found_mask', 'rival_mask', 'verdict', 'metrics', 'from_runs', 'to_runs',
    'conform_metadata', 'mask_metadata', 'zscore_metadata', 'lesion_metadata',
)  # fmt: skip


def init_native_wf(
    settings: Settings,
    resources: Resources,
    image: ImageWiring,
    atlas: AtlasFiles,
    *,
    person: Person | None = None,
    name: str = 'native_wf',
) -> pe.Workflow:
    """Conform the reference of a session, find the brain and correct the bias field.

    Inputs
    ------
    run1, run2 ...
        Raw 3D NIfTI of a head; several are averaged.
    given_mask
        Mask on the voxels of ``run1``; read only where ``image.extraction`` says so.
    given_corrected, given_lesion
        Image without bias field and lesion mask on its voxels; read only where `image` says so.

    Outputs
    -------
    conformed
        The image with RAS axes, float32, not interpolated; or the average of its runs.
    audit1, audit2 ...
        JSON file of each run: what was found in the header and what was changed.
    preproc
        Whole head after bias field correction, on the grid of ``conformed``.
    brain_mask
        ``uint8`` mask on that grid, believed by the guard.
    brain_probability
        Probability of brain on that grid, where the extractor gives one.
    brain
        ``preproc``, zero outside the mask.
    zscore
        Whole head, mean 0 and deviation 1 inside the mask; unless normalisation is off.
    lesion
        The lesion mask on that grid.
    found_mask, rival_mask, verdict, metrics
        The mask whether it is believed or not, the mask that it was compared with if there was
        need, and a JSON file of what the guard says, twice.
    from_runs, to_runs
        Lists of transforms between the runs and their average.
    conform_metadata, mask_metadata, zscore_metadata, lesion_metadata
        What was measured, for the sidecars.
    """
    workflow = pe.Workflow(name=name)
    assert image.extraction is not None
    inputnode = buffer(
        'inputnode', *image.run_fields, 'given_mask', 'given_corrected', 'given_lesion'
    )
    outputnode = buffer('outputnode', *NATIVE_FIELDS, *audit_fields(image))
    head_wf = init_head_wf(settings, resources, image)
    brain_wf = init_brain_wf(
        settings.brain,
        resources,
        image.extraction,
        atlas,
        person=person,
        contrast=image.contrast.value,
    )
    believe = pe.Node(
        BelieveMask(force=settings.brain.force), name='believe', run_without_submitting=True
    )
    finish_wf = init_finish_wf(settings, resources, image)
    connect_head(workflow, inputnode, head_wf, outputnode, image)
    workflow.connect([
        (inputnode, brain_wf, [('given_mask', 'inputnode.given_mask')]),
        (head_wf, brain_wf, [('outputnode.head', 'inputnode.head')]),
        (brain_wf, believe, [
            ('outputnode.mask', 'in_mask'),
            ('outputnode.probability', 'in_probability'),
            ('outputnode.verdict', 'in_verdict'),
            ('outputnode.metadata', 'metadata'),
        ]),
        (head_wf, finish_wf, [('outputnode.head', 'inputnode.head')]),
        (inputnode, finish_wf, [
            ('given_corrected', 'inputnode.given_corrected'),
            ('given_lesion', 'inputnode.given_lesion'),
        ]),
        (believe, finish_wf, [('out_mask', 'inputnode.brain_mask')]),
        (brain_wf, outputnode, [
            ('outputnode.mask', 'found_mask'),
            ('outputnode.rival', 'rival_mask'),
            ('outputnode.verdict', 'verdict'),
        ]),
        (brain_wf, outputnode, [('outputnode.verdict', 'metrics')]),
        (believe, outputnode, [
            ('out_mask', 'brain_mask'),
            ('out_probability', 'brain_probability'),
            ('metadata', 'mask_metadata'),
        ]),
    ])  # fmt: skip
    connect_finish(workflow, finish_wf, outputnode, settings, image)
    return workflow


def audit_fields(image: ImageWiring) -> tuple[str, ...]:
    """Outputs that tell of the header of each run."""
    return tuple(f'audit{number}' for number in range(1, image.n_runs + 1))


def connect_head(
    workflow: pe.Workflow,
    inputnode: pe.Node,
    head_wf: pe.Workflow,
    outputnode: pe.Node,
    image: ImageWiring,
) -> None:
    """Connect the part that reads an image."""
    for field in image.run_fields:
        workflow.connect(inputnode, field, head_wf, f'inputnode.{field}')
    for field in audit_fields(image):
        workflow.connect(head_wf, f'outputnode.{field}', outputnode, field)
    workflow.connect([
        (head_wf, outputnode, [
            ('outputnode.head', 'conformed'),
            ('outputnode.metadata', 'conform_metadata'),
            ('outputnode.from_runs', 'from_runs'),
            ('outputnode.to_runs', 'to_runs'),
        ]),
    ])  # fmt: skip


def connect_finish(
    workflow: pe.Workflow,
    finish_wf: pe.Workflow,
    outputnode: pe.Node,
    settings: Settings,
    image: ImageWiring,
) -> None:
    """Connect what the part that corrects and strips an image gives."""
    fields_ = ['preproc', 'brain']
    if settings.normalization is Normalization.ZSCORE:
        fields_ += ['zscore', 'zscore_metadata']
    if image.lesion:
        fields_ += ['lesion', 'lesion_metadata']
    for field in fields_:
        workflow.connect(finish_wf, f'outputnode.{field}', outputnode, field)


def init_head_wf(
    settings: Settings, resources: Resources, image: ImageWiring, *, name: str = 'head_wf'
) -> pe.Workflow:
    """Read an image: its header is audited and its axes put into RAS order; runs are averaged.

    Inputs
    ------
    run1, run2 ...
        Raw 3D NIfTI of a head.

    Outputs
    -------
    head
        RAS axes, float32.
    audit1, audit2 ...
        JSON file of each run.
    from_runs, to_runs
        Lists of transforms between the runs and their average; where there are several.
    metadata
        What was found and done.
    """
    workflow = pe.Workflow(name=name)
    audits = audit_fields(image)
    inputnode = buffer('inputnode', *image.run_fields)
    outputnode = buffer('outputnode', 'head', *audits, 'from_runs', 'to_runs', 'metadata')
    nodes = []
    for number, (field, audit) in enumerate(zip(image.run_fields, audits, strict=True), start=1):
        conform = pe.Node(
            Conform(), name='conform' if image.n_runs == 1 else f'conform_{number}', mem_gb=0.8
        )
        workflow.connect(inputnode, field, conform, 'in_file')
        workflow.connect(conform, 'out_audit', outputnode, audit)
        nodes.append(conform)
    if image.n_runs == 1:
        workflow.connect([
            (nodes[0], outputnode, [('out_file', 'head'), ('metadata', 'metadata')]),
        ])  # fmt: skip
        return workflow
    runs = merge_node('runs', image.n_runs)
    average = pe.Node(
        HalfwayAverage(force=settings.brain.force, num_threads=1),
        name='merge',
        mem_gb=HALFWAY_GB,
    )
    for number, conform in enumerate(nodes, start=1):
        workflow.connect(conform, 'out_file', runs, f'in{number}')
    workflow.connect([
        (runs, average, [('out', 'in_files')]),
        (average, outputnode, [
            ('out_file', 'head'),
            ('forward', 'from_runs'),
            ('inverse', 'to_runs'),
            ('metadata', 'metadata'),
        ]),
    ])  # fmt: skip
    return workflow
