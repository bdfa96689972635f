"""Sidecars: sources that can be followed, parameters that can be repeated, no paths of a machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from plans import fake_template, make_inventory, plan_one

from mriprep.naming import PATTERNS, Kind
from mriprep.provenance import (
    RAW,
    dataset_description,
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
        ('A:res-native', '0.70 x 0.67 x 3.00 mm, the voxel size of the source image'),
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
