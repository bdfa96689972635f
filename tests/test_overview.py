"""Plans as people see them: the dry run, and what the report is told."""

from __future__ import annotations

import json

import pytest
from plans import given_file, image_record, make_plans, scans, settings_for

from mriprep.contrasts import Contrast
from mriprep.given import Given
from mriprep.issues import Severity
from mriprep.metrics import read_metrics
from mriprep.naming import Output, sidecar_path
from mriprep.outcome import Failure
from mriprep.overview import (
    doubts,
    print_plan,
    session_summary,
    sidecar_warnings,
    write_report,
)

LONG = 'sub-verylonglabel01/ses-afterthesurgery/anat/sub-verylonglabel01_ses-afterthesurgery'


@pytest.fixture
def plans():
    return make_plans(
        [
            image_record('sub-01/anat/sub-01_run-1_T1w.nii.gz', zooms_mm=(0.7, 0.67, 3.0)),
            image_record('sub-01/anat/sub-01_run-2_T1w.nii.gz', zooms_mm=(1, 1, 4)),
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
    assert 'note: sub-01/anat/sub-01_run-1_T1w.nii.gz: this one of 2 T1w images is used' in text
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
    assert 'sub-01: done, ' in text


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
    assert summary['output spaces'] == ['T1w (the reference)', 'A:res-1', 'B:cohort-2:res-native']


def test_the_summary_of_the_native_space():
    ((plan,),) = (
        p.sessions
        for p in make_plans([image_record('sub-01/anat/sub-01_T1w.nii.gz')], settings_for('T1w'))
    )
    assert session_summary(plan)['output spaces'] == ['T1w (the reference)']


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
    issues = list(sidecar_warnings(tmp_path, session))
    assert [issue.problem for issue in issues] == warnings
    assert all(issue.where == session.reference.relative for issue in issues)


def told_errors(monkeypatch, tmp_path, plan, failures=()):
    """Errors that the report is given for a subject."""
    errors = reported(monkeypatch, tmp_path, plan, failures)['errors']
    return [(error.severity, error.where, error.problem) for error in errors]


def reported(monkeypatch, tmp_path, plan, failures=()):
    """All that the report is given for a subject."""
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
        contrasts=['T1w'],
        versions={},
        command='mriprep',
        times={},
    )
    return given


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


@pytest.fixture
def mixed():
    """A subject of two contrasts, one stripped with a lesion, one with a run left out."""
    flair = image_record(scans('FLAIR')[0], zooms_mm=(0.9, 0.9, 5), stripped=True)
    images = [flair, *scans('run-1_T1w', 'run-2_T1w')]
    given = Given(lesions={flair.relative: given_file('lesion.nii.gz')})
    (plan,) = make_plans(images, settings_for('A:res-1'), given=given)
    return plan


def test_all_images_of_a_session_are_printed_with_what_becomes_of_them(capsys, monkeypatch, mixed):
    monkeypatch.setenv('COLUMNS', '250')
    text = printed(capsys, [mixed])
    lines = text.splitlines()
    assert '  sub-01/anat/sub-01_run-1_T1w.nii.gz (T1w, reference, 1.00 x 1.00 x 1.00 mm)' in lines
    flair = 'FLAIR, stripped already, lesion drawn, 0.90 x 0.90 x 5.00 mm'
    assert f'  sub-01/anat/sub-01_FLAIR.nii.gz ({flair})' in lines
    assert 'spaces: T1w (the reference), A:res-1' in lines
    assert 'left out: sub-01_run-2_T1w.nii.gz' in text
    assert 'shows a brain without its head' in text
    for words in ('coregister', 'resample to reference', 'mutual information'):
        assert words in text
    assert 'sub-01/anat/sub-01_space-T1w_label-lesion_mask.nii.gz' in text
    assert '1 sessions, 1 to do, 0 refused' in text


def test_averaged_runs_are_printed_together(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '250')
    runs = scans('run-1_T1w', 'run-2_T1w')
    plans = make_plans(runs, settings_for('T1w', images={'merge_runs': True}))
    text = printed(capsys, plans)
    assert f'{runs[0]} + {runs[1]} (T1w, reference, ' in text
    assert 'merge' in text


def test_the_mean_of_sessions_is_printed_with_its_files(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '250')
    images = [*scans('T1w', session='a'), *scans('T1w', session='b')]
    plans = make_plans(images, settings_for('A', images={'longitudinal': True}))
    lines = {line.strip() for line in printed(capsys, plans).splitlines()}
    assert 'files of sub-01, all sessions:' in lines
    assert {str(item.path) for item in plans[0].individual.derivatives} <= lines


def test_steps_of_all_sessions_and_the_files_of_the_fullest_are_printed(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '250')
    images = [*scans('T1w'), *scans('FLAIR', 'T1w', subject='02')]
    text = printed(capsys, make_plans(images, settings_for('A')))
    assert text.count('N4BiasFieldCorrection') == 1
    assert 'coregister' in text
    assert 'files of sub-02:' in text
    assert 'files of sub-01:' not in text


def test_no_name_of_an_image_is_cut_in_a_narrow_window(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '60')
    runs = scans('acq-averylonglabel_run-1_T1w', 'acq-averylonglabel_run-2_T1w', session='a')
    plans = make_plans(runs, settings_for('A', images={'merge_runs': True}))
    assert f'  {runs[0]} + {runs[1]} (T1w, ' in printed(capsys, plans)


def test_a_lost_contrast_is_printed_and_its_session_is_done(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '250')
    images = [image_record(scans('FLAIR')[0], error='truncated'), *scans('T1w')]
    text = printed(capsys, make_plans(images, settings_for('T1w')))
    assert 'error: sub-01/anat/sub-01_FLAIR.nii.gz: truncated' in text
    assert '1 sessions, 1 to do, 0 refused' in text


def test_the_summary_of_several_contrasts(mixed):
    (session,) = mixed.sessions
    summary = session_summary(session)
    assert summary['reference'] == 'sub-01/anat/sub-01_run-1_T1w.nii.gz'
    assert summary['lesion'] == 'drawn on FLAIR'
    assert 'way to templates' not in summary
    images = [*scans('T1w', session='a'), *scans('T1w', session='b')]
    (plan,) = make_plans(images, settings_for('A', images={'longitudinal': True}))
    assert session_summary(plan.sessions[0])['way to templates'] == (
        'through the mean of the sessions'
    )


MEASURED = {
    Contrast.T1W: {
        'mask_status': 'accept',
        'mask_extractor': 'deepbet',
        'mask_volume_ml': 1400.2,
    },
    Contrast.FLAIR: {
        'mask_status': 'accept',
        'mask_extractor': 'stripped',
        'own_mask_status': 'refused',
        'own_mask_reasons': ['It is small.'],
        'coregistration_status': 'doubtful',
        'coregistration_reasons': ['Masks overlap by 0.81.'],
        'contrast_doubt': 'Fluid is bright, as in a T2w.',
    },
}


def measure(out, session, measured=None):
    """Save what was measured of the images of a session."""
    for contrast, values in (measured or MEASURED).items():
        path = out / session.derivative(Output.METRICS, contrast=contrast).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


def test_the_report_has_a_row_for_each_image_and_each_run(monkeypatch, tmp_path, mixed):
    measure(tmp_path, mixed.sessions[0])
    given = reported(monkeypatch, tmp_path, mixed)
    (record,) = given['sessions']
    t1w, flair = record.images
    assert (t1w['role'], flair['role']) == ('reference', 'other')
    assert t1w['brain mask'].endswith('(deepbet, 1400 ml)')
    assert t1w['co-registration'] == 'others are registered to it'
    assert flair['co-registration'] not in ('', 'given')
    assert flair['voxel size (mm)'] == (0.9, 0.9, 5)
    for words in ('as in a T2w', 'stripped already', 'a lesion is drawn'):
        assert words in flair['remarks']
    assert [(row['image'][-17:], row['what became of it']) for row in record.runs] == [
        ('_run-1_T1w.nii.gz', 'used'),
        ('_run-2_T1w.nii.gz', 'left out'),
    ]
    assert list(record.contrasts) == ['T1w', 'FLAIR']


def test_the_report_of_one_image_needs_no_table_of_images(monkeypatch, tmp_path):
    (plan,) = make_plans(scans('T1w'), settings_for('T1w'))
    (record,) = reported(monkeypatch, tmp_path, plan)['sessions']
    assert record.images == []
    assert record.runs == []
    # a page of a run that measured nothing is written too
    assert 'brain mask' not in record.summary


def test_averaged_runs_are_rows(monkeypatch, tmp_path):
    runs = scans('acq-b_T1w', 'run-1_T1w', 'run-2_T1w')
    (plan,) = make_plans(runs, settings_for('T1w', images={'merge_runs': True}))
    (record,) = reported(monkeypatch, tmp_path, plan)['sessions']
    told = {row['image']: row['what became of it'] for row in record.runs}
    assert told == dict(zip(runs, ['left out', 'averaged', 'averaged'], strict=True))


def test_a_given_transform_is_said_to_be_given(monkeypatch, tmp_path):
    flair, t1w = scans('FLAIR', 'T1w')
    ways = {(flair, *ends): given_file('x.txt') for ends in (('FLAIR', 'T1w'), ('T1w', 'FLAIR'))}
    (plan,) = make_plans([flair, t1w], settings_for('T1w'), given=Given(transforms=ways))
    (record,) = reported(monkeypatch, tmp_path, plan)['sessions']
    assert [row['co-registration'] for row in record.images][1] == 'given'


def test_doubts_of_every_image_are_told(monkeypatch, tmp_path, mixed):
    measure(tmp_path, mixed.sessions[0])
    told = {
        (severity, where[-10:], problem)
        for severity, where, problem in told_errors(monkeypatch, tmp_path, mixed)
    }
    flair = 'LAIR.nii.gz'[-10:]
    assert (
        Severity.WARNING, flair, 'its co-registration is doubtful: Masks overlap by 0.81.'
    ) in told  # fmt: skip
    assert (Severity.WARNING, flair, 'Fluid is bright, as in a T2w.') in told
    assert (
        Severity.NOTE,
        flair,
        'its own brain mask was not believed: It is small. The mask of the reference is used',
    ) in told


def test_an_image_without_doubts_is_silent(tmp_path, mixed):
    measure(tmp_path, mixed.sessions[0])
    t1w, flair = read_metrics(tmp_path, mixed.sessions)
    assert list(doubts(t1w)) == []
    assert len(list(doubts(flair))) == 3
    doubtful = {**MEASURED[Contrast.T1W], 'mask_status': 'doubtful', 'mask_reasons': ['Why.']}
    measure(tmp_path, mixed.sessions[0], {Contrast.T1W: doubtful})
    (issue,) = doubts(read_metrics(tmp_path, mixed.sessions)[0])
    assert issue.problem == 'the brain mask is doubtful: Why.'


def test_headers_of_every_contrast_are_audited(tmp_path, mixed):
    (session,) = mixed.sessions
    for image in session.images:
        preproc = session.derivative(Output.PREPROC, contrast=image.contrast)
        path = tmp_path / sidecar_path(preproc.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({'HeaderWarnings': [f'of {image.contrast}']}))
    told = [(issue.problem, issue.where) for issue in sidecar_warnings(tmp_path, session)]
    assert told == [(f'of {image.contrast}', image.image.relative) for image in session.images]


def test_a_doubtful_overlay_names_its_file(tmp_path, mixed):
    (session,) = mixed.sessions
    template = session.registrations[0].target
    item = session.derivative(Output.PREPROC, template, contrast=Contrast.FLAIR)
    path = tmp_path / sidecar_path(item.path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({'OverlayDoubt': 'the brains overlap by 0.4.'}))
    (issue,) = sidecar_warnings(tmp_path, session)
    assert issue.problem == (
        'sub-01_space-A_res-1_desc-preproc_FLAIR.nii.gz: the brains overlap by 0.4.'
    )
    assert issue.where.endswith('_FLAIR.nii.gz')
