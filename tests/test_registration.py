"""Stages of registration: as many of each parameter as Nipype's interface wants."""

from __future__ import annotations

import re

import numpy as np
import pytest
from nipype.interfaces.ants import Registration as AntsRegistration

from mriprep.registration import STAGES, stages
from mriprep.settings import Registration

PER_STAGE = [
    'transforms', 'transform_parameters', 'metric', 'metric_weight', 'radius_or_number_of_bins',
    'sampling_strategy', 'sampling_percentage', 'number_of_iterations', 'shrink_factors',
    'smoothing_sigmas', 'sigma_units', 'convergence_threshold', 'convergence_window_size',
]  # fmt: skip


@pytest.mark.parametrize(
    ('transform', 'names'),
    [
        (Registration.RIGID, {'Rigid', 'Affine'}),
        (Registration.AFFINE, {'Rigid', 'Affine'}),
        (Registration.SYN, {'Rigid', 'Affine', 'SyN'}),
    ],
)
def test_no_more_freedom_than_was_asked_for(transform, names):
    inputs = stages(transform)
    assert set(inputs['transforms']) == names
    assert {len(inputs[key]) for key in PER_STAGE} == {len(STAGES[transform])}


@pytest.mark.parametrize('transform', Registration)
def test_every_level_has_a_shrink_factor_and_a_sigma(transform):
    for stage in STAGES[transform]:
        levels = len(stage.iterations)
        assert levels == len(stage.shrink_factors) == len(stage.smoothing_sigmas)
        assert list(stage.shrink_factors) == sorted(stage.shrink_factors, reverse=True)


@pytest.mark.parametrize('transform', Registration)
def test_antsregistration_gets_each_stage_with_its_own_words(transform, make_nifti):
    image = make_nifti('brain.nii', np.ones((3, 3, 3)))
    line = AntsRegistration(fixed_image=image, moving_image=image, **stages(transform)).cmdline
    given = re.findall(r'--transform (\w+)\[', line)
    assert given == [stage.transform for stage in STAGES[transform]]
    metrics = re.findall(r'--metric (?:MI|CC)\[([^]]*)\]', line)
    sampled = [metric.split(',')[4:] for metric in metrics]
    assert [(words[0].strip() if words else None) for words in sampled] == [
        stage.sampling for stage in STAGES[transform]
    ]
