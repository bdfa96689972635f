"""HTML fragments: everything shown, everything escaped, nothing of the machine."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from mriprep.tables import (
    audit_html,
    checks_html,
    guard_html,
    rows_html,
    steps_html,
    summary_html,
    times_html,
    verdict_words,
    warning_words,
    without_paths,
)


@pytest.mark.parametrize(
    ('text', 'wanted'),
    [
        ('-d fmriprep=/data/jane/fp -w=/scratch/w', '-d fmriprep=…/fp -w=…/w'),
        ('File "/opt/venv/lib/x.py", line 3', 'File "…/x.py", line 3'),
        ('(/a/b/c)', '(…/c)'),
        ('~/study/raw', '…/raw'),
        ('file:///home/jane/x.html', '…/x.html'),
        ('/home/jane/', '…/'),
        ('bids::sub-01/anat/x.nii.gz', 'bids::sub-01/anat/x.nii.gz'),
        ('sub-01/anat/x.nii.gz: empty', 'sub-01/anat/x.nii.gz: empty'),
        ('https://doi.org/10.1038/a/b', 'https://doi.org/10.1038/a/b'),
        ('docker -v /home/jane/raw:/data/in:ro', 'docker -v …/raw:…/in:ro'),
        ('3/4 and/or 1/2', '3/4 and/or 1/2'),
    ],
)
def test_folders_are_left_out_and_links_stay(text, wanted):
    assert without_paths(text) == wanted


def test_a_root_is_not_taken_out_of_a_longer_name():
    assert without_paths('/my out/a /my outer', ['/my out']) == 'a /my outer'


def test_values_are_worded_and_escaped():
    html = summary_html({'zooms_mm': [0.7, 0.6667, 1.0], 'file': '<b>&', 'spaces': [], 'x': None})
    assert '<th scope="row">voxel size (mm)</th><td>0.7 × 0.6667 × 1</td>' in html
    assert '&lt;b&gt;&amp;' in html
    assert '<td>none</td>' in html
    assert '<td>–</td>' in html


def test_audit_tells_what_was_found_changed_and_doubted():
    html = audit_html(
        {
            'found': ['axes point to LAS'],
            'changes': ['axes <flipped>'],
            'warnings': ['qform and sform differ'],
            'original': {'shape': [3, 4, 5]},
        }
    )
    for text in ('LAS', 'axes &lt;flipped&gt;', 'qform and sform differ'):
        assert text in html
    assert html.index('qform and sform') < html.index('LAS')  # doubts come first


def test_empty_audit_says_so():
    html = audit_html({})
    assert 'Nothing had to be changed.' in html
    assert 'class="warning"' not in html


def test_steps_are_numbered_in_order_with_parameters():
    steps = [
        SimpleNamespace(
            name='bias', tool='N4', version='2.6', parameters={'shrink_factor': 4}, space=None
        ),
        SimpleNamespace(
            name='register', tool='ants', version='2.6', parameters={}, space='MNIPediatricAsym+3'
        ),
    ]
    html = steps_html(steps)
    assert re.search(r'<td>1</td>.*Correct the bias field.*<td>2</td>.*Register', html)
    assert 'shrink factor</span> <code>4</code>' in html
    assert 'to MNIPediatricAsym+3' in html


def test_longest_time_fills_the_bar():
    html = times_html({'conform': 1.0, 'bias': 4.0, 'clock went back': -1.0})
    assert re.findall(r'width:([\d.]+)%', html) == ['25.0', '100.0', '0.0']
    assert times_html({}) == ''


def test_summary_is_told():
    text = summary_html({'brain volume_ml': 1513.0, 'file': '<x>'})
    assert 'brain volume (ml)' in text
    assert '1513' in text
    assert '&lt;x&gt;' in text


def verdict(status, **more):
    check = {
        'name': 'edge_offset', 'value': 3.21, 'unit': 'mm', 'accept': [-1, 1], 'believe': [None, 4],
        'status': status, 'words': 'the edge <is> off', 'reason': 'measured',
    }  # fmt: skip
    fine = {**check, 'name': 'volume', 'status': 'accept', 'words': ''}
    reasons = [] if status == 'accept' else [check['words']]
    return {'mask_status': status, 'mask_reasons': reasons, 'mask_checks': [fine, check], **more}


def test_the_guard_tells_its_doubts_first_and_folds_the_rest():
    html = guard_html(verdict('doubtful'))
    above, _, folded = html.partition('<details>')
    assert 'the edge &lt;is&gt; off' in above
    assert 'edge offset' in above
    assert 'volume' not in above
    for words in ('All 2 checks', 'volume', '3.21 mm', '-1 to 1', 'at most 4'):
        assert words in folded
    assert guard_html(verdict('accept')).startswith('<p>The mask is believed.</p><details>')


def test_what_was_tried_is_listed_in_its_order():
    tried = [
        {'extractor': name, 'status': status, 'volume_ml': 1500.4, 'reasons': ['Odd.', 'Cut.']}
        for name, status in (('template', 'doubtful'), ('deepbet', 'refused'))
    ]
    html = guard_html(verdict('doubtful', mask_attempts=tried))
    assert html.index('template') < html.index('deepbet')
    assert '1500 ml' in html
    assert 'Odd. Cut.' in html


def test_a_doubt_of_the_contrast_comes_first():
    html = guard_html(verdict('accept', contrast_doubt='Fluid is <dark>.'))
    assert html.index('Fluid is &lt;dark&gt;.') < html.index('The mask is believed')
    assert 'class="warning"' in html
    assert warning_words({'contrast_doubt': 'Fluid is dark.'}) == 'Fluid is dark.'
    assert warning_words(verdict('doubtful')) == ''


def test_a_mask_that_was_not_judged_is_told_so():
    assert guard_html({'mask_extractor': 'reference'}) == '<p>The mask was not judged.</p>'


@pytest.mark.parametrize(
    ('found', 'words'),
    [
        ({'mask_extractor': 'reference'}, 'Taken from the reference.'),
        ({'mask_extractor': 'given', 'mask_status': 'accept'}, 'Given, believed.'),
        ({'mask_extractor': 'new', 'mask_status': 'refused'}, 'Found by new, REFUSED.'),
        ({'mask_status': 'accept'}, 'The mask is believed.'),
        ({}, ''),
    ],
)
def test_the_source_of_a_mask_is_worded(found, words):
    assert verdict_words(found) == words


def coregistration(status):
    plain = {key.removeprefix('mask_'): value for key, value in verdict(status).items()}
    del plain['reasons']
    return plain


def test_checks_of_a_coregistration_have_the_same_table():
    tried = [{'start': 'headers', 'status': 'refused'}, {'start': 'centres', 'status': None}]
    found = coregistration('refused') | {'attempts': tried}
    html = checks_html(found, 'The co-registration')
    above, _, folded = html.partition('<details>')
    assert above.startswith('<div class="bad"><strong>The co-registration is REFUSED</strong>')
    assert 'the edge &lt;is&gt; off' in above
    assert 'centres' in above
    assert 'All 2 checks' in folded
    words = warning_words(found, 'The co-registration')
    assert words == 'The co-registration is REFUSED. the edge <is> off'
    assert warning_words(coregistration('accept') | {'reasons': []}, 'It') == ''


def test_checks_that_lack_fields_are_told():
    html = checks_html({'status': 'doubtful', 'checks': [{'name': 'overlap'}, 'odd']}, 'It')
    assert 'overlap' in html
    assert 'All 1 checks' in html


def test_rows_have_the_columns_that_have_values():
    html = rows_html(
        [
            {'contrast': 'T1w', 'image': 'sub-1/anat/sub-1_T1w.nii.gz', 'co-registration': None},
            {'contrast': 'T2w', 'zooms_mm': (0.6, 0.6, 3.3), 'remarks': ['a <b>', 'c'], 'x': ''},
        ]
    )
    assert re.findall(r'<th>([^<]*)</th>', html) == [
        'contrast', 'image', 'voxel size (mm)', 'remarks',
    ]  # fmt: skip
    assert '<td class="file">sub-1_T1w.nii.gz</td>' in html
    assert '<td>0.6 × 0.6 × 3.3</td>' in html
    assert 'a &lt;b&gt;<br>c' in html
    assert html.count('<tr>') == 3
    assert rows_html([]) == rows_html([{'x': None}]) == ''


def test_doubts_in_rows_are_coloured():
    html = rows_html([{'a': 'doubtful: look at it (deepbet)', 'b': 'REFUSED', 'c': 'believed'}])
    assert re.findall(r'<td class="(\w+)">', html) == ['doubtful', 'refused']
