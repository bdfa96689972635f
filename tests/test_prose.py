"""Methods text: says what the steps say, and every citation is a work with a DOI."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from plans import full_session, make_plans, scans, settings_for

from mriprep.contrasts import Contrast
from mriprep.prose import methods_bibliography, methods_text
from mriprep.works import bibliography, citations, references, resolved


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
            _Step(
                name='resample',
                parameters={'grids': 'the reference', 'images': 'BSpline'},
                space='reference',
            ),
            ['to the grid of the reference image with a single interpolation', 'with BSpline'],
        ),
        (
            _Step(name='merge', parameters={'runs': 2}),
            ['several runs', 'halfway', 'Reuter et al., 2010', 'Reuter et al., 2012'],
        ),
        (
            _Step(name='longitudinal', parameters={'sessions': 3}),
            ['sessions of a subject', 'treats all sessions alike', 'Reuter et al., 2012'],
        ),
        (
            _Step(name='coregister', tool='mriprep', parameters={'transform': 'rigid'}),
            ['registered to its reference image', 'mutual information', 'Wells et al., 1996'],
        ),
        (
            _Step(name='coregister', tool='given'),
            ['Transforms of other contrasts to the reference image were given'],
        ),
        (_Step(name='bias', tool='given'), ['Images without bias field were given']),
        (_Step(name='register', tool='given', space='A'), ['Transforms to templates were given']),
        (
            _Step(name='extract', tool='stripped', parameters={'second': 'deepbet 1.0'}),
            ['had been stripped before', 'taken from the image', 'Fisch et al., 2024'],
        ),
        (
            _Step(name='extract', tool='mriprep'),
            ['mask of the reference image was carried over to other contrasts'],
        ),
        (
            _Step(name='register', parameters={'lesion': 'kept out'}, space='MNI152NLin6Asym'),
            ['keeping lesions that had been drawn out of the metric'],
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


@pytest.mark.parametrize(
    ('contrasts', 'words'),
    [
        (['T1w'], 'T1-weighted (T1w) images, organised'),
        (['T1w', 'FLAIR'], 'T1-weighted (T1w) and FLAIR images, organised'),
        (
            ['ce-T1w', 'T2w', 'FLAIR'],
            'T1-weighted contrast-enhanced, T2-weighted (T2w) and FLAIR images, organised',
        ),
        ([], 'Structural images, organised'),
    ],
)
def test_contrasts_are_named(contrasts, words):
    assert words in methods_text([], VERSIONS, contrasts)


def test_every_contrast_has_words():
    openings = {methods_text([], {}, [contrast]).split(' images, ')[0] for contrast in Contrast}
    assert len(openings) == len(Contrast)
    assert all('weighted' in words or words.endswith('FLAIR') for words in openings)


def test_images_go_to_reference_and_templates_in_one_sentence():
    steps = [
        _Step(name='resample', parameters={'images': 'BSpline'}, space='reference'),
        _Step(
            name='resample',
            parameters={'images': 'BSpline', 'masks': 'GenericLabel'},
            space='MNI152NLin6Asym',
        ),
    ]
    text = methods_text(steps, VERSIONS)
    assert text.count('Each image was brought') == 1
    assert 'to the grid of the reference image and of each template with a single' in text
    assert 'masks with GenericLabel' in text


def test_templates_are_named_once_however_many_ways_lead_there():
    """Sessions with and without a lesion, through a mean or with a given transform."""
    space = 'MNI152NLin6Asym'
    steps = [
        _Step(name='register', tool='given', space='MNIPediatricAsym+3'),
        _Step(name='register', parameters={'transform': 'affine'}, space=space),
        _Step(
            name='register', parameters={'transform': 'affine', 'lesion': 'kept out'}, space=space
        ),
    ]
    text = methods_text(steps, VERSIONS)
    assert text.count(f'*{space}*') == 1
    assert 'MNIPediatricAsym' not in text
    assert 'keeping lesions' in text
    assert 'Where transforms were given, they were used.' in text


@pytest.mark.parametrize('name', ['coregister', 'bias', 'register'])
def test_what_is_given_for_some_is_told_beside_what_was_made(name):
    made = _Step(name=name, tool='mriprep', space='A' if name == 'register' else None)
    given = _Step(name=name, tool='given', space=made.space)
    for steps in ([made, given], [given, made]):
        text = methods_text(steps, VERSIONS)
        assert 'given, they were used' in text
    assert 'given, they were used' not in methods_text([made], VERSIONS)
    assert 'were given.' in methods_text([given], VERSIONS)


@pytest.mark.parametrize(
    'values',
    [
        {},
        {'images': {'merge_runs': True, 'masks': 'reference'}},
        {'registration': {'transform': 'syn', 'lesion_masking': True}},
        {'brain': {'extractor': 'deepbet'}, 'normalization': 'none'},
    ],
)
def test_steps_of_whole_sessions_can_be_told(values):
    (session,) = full_session(**values).sessions
    contrasts = [image.contrast.value for image in session.images]
    text = methods_text(session.steps, VERSIONS, contrasts)
    assert '@' not in text
    assert '  ' not in text.split('###')[1]
    for step in session.steps:
        words = {
            'coregister': 'registered to its reference image',
            'merge': 'averaged robustly',
            'normalize': 'standardised',
        }
        assert words.get(step.name.value, '') in text
    keys = re.findall(
        r'^@\w+\{(\w+),$',
        methods_bibliography(session.steps, VERSIONS, contrasts),
        flags=re.MULTILINE,
    )
    assert {'wells1996', 'tustison2010', 'avants2011'} <= set(keys)
    assert len(keys) == text.count('\n- ')


def test_masks_from_everywhere_are_told_with_one_word_about_the_guard():
    second = {'second': 'deepbet 1.0'}
    steps = [
        _Step(name='extract', tool='given', parameters=second),
        _Step(name='extract', tool='hd-bet', parameters={'second': 'synthstrip'}),
        _Step(name='extract', tool='mriprep'),
        _Step(name='extract', tool='stripped', parameters=second),
    ]
    text = methods_text(steps, VERSIONS)
    assert text.count('Each mask was checked') == 1
    for words in (
        'extracted with a convolutional network, *HD-BET*',
        'Where brain masks were given, they were used.',
        'the mask was taken from the image',
        'carried over to other contrasts',
        'and then with a convolutional network, *SynthStrip*',
        'a doubtful one from elsewhere was compared with a mask from',
        'network, *deepbet* 1.0',
    ):
        assert words in text


def test_sessions_that_go_through_their_mean_are_told():
    images = [*scans('T1w', session='a'), *scans('T1w', session='b')]
    (subject,) = make_plans(images, settings_for('A', images={'longitudinal': True}))
    text = methods_text(subject.sessions[0].steps, VERSIONS)
    order = ('robust mean', 'The brain was registered', 'Each image was brought')
    places = [text.index(words) for words in order]
    assert places == sorted(places)


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
