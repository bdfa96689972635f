"""What the user chose: enums and frozen settings, to and from TOML."""

from __future__ import annotations

import difflib
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path

from mriprep.contrasts import Contrast

AUTO = 'auto'  # what suits best
GIVEN = 'given'  # a mask that the user has
STRIPPED = 'stripped'  # the mask of an image that shows nothing but a brain
NONE = 'none'


class Switch(StrEnum):
    """On, off, or as suits the machine."""

    AUTO = 'auto'
    ON = 'on'
    OFF = 'off'


class Registration(StrEnum):
    """The family of transforms between a reference image and a template."""

    RIGID = 'rigid'
    AFFINE = 'affine'
    SYN = 'syn'


class Normalization(StrEnum):
    """How intensities are made comparable between images."""

    NONE = 'none'
    ZSCORE = 'zscore'


class Interpolation(StrEnum):
    """How intensities are interpolated, in the words of antsApplyTransforms."""

    LINEAR = 'Linear'
    BSPLINE = 'BSpline'
    LANCZOS = 'LanczosWindowedSinc'


class MaskSource(StrEnum):
    """Where the brain mask of a contrast other than the reference comes from."""

    OWN = 'own'  # found in each image; the reference's where the guard doubts it
    REFERENCE = 'reference'  # carried over from the reference


class AntsSource(StrEnum):
    """Which ANTs programs are run."""

    EMBEDDED = 'embedded'
    SYSTEM = 'system'


class SettingsError(ValueError):
    """A setting that can't be used; the message says which, why and what to do."""


