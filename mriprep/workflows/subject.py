"""One session: the main job, its derivatives, its figures, and a stamp when all is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from mriprep.extractors.base import AtlasFiles
from mriprep.interfaces.derivatives import SaveDerivative, Stamp
from mriprep.interfaces.figures import (
    AuditTable,
    BiasFigure,
    GuardTable,
    HistogramFigure,
    MaskFigure,
    OverlayFigure,
)
from mriprep.naming import PATTERNS, Output, stamp_path
from mriprep.plan import Derivative, SessionPlan
from mriprep.provenance import sidecar
from mriprep.settings import Resources, Settings
from mriprep.steps import RegistrationPlan
from mriprep.templates import Template
from mriprep.workflows.nodes import merge_node, node_name
from mriprep.workflows.t1w import NATIVE_WF, init_core_wf, resampling_name, template_name

CORE_WF = 'core_wf'

# Where each output comes out of its part of the workflow, and what was measured on the way.
_NATIVE_PORTS = {
    Output.PREPROC: ('preproc', 'conform_metadata'),
    Output.BRAIN_MASK: ('brain_mask', 'mask_metadata'),
    Output.BRAIN_PROBABILITY: ('brain_probability', 'mask_metadata'),
    Output.BRAIN: ('brain', None),
    Output.ZSCORE: ('zscore', 'zscore_metadata'),
    Output.METRICS: ('verdict', None),
}
_GRID_PORTS = {
    Output.PREPROC: ('preproc', None),
    Output.BRAIN_MASK: ('brain_mask', None),
    Output.BRAIN: ('brain', None),
    Output.ZSCORE: ('zscore', 'zscore_metadata'),
}
_TRANSFORM_PORTS = {Output.FORWARD: 'forward', Output.INVERSE: 'inverse'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where the files of a run go."""

    out_dir: Path
    version: str
    fingerprint: str


def session_wf_name(plan: SessionPlan) -> str:
    """Name the workflow of one session."""
    session = None if plan.session is None else f'ses_{plan.session}'
    return node_name('sub', plan.subject, session, 'wf')


def count_steps(workflow: pe.Workflow) -> int:
    """Count the nodes that are run: those that only hand on are not."""
    nodes = (workflow.get_node(name) for name in workflow.list_node_names())
    return sum(not isinstance(node.interface, IdentityInterface) for node in nodes)


def init_session_wf(
    plan: SessionPlan,
    settings: Settings,
    resources: Resources,
    sink: Sink,
    atlas: AtlasFiles,
) -> pe.Workflow:
    """Prepare the reference of one session and save everything that the plan lists."""
    workflow = pe.Workflow(name=session_wf_name(plan))
    core_wf = init_core_wf(
        settings,
        resources,
        plan.registrations,
        plan.extraction,
        atlas,
        person=plan.person,
        normalize_native=plan.derivative(Output.ZSCORE) is not None,
        name=CORE_WF,
    )
    inputs = core_wf.get_node(NATIVE_WF).inputs.inputnode
    inputs.t1w = str(plan.reference.path)
    if plan.given_mask is not None:
        inputs.given_mask = str(plan.given_mask.path)
    saved = dict(_connect_derivatives(workflow, core_wf, plan, sink))
    saved |= dict(_connect_figures(workflow, core_wf, plan, sink, saved))
    finish = merge_node('saved', len(saved))
    finish.run_without_submitting = True
    stamp = pe.Node(
        Stamp(
            base_directory=str(sink.out_dir),
            path=str(stamp_path(plan.subject, plan.session)),
            fingerprint=sink.fingerprint,
        ),
        name='stamp',
        run_without_submitting=True,
    )
    for index, node in enumerate(saved.values(), start=1):
        workflow.connect(node, 'out_file', finish, f'in{index}')
    workflow.connect(finish, 'out', stamp, 'in_files')
    return workflow


def _connect_derivatives(
    workflow: pe.Workflow, core_wf: pe.Workflow, plan: SessionPlan, sink: Sink
) -> Iterator[tuple[Derivative, pe.Node]]:
    """Save each image and transform under its name."""
    for derivative in plan.derivatives:
        if derivative.output in _TRANSFORM_PORTS:
            registration = _registration_of(plan, derivative.template)
            port = (
                f'{template_name(registration)}.outputnode.{_TRANSFORM_PORTS[derivative.output]}'
            )
            measured = None
        elif derivative.output not in _NATIVE_PORTS:
            continue
        elif derivative.template is None:
            field, measured = _NATIVE_PORTS[derivative.output]
            port = f'{NATIVE_WF}.outputnode.{field}'
            measured = measured and f'{NATIVE_WF}.outputnode.{measured}'
        else:
            field, measured = _GRID_PORTS[derivative.output]
            registration = _registration_of(plan, derivative.template)
            part = f'{template_name(registration)}.{resampling_name(derivative.template)}'
            port = f'{part}.outputnode.{field}'
            measured = measured and f'{part}.outputnode.{measured}'
        metrics = derivative.output is Output.METRICS
        node = _save_node(
            derivative, sink, None if metrics else sidecar(derivative, plan, sink.version)
        )
        workflow.connect(core_wf, port, node, 'in_file')
        if measured:
            workflow.connect(core_wf, measured, node, 'measured')
        yield derivative, node


