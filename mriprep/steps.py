"""The steps of a session: which tool does each, and with what parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mriprep.extractors.choice import Extraction
from mriprep.registration import metric_words
from mriprep.settings import GIVEN, BiasSettings, BrainSettings, Normalization, Settings
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
class RegistrationPlan:
    """One registration, and the grids on which its result is written."""

    target: Template
    grids: tuple[Template, ...]

    @property
    def label(self) -> str:
        """Value of the entity ``space-``."""
        return self.target.space.label


def steps_of(
    settings: Settings,
    registrations: Iterable[RegistrationPlan],
    versions: Mapping[str, str],
    extraction: Extraction,
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
            tool=extraction.first.name,
            version=extraction.version,
            parameters=extraction_parameters(settings.brain, extraction),
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


def extraction_parameters(brain: BrainSettings, extraction: Extraction) -> dict[str, object]:
    """Name the parameters of the brain extraction for people and sidecars."""
    out: dict[str, object] = {'chosen': extraction.reason}
    if extraction.first.name != GIVEN:
        out['mask_threshold'] = brain.mask_threshold
    if extraction.first.augments:
        out['test_time_augmentation'] = extraction.test_time_augmentation
    if extraction.second is not None:
        version = f' {extraction.second_version}' if extraction.second_version else ''
        out['second'] = f'{extraction.second.name}{version}'
    return out
