"""Stages of antsRegistration for each family of transforms; measured in benchmarks/README.md.

Shrink factors and sigmas count in the voxels that brains are brought to before
(`RegistrationSettings.voxel_mm`, 2 mm): the program works on the moving image at its full
resolution whatever the shrink factor is, and finer voxels cost time without a gain.
"""

from __future__ import annotations

from dataclasses import dataclass

from mriprep.settings import Registration


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of antsRegistration."""

    transform: str
    parameters: tuple[float, ...]
    metric: str
    bins_or_radius: int
    sampling: str | None  # None: every voxel
    sampling_rate: float | None
    iterations: tuple[int, ...]
    shrink_factors: tuple[int, ...]
    smoothing_sigmas: tuple[float, ...]  # voxels
    convergence: float = 1e-6
    window: int = 10


_RIGID = Stage(
    transform='Rigid',
    parameters=(0.1,),
    metric='MI',
    bins_or_radius=32,
    sampling='Regular',
    sampling_rate=0.25,
    iterations=(50, 25),
    shrink_factors=(4, 2),
    smoothing_sigmas=(2, 1),
)
_AFFINE = Stage(
    transform='Affine',
    parameters=(0.1,),
    metric='MI',
    bins_or_radius=32,
    sampling='Regular',
    sampling_rate=0.1,
    iterations=(100, 30),
    shrink_factors=(2, 1),
    smoothing_sigmas=(1, 0.5),
)
_SYN = Stage(
    transform='SyN',
    parameters=(0.1, 3.0, 0.0),
    metric='CC',
    bins_or_radius=2,
    sampling=None,
    sampling_rate=None,
    iterations=(100, 50, 10),
    shrink_factors=(4, 2, 1),
    smoothing_sigmas=(1.5, 1, 0.5),
)
STAGES = {
    # the rigid transform is taken from the affine one, see `mriprep.interfaces.grids.ClosestRigid`
    Registration.RIGID: (_RIGID, _AFFINE),
    Registration.AFFINE: (_RIGID, _AFFINE),
    Registration.SYN: (_RIGID, _AFFINE, _SYN),
}


METRICS = {'MI': 'mutual information', 'CC': 'cross-correlation'}


def metric_words(transform: Registration) -> str:
    """Name the metrics of a registration, in the order of its stages.

    >>> metric_words(Registration.SYN)
    'mutual information, then cross-correlation'
    """
    names = dict.fromkeys(METRICS[stage.metric] for stage in STAGES[transform])
    return ', then '.join(names)


def threads(transform: Registration, available: int) -> int:
    """How many threads a registration is given.

    With several, the metric's sums depend on which thread comes first, and two runs differ in
    their last digits. A linear registration is quick enough on one.
    """
    return available if transform is Registration.SYN else 1


def stages(transform: Registration) -> dict[str, object]:
    """Write the stages as inputs of `nipype.interfaces.ants.Registration`.

    The fixed image is the template's brain and the moving image the subject's; both are zero
    outside.
    """
    chosen = STAGES[transform]
    return {
        'initial_moving_transform_com': 1,  # centres of mass
        'transforms': [stage.transform for stage in chosen],
        'transform_parameters': [stage.parameters for stage in chosen],
        'metric': [stage.metric for stage in chosen],
        'metric_weight': [1.0] * len(chosen),
        'radius_or_number_of_bins': [stage.bins_or_radius for stage in chosen],
        'sampling_strategy': [stage.sampling for stage in chosen],
        'sampling_percentage': [stage.sampling_rate for stage in chosen],
        'number_of_iterations': [list(stage.iterations) for stage in chosen],
        'shrink_factors': [list(stage.shrink_factors) for stage in chosen],
        'smoothing_sigmas': [list(stage.smoothing_sigmas) for stage in chosen],
        'sigma_units': ['vox'] * len(chosen),
        'convergence_threshold': [stage.convergence for stage in chosen],
        'convergence_window_size': [stage.window for stage in chosen],
        'use_histogram_matching': [False] * len(chosen),
        'winsorize_lower_quantile': 0.005,
        'winsorize_upper_quantile': 0.995,
    }
