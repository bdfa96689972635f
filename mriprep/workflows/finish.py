"""Once the brain of an image is known: its bias field, the stripped image, its normalisation."""

from __future__ import annotations

from nipype.interfaces.ants import N4BiasFieldCorrection
from nipype.pipeline import engine as pe

from mriprep.interfaces.bias import CorrectBias, SampleForBias
from mriprep.interfaces.brain import ApplyMask, ZScore
from mriprep.interfaces.contrast import TakeGiven
from mriprep.settings import BiasSettings, Normalization, Resources, Settings
from mriprep.workflows.nodes import buffer
from mriprep.workflows.wiring import ImageWiring


def init_finish_wf(
    settings: Settings, resources: Resources, image: ImageWiring, *, name: str = 'finish_wf'
) -> pe.Workflow:
    """Correct the bias field of an image whose brain is known, strip and normalise it.

    Inputs
    ------
    head, brain_mask
        Whole head and mask on one grid.
    given_corrected, given_lesion
        Read only where `image` says so.

    Outputs
    -------
    preproc, brain, zscore, lesion, zscore_metadata, lesion_metadata
        See `init_native_wf`.
    """
    workflow = pe.Workflow(name=name)
    inputnode = buffer('inputnode', 'head', 'brain_mask', 'given_corrected', 'given_lesion')
    outputnode = buffer(
        'outputnode', 'preproc', 'brain', 'zscore', 'lesion', 'zscore_metadata', 'lesion_metadata'
    )
    strip = pe.Node(ApplyMask(), name='strip', mem_gb=0.5)
    if image.corrected:
        corrected = pe.Node(TakeGiven(), name='take_corrected', mem_gb=0.5)
        port = 'out_file'
        workflow.connect([
            (inputnode, corrected, [('given_corrected', 'in_file'), ('head', 'in_like')]),
        ])  # fmt: skip
    else:
        corrected = init_bias_wf(settings.bias, resources)
        port = 'outputnode.corrected'
        workflow.connect([
            (inputnode, corrected, [
                ('head', 'inputnode.head'),
                ('brain_mask', 'inputnode.brain_mask'),
            ]),
        ])  # fmt: skip
    workflow.connect([
        (inputnode, strip, [('brain_mask', 'in_mask')]),
        (corrected, strip, [(port, 'in_file')]),
        (corrected, outputnode, [(port, 'preproc')]),
        (strip, outputnode, [('out_file', 'brain')]),
    ])  # fmt: skip
    if settings.normalization is Normalization.ZSCORE:
        zscore = pe.Node(ZScore(), name='zscore', mem_gb=0.5)
        workflow.connect([
            (corrected, zscore, [(port, 'in_file')]),
            (inputnode, zscore, [('brain_mask', 'in_mask')]),
            (zscore, outputnode, [('out_file', 'zscore'), ('metadata', 'zscore_metadata')]),
        ])  # fmt: skip
    if image.lesion:
        lesion = pe.Node(TakeGiven(is_mask=True), name='take_lesion', mem_gb=0.5)
        workflow.connect([
            (inputnode, lesion, [('given_lesion', 'in_file'), ('head', 'in_like')]),
            (lesion, outputnode, [('out_file', 'lesion'), ('metadata', 'lesion_metadata')]),
        ])  # fmt: skip
    return workflow


def init_bias_wf(
    settings: BiasSettings, resources: Resources, *, name: str = 'bias_wf'
) -> pe.Workflow:
    """Correct the bias field: N4 fits it to samples of the brain, then it is applied to the head.

    Inputs
    ------
    head
        Whole head, RAS axes, float32.
    brain_mask
        Mask on the grid of ``head``.

    Outputs
    -------
    corrected
        ``head`` divided by the field, which has a mean logarithm of zero inside the mask.
    """
    workflow = pe.Workflow(name=name)
    inputnode = buffer('inputnode', 'head', 'brain_mask')
    outputnode = buffer('outputnode', 'corrected')
    sample = pe.Node(SampleForBias(voxel_mm=settings.fit_voxel_mm), name='sample', mem_gb=0.4)
    n4 = pe.Node(
        N4BiasFieldCorrection(
            dimension=3,
            shrink_factor=1,
            n_iterations=list(settings.iterations),
            convergence_threshold=settings.convergence,
            bspline_fitting_distance=settings.spline_distance_mm,
            save_bias=True,
            num_threads=resources.n_threads,
        ),
        name='n4',
        n_procs=resources.n_threads,
        mem_gb=0.5,
    )
    correct = pe.Node(CorrectBias(voxel_mm=settings.fit_voxel_mm), name='correct', mem_gb=0.8)
    workflow.connect([
        (inputnode, sample, [('head', 'in_file'), ('brain_mask', 'in_mask')]),
        (sample, n4, [('out_file', 'input_image'), ('out_mask', 'mask_image')]),
        (inputnode, correct, [('head', 'in_file'), ('brain_mask', 'in_mask')]),
        (n4, correct, [('bias_image', 'in_field')]),
        (correct, outputnode, [('out_file', 'corrected')]),
    ])  # fmt: skip
    return workflow
