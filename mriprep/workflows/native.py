"""Everything that happens on the image's own grid."""

from __future__ import annotations

from nipype.interfaces.ants import N4BiasFieldCorrection
from nipype.pipeline import engine as pe

from mriprep.interfaces.bias import CorrectBias, SampleForBias
from mriprep.interfaces.brain import ApplyMask, DeepBet, ZScore
from mriprep.interfaces.conform import Conform
from mriprep.settings import BiasSettings, BrainSettings, Extractor, Resources, Settings
from mriprep.workflows.nodes import buffer


def init_native_wf(
    settings: Settings, resources: Resources, *, normalize: bool = False, name: str = 'native_wf'
) -> pe.Workflow:
    """Conform one T1w image, find the brain and correct the bias field.

    Inputs
    ------
    t1w
        Raw 3D NIfTI of a head.

    Outputs
    -------
    conformed
        The image with RAS axes, float32, not interpolated.
    audit
        JSON file: what was found in the header and what was changed.
    preproc
        Whole head after bias field correction, on the grid of ``conformed``.
    brain_mask
        ``uint8`` mask on that grid.
    brain
        ``preproc``, zero outside the mask.
    zscore
        Whole head, mean 0 and deviation 1 inside the mask; only with ``normalize``.
    conform_metadata, mask_metadata, zscore_metadata
        What was measured, for the sidecars.
    """
    workflow = pe.Workflow(name=name)
    inputnode = buffer('inputnode', 't1w')
    outputnode = buffer(
        'outputnode', 'conformed', 'audit', 'preproc', 'brain_mask', 'brain', 'zscore',
        'conform_metadata', 'mask_metadata', 'zscore_metadata',
    )  # fmt: skip
    conform = pe.Node(Conform(), name='conform', mem_gb=0.8)
    extract = pe.Node(
        extractor(settings.brain, resources),
        name='extract',
        n_procs=resources.n_threads,
        mem_gb=1.8,
    )
    bias_wf = init_bias_wf(settings.bias, resources)
    strip = pe.Node(ApplyMask(), name='strip', mem_gb=0.5)
    workflow.connect([
        (inputnode, conform, [('t1w', 'in_file')]),
        (conform, extract, [('out_file', 'in_file')]),
        (conform, bias_wf, [('out_file', 'inputnode.head')]),
        (extract, bias_wf, [('out_mask', 'inputnode.brain_mask')]),
        (bias_wf, strip, [('outputnode.corrected', 'in_file')]),
        (extract, strip, [('out_mask', 'in_mask')]),
        (conform, outputnode, [
            ('out_file', 'conformed'),
            ('out_audit', 'audit'),
            ('metadata', 'conform_metadata'),
        ]),
        (extract, outputnode, [('out_mask', 'brain_mask'), ('metadata', 'mask_metadata')]),
        (bias_wf, outputnode, [('outputnode.corrected', 'preproc')]),
        (strip, outputnode, [('out_file', 'brain')]),
    ])  # fmt: skip
    if normalize:
        zscore = pe.Node(ZScore(), name='zscore', mem_gb=0.5)
        workflow.connect([
            (bias_wf, zscore, [('outputnode.corrected', 'in_file')]),
            (extract, zscore, [('out_mask', 'in_mask')]),
            (zscore, outputnode, [('out_file', 'zscore'), ('metadata', 'zscore_metadata')]),
        ])  # fmt: skip
    return workflow


def extractor(settings: BrainSettings, resources: Resources) -> DeepBet:
    """Choose the interface that finds the brain: ``in_file`` to ``out_mask``, ``metadata``."""
    match settings.extractor:
        case Extractor.DEEPBET:
            return DeepBet(threshold=settings.mask_threshold, num_threads=resources.n_threads)


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
