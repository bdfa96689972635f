"""The figures of a session: drawn from saved files, and nothing depends on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nipype.pipeline import engine as pe

from mriprep.interfaces.figures import (
    AuditTable,
    BiasFigure,
    CoregistrationFigure,
    CoregistrationTable,
    GuardTable,
    HistogramFigure,
    LesionFigure,
    MaskFigure,
    OverlayFigure,
)
from mriprep.listing import Derivative, Place
from mriprep.naming import Output
from mriprep.plan import ImagePlan, SessionPlan
from mriprep.templates import Template
from mriprep.workflows.core import NATIVE_WF
from mriprep.workflows.nodes import node_name


def connect_figures(
    workflow: pe.Workflow,
    images_wf: pe.Workflow,
    plan: SessionPlan,
    saved: Mapping[Derivative, pe.Node],
    *,
    prefix: str = '',
) -> Iterator[tuple[Derivative, pe.Node]]:
    """Make the node that draws each figure of the plan."""
    figures = _Figures(workflow, images_wf, plan, dict(saved), prefix)
    for derivative in plan.derivatives:
        image = next(item for item in plan.images if item.contrast is derivative.contrast)
        make = figures.makers.get(derivative.output)
        if make is not None:
            yield derivative, make(derivative, image)


class _Figures:
    """Makes figure nodes and connects them."""

    def __init__(
        self,
        workflow: pe.Workflow,
        images_wf: pe.Workflow,
        plan: SessionPlan,
        saved: Mapping[Derivative, pe.Node],
        prefix: str,
    ) -> None:
        self._workflow = workflow
        self._images_wf = images_wf
        self._plan = plan
        self._saved = saved
        self._prefix = prefix
        self.makers = {
            Output.AUDIT_FIGURE: self._audit,
            Output.BRAIN_FIGURE: self._brain,
            Output.GUARD_FIGURE: self._guard,
            Output.BIAS_FIGURE: self._bias,
            Output.HISTOGRAM_FIGURE: self._histogram,
            Output.COREGISTRATION_FIGURE: self._coregistration,
            Output.COREGISTRATION_GUARD_FIGURE: self._coregistration_guard,
            Output.LESION_FIGURE: self._lesion,
            Output.REGISTRATION_FIGURE: self._registration,
        }

    def _node(self, interface: object, derivative: Derivative) -> pe.Node:
        label = derivative.template and derivative.template.space.label
        run = None if derivative.run is None else f'run_{derivative.run + 1}'
        words = (
            f'{self._prefix}draw',
            derivative.output.value,
            derivative.contrast.label,
            label,
            run,
        )
        return pe.Node(interface, name=node_name(*words), mem_gb=0.5)

    def _computed(self, image: ImagePlan, field: str, node: pe.Node, port: str) -> None:
        part = NATIVE_WF if image.is_reference else node_name(image.label, 'wf')
        self._workflow.connect(self._images_wf, f'{part}.outputnode.{field}', node, port)

    def _written(
        self,
        image: ImagePlan,
        output: Output,
        node: pe.Node,
        port: str,
        *,
        template: Template | None = None,
        place: Place | None = None,
    ) -> None:
        """Connect a saved file, if it is planned."""
        found = self._plan.derivative(output, template, contrast=image.contrast, place=place)
        if found is not None:
            self._workflow.connect(self._saved[found], 'out_file', node, port)

    def _audit(self, derivative: Derivative, image: ImagePlan) -> pe.Node:
        node = self._node(AuditTable(), derivative)
        self._computed(image, f'audit{(derivative.run or 0) + 1}', node, 'in_audit')
        return node

    def _brain(self, derivative: Derivative, image: ImagePlan) -> pe.Node:
        node = self._node(MaskFigure(), derivative)
        # the reference's comes from before the guard, so that a refused mask can be seen
        for field, port in (
            ('conformed', 'in_file'),
            ('found_mask', 'in_mask'),
            ('rival_mask', 'in_rival'),
            ('metrics', 'in_verdict'),
        ):
            self._computed(image, field, node, port)
        return node

    def _guard(self, derivative: Derivative, image: ImagePlan) -> pe.Node:
        node = self._node(GuardTable(), derivative)
        self._computed(image, 'verdict', node, 'in_verdict')
        return node

    def _bias(self, derivative: Derivative, image: ImagePlan) -> pe.Node:
        return self._before_and_after(self._node(BiasFigure(), derivative), image)

    def _histogram(self, derivative: Derivative, image: ImagePlan) -> pe.Node:
        node = self._before_and_after(self._node(HistogramFigure(), derivative), image)
        self._written(image, Output.ZSCORE, node, 'in_zscore')
        return node

    def _before_and_after(self, node: pe.Node, image: ImagePlan) -> pe.Node:
        self._computed(image, 'conformed', node, 'in_before')
        self._written(image, Output.PREPROC, node, 'in_after')
        self._written(image, Output.BRAIN_MASK, node, 'in_mask')
        return node

    def _coregistration(self, derivative: Derivative, image: ImagePlan) -> pe.Node:
        main = self._plan.main
        node = self._node(
            CoregistrationFigure(
                file_name=image.contrast.words, reference_name=f'{main.contrast.words} (reference)'
            ),
            derivative,
        )
        self._written(main, Output.PREPROC, node, 'in_reference')
        self._written(main, Output.BRAIN_MASK, node, 'in_mask')
        # not from what the mask was chosen for: it must be seen when that failed
        self._computed(image, 'conformed', node, 'in_file')
        self._computed(image, 'to_reference', node, 'in_transform')
        if image.to_reference is None:
            self._computed(image, 'coregistration', node, 'in_verdict')
        return node

    def _coregistration_guard(self, derivative: Derivative, image: ImagePlan) -> pe.Node:
        node = self._node(CoregistrationTable(), derivative)
        self._computed(image, 'coregistration', node, 'in_verdict')
        return node

    def _lesion(self, derivative: Derivative, image: ImagePlan) -> pe.Node:
        main = self._plan.main
        node = self._node(LesionFigure(), derivative)
        self._written(main, Output.PREPROC, node, 'in_file')
        self._written(main, Output.BRAIN_MASK, node, 'in_mask')
        place = None if image.is_reference else Place.REFERENCE
        self._written(image, Output.LESION, node, 'in_lesion', place=place)
        return node

    def _registration(self, derivative: Derivative, image: ImagePlan) -> pe.Node:
        template = derivative.template
        assert template is not None
        grid = next(
            registration.grids[0]
            for registration in self._plan.registrations
            if registration.label == template.space.label
        )
        node = self._node(
            OverlayFigure(
                in_template=str(grid.t1w),
                in_mask=str(grid.brain_mask),
                file_name=f'registered {image.contrast.words}',
                template_name=grid.space.label,
            ),
            derivative,
        )
        self._written(image, Output.PREPROC, node, 'in_file', template=grid)
        return node