def _connect_figures(
    workflow: pe.Workflow,
    core_wf: pe.Workflow,
    plan: SessionPlan,
    sink: Sink,
    saved: dict[Derivative, pe.Node],
) -> Iterator[tuple[Derivative, pe.Node]]:
    """Draw each figure from saved files; nothing else depends on them."""

    def of(output: Output, template: Template | None = None) -> pe.Node | None:
        found = plan.derivative(output, template)
        return None if found is None else saved[found]

    def connect(node: pe.Node, port: str, source: pe.Node | None) -> None:
        if source is not None:
            workflow.connect(source, 'out_file', node, port)

    for derivative in plan.derivatives:
        drawn: pe.Node
        match derivative.output:
            case Output.AUDIT_FIGURE:
                drawn = _figure_node(AuditTable(), derivative)
                workflow.connect(core_wf, f'{NATIVE_WF}.outputnode.audit', drawn, 'in_audit')
            case Output.BRAIN_FIGURE:
                # from what comes before the guard, so that a refused mask can be seen
                drawn = _figure_node(MaskFigure(), derivative)
                workflow.connect([
                    (core_wf, drawn, [
                        (f'{NATIVE_WF}.outputnode.conformed', 'in_file'),
                        (f'{NATIVE_WF}.outputnode.found_mask', 'in_mask'),
                        (f'{NATIVE_WF}.outputnode.rival_mask', 'in_rival'),
                        (f'{NATIVE_WF}.outputnode.verdict', 'in_verdict'),
                    ]),
                ])  # fmt: skip
            case Output.GUARD_FIGURE:
                drawn = _figure_node(GuardTable(), derivative)
                workflow.connect(core_wf, f'{NATIVE_WF}.outputnode.verdict', drawn, 'in_verdict')
            case Output.BIAS_FIGURE | Output.HISTOGRAM_FIGURE:
                bias = derivative.output is Output.BIAS_FIGURE
                drawn = _figure_node(BiasFigure() if bias else HistogramFigure(), derivative)
                workflow.connect(core_wf, f'{NATIVE_WF}.outputnode.conformed', drawn, 'in_before')
                connect(drawn, 'in_after', of(Output.PREPROC))
                connect(drawn, 'in_mask', of(Output.BRAIN_MASK))
                if not bias:
                    connect(drawn, 'in_zscore', of(Output.ZSCORE))
            case Output.REGISTRATION_FIGURE:
                grid = _registration_of(plan, derivative.template).grids[0]
                drawn = _figure_node(OverlayFigure(), derivative)
                drawn.inputs.in_template = str(grid.t1w)
                drawn.inputs.in_mask = str(grid.brain_mask)
                drawn.inputs.template_name = grid.space.label
                connect(drawn, 'in_file', of(Output.PREPROC, grid))
            case _:
                continue
        node = _save_node(derivative, sink)
        workflow.connect(drawn, 'out_report', node, 'in_file')
        yield derivative, node


def _registration_of(plan: SessionPlan, template: Template | None) -> RegistrationPlan:
    assert template is not None
    for registration in plan.registrations:
        if registration.label == template.space.label:
            return registration
    raise KeyError(template.space.label)


def _figure_node(interface: object, derivative: Derivative) -> pe.Node:
    label = derivative.template and derivative.template.space.label
    return pe.Node(interface, name=node_name('draw', derivative.output.value, label), mem_gb=0.5)


def _save_node(
    derivative: Derivative, sink: Sink, metadata: dict[str, object] | None = None
) -> pe.Node:
    """Make the node that saves one derivative."""
    template = derivative.template
    place = None
    if template is not None:
        place = node_name(template.space.label, 'res', template.resolution or 'native')
    return pe.Node(
        SaveDerivative(
            base_directory=str(sink.out_dir),
            path=str(derivative.path),
            dtype=PATTERNS[derivative.output].dtype,
            space_code=1 if template is None else 4,
            optional=derivative.optional,
            metadata=metadata or {},
        ),
        name=node_name('save', derivative.output.value, place),
        mem_gb=0.4,
    )
