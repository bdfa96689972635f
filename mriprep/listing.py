"""Every file that a session gives, in the order in which it is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mriprep.contrasts import Contrast
from mriprep.extractors.base import MapKind
from mriprep.naming import Output, output_path
from mriprep.settings import GIVEN, STRIPPED, Normalization, Settings, Space
from mriprep.templates import Template

if TYPE_CHECKING:
    from mriprep.planned import ImagePlan, IndividualPlan, SessionPlan
    from mriprep.records import ImageRecord

# Label of the mean of a subject's sessions: BIDS appendix "coordinate systems".
INDIVIDUAL = 'individual'


class Place(StrEnum):
    """On which grid a file lies."""

    NATIVE = 'native'  # of its own image
    REFERENCE = 'reference'
    INDIVIDUAL = 'individual'  # of the mean of the sessions
    TEMPLATE = 'template'


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivative:
    """One file that will be written."""

    output: Output
    path: PurePosixPath  # relative to the output folder
    contrast: Contrast = Contrast.T1W
    place: Place = Place.NATIVE
    template: Template | None = None  # the grid it lies on; None for others
    run: int | None = None  # which of the runs that are averaged it belongs to
    optional: bool = False  # may turn out not to exist


@dataclass(frozen=True, kw_only=True)
class _Lister:
    """Names the files of one image."""

    plan: SessionPlan
    image: ImagePlan

    def file(
        self,
        output: Output,
        *,
        place: Place = Place.NATIVE,
        template: Template | None = None,
        run: int | None = None,
        optional: bool = False,
    ) -> Derivative:
        """Name one file."""
        image = self.image
        source: ImageRecord | None = None if run is None else image.choice.sources[run]
        space = None
        if template is not None:
            space = _space_of(template)
        elif place is Place.REFERENCE:
            space = Space(self.plan.main.label)
        elif place is Place.INDIVIDUAL:
            space = Space(INDIVIDUAL)
        return Derivative(
            output=output,
            path=output_path(
                output,
                subject=self.plan.subject,
                session=self.plan.session,
                source_entities=image.choice.entities if source is None else source.entities,
                source_suffix=image.contrast.suffix,
                label=image.label,
                apart=not image.is_reference,
                space=space,
            ),
            contrast=image.contrast,
            place=place if template is None else Place.TEMPLATE,
            template=template,
            run=run,
            optional=optional,
        )


def _space_of(template: Template) -> Space:
    return Space(template.space.name, template.space.cohort, template.resolution)


def session_derivatives(plan: SessionPlan, settings: Settings) -> Iterator[Derivative]:
    """List every file that a session gives."""
    images = [Output.PREPROC, Output.BRAIN]
    if settings.normalization is not Normalization.NONE:
        images.append(Output.ZSCORE)
    for image in plan.images:
        lister = _Lister(plan=plan, image=image)
        yield from _native(lister, images)
        if not image.is_reference:
            yield from _on_reference(lister, images)
        if image.lesion is not None:
            yield lister.file(Output.LESION)
            if not image.is_reference:
                yield lister.file(Output.LESION, place=Place.REFERENCE)
            yield lister.file(Output.LESION_FIGURE)
    main = _Lister(plan=plan, image=plan.main)
    if plan.through_individual:
        for output in (Output.TO_INDIVIDUAL, Output.FROM_INDIVIDUAL):
            yield main.file(output, place=Place.INDIVIDUAL)
    for registration in plan.registrations:
        yield main.file(Output.REGISTRATION_FIGURE, template=registration.target)
        for image in plan.images:
            lister = _Lister(plan=plan, image=image)
            for output in (Output.FORWARD, Output.INVERSE):
                yield lister.file(output, template=registration.target)
            for grid in registration.grids:
                for output in images:
                    yield lister.file(output, template=grid)
                if image.is_reference:
                    yield lister.file(Output.BRAIN_MASK, template=grid)
                if image.lesion is not None:
                    yield lister.file(Output.LESION, template=grid)


def _native(lister: _Lister, images: list[Output]) -> Iterator[Derivative]:
    """Files on the image's own grid."""
    image = lister.image
    yield from map(lister.file, (*images, Output.BRAIN_MASK, Output.METRICS))
    extraction = image.extraction
    # a second extractor that takes over may give none: then none is written
    if (
        extraction is not None
        and extraction.first.gives is MapKind.PROBABILITY
        and extraction.first.name not in (GIVEN, STRIPPED)
    ):
        yield lister.file(Output.BRAIN_PROBABILITY, optional=True)
    several = len(image.choice.averaged) > 1
    for run in range(len(image.choice.averaged)):
        yield lister.file(Output.FROM_RUN, run=run)
        yield lister.file(Output.TO_RUN, run=run)
    for run in range(len(image.choice.sources)):
        yield lister.file(Output.AUDIT_FIGURE, run=run if several else None)
    yield lister.file(Output.BRAIN_FIGURE)
    if extraction is not None:
        yield lister.file(Output.GUARD_FIGURE)
    yield lister.file(Output.BIAS_FIGURE)
    yield lister.file(Output.HISTOGRAM_FIGURE)


def _on_reference(lister: _Lister, images: list[Output]) -> Iterator[Derivative]:
    """Files that join another contrast to the reference."""
    for output in (Output.TO_REFERENCE, Output.FROM_REFERENCE, *images):
        yield lister.file(output, place=Place.REFERENCE)
    yield lister.file(Output.COREGISTRATION_FIGURE)
    if lister.image.to_reference is None:
        yield lister.file(Output.COREGISTRATION_GUARD_FIGURE)


def individual_derivatives(plan: IndividualPlan) -> Iterator[Derivative]:
    """List the files of the mean of a subject's sessions."""

    def file(output: Output, template: Template | None = None) -> Derivative:
        return Derivative(
            output=output,
            path=output_path(
                output,
                subject=plan.subject,
                source_entities=plan.entities,
                source_suffix=plan.contrast.suffix,
                label=INDIVIDUAL,
                space=Space(INDIVIDUAL) if template is None else _space_of(template),
            ),
            contrast=plan.contrast,
            place=Place.INDIVIDUAL if template is None else Place.TEMPLATE,
            template=template,
        )

    yield from map(file, (Output.PREPROC, Output.BRAIN_MASK, Output.METRICS))
    for registration in plan.registrations:
        for output in (Output.FORWARD, Output.INVERSE):
            yield file(output, registration.target)
