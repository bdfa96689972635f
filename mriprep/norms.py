"""How large a brain is, by age and sex.

A mask that an extractor makes holds the brain with the fluid in and around it: more than the tissue
alone, less than the space within the skull. So both bound it, with margins that cover people as
well as methods.

Sources of the table (M, F: men, women):

- birth: tissue 347 (M) and 336 ml (F), 64 % more after 90 days. Holland et al. (2014), JAMA Neurol
  71:1266, doi:10.1001/jamaneurol.2014.1638.
- first two years: tissue grows by 101 %, then 15 %. Knickmeyer et al. (2008), J Neurosci 28:12176,
  doi:10.1523/JNEUROSCI.3479-08.2008.
- 2, 5 and 15 years: within the skull 1150, 1350, 1500 ml (M) and 1000, 1200, 1300 ml (F). Sgouros
  et al. (1999), J Neurosurg 91:610, doi:10.3171/jns.1999.91.4.0610.
- adults: within the skull 1469 (SD 102, M) and 1289 ml (SD 111, F), the same at all ages from 24 to
  80; tissue 1302 (SD 112, M) and 1143 ml (SD 105, F), 88.6 % of it, falling after 40. Matsumae et
  al. (1996), J Neurosurg 84:982, doi:10.3171/jns.1996.84.6.0982.
- 71 to 80 years: as much tissue as at 2 years. Courchesne et al. (2000), Radiology 216:672,
  doi:10.1148/radiology.216.3.r00au37672.

Where only one of the two was found, the other follows from 88.6 %.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple


class _Row(NamedTuple):
    age_years: float
    tissue_m: float
    tissue_f: float
    skull_m: float
    skull_f: float


_TABLE = (
    _Row(0.0, 347, 336, 392, 379),
    _Row(0.25, 569, 551, 642, 622),
    _Row(1.0, 850, 824, 960, 930),
    _Row(2.0, 978, 886, 1150, 1000),
    _Row(5.0, 1196, 1063, 1350, 1200),
    _Row(15.0, 1302, 1143, 1500, 1300),
    _Row(40.0, 1302, 1143, 1469, 1289),
    _Row(75.0, 1029, 903, 1469, 1289),
)
# Standard deviations are 7 to 9 % of the mean in Matsumae's adults; 10 % leaves room for methods.
_ACCEPT = (0.70, 1.35)  # 3 below the tissue, 3.5 above the space within the skull
_BELIEVE = (0.55, 1.70)  # 4.5 below, 7 above: microcephaly and hydrocephalus lie within
_AGE_UNKNOWN_FROM = 5.0  # a smaller brain is doubted unless the age explains it


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRange:
    """Volumes of a mask in ml: plausible ones, and those that are possible at all."""

    accept: tuple[float, float]
    believe: tuple[float, float]


def brain_volume_range(age_years: float | None = None, sex: str | None = None) -> VolumeRange:
    """Volumes that a brain mask may have.

    Parameters
    ----------
    age_years : float, optional
        A whole number stands for the year that it begins, as ages are commonly written. None: any
        age; brains smaller than those of five-year-olds are then doubtful.
    sex : str, optional
        ``M`` or ``F``, any case, or words that begin so; anything else means either.

    Raises
    ------
    ValueError
        If the age is negative or not a number.

    Examples
    --------
    >>> adult = brain_volume_range(30, 'F')
    >>> adult.accept[0] < 1289 < adult.accept[1], adult.believe[0] > 600
    (True, True)
    """
    if age_years is None:
        accept = _range(_ages(_AGE_UNKNOWN_FROM, 40.0), sex, _ACCEPT)
        return VolumeRange(accept=accept, believe=_range(_ages(0.0, 100.0), sex, _BELIEVE))
    if not 0 <= age_years < 200:
        raise ValueError(f'an age of {age_years} years can not be; give years, or leave it out')
    last = age_years + 1 if float(age_years).is_integer() else age_years
    ages = _ages(age_years, last)
    return VolumeRange(accept=_range(ages, sex, _ACCEPT), believe=_range(ages, sex, _BELIEVE))


def _ages(first: float, last: float) -> list[float]:
    """Ages between which volumes change on straight lines."""
    return [first, *(row.age_years for row in _TABLE if first < row.age_years < last), last]


def _range(
    ages: list[float], sex: str | None, factors: tuple[float, float]
) -> tuple[float, float]:
    rows = [_at(age) for age in ages]
    letter = (sex or '').strip()[:1].upper()
    tissue = [row.tissue_m for row in rows if letter != 'F']
    tissue += [row.tissue_f for row in rows if letter != 'M']
    skull = [row.skull_m for row in rows if letter != 'F']
    skull += [row.skull_f for row in rows if letter != 'M']
    return round(factors[0] * min(tissue)), round(factors[1] * max(skull))


def _at(age_years: float) -> _Row:
    """Interpolate the table; before and after it the ends hold."""
    place = bisect_right([row.age_years for row in _TABLE], age_years)
    if place == len(_TABLE):
        return _TABLE[-1]
    before, after = _TABLE[place - 1], _TABLE[place]
    part = (age_years - before.age_years) / (after.age_years - before.age_years)
    return _Row(*(a + part * (b - a) for a, b in zip(before, after, strict=True)))
