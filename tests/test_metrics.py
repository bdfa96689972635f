"""What was measured is read back, whatever state the files are in."""

from __future__ import annotations

import json

import pytest
from plans import plan_one

from mriprep.metrics import mask_states, read_metrics, write_masks
from mriprep.naming import Output

RECORD = {
    'mask_status': 'doubtful',
    'mask_extractor': 'deepbet',
    'mask_volume_ml': 1500.0,
    'mask_reasons': ['It bulges.', 'Its edge\tis off.'],
}


def put(out, plan, text):
    path = out / plan.derivative(Output.METRICS).path
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_one_row_a_session_with_its_reasons(tmp_path):
    known = plan_one('T1w', image='sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz')
    unknown = plan_one('T1w', image='sub-02/anat/sub-02_T1w.nii.gz')
    put(tmp_path, known, json.dumps(RECORD))
    measured = [(plan, read_metrics(tmp_path, plan)) for plan in (known, unknown)]
    write_masks(tmp_path / 'masks.tsv', measured)
    head, first, second = (
        line.split('\t') for line in (tmp_path / 'masks.tsv').read_text().splitlines()
    )
    row = dict(zip(head, first, strict=True))
    assert (row['participant_id'], row['session_id']) == ('sub-01', 'ses-a')
    assert row['mask_status'] == 'doubtful'
    assert row['mask_reasons'] == 'It bulges. | Its edge is off.'
    assert row['mask_compared_with'] == 'n/a'
    assert second[:3] == ['sub-02', 'n/a', 'n/a']
    states = dict(mask_states(measured))
    assert states == {'sub-01 ses-a': 'doubtful', 'sub-02': None}


@pytest.mark.parametrize('text', ['', '[]', '{"mask_status":'])
def test_damaged_metrics_are_none(tmp_path, text):
    plan = plan_one('T1w')
    put(tmp_path, plan, text)
    assert read_metrics(tmp_path, plan) == {}
