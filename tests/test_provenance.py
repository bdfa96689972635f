"""Sidecars: sources that can be followed, parameters that can be repeated, no paths of a machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from plans import (
    FULL,
    FULL_SESSIONS,
    VERSIONS,
    fake_template,
    full_session,
    given_file,
    image_record,
    make_inventory,
    make_plans,
    plan_one,
    plan_session,
    scans,
    settings_for,
)

from mriprep.contrasts import Contrast
from mriprep.given import Given
from mriprep.naming import PATTERNS, Kind, Output
from mriprep.plan import Place
from mriprep.provenance import (
    RAW,
    dataset_description,
    individual_sidecar,
    raw_link,
    resolution_words,
    sidecar,
    source_uri,
    step_record,
)

SPACES = ('A:res-1', 'A:res-native', 'B:cohort-2:res-2', 'T1w')


@pytest.fixture(scope='module')
def plan():
    return plan_one(*SPACES, image='sub-01/ses-a/anat/sub-01_ses-a_run-1_T1w.nii.gz')


@pytest.fixture(scope='module')
def described(plan):
    """Sidecar of each image, mask and transform, by the file's name."""
    return {
        item.path.name: sidecar(item, plan, '1.2.3')
        for item in plan.derivatives
        if PATTERNS[item.output].kind not in (Kind.FIGURE, Kind.METRICS)
    }


def of(described, ending):
    (found,) = (content for name, content in described.items() if name.endswith(ending))
    return found


