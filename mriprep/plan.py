"""What will be done to each subject: pure decisions, made before any graph is built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import PurePosixPath

from mriprep.contrasts import Contrast
from mriprep.extractors.choice import Extraction
from mriprep.given import Given, GivenFile
from mriprep.inventory import ImageRecord, Inventory
from mriprep.issues import Issue, Severity
from mriprep.listing import (
    Derivative,
    Place,
    individual_derivatives,
    session_derivatives,
)
from mriprep.participants import Person, person
from mriprep.planned import (
    ImagePlan,
    IndividualPlan,
    SessionPlan,
    SubjectPlan,
    session_name,
)
from mriprep.selection import Choice, Selection, issue_of, select
from mriprep.settings import AUTO, GIVEN, STRIPPED, MaskSource, Settings, Space
from mriprep.steps import RegistrationPlan, Step, StepMaker
from mriprep.templates import Template

__all__ = [
    'Derivative',
    'ImagePlan',
    'IndividualPlan',
    'Place',
    'SessionPlan',
    'SubjectPlan',
    'plan_run',
    'session_name',
]


def plan_run(
    inventory: Inventory,
    settings: Settings,
    templates: Mapping[Space, Template],
    versions: Mapping[str, str],
    extraction: Extraction,
    given: Given | None = None,
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
    given
        What the user has; masks are used where the extractor is ``auto`` or ``given``.

    Returns
    -------
    One plan a subject, in the order of the inventory. A session without a usable image has no
    plan but an issue.
    """
    spaces = [space for space in settings.output_spaces if not space.is_native]
    common = _Common(
        settings=settings,
        registrations=plan_registrations(templates[space] for space in spaces),
        maker=StepMaker(settings=settings, versions=versions),
        extraction=extraction,
        given=given or Given(),
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
        plan = SubjectPlan(subject=subject, sessions=tuple(sessions), issues=tuple(issues))
        plans.append(_longitudinal(plan, common) if settings.images.longitudinal else plan)
    return tuple(plans)


@dataclass(frozen=True, kw_only=True)
class _Common:
    """What all sessions of a run share."""

    settings: Settings
    registrations: tuple[RegistrationPlan, ...]
    maker: StepMaker
    extraction: Extraction
    given: Given
    participants: Mapping[str, Mapping[str, str]]
    _steps: dict[object, tuple[Step, ...]] = field(default_factory=dict)

    def native_steps(self, **what: object) -> tuple[Step, ...]:
        """Steps of an image, the same object for equal ones."""
        key = tuple(sorted((name, _identity(value)) for name, value in what.items()))
        if key not in self._steps:
            self._steps[key] = self.maker.native(**what)  # type: ignore[arg-type]
        return self._steps[key]

    def shared_steps(
        self, given: Iterable[str] = (), sessions: int = 0, *, others: bool, lesion: bool = False
    ) -> tuple[Step, ...]:
        """Steps from the reference on, the same object for equal ones."""
        key = (tuple(given), sessions, others, lesion)
        if key not in self._steps:
            self._steps[key] = self.maker.shared(
                self.registrations,
                given=key[0],
                sessions=sessions,
                others=others,
                lesion=lesion,
            )
        return self._steps[key]


def _identity(value: object) -> object:
    return (value.first.name, value.reason) if isinstance(value, Extraction) else value


def _plan_session(
    images: tuple[ImageRecord, ...], common: _Common
) -> SessionPlan | tuple[Issue, ...]:
    """Plan one session; the issues alone when it has no usable reference."""
    settings = common.settings
    issues = [issue for image in images for issue in image.issues]
    found = select(images, settings.images)
    if not found.choices:
        nothing = () if found.lost else (_nothing_here(images[0], settings),)
        return (*nothing, *issues)
    if (refused := _refused(found.choices[0], common)) is not None:
        return (refused, *issues)
    issues += found.issues
    head = person(common.participants.get(images[0].subject, {}))
    planned = [_plan_image(choice, found, common) for choice in found.choices]
    planned = _with_one_lesion(planned)
    for image in planned:
        issues += _doubts(image, head)
    issues += _unused_lesions(planned, images, common.given)
    issues += [note for choice in found.choices for note in _unused_files(choice, common.given)]
    issues += common.given.issues_of(images[0].subject, images[0].session)
    given = _given_to_templates(planned[0], common)
    session = SessionPlan(
        subject=images[0].subject,
        session=images[0].session,
        images=tuple(planned),
        person=head,
        shared_steps=common.shared_steps(
            given,
            others=len(planned) > 1,
            lesion=any(image.lesion is not None for image in planned),
        ),
        registrations=common.registrations,
        given_transforms=given,
        issues=tuple(issues),
        lost=found.lost,
    )
    return replace(session, derivatives=tuple(session_derivatives(session, settings)))


def _nothing_here(first: ImageRecord, settings: Settings) -> Issue:
    wanted = ', '.join(settings.images.contrasts)
    return issue_of(
        first,
        Severity.ERROR,
        f'this session has no plain image of a wanted contrast ({wanted})',
        'add one, or look for a wrong name, a filter or --contrasts',
    )


def _refused(choice: Choice, common: _Common) -> Issue | None:
    """Why a reference can't be prepared as it was asked for; None when it can."""
    if common.settings.brain.extractor != GIVEN:
        return None
    if choice.averaged:
        return issue_of(
            choice.image,
            Severity.ERROR,
            'its runs are averaged, and there is no brain mask of their average',
            'leave out --merge-runs, or choose another --extractor',
        )
    if choice.image.relative in common.given.masks:
        return None
    return issue_of(
        choice.image,
        Severity.ERROR,
        'no brain mask is given for it',
        'name the data set that holds one with -d NAME=PATH (its masks are called '
        '*_desc-brain_mask.nii.gz), or choose another --extractor',
    )


def _plan_image(choice: Choice, found: Selection, common: _Common) -> ImagePlan:
    """Plan one contrast."""
    given, name = common.given, choice.image.relative
    alone = not choice.averaged  # files of one run do not fit an average
    is_reference = choice is found.choices[0]
    mask = given.masks.get(name) if alone and _believes(common.settings) else None
    own, reference = choice.contrast.label, found.choices[0].contrast.label
    ways = [
        given.transforms.get((name, *ends)) if alone and not is_reference else None
        for ends in ((own, reference), (reference, own))
    ]
    corrected = given.corrected.get(name) if alone else None
    extraction = _extraction(choice, mask, common, is_reference=is_reference)
    return ImagePlan(
        choice=choice,
        is_reference=is_reference,
        extraction=extraction,
        mask=mask,
        corrected=corrected,
        to_reference=ways[0],
        from_reference=ways[1],
        lesion=given.lesions.get(name) if alone else None,
        steps=common.native_steps(
            extraction=extraction,
            averaged=len(choice.averaged),
            other=not is_reference,
            corrected=corrected is not None,
            registered=ways[0] is not None,
        ),
    )


def _believes(settings: Settings) -> bool:
    """Whether given masks are used: not where an extractor is asked for by name."""
    return settings.brain.extractor in (AUTO, GIVEN)


def _extraction(
    choice: Choice, mask: GivenFile | None, common: _Common, *, is_reference: bool
) -> Extraction | None:
    """How the brain of an image is found; None: it is the reference's."""
    settings = common.settings
    if mask is not None:
        return common.extraction.given()
    if not is_reference and (
        settings.images.masks is MaskSource.REFERENCE or settings.brain.extractor == GIVEN
    ):
        return None
    return common.extraction.of_stripped() if choice.image.stripped else common.extraction


def _with_one_lesion(planned: Sequence[ImagePlan]) -> list[ImagePlan]:
    """Leave the lesion to the first image that it is drawn on: its name tells of no image."""
    drawn = next((image for image in planned if image.lesion is not None), None)
    return [image if image is drawn else replace(image, lesion=None) for image in planned]


def _unused_lesions(
    planned: Sequence[ImagePlan], images: Sequence[ImageRecord], given: Given
) -> Iterator[Issue]:
    """Tell of lesion masks that are there and lead nowhere."""
    used = next((image.lesion for image in planned if image.lesion is not None), None)
    averaged = {source.relative for image in planned for source in image.choice.averaged}
    told = {used}
    for image in images:
        file = given.lesions.get(image.relative)
        if file in told or file is None:
            continue
        told.add(file)
        if image.relative in averaged:
            why, remedy = 'its image is averaged with other runs', 'leave out --merge-runs'
        elif used is not None:
            name = PurePosixPath(used.relative).name
            why, remedy = f'a session has one, and that is {name}', 'join both in one mask'
        else:
            why, remedy = 'its image is not used', 'choose it with --bids-filter-file'
        lesion = PurePosixPath(file.relative).name
        problem = f'the lesion mask {lesion} is not used: {why}'
        yield issue_of(image, Severity.WARNING, problem, remedy)


def _unused_files(choice: Choice, given: Given) -> Iterator[Issue]:
    """Tell that masks and corrected images of single runs are of no use to their average."""
    runs = {source.relative for source in choice.averaged}
    if runs & {*given.masks, *given.corrected}:
        yield issue_of(
            choice.image,
            Severity.NOTE,
            'masks and corrected images that are given for its runs are not used: '
            'the runs are averaged',
            '',
        )


def _given_to_templates(
    main: ImagePlan, common: _Common
) -> dict[str, tuple[GivenFile, GivenFile]]:
    """Transforms of the reference to templates and back that the user has."""
    out = {}
    for registration in common.registrations:
        ends = (main.label, registration.label)
        ways = [
            common.given.transforms.get((main.image.relative, *way)) for way in (ends, ends[::-1])
        ]
        if ways[0] is not None and ways[1] is not None and not main.choice.averaged:
            out[registration.label] = (ways[0], ways[1])
    return out


def _doubts(image: ImagePlan, head: Person) -> Iterator[Issue]:
    """Tell what a reader should know of an image before it is prepared."""
    record, extraction = image.image, image.extraction
    if record.stripped:
        own = extraction is not None and extraction.first.name == STRIPPED
        problem = 'it shows a brain without its head'
        problem += ': its mask is taken from the image' if own else ''
        yield issue_of(record, Severity.NOTE, problem, '')
    if extraction is None:
        return
    facts = extraction.first
    youngest, oldest = facts.ages_years
    others = 'look at the mask; --extractor chooses another'
    # the mask of another contrast is compared with the reference's
    if image.is_reference and record.suffix not in facts.contrasts:
        made_for = ', '.join(facts.contrasts)
        yield issue_of(
            record, Severity.WARNING, f'{facts.title} was made for {made_for} images', others
        )
    if (
        image.is_reference
        and head.age_years is not None
        and not youngest <= head.age_years <= oldest
    ):
        yield issue_of(
            record,
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


def _longitudinal(plan: SubjectPlan, common: _Common) -> SubjectPlan:
    """Lead sessions to templates through their mean, where there are several of one contrast."""
    if len(plan.sessions) < 2:
        return plan
    counts = Counter(session.main.contrast for session in plan.sessions)
    # of equally frequent ones the first in the order of contrasts, not of sessions
    contrast = max(Contrast, key=lambda item: counts[item])
    members = [session for session in plan.sessions if session.main.contrast is contrast]
    if len(members) < 2:
        problem = (
            'no other session has a reference of its contrast: it goes to templates by itself'
        )
        return replace(plan, sessions=tuple(_told(session, problem) for session in plan.sessions))
    individual = _individual(members, common)
    sessions = tuple(
        _joined(session, individual, common)
        if session.main.contrast is contrast
        else _told(
            session,
            f'its reference is {session.main.contrast} and not {contrast} as in other sessions: '
            'it goes to templates by itself',
        )
        for session in plan.sessions
    )
    joined = tuple(session for session in sessions if session.through_individual)
    return replace(plan, sessions=sessions, individual=replace(individual, members=joined))


def _told(session: SessionPlan, problem: str) -> SessionPlan:
    """Tell why a session takes no part in the mean."""
    remedy = 'choose a --reference-contrast that all sessions have'
    told = issue_of(session.reference, Severity.WARNING, problem, remedy)
    return replace(session, issues=(*session.issues, told))


def _individual(members: Sequence[SessionPlan], common: _Common) -> IndividualPlan:
    """Plan the mean of sessions."""
    entities = [session.main.choice.entities for session in members]
    shared = set.intersection(*map(set, entities))
    plan = IndividualPlan(
        subject=members[0].subject,
        contrast=members[0].main.contrast,
        entities=tuple(pair for pair in entities[0] if pair in shared),
        members=tuple(members),
        registrations=common.registrations,
    )
    return replace(plan, derivatives=tuple(individual_derivatives(plan)))


def _joined(session: SessionPlan, individual: IndividualPlan, common: _Common) -> SessionPlan:
    """Lead one session to templates through the mean."""
    issues = session.issues
    if session.given_transforms:
        labels = ', '.join(session.given_transforms)
        problem = f'given transforms to {labels} are not used: the way leads through the mean of '
        problem += 'the sessions'
        issues = (*issues, issue_of(session.reference, Severity.NOTE, problem, ''))
    if session.lesion is not None and common.settings.registration.lesion_masking:
        problem = (
            'the lesion stays in the metric: it is the mean of the sessions that is registered'
        )
        issues = (*issues, issue_of(session.reference, Severity.WARNING, problem, ''))
    joined = replace(
        session,
        through_individual=True,
        individual_files=individual.derivatives,
        given_transforms={},
        shared_steps=common.shared_steps(
            sessions=len(individual.members), others=bool(session.others)
        ),
        issues=issues,
    )
    return replace(joined, derivatives=tuple(session_derivatives(joined, common.settings)))
