"""Ages and sexes as people write them."""

from __future__ import annotations

import pytest

from mriprep.participants import Person, person


@pytest.mark.parametrize(
    ('row', 'expected'),
    [
        ({}, Person()),
        ({'age': '7.5', 'sex': 'M'}, Person(age_years=7.5, sex='male')),
        ({'Age': ' 31 ', 'Gender': 'female'}, Person(age_years=31, sex='female')),
        ({'age': '0', 'sex': 'n/a'}, Person(age_years=0)),
        ({'age': '89+'}, Person(age_years=89)),
        ({'age': '1,5'}, Person()),
        ({'age': '-3'}, Person()),
        ({'age': '1975'}, Person()),  # a year of birth
    ],
)
def test_rows(row, expected):
    assert person(row) == expected
