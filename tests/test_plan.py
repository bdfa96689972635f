"""Golden plans: what a data set holds, and what is decided about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from plans import (
    EXTRACTION,
    VERSIONS,
    facts,
    fake_template,
    image_record,
    make_inventory,
    make_plans,
    plan_one,
    settings_for,
)

from mriprep.given import GivenFile
from mriprep.issues import Severity
from mriprep.naming import Output
from mriprep.plan import plan_registrations, plan_run
from mriprep.records import read_images
from mriprep.settings import Normalization, Registration, to_dict
from mriprep.steps import StepName

SCENARIOS = sorted((Path(__file__).parent / 'scenarios').glob('*.yml'))


def plan_of_scenario(scenario):
    images = [
        image_record(**({'relative': image} if isinstance(image, str) else image))
        for image in scenario['images']
    ]
    return make_plans(images, settings_for(*scenario['spaces'], **scenario.get('settings', {})))


def issue_words(issues):
    return [f'{issue.severity.value}: {issue}' for issue in issues]


def shown(plan):
    """Write a plan as it stands in a scenario."""
    return {
        'subject': plan.subject,
        'issues': issue_words(plan.issues),
        'sessions': [
            {
                'session': session.session,
                'reference': session.reference.relative,
                'passed over': [image.relative for image in session.passed_over],
                'registrations': {
                    registration.label: [grid.resolution for grid in registration.grids]
                    for registration in session.registrations
                },
                'steps': [
                    f'{step.name}' + (f' to {step.space}' if step.space else '')
                    for step in session.steps
                ],
                'derivatives': [str(item.path) for item in session.derivatives],
                'issues': issue_words(session.issues),
            }
            for session in plan.sessions
        ],
    }


@pytest.mark.parametrize('path', SCENARIOS, ids=[path.stem for path in SCENARIOS])
def test_scenario(path):
    scenario = yaml.safe_load(path.read_text(encoding='utf-8'))
    told = [shown(plan) for plan in plan_of_scenario(scenario)]
    assert len(told) == len(scenario['plans'])
    for plan, expected in zip(told, scenario['plans'], strict=True):
        for key in ('subject', 'issues'):
            assert plan[key] == expected.get(key, [])
        assert len(plan['sessions']) == len(expected['sessions'])
        for session, golden in zip(plan['sessions'], expected['sessions'], strict=True):
            # what a scenario is not about it leaves out
            assert {key: session[key] for key in golden} == golden


@pytest.mark.parametrize('path', SCENARIOS, ids=[path.stem for path in SCENARIOS])
def test_no_two_files_of_a_run_share_a_path(path):
    plans = plan_of_scenario(yaml.safe_load(path.read_text(encoding='utf-8')))
    paths = Counter(
        item.path for plan in plans for session in plan.sessions for item in session.derivatives
    )
    assert [path for path, count in paths.items() if count > 1] == []


@pytest.mark.parametrize(
    'words',
    [
        ('MNI152NLin2009aSym', 'MNI152NLin2009aSym:res-1'),
        ('MNI152NLin2009aSym:res-1', 'MNI152NLin2009aSym:res-01'),
        ('T1w', 'T1w'),
    ],
)
def test_one_grid_under_two_names_is_written_once(words):
    paths = Counter(item.path for item in plan_one(*words).derivatives)
    assert max(paths.values()) == 1


def test_a_name_that_bids_does_not_know_costs_its_own_image_only(tmp_path, make_nifti):
    names = ['sub-01/anat/sub-01_colour-red_T1w.nii', 'sub-02/anat/sub-02_T1w.nii']
    for name in names:
        make_nifti(name, np.ones((3, 4, 5), np.uint8))
    first, second = make_plans(read_images(tmp_path, names), settings_for('T1w'))
    assert [session.subject for session in second.sessions] == ['02']
    assert not first.sessions
    assert any(issue.severity is Severity.ERROR for issue in first.issues)


def test_every_registration_serves_all_grids_of_its_template():
    words = ['A:res-1', 'B:cohort-2', 'A:res-2', 'A:res-native', 'B:cohort-1', 'A:res-1']
    found = plan_registrations(fake_template(word) for word in words)
    assert [(r.label, [g.resolution for g in r.grids]) for r in found] == [
        ('A', ['1', '2', None]),
        ('B+2', ['1']),
        ('B+1', ['1']),
    ]


def test_a_derivative_is_found_by_output_and_grid():
    plan = plan_one('A:res-1', 'A:res-2', 'T1w')
    for item in plan.derivatives:
        assert plan.derivative(item.output, item.template) is item
    assert plan.derivative(plan.derivatives[0].output, fake_template('B')) is None


def test_steps_carry_tool_version_and_every_parameter_that_was_chosen():
    settings = settings_for(
        'A',
        registration={'transform': 'syn', 'interpolation': 'Linear'},
        bias={'fit_voxel_mm': 3},
        brain={'mask_threshold': 0.4},
        random_seed=9,
    )
    (subject,) = make_plans([image_record('sub-01/anat/sub-01_T1w.nii.gz')], settings)
    steps = {step.name: step for step in subject.sessions[0].steps}
    assert list(steps) == list(StepName)
    assert steps[StepName.REGISTER].parameters['transform'] == Registration.SYN
    assert steps[StepName.REGISTER].parameters['random_seed'] == 9
    assert steps[StepName.RESAMPLE].parameters['images'] == 'Linear'
    assert dict(steps[StepName.BIAS].parameters) == to_dict(settings.bias)
    assert steps[StepName.EXTRACT].parameters == {
        'chosen': 'there is no GPU',
        'mask_threshold': 0.4,
        'second': 'template 2.5.0',
    }
    assert steps[StepName.EXTRACT].version == VERSIONS['deepbet']
    assert steps[StepName.NORMALIZE].version == VERSIONS['mriprep']
    assert {steps[name].version for name in (StepName.BIAS, StepName.REGISTER)} == {'2.5.0'}


def test_a_tool_without_a_version_is_said_to_be_unknown():
    settings = settings_for('T1w')
    images = [image_record('sub-01/anat/sub-01_T1w.nii.gz')]
    extraction = replace(EXTRACTION, version='unknown')
    (subject,) = plan_run(make_inventory(images), settings, {}, {}, extraction)
    assert {step.version for step in subject.sessions[0].steps} == {'unknown'}


def test_the_price_grows_with_voxels_and_templates():
    small, large = plan_one('A', zooms_mm=(1, 1, 1)), plan_one('A', 'B')
    assert large.estimate.seconds > small.estimate.seconds
    assert large.estimate.disk_mb > small.estimate.disk_mb > plan_one('T1w').estimate.disk_mb
    fine = plan_one('A:res-native', zooms_mm=(0.5, 0.5, 0.5))
    assert fine.estimate.disk_mb > plan_one('A:res-native').estimate.disk_mb


def test_the_price_knows_how_slow_an_extractor_is():
    image = [image_record('sub-01/anat/sub-01_T1w.nii.gz')]

    def seconds(**changes):
        slow = replace(EXTRACTION, first=facts('slow', seconds=300, gpu_seconds=5), **changes)
        (subject,) = plan_run(make_inventory(image), settings_for('T1w'), {}, {}, slow)
        return subject.sessions[0].estimate.seconds

    assert seconds() - seconds(on_gpu=True) == pytest.approx(295)


@pytest.mark.parametrize('normalization', Normalization)
def test_normalisation_off_leaves_no_trace(normalization):
    plan = plan_one('A', 'T1w', normalization=normalization.value)
    zscores = [item for item in plan.derivatives if 'zscore' in item.path.name]
    named = [step for step in plan.steps if step.name is StepName.NORMALIZE]
    assert (len(zscores), len(named)) == ((2, 1) if normalization == 'zscore' else (0, 0))


MASK = GivenFile(path=Path('/home/jo/m.nii.gz'), dataset='hand', relative='sub-01/m.nii.gz')


def one_session(settings, **more):
    """Plan a subject with one image."""
    image = image_record('sub-01/anat/sub-01_T1w.nii.gz')
    (subject,) = make_plans([image], settings, **more)
    return subject


def test_a_given_mask_is_used_where_no_extractor_is_asked_for():
    masks = {'sub-01/anat/sub-01_T1w.nii.gz': MASK}
    used = one_session(settings_for('T1w'), given_masks=masks).sessions[0]
    assert used.given_mask == MASK
    assert used.extraction.first.name == 'given'
    # what would have found the brain is asked when the mask is not believed
    assert used.extraction.second.name == 'deepbet'
    assert Output.BRAIN_PROBABILITY not in {item.output for item in used.derivatives}
    named = one_session(settings_for('T1w', brain={'extractor': 'deepbet'}), given_masks=masks)
    assert named.sessions[0].given_mask is None


def test_a_mask_that_is_asked_for_and_not_there_costs_its_session_alone():
    images = [image_record(f'sub-0{n}/anat/sub-0{n}_T1w.nii.gz') for n in (1, 2)]
    settings = settings_for('T1w', brain={'extractor': 'given'})
    first, second = make_plans(images, settings, given_masks={images[1].relative: MASK})
    assert not first.sessions
    assert 'no brain mask is given' in first.issues[0].problem
    assert second.sessions[0].given_mask == MASK


@pytest.mark.parametrize(('age', 'told'), [('7', True), ('40', False), ('n/a', False)])
def test_an_extractor_that_was_made_for_other_ages_is_told(age, told):
    plan = one_session(settings_for('T1w'), participants={'01': {'age': age}}).sessions[0]
    problems = [issue.problem for issue in plan.issues]
    assert any('made for ages' in problem for problem in problems) is told
    # an age belongs to a person: it is not repeated
    assert not any(age in problem.split() for problem in problems)
