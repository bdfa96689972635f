"""What will be done to each subject: pure decisions, made before any graph is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import PurePosixPath

from mriprep.extractors.base import MapKind
from mriprep.extractors.choice import Extraction
from mriprep.given import GivenFile
from mriprep.inventory import ImageRecord, Inventory
from mriprep.issues import Issue, Severity
from mriprep.naming import Output, output_path
from mriprep.participants import Person, person
from mriprep.settings import AUTO, GIVEN, Normalization, Settings, Space
from mriprep.steps import RegistrationPlan, Step, steps_of
from mriprep.templates import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivative:
    """One file that will be written."""

    output: Output
    path: PurePosixPath  # relative to the output folder
    template: Template | None = None  # the grid it lies on; None for the image's own
    optional: bool = False  # may turn out not to exist


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Rough price of one session on one processor pair; from benchmarks/README.md."""

    seconds: float
    memory_gb: float
    disk_mb: float


@dataclass(frozen=True, kw_only=True)
class SessionPlan:
    """What will be done to one session of one subject."""

    subject: str
    session: str | None
    reference: ImageRecord
    extraction: Extraction
    given_mask: GivenFile | None = None  # used instead of computing one
    person: Person = Person()
    passed_over: tuple[ImageRecord, ...] = ()
    steps: tuple[Step, ...] = ()
    registrations: tuple[RegistrationPlan, ...] = ()
    derivatives: tuple[Derivative, ...] = ()
    issues: tuple[Issue, ...] = ()

    @property
    def name(self) -> str:
        """The words ``sub-X`` or ``sub-X ses-Y``."""
        return session_name(self.subject, self.session)

    @cached_property
    def estimate(self) -> Estimate:
        """Rough price."""
        return _estimate(self)

    def derivative(self, output: Output, template: Template | None = None) -> Derivative | None:
        """Find one planned file; None when it will not be written."""
        for item in self.derivatives:
            if item.output is output and item.template == template:
                return item
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectPlan:
    """All sessions of one subject, and what could not be planned."""

    subject: str
    sessions: tuple[SessionPlan, ...]
    issues: tuple[Issue, ...] = ()  # of sessions that can't be processed

    @property
    def all_issues(self) -> tuple[Issue, ...]:
        """Those of its sessions too."""
        return (*self.issues, *(issue for session in self.sessions for issue in session.issues))


def session_name(subject: str, session: str | None) -> str:
    """Name a session for people.

    >>> session_name('01', None), session_name('01', 'pre')
    ('sub-01', 'sub-01 ses-pre')
    """
    return f'sub-{subject}' if session is None else f'sub-{subject} ses-{session}'


def plan_run(
    inventory: Inventory,
    settings: Settings,
    templates: Mapping[Space, Template],
    versions: Mapping[str, str],
    extraction: Extraction,
    given_masks: Mapping[str, GivenFile] | None = None,
) -> tuple[SubjectPlan, ...]:
    """Decide what is done to each subject.

    Parameters
    ----------
    inventory
        What the data set holds.
    settings
        What the user chose.
    templates
        The template of each space in ``settings.output_spaces`` that has one.
    versions
        Version of each tool, from `mriprep.tools.versions`.
    extraction
        How brains are found, from `mriprep.extractors.choice.choose`.
    given_masks
        Masks that the user has, by the relative path of their image; they are used where the
        extractor is ``auto`` or ``given``.

    Returns
    -------
    One plan a subject, in the order of the inventory. A session without a usable T1w image has no
    plan but an issue.
    """
    spaces = [space for space in settings.output_spaces if not space.is_native]
    registrations = plan_registrations(templates[space] for space in spaces)
    common = _Common(
        settings=settings,
        registrations=registrations,
        versions=versions,
        extraction=extraction,
        given_masks=(given_masks or {}) if settings.brain.extractor in (AUTO, GIVEN) else {},
        participants=inventory.participants,
    )
    plans = []
    for subject, images in groupby(inventory.images, lambda image: image.subject):
        sessions: list[SessionPlan] = []
        issues: list[Issue] = []
        for _, group in groupby(images, lambda image: image.session):
            planned = _plan_session(tuple(group), common)
            if isinstance(planned, SessionPlan):
                sessions.append(planned)
            else:
                issues.extend(planned)
        plans.append(SubjectPlan(subject=subject, sessions=tuple(sessions), issues=tuple(issues)))
    return tuple(plans)


def is_reference(image: ImageRecord) -> bool:
    """Whether an image can be the reference: a plain T1w image, without contrast agent."""
    return image.suffix == 'T1w' and image.set_apart is None


