"""Which extractors are used: a pure decision from what is asked for and what is at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mriprep.extractors.base import ExtractorError, Facts
from mriprep.settings import AUTO, GIVEN, NONE, STRIPPED, BrainSettings, Switch

DEFAULT = 'deepbet'
PREFERRED = 'hd-bet'  # where there is a GPU
# who is asked when the first is not believed, the most robust first; the last needs no weights
SECOND = ('synthstrip', 'hd-bet', 'deepbet', 'template')

GIVEN_FACTS = Facts(
    name=GIVEN,
    title='given mask',
    package='mriprep',
    citations=(),
    licence='',
    contrasts=('T1w', 'T2w', 'FLAIR', 'PDw'),
    ages_years=(0, 120),
    memory_gb=0.5,
    gpu_memory_gb=None,
    seconds=0,
)
STRIPPED_FACTS = replace(GIVEN_FACTS, name=STRIPPED, title='the image itself')


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An extractor that is installed."""

    facts: Facts
    version: str
    problem: str | None  # why it can't run here, and what to do; None when it can


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """How the brain is found: decided before the run."""

    first: Facts
    version: str  # of the first
    second: Facts | None = None
    second_version: str = ''
    reason: str = ''  # why these, in words
    test_time_augmentation: bool = False
    on_gpu: bool = False  # whether the first runs on one

    @property
    def seconds(self) -> float:
        """Rough time of the first extractor for a head of 1 mm."""
        return self.first.gpu_seconds if self.on_gpu else self.first.seconds

    @property
    def memory_gb(self) -> float:
        """Main memory that a node must count with."""
        return max(self.first.memory_gb, self.second.memory_gb if self.second else 0)

    @property
    def gpu_memory_gb(self) -> float:
        """Memory that a GPU must have for the first extractor."""
        return self.first.gpu_memory_gb or 0

    @property
    def can_use_gpu(self) -> bool:
        """Whether an extractor can run on a GPU."""
        asked = (self.first, *([self.second] if self.second else []))
        return any(facts.gpu_memory_gb is not None for facts in asked)

    def given(self) -> Extraction:
        """The same for an image whose mask is given."""
        return self._behind(GIVEN_FACTS, 'the mask is given')

    def of_stripped(self) -> Extraction:
        """The same for an image that is stripped already."""
        return self._behind(STRIPPED_FACTS, 'the image is stripped already')

    def _behind(self, facts: Facts, reason: str) -> Extraction:
        """Ask `first` only when the mask from elsewhere is not believed."""
        mine = self.first.name not in (GIVEN, STRIPPED)
        return Extraction(
            first=facts,
            version='',
            second=self.first if mine else self.second,
            second_version=self.version if mine else self.second_version,
            reason=reason,
        )


def choose(
    settings: BrainSettings,
    candidates: Mapping[str, Candidate],
    devices: Sequence[str],
    mem_gb: float = math.inf,
) -> Extraction:
    """Choose the extractor, and the one that is asked when the first is not believed.

    Parameters
    ----------
    settings
        What the user asks for.
    candidates
        Every extractor that is installed.
    devices
        Where networks may run; ``('cpu',)`` without a GPU.
    mem_gb
        Main memory of the run; a second extractor that needs more is not taken unasked.

    Raises
    ------
    ExtractorError
        If what is asked for is unknown or can't run here.
    """
    gpu = devices[0] != 'cpu'
    if settings.extractor == GIVEN:
        second = _second(settings, candidates, GIVEN, mem_gb)
        return Extraction(
            first=GIVEN_FACTS,
            version='',
            second=second.facts if second else None,
            second_version=second.version if second else '',
            reason='asked for',
        )
    if settings.extractor == AUTO:
        name, reason = _automatic(candidates, gpu)
    else:
        name, reason = settings.extractor, 'asked for'
    first = _usable(name, candidates)
    second = _second(settings, candidates, name, mem_gb)
    augment = settings.test_time_augmentation
    return Extraction(
        first=first.facts,
        version=first.version,
        second=second.facts if second else None,
        second_version=second.version if second else '',
        reason=reason,
        test_time_augmentation=first.facts.augments
        and (augment is Switch.ON or (augment is Switch.AUTO and gpu)),
        on_gpu=gpu and first.facts.gpu_memory_gb is not None,
    )


def _automatic(candidates: Mapping[str, Candidate], gpu: bool) -> tuple[str, str]:
    """Name and reason of what suits this machine."""
    if not gpu:
        return DEFAULT, 'there is no GPU'
    preferred = candidates.get(PREFERRED)
    if preferred is None:
        return DEFAULT, f'there is a GPU, but {PREFERRED} is not installed'
    if preferred.problem is not None:
        return DEFAULT, f'there is a GPU, but {preferred.problem}'
    return PREFERRED, 'a GPU and its weights are at hand'


def _usable(name: str, candidates: Mapping[str, Candidate]) -> Candidate:
    if name not in candidates:
        known = ', '.join((AUTO, GIVEN, *sorted(candidates)))
        raise ExtractorError(f'--extractor {name}: not installed; choose one of {known}')
    found = candidates[name]
    if found.problem is not None:
        raise ExtractorError(f'--extractor {name}: {found.problem}')
    return found


def _second(
    settings: BrainSettings, candidates: Mapping[str, Candidate], first: str, mem_gb: float
) -> Candidate | None:
    if settings.second == NONE or settings.second == first:
        return None
    if settings.second != AUTO:
        return _usable(settings.second, candidates)
    for name in SECOND:
        found = candidates.get(name)
        if found is None or name == first or found.problem is not None:
            continue
        if found.facts.memory_gb <= mem_gb:
            return found
    return None
