"""Steps: which tool does what with which parameters, and in which order they are told."""

from __future__ import annotations

import random

import pytest
from plans import EXTRACTION, VERSIONS, fake_template, full_session, settings_for

from mriprep.plan import plan_registrations
from mriprep.steps import ORDER, REFERENCE, Step, StepMaker, StepName, in_order

REGISTRATIONS = plan_registrations(fake_template(word) for word in ('A', 'B:cohort-2'))


def step(name, space=None, **parameters):
    return Step(name=name, tool='t', version='1', parameters=parameters, space=space)


def maker(**values):
    return StepMaker(settings=settings_for('A', **values), versions=VERSIONS)


def names(steps):
    return [f'{one.name}' + (f' {one.space}' if one.space else '') for one in steps]


def test_each_step_once_and_in_order():
    steps = [
        step(StepName.NORMALIZE),
        step(StepName.BIAS),
        step(StepName.CONFORM),
        step(StepName.BIAS),
        step(StepName.MERGE),
        step(StepName.COREGISTER),
        step(StepName.EXTRACT),
        step(StepName.LONGITUDINAL),
    ]
    found = in_order(steps)
    assert [one.name for one in found] == [
        StepName.CONFORM,
        StepName.MERGE,
        StepName.EXTRACT,
        StepName.COREGISTER,
        StepName.BIAS,
        StepName.LONGITUDINAL,
        StepName.NORMALIZE,
    ]


def test_steps_that_differ_in_a_parameter_are_two():
    one, other = (step(StepName.EXTRACT, chosen=words) for words in ('given', 'found'))
    assert in_order([one, other, one]) == (one, other)


def test_templates_keep_their_order_and_their_pairs():
    shared = [
        step(StepName.RESAMPLE, REFERENCE),
        step(StepName.REGISTER, 'B'),
        step(StepName.RESAMPLE, 'B'),
        step(StepName.REGISTER, 'A'),
        step(StepName.RESAMPLE, 'A'),
    ]
    told = in_order([step(StepName.NORMALIZE), *shared, step(StepName.CONFORM), *shared])
    assert names(told) == [
        'conform',
        'resample reference',
        'register B',
        'resample B',
        'register A',
        'resample A',
        'normalize',
    ]


def test_the_order_of_own_steps_does_not_depend_on_that_of_images():
    (session,) = full_session().sessions
    expected = [ORDER.index(one.name) for one in session.steps if one.space is None]
    assert expected == sorted(expected)
    shuffled = list(session.steps)
    random.Random(1).shuffle(shuffled)
    found = [one.name for one in in_order(shuffled) if one.space is None]
    assert [ORDER.index(name) for name in found] == expected


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({}, ['conform', 'extract', 'bias']),
        ({'averaged': 2}, ['conform', 'merge', 'extract', 'bias']),
        ({'other': True}, ['conform', 'extract', 'coregister', 'bias']),
    ],
)
def test_steps_of_an_image(options, expected):
    assert names(maker().native(EXTRACTION, **options)) == expected


def by_name(steps):
    return {one.name: one for one in steps}


def test_what_the_user_has_is_given():
    steps = by_name(maker().native(EXTRACTION, other=True, corrected=True, registered=True))
    for name in (StepName.COREGISTER, StepName.BIAS):
        assert (steps[name].tool, steps[name].version) == ('given', '')
    shared = maker().shared(REGISTRATIONS, given=['B+2'])
    tools = {one.space: one.tool for one in shared if one.name is StepName.REGISTER}
    assert tools == {'A': 'antsRegistration', 'B+2': 'given'}


def test_runs_and_sessions_are_counted():
    merged = by_name(maker().native(EXTRACTION, averaged=3))[StepName.MERGE]
    assert merged.parameters['runs'] == 3
    assert merged.tool == 'mriprep'
    assert merged.version == VERSIONS['mriprep']
    mean = by_name(maker().shared(REGISTRATIONS, sessions=2))[StepName.LONGITUDINAL]
    assert mean.parameters['sessions'] == 2


def test_a_mask_of_the_reference_is_no_extraction():
    found = by_name(maker().native(None, other=True))[StepName.EXTRACT]
    assert found.tool == 'mriprep'
    assert found.parameters == {'chosen': 'the mask of the reference'}


@pytest.mark.parametrize(
    ('extraction', 'words'),
    [
        (EXTRACTION.given(), 'the mask is given'),
        (EXTRACTION.of_stripped(), 'the image is stripped already'),
    ],
)
def test_a_mask_from_elsewhere_has_no_threshold(extraction, words):
    found = by_name(maker().native(extraction))[StepName.EXTRACT]
    assert found.tool == extraction.first.name
    assert found.parameters == {'chosen': words, 'second': 'deepbet 1.0.2'}


def test_other_contrasts_go_to_the_reference_first():
    assert names(maker().shared(REGISTRATIONS, others=True, sessions=2)) == [
        'resample reference',
        'longitudinal',
        'register A',
        'resample A',
        'register B+2',
        'resample B+2',
        'normalize',
    ]
    assert names(maker().shared([], others=False)) == ['normalize']
    assert names(maker(normalization='none').shared([])) == []


@pytest.mark.parametrize('lesion', [True, False])
@pytest.mark.parametrize('masking', [True, False])
def test_a_lesion_is_kept_out_where_there_is_one_and_it_is_asked_for(lesion, masking):
    steps = maker(registration={'lesion_masking': masking}).shared(REGISTRATIONS, lesion=lesion)
    told = {one.parameters.get('lesion') for one in steps if one.name is StepName.REGISTER}
    assert told == ({'kept out'} if lesion and masking else {None})
