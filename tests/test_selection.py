"""Which image stands for each contrast, and which contrast the others are registered to."""

from __future__ import annotations

import pytest
from plans import image_record, make_plans, scans, settings_for

from mriprep.contrasts import Contrast
from mriprep.issues import Severity
from mriprep.outcome import planned_failures
from mriprep.selection import select
from mriprep.settings import ImageSettings

ALL = scans('ce-gd_T1w', 'FLAIR', 'PDw', 'T1w', 'T2w')


def selected(images, **settings):
    """Select among records or paths."""
    records = [image_record(image) if isinstance(image, str) else image for image in images]
    return select(records, ImageSettings(**settings))


def contrasts(selection):
    return [choice.contrast.value for choice in selection.choices]


def name_of(image):
    return image.relative.rpartition('/')[2].removeprefix('sub-01_').removesuffix('.nii.gz')


def chosen(*names, zooms_mm=None, **settings):
    """Which of several runs of one contrast is used; ``zooms_mm`` by the name."""
    sizes = zooms_mm or {}
    images = [
        image_record(path, zooms_mm=sizes.get(name, (1, 1, 1)))
        for name, path in zip(names, scans(*names), strict=True)
    ]
    (choice,) = selected(images, **settings).choices
    return choice


@pytest.mark.parametrize(
    ('names', 'order'),
    [
        (ALL, ['T1w', 'ce-T1w', 'T2w', 'FLAIR', 'PDw']),
        (scans('ce-gd_T1w', 'FLAIR', 'T2w'), ['ce-T1w', 'T2w', 'FLAIR']),
        (scans('FLAIR', 'T2w'), ['T2w', 'FLAIR']),
        (scans('FLAIR', 'PDw'), ['FLAIR', 'PDw']),
        (scans('ce-gd_T1w'), ['ce-T1w']),
        (scans('PDw'), ['PDw']),
    ],
)
def test_the_reference_is_the_first_in_the_order_of_contrasts(names, order):
    assert contrasts(selected(names)) == order
    assert selected(names).issues == ()


@pytest.mark.parametrize('asked', list(Contrast))
def test_the_reference_that_is_asked_for_goes_first_and_the_rest_keep_their_order(asked):
    found = selected(ALL, reference=asked.value)
    rest = [contrast.value for contrast in Contrast if contrast is not asked]
    assert contrasts(found) == [asked.value, *rest]
    assert found.issues == ()


@pytest.mark.parametrize('damaged', [True, False])
def test_a_reference_that_is_asked_for_and_not_usable_is_replaced_and_told(damaged):
    images = scans('FLAIR', 'T1w')
    if damaged:
        images.append(image_record(scans('T2w')[0], error='the file is empty'))
    found = selected(images, reference='T2w')
    assert contrasts(found) == ['T1w', 'FLAIR']
    (issue,) = found.issues
    assert issue.severity is Severity.WARNING
    assert 'no usable T2w image, so that T1w is the reference' in issue.problem
    assert '--reference-contrast' in issue.remedy
    assert len(found.lost) == damaged


def test_a_damaged_image_that_would_be_the_reference_is_told():
    found = selected([scans('FLAIR')[0], image_record(scans('T1w')[0], error='2D')])
    assert contrasts(found) == ['FLAIR']
    assert 'no usable T1w image, so that FLAIR is the reference' in found.issues[0].problem
    assert [issue.problem for issue in found.lost] == ['2D']


def test_only_the_contrasts_that_are_asked_for():
    wanted = (Contrast.FLAIR, Contrast.CE_T1W)
    found = selected(ALL, contrasts=wanted)
    assert contrasts(found) == ['ce-T1w', 'FLAIR']
    assert found.issues == ()
    # what is not asked for is not missed
    damaged = [scans('FLAIR')[0], image_record(scans('T1w')[0], error='2D')]
    assert selected(damaged, contrasts=wanted).lost == ()


def test_nothing_that_can_be_used():
    found = selected([image_record(scans('T1w')[0], error='2D')])
    assert found.choices == ()
    assert [issue.problem for issue in found.lost] == ['2D']
    assert selected(scans('echo-1_T1w')).choices == ()
    assert selected(scans('T2w'), contrasts=(Contrast.T1W,)).choices == ()


def test_plain_and_enhanced_t1w_are_two_contrasts():
    found = selected(scans('ce-gd_T1w', 'T1w'))
    assert [(c.contrast.value, name_of(c.image), c.left_out) for c in found.choices] == [
        ('T1w', 'T1w', ()),
        ('ce-T1w', 'ce-gd_T1w', ()),
    ]


