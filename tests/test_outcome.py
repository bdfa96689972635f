"""Failures and times as tables, and the words for them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from plans import image_record, make_plans, plan_one, plan_session, scans, settings_for

from mriprep.crashes import NodeFailure
from mriprep.issues import Severity
from mriprep.outcome import (
    Failure,
    failure_of,
    planned_failures,
    subject_times,
    write_failures,
    write_timings,
)

COLUMNS = ['participant_id', 'session_id', 'step', 'image', 'cause', 'next_step']


def read_table(path):
    with path.open(encoding='utf-8', newline='') as stream:
        return list(csv.reader(stream, delimiter='\t'))


def failed(node, cause):
    sessions = {'sub_01_wf': plan_one('T1w')}
    return failure_of(NodeFailure(node=node, cause=cause, crash_file=Path('crash.txt')), sessions)


def test_the_remedy_in_the_words_of_a_node_is_the_next_step():
    failure = failed('top.sub_01_wf.core_wf.native_wf.conform', 'a.nii: truncated; copy it again')
    assert failure == Failure(
        subject='01',
        session=None,
        step='conform',
        where='sub-01/anat/sub-01_T1w.nii.gz',
        cause='a.nii: truncated',
        next_step='copy it again',
    )
    assert failure.line == 'sub-01, conform: a.nii: truncated; copy it again'


@pytest.mark.parametrize(
    ('step', 'words'),
    [
        ('conform', 'header'),
        ('extract', 'a head, whole and the right way up'),
        ('coregister', 'do they show one head'),
        ('choose', 'co-registration'),
        ('average', 'all sessions'),
        ('n4', 'run the same command again'),
    ],
)
def test_without_a_remedy_the_step_gives_one(step, words):
    failure = failed(f'top.sub_01_wf.{step}', 'it broke')
    assert failure.cause == 'it broke'
    assert words in failure.next_step


@pytest.mark.parametrize(
    ('node', 'suffix'),
    [
        ('top.sub_01_wf.images_wf.native_wf.extract', 'T1w'),
        ('top.sub_01_wf.images_wf.FLAIR_wf.coregister', 'FLAIR'),
        ('top.sub_01_wf.images_wf.FLAIR_wf.brain_wf.extract', 'FLAIR'),
        ('top.sub_01_wf.templates_wf.A_wf.registration_wf.register', 'T1w'),
    ],
)
def test_a_failure_names_the_image_that_it_is_of(node, suffix):
    session = plan_session(scans('FLAIR', 'T1w'), 'A')
    failed = NodeFailure(node=node, cause='it broke', crash_file=Path('crash.txt'))
    failure = failure_of(failed, {'sub_01_wf': session})
    assert failure.where == f'sub-01/anat/sub-01_{suffix}.nii.gz'
    assert failure.step == node.rpartition('.')[2]


def test_a_failure_among_sessions_that_share_a_mean_is_of_its_own_session():
    images = [*scans('FLAIR', 'T1w', session='a'), *scans('FLAIR', 'T1w', session='b')]
    (subject,) = make_plans(images, settings_for('A', images={'longitudinal': True}))
    first, second = subject.sessions
    sessions = {
        'sub_01_all_wf': first,
        'sub_01_ses_a_wf': first,
        'sub_01_ses_b_wf': second,
    }

    def where(node):
        failed = NodeFailure(node=node, cause='it broke', crash_file=Path('crash.txt'))
        failure = failure_of(failed, sessions)
        return failure.session, failure.step, failure.where.rpartition('_')[2]

    top = 'top.sub_01_all_wf'
    flair = f'{top}.sub_01_ses_b_wf__images_wf.FLAIR_wf.conform'
    assert where(flair) == ('b', 'conform', 'FLAIR.nii.gz')
    saved = f'{top}.sub_01_ses_b_wf__save_preproc_T1w'
    assert where(saved) == ('b', 'save_preproc_T1w', 'T1w.nii.gz')
    assert where(f'{top}.individual_wf.average')[:2] == ('a', 'average')


def test_a_node_of_no_session_is_an_error_of_ours():
    with pytest.raises(KeyError, match=r'top\.other_wf\.x'):
        failed('top.other_wf.x', 'it broke')


def test_each_session_without_a_plan_is_told_once():
    plans = make_plans(
        [
            image_record('sub-01/ses-a/anat/sub-01_ses-a_run-1_T1w.nii.gz', error='empty'),
            image_record('sub-01/ses-a/anat/sub-01_ses-a_run-2_T1w.nii.gz', error='truncated'),
            image_record('sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz', error='2D'),
            image_record('sub-02/anat/sub-02_T1w.nii.gz'),
        ],
        settings_for('T1w'),
    )
    told = [(f.subject, f.session, f.cause, f.next_step) for f in planned_failures(plans)]
    assert told == [
        ('01', 'a', 'empty', 'copy the file again'),
        ('01', 'b', '2D', 'copy the file again'),
    ]


def test_notes_are_no_failures():
    (plan,) = make_plans(
        [image_record('sub-01/anat/sub-01_echo-1_T1w.nii.gz')], settings_for('T1w')
    )
    failures = list(planned_failures([plan]))
    assert len(failures) == 1
    assert all(issue.severity is Severity.ERROR for issue in plan.issues)


def test_lost_contrasts_are_failures_beside_those_of_whole_sessions():
    images = [
        image_record(scans('FLAIR', session='a')[0], error='empty'),
        image_record(scans('T2w', session='a')[0], error='2D'),
        *scans('T1w', session='a'),
        image_record(scans('T1w', session='b')[0], error='truncated'),
    ]
    plans = make_plans(images, settings_for('T1w'))
    told = [(failure.session, failure.cause) for failure in planned_failures(plans)]
    assert told == [('b', 'truncated'), ('a', '2D'), ('a', 'empty')]


def test_failures_are_a_table_of_one_line_each(tmp_path):
    failure = Failure(
        subject='01', session='a', step='n4', where='x.nii', cause='a\tb\nc "d"', next_step='look'
    )
    write_failures(tmp_path / 'failures.tsv', [failure, failed('t.sub_01_wf.n4', 'why')])
    head, first, second = read_table(tmp_path / 'failures.tsv')
    assert head == COLUMNS
    assert first[:4] == ['sub-01', 'ses-a', 'n4', 'x.nii']
    assert second[1] == 'n/a'
    # a table that people open in any program: neither tabs nor line breaks inside a value
    lines = (tmp_path / 'failures.tsv').read_text().splitlines()
    assert len(lines) == 3
    assert {line.count('\t') for line in lines} == {len(COLUMNS) - 1}


def test_when_nothing_failed_there_is_the_head_alone(tmp_path):
    write_failures(tmp_path / 'failures.tsv', [])
    assert (tmp_path / 'failures.tsv').read_text() == '\t'.join(COLUMNS) + '\n'


def test_times_come_back_by_subject_and_step(tmp_path):
    path = tmp_path / 'timings.tsv'
    write_timings(
        path,
        {
            'mriprep_wf.sub_01_ses_a_wf.core_wf.native_wf.extract': 5.0,
            'mriprep_wf.sub_01_ses_b_wf.core_wf.native_wf.extract': 6.255,
            'mriprep_wf.sub_02_wf.stamp': 0.1,
        },
    )
    assert read_table(path)[0] == ['node', 'seconds']
    names = {'sub_01_ses_a_wf': 'sub-01 ses-a', 'sub_01_ses_b_wf': 'sub-01 ses-b'}
    names['sub_02_wf'] = 'sub-02'
    times = subject_times(path, lambda node: names[node.split('.')[1]])
    assert set(times) == {'sub-01', 'sub-02'}
    assert times['sub-01']['extract'] == pytest.approx(11.25, abs=0.02)


def test_times_of_a_run_without_a_table_are_none(tmp_path):
    assert subject_times(tmp_path / 'timings.tsv', str) == {}
