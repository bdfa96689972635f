"""Whole runs with masks, images, transforms and lesions that the user has already."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import nibabel as nb
import numpy as np
import pytest
from contrast_phantoms import (
    PLAIN,
    SAGITTAL,
    as_ras,
    between,
    coarse,
    raw_path,
    scanner,
    write_given,
    write_images,
)
from runs import failures, finished, masks, nodes, run, validate

from mriprep.contrasts import Contrast
from mriprep.itk import write_linear, write_linear_text
from mriprep.overlay import point_map
from mriprep.phantom import head_pose, image_bytes
from mriprep.transforms import linear_matrix

T1W, FLAIR = Contrast.T1W, Contrast.FLAIR
TPL = 'MNI152NLin2009aSym'
LESION_MM = (-28.0, -20.0, 25.0)  # in the head
RADIUS_MM = 20.0
SPHERE_ML = 4 / 3 * np.pi * RADIUS_MM**3 / 1000


def ball(phantom, scan):
    """The lesion on the grid of a scan."""
    centre = nb.affines.apply_affine(head_pose(scan), LESION_MM)
    voxels = np.indices(phantom.volume.shape).reshape(3, -1).T
    apart = np.linalg.norm(nb.affines.apply_affine(phantom.affine, voxels) - centre, axis=1)
    return (apart <= RADIUS_MM).reshape(phantom.volume.shape)


def with_lesion(phantom, scan, brightness):
    volume = np.where(ball(phantom, scan), phantom.volume * brightness, phantom.volume)
    return replace(phantom, volume=volume.astype(np.int16))


def give_transforms(root, subject, to_template):
    """Transforms between contrasts, and to the template, that are true."""

    def path(start, end, extension):
        return raw_path(
            root, f'sub-{subject}_from-{start}_to-{end}_mode-image_xfm', f'.{extension}'
        )

    there = between(PLAIN, SAGITTAL)
    write_linear_text(there, path('FLAIR', 'T1w', 'txt'))
    write_linear(np.linalg.inv(there), path('T1w', 'FLAIR', 'h5'))
    if to_template:
        write_linear(head_pose(PLAIN), path('T1w', TPL, 'h5'))
        write_linear(np.linalg.inv(head_pose(PLAIN)), path(TPL, 'T1w', 'h5'))


@pytest.fixture(scope='module')
def given(tmp_path_factory, embedded_template):
    """Two heads with a lesion; everything of the first is given, of the second no template."""
    root = tmp_path_factory.mktemp('given')
    bids, lab = root / 'bids', root / 'bids/derivatives/lab'
    scan = scanner(embedded_template)
    t1w = with_lesion(scan(T1W, PLAIN), PLAIN, 0.4)
    flair = with_lesion(scan(FLAIR, SAGITTAL), SAGITTAL, 1.6)
    write_images(
        bids,
        {
            f'sub-{label}_{suffix}': phantom
            for label in ('01', '02')
            for suffix, phantom in (('T1w', t1w), ('FLAIR', flair))
        },
    )
    corrected = (t1w.volume / t1w.bias).astype(np.float32)
    files = {'sub-01_desc-preproc_T1w': (corrected, t1w.affine)}
    for label in ('01', '02'):
        files[f'sub-{label}_desc-brain_mask'] = (t1w.brain_mask, t1w.affine)
        files[f'sub-{label}_space-FLAIR_desc-brain_mask'] = (flair.brain_mask, flair.affine)
        lesion = image_bytes(ball(flair, SAGITTAL).astype(np.uint8), flair.affine)
        raw_path(bids, f'sub-{label}_label-lesion_mask').write_bytes(lesion)
    write_given(lab, files)
    give_transforms(lab, '01', to_template=True)
    give_transforms(lab, '02', to_template=False)
    words = [*coarse(root / 'settings'), '-w', root / 'work', '--second-extractor', 'none']
    spaces = ['--output-spaces', 'T1w', f'{TPL}:res-2']
    outs = {name: root / name for name in ('out', 'masked', 'alone')}
    codes = [
        run(bids, outs['out'], *words, *spaces, '-d', f'lab={lab}'),
        run(
            bids, outs['masked'], *words, *spaces, '-d', f'lab={lab}', '--lesion-masking',
            '--participant-label', '02',
        ),
        run(
            bids, outs['alone'], *words, '--extractor', 'given', '--contrasts', 'T1w',
            '--participant-label', '02',
        ),
    ]  # fmt: skip
    return SimpleNamespace(
        bids=bids, lab=lab, codes=codes, t1w=t1w, flair=flair, corrected=corrected, **outs
    )


def file(root, subject, name):
    return root / f'sub-{subject}/anat/sub-{subject}_{name}'


def sidecar(root, subject, name):
    return json.loads(file(root, subject, f'{name}.json').read_text(encoding='utf-8'))


def volume_ml(image):
    return np.asarray(image.dataobj).sum() * abs(np.linalg.det(image.affine)) / 1000


def middle_mm(image):
    voxels = np.argwhere(np.asarray(image.dataobj) > 0)
    return nb.affines.apply_affine(image.affine, voxels).mean(0)


def test_all_is_done(given):
    assert given.codes == [0, 0, 0]
    for out in (given.out, given.masked, given.alone):
        assert failures(out) == []
    assert set(finished(given.out)) == {'sub-01', 'sub-02'}


def test_given_masks_are_used_as_they_are(given):
    for name, phantom in (('', given.t1w), ('space-FLAIR_', given.flair)):
        path = file(given.out, '01', f'{name}desc-brain_mask.nii.gz')
        found = np.asarray(nb.load(path).dataobj) > 0
        np.testing.assert_array_equal(found, as_ras(phantom.brain_mask, phantom.affine))
        told = sidecar(given.out, '01', f'{name}desc-brain_mask')
        assert told['Extractor'] == 'given'
        assert f'bids:lab:sub-01/anat/sub-01_{name}desc-brain_mask.nii.gz' in told['Sources']
    assert {row['mask_extractor'] for row in masks(given.out)} == {'given'}


def test_a_given_image_without_bias_is_used_as_it_is(given):
    found = nb.load(file(given.out, '01', 'desc-preproc_T1w.nii.gz')).get_fdata()
    np.testing.assert_allclose(found, as_ras(given.corrected, given.t1w.affine), rtol=1e-6)
    sources = sidecar(given.out, '01', 'desc-preproc_T1w')['Sources']
    assert 'bids:lab:sub-01/anat/sub-01_desc-preproc_T1w.nii.gz' in sources


@pytest.mark.parametrize(
    ('start', 'end', 'theirs', 'ours'),
    [
        ('FLAIR', 'T1w', 'txt', 'txt'),
        ('T1w', 'FLAIR', 'h5', 'txt'),
        ('T1w', TPL, 'h5', 'h5'),
        (TPL, 'T1w', 'h5', 'h5'),
    ],
)
def test_given_transforms_are_kept(given, start, end, theirs, ours):
    name = f'from-{start}_to-{end}_mode-image_xfm'
    wanted = linear_matrix(file(given.lab, '01', f'{name}.{theirs}'))
    found = linear_matrix(file(given.out, '01', f'{name}.{ours}'))
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    sources = sidecar(given.out, '01', name)['Sources']
    assert sources == [f'bids:lab:sub-01/anat/sub-01_{name}.{theirs}']


def test_nothing_is_computed_that_is_given(given):
    ran = {node.partition('sub_01_wf.')[2] for node in nodes(given.out)}
    steps = {name.rpartition('.')[2] for name in ran}
    assert not steps & {'register', 'coregister'}
    assert 'images_wf.native_wf.finish_wf.bias_wf.n4' not in ran
    # what is not given is
    assert 'images_wf.FLAIR_wf.finish_wf.bias_wf.n4' in ran
    others = {node.partition('sub_02_wf.')[2] for node in nodes(given.out)}
    assert 'images_wf.native_wf.finish_wf.bias_wf.n4' in others
    assert f'templates_wf.{TPL}_wf.registration_wf.register' in others


def test_another_contrast_goes_through_what_is_given(given):
    joined = linear_matrix(file(given.out, '01', f'from-FLAIR_to-{TPL}_mode-image_xfm.h5'))
    np.testing.assert_allclose(joined, between(PLAIN, SAGITTAL) @ head_pose(PLAIN), atol=1e-6)


def test_masks_below_the_raw_data_are_found_without_a_word(given):
    told = sidecar(given.alone, '02', 'desc-brain_mask')
    assert told['Extractor'] == 'given'
    assert 'bids:lab:sub-02/anat/sub-02_desc-brain_mask.nii.gz' in told['Sources']
    links = json.loads((given.alone / 'dataset_description.json').read_text())['DatasetLinks']
    assert (given.alone / links['lab']).resolve() == given.lab.resolve()


@pytest.mark.parametrize('subject', ['01', '02'])
def test_a_lesion_is_carried_to_every_space(given, subject):
    """Drawn on the FLAIR; its volume within a tenth, its middle within 2 mm of the truth."""
    forward = file(given.out, subject, f'from-T1w_to-{TPL}_mode-image_xfm.h5')
    back = file(given.out, subject, f'from-{TPL}_to-T1w_mode-image_xfm.h5')
    native, reference = (
        nb.affines.apply_affine(head_pose(scan), LESION_MM) for scan in (SAGITTAL, PLAIN)
    )
    template = point_map(back)(reference[None])[0]
    size = abs(np.linalg.det(linear_matrix(forward)[:3, :3]))
    for name, like, place, volume in (
        ('label-lesion_mask', 'desc-preproc_FLAIR', native, SPHERE_ML),
        ('space-T1w_label-lesion_mask', 'desc-preproc_T1w', reference, SPHERE_ML),
        (
            f'space-{TPL}_res-2_label-lesion_mask',
            f'space-{TPL}_res-2_desc-brain_mask',
            template,
            SPHERE_ML / size,
        ),
    ):
        name = f'space-FLAIR_{name}' if like.endswith('FLAIR') else name
        lesion = nb.load(file(given.out, subject, f'{name}.nii.gz'))
        grid = nb.load(file(given.out, subject, f'{like}.nii.gz'))
        assert lesion.shape == grid.shape
        np.testing.assert_allclose(lesion.affine, grid.affine, atol=1e-4)
        assert lesion.get_data_dtype() == np.uint8
        assert volume_ml(lesion) == pytest.approx(volume, rel=0.1)
        assert np.linalg.norm(middle_mm(lesion) - place) < 2
        assert sidecar(given.out, subject, name)['VolumeMl'] == pytest.approx(
            volume_ml(lesion), abs=0.01
        )


def test_a_lesion_stands_in_the_report(given):
    for subject in ('01', '02'):
        page = (given.out / f'sub-{subject}.html').read_text(encoding='utf-8')
        assert 'Lesion' in page
        assert 'was not made' not in page
        assert (given.out / f'sub-{subject}/figures/sub-{subject}_desc-lesion_FLAIR.svg').is_file()


def test_lesion_masking_changes_the_registration(given):
    name = f'from-T1w_to-{TPL}_mode-image_xfm'
    plain, masked = (
        linear_matrix(file(out, '02', f'{name}.h5')) for out in (given.out, given.masked)
    )
    image = nb.load(file(given.out, '02', f'space-{TPL}_res-2_desc-brain_mask.nii.gz'))
    points = nb.affines.apply_affine(image.affine, np.argwhere(image.get_fdata() > 0)[::97])
    there = [nb.affines.apply_affine(matrix, points) for matrix in (plain, masked)]
    assert 0.01 < np.linalg.norm(there[0] - there[1], axis=1).mean() < 3
    told = sidecar(given.masked, '02', name)
    (step,) = (step for step in told['Steps'] if step['Name'] == 'register')
    assert step['Parameters']['lesion'] == 'kept out'
    assert 'bids::sub-02/anat/sub-02_space-T1w_label-lesion_mask.nii.gz' in told['Sources']
    (step,) = (
        step for step in sidecar(given.out, '02', name)['Steps'] if step['Name'] == 'register'
    )
    assert 'lesion' not in step['Parameters']


def test_the_output_is_valid(given, bids_validator):
    assert validate(given.out) == []