@pytest.mark.parametrize(
    ('names', 'zooms_mm', 'best', 'reason'),
    [
        # thick slices lose, however fine they are in plane
        (
            ['run-1_T2w', 'run-2_T2w'],
            {'run-1_T2w': (0.4, 0.4, 5), 'run-2_T2w': (1.2, 1.2, 1.2)},
            'run-2_T2w',
            'resolution',
        ),
        # of equal slices the finer plane
        (
            ['run-1_T2w', 'run-2_T2w'],
            {'run-1_T2w': (0.9, 0.9, 5), 'run-2_T2w': (0.4, 0.4, 5)},
            'run-2_T2w',
            'resolution',
        ),
        # resolution goes before labels
        (['acq-fine_T1w', 'T1w'], {'acq-fine_T1w': (0.7, 0.7, 0.7)}, 'acq-fine_T1w', 'resolution'),
        (['T1w', 'rec-norm_T1w'], {}, 'rec-norm_T1w', 'labels'),
        (['T1w', 'rec-NORM_T1w'], {}, 'rec-NORM_T1w', 'labels'),
        (['T1w', 'rec-DIS2D_T1w'], {}, 'T1w', 'labels'),
        (['acq-a_T1w', 'acq-b_T1w', 'T1w'], {}, 'T1w', 'labels'),
        (['acq-a_T1w', 'acq-b_T1w'], {}, 'acq-a_T1w', 'labels'),
        (['acq-2_T1w', 'acq-10_T1w'], {}, 'acq-2_T1w', 'labels'),
        (['FLAIR', 'ce-gd_FLAIR'], {}, 'FLAIR', 'labels'),
        # an agent changes the contrast, a filter of the scanner only its brightness
        (['FLAIR', 'ce-gd_rec-norm_FLAIR'], {}, 'FLAIR', 'labels'),
        (['run-1_T1w', 'run-2_T1w', 'run-10_T1w'], {}, 'run-1_T1w', 'first'),
        # the last digits of a header do not decide
        (
            ['run-1_T1w', 'run-2_T1w'],
            {'run-1_T1w': (0.8750001, 1, 1), 'run-2_T1w': (0.8749999, 1, 1)},
            'run-1_T1w',
            'first',
        ),
        (
            ['run-1_T1w', 'run-2_T1w'],
            {'run-1_T1w': (1, 1, 1.03), 'run-2_T1w': (1, 1, 1.02)},
            'run-1_T1w',
            'first',
        ),
    ],
)
def test_the_best_of_several_runs(names, zooms_mm, best, reason):
    choice = chosen(*names, zooms_mm=zooms_mm)
    assert name_of(choice.image) == best
    assert [name_of(image) for image in choice.left_out] == [n for n in names if n != best]
    assert reason in choice.reason
    assert choice.sources == (choice.image,)


def test_the_choice_and_the_rest_are_told():
    (issue,) = selected(scans('run-1_T1w', 'run-2_T1w')).issues
    assert issue.severity is Severity.NOTE
    assert issue.where.endswith('run-1_T1w.nii.gz')
    assert 'this one of 2 T1w images is used (the first of equal runs)' in issue.problem
    assert 'left out: sub-01_run-2_T1w.nii.gz' in issue.problem
    assert '--merge-runs' in issue.remedy


def test_a_damaged_run_makes_room_for_the_next():
    first, second, third = scans('run-1_T1w', 'run-2_T1w', 'run-3_T1w')
    images = [image_record(first, error='the file is empty'), second, third]
    found = selected(images)
    (choice,) = found.choices
    assert name_of(choice.image) == 'run-2_T1w'
    assert [name_of(image) for image in choice.left_out] == ['run-3_T1w']
    assert found.lost == ()
    (merged,) = selected(images, merge_runs=True).choices
    assert [name_of(image) for image in merged.averaged] == ['run-2_T1w', 'run-3_T1w']


def test_runs_of_one_protocol_are_averaged():
    names = ['rec-norm_run-1_T1w', 'rec-norm_run-2_T1w', 'run-1_T1w', 'acq-b_rec-norm_run-1_T1w']
    choice = chosen(*names, merge_runs=True)
    assert [name_of(image) for image in choice.averaged] == names[:2]
    assert choice.sources == choice.averaged
    assert choice.image == choice.averaged[0]
    assert [name_of(image) for image in choice.left_out] == names[2:]
    # what is written is of no single run
    assert choice.entities == (('rec', 'norm'),)
    (issue,) = selected(scans(*names), merge_runs=True).issues
    assert '2 T1w images are averaged' in issue.problem


def test_a_run_without_its_number_is_a_run():
    choice = chosen('T1w', 'run-2_T1w', merge_runs=True)
    assert len(choice.averaged) == 2
    assert choice.entities == ()


@pytest.mark.parametrize(
    'other',
    [
        image_record(scans('run-2_T2w')[0], zooms_mm=(1, 1, 3)),
        image_record(scans('acq-b_run-2_T2w')[0]),
        image_record(scans('run-2_T2w')[0], stripped=True),
    ],
    ids=['resolution', 'protocol', 'stripped'],
)
def test_runs_that_differ_are_not_averaged(other):
    found = selected([scans('run-1_T2w')[0], other], merge_runs=True)
    (choice,) = found.choices
    assert choice.averaged == ()
    assert name_of(choice.image) == 'run-1_T2w'
    assert choice.left_out == (other,)
    assert '--merge-runs' not in found.issues[0].remedy


def test_one_image_leaves_no_choice_and_no_note():
    found = selected(scans('T1w'), merge_runs=True)
    assert found.issues == ()
    assert found.choices[0].reason == ''


def test_a_lost_contrast_is_a_failure_and_its_session_is_planned():
    flair = image_record(scans('FLAIR')[0], error='truncated')
    plans = make_plans([flair, *scans('T1w')], settings_for('T1w'))
    (session,) = plans[0].sessions
    assert [image.contrast for image in session.images] == [Contrast.T1W]
    (failure,) = planned_failures(plans)
    assert (failure.subject, failure.session, failure.step) == ('01', None, 'read')
    assert (failure.where, failure.cause) == (flair.relative, 'truncated')
    assert failure.line == 'sub-01, read: truncated; copy the file again'
