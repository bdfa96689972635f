"""What is tried when a mask is not believed, and which mask is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mriprep.extraction import Finder, find_brain
from mriprep.extractors.base import BrainMap, MapKind, NoBrainError
from mriprep.guard import Check, Status, Verdict

SHAPE = (10, 10, 10)
A, D, R = Status.ACCEPT, Status.DOUBTFUL, Status.REFUSED


def check(status, name='volume'):
    return Check(
        name=name, value=1.0, unit='', accept=(0, 2), believe=(0, 3), status=status,
        words='' if status is A else f'{name} is odd', reason='measured',
    )  # fmt: skip


def verdict(status, *more):
    checks = tuple(check(found) for found in (status, *more))
    return Verdict(status=status, checks=checks, volume_ml=1.0)


def box(start, stop=9):
    mask = np.zeros(SHAPE, np.float32)
    mask[start:stop, 1:9, 1:9] = 1
    return mask


class Bench:
    """Extractors that find what they are told to, and a guard that says what it is told to."""

    def __init__(self, *states):
        self.states = list(states)
        self.seen = []

    def finder(self, name, values, gives=MapKind.PROBABILITY):
        def look(volume):
            self.seen.append((name, float(volume.max())))
            if values is None:
                raise NoBrainError('no brain was found')
            return BrainMap(values=values, device='cpu', remarks=(f'{name} was here',))

        return Finder(name=name, gives=gives, look=look)

    def run(self, first, second=None):
        states = iter(self.states)

        def judge(mask, values):
            return verdict(next(states) if mask.any() else R)

        return find_brain(
            np.ones(SHAPE, np.float32), first, second, judge=judge, even=lambda v: 2 * v
        )


def test_a_mask_that_is_believed_is_kept_at_once():
    bench = Bench(A)
    found = bench.run(bench.finder('net', 0.8 * box(1)), bench.finder('other', box(2)))
    assert found.status is A
    assert found.others == ()
    assert found.rival is None
    assert bench.seen == [('net', 1.0)]
    np.testing.assert_array_equal(found.best.probability, np.float32(0.8) * box(1))


def test_n4_comes_before_the_second_extractor():
    bench = Bench(R, A)
    found = bench.run(bench.finder('net', box(1)), bench.finder('other', box(2)))
    assert bench.seen == [('net', 1.0), ('net', 2.0)]
    assert found.best.name == 'net after N4'
    assert (found.status, found.rival.name) == (A, 'net')


def test_the_second_extractor_sees_the_even_head_and_the_better_mask_is_kept():
    bench = Bench(R, D, A)
    found = bench.run(
        bench.finder('net', box(5)), bench.finder('other', box(1), gives=MapKind.MASK)
    )
    assert bench.seen == [('net', 1.0), ('net', 2.0), ('other', 2.0)]
    assert found.best.extractor == 'other'
    assert found.best.probability is None
    # disagreeing with a mask that is believed less says nothing against this one
    assert found.status is A
    assert found.rival.name == 'net after N4'
    assert found.agreement == pytest.approx(2 * 4 / 12)


@pytest.mark.parametrize(
    ('second', 'status'),
    [(box(1), D), (box(2), D), (box(3, 8), R)],
    ids=['equal', 'near', 'far'],
)
def test_two_doubtful_masks_are_as_good_as_their_agreement(second, status):
    bench = Bench(D, D, D)
    found = bench.run(bench.finder('net', box(1)), bench.finder('other', second))
    assert found.best.extractor == 'net'
    assert found.status is status
    (agreement,) = (item for item in found.best.verdict.checks if item.name == 'agreement')
    assert agreement.value == pytest.approx(found.agreement, abs=1e-4)
    assert (agreement.status is A) == (agreement.words == '')


def test_of_two_doubtful_masks_the_one_with_fewer_doubts_is_kept():
    states = iter([verdict(D, D, D), verdict(D, D), verdict(D)])
    bench = Bench()
    found = find_brain(
        np.ones(SHAPE, np.float32),
        bench.finder('net', box(1)),
        bench.finder('other', box(1)),
        judge=lambda mask, values: next(states),
        even=lambda v: v,
    )
    assert found.best.extractor == 'other'


def test_an_extractor_that_finds_nothing_is_followed_by_the_others():
    bench = Bench(A)
    found = bench.run(bench.finder('net', None), bench.finder('other', box(1)))
    assert [attempt.extractor for attempt in found.others] == ['net', 'net']
    assert found.others[0].remarks == ('no brain was found',)
    assert found.best.extractor == 'other'
    assert found.agreement is None


def test_when_nobody_finds_a_brain_the_empty_mask_is_refused():
    bench = Bench()
    found = bench.run(bench.finder('net', None), bench.finder('other', None))
    assert found.status is R
    assert not found.best.mask.any()


@pytest.mark.parametrize(('first', 'status'), [(R, D), (D, A)])
def test_a_template_s_mask_needs_support(first, status):
    """Its shape is that of a brain, even in a melon."""
    bench = Bench(first, first, A)
    template = replace(bench.finder('template', box(1), MapKind.MASK), from_template=True)
    found = bench.run(bench.finder('net', box(1)), template)
    assert found.best.extractor == 'template'
    assert found.status is status
    assert any('shape of one anyway' in words for words in found.best.verdict.reasons) is (
        status is D
    )


def test_an_empty_mask_is_never_better_than_one_that_can_be_looked_at():
    states = iter([verdict(R, R, R, D), verdict(R, R, R, D)])
    bench = Bench()
    found = find_brain(
        np.ones(SHAPE, np.float32),
        bench.finder('net', box(1)),
        bench.finder('other', None),
        judge=lambda mask, pieces: next(states) if mask.any() else verdict(R),
        even=lambda v: v,
    )
    assert found.best.extractor == 'net'
    assert found.rival.remarks == ('no brain was found',)


def test_a_given_mask_is_compared_and_never_replaced():
    bench = Bench(R, A)
    given = box(1)
    given[0, 0, 0] = 1  # an island stays: the mask is the user's
    found = bench.run(bench.finder('given', given), bench.finder('net', box(1)))
    assert bench.seen == [('given', 1.0), ('net', 1.0)]
    assert found.best.extractor == 'given'
    np.testing.assert_array_equal(found.best.mask, given > 0)
    assert (found.status, found.rival.extractor) == (R, 'net')
    assert found.agreement > 0.99


def test_a_network_s_mask_is_one_body_without_holes():
    values = box(1)
    values[4, 4, 4] = 0
    values[0, 0, 0] = 1
    bench = Bench(A)
    found = bench.run(bench.finder('net', values))
    np.testing.assert_array_equal(found.best.mask, box(1) > 0)
