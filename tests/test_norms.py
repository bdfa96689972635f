"""Volumes of brains by age and sex."""

from __future__ import annotations

import pytest

from mriprep.norms import brain_volume_range


def within(value, limits):
    return limits[0] <= value <= limits[1]


# mean volumes within the skull, or of tissue, as their sources give them
PUBLISHED = [
    (0.0, 'M', 347), (0.0, 'F', 336), (2.0, 'M', 1150), (2.0, 'F', 1000), (3.0, 'M', 1177),
    (3.0, 'F', 1042), (5.0, 'M', 1350), (15.0, 'F', 1300), (30, 'M', 1469), (30, 'F', 1289),
    (75, 'M', 1029), (75, 'F', 903), (99, 'F', 903),
]  # fmt: skip


@pytest.mark.parametrize(('age', 'sex', 'volume'), PUBLISHED)
def test_published_means_are_accepted(age, sex, volume):
    assert within(volume, brain_volume_range(age, sex).accept)


def test_the_same_volume_suits_a_child_and_not_an_adult():
    assert within(600, brain_volume_range(0.25).accept)
    assert not within(600, brain_volume_range(30).believe)
    assert not within(1400, brain_volume_range(0.25).believe)


def test_a_whole_number_of_years_stands_for_the_year_that_it_begins():
    written = brain_volume_range(0)
    assert within(347, written.accept)
    assert within(900, written.accept)  # eleven months
    assert not within(900, brain_volume_range(0.05).accept)


def test_men_and_women_differ_and_no_sex_means_either():
    man, woman, either = (brain_volume_range(40, sex) for sex in ('male', 'F', 'n/a'))
    assert man.accept[0] > woman.accept[0]
    assert man.accept[1] > woman.accept[1]
    assert either.accept == (woman.accept[0], man.accept[1])


def test_without_an_age_small_brains_are_doubted_and_not_refused():
    limits = brain_volume_range()
    assert within(1000, limits.accept)
    assert not within(450, limits.accept)
    assert within(450, limits.believe)
    assert not within(100, limits.believe)
    assert not within(3000, limits.believe)


@pytest.mark.parametrize('age', [0, 0.1, 1, 5, 15, 40, 75, 120, None])
def test_what_is_accepted_is_believed(age):
    limits = brain_volume_range(age)
    assert limits.believe[0] < limits.accept[0] < limits.accept[1] < limits.believe[1]


@pytest.mark.parametrize('age', [-1, 1000, float('nan')])
def test_an_impossible_age_is_said(age):
    with pytest.raises(ValueError, match='can not be'):
        brain_volume_range(age)
