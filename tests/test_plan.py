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
    full_session,
    given_file,
    image_record,
    make_inventory,
    make_plans,
    plan_one,
    plan_session,
    scans,
    settings_for,
)

from mriprep.contrasts import Contrast
from mriprep.given import Given
from mriprep.issues import Severity
from mriprep.naming import Output
from mriprep.plan import Place, plan_registrations, plan_run
from mriprep.records import read_images
from mriprep.settings import Normalization, Registration, to_dict
from mriprep.steps import StepName

SCENARIOS = sorted((Path(__file__).parent / 'scenarios').glob('*.yml'))


def plan_of_scenario(scenario):
    images = [
        image_record(**({'relative': image} if isinstance(image, str) else image))
        for image in scenario['images']
    ]
    given = {
        kind: {image: given_file(name) for image, name in files.items()}
        for kind, files in scenario.get('given', {}).items()
    }
    settings = settings_for(*scenario['spaces'], **scenario.get('settings', {}))
    return make_plans(images, settings, given=Given(**given))


def issue_words(issues):
    return [f'{issue.severity.value}: {issue}' for issue in issues]


def step_words(steps):
    return [f'{step.name}' + (f' to {step.space}' if step.space else '') for step in steps]


def shown(plan):
    """Write a plan as it stands in a scenario."""
    individual = plan.individual
    return {
        'subject': plan.subject,
        'issues': issue_words(plan.issues),
        'individual': individual
        and {
            'contrast': individual.contrast.value,
            'members': [session.session for session in individual.members],
            'derivatives': [str(item.path) for item in individual.derivatives],
        },
        'sessions': [shown_session(session) for session in plan.sessions],
    }


def shown_session(session):
    choices = [image.choice for image in session.images]
    return {
        'session': session.session,
        'reference': session.reference.relative,
        'contrasts': [choice.contrast.value for choice in choices],
        'averaged': [image.relative for choice in choices for image in choice.averaged],
        'left out': [image.relative for choice in choices for image in choice.left_out],
        'lost': issue_words(session.lost),
        'registrations': {
            registration.label: [grid.resolution for grid in registration.grids]
            for registration in session.registrations
        },
        'steps': step_words(session.steps),
        'derivatives': [str(item.path) for item in session.derivatives],
        'issues': issue_words(session.issues),
    }


@pytest.mark.parametrize('path', SCENARIOS, ids=[path.stem for path in SCENARIOS])
def test_scenario(path):
    scenario = yaml.safe_load(path.read_text(encoding='utf-8'))
    told = [shown(plan) for plan in plan_of_scenario(scenario)]
    assert len(told) == len(scenario['plans'])
    for plan, expected in zip(told, scenario['plans'], strict=True):
        assert plan['subject'] == expected['subject']
        assert plan['issues'] == expected.get('issues', [])
        assert plan['individual'] == expected.get('individual')
        assert len(plan['sessions']) == len(expected['sessions'])
        for session, golden in zip(plan['sessions'], expected['sessions'], strict=True):
            # what a scenario is not about it leaves out
            assert {key: session[key] for key in golden} == golden


