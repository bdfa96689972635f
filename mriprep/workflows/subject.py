"""One session: its contrasts, their derivatives, their figures, and a stamp when all is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface, Select
from nipype.pipeline import engine as pe

from mriprep.extractors.base import AtlasFiles
from mriprep.interfaces.contrast import JoinTransforms
from mriprep.interfaces.derivatives import SaveDerivative, Stamp
from mriprep.listing import Derivative, Place
from mriprep.naming import PATTERNS, Kind, Output, stamp_path
from mriprep.plan import ImagePlan, SessionPlan
from mriprep.provenance import sidecar
from mriprep.settings import Resources, Settings
from mriprep.templates import Template
from mriprep.workflows.core import add_core, part_of
from mriprep.workflows.nodes import buffer, merge_node, node_name
from mriprep.workflows.reportlets import connect_figures
from mriprep.workflows.template import joined_name, lesion_name, resampling_name
from mriprep.workflows.wiring import ImageWiring

# Where each output comes out of the part of its image, and what was measured on the way.
_NATIVE_PORTS = {
    Output.PREPROC: ('preproc', 'conform_metadata'),
    Output.BRAIN_MASK: ('brain_mask', 'mask_metadata'),
    Output.BRAIN_PROBABILITY: ('brain_probability', 'mask_metadata'),
    Output.BRAIN: ('brain', None),
    Output.ZSCORE: ('zscore', 'zscore_metadata'),
    Output.LESION: ('lesion', 'lesion_metadata'),
    Output.METRICS: ('metrics', None),
    Output.FROM_RUN: ('from_runs', None),
    Output.TO_RUN: ('to_runs', None),
}
_REFERENCE_PORTS = {
    Output.TO_REFERENCE: ('to_reference', 'coregistration_metadata'),
    Output.FROM_REFERENCE: ('from_reference', 'coregistration_metadata'),
    Output.PREPROC: ('reference_preproc', 'reference_preproc_metadata'),
    Output.BRAIN: ('reference_brain', None),
    Output.ZSCORE: ('reference_zscore', 'reference_zscore_metadata'),
    Output.LESION: ('reference_lesion', 'reference_lesion_metadata'),
}
_GRID_PORTS = {
    Output.PREPROC: ('preproc', 'preproc_metadata'),
    Output.BRAIN_MASK: ('brain_mask', None),
    Output.BRAIN: ('brain', None),
    Output.ZSCORE: ('zscore', 'zscore_metadata'),
}
_TRANSFORM_PORTS = {Output.FORWARD: 'forward', Output.INVERSE: 'inverse'}
_INDIVIDUAL_PORTS = {
    Output.TO_INDIVIDUAL: 'to_individual',
    Output.FROM_INDIVIDUAL: 'from_individual',
}


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


def wiring_of(image: ImagePlan) -> ImageWiring:
    """Tell the graph what it must know of an image."""
    return ImageWiring(
        contrast=image.contrast,
        extraction=image.extraction,
        n_runs=len(image.choice.sources),
        corrected=image.corrected is not None,
        registered=image.to_reference is not None,
        lesion=image.lesion is not None,
    )


def init_session_wf(
    plan: SessionPlan,
    settings: Settings,
    resources: Resources,
    sink: Sink,
    atlas: AtlasFiles,
) -> pe.Workflow:
    """Prepare the images of one session and save everything that the plan lists."""
    workflow = pe.Workflow(name=session_wf_name(plan))
    add_session(workflow, plan, settings, resources, sink, atlas)
    return workflow


def add_session(
    workflow: pe.Workflow,
    plan: SessionPlan,
    settings: Settings,
    resources: Resources,
    sink: Sink,
    atlas: AtlasFiles,
    *,
    prefix: str = '',
) -> tuple[pe.Workflow, pe.Node | None]:
    """Add to a workflow what prepares one session and saves it.

    Returns
    -------
    images_wf
        The part that prepares the images on their own grids and the reference's.
    handed
        Where templates are reached through the mean of the sessions, the node that takes the
        transforms that come from it; see `mriprep.workflows.longitudinal`.
    """
    handed = (
        [registration.label for registration in plan.registrations]
        if plan.through_individual
        else list(plan.given_transforms)
    )
    images_wf, templates_wf = add_core(
        workflow,
        settings,
        resources,
        [wiring_of(image) for image in plan.images],
        plan.registrations,
        atlas,
        person=plan.person,
        handed=handed,
        prefix=prefix,
    )
    for image in plan.images:
        _set_inputs(images_wf, image)
    session = _Session(workflow, plan, sink, prefix, images_wf, templates_wf)
    individual = session.hand_individual() if plan.through_individual else None
    session.hand_given()
    saved = dict(session.save(individual))
    for derivative, drawn in connect_figures(workflow, images_wf, plan, saved, prefix=prefix):
        node = save_node(derivative, sink, prefix=prefix)
        workflow.connect(drawn, 'out_report', node, 'in_file')
        saved[derivative] = node
    path = str(stamp_path(plan.subject, plan.session))
    connect_stamp(workflow, list(saved.values()), sink, path, prefix=prefix)
    return images_wf, individual


def connect_stamp(
    workflow: pe.Workflow, saved: Sequence[pe.Node], sink: Sink, path: str, *, prefix: str = ''
) -> None:
    """Record that everything is saved."""
    finish = merge_node(f'{prefix}saved', len(saved))
    finish.run_without_submitting = True
    stamp = pe.Node(
        Stamp(base_directory=str(sink.out_dir), path=path, fingerprint=sink.fingerprint),
        name=f'{prefix}stamp',
        run_without_submitting=True,
    )
    for index, node in enumerate(saved, start=1):
        workflow.connect(node, 'out_file', finish, f'in{index}')
    workflow.connect(finish, 'out', stamp, 'in_files')


def _set_inputs(images_wf: pe.Workflow, image: ImagePlan) -> None:
    """Name the files of an image, and those that the user has."""
    part = images_wf.get_node(part_of(wiring_of(image), is_reference=image.is_reference))
    inputs = part.get_node('inputnode').inputs
    if image.choice.averaged:
        names = [source.relative for source in image.choice.sources]
        part.get_node('head_wf').get_node('merge').inputs.names = names
    for number, source in enumerate(image.choice.sources, start=1):
        setattr(inputs, f'run{number}', str(source.path))
    given = {
        'given_mask': image.mask,
        'given_corrected': image.corrected,
        'given_lesion': image.lesion,
        'given_to_reference': image.to_reference,
        'given_from_reference': image.from_reference,
    }
    for field, file in given.items():
        if file is not None:
            setattr(inputs, field, str(file.path))


@dataclass(frozen=True, slots=True)
class _Session:
    """The parts of one session, while they are connected."""

    workflow: pe.Workflow
    plan: SessionPlan
    sink: Sink
    prefix: str
    images_wf: pe.Workflow
    templates_wf: pe.Workflow

    def hand_given(self) -> None:
        """Use the transforms to templates that the user has."""
        for label, files in self.plan.given_transforms.items():
            for way, file in zip(('forward', 'inverse'), files, strict=True):
                take = pe.Node(
                    JoinTransforms(in_files=[str(file.path)]),
                    name=node_name(f'{self.prefix}take', way, label),
                    mem_gb=0.3,
                )
                self._hand(take, label, way)

    def _hand(self, node: pe.Node, label: str, way: str) -> None:
        port = f'{node_name(label, "wf")}.inputnode.{way}'
        self.workflow.connect(node, 'out_file', self.templates_wf, port)

    def hand_individual(self) -> pe.Node:
        """Reach templates through the mean of the sessions, by joined transforms."""
        labels = [registration.label for registration in self.plan.registrations]
        handed = buffer(
            f'{self.prefix}individual',
            *_INDIVIDUAL_PORTS.values(),
            *(individual_port(label, way) for label in labels for way in ('forward', 'inverse')),
        )
        self.workflow.add_nodes([handed])
        for label in labels:
            # in the order that a point passes them, from the grid that is resampled onto
            for way, ports in (
                ('forward', (individual_port(label, 'forward'), 'to_individual')),
                ('inverse', ('from_individual', individual_port(label, 'inverse'))),
            ):
                words = (way, label)
                both = merge_node(node_name(f'{self.prefix}parts', *words), 2)
                join = pe.Node(
                    JoinTransforms(), name=node_name(f'{self.prefix}join', *words), mem_gb=0.3
                )
                for number, port in enumerate(ports, start=1):
                    self.workflow.connect(handed, port, both, f'in{number}')
                self.workflow.connect(both, 'out', join, 'in_files')
                self._hand(join, label, way)
        return handed

    def save(self, individual: pe.Node | None) -> Iterator[tuple[Derivative, pe.Node]]:
        """Save each image and transform under its name."""
        for derivative in self.plan.derivatives:
            if PATTERNS[derivative.output].kind is Kind.FIGURE:
                continue
            metrics = derivative.output is Output.METRICS
            words = None if metrics else sidecar(derivative, self.plan, self.sink.version)
            node = save_node(derivative, self.sink, words, prefix=self.prefix)
            if derivative.output in _INDIVIDUAL_PORTS:
                port = _INDIVIDUAL_PORTS[derivative.output]
                self.workflow.connect(individual, port, node, 'in_file')
            else:
                self._connect(derivative, node)
            yield derivative, node

    def _connect(self, derivative: Derivative, node: pe.Node) -> None:
        port, measured = port_of(derivative, self.plan)
        source = self.images_wf if derivative.template is None else self.templates_wf
        if derivative.run is None:
            self.workflow.connect(source, port, node, 'in_file')
        else:
            one = pe.Node(
                Select(index=[derivative.run]),
                name=f'{node.name}_of_runs',
                run_without_submitting=True,
            )
            self.workflow.connect(source, port, one, 'inlist')
            self.workflow.connect(one, 'out', node, 'in_file')
        if measured:
            self.workflow.connect(source, measured, node, 'measured')


def individual_port(label: str, way: str) -> str:
    """Name the field that takes a transform between the mean of the sessions and a template."""
    return node_name(label, way)


def port_of(derivative: Derivative, plan: SessionPlan) -> tuple[str, str | None]:
    """Where a derivative comes out of its part of the workflow, and what was measured on the way."""
    image = next(item for item in plan.images if item.contrast is derivative.contrast)
    part = part_of(wiring_of(image), is_reference=image.is_reference)
    template, output = derivative.template, derivative.output
    if template is None:
        ports = _REFERENCE_PORTS if derivative.place is Place.REFERENCE else _NATIVE_PORTS
        field, measured = ports[output]
        if image.to_reference is not None and measured == 'coregistration_metadata':
            measured = None
        return _port(part, field), measured and _port(part, measured)
    part = node_name(template.space.label, 'wf')
    if output is Output.LESION:
        name = lesion_name(template)
        return f'{part}.{name}.output_image', f'{part}.lesion_volume{name[6:]}.metadata'
    if not image.is_reference:
        part = f'{part}.{joined_name(image.label)}'
    if output in _TRANSFORM_PORTS:
        return _port(part, _TRANSFORM_PORTS[output]), None
    part = f'{part}.{resampling_name(template)}'
    field, measured = _GRID_PORTS[output]
    return _port(part, field), measured and _port(part, measured)


def _port(part: str, field: str) -> str:
    return f'{part}.outputnode.{field}'


def save_node(
    derivative: Derivative,
    sink: Sink,
    metadata: Mapping[str, object] | None = None,
    *,
    prefix: str = '',
) -> pe.Node:
    """Make the node that saves one derivative."""
    return pe.Node(
        SaveDerivative(
            base_directory=str(sink.out_dir),
            path=str(derivative.path),
            dtype=PATTERNS[derivative.output].dtype,
            space_code=1 if derivative.template is None else 4,
            optional=derivative.optional,
            metadata=dict(metadata or {}),
        ),
        name=node_name(f'{prefix}save', *_words_of(derivative)),
        mem_gb=0.4,
    )


def _words_of(derivative: Derivative) -> list[str]:
    """Words that tell a derivative from all others of its session."""
    template: Template | None = derivative.template
    words = [derivative.output.value, derivative.contrast.label]
    if derivative.place is Place.REFERENCE:
        words.append('on_reference')
    if template is not None:
        words += [template.space.label, 'res', template.resolution or 'native']
    if derivative.run is not None:
        words += ['run', str(derivative.run + 1)]
    return words
