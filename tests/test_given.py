"""Masks that the user has, found by the names that BIDS gives."""

from __future__ import annotations

from plans import image_record

from mriprep.given import find_masks


def put(root, name):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'')


def test_the_first_data_set_and_the_best_name_count(tmp_path):
    images = [
        image_record('sub-01/ses-a/anat/sub-01_ses-a_run-2_T1w.nii.gz'),
        image_record('sub-02/anat/sub-02_T1w.nii.gz'),
        image_record('sub-03/anat/sub-03_T1w.nii.gz'),
    ]
    hand, tool = tmp_path / 'hand', tmp_path / 'tool'
    put(hand, 'sub-01/ses-a/anat/sub-01_ses-a_desc-brain_mask.nii.gz')
    put(hand, 'sub-01/ses-a/anat/sub-01_ses-a_run-2_desc-brain_mask.nii.gz')
    put(tool, 'sub-01/ses-a/anat/sub-01_ses-a_run-2_desc-brain_mask.nii.gz')
    put(tool, 'sub-02/anat/sub-02_space-T1w_desc-brain_mask.nii')
    # masks of other spaces and of other runs are none of these images
    put(tool, 'sub-03/anat/sub-03_space-MNI152Lin_desc-brain_mask.nii.gz')
    put(tool, 'sub-03/anat/sub-03_run-2_desc-brain_mask.nii.gz')
    found = find_masks(images, {'hand': hand, 'tool': tool})
    assert {image: mask.uri for image, mask in found.items()} == {
        images[0].relative: 'bids:hand:sub-01/ses-a/anat/'
        'sub-01_ses-a_run-2_desc-brain_mask.nii.gz',
        images[1].relative: 'bids:tool:sub-02/anat/sub-02_space-T1w_desc-brain_mask.nii',
    }
    assert found[images[0].relative].path.is_file()


def test_without_data_sets_there_is_none():
    assert find_masks([image_record('sub-01/anat/sub-01_T1w.nii.gz')], {}) == {}