# names that stand for the grid of the reference image itself, whatever its contrast is
NATIVE = ('T1w', 'anat')
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
        if found['name'] in NATIVE and modifiers:
            raise SettingsError(
                f'output space {text!r}: {found["name"]} is the grid of the image itself; '
                'it takes neither cohort nor res'
            )
        return cls(found['name'], modifiers.get('cohort'), modifiers.get('res'))

    @property
    def is_native(self) -> bool:
        """Whether this is the space of the reference image itself."""
        return self.name in NATIVE

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
class ImageSettings:
    """Which images are prepared, and how those of a session belong together."""

    contrasts: tuple[Contrast, ...] = tuple(Contrast)
    reference: str = AUTO  # contrast that the others are registered to; auto: the first of them
    merge_runs: bool = False  # average the runs of a contrast instead of using the best
    longitudinal: bool = False  # go to templates through the mean of a subject's sessions
    masks: MaskSource = MaskSource.OWN

    def __post_init__(self) -> None:
        if not self.contrasts:
            raise SettingsError('images.contrasts is empty; name at least one, such as T1w')
        if self.reference != AUTO:
            if self.reference not in tuple(Contrast):
                known = ', '.join((AUTO, *Contrast))
                raise SettingsError(
                    f'images.reference must be one of {known}, got {self.reference!r}'
                )
            if self.reference not in self.contrasts:
                raise SettingsError(
                    f'the reference contrast {self.reference} is not among the contrasts '
                    f'({", ".join(self.contrasts)}); add it to --contrasts'
                )

    @property
    def suffixes(self) -> tuple[str, ...]:
        """BIDS suffixes of the images that are looked for."""
        return tuple(dict.fromkeys(Contrast(contrast).suffix for contrast in self.contrasts))


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainSettings:
    """How the brain is found in an image.

    Extractors are named, not enumerated: other packages may add theirs.
    """

    extractor: str = AUTO  # 'auto', 'given', or a name from `mriprep.extractors.registry`
    second: str = AUTO  # asked when the first is not believed: 'auto', 'none' or a name
    mask_threshold: float = 0.5  # probability of brain above which a voxel is in the mask
    test_time_augmentation: Switch = Switch.AUTO  # average over mirrored images; auto: on a GPU
    force: bool = False  # go on with a mask that the guard refuses

    def __post_init__(self) -> None:
        if not self.extractor or not self.second:
            raise SettingsError('brain.extractor and brain.second must name an extractor')
        if self.second == GIVEN:
            raise SettingsError(
                "brain.second can't be 'given'; it is asked when a given mask is not believed"
            )
        if not 0 < self.mask_threshold < 1:
            raise SettingsError(
                f'brain.mask_threshold must be between 0 and 1, got {self.mask_threshold}'
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasSettings:
    """N4 bias field correction inside the brain mask."""

    fit_voxel_mm: float = 5.0  # distance of the samples that the field is fitted to
    iterations: tuple[int, ...] = (100, 100)  # at each level of the B-spline mesh
    convergence: float = 1e-7  # change of the field that ends a level
    # knots of the coarsest mesh; halved at each level: at 25 mm they follow tissue, which is worst
    # for T2w and FLAIR (benchmarks/README.md)
    spline_distance_mm: float = 80.0

    def __post_init__(self) -> None:
        if self.fit_voxel_mm <= 0:
            raise SettingsError(f'bias.fit_voxel_mm must be positive, got {self.fit_voxel_mm}')
        if not self.iterations or min(self.iterations) < 1:
            raise SettingsError(f'bias.iterations must be positive, got {self.iterations}')
        if self.spline_distance_mm <= 0 or self.convergence <= 0:
            raise SettingsError('bias.spline_distance_mm and bias.convergence must be positive')


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationSettings:
    """Registration of the reference brain to each template."""

    transform: Registration = Registration.AFFINE
    voxel_mm: float = 2.0  # size that both brains are brought to while they are registered
    interpolation: Interpolation = Interpolation.BSPLINE
    lesion_masking: bool = False  # keep a lesion that the user drew out of the metric

    def __post_init__(self) -> None:
        if self.voxel_mm <= 0:
            raise SettingsError(f'registration.voxel_mm must be positive, got {self.voxel_mm}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every scientific choice of a run: two runs with equal settings give the same result."""

    output_spaces: tuple[Space, ...] = (EMBEDDED_SPACE,)
    images: ImageSettings = field(default_factory=ImageSettings)
    brain: BrainSettings = field(default_factory=BrainSettings)
    bias: BiasSettings = field(default_factory=BiasSettings)
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)
    normalization: Normalization = Normalization.ZSCORE
    ants: AntsSource = AntsSource.EMBEDDED
    random_seed: int = 20261120

    def __post_init__(self) -> None:
        if not self.output_spaces:
            raise SettingsError('output_spaces is empty; name a template or T1w')
        if not 0 < self.random_seed < 2**31:
            raise SettingsError(f'random_seed must be positive, got {self.random_seed}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the machine may spend; never part of a result's identity."""

    n_procs: int = 1  # processors for the whole run
    n_threads: int = 1  # processors for one step
    mem_gb: float = 4.0  # memory for the whole run
    device: str = 'cpu'  # where networks run: 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'
    devices: tuple[str, ...] = ('cpu',)  # what `device` means on this machine, from `mriprep.gpus`
    weights_dir: Path | None = None  # None: where `mriprep fetch` puts weights

    @property
    def uses_gpu(self) -> bool:
        """Whether networks run on something else than the processors."""
        return self.devices[0] != 'cpu'

    def __post_init__(self) -> None:
        if self.n_procs < 1 or self.n_threads < 1:
            raise SettingsError(
                f'--nprocs and --omp-nthreads must be at least 1, '
                f'got {self.n_procs} and {self.n_threads}'
            )
        if self.mem_gb <= 0:
            raise SettingsError(f'--mem-gb must be positive, got {self.mem_gb}')


def merge(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Lay one nested mapping over another, neither of them changed.

    Examples
    --------
    >>> merge({'a': {'b': 1, 'c': 2}}, {'a': {'b': 3}})
    {'a': {'b': 3, 'c': 2}}
    """
    out = dict(base)
    for key, value in over.items():
        below = out.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merge(below, value)
        out[key] = value
    return out


def to_dict(settings: object) -> dict[str, object]:
    """Turn settings into plain values, as they stand in TOML and in node hashes."""
    out: dict[str, object] = {}
    for item in fields(settings):  # type: ignore[arg-type]
        out[item.name] = _to_plain(getattr(settings, item.name))
    return out


def to_toml(settings: Settings) -> str:
    """Write settings as TOML that `read_config` accepts back."""
    import tomli_w

    return tomli_w.dumps(to_dict(settings))


def from_dict(values: Mapping[str, object]) -> Settings:
    """Build settings from plain values; what is not named keeps its default.

    Raises
    ------
    SettingsError
        If a name is unknown, or a value has the wrong type or range.
    """
    return typing.cast(Settings, _from_plain(Settings, values, ''))


def read_config(path: Path) -> dict[str, object]:
    """Read a TOML config file into plain values and check them.

    Raises
    ------
    SettingsError
        If the file can't be read, is not TOML, or names what mriprep doesn't know.
    """
    try:
        values = tomllib.loads(path.read_text(encoding='utf-8'))
    except OSError as exc:
        raise SettingsError(
            f'{path}: config file can not be read ({exc.strerror}); check the path'
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(
            f'{path}: not a TOML file ({exc}); compare with the settings.toml of a run in logs/'
        ) from exc
    try:
        from_dict(values)
    except SettingsError as exc:
        raise SettingsError(f'{path}: {exc}') from exc
    return values


def _to_plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, (type, Space)):
        return to_dict(value)
    if isinstance(value, (StrEnum, Space)):
        return str(value)
    if isinstance(value, tuple):
        return [_to_plain(item) for item in value]
    return value


def _from_plain(kind: object, value: object, where: str) -> object:
    if typing.get_origin(kind) is tuple:
        item_kind = typing.get_args(kind)[0]
        if not isinstance(value, (list, tuple)):
            raise SettingsError(f'{where} must be a list, got {value!r}')
        return tuple(_from_plain(item_kind, item, where) for item in value)
    if kind is Space:
        return value if isinstance(value, Space) else Space.from_string(str(value))
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass_from_plain(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(value)  # type: ignore[arg-type]
        except ValueError:
            raise SettingsError(
                f'{where} must be one of {", ".join(kind)}, got {value!r}'
            ) from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    accepted = typing.cast('type | types.UnionType', kind)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        name = getattr(kind, '__name__', str(kind))
        raise SettingsError(f'{where} must be {name}, got {value!r}')
    return value


def _dataclass_from_plain(kind: type, value: object, where: str) -> object:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise SettingsError(f'{where} must be a table, got {value!r}')
    hints = typing.get_type_hints(kind)
    known = {item.name for item in fields(kind)}
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = (
                f'; did you mean {near[0]!r}?' if near else f'; known: {", ".join(sorted(known))}'
            )
            raise SettingsError(f'unknown setting {_join(where, key)!r}{hint}')
    return kind(
        **{key: _from_plain(hints[key], item, _join(where, key)) for key, item in value.items()}
    )


def _join(where: str, key: object) -> str:
    return f'{where}.{key}' if where else str(key)