def strings(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def test_every_sidecar_is_json(described):
    for content in described.values():
        assert json.loads(json.dumps(content)) == content


def test_no_sidecar_tells_whose_machine_it_was(described):
    for content in described.values():
        for text in strings(content):
            assert '/home' not in text
            assert 'secret' not in text
            assert not text.startswith(('/', '~'))


def test_sources_are_uris_of_planned_files_or_of_the_raw_image(plan, described):
    known = {f'bids::{item.path}' for item in plan.derivatives}
    known.add(f'bids:{RAW}:{plan.reference.relative}')
    for name, content in described.items():
        assert content['Sources'], name
        assert set(content['Sources']) <= known, name
        assert len(set(content['Sources'])) == len(content['Sources'])


def test_no_file_is_its_own_source_not_even_by_a_detour(plan):
    sources = {
        f'bids::{item.path}': sidecar(item, plan, '1')['Sources']
        for item in plan.derivatives
        if PATTERNS[item.output].kind not in (Kind.FIGURE, Kind.METRICS)
    }

    def origins(uri, seen=()):
        assert uri not in seen
        if uri not in sources:
            return {uri}
        return set().union(*(origins(source, (*seen, uri)) for source in sources[uri]))

    for uri in sources:
        assert origins(uri) == {source_uri(plan.reference)}


def test_an_image_in_template_space_comes_through_its_own_transform(described):
    content = of(described, 'space-B+2_res-2_desc-zscore_T1w.nii.gz')
    assert [re.sub(r'.*/sub-01_ses-a_run-1_', '', uri) for uri in content['Sources']] == [
        'desc-preproc_T1w.nii.gz',
        'desc-brain_mask.nii.gz',
        'from-T1w_to-B+2_mode-image_xfm.h5',
    ]


@pytest.mark.parametrize(
    ('ending', 'names'),
    [
        ('run-1_desc-preproc_T1w.nii.gz', ['conform', 'bias']),
        ('run-1_desc-brain_mask.nii.gz', ['conform', 'extract']),
        ('run-1_desc-zscore_T1w.nii.gz', ['conform', 'extract', 'bias', 'normalize']),
        ('from-T1w_to-A_mode-image_xfm.h5', ['register']),
        ('space-A_res-1_desc-brain_mask.nii.gz', ['conform', 'extract', 'register', 'resample']),
        (
            'space-B+2_res-2_desc-zscore_T1w.nii.gz',
            ['conform', 'extract', 'bias', 'register', 'resample', 'normalize'],
        ),
    ],
)
def test_a_sidecar_lists_the_steps_that_made_its_file_in_their_order(described, ending, names):
    assert [step['Name'] for step in of(described, ending)['Steps']] == names


def test_steps_of_another_template_are_left_out(described):
    steps = of(described, 'space-B+2_res-2_desc-preproc_T1w.nii.gz')['Steps']
    (resampling,) = (step for step in steps if step['Name'] == 'resample')
    assert resampling['Parameters']['grids'] == 'B:cohort-2:res-2'


def test_registration_is_recorded_with_seed_transform_version_and_template(described):
    content = of(described, 'from-T1w_to-A_mode-image_xfm.h5')
    (step,) = content['Steps']
    assert step['Tool'] == 'antsRegistration'
    assert step['Version'] == '2.5.0'
    assert step['Parameters']['transform'] == 'affine'
    assert isinstance(step['Parameters']['random_seed'], int)
    assert content['Template'] == {
        'Name': 'A',
        'Source': 'TemplateFlow',
        'SHA256': {'t1.nii.gz': 'c0ffee'},
    }
    assert content['GeneratedBy'] == [{'Name': 'mriprep', 'Version': '1.2.3'}]


@pytest.mark.parametrize(
    ('ending', 'stripped'),
    [('_desc-preproc_T1w.nii.gz', False), ('_desc-brain_T1w.nii.gz', True)],
)
def test_skull_stripped_is_said_of_images(described, ending, stripped):
    found = [content for name, content in described.items() if name.endswith(ending)]
    assert len(found) == 4
    assert {content['SkullStripped'] for content in found} == {stripped}


def test_masks_have_a_type_and_transforms_no_space(described):
    mask = of(described, 'run-1_desc-brain_mask.nii.gz')
    assert mask['Type'] == 'Brain'
    assert mask['SpatialReference'] == 'orig'
    assert 'SkullStripped' not in mask
    assert 'Resolution' not in mask
    assert 'SpatialReference' not in of(described, 'from-B+2_to-T1w_mode-image_xfm.h5')


def test_the_spatial_reference_is_a_file_of_the_template(described):
    content = of(described, 'space-A_res-1_desc-preproc_T1w.nii.gz')
    assert content['SpatialReference'] == 'tpl-A/t1.nii.gz'


def test_the_spatial_reference_of_a_cohort_lies_in_its_folder_of_templateflow(described):
    content = of(described, 'space-B+2_res-2_desc-preproc_T1w.nii.gz')
    assert content['SpatialReference'] == 'tpl-B/cohort-2/t1.nii.gz'


@pytest.mark.parametrize(
    ('word', 'text'),
    [
        ('A:res-2', '2.00 x 2.00 x 2.00 mm, grid 2 of A'),
        ('A:cohort-1:res-1', '1.00 x 1.00 x 1.00 mm, grid 1 of A+1'),
        ('A:res-native', '0.70 x 0.67 x 3.00 mm, the voxel size of the reference image'),
    ],
)
def test_resolution_in_words(word, text):
    assert resolution_words(fake_template(word), (0.7, 0.67, 3.0)) == text


def test_a_step_is_written_with_all_its_parameters(plan):
    for step in plan.steps:
        assert step_record(step)['Parameters'] == dict(step.parameters)


LINKS = [
    ('/data/study/bids', '/data/study/out', '../bids'),
    ('/data/study/bids', '/data/study/bids/derivatives/mriprep', '../..'),
    ('/data/my study/bids', '/data/my study/out', '../bids'),
    ('/data/a b/bids', '/data/out', '../a%20b/bids'),
    ('/data/bids', '/scratch/out', 'bids'),
    ('/home/jo/bids', '/home/ann/out', 'bids'),
    ('/home/jo/work/bids', '/home/jo/out', '../work/bids'),
]


@pytest.mark.parametrize(('root', 'out', 'link'), LINKS)
def test_the_way_to_the_raw_data_climbs_neither_to_the_root_nor_through_homes(
    monkeypatch, root, out, link
):
    monkeypatch.setenv('HOME', '/home/jo')
    assert raw_link(make_inventory((), root=Path(root)), Path(out)) == link


def test_no_user_name_is_told_by_a_run_whose_own_home_is_elsewhere(monkeypatch):
    monkeypatch.setenv('HOME', '/root')
    link = raw_link(make_inventory((), root=Path('/home/jo/bids')), Path('/home/ann/out'))
    assert 'jo' not in link


@pytest.mark.parametrize(
    'doi', ['10.18112/openneuro.ds1.v1', 'doi:10.18112/openneuro.ds1.v1',
            'https://doi.org/10.18112/openneuro.ds1.v1']
)  # fmt: skip
def test_a_doi_goes_before_everything(doi):
    inventory = make_inventory((), doi=doi)
    assert raw_link(inventory, Path('/out')) == 'https://doi.org/10.18112/openneuro.ds1.v1'


def test_the_description_names_tools_and_container(monkeypatch):
    monkeypatch.setenv('MRIPREP_CONTAINER', 'docker:mriprep:1.2.3')
    inventory = make_inventory((), doi='10.1/x')
    made = dataset_description(inventory, Path('/o'), '1.2.3', {'ANTs': '2.5', 'torch': '9'})
    assert made['DatasetType'] == 'derivative'
    assert made['DatasetLinks'] == {RAW: 'https://doi.org/10.1/x'}
    assert made['SourceDatasets'] == [{'DOI': '10.1/x'}]
    assert made['GeneratedBy'] == [
        {
            'Name': 'mriprep',
            'Version': '1.2.3',
            'Container': {'Type': 'docker', 'Tag': 'mriprep:1.2.3'},
        },
        {'Name': 'ANTs', 'Version': '2.5'},
    ]


def test_the_description_without_container_and_links_tells_no_path(monkeypatch):
    monkeypatch.delenv('MRIPREP_CONTAINER', raising=False)
    made = dataset_description(make_inventory(()), Path('/out/x'), '1', {})
    assert 'SourceDatasets' not in made
    assert 'Container' not in made['GeneratedBy'][0]
    assert not any(text.startswith('/') or 'secret' in text for text in strings(made))


MERGED = {'merge_runs': True}
SUBJECTS = {
    'one session': (FULL, {}),
    'reference FLAIR': (FULL, {'images': {**MERGED, 'reference': 'FLAIR'}}),
    'masks of the reference': (FULL, {'images': {**MERGED, 'masks': 'reference'}}),
    'lesion kept out': (FULL, {'registration': {'lesion_masking': True}}),
    'longitudinal': (FULL_SESSIONS, {'images': {**MERGED, 'longitudinal': True}}),
}


def sidecars_of(subject, settings):
    """Sidecar of each image, mask and transform of a subject, by the URI of its file."""
    out = {}
    for session in subject.sessions:
        for item in session.derivatives:
            if PATTERNS[item.output].kind not in (Kind.FIGURE, Kind.METRICS):
                out[f'bids::{item.path}'] = sidecar(item, session, '1.2.3')
    for item in subject.individual.derivatives if subject.individual else ():
        if PATTERNS[item.output].kind is not Kind.METRICS:
            words = individual_sidecar(item, subject.individual, '1.2.3')
            out[f'bids::{item.path}'] = words
    return out


@pytest.fixture(scope='module', params=SUBJECTS)
def subject(request):
    images, values = SUBJECTS[request.param]
    return full_session(images, **values)


@pytest.fixture(scope='module')
def sidecars(subject):
    return sidecars_of(subject, settings_for('A'))


def test_every_source_is_a_file_that_is_planned_raw_or_given(subject, sidecars):
    raw = {
        source_uri(source)
        for session in subject.sessions
        for image in session.images
        for source in image.choice.sources
    }
    lesions = {session.lesion.lesion.uri for session in subject.sessions}
    for uri, content in sidecars.items():
        assert content['Sources'], uri
        assert set(content['Sources']) <= raw | lesions | set(sidecars), uri
        assert len(set(content['Sources'])) == len(content['Sources']), uri


def test_sources_lead_back_to_raw_and_given_files_without_a_circle(subject, sidecars):
    known = {}

    def origins(uri, seen=()):
        assert uri not in seen, (uri, seen)
        if uri not in sidecars:
            return {uri}
        if uri not in known:
            found = [origins(source, (*seen, uri)) for source in sidecars[uri]['Sources']]
            known[uri] = set().union(*found)
        return known[uri]

    for session in subject.sessions:
        for item in session.derivatives:
            uri = f'bids::{item.path}'
            image = next(one for one in session.images if one.contrast is item.contrast)
            if uri in sidecars and item.output is not Output.LESION:
                assert {source_uri(source) for source in image.choice.sources} <= origins(uri), uri


def test_spatial_references_can_be_followed(subject, sidecars):
    for uri, content in sidecars.items():
        where = content.get('SpatialReference', 'orig')
        if where.startswith('bids::'):
            assert where in sidecars, uri
            assert content['Resolution'] == (
                f'the grid of {subject.sessions[0].main.contrast.words}, the reference'
            )
        else:
            assert where in ('orig', 'individual') or where.startswith('tpl-'), uri
        assert ('_space-' not in uri) or ('SpatialReference' in content) or 'xfm' in uri


def test_no_sidecar_of_a_session_tells_whose_machine_it_was(sidecars):
    for content in sidecars.values():
        assert json.loads(json.dumps(content)) == content
        for text in strings(content):
            assert '/home' not in text
            assert 'secret' not in text
            assert not text.startswith(('/', '~'))


def test_files_on_a_grid_of_many_resolutions_say_which(sidecars):
    for uri, content in sidecars.items():
        assert '_res-' not in uri or content['Resolution'], uri


def steps_of(content):
    return [step['Name'] for step in content['Steps']]


def of_uri(sidecars, ending):
    (found,) = (content for uri, content in sidecars.items() if uri.endswith(ending))
    return found


@pytest.fixture(scope='module')
def full():
    return sidecars_of(full_session(), settings_for('A'))


@pytest.mark.parametrize(
    ('ending', 'names'),
    [
        ('01_desc-preproc_FLAIR.nii.gz', ['conform', 'bias']),
        ('01_space-FLAIR_desc-brain_mask.nii.gz', ['conform', 'extract']),
        ('01_desc-preproc_T2w.nii.gz', ['conform', 'merge', 'bias']),
        ('run-2_from-orig_to-T2w_mode-image_xfm.txt', ['conform', 'merge']),
        ('01_from-FLAIR_to-T1w_mode-image_xfm.txt', ['coregister']),
        ('01_from-T1w_to-FLAIR_mode-image_xfm.txt', ['coregister']),
        ('space-T1w_desc-preproc_FLAIR.nii.gz', ['conform', 'coregister', 'bias', 'resample']),
        (
            '01_space-T1w_desc-zscore_T2w.nii.gz',
            ['conform', 'merge', 'extract', 'coregister', 'bias', 'resample', 'normalize'],
        ),
        ('01_from-FLAIR_to-A_mode-image_xfm.h5', ['coregister', 'register']),
        ('01_from-A_to-T1w_mode-image_xfm.h5', ['register']),
        (
            '01_space-A_res-1_desc-preproc_FLAIR.nii.gz',
            ['conform', 'coregister', 'bias', 'register', 'resample'],
        ),
        ('01_space-A_res-1_desc-preproc_T1w.nii.gz', ['conform', 'bias', 'register', 'resample']),
        ('01_space-FLAIR_label-lesion_mask.nii.gz', ['conform']),
        ('01_space-T1w_label-lesion_mask.nii.gz', ['conform', 'coregister', 'resample']),
        (
            'space-A_res-2_label-lesion_mask.nii.gz',
            ['conform', 'coregister', 'register', 'resample'],
        ),
    ],
)
def test_steps_of_other_contrasts(full, ending, names):
    assert steps_of(of_uri(full, ending)) == names


def test_steps_that_lead_to_one_grid_name_that_grid_alone(full):
    def grids(ending):
        content = of_uri(full, ending)
        return [s['Parameters']['grids'] for s in content['Steps'] if s['Name'] == 'resample']

    assert grids('01_space-T1w_desc-preproc_FLAIR.nii.gz') == ['the reference']
    assert grids('space-B+2_res-2_desc-preproc_FLAIR.nii.gz') == ['B:cohort-2:res-2']


def sources_of(sidecars, ending):
    return [
        uri.replace('bids::sub-01/anat/sub-01_', '').replace(
            'bids:raw:sub-01/anat/sub-01_', 'raw '
        )
        for uri in of_uri(sidecars, ending)['Sources']
    ]


@pytest.mark.parametrize(
    ('ending', 'sources'),
    [
        ('01_desc-preproc_T2w.nii.gz', ['raw run-1_T2w.nii.gz', 'raw run-2_T2w.nii.gz']),
        (
            '01_from-FLAIR_to-T1w_mode-image_xfm.txt',
            ['raw FLAIR.nii.gz', 'desc-preproc_T1w.nii.gz', 'desc-brain_mask.nii.gz'],
        ),
        (
            '01_space-T1w_desc-preproc_FLAIR.nii.gz',
            ['desc-preproc_FLAIR.nii.gz', 'from-FLAIR_to-T1w_mode-image_xfm.txt'],
        ),
        (
            '01_space-T1w_desc-brain_FLAIR.nii.gz',
            [
                'desc-preproc_FLAIR.nii.gz',
                'desc-brain_mask.nii.gz',
                'from-FLAIR_to-T1w_mode-image_xfm.txt',
            ],
        ),
        (
            '01_from-FLAIR_to-A_mode-image_xfm.h5',
            ['from-FLAIR_to-T1w_mode-image_xfm.txt', 'from-T1w_to-A_mode-image_xfm.h5'],
        ),
        (
            '01_from-A_to-FLAIR_mode-image_xfm.h5',
            ['from-T1w_to-FLAIR_mode-image_xfm.txt', 'from-A_to-T1w_mode-image_xfm.h5'],
        ),
        (
            '01_space-A_res-1_desc-preproc_FLAIR.nii.gz',
            ['desc-preproc_FLAIR.nii.gz', 'from-FLAIR_to-A_mode-image_xfm.h5'],
        ),
        (
            '01_space-A_res-1_desc-brain_mask.nii.gz',
            ['desc-brain_mask.nii.gz', 'from-T1w_to-A_mode-image_xfm.h5'],
        ),
        (
            '01_space-A_res-1_label-lesion_mask.nii.gz',
            ['space-FLAIR_label-lesion_mask.nii.gz', 'from-FLAIR_to-A_mode-image_xfm.h5'],
        ),
    ],
)
def test_sources_of_other_contrasts(full, ending, sources):
    assert sources_of(full, ending) == sources


def test_types_of_masks(full):
    assert of_uri(full, 'space-T1w_label-lesion_mask.nii.gz')['Type'] == 'Lesion'
    assert of_uri(full, 'space-FLAIR_desc-brain_mask.nii.gz')['Type'] == 'Brain'


def test_a_mask_that_is_carried_over_says_so():
    _, values = SUBJECTS['masks of the reference']
    content = sidecars_of(full_session(FULL, **values), settings_for('A'))
    assert sources_of(content, '01_space-FLAIR_desc-brain_mask.nii.gz') == [
        'raw FLAIR.nii.gz',
        'desc-brain_mask.nii.gz',
        'from-T1w_to-FLAIR_mode-image_xfm.txt',
    ]
    steps = of_uri(content, '01_space-FLAIR_desc-brain_mask.nii.gz')['Steps']
    assert steps[-1]['Parameters'] == {'chosen': 'the mask of the reference'}


def test_a_lesion_that_is_kept_out_of_the_metric_is_a_source_of_the_transform():
    _, values = SUBJECTS['lesion kept out']
    content = sidecars_of(full_session(FULL, **values), settings_for('A'))
    ending = '01_from-T1w_to-A_mode-image_xfm.h5'
    assert 'space-T1w_label-lesion_mask.nii.gz' in sources_of(content, ending)
    (step,) = of_uri(content, ending)['Steps']
    assert step['Parameters']['lesion'] == 'kept out'


@pytest.mark.parametrize('stripped', [True, False])
def test_what_was_stripped_before_is_stripped_everywhere(stripped):
    images = [image_record(scans('FLAIR')[0], stripped=stripped), *scans('T1w')]
    session = plan_session(images, 'A')
    told = {
        (item.contrast, item.output): sidecar(item, session, '1')['SkullStripped']
        for item in session.derivatives
        if PATTERNS[item.output].kind is Kind.IMAGE
    }
    assert told[Contrast.FLAIR, Output.PREPROC] is stripped
    assert told[Contrast.FLAIR, Output.ZSCORE] is stripped
    assert told[Contrast.T1W, Output.PREPROC] is False
    assert told[Contrast.T1W, Output.BRAIN] is told[Contrast.FLAIR, Output.BRAIN] is True


def test_given_files_are_sources_in_the_place_of_what_they_replace():
    flair, t1w = scans('FLAIR', 'T1w')
    given = Given(
        masks={flair: given_file('mask.nii.gz')},
        corrected={t1w: given_file('n4.nii.gz')},
        transforms={
            (flair, 'FLAIR', 'T1w'): given_file('to.txt'),
            (flair, 'T1w', 'FLAIR'): given_file('from.txt'),
            (t1w, 'T1w', 'A'): given_file('there.h5'),
            (t1w, 'A', 'T1w'): given_file('back.h5'),
        },
    )
    (subject,) = make_plans([flair, t1w], settings_for('A'), given=given)
    content = sidecars_of(subject, settings_for('A'))
    for ending, sources in (
        ('space-FLAIR_desc-brain_mask.nii.gz', ['raw FLAIR.nii.gz', 'bids:hand:mask.nii.gz']),
        ('01_desc-preproc_T1w.nii.gz', ['raw T1w.nii.gz', 'bids:hand:n4.nii.gz']),
        ('from-FLAIR_to-T1w_mode-image_xfm.txt', ['bids:hand:to.txt']),
        ('from-T1w_to-FLAIR_mode-image_xfm.txt', ['bids:hand:from.txt']),
        ('from-T1w_to-A_mode-image_xfm.h5', ['bids:hand:there.h5']),
        ('from-A_to-T1w_mode-image_xfm.h5', ['bids:hand:back.h5']),
    ):
        assert sources_of(content, ending) == sources
    tools = {step['Tool'] for step in of_uri(content, 'from-T1w_to-A_mode-image_xfm.h5')['Steps']}
    assert tools == {'given'}


@pytest.fixture(scope='module')
def longitudinal():
    images, values = SUBJECTS['longitudinal']
    return full_session(images, **values)


def test_the_way_through_the_mean_is_told(longitudinal):
    content = sidecars_of(longitudinal, settings_for('A'))
    ending = 'ses-b_from-T1w_to-A_mode-image_xfm.h5'
    assert of_uri(content, ending)['Sources'] == [
        'bids::sub-01/ses-b/anat/sub-01_ses-b_from-T1w_to-individual_mode-image_xfm.txt',
        'bids::sub-01/anat/sub-01_from-individual_to-A_mode-image_xfm.h5',
    ]
    assert of_uri(content, 'ses-b_from-A_to-T1w_mode-image_xfm.h5')['Sources'] == [
        'bids::sub-01/ses-b/anat/sub-01_ses-b_from-individual_to-T1w_mode-image_xfm.txt',
        'bids::sub-01/anat/sub-01_from-A_to-individual_mode-image_xfm.h5',
    ]
    assert steps_of(of_uri(content, ending)) == ['longitudinal', 'register']
    assert steps_of(of_uri(content, 'ses-b_space-A_res-1_desc-preproc_FLAIR.nii.gz')) == [
        'conform', 'coregister', 'bias', 'longitudinal', 'register', 'resample'
    ]  # fmt: skip
    assert steps_of(of_uri(content, 'ses-a_from-T1w_to-individual_mode-image_xfm.txt')) == [
        'longitudinal'
    ]


def test_the_mean_is_made_of_all_sessions(longitudinal):
    content = sidecars_of(longitudinal, settings_for('A'))
    mean = of_uri(content, '01_space-individual_desc-preproc_T1w.nii.gz')
    assert mean['Sources'] == [
        f'bids::{session.derivative(output).path}'
        for session in longitudinal.sessions
        for output in (Output.PREPROC, Output.BRAIN_MASK)
    ]
    assert mean['SpatialReference'] == 'individual'
    assert mean['SkullStripped'] is False
    assert steps_of(mean) == ['longitudinal']
    assert mean['Steps'][0]['Parameters']['sessions'] == 2
    way = of_uri(content, '01_from-individual_to-B+2_mode-image_xfm.h5')
    assert way['Sources'] == [
        f'bids::sub-01/anat/sub-01_space-individual_desc-{name}.nii.gz'
        for name in ('preproc_T1w', 'brain_mask')
    ]
    (step,) = way['Steps']
    assert (step['Name'], step['Version']) == ('register', VERSIONS['ANTs'])
    assert way['Template']['Name'] == 'B+2'


def test_the_mean_of_stripped_images_is_stripped():
    images = [
        image_record(path, stripped=True)
        for session in 'ab'
        for path in scans('T1w', session=session)
    ]
    settings = settings_for('A', images={'longitudinal': True})
    (subject,) = make_plans(images, settings)
    words = individual_sidecar(subject.individual.derivatives[0], subject.individual, '1')
    assert words['SkullStripped'] is True


def test_all_contrasts_on_the_reference_refer_to_its_image(full):
    for uri, content in full.items():
        if '_space-T1w_' in uri:
            assert content['SpatialReference'] == (
                'bids::sub-01/anat/sub-01_desc-preproc_T1w.nii.gz'
            )


def test_every_place_of_every_contrast_is_described():
    (session,) = full_session().sessions
    seen = {(item.contrast, item.place) for item in session.derivatives}
    for contrast in Contrast:
        assert (contrast, Place.NATIVE) in seen
        assert (contrast, Place.TEMPLATE) in seen
        assert ((contrast, Place.REFERENCE) in seen) is (contrast is not Contrast.T1W)


def test_data_sets_of_given_files_are_linked():
    made = dataset_description(
        make_inventory((), root=Path('/data/study/bids')),
        Path('/data/study/out'),
        '1',
        {},
        given={'hand': Path('/data/study/hand drawn'), 'far': Path('/other/far')},
    )
    assert made['DatasetLinks'] == {RAW: '../bids', 'hand': '../hand%20drawn', 'far': 'far'}
