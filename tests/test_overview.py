"""Plans as people see them: the dry run, and what the report is told."""

from __future__ import annotations

import pytest
from plans import image_record, make_plans, settings_for

from mriprep.issues import Severity
from mriprep.outcome import Failure
from mriprep.overview import header_warnings, print_plan, session_summary, write_report

LONG = 'sub-verylonglabel01/ses-afterthesurgery/anat/sub-verylonglabel01_ses-afterthesurgery'


@pytest.fixture
def plans():
    return make_plans(
        [
            image_record('sub-01/anat/sub-01_run-1_T1w.nii.gz', zooms_mm=(0.7, 0.67, 3.0)),
            image_record('sub-01/anat/sub-01_run-2_T1w.nii.gz'),
            image_record('sub-02/anat/sub-02_T1w.nii.gz', error='the file is empty'),
        ],
        settings_for('A:res-1', 'B:cohort-2:res-native'),
    )


def printed(capsys, plans, **options):
    print_plan(plans, **options)
    return capsys.readouterr().out


def test_every_file_stands_whole_on_a_line_of_its_own(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '60')
    plans = make_plans(
        [image_record(f'{LONG}_T1w.nii.gz')], settings_for('MNIPediatricAsym:cohort-3')
    )
    lines = {line.strip() for line in printed(capsys, plans).splitlines()}
    assert {str(item.path) for item in plans[0].sessions[0].derivatives} <= lines


def test_steps_are_listed_with_parameters_and_versions(capsys, monkeypatch, plans):
    monkeypatch.setenv('COLUMNS', '250')
    text = printed(capsys, plans)
    for words in (
        'register to A',
        'resample to B+2',
        'transform affine',
        'N4BiasFieldCorrection 2.5.0',
    ):
        assert words in text


def test_sizes_spaces_and_issues_are_told(capsys, monkeypatch, plans):
    monkeypatch.setenv('COLUMNS', '250')
    text = printed(capsys, plans)
    assert '0.70 x 0.67 x 3.00' in text
    assert 'A:res-1, B:cohort-2:res-native' in text
    assert 'error: sub-02/anat/sub-02_T1w.nii.gz: the file is empty; copy the file again' in text
    assert 'note: sub-01/anat/sub-01_run-1_T1w.nii.gz: the first of 2 T1w images is used' in text
    assert '1 sessions, 1 to do, 1 refused' in text


def test_a_refused_session_is_counted_once(capsys):
    plans = make_plans(
        [
            image_record('sub-01/anat/sub-01_run-1_T1w.nii.gz', error='empty'),
            image_record('sub-01/anat/sub-01_run-2_T1w.nii.gz', error='empty'),
        ],
        settings_for('T1w'),
    )
    assert '0 sessions, 0 to do, 1 refused' in printed(capsys, plans)


def test_what_is_finished_costs_nothing(capsys, monkeypatch, plans):
    monkeypatch.setenv('COLUMNS', '250')
    text = printed(capsys, plans, finished={'sub-01'})
    assert '1 sessions, 0 to do, 1 refused; about 0 min' in text
    assert 'done' in text


def test_brackets_in_a_name_are_no_markup(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '250')
    plans = make_plans(
        [image_record('sub-01/anat/sub-01_T1w.nii.gz', error='header [bold] is odd')],
        settings_for('T1w'),
    )
    assert 'header [bold] is odd' in printed(capsys, plans)


def test_an_empty_plan_is_told(capsys):
    assert '0 sessions, 0 to do, 0 refused' in printed(capsys, ())


def test_the_summary_says_what_was_used_and_what_was_not(plans):
    summary = session_summary(plans[0].sessions[0])
    assert summary['T1w image'] == 'sub-01/anat/sub-01_run-1_T1w.nii.gz'
    assert summary['T1w images left out'] == ['sub-01/anat/sub-01_run-2_T1w.nii.gz']
    assert summary['output spaces'] == ['A:res-1', 'B:cohort-2:res-native']


def test_the_summary_of_the_native_space():
    ((plan,),) = (
        p.sessions
        for p in make_plans([image_record('sub-01/anat/sub-01_T1w.nii.gz')], settings_for('T1w'))
    )
    assert session_summary(plan)['output spaces'] == ['T1w']


@pytest.mark.parametrize(
    ('text', 'warnings'),
    [
        ('{"HeaderWarnings": ["3 voxels were no numbers"]}', ['3 voxels were no numbers']),
        ('{"A": 1}', []),
        ('[1, 2]', []),
        ('{"HeaderW', []),
        (None, []),
    ],
    ids=['some', 'none', 'list', 'damaged', 'absent'],
)
def test_what_the_header_audit_warned_of_is_read_from_the_sidecar(tmp_path, plans, text, warnings):
    session = plans[0].sessions[0]
    path = tmp_path / 'sub-01/anat/sub-01_run-1_desc-preproc_T1w.json'
    path.parent.mkdir(parents=True)
    if text is not None:
        path.write_text(text)
    issues = list(header_warnings(tmp_path, session))
    assert [issue.problem for issue in issues] == warnings
    assert all(issue.where == session.reference.relative for issue in issues)


def told_errors(monkeypatch, tmp_path, plan, failures=()):
    """Errors that the report is given for a subject."""
    given = {}

    def take(out_dir, subject, run_id, **values):
        given.update(values)
        return out_dir / 'report.html'

    monkeypatch.setattr('mriprep.report.write_subject_report', take)
    write_report(
        tmp_path,
        plan,
        run_id='run',
        failures=failures,
        steps=plan.sessions[0].steps if plan.sessions else (),
        versions={},
        command='mriprep',
        times={},
    )
    return [(error.severity, error.where, error.problem) for error in given['errors']]


def test_the_report_tells_failures_before_notes(monkeypatch, tmp_path, plans):
    failure = Failure(
        subject='01', session=None, step='n4', where='x.nii', cause='why', next_step='look'
    )
    told = told_errors(monkeypatch, tmp_path, plans[0], [failure])
    assert told[0] == (Severity.ERROR, 'x.nii, n4', 'why')
    assert told[1][0] is Severity.NOTE


def test_the_report_tells_of_a_damaged_run_beside_a_good_one(monkeypatch, tmp_path):
    (plan,) = make_plans(
        [
            image_record('sub-01/anat/sub-01_run-1_T1w.nii.gz', error='the file is empty'),
            image_record('sub-01/anat/sub-01_run-2_T1w.nii.gz'),
        ],
        settings_for('T1w'),
    )
    told = told_errors(monkeypatch, tmp_path, plan)
    assert ('sub-01/anat/sub-01_run-1_T1w.nii.gz', 'the file is empty') in [t[1:] for t in told]
