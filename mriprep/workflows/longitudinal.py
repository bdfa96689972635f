"""All sessions of one head: their mean, and the way through it to each template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nipype.interfaces.utility import Select
from nipype.pipeline import engine as pe

from mriprep.extractors.base import AtlasFiles
from mriprep.interfaces.halfway import HalfwayAverage
from mriprep.listing import Place
from mriprep.naming import Output, individual_stamp_path
from mriprep.outcome import PREFIX_END
from mriprep.plan import IndividualPlan, SubjectPlan
from mriprep.provenance import individual_sidecar
from mriprep.settings import Resources, Settings
from mriprep.steps import RegistrationPlan
from mriprep.workflows.core import NATIVE_WF
from mriprep.workflows.native import HALFWAY_GB
from mriprep.workflows.nodes import buffer, merge_node, node_name
from mriprep.workflows.subject import (
    Sink,
    add_session,
    connect_stamp,
    individual_port,
    save_node,
    session_wf_name,
)
from mriprep.workflows.template import init_registration_wf

INDIVIDUAL_WF = 'individual_wf'


def subject_wf_name(subject: str) -> str:
    """Name the workflow of all sessions of a subject."""
    return node_name('sub', subject, 'all_wf')


def init_subject_wf(
    plan: SubjectPlan,
    settings: Settings,
    resources: Resources,
    sinks: Mapping[str, Sink],
    atlas: AtlasFiles,
) -> pe.Workflow:
    """Prepare the sessions of a subject that go to templates through their mean.

    Parameters
    ----------
    plan
        With an `IndividualPlan`; sessions that are no members of it are left out.
    settings, resources, atlas
        As of `init_session_wf`.
    sinks
        Where the files go, by the name of the session.
    """
    assert plan.individual is not None
    workflow = pe.Workflow(name=subject_wf_name(plan.subject))
    members = plan.individual.members
    sink = sinks[members[0].name]
    individual_wf = init_individual_wf(plan.individual, settings, resources, sink)
    for number, session in enumerate(members, start=1):
        # side by side with the mean: it takes from each session and gives to each
        images_wf, handed = add_session(
            workflow,
            session,
            settings,
            resources,
            sinks[session.name],
            atlas,
            prefix=f'{session_wf_name(session)}{PREFIX_END}',
        )
        native = f'{NATIVE_WF}.outputnode'
        workflow.connect([
            (images_wf, individual_wf, [
                (f'{native}.preproc', f'inputnode.preproc{number}'),
                (f'{native}.brain_mask', f'inputnode.mask{number}'),
            ]),
            (individual_wf, handed, [
                (f'outputnode.to_individual{number}', 'to_individual'),
                (f'outputnode.from_individual{number}', 'from_individual'),
                *(
                    (f'outputnode.{port}', port)
                    for port in _template_ports(plan.individual.registrations)
                ),
            ]),
        ])  # fmt: skip
    return workflow


def _template_ports(registrations: Sequence[RegistrationPlan]) -> list[str]:
    return [
        individual_port(registration.label, way)
        for registration in registrations
        for way in ('forward', 'inverse')
    ]


def init_individual_wf(
    plan: IndividualPlan, settings: Settings, resources: Resources, sink: Sink
) -> pe.Workflow:
    """Average the references of a subject's sessions, and register the mean to each template.

    Inputs
    ------
    preproc1, mask1, preproc2, mask2 ...
        Whole head after bias field correction and brain mask of each session.

    Outputs
    -------
    to_individual1, from_individual1 ...
        Rigid ITK transforms that resample each session onto the mean, and back.
    TEMPLATE_forward, TEMPLATE_inverse
        ITK transforms of the mean to each template, and back.
    """
    workflow = pe.Workflow(name=INDIVIDUAL_WF)
    numbers = range(1, len(plan.members) + 1)
    inputnode = buffer(
        'inputnode', *(f'{field}{number}' for number in numbers for field in ('preproc', 'mask'))
    )
    outputnode = buffer(
        'outputnode',
        *(f'{way}_individual{number}' for number in numbers for way in ('to', 'from')),
        *_template_ports(plan.registrations),
    )
    average = pe.Node(
        HalfwayAverage(
            names=[session.name for session in plan.members],
            force=settings.brain.force,
            num_threads=1,
        ),
        name='average',
        mem_gb=HALFWAY_GB,
    )
    for field, port in (('preproc', 'in_files'), ('mask', 'in_masks')):
        joined = merge_node(f'all_{field}', len(plan.members))
        for number in numbers:
            workflow.connect(inputnode, f'{field}{number}', joined, f'in{number}')
        workflow.connect(joined, 'out', average, port)
    for number in numbers:
        for port, way in (('forward', 'to'), ('inverse', 'from')):
            one = pe.Node(
                Select(index=[number - 1]),
                name=f'{way}_individual{number}',
                run_without_submitting=True,
            )
            workflow.connect(average, port, one, 'inlist')
            workflow.connect(one, 'out', outputnode, f'{way}_individual{number}')
    sources = {
        (Output.PREPROC, None): (average, 'out_file'),
        (Output.BRAIN_MASK, None): (average, 'out_mask'),
        (Output.METRICS, None): (average, 'out_verdict'),
    }
    for registration in plan.registrations:
        registration_wf = init_registration_wf(
            settings.registration,
            resources,
            registration.target,
            random_seed=settings.random_seed,
            name=node_name(registration.label, 'wf'),
        )
        workflow.connect([
            (average, registration_wf, [
                ('out_file', 'inputnode.preproc'),
                ('out_mask', 'inputnode.brain_mask'),
            ]),
            (registration_wf, outputnode, [
                (f'outputnode.{way}', individual_port(registration.label, way))
                for way in ('forward', 'inverse')
            ]),
        ])  # fmt: skip
        for output, way in ((Output.FORWARD, 'forward'), (Output.INVERSE, 'inverse')):
            sources[output, registration.label] = (registration_wf, f'outputnode.{way}')
    saved = []
    for derivative in plan.derivatives:
        label = derivative.template and derivative.template.space.label
        metrics = derivative.output is Output.METRICS
        node = save_node(
            derivative,
            sink,
            None if metrics else individual_sidecar(derivative, plan, sink.version),
        )
        source, port = sources[derivative.output, label]
        workflow.connect(source, port, node, 'in_file')
        if derivative.place is Place.INDIVIDUAL and not metrics:
            workflow.connect(average, 'metadata', node, 'measured')
        saved.append(node)
    connect_stamp(workflow, saved, sink, str(individual_stamp_path(plan.subject)))
    return workflow
