"""One session without a word about files: its contrasts, and each template."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nipype.pipeline import engine as pe

from mriprep.extractors.base import AtlasFiles
from mriprep.participants import Person
from mriprep.settings import Resources, Settings
from mriprep.steps import RegistrationPlan
from mriprep.workflows.contrast import contrast_name, init_contrast_wf
from mriprep.workflows.native import init_native_wf
from mriprep.workflows.template import OTHER_PORTS, init_template_wf, template_name
from mriprep.workflows.wiring import ImageWiring

NATIVE_WF = 'native_wf'
IMAGES_WF = 'images_wf'
TEMPLATES_WF = 'templates_wf'


def part_of(image: ImageWiring, *, is_reference: bool) -> str:
    """Name the part of the workflow that prepares an image."""
    return NATIVE_WF if is_reference else contrast_name(image)


def init_images_wf(
    settings: Settings,
    resources: Resources,
    images: Sequence[ImageWiring],
    atlas: AtlasFiles,
    *,
    person: Person | None = None,
    name: str = IMAGES_WF,
) -> pe.Workflow:
    """Join the parts of a session's images, the reference first.

    Its sub-workflows are `part_of` each image, whose ``inputnode.run1`` is to be set.
    """
    workflow = pe.Workflow(name=name)
    reference, *others = images
    native_wf = init_native_wf(
        settings, resources, reference, atlas, person=person, name=NATIVE_WF
    )
    workflow.add_nodes([native_wf])
    for image in others:
        part = init_contrast_wf(settings, resources, image, atlas, person=person)
        workflow.connect([
            (native_wf, part, [
                ('outputnode.preproc', 'inputnode.reference'),
                ('outputnode.brain_mask', 'inputnode.reference_mask'),
            ]),
        ])  # fmt: skip
    return workflow


def add_core(
    workflow: pe.Workflow,
    settings: Settings,
    resources: Resources,
    images: Sequence[ImageWiring],
    registrations: Sequence[RegistrationPlan],
    atlas: AtlasFiles,
    *,
    person: Person | None = None,
    handed: Collection[str] = (),
    prefix: str = '',
) -> tuple[pe.Workflow, pe.Workflow]:
    """Add to a workflow what prepares a session: its images, and what leads to templates.

    Parameters
    ----------
    workflow
        Gets two sub-workflows.
    settings, resources
        Scientific choices, and what the machine may spend.
    images
        The reference first.
    registrations
        Templates and their grids.
    atlas
        Stripped template that masks are compared with.
    person
        Age and sex, for the norms.
    handed
        Labels of the templates whose transforms come from elsewhere.
    prefix
        Of the names of the sub-workflows.

    Returns
    -------
    images_wf, templates_wf
        The second holds one `mriprep.workflows.template.template_name` for each registration.
    """
    images_wf = init_images_wf(
        settings, resources, images, atlas, person=person, name=f'{prefix}{IMAGES_WF}'
    )
    templates_wf = pe.Workflow(name=f'{prefix}{TEMPLATES_WF}')
    workflow.add_nodes([images_wf])
    reference, *others = images
    drawn = next((image for image in images if image.lesion), None)
    for registration in registrations:
        template_wf = init_template_wf(
            settings,
            resources,
            registration,
            others=[image.label for image in others],
            lesion=None if drawn is None else '' if drawn is reference else drawn.label,
            handed=registration.label in handed,
        )
        templates_wf.add_nodes([template_wf])
        ports = {
            f'{NATIVE_WF}.outputnode.preproc': 'preproc',
            f'{NATIVE_WF}.outputnode.brain_mask': 'brain_mask',
        }
        for image in others:
            for port in OTHER_PORTS:
                ports[f'{contrast_name(image)}.outputnode.{port}'] = f'{image.label}_{port}'
        connections = list(ports.items())
        if drawn is not None:
            part = part_of(drawn, is_reference=drawn is reference)
            onto = 'lesion' if drawn is reference else 'reference_lesion'
            connections += [
                (f'{part}.outputnode.lesion', 'lesion'),
                (f'{part}.outputnode.{onto}', 'reference_lesion'),
            ]
        name = template_name(registration)
        workflow.connect([
            (images_wf, templates_wf, [
                (source, f'{name}.inputnode.{field}') for source, field in connections
            ]),
        ])  # fmt: skip
    return images_wf, templates_wf