@dataclass(frozen=True, kw_only=True)
class _Common:
    """What all sessions of a run share."""

    settings: Settings
    registrations: tuple[RegistrationPlan, ...]
    versions: Mapping[str, str]
    extraction: Extraction
    given_masks: Mapping[str, GivenFile]
    participants: Mapping[str, Mapping[str, str]]

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Steps of a session whose mask is computed."""
        return steps_of(self.settings, self.registrations, self.versions, self.extraction)

    @cached_property
    def steps_with_mask(self) -> tuple[Step, ...]:
        """Steps of a session whose mask is given."""
        return steps_of(self.settings, self.registrations, self.versions, self.extraction.given())


def _plan_session(
    images: tuple[ImageRecord, ...], common: _Common
) -> SessionPlan | tuple[Issue, ...]:
    """Plan one session; the issues alone when it has no usable reference."""
    first = images[0]
    issues = [issue for image in images for issue in image.issues]
    candidates = [image for image in images if is_reference(image)]
    usable = [image for image in candidates if image.usable]
    if not usable:
        if not candidates:
            issues.append(
                _issue(
                    first,
                    Severity.ERROR,
                    'this session has no T1w image without contrast agent',
                    'add one, or look for a wrong name or filter',
                )
            )
        return tuple(issues)
    reference, passed_over = usable[0], tuple(usable[1:])
    if passed_over:
        others = ', '.join(PurePosixPath(image.relative).name for image in passed_over)
        issues.append(
            _issue(
                reference,
                Severity.NOTE,
                f'the first of {len(usable)} T1w images is used; left out: {others}',
                'choose another with --bids-filter-file',
            )
        )
    given = common.given_masks.get(reference.relative)
    if given is None and common.settings.brain.extractor == GIVEN:
        issues.append(
            _issue(
                reference,
                Severity.ERROR,
                'no brain mask is given for it',
                'name the data set that holds one with -d NAME=PATH (its masks are called '
                '*_desc-brain_mask.nii.gz), or choose another --extractor',
            )
        )
        return tuple(issues)
    extraction = common.extraction if given is None else common.extraction.given()
    head = person(common.participants.get(reference.subject, {}))
    issues += _doubts_of_extractor(reference, extraction, head)
    return SessionPlan(
        subject=reference.subject,
        session=reference.session,
        reference=reference,
        extraction=extraction,
        given_mask=given,
        person=head,
        passed_over=passed_over,
        steps=common.steps if given is None else common.steps_with_mask,
        registrations=common.registrations,
        derivatives=tuple(
            _derivatives(reference, common.settings, common.registrations, extraction)
        ),
        issues=tuple(issues),
    )


def _issue(image: ImageRecord, severity: Severity, problem: str, remedy: str) -> Issue:
    return Issue(
        severity=severity,
        where=image.relative,
        problem=problem,
        remedy=remedy,
        subject=image.subject,
        session=image.session,
    )


def _doubts_of_extractor(
    image: ImageRecord, extraction: Extraction, head: Person
) -> Iterator[Issue]:
    """Tell when an extractor was made for other images or other heads."""
    facts = extraction.first
    youngest, oldest = facts.ages_years
    others = 'look at the mask; --extractor chooses another'
    if image.suffix not in facts.contrasts:
        made_for = ', '.join(facts.contrasts)
        yield _issue(
            image, Severity.WARNING, f'{facts.title} was made for {made_for} images', others
        )
    if head.age_years is not None and not youngest <= head.age_years <= oldest:
        yield _issue(
            image,
            Severity.WARNING,
            f'{facts.title} was made for ages of {youngest:g} to {oldest:g} years, '
            'and this head is not of them',
            others,
        )


def plan_registrations(grids: Iterable[Template]) -> tuple[RegistrationPlan, ...]:
    """Join the grids that share a template: one registration serves them all."""
    grouped: dict[str, list[Template]] = {}
    for grid in grids:
        known = grouped.setdefault(grid.space.label, [])
        if grid.resolution not in {other.resolution for other in known}:
            known.append(grid)
    return tuple(
        RegistrationPlan(target=known[0], grids=tuple(known)) for known in grouped.values()
    )


def _derivatives(
    reference: ImageRecord,
    settings: Settings,
    registrations: Iterable[RegistrationPlan],
    extraction: Extraction,
) -> Iterator[Derivative]:
    """List every file that a session gives, in the order in which it is written."""

    def derivative(output: Output, template: Template | None = None) -> Derivative:
        space = None
        if template is not None:
            space = Space(template.space.name, template.space.cohort, template.resolution)
        return Derivative(
            output=output,
            path=output_path(
                output,
                subject=reference.subject,
                session=reference.session,
                source_entities=reference.entities,
                source_suffix=reference.suffix,
                space=space,
            ),
            template=template,
            optional=output is Output.BRAIN_PROBABILITY,
        )

    normalized = settings.normalization is not Normalization.NONE
    yield from map(derivative, (Output.PREPROC, Output.BRAIN_MASK, Output.BRAIN))
    yield derivative(Output.METRICS)
    # a second extractor that takes over may give none: then none is written
    if extraction.first.gives is MapKind.PROBABILITY and extraction.first.name != GIVEN:
        yield derivative(Output.BRAIN_PROBABILITY)
    if normalized and any(space.is_native for space in settings.output_spaces):
        yield derivative(Output.ZSCORE)
    yield from map(
        derivative,
        (
            Output.AUDIT_FIGURE,
            Output.BRAIN_FIGURE,
            Output.GUARD_FIGURE,
            Output.BIAS_FIGURE,
            Output.HISTOGRAM_FIGURE,
        ),
    )
    for registration in registrations:
        for output in (Output.FORWARD, Output.INVERSE, Output.REGISTRATION_FIGURE):
            yield derivative(output, registration.target)
        for grid in registration.grids:
            for output in (Output.PREPROC, Output.BRAIN_MASK, Output.BRAIN):
                yield derivative(output, grid)
            if normalized:
                yield derivative(Output.ZSCORE, grid)


def _estimate(plan: SessionPlan) -> Estimate:
    """Price a session from the sizes of its grids; constants measured on two processors."""
    reference = plan.reference
    native = 1.0
    for size in reference.shape[:3]:
        native *= size / 1e2  # millions of voxels
    megavoxels = 0.0
    for item in plan.derivatives:
        if item.path.name.endswith('.nii.gz'):
            if item.template is None:
                megavoxels += native
            else:
                i, j, k = item.template.output_grid(reference.zooms_mm).shape
                megavoxels += i * j * k / 1e6
    return Estimate(
        seconds=6
        + plan.extraction.seconds
        + 0.35 * native
        + 3 * len(plan.registrations)
        + 0.08 * megavoxels,
        memory_gb=max(1.1, plan.extraction.first.memory_gb) + 0.02 * native,
        disk_mb=1.5 * megavoxels,
    )
