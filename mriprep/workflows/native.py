"""Everything that happens on the image's own grid."""

from __future__ import annotations

from dataclasses import fields

from nipype.interfaces.ants import N4BiasFieldCorrection
from nipype.pipeline import engine as pe

from mriprep.extractors.base import AtlasFiles
from mriprep.extractors.choice import Extraction
from mriprep.interfaces.bias import CorrectBias, SampleForBias
from mriprep.interfaces.brain import ApplyMask, BelieveMask, FindBrain, ZScore
from mriprep.interfaces.conform import Conform
from mriprep.participants import Person
from mriprep.settings import GIVEN, BiasSettings, BrainSettings, Resources, Settings
from mriprep.workflows.nodes import buffer

EXTRACTION_OVERHEAD_GB = 0.4  # image, maps and the guard, beside what the network needs


def init_native_wf(
    settings: Settings,
    resources: Resources,
    extraction: Extraction,
    atlas: AtlasFiles,
    *,
    person: Person | None = None,
    normalize: bool = False,
    name: str = 'native_wf',
) -> pe.Workflow:
    """Conform one T1w image, find the brain and correct the bias field.

    Inputs
    ------
    t1w
        Raw 3D NIfTI of a head.
    given_mask
        Mask on the voxels of ``t1w``; read only where `extraction` says so.

    Outputs
    -------
    conformed
        The image with RAS axes, float32, not interpolated.
    audit
        JSON file: what was found in the header and what was changed.
    preproc
        Whole head after bias field correction, on the grid of ``conformed``.
    brain_mask
        ``uint8`` mask on that grid, believed by the guard.
    brain_probability
        Probability of brain on that grid, where the extractor gives one.
    brain
        ``preproc``, zero outside the mask.
    zscore
        Whole head, mean 0 and deviation 1 inside the mask; only with ``normalize``.
    found_mask, rival_mask, verdict
        The mask whether it is believed or not, the mask that it was compared with if there was
        need, and a JSON file of what the guard says.
    conform_metadata, mask_metadata, zscore_metadata
        What was measured, for the sidecars.
    """
    workflow = pe.Workflow(name=name)
    inputnode = buffer('inputnode', 't1w', 'given_mask')
    outputnode = buffer(
        'outputnode', 'conformed', 'audit', 'preproc', 'brain_mask', 'brain_probability', 'brain',
        'zscore', 'found_mask', 'rival_mask', 'verdict',
        'conform_metadata', 'mask_metadata', 'zscore_metadata',
    )  # fmt: skip
    conform = pe.Node(Conform(), name='conform', mem_gb=0.8)
    brain_wf = init_brain_wf(settings.brain, resources, extraction, atlas, person=person)
    bias_wf = init_bias_wf(settings.bias, resources)
    strip = pe.Node(ApplyMask(), name='strip', mem_gb=0.5)
    workflow.connect([
        (inputnode, conform, [('t1w', 'in_file')]),
        (inputnode, brain_wf, [('given_mask', 'inputnode.given_mask')]),
        (conform, brain_wf, [('out_file', 'inputnode.head')]),
        (conform, bias_wf, [('out_file', 'inputnode.head')]),
        (brain_wf, bias_wf, [('outputnode.brain_mask', 'inputnode.brain_mask')]),
        (bias_wf, strip, [('outputnode.corrected', 'in_file')]),
        (brain_wf, strip, [('outputnode.brain_mask', 'in_mask')]),
        (conform, outputnode, [
            ('out_file', 'conformed'),
            ('out_audit', 'audit'),
            ('metadata', 'conform_metadata'),
        ]),
        (brain_wf, outputnode, [
            ('outputnode.brain_mask', 'brain_mask'),
            ('outputnode.brain_probability', 'brain_probability'),
            ('outputnode.found_mask', 'found_mask'),
            ('outputnode.rival_mask', 'rival_mask'),
            ('outputnode.verdict', 'verdict'),
            ('outputnode.metadata', 'mask_metadata'),
        ]),
        (bias_wf, outputnode, [('outputnode.corrected', 'preproc')]),
        (strip, outputnode, [('out_file', 'brain')]),
    ])  # fmt: skip
    if normalize:
        zscore = pe.Node(ZScore(), name='zscore', mem_gb=0.5)
        workflow.connect([
            (bias_wf, zscore, [('outputnode.corrected', 'in_file')]),
            (brain_wf, zscore, [('outputnode.brain_mask', 'in_mask')]),
            (zscore, outputnode, [('out_file', 'zscore'), ('metadata', 'zscore_metadata')]),
        ])  # fmt: skip
    return workflow


def init_brain_wf(
    settings: BrainSettings,
    resources: Resources,
    extraction: Extraction,
    atlas: AtlasFiles,
    *,
    person: Person | None = None,
    name: str = 'brain_wf',
) -> pe.Workflow:
    """Find the brain of a head, and stop when the guard refuses what is found.

    Parameters
    ----------
    settings, resources
        Scientific choices, and what the machine may spend.
    extraction
        Which extractors look for the brain.
    atlas
        Stripped template that masks are compared with.
    person
        Age and sex, for the norms.

    Inputs
    ------
    head
        Whole head, RAS axes, float32.
    given_mask
        Mask that the user has; read only for the extractor ``given``.

    Outputs
    -------
    brain_mask, brain_probability, metadata
        On the grid of ``head``; nothing comes out when the mask is refused.
    found_mask, rival_mask, verdict
        The same mask before it is believed, the mask that it was compared with if there was
        need, and what the guard says.
    """
    workflow = pe.Workflow(name=name)
    inputnode = buffer('inputnode', 'head', 'given_mask')
    outputnode = buffer(
        'outputnode', 'brain_mask', 'brain_probability', 'metadata',
        'found_mask', 'rival_mask', 'verdict',
    )  # fmt: skip
    person = person or Person()
    extract = pe.Node(
        FindBrain(
            atlas=[str(getattr(atlas, item.name)) for item in fields(atlas)],
            extractor=extraction.first.name,
            second=extraction.second.name if extraction.second else '',
            threshold=settings.mask_threshold,
            test_time_augmentation=extraction.test_time_augmentation,
            age_years=person.age_years,
            sex=person.sex,
            use_gpu=resources.uses_gpu and extraction.can_use_gpu,
            device=resources.device,
            num_threads=resources.n_threads,
            weights_dir=str(resources.weights_dir or ''),
        ),
        name='extract',
        n_procs=resources.n_threads,
        mem_gb=extraction.memory_gb + EXTRACTION_OVERHEAD_GB,
    )
    believe = pe.Node(
        BelieveMask(force=settings.force), name='believe', run_without_submitting=True
    )
    workflow.connect([
        (inputnode, extract, [('head', 'in_file')]),
        (extract, believe, [
            ('out_mask', 'in_mask'),
            ('out_probability', 'in_probability'),
            ('out_verdict', 'in_verdict'),
            ('metadata', 'metadata'),
        ]),
        (extract, outputnode, [
            ('out_mask', 'found_mask'),
            ('out_rival', 'rival_mask'),
            ('out_verdict', 'verdict'),
        ]),
        (believe, outputnode, [
            ('out_mask', 'brain_mask'),
            ('out_probability', 'brain_probability'),
            ('metadata', 'metadata'),
        ]),
    ])  # fmt: skip
    if extraction.first.name == GIVEN:
        workflow.connect(inputnode, 'given_mask', extract, 'in_given')
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
