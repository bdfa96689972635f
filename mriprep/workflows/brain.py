"""Finding the brain of one image."""

from __future__ import annotations

from dataclasses import fields

from nipype.pipeline import engine as pe

from mriprep.extractors.base import AtlasFiles
from mriprep.extractors.choice import Extraction
from mriprep.interfaces.brain import FindBrain
from mriprep.participants import Person
from mriprep.settings import GIVEN, BrainSettings, Resources
from mriprep.workflows.nodes import buffer

EXTRACTION_OVERHEAD_GB = 0.4  # image, maps and the guard, beside what the network needs


def init_brain_wf(
    settings: BrainSettings,
    resources: Resources,
    extraction: Extraction,
    atlas: AtlasFiles,
    *,
    person: Person | None = None,
    contrast: str = '',
    name: str = 'brain_wf',
) -> pe.Workflow:
    """Find the brain of a head and judge the mask.

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
    contrast
        What the name of the image says that it shows; see `mriprep.contrasts.Contrast`.

    Inputs
    ------
    head
        Whole head or brain, RAS axes, float32.
    given_mask
        Mask that the user has; read only for the extractor ``given``.

    Outputs
    -------
    mask, probability, metadata
        On the grid of ``head``; the mask may be refused.
    rival, verdict
        The mask that it was compared with if there was need, and what the guard says.
    """
    workflow = pe.Workflow(name=name)
    inputnode = buffer('inputnode', 'head', 'given_mask')
    outputnode = buffer('outputnode', 'mask', 'probability', 'metadata', 'rival', 'verdict')
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
            contrast=contrast,
            use_gpu=resources.uses_gpu and extraction.can_use_gpu,
            device=resources.device,
            num_threads=resources.n_threads,
            weights_dir=str(resources.weights_dir or ''),
        ),
        name='extract',
        n_procs=resources.n_threads,
        mem_gb=extraction.memory_gb + EXTRACTION_OVERHEAD_GB,
    )
    workflow.connect([
        (inputnode, extract, [('head', 'in_file')]),
        (extract, outputnode, [
            ('out_mask', 'mask'),
            ('out_probability', 'probability'),
            ('out_rival', 'rival'),
            ('out_verdict', 'verdict'),
            ('metadata', 'metadata'),
        ]),
    ])  # fmt: skip
    if extraction.first.name == GIVEN:
        workflow.connect(inputnode, 'given_mask', extract, 'in_given')
    return workflow
