"""Which mask of a contrast is kept: its own, the reference's, or none."""

from __future__ import annotations

import pytest

from mriprep.extractors.verdicts import choose_mask


def own(status, extractor='deepbet', volume=1400.0):
    return {
        'mask_status': status,
        'mask_extractor': extractor,
        'mask_volume_ml': volume,
        'mask_reasons': [] if status == 'accept' else ['It is too small.'],
        'mask_checks': []
        if status != 'refused'
        else [{'status': 'refused', 'words': 'It is too small.'}],
        'contrast_doubt': 'odd',
    }


def registered(status):
    words = '' if status == 'accept' else 'The brains do not overlap.'
    return {'status': status, 'checks': [{'name': 'overlap', 'words': words}]}


@pytest.mark.parametrize(
    ('mask', 'pose', 'kept'),
    [
        ('accept', 'accept', True),
        ('accept', 'refused', True),
        ('doubtful', 'accept', False),
        ('doubtful', 'doubtful', True),
        ('doubtful', 'refused', True),
        ('refused', 'accept', False),
        ('refused', 'doubtful', False),
        ('refused', 'refused', None),
    ],
)
def test_its_own_mask_is_kept_when_it_is_believed_more(mask, pose, kept):
    if kept is None:
        with pytest.raises(ValueError, match='could not be registered to the reference'):
            choose_mask(own(mask), registered(pose))
        return
    chosen = choose_mask(own(mask), registered(pose))
    assert chosen.own is kept
    record = chosen.record
    assert record['mask_source'] == ('own' if kept else 'reference')
    assert record['mask_status'] == (mask if kept else pose)
    assert record['coregistration_status'] == pose
    assert record['contrast_doubt'] == 'odd'
    if not kept:
        assert record['own_mask_status'] == mask
        assert record['own_mask_reasons'] == ['It is too small.']


def test_a_given_mask_is_never_replaced():
    assert choose_mask(own('doubtful', 'given'), registered('accept')).own
    with pytest.raises(ValueError, match='the brain mask is refused'):
        choose_mask(own('refused', 'given'), registered('accept'))
    assert choose_mask(own('refused', 'given'), registered('accept'), force=True).own


def test_without_an_own_mask_the_reference_s_is_taken():
    chosen = choose_mask(None, registered('accept'))
    assert not chosen.own
    assert chosen.record['mask_extractor'] == 'reference'
    assert chosen.record['mask_reasons'] == []
    with pytest.raises(ValueError, match=r'does it show the same head\?'):
        choose_mask(None, registered('refused'))


def test_force_goes_on_with_what_is_refused():
    assert choose_mask(own('refused'), registered('refused'), force=True).own
    assert not choose_mask(None, registered('refused'), force=True).own


def test_an_empty_mask_is_never_kept():
    assert not choose_mask(own('refused', volume=0), registered('refused'), force=True).own


def test_a_given_transform_is_believed():
    assert not choose_mask(own('doubtful'), None).own
    assert 'coregistration_status' not in choose_mask(own('accept'), None).record