@pytest.mark.parametrize('path', SCENARIOS, ids=[path.stem for path in SCENARIOS])
def test_no_two_files_of_a_run_share_a_path(path):
    plans = plan_of_scenario(yaml.safe_load(path.read_text(encoding='utf-8')))
    paths = Counter(
        item.path
        for plan in plans
        for part in (*plan.sessions, *([plan.individual] if plan.individual else []))
        for item in part.derivatives
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
    assert list(steps) == [
        StepName.CONFORM,
        StepName.EXTRACT,
        StepName.BIAS,
        StepName.REGISTER,
        StepName.RESAMPLE,
        StepName.NORMALIZE,
    ]
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


T1W, FLAIR = scans('T1w', 'FLAIR')
MASK = given_file('sub-01/m.nii.gz')


def problems(plan):
    return [issue.problem for issue in plan.issues]


def test_a_given_mask_is_used_where_no_extractor_is_asked_for():
    given = Given(masks={T1W: MASK})
    used = plan_session([T1W], given=given)
    assert used.main.mask == MASK
    assert used.extraction.first.name == 'given'
    # what would have found the brain is asked when the mask is not believed
    assert used.extraction.second.name == 'deepbet'
    assert Output.BRAIN_PROBABILITY not in {item.output for item in used.derivatives}
    named = plan_session([T1W], given=given, brain={'extractor': 'deepbet'})
    assert named.main.mask is None
    assert named.extraction.first.name == 'deepbet'


def test_a_mask_that_is_asked_for_and_not_there_costs_its_session_alone():
    images = [image_record(f'sub-0{n}/anat/sub-0{n}_T1w.nii.gz') for n in (1, 2)]
    settings = settings_for('T1w', brain={'extractor': 'given'})
    first, second = make_plans(images, settings, given_masks={images[1].relative: MASK})
    assert not first.sessions
    assert 'no brain mask is given' in first.issues[0].problem
    assert second.sessions[0].main.mask == MASK


def test_the_reason_of_a_refusal_is_told_before_all_else():
    runs = scans('run-1_T1w', 'run-2_T1w')
    images = [image_record(runs[0], error='the file is empty'), image_record(runs[1])]
    (subject,) = make_plans(images, settings_for('T1w', brain={'extractor': 'given'}))
    assert 'no brain mask is given' in subject.issues[0].problem
    assert subject.issues[1].problem == 'the file is empty'


def test_an_average_of_runs_has_no_given_mask():
    runs = scans('run-1_T1w', 'run-2_T1w')
    given = Given(masks={runs[0]: MASK})
    merged = {'images': {'merge_runs': True}}
    session = plan_session(runs, given=given, **merged)
    assert session.main.mask is None
    assert session.extraction.first.name == 'deepbet'
    assert any('given for its runs are not used' in problem for problem in problems(session))
    settings = settings_for('T1w', brain={'extractor': 'given'}, **merged)
    (subject,) = make_plans(runs, settings, given=given)
    assert not subject.sessions
    assert 'no brain mask of their average' in subject.issues[0].problem
    assert '--merge-runs' in subject.issues[0].remedy


@pytest.mark.parametrize(('age', 'told'), [('7', True), ('40', False), ('n/a', False)])
def test_an_extractor_that_was_made_for_other_ages_is_told(age, told):
    (subject,) = make_plans([T1W], settings_for('T1w'), participants={'01': {'age': age}})
    (plan,) = subject.sessions
    assert any('made for ages' in problem for problem in problems(plan)) is told
    # an age belongs to a person: it is not repeated
    assert not any(age in problem.split() for problem in problems(plan))


def mask_sources(session):
    """How the brain of each image is found, '' where it is the reference's."""
    return [image.extraction.first.name if image.extraction else '' for image in session.images]


def test_each_contrast_has_a_mask_of_its_own_or_that_of_the_reference():
    images = scans('FLAIR', 'T1w', 'T2w')
    assert mask_sources(plan_session(images)) == ['deepbet'] * 3
    carried = plan_session(images, images={'masks': 'reference'})
    assert mask_sources(carried) == ['deepbet', '', '']
    flair = Given(masks={FLAIR: MASK})
    assert mask_sources(plan_session(images, given=flair)) == ['deepbet', 'deepbet', 'given']
    both = plan_session(images, given=flair, images={'masks': 'reference'})
    assert mask_sources(both) == ['deepbet', '', 'given']


def test_with_given_masks_alone_the_reference_lends_its_own():
    given = Given(masks={T1W: MASK})
    session = plan_session([FLAIR, T1W], given=given, brain={'extractor': 'given'})
    assert mask_sources(session) == ['given', '']


def test_an_image_that_is_stripped_already_gives_its_own_mask():
    images = [image_record(FLAIR, stripped=True), image_record(T1W)]
    session = plan_session(images)
    assert mask_sources(session) == ['deepbet', 'stripped']
    assert session.images[1].extraction.second.name == 'deepbet'
    assert any('its mask is taken from the image' in problem for problem in problems(session))
    # a mask that the user has goes before
    given = plan_session(images, given=Given(masks={FLAIR: MASK}))
    assert mask_sources(given) == ['deepbet', 'given']
    assert 'it shows a brain without its head' in problems(given)
    probabilities = {
        item.contrast for item in session.derivatives if item.output is Output.BRAIN_PROBABILITY
    }
    assert probabilities == {Contrast.T1W}


def test_only_the_reference_is_told_to_be_of_a_contrast_that_the_extractor_does_not_know():
    assert problems(plan_session([FLAIR, T1W])) == []
    assert 'was made for T1w images' in problems(plan_session([FLAIR]))[0]


def test_given_transforms_replace_both_registrations():
    ways = {
        (FLAIR, 'FLAIR', 'T1w'): given_file('to_t1w.txt'),
        (FLAIR, 'T1w', 'FLAIR'): given_file('to_flair.txt'),
        (T1W, 'T1w', 'A'): given_file('to_a.h5'),
        (T1W, 'A', 'T1w'): given_file('from_a.h5'),
    }
    session = plan_session([FLAIR, T1W], 'A', 'B', given=Given(transforms=ways))
    assert session.others[0].to_reference.relative == 'to_t1w.txt'
    assert session.others[0].from_reference.relative == 'to_flair.txt'
    assert session.main.to_reference is None
    forward, inverse = session.given_transforms['A']
    assert (forward.relative, inverse.relative) == ('to_a.h5', 'from_a.h5')
    tools = {(step.name, step.space): step.tool for step in session.steps}
    assert tools[StepName.COREGISTER, None] == 'given'
    assert tools[StepName.REGISTER, 'A'] == 'given'
    assert tools[StepName.REGISTER, 'B'] == 'antsRegistration'
    outputs = {item.output for item in session.derivatives}
    assert Output.TO_REFERENCE in outputs
    # nothing was registered that could be doubted
    assert Output.COREGISTRATION_GUARD_FIGURE not in outputs


def test_a_given_image_without_bias_field_replaces_the_correction():
    given = Given(corrected={T1W: given_file('n4.nii.gz')})
    session = plan_session([FLAIR, T1W], given=given)
    assert [image.corrected is not None for image in session.images] == [True, False]
    tools = [
        next(step.tool for step in image.steps if step.name is StepName.BIAS)
        for image in session.images
    ]
    assert tools == ['given', 'N4BiasFieldCorrection']


LESION, OTHER_LESION = given_file('lesion.nii.gz'), given_file('roi.nii.gz')


def lesions_of(session):
    return {image.contrast.value: image.lesion for image in session.images if image.lesion}


def test_a_lesion_that_lies_on_several_images_is_drawn_on_the_reference():
    given = Given(lesions={FLAIR: LESION, T1W: LESION})
    session = plan_session([FLAIR, T1W], 'A', given=given)
    assert lesions_of(session) == {'T1w': LESION}
    assert session.lesion is session.main
    assert problems(session) == []
    of_flair = plan_session([FLAIR, T1W], 'A', given=given, images={'reference': 'FLAIR'})
    assert lesions_of(of_flair) == {'FLAIR': LESION}


def test_a_second_lesion_mask_is_told_not_to_be_used():
    session = plan_session([FLAIR, T1W], given=Given(lesions={FLAIR: OTHER_LESION, T1W: LESION}))
    assert lesions_of(session) == {'T1w': LESION}
    assert problems(session) == [
        'the lesion mask roi.nii.gz is not used: a session has one, and that is lesion.nii.gz'
    ]
    assert session.issues[0].severity is Severity.WARNING


def test_a_lesion_on_a_run_that_is_averaged_is_told_not_to_be_used():
    runs = scans('run-1_T1w', 'run-2_T1w')
    given = Given(lesions={runs[1]: LESION})
    session = plan_session(runs, given=given, images={'merge_runs': True})
    assert session.lesion is None
    assert any('is averaged with other runs' in problem for problem in problems(session))


@pytest.mark.parametrize(
    ('drawn', 'masking', 'kept_out'),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_a_lesion_is_kept_out_of_the_metric_where_there_is_one(drawn, masking, kept_out):
    given = Given(lesions={T1W: LESION} if drawn else {})
    session = plan_session([T1W], 'A', given=given, registration={'lesion_masking': masking})
    (step,) = (step for step in session.steps if step.name is StepName.REGISTER)
    assert ('lesion' in step.parameters) is kept_out


def test_what_is_wrong_with_given_files_is_told_of_their_session():
    issue = replace(
        plan_session([FLAIR]).issues[0], problem='the lesion mask lies on no grid', session='b'
    )
    images = [name for session in 'ab' for name in scans('T1w', session=session)]
    (subject,) = make_plans(images, settings_for('T1w'), given=Given(issues=(issue,)))
    assert [problems(session) for session in subject.sessions] == [[], [issue.problem]]


TWO = [name for session in 'ab' for name in scans('FLAIR', 'T1w', session=session)]


def longitudinal(images, *spaces, given=None, **values):
    settings = settings_for(*(spaces or ('A',)), images={'longitudinal': True, **values})
    (subject,) = make_plans(images, settings, given=given)
    return subject


def test_sessions_go_through_their_mean_only_when_asked():
    (apart,) = make_plans(TWO, settings_for('A'))
    assert apart.individual is None
    assert not any(session.through_individual for session in apart.sessions)
    together = longitudinal(TWO)
    assert together.individual.members == together.sessions
    for session in together.sessions:
        assert session.through_individual
        assert session.individual_files == together.individual.derivatives
        steps = [step.name for step in session.steps]
        assert steps.index(StepName.LONGITUDINAL) < steps.index(StepName.REGISTER)
    numbers = {
        step.parameters['sessions']
        for session in together.sessions
        for step in session.steps
        if step.name is StepName.LONGITUDINAL
    }
    assert numbers == {2}


def test_the_order_of_sessions_changes_nothing():
    swapped = [name.replace('ses-a', 'ses-x').replace('ses-b', 'ses-a') for name in TWO]
    swapped = [name.replace('ses-x', 'ses-b') for name in swapped]
    one, other = (longitudinal(sorted(names)) for names in (TWO, swapped))
    assert one.individual.derivatives == other.individual.derivatives
    tie = [
        *scans('FLAIR', session='a'),
        *scans('FLAIR', session='b'),
        *scans('T1w', session='c'),
        *scans('T1w', session='d'),
    ]
    # as many of both: the first contrast counts, not the first session
    assert longitudinal(tie).individual.contrast is Contrast.T1W


def test_sessions_without_a_common_contrast_are_told_to_go_alone():
    subject = longitudinal([*scans('FLAIR', session='a'), *scans('T1w', session='b')])
    assert subject.individual is None
    for session in subject.sessions:
        assert not session.through_individual
        assert 'no other session has a reference of its contrast' in problems(session)[-1]
        assert '--reference-contrast' in session.issues[-1].remedy


def test_a_single_session_has_no_mean_and_nothing_to_tell():
    subject = longitudinal(scans('T1w', session='a'))
    assert subject.individual is None
    assert problems(subject.sessions[0]) == []


def test_the_mean_keeps_the_entities_that_its_sessions_share():
    images = [
        *scans('acq-a_ce-gd_T1w', session='a'),
        *scans('acq-b_ce-gd_T1w', session='b'),
    ]
    individual = longitudinal(images).individual
    assert individual.contrast is Contrast.CE_T1W
    assert individual.entities == (('ce', 'gd'),)
    assert str(individual.derivatives[0].path) == (
        'sub-01/anat/sub-01_ce-gd_space-individual_desc-preproc_T1w.nii.gz'
    )


def test_given_transforms_of_a_session_do_not_lead_past_the_mean():
    image = scans('T1w', session='a')[0]
    ways = {(image, 'T1w', 'A'): MASK, (image, 'A', 'T1w'): MASK}
    first, second = longitudinal(TWO, given=Given(transforms=ways)).sessions
    assert first.given_transforms == {}
    assert any('given transforms to A are not used' in problem for problem in problems(first))
    assert problems(second) == []


def test_the_price_grows_with_each_contrast():
    one = plan_session([T1W], 'A').estimate
    two = plan_session([FLAIR, T1W], 'A').estimate
    three = plan_session([*scans('FLAIR', 'T1w', 'T2w')], 'A').estimate
    for less, more in ((one, two), (two, three)):
        # the promise is 25 s a contrast
        assert 5 < more.seconds - less.seconds < 25
        assert more.disk_mb > less.disk_mb
    # images are prepared one after another
    assert three.memory_gb == pytest.approx(two.memory_gb)
    carried = plan_session([FLAIR, T1W], 'A', images={'masks': 'reference'}).estimate
    assert one.seconds < carried.seconds < two.seconds
    everything = full_session().sessions[0].estimate
    assert 30 < everything.seconds < 600
    assert everything.memory_gb < 4


def test_runs_that_are_averaged_and_sessions_that_are_cost_their_registrations():
    runs = scans('run-1_T1w', 'run-2_T1w')
    best = plan_session(runs, 'A').estimate
    merged = plan_session(runs, 'A', images={'merge_runs': True}).estimate
    assert merged.seconds > best.seconds
    apart = make_plans(TWO, settings_for('A'))[0].sessions[0].estimate
    assert longitudinal(TWO).sessions[0].estimate.seconds > apart.seconds


def test_derivatives_are_found_by_contrast_and_place():
    (session,) = full_session().sessions
    for item in session.derivatives:
        if item.run is None:
            found = session.derivative(
                item.output, item.template, contrast=item.contrast, place=item.place
            )
            same_target = item.output in (Output.FORWARD, Output.INVERSE)
            assert found is item or (same_target and found.path == item.path), item.path
    flair = session.derivative(Output.PREPROC, contrast=Contrast.FLAIR, place=Place.REFERENCE)
    assert flair.path.name == 'sub-01_space-T1w_desc-preproc_FLAIR.nii.gz'
    assert session.derivative(Output.TO_REFERENCE) is None
