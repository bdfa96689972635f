"""What the user chose: enums and frozen settings, to and from TOML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum


class Extractor(StrEnum):
    """How the brain is found."""

    DEEPBET = 'deepbet'


class Registration(StrEnum):
    """The family of transforms between a reference image and a template."""

    RIGID = 'rigid'
    AFFINE = 'affine'
    SYN = 'syn'


class Normalization(StrEnum):
    """How intensities are made comparable between images."""

    NONE = 'none'
    ZSCORE = 'zscore'


class AntsSource(StrEnum):
    """Which ANTs programs are run."""

    EMBEDDED = 'embedded'
    SYSTEM = 'system'


class SettingsError(ValueError):
    """A setting that can't be used; the message says which, why and what to do."""


_SPACE = re.compile(r'(?P<name>[A-Za-z0-9]+)(?P<modifiers>(:[a-z]+-[A-Za-z0-9.]+)*)')


@dataclass(frozen=True, slots=True, order=True)
class Space:
    """An output space, in the grammar of niworkflows: ``NAME[:cohort-N][:res-N|:res-native]``.

    Examples
    --------
    >>> Space.from_string('MNIPediatricAsym:cohort-3:res-2').label
    'MNIPediatricAsym+3'
    >>> str(Space.from_string('MNI152NLin2009cAsym:res-native'))
    'MNI152NLin2009cAsym:res-native'
    >>> Space.from_string('T1w').is_native
    True
    """

    name: str
    cohort: str | None = None
    resolution: str | None = None  # TemplateFlow's index of the grid, or 'native'

    @classmethod
    def from_string(cls, text: str) -> Space:
        """Read one word of ``--output-spaces``; raise `SettingsError` when it is malformed."""
        found = _SPACE.fullmatch(text)
        if found is None:
            raise SettingsError(
                f'output space {text!r} is malformed; '
                'write NAME[:cohort-N][:res-N|:res-native], for example MNI152NLin2009cAsym:res-2'
            )
        modifiers: dict[str, str] = {}
        for word in found['modifiers'].split(':')[1:]:
            key, _, value = word.partition('-')
            if key not in ('cohort', 'res') or key in modifiers:
                raise SettingsError(
                    f'output space {text!r}: {word!r} is not understood; '
                    'only one cohort-N and one res-N or res-native may follow the name'
                )
            modifiers[key] = value
        return cls(found['name'], modifiers.get('cohort'), modifiers.get('res'))

    @property
    def is_native(self) -> bool:
        """Whether this is the space of the reference image itself."""
        return self.name == 'T1w'

    @property
    def label(self) -> str:
        """Value of the BIDS entity ``space-``."""
        return self.name if self.cohort is None else f'{self.name}+{self.cohort}'

    def __str__(self) -> str:
        cohort = f':cohort-{self.cohort}' if self.cohort else ''
        resolution = f':res-{self.resolution}' if self.resolution else ''
        return f'{self.name}{cohort}{resolution}'


EMBEDDED_SPACE = Space('MNI152NLin2009aSym', None, '1')


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainSettings:
    """How the brain is found in the reference image."""

    extractor: Extractor = Extractor.DEEPBET
    mask_threshold: float = 0.5  # probability of brain above which a voxel is in the mask

    def __post_init__(self) -> None:
        if not 0 < self.mask_threshold < 1:
            raise SettingsError(
                f'brain.mask_threshold must be between 0 and 1, got {self.mask_threshold}'
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasSettings:
    """N4 bias field correction inside the brain mask."""

    shrink_factor: int = 4  # downsampling while the field is fitted
    iterations: tuple[int, ...] = (50, 50, 50, 50)  # at each level of the B-spline mesh
    convergence: float = 1e-4  # change of the field that ends a level
    spline_distance_mm: float = 150.0  # knots of the coarsest mesh

    def __post_init__(self) -> None:
        if self.shrink_factor < 1:
            raise SettingsError(f'bias.shrink_factor must be at least 1, got {self.shrink_factor}')
        if not self.iterations or min(self.iterations) < 1:
            raise SettingsError(f'bias.iterations must be positive, got {self.iterations}')
        if self.spline_distance_mm <= 0 or self.convergence <= 0:
            raise SettingsError('bias.spline_distance_mm and bias.convergence must be positive')


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationSettings:
    """Registration of the reference brain to each template."""

    transform: Registration = Registration.AFFINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every scientific choice of a run: two runs with equal settings give the same result."""

    output_spaces: tuple[Space, ...] = (EMBEDDED_SPACE,)
    brain: BrainSettings = field(default_factory=BrainSettings)
    bias: BiasSettings = field(default_factory=BiasSettings)
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)
    normalization: Normalization = Normalization.ZSCORE
    ants: AntsSource = AntsSource.EMBEDDED
    random_seed: int = 20261120


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the machine may spend; never part of a result's identity."""

    n_procs: int = 1  # processors for the whole run
    n_threads: int = 1  # processors for one step
    mem_gb: float = 4.0  # memory for the whole run
