"""One interpolation onto one grid, and what is made of the result."""

from __future__ import annotations

from nipype.interfaces import ants
from nipype.pipeline import engine as pe

from mriprep.interfaces.brain import ApplyMask, ZScore
from mriprep.interfaces.overlay import OverlayCheck
from mriprep.settings import Normalization, Settings
from mriprep.workflows.nodes import buffer

GRID_FIELDS = (
    'preproc', 'brain_mask', 'brain', 'zscore', 'preproc_metadata', 'zscore_metadata'
)  # fmt: skip


def init_resampling_wf(
    settings: Settings, *, with_mask: bool = True, name: str = 'resampling_wf'
) -> pe.Workflow:
    """Bring an image onto another grid, strip and normalise it there.

    Parameters
    ----------
    settings
        Interpolation and normalisation.
    with_mask
        Whether the mask lies on the image's grid and goes with it; otherwise it lies on the
        new grid already.

    Inputs
    ------
    preproc
        Whole head, bias field corrected.
    brain_mask
        See ``with_mask``.
    own_mask
        Brain mask on the image's own grid.
    forward, inverse
        ITK transforms that resample the image onto the grid, and back.
    grid
        Any image on the grid.

    Outputs
    -------
    preproc, brain_mask, brain
        On the grid, each image interpolated once; the mask label-aware.
    zscore
        Mean 0 and deviation 1 inside the mask of this grid; unless normalisation is off.
    preproc_metadata
        How well the result overlays its source, by way of ``inverse``.
    zscore_metadata
        Its statistics.
    """
    workflow = pe.Workflow(name=name)
    inputnode = buffer(
        'inputnode', 'preproc', 'brain_mask', 'own_mask', 'forward', 'inverse', 'grid'
    )
    outputnode = buffer('outputnode', *GRID_FIELDS)
    masks = buffer('masks', 'brain_mask')
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
    strip = pe.Node(ApplyMask(), name='strip', mem_gb=0.4)
    if with_mask:
        mask = pe.Node(
            ants.ApplyTransforms(
                dimension=3, interpolation='GenericLabel', output_image='mask.nii'
            ),
            name='mask',
            mem_gb=0.8,
        )
        workflow.connect([
            (inputnode, mask, [
                ('brain_mask', 'input_image'),
                ('forward', 'transforms'),
                ('grid', 'reference_image'),
            ]),
            (mask, masks, [('output_image', 'brain_mask')]),
        ])  # fmt: skip
    else:
        workflow.connect(inputnode, 'brain_mask', masks, 'brain_mask')
    overlay = pe.Node(OverlayCheck(), name='overlay', mem_gb=0.8)
    workflow.connect([
        (inputnode, overlay, [
            ('preproc', 'in_file'),
            ('own_mask', 'in_mask'),
            ('inverse', 'in_transform'),
        ]),
        (head, overlay, [('output_image', 'in_output')]),
        (overlay, outputnode, [('metadata', 'preproc_metadata')]),
        (inputnode, head, [
            ('preproc', 'input_image'),
            ('forward', 'transforms'),
            ('grid', 'reference_image'),
        ]),
        (head, strip, [('output_image', 'in_file')]),
        (masks, strip, [('brain_mask', 'in_mask')]),
        (head, outputnode, [('output_image', 'preproc')]),
        (masks, outputnode, [('brain_mask', 'brain_mask')]),
        (strip, outputnode, [('out_file', 'brain')]),
    ])  # fmt: skip
    if settings.normalization is Normalization.ZSCORE:
        zscore = pe.Node(ZScore(), name='zscore', mem_gb=0.5)
        workflow.connect([
            (head, zscore, [('output_image', 'in_file')]),
            (masks, zscore, [('brain_mask', 'in_mask')]),
            (zscore, outputnode, [('out_file', 'zscore'), ('metadata', 'zscore_metadata')]),
        ])  # fmt: skip
    return workflow
