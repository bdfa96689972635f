"""Files that the user has, found by the names that BIDS gives and by their grids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plans import image_record, scans

from mriprep.contrasts import Contrast
from mriprep.given import Given, find_given, same_grid_on_disk
from mriprep.given_names import corrected_paths, lesion_paths, mask_paths, transform_paths
from mriprep.issues import Severity

FINE, THICK = np.diag([1.0, 1, 1, 1]), np.diag([1.0, 1, 5, 1])
SHAPES = {'fine': (4, 5, 6), 'thick': (4, 5, 3)}


class Study:
    """A raw data set and derivative ones, built file by file."""

    def __init__(self, root, make_nifti):
        self.root, self.raw, self.folders = root, root / 'raw', {}
        self._make_nifti = make_nifti

    def put(self, dataset, name, grid='fine'):
        """Write an image."""
        affine = FINE if grid == 'fine' else THICK
        self._make_nifti(f'{dataset}/{name}', np.ones(SHAPES[grid], np.uint8), affine)
        if dataset != 'raw':
            self.folders[dataset] = self.root / dataset

    def transform(self, dataset, name):
        """Write a transform."""
        path = self.root / dataset / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('#Insight Transform File V1.0\n')
        self.folders[dataset] = self.root / dataset

    def image(self, relative, grid='fine'):
        """Write a raw image."""
        self.put('raw', relative, grid)
        return replace(image_record(relative), path=self.raw / relative)

    def images(self, *names, session=None, **grids):
        """Write the images of one session; grids by suffix."""
        return [
            self.image(path, grids.get(name.rpartition('_')[2], 'fine'))
            for name, path in zip(names, scans(*names, session=session), strict=True)
        ]

    def find(self, images, **options):
        return find_given(images, self.folders, raw=self.raw, **options)


@pytest.fixture
def study(tmp_path, make_nifti):
    return Study(tmp_path, make_nifti)


def uris(files):
    return {image: file.uri for image, file in files.items()}


def names(files):
    return {image.rpartition('/')[2]: file.relative.rpartition('/')[2] for image, file in files}


def test_the_first_data_set_and_the_best_name_count(study):
    images = [
        study.image('sub-01/ses-a/anat/sub-01_ses-a_run-2_T1w.nii.gz'),
        study.image('sub-02/anat/sub-02_T1w.nii.gz'),
        study.image('sub-03/anat/sub-03_T1w.nii.gz'),
    ]
    study.put('hand', 'sub-01/ses-a/anat/sub-01_ses-a_desc-brain_mask.nii.gz')
    study.put('hand', 'sub-01/ses-a/anat/sub-01_ses-a_run-2_desc-brain_mask.nii.gz')
    study.put('tool', 'sub-01/ses-a/anat/sub-01_ses-a_run-2_desc-brain_mask.nii.gz')
    study.put('tool', 'sub-02/anat/sub-02_space-T1w_desc-brain_mask.nii')
    # masks of other spaces and of other runs are none of these images
    study.put('tool', 'sub-03/anat/sub-03_space-MNI152Lin_desc-brain_mask.nii.gz')
    study.put('tool', 'sub-03/anat/sub-03_run-2_desc-brain_mask.nii.gz')
    found = study.find(images)
    assert uris(found.masks) == {
        images[0].relative: 'bids:hand:sub-01/ses-a/anat/'
        'sub-01_ses-a_run-2_desc-brain_mask.nii.gz',
        images[1].relative: 'bids:tool:sub-02/anat/sub-02_space-T1w_desc-brain_mask.nii',
    }
    assert found.masks[images[0].relative].path.is_file()


def test_without_data_sets_there_is_none(study):
    assert study.find(study.images('FLAIR', 'T1w')) == Given()


def test_folders_that_are_not_there_hold_nothing(study, tmp_path):
    images = study.images('FLAIR', 'T1w')
    study.folders['gone'] = tmp_path / 'gone'
    assert study.find(images) == Given()
    assert find_given(images, {}, raw=tmp_path / 'gone') == Given()
    nowhere = [image_record(name) for name in scans('T1w')]
    assert study.find(nowhere) == Given()


def test_files_that_were_added_since_are_found(study):
    images = study.images('T1w')
    assert study.find(images).masks == {}
    study.put('hand', 'sub-01/anat/sub-01_desc-brain_mask.nii.gz')
    assert len(study.find(images).masks) == 1


@pytest.mark.parametrize(
    ('grid', 'taken'),
    [
        ('thick', ['T1w']),  # the T2w has slices of its own
        ('fine', ['T2w', 'T1w']),
    ],
)
def test_a_mask_without_a_contrast_is_that_of_the_t1w_unless_the_grids_are_one(study, grid, taken):
    images = study.images('T2w', 'T1w', T2w=grid)
    study.put('hand', 'sub-01/anat/sub-01_desc-brain_mask.nii.gz')
    assert list(study.find(images).masks) == scans(*taken)


def test_a_mask_without_a_contrast_may_be_that_of_another_image_alone(study):
    images = study.images('ce-gd_T1w', 'FLAIR', FLAIR='thick')
    study.put('hand', 'sub-01/anat/sub-01_desc-brain_mask.nii.gz', 'thick')
    assert list(study.find(images).masks) == scans('FLAIR')


def test_masks_that_name_their_contrast(study):
    images = study.images('ce-gd_T1w', 'FLAIR', 'T1w', 'acq-x_T2w', T2w='thick', FLAIR='thick')
    for name in (
        'desc-brain',
        'space-FLAIR_desc-brain',
        'acq-x_space-T2w_desc-brain',
        'ce-gd_space-ceT1w_desc-brain',
    ):
        study.put('mriprep', f'sub-01/anat/sub-01_{name}_mask.nii.gz')
    assert names(study.find(images).masks.items()) == {
        'sub-01_ce-gd_T1w.nii.gz': 'sub-01_ce-gd_space-ceT1w_desc-brain_mask.nii.gz',
        'sub-01_FLAIR.nii.gz': 'sub-01_space-FLAIR_desc-brain_mask.nii.gz',
        'sub-01_T1w.nii.gz': 'sub-01_desc-brain_mask.nii.gz',
        'sub-01_acq-x_T2w.nii.gz': 'sub-01_acq-x_space-T2w_desc-brain_mask.nii.gz',
    }


def test_masks_of_a_run_whose_reference_was_another_contrast(study):
    """There the mask without a contrast is the FLAIR's, and the T1w's says so."""
    images = study.images('FLAIR', 'T1w', FLAIR='thick')
    study.put('mriprep', 'sub-01/anat/sub-01_desc-brain_mask.nii.gz', 'thick')
    study.put('mriprep', 'sub-01/anat/sub-01_space-T1w_desc-brain_mask.nii.gz')
    assert names(study.find(images).masks.items()) == {
        'sub-01_FLAIR.nii.gz': 'sub-01_desc-brain_mask.nii.gz',
        'sub-01_T1w.nii.gz': 'sub-01_space-T1w_desc-brain_mask.nii.gz',
    }


def test_a_mask_on_a_wrong_grid_is_kept_for_the_t1w_so_that_the_mistake_is_told(study):
    images = study.images('FLAIR', 'T1w')
    study.put('hand', 'sub-01/anat/sub-01_desc-brain_mask.nii.gz', 'thick')
    assert list(study.find(images).masks) == scans('T1w')


def test_grids_are_the_same_whatever_the_order_of_their_axes(study, make_nifti, tmp_path):
    affine = np.array([[0, 0, 1.0, -3], [-1, 0, 0, 5], [0, 2, 0, 7], [0, 0, 0, 1]])
    volume = np.ones((4, 5, 6), np.uint8)
    turned = make_nifti('turned.nii.gz', volume, affine)
    # the same voxels, the first axis counted from its other end
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = 3
    flipped = make_nifti('flipped.nii.gz', volume, affine @ flip)
    straight = make_nifti('t.nii.gz', volume.transpose(2, 0, 1), affine[:, [2, 0, 1, 3]])
    shifted = affine.copy()
    shifted[0, 3] += 0.3
    assert same_grid_on_disk(turned, flipped)
    assert same_grid_on_disk(turned, straight)
    assert not same_grid_on_disk(turned, make_nifti('s.nii.gz', volume, shifted))
    assert not same_grid_on_disk(turned, make_nifti('l.nii.gz', volume[1:], affine))
    assert not same_grid_on_disk(turned, tmp_path / 'absent.nii.gz')
    (tmp_path / 'broken.nii').write_text('no image')
    assert not same_grid_on_disk(turned, tmp_path / 'broken.nii')


WAYS = ('from-T1w_to-A', 'from-A_to-T1w')


def xfm(ends, entities='', session=''):
    who = f'sub-01_{session}{entities}'
    folder = 'sub-01/' + (session.rstrip('_') + '/' if session else '')
    return f'{folder}anat/{who}{ends}_mode-image_xfm.h5'


def test_transforms_come_in_pairs(study):
    images = study.images('FLAIR', 'T1w')
    for ends in (*WAYS, 'from-T1w_to-FLAIR', 'from-T1w_to-B+2', 'from-B+2_to-T1w'):
        study.transform('fmriprep', xfm(ends))
    study.transform('fmriprep', 'sub-01/anat/sub-01_from-T1w_to-fsnative_mode-image_xfm.txt')
    found = study.find(images, spaces=('A', 'B+2', 'C')).transforms
    (_, t1w) = scans('FLAIR', 'T1w')
    assert set(found) == {
        (t1w, 'T1w', 'A'), (t1w, 'A', 'T1w'), (t1w, 'T1w', 'B+2'), (t1w, 'B+2', 'T1w')
    }  # fmt: skip
    assert found[t1w, 'T1w', 'A'].uri == f'bids:fmriprep:{xfm(WAYS[0])}'
    study.transform('fmriprep', xfm('from-FLAIR_to-T1w').replace('.h5', '.txt'))
    both = study.find(images).transforms
    assert {key[1:] for key in both if 'FLAIR' in key[1:]} == {
        ('FLAIR', 'T1w'),
        ('T1w', 'FLAIR'),
    }


def test_both_ways_are_of_one_data_set(study):
    images = study.images('T1w')
    study.transform('one', xfm(WAYS[0]))
    study.transform('two', xfm(WAYS[1]))
    assert study.find(images, spaces=['A']).transforms == {}
    study.transform('two', xfm(WAYS[0]))
    found = study.find(images, spaces=['A']).transforms
    assert {file.dataset for file in found.values()} == {'two'}


def test_of_several_runs_a_transform_must_name_its_own(study):
    """Another tool may have chosen another run, or averaged them."""
    images = study.images('run-1_T1w', 'run-2_T1w', 'FLAIR')
    for ends in (*WAYS, 'from-FLAIR_to-T1w', 'from-T1w_to-FLAIR'):
        study.transform('tool', xfm(ends))
    assert study.find(images, spaces=['A']).transforms == {}
    for ends in WAYS:
        study.transform('tool', xfm(ends, 'run-2_'))
    found = study.find(images, spaces=['A']).transforms
    assert {image for image, *_ in found} == set(scans('run-2_T1w'))
    # one run alone needs no name
    alone = study.find([images[0], images[2]], spaces=['A']).transforms
    assert {image for image, *_ in alone} == set(scans('run-1_T1w', 'FLAIR'))


def test_images_without_bias_field(study):
    images = study.images('run-1_T1w', 'FLAIR', FLAIR='thick')
    study.put('tool', 'sub-01/anat/sub-01_run-1_desc-preproc_T1w.nii.gz')
    study.put('tool', 'sub-01/anat/sub-01_desc-n4_FLAIR.nii.gz')  # on a grid of its own
    assert names(study.find(images).corrected.items()) == {
        'sub-01_run-1_T1w.nii.gz': 'sub-01_run-1_desc-preproc_T1w.nii.gz'
    }
    study.put('tool', 'sub-01/anat/sub-01_desc-n4_FLAIR.nii.gz', 'thick')
    assert len(study.find(images).corrected) == 2


def test_an_image_without_bias_field_keeps_every_entity(study):
    images = study.images('run-1_T1w')
    study.put('tool', 'sub-01/anat/sub-01_desc-preproc_T1w.nii.gz')
    assert study.find(images).corrected == {}


@pytest.mark.parametrize('dataset', ['raw', 'hand'])
@pytest.mark.parametrize(
    'name',
    [
        'label-lesion_mask.nii.gz',
        'label-lesion_roi.nii.gz',
        'space-T1w_label-lesion_mask.nii.gz',
        'space-orig_label-lesion_mask.nii',
        'desc-lesion_mask.nii.gz',
        'T1w_label-lesion_roi.nii.gz',
    ],
)
def test_lesion_masks_by_their_many_names(study, dataset, name):
    images = study.images('T1w')
    study.put(dataset, f'sub-01/anat/sub-01_{name}')
    found = study.find(images)
    assert uris(found.lesions) == {images[0].relative: f'bids:{dataset}:sub-01/anat/sub-01_{name}'}
    assert found.issues == ()


def test_a_lesion_belongs_to_the_image_on_whose_grid_it_lies(study):
    images = study.images('FLAIR', 'T1w', session='a', FLAIR='thick')
    study.put('raw', 'sub-01/ses-a/anat/sub-01_ses-a_label-lesion_mask.nii.gz', 'thick')
    found = study.find(images)
    assert list(found.lesions) == scans('FLAIR', session='a')
    assert found.issues == ()


def test_a_lesion_of_another_contrast_or_session_is_not_taken(study):
    images = [*study.images('T1w', session='a'), *study.images('T1w', session='b')]
    study.put('raw', 'sub-01/ses-b/anat/sub-01_ses-b_label-lesion_mask.nii.gz')
    study.put('raw', 'sub-01/ses-a/anat/sub-01_ses-a_space-FLAIR_label-lesion_mask.nii.gz')
    assert list(study.find(images).lesions) == scans('T1w', session='b')


def test_a_lesion_on_no_grid_is_told_once(study):
    images = study.images('FLAIR', 'T1w', session='a')
    study.put('raw', 'sub-01/ses-a/anat/sub-01_ses-a_label-lesion_roi.nii.gz', 'thick')
    found = study.find(images)
    assert found.lesions == {}
    (issue,) = found.issues
    assert issue.severity is Severity.WARNING
    assert (issue.subject, issue.session) == ('01', 'a')
    assert 'sub-01_ses-a_label-lesion_roi.nii.gz lies on the grid of no image' in issue.problem
    assert 'resample it' in issue.remedy
    assert list(found.issues_of('01', 'a')) == [issue]
    assert list(found.issues_of('01', None)) == []


def test_one_lesion_under_two_roofs_is_one(study):
    """The first data set counts; a copy that is not needed is nothing to tell."""
    images = study.images('T1w')
    for dataset in ('hand', 'raw'):
        study.put(dataset, 'sub-01/anat/sub-01_label-lesion_mask.nii.gz')
    found = study.find(images)
    assert [file.dataset for file in found.lesions.values()] == ['hand']
    assert found.issues == ()
    # another one that fits nothing is told
    study.put('raw', 'sub-01/anat/sub-01_label-lesion_mask.nii.gz', 'thick')
    found = study.find(images)
    assert [file.dataset for file in found.lesions.values()] == ['hand']
    assert len(found.issues) == 1


def test_parts_of_series_have_nothing(study):
    images = study.images('echo-1_T1w')
    study.put('hand', 'sub-01/anat/sub-01_desc-brain_mask.nii.gz')
    study.put('raw', 'sub-01/anat/sub-01_label-lesion_mask.nii.gz')
    assert study.find(images) == Given()


@pytest.mark.parametrize(
    'candidates',
    [
        mask_paths(subject='01', session='a', source_entities=[('acq', 'x')]),
        lesion_paths(subject='01', session='a', source_entities=[('acq', 'x')]),
        corrected_paths(subject='01', session='a', source_entities=[('acq', 'x')]),
        transform_paths(subject='01', session='a', ends=('T1w', 'A')),
    ],
    ids=['masks', 'lesions', 'corrected', 'transforms'],
)
def test_no_name_is_looked_for_twice(candidates):
    assert len(set(candidates)) == len(candidates)
    assert all(path.parent.as_posix() == 'sub-01/ses-a/anat' for path in candidates)


def test_names_of_other_contrasts():
    label = Contrast.CE_T1W.label
    masks = mask_paths(subject='01', source_entities=[('ce', 'gd')], label=label)
    assert masks[1].name == 'sub-01_ce-gd_space-ceT1w_desc-brain_mask.nii.gz'
    lesions = lesion_paths(subject='01', source_suffix='FLAIR')
    assert lesions[0].name == 'sub-01_space-FLAIR_label-lesion_mask.nii.gz'
    assert 'sub-01_FLAIR_label-lesion_roi.nii.gz' in {path.name for path in lesions}
