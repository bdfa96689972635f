"""Plans as frozen records: what will be done to images, sessions and subjects, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mriprep.contrasts import Contrast
from mriprep.estimate import Estimate, estimate
from mriprep.extractors.choice import Extraction
from mriprep.given import GivenFile
from mriprep.issues import Issue
from mriprep.listing import Derivative, Place
from mriprep.naming import Output
from mriprep.participants import Person
from mriprep.records import ImageRecord
from mriprep.selection import Choice
from mriprep.steps import RegistrationPlan, Step, in_order
from mriprep.templates import Template


@dataclass(frozen=True, kw_only=True)
class ImagePlan:
    """What will be done to the image of one contrast."""

    choice: Choice
    is_reference: bool
    extraction: Extraction | None  # None: it takes the reference's mask
    mask: GivenFile | None = None  # used instead of computing one
    corrected: GivenFile | None = None  # without bias field; used instead of N4
    to_reference: GivenFile | None = None
    from_reference: GivenFile | None = None
    lesion: GivenFile | None = None  # drawn on this image
    steps: tuple[Step, ...] = ()  # on its own grid

    @property
    def contrast(self) -> Contrast:
        """What it shows."""
        return self.choice.contrast

    @property
    def image(self) -> ImageRecord:
        """The image; of several that are averaged the first."""
        return self.choice.image

    @property
    def label(self) -> str:
        """Name of its grid."""
        return self.contrast.label


@dataclass(frozen=True, kw_only=True)
class SessionPlan:
    """What will be done to one session of one subject."""

    subject: str
    session: str | None
    images: tuple[ImagePlan, ...]  # the reference first
    person: Person = Person()
    shared_steps: tuple[Step, ...] = ()  # from the reference on
    registrations: tuple[RegistrationPlan, ...] = ()
    # transforms of the reference to a template and back, by the template's label
    given_transforms: Mapping[str, tuple[GivenFile, GivenFile]] = field(default_factory=dict)
    derivatives: tuple[Derivative, ...] = ()
    through_individual: bool = False  # whether templates are reached through the subject's mean
    individual_files: tuple[Derivative, ...] = ()  # of that mean
    issues: tuple[Issue, ...] = ()
    lost: tuple[Issue, ...] = ()  # of contrasts that can't be prepared, one each

    @property
    def name(self) -> str:
        """The words ``sub-X`` or ``sub-X ses-Y``."""
        return session_name(self.subject, self.session)

    @property
    def main(self) -> ImagePlan:
        """What is done to the reference."""
        return self.images[0]

    @property
    def others(self) -> tuple[ImagePlan, ...]:
        """What is done to the other contrasts."""
        return self.images[1:]

    @property
    def reference(self) -> ImageRecord:
        """The image that the others are registered to."""
        return self.main.image

    @property
    def extraction(self) -> Extraction:
        """How the brain of the reference is found."""
        assert self.main.extraction is not None
        return self.main.extraction

    @property
    def lesion(self) -> ImagePlan | None:
        """The image on which a lesion is drawn."""
        return next((image for image in self.images if image.lesion is not None), None)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Steps of all images, each once, in order."""
        own = (step for image in self.images for step in image.steps)
        return in_order((*own, *self.shared_steps))

    @cached_property
    def estimate(self) -> Estimate:
        """Rough price."""
        return estimate(self)

    def derivative(
        self,
        output: Output,
        template: Template | None = None,
        *,
        contrast: Contrast | None = None,
        place: Place | None = None,
    ) -> Derivative | None:
        """Find one planned file; None when it will not be written.

        Parameters
        ----------
        output
            What it is.
        template
            The grid it lies on, if that is a template's.
        contrast
            Of which image; None: the reference.
        place
            Which grid, if not a template's; None: the image's own.
        """
        wanted = contrast or self.main.contrast
        where = place or (Place.NATIVE if template is None else Place.TEMPLATE)
        for item in self.derivatives:
            if (item.output, item.contrast, item.place) == (output, wanted, where) and (
                item.template == template
            ):
                return item
        return None


@dataclass(frozen=True, kw_only=True)
class IndividualPlan:
    """The mean of a subject's sessions, through which templates are reached."""

    subject: str
    contrast: Contrast
    entities: tuple[tuple[str, str], ...]  # that the references share
    members: tuple[SessionPlan, ...]
    registrations: tuple[RegistrationPlan, ...] = ()
    derivatives: tuple[Derivative, ...] = ()

    @property
    def name(self) -> str:
        """The words for people."""
        return f'sub-{self.subject}, all sessions'


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectPlan:
    """All sessions of one subject, and what could not be planned."""

    subject: str
    sessions: tuple[SessionPlan, ...]
    individual: IndividualPlan | None = None
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
