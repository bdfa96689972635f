"""The steps of a session: which tool does each, and with what parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mriprep.extractors.choice import Extraction
from mriprep.registration import metric_words
from mriprep.settings import (
    GIVEN,
    STRIPPED,
    BiasSettings,
    BrainSettings,
    Normalization,
    Settings,
)
from mriprep.templates import Template


class StepName(StrEnum):
    """The steps, in their order."""

    CONFORM = 'conform'
    MERGE = 'merge'
    EXTRACT = 'extract'
    COREGISTER = 'coregister'
    BIAS = 'bias'
    LONGITUDINAL = 'longitudinal'
    REGISTER = 'register'
    RESAMPLE = 'resample'
    NORMALIZE = 'normalize'


ORDER = tuple(StepName)
REFERENCE = 'reference'  # what stands for a template in steps that lead to the reference's grid


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


@dataclass(frozen=True, kw_only=True)
class StepMaker:
    """Writes steps down, each with its tool and parameters."""

    settings: Settings
    versions: Mapping[str, str]

    def _version(self, tool: str) -> str:
        return self.versions.get(tool, 'unknown')

    def native(
        self,
        extraction: Extraction | None,
        *,
        averaged: int = 0,
        other: bool = False,
        corrected: bool = False,
        registered: bool = False,
    ) -> tuple[Step, ...]:
        """Steps of one image on its own grid.

        Parameters
        ----------
        extraction
            How its brain is found; None: it is the reference's.
        averaged
            How many runs are averaged; 0 for one alone.
        other
            Whether it is another contrast than the reference.
        corrected, registered
            Whether the corrected image and the transform to the reference are given.
        """
        steps = [
            Step(
                name=StepName.CONFORM,
                tool='nibabel',
                version=self._version('nibabel'),
                parameters={'axes': 'RAS', 'interpolation': 'none'},
            )
        ]
        if averaged:
            steps.append(self._own(StepName.MERGE, {'runs': averaged, **HALFWAY_PARAMETERS}))
        if extraction is None:
            steps.append(self._own(StepName.EXTRACT, {'chosen': 'the mask of the reference'}))
        else:
            steps.append(
                Step(
                    name=StepName.EXTRACT,
                    tool=extraction.first.name,
                    version=extraction.version,
                    parameters=extraction_parameters(self.settings.brain, extraction),
                )
            )
        if other:
            steps.append(
                _given(StepName.COREGISTER)
                if registered
                else self._own(StepName.COREGISTER, COREGISTRATION_PARAMETERS)
            )
        steps.append(
            _given(StepName.BIAS)
            if corrected
            else Step(
                name=StepName.BIAS,
                tool='N4BiasFieldCorrection',
                version=self._version('ANTs'),
                parameters=bias_parameters(self.settings.bias),
            )
        )
        return tuple(steps)

    def shared(
        self,
        registrations: Iterable[RegistrationPlan],
        *,
        given: Iterable[str] = (),
        sessions: int = 0,
        others: bool = False,
        lesion: bool = False,
    ) -> tuple[Step, ...]:
        """Steps that lead to templates, and those at the end.

        Parameters
        ----------
        registrations
            Templates and their grids.
        given
            Labels of the templates to which transforms are given.
        sessions
            How many sessions are averaged on the way; 0: none.
        others
            Whether there are other contrasts, which go to the reference's grid too.
        lesion
            Whether a lesion is drawn, which may be kept out of the metric.
        """
        settings, ants = self.settings, self._version('ANTs')
        registration, steps, given = settings.registration, [], set(given)
        masking = {'lesion': 'kept out'} if lesion and registration.lesion_masking else {}
        if others:
            steps.append(self._onto_reference())
        if sessions:
            steps.append(
                self._own(StepName.LONGITUDINAL, {'sessions': sessions, **HALFWAY_PARAMETERS})
            )
        for target in registrations:
            made = Step(
                name=StepName.REGISTER,
                tool='antsRegistration',
                version=ants,
                parameters={
                    'transform': registration.transform.value,
                    'voxel_mm': registration.voxel_mm,
                    'metric': metric_words(registration.transform),
                    'random_seed': settings.random_seed,
                    **masking,
                },
                space=target.label,
            )
            steps += [
                _given(StepName.REGISTER, target.label) if target.label in given else made,
                Step(
                    name=StepName.RESAMPLE,
                    tool='antsApplyTransforms',
                    version=ants,
                    parameters={
                        'grids': ', '.join(str(grid.space) for grid in target.grids),
                        'images': registration.interpolation.value,
                        'masks': 'GenericLabel',
                    },
                    space=target.label,
                ),
            ]
        if settings.normalization is not Normalization.NONE:
            steps.append(
                self._own(
                    StepName.NORMALIZE,
                    {'method': settings.normalization.value, 'statistics': 'brain mask'},
                )
            )
        return tuple(steps)

    def _onto_reference(self) -> Step:
        """The step that brings another contrast onto the reference's grid."""
        return Step(
            name=StepName.RESAMPLE,
            tool='antsApplyTransforms',
            version=self._version('ANTs'),
            parameters={
                'grids': 'the reference',
                'images': self.settings.registration.interpolation.value,
            },
            space=REFERENCE,
        )

    def _own(self, name: StepName, parameters: Mapping[str, object]) -> Step:
        return Step(
            name=name, tool='mriprep', version=self._version('mriprep'), parameters=parameters
        )


COREGISTRATION_PARAMETERS: Mapping[str, object] = {
    'transform': 'rigid',
    'metric': 'mutual information',
}
HALFWAY_PARAMETERS: Mapping[str, object] = {
    'transform': 'rigid, halfway',
    'average': 'robust',
}


def _given(name: StepName, space: str | None = None) -> Step:
    return Step(name=name, tool=GIVEN, version='', parameters={}, space=space)


def in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Each step once, in the order of `StepName`; templates keep theirs."""
    unique: list[Step] = []
    for step in steps:
        if step not in unique:
            unique.append(step)
    shared = {StepName.REGISTER, StepName.RESAMPLE}
    return tuple(
        sorted(
            unique,
            key=lambda step: (
                min(map(ORDER.index, shared)) if step.name in shared else ORDER.index(step.name)
            ),
        )
    )


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
    if extraction.first.name not in (GIVEN, STRIPPED):
        out['mask_threshold'] = brain.mask_threshold
    if extraction.first.augments:
        out['test_time_augmentation'] = extraction.test_time_augmentation
    if extraction.second is not None:
        version = f' {extraction.second_version}' if extraction.second_version else ''
        out['second'] = f'{extraction.second.name}{version}'
    return out
