"""What will be done to each subject: pure decisions, made before any graph is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import groupby
from pathlib import PurePosixPath

from mriprep.inventory import ImageRecord, Inventory
from mriprep.issues import Issue, Severity
from mriprep.naming import Output, output_path
from mriprep.registration import metric_words
from mriprep.settings import (
    BiasSettings,
    Normalization,
    Settings,
    Space,
)
from mriprep.templates import Template


class StepName(StrEnum):
    """The steps, in their order."""

    CONFORM = 'conform'
    EXTRACT = 'extract'
    BIAS = 'bias'
    REGISTER = 'register'
    RESAMPLE = 'resample'
    NORMALIZE = 'normalize'


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: which tool does it, and with what parameters."""

    name: StepName
    tool: str
    version: str
    parameters: Mapping[str, object]
    space: str | None = None  # label of the template, for the steps done once per template


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivative:
    """One file that will be written."""

    output: Output
    path: PurePosixPath  # relative to the output folder
    template: Template | None = None  # the grid it lies on; None for the image's own


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationPlan:
    """One registration, and the grids on which its result is written."""

    target: Template
    grids: tuple[Template, ...]

    @property
    def label(self) -> str:
        """Value of the entity ``space-``."""
        return self.target.space.label


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
        return _estimate(self.reference, self.registrations, self.derivatives)

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

    Returns
    -------
    One plan a subject, in the order of the inventory. A session without a usable T1w image has no
    plan but an issue.
    """
    spaces = [space for space in settings.output_spaces if not space.is_native]
    registrations = plan_registrations(templates[space] for space in spaces)
    steps = _steps(settings, registrations, versions)
    plans = []
    for subject, images in groupby(inventory.images, lambda image: image.subject):
        sessions: list[SessionPlan] = []
        issues: list[Issue] = []
        for _, group in groupby(images, lambda image: image.session):
            found = _plan_session(tuple(group), settings, registrations, steps)
            if isinstance(found, SessionPlan):
                sessions.append(found)
            else:
                issues.extend(found)
        plans.append(SubjectPlan(subject=subject, sessions=tuple(sessions), issues=tuple(issues)))
    return tuple(plans)


def is_reference(image: ImageRecord) -> bool:
    """Whether an image can be the reference: a plain T1w image, without contrast agent."""
    return image.suffix == 'T1w' and image.set_apart is None


def _plan_session(
    images: tuple[ImageRecord, ...],
    settings: Settings,
    registrations: tuple[RegistrationPlan, ...],
    steps: tuple[Step, ...],
) -> SessionPlan | tuple[Issue, ...]:
    """Plan one session; the issues alone when it has no usable reference."""
    first = images[0]
    issues = [issue for image in images for issue in image.issues]
    candidates = [image for image in images if is_reference(image)]
    usable = [image for image in candidates if image.usable]
    if not usable:
        if not candidates:
            issues.append(
                Issue(
                    severity=Severity.ERROR,
                    where=first.relative,
                    problem='this session has no T1w image without contrast agent',
                    remedy='add one, or look for a wrong name or filter',
                    subject=first.subject,
                    session=first.session,
                )
            )
        return tuple(issues)
    reference, passed_over = usable[0], tuple(usable[1:])
    if passed_over:
        others = ', '.join(PurePosixPath(image.relative).name for image in passed_over)
        issues.append(
            Issue(
                severity=Severity.NOTE,
                where=reference.relative,
                problem=f'the first of {len(usable)} T1w images is used; left out: {others}',
                remedy='choose another with --bids-filter-file',
                subject=reference.subject,
                session=reference.session,
            )
        )
    return SessionPlan(
        subject=reference.subject,
        session=reference.session,
        reference=reference,
        passed_over=passed_over,
        steps=steps,
        registrations=registrations,
        derivatives=tuple(_derivatives(reference, settings, registrations)),
        issues=tuple(issues),
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
    reference: ImageRecord, settings: Settings, registrations: Iterable[RegistrationPlan]
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
        )

    normalized = settings.normalization is not Normalization.NONE
    yield from map(derivative, (Output.PREPROC, Output.BRAIN_MASK, Output.BRAIN))
    if normalized and any(space.is_native for space in settings.output_spaces):
        yield derivative(Output.ZSCORE)
    yield from map(
        derivative,
        (Output.AUDIT_FIGURE, Output.BRAIN_FIGURE, Output.BIAS_FIGURE, Output.HISTOGRAM_FIGURE),
    )
    for registration in registrations:
        for output in (Output.FORWARD, Output.INVERSE, Output.REGISTRATION_FIGURE):
            yield derivative(output, registration.target)
        for grid in registration.grids:
            for output in (Output.PREPROC, Output.BRAIN_MASK, Output.BRAIN):
                yield derivative(output, grid)
            if normalized:
                yield derivative(Output.ZSCORE, grid)


def _steps(
    settings: Settings, registrations: Iterable[RegistrationPlan], versions: Mapping[str, str]
) -> tuple[Step, ...]:
    """List the steps with their parameters."""
    ants = versions.get('ANTs', 'unknown')
    nibabel = versions.get('nibabel', 'unknown')
    own = versions.get('mriprep', 'unknown')
    steps = [
        Step(
            name=StepName.CONFORM,
            tool='nibabel',
            version=nibabel,
            parameters={'axes': 'RAS', 'interpolation': 'none'},
        ),
        Step(
            name=StepName.EXTRACT,
            tool=settings.brain.extractor.value,
            version=versions.get(settings.brain.extractor.value, 'unknown'),
            parameters={'mask_threshold': settings.brain.mask_threshold},
        ),
        Step(
            name=StepName.BIAS,
            tool='N4BiasFieldCorrection',
            version=ants,
            parameters=bias_parameters(settings.bias),
        ),
    ]
    for registration in registrations:
        steps += [
            Step(
                name=StepName.REGISTER,
                tool='antsRegistration',
                version=ants,
                parameters={
                    'transform': settings.registration.transform.value,
                    'voxel_mm': settings.registration.voxel_mm,
                    'metric': metric_words(settings.registration.transform),
                    'random_seed': settings.random_seed,
                },
                space=registration.label,
            ),
            Step(
                name=StepName.RESAMPLE,
                tool='antsApplyTransforms',
                version=ants,
                parameters={
                    'grids': ', '.join(str(grid.space) for grid in registration.grids),
                    'images': settings.registration.interpolation.value,
                    'masks': 'GenericLabel',
                },
                space=registration.label,
            ),
        ]
    if settings.normalization is not Normalization.NONE:
        steps.append(
            Step(
                name=StepName.NORMALIZE,
                tool='mriprep',
                version=own,
                parameters={'method': settings.normalization.value, 'statistics': 'brain mask'},
            )
        )
    return tuple(steps)


def bias_parameters(bias: BiasSettings) -> dict[str, object]:
    """Name the parameters of N4 for people and sidecars."""
    return {
        'fit_voxel_mm': bias.fit_voxel_mm,
        'iterations': list(bias.iterations),
        'convergence': bias.convergence,
        'spline_distance_mm': bias.spline_distance_mm,
    }


def _estimate(
    reference: ImageRecord,
    registrations: tuple[RegistrationPlan, ...],
    derivatives: Iterable[Derivative],
) -> Estimate:
    """Price a session from the sizes of its grids; constants measured on two processors."""
    native = 1.0
    for size in reference.shape[:3]:
        native *= size / 1e2  # millions of voxels
    megavoxels = 0.0
    for item in derivatives:
        if item.path.name.endswith('.nii.gz'):
            if item.template is None:
                megavoxels += native
            else:
                i, j, k = item.template.output_grid(reference.zooms_mm).shape
                megavoxels += i * j * k / 1e6
    return Estimate(
        seconds=9 + 0.35 * native + 3 * len(registrations) + 0.08 * megavoxels,
        memory_gb=1.1 + 0.02 * native,
        disk_mb=1.5 * megavoxels,
    )
