"""What was measured is read back, whatever state the files are in."""

from __future__ import annotations

import json

import pytest
from plans import plan_one, plan_session, scans

from mriprep.contrasts import Contrast
from mriprep.metrics import doubtful, read_metrics, write_masks
from mriprep.naming import Output

RECORD = {
    'mask_status': 'doubtful',
    'mask_extractor': 'deepbet',
    'mask_volume_ml': 1500.0,
    'mask_reasons': ['It bulges.', 'Its edge\tis off.'],
}
OF_FLAIR = {
    'mask_status': 'accept',
    'mask_extractor': 'deepbet',
    'mask_source': 'reference',
    'coregistration_status': 'doubtful',
    'coregistration_reasons': ['Masks overlap by 0.81.'],
    'contrast_doubt': 'Fluid is bright, as in a T2w.',
}


def put(out, plan, text, contrast=Contrast.T1W):
    path = out / plan.derivative(Output.METRICS, contrast=contrast).path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def rows_of(path):
    head, *rows = (line.split('\t') for line in path.read_text().splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


@pytest.fixture
def session():
    return plan_session(scans('FLAIR', 'T1w', session='a'))


def test_one_row_an_image_with_its_reasons(tmp_path, session):
    unknown = plan_one('T1w', image='sub-02/anat/sub-02_T1w.nii.gz')
    put(tmp_path, session, json.dumps(RECORD))
    put(tmp_path, session, json.dumps(OF_FLAIR), Contrast.FLAIR)
    measured = read_metrics(tmp_path, [session, unknown])
    write_masks(tmp_path / 'masks.tsv', measured)
    t1w, flair, nothing = rows_of(tmp_path / 'masks.tsv')
    assert [
        (row['participant_id'], row['session_id'], row['contrast'])
        for row in (t1w, flair, nothing)
    ] == [('sub-01', 'ses-a', 'T1w'), ('sub-01', 'ses-a', 'FLAIR'), ('sub-02', 'n/a', 'T1w')]
    assert t1w['mask_status'] == 'doubtful'
    assert t1w['mask_volume_ml'] == '1500.0'
    assert t1w['mask_reasons'] == 'It bulges. | Its edge is off.'
    assert t1w['mask_compared_with'] == t1w['coregistration_status'] == 'n/a'
    assert flair['mask_source'] == 'reference'
    assert flair['coregistration_reasons'] == 'Masks overlap by 0.81.'
    assert flair['contrast_doubt'] == 'Fluid is bright, as in a T2w.'
    assert set(list(nothing.values())[3:]) == {'n/a'}


def test_doubts_are_named_by_session_and_contrast(tmp_path, session):
    alone = plan_one('T1w', image='sub-02/anat/sub-02_T1w.nii.gz')
    put(tmp_path, session, json.dumps(RECORD))
    put(tmp_path, session, json.dumps(OF_FLAIR), Contrast.FLAIR)
    put(tmp_path, alone, json.dumps(RECORD))
    measured = read_metrics(tmp_path, [session, alone])
    assert list(doubtful(measured, 'mask_status')) == ['sub-01 ses-a T1w', 'sub-02']
    assert list(doubtful(measured, 'coregistration_status')) == ['sub-01 ses-a FLAIR']
    assert measured[0].words('mask_reasons') == 'It bulges. Its edge\tis off.'
    assert measured[0].words('coregistration_reasons') == ''


@pytest.mark.parametrize('text', ['', '[]', '{"mask_status":', '\xff'])
def test_damaged_metrics_are_none(tmp_path, session, text):
    put(tmp_path, session, text)
    put(tmp_path, session, json.dumps(OF_FLAIR), Contrast.FLAIR)
    damaged, whole = read_metrics(tmp_path, [session])
    assert damaged.values == {}
    assert whole.values == OF_FLAIR
    write_masks(tmp_path / 'masks.tsv', [damaged, whole])
    assert rows_of(tmp_path / 'masks.tsv')[0]['mask_status'] == 'n/a'


def test_values_of_a_wrong_kind_are_written_all_the_same(tmp_path, session):
    put(tmp_path, session, json.dumps({'mask_status': 3, 'mask_reasons': 'one text'}))
    measured = read_metrics(tmp_path, [session])
    assert measured[0].words('mask_reasons') == ''
    write_masks(tmp_path / 'masks.tsv', measured)
    row = rows_of(tmp_path / 'masks.tsv')[0]
    assert (row['mask_status'], row['mask_reasons']) == ('3', 'n/a')
