"""Methods text: says what the steps say, and every citation is a work with a DOI."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from mriprep.prose import (
    bibliography,
    citations,
    methods_bibliography,
    methods_text,
    references,
    resolved,
)


@dataclass(frozen=True, kw_only=True)
class _Step:
    name: str
    tool: str = 'tool'
    version: str = '1.0'
    parameters: dict = field(default_factory=dict)
    space: str | None = None


VERSIONS = {'mriprep': '0.3', 'nipype': '1.11'}


@pytest.mark.parametrize(
    ('step', 'told'),
    [
        (_Step(name='conform'), ['without interpolation']),
        (
            _Step(name='extract', tool='deepbet', parameters={'mask_threshold': 0.4}),
            ['deepbet', 'Fisch et al., 2024', 'above 0.4'],
        ),
        (
            _Step(
                name='extract',
                tool='hd-bet',
                parameters={
                    'mask_threshold': 0.5,
                    'test_time_augmentation': True,
                    'second': 'synthstrip 0.0.1',
                },
            ),
            ['HD-BET', 'Isensee et al., 2019', 'mirrored images', 'SynthStrip', 'Hoopes et al.'],
        ),
        (
            _Step(name='extract', tool='given', parameters={'second': 'template 2.5'}),
            ['masks were given', 'Wells et al., 1996'],
        ),
        (_Step(name='extract', tool='theirs', version='7'), ['*theirs* 7']),
        (
            _Step(name='bias', tool='N4X', parameters={'fit_voxel_mm': 3, 'iterations': [9, 8]}),
            ['N4X', 'Tustison et al., 2010', 'samples 3 mm apart', '9×8 iterations'],
        ),
        (
            _Step(name='register', parameters={'transform': 'rigid'}, space='MNI152NLin2009aSym'),
            ['rigid', 'Fonov et al., 2011', 'Abraham et al., 2014', 'Avants et al., 2014'],
        ),
        (
            _Step(name='register', parameters={'transform': 'syn'}, space='MNIPediatricAsym+3'),
            ['SyN', 'Avants et al., 2008', 'cohort 3', 'Ciric et al., 2022'],
        ),
        (
            _Step(name='resample', parameters={'images': 'Linear', 'masks': 'GenericLabel'}),
            ['single interpolation', 'images with Linear', 'masks with GenericLabel'],
        ),
        (
            _Step(name='normalize', parameters={'method': 'zscore'}),
            ['mean 0', 'Reinhold et al., 2019'],
        ),
    ],
    ids=lambda value: value.name if isinstance(value, _Step) else '',
)
def test_each_step_is_told_with_its_parameters(step, told):
    text = methods_text([step], VERSIONS)
    body, listed = text.split('### References')
    for words in told:
        assert words in body
    for author, year in re.findall(r'(\w+) et al\., (\d{4})', body):
        assert re.search(rf'^- {author} .*\({year}\)', listed, flags=re.MULTILINE)
    assert '@' not in text


def test_what_was_not_done_is_not_told():
    text = methods_text([_Step(name='conform')], VERSIONS)
    for absent in ('SyN', 'N4', 'deepbet', 'z-score', 'TemplateFlow'):
        assert absent not in text


def test_affine_does_not_cite_syn():
    steps = [_Step(name='register', parameters={'transform': 'affine'}, space='MNI152NLin6Asym')]
    text = methods_text(steps, VERSIONS)
    assert 'Evans et al., 2012' in text
    assert '2008' not in text


def test_templates_share_a_sentence_and_sessions_are_told_once():
    steps = [
        _Step(name='conform'),
        _Step(name='register', space='MNI152NLin2009aSym'),
        _Step(name='register', space='MNI152NLin6Asym'),
    ]
    text = methods_text(steps, VERSIONS)
    assert text.count('The brain was registered') == 1
    assert '*MNI152NLin6Asym*' in text
    assert methods_text(steps * 2, VERSIONS) == text


def test_versions_are_told_when_known():
    assert '*mriprep* 0.3' in methods_text([], VERSIONS)
    assert 'unknown' not in methods_text([_Step(name='bias', version='unknown')], {})


def test_bibtex_holds_exactly_the_works_cited():
    steps = [_Step(name='bias'), _Step(name='normalize')]
    bibtex = methods_bibliography(steps, VERSIONS)
    keys = re.findall(r'^@\w+\{(\w+),$', bibtex, flags=re.MULTILINE)
    assert {'tustison2010', 'reinhold2019', 'gorgolewski2011'} <= set(keys)
    assert 'avants2008' not in keys
    assert keys == sorted(set(keys))
    assert len(keys) == methods_text(steps, VERSIONS).count('\n- ')


@pytest.mark.parametrize('key', sorted(references()))
def test_each_work_is_whole(key):
    work = references()[key]
    assert re.fullmatch(r'10\.\d{4,9}/\S+', work.doi)
    assert work.authors
    assert work.title
    assert work.bibtex.count('{') == work.bibtex.count('}')
    assert work.bibtex.isascii()
    link = re.search(r'\]\((https://doi\.org/[^()\s]+)\)$', work.full)
    assert link, 'parentheses in a DOI would break the Markdown link'


def test_unknown_key_is_an_error():
    with pytest.raises(KeyError, match='nobody1900'):
        resolved('as known [@nobody1900]')
    with pytest.raises(KeyError, match='nobody1900'):
        bibliography(['nobody1900'])


def test_citations_keep_the_order_of_mention():
    assert citations('a [@yarkoni2019; @avants2008] b [@yarkoni2019] c@d.org') == (
        'yarkoni2019',
        'avants2008',
    )
