"""Whole runs without a T1w, with another reference, on stripped images and on wrong names."""

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
    THICK,
    as_ras,
    between,
    brain_points,
    distance_mm,
    raw_path,
    scanner,
    write_given,
    write_images,
)
from runs import failures, finished, half_written, masks, nodes, quick, run, snapshot, validate

from mriprep.contrasts import Contrast
from mriprep.transforms import linear_matrix
from mriprep.truth import dice

T1W, T2W, FLAIR = Contrast.T1W, Contrast.T2W, Contrast.FLAIR


def stripped(phantom):
    """What is left of a scan without skull."""
    return replace(phantom, volume=np.where(phantom.brain_mask, phantom.volume, 0))


@pytest.fixture(scope='module')
def odd(tmp_path_factory, embedded_template):
    """Subjects without a T1w, one with a wrong name, and one without skull."""
    root = tmp_path_factory.mktemp('odd')
    scan = scanner(embedded_template)
    images = {
        'sub-flair_FLAIR': scan(FLAIR, SAGITTAL),
        'sub-t2_T2w': scan(T2W, THICK),
        'sub-liar_T2w': scan(T1W, PLAIN),
        'sub-bare_T1w': stripped(scan(T1W, PLAIN)),
        'sub-bare_FLAIR': stripped(scan(FLAIR, SAGITTAL)),
    }
    write_images(root / 'bids', images)
    given = {'sub-flair': 'FLAIR', 'sub-t2': 'T2w', 'sub-liar': 'T2w'}
    phantoms = {name: images[f'{name}_{suffix}'] for name, suffix in given.items()}
    write_given(
        root / 'hand',
        {
            f'{name}_desc-brain_mask': (phantom.brain_mask, phantom.affine)
            for name, phantom in phantoms.items()
        },
    )
    words = ['-w', root / 'work', *quick(root / 'settings')]
    words += ['-d', f'hand={root / "hand"}', '--second-extractor', 'none']
    code = run(root / 'bids', root / 'out', *words)
    return SimpleNamespace(
        bids=root / 'bids', out=root / 'out', code=code, words=words, images=images
    )


def names(done, subject):
    """Images and transforms of a subject."""
    anat = done.out / f'sub-{subject}/anat'
    return {path.name.removeprefix(f'sub-{subject}_') for path in anat.glob('*[zt]')}


def test_all_of_the_odd_ones_are_done(odd):
    assert odd.code == 0
    assert failures(odd.out) == []
    assert set(finished(odd.out)) == {'sub-flair', 'sub-t2', 'sub-liar', 'sub-bare'}
    assert 'register' not in {node.rpartition('.')[2] for node in nodes(odd.out)}


@pytest.mark.parametrize(('subject', 'suffix'), [('flair', 'FLAIR'), ('t2', 'T2w')])
def test_a_contrast_alone_is_the_reference(odd, subject, suffix):
    assert names(odd, subject) == {
        f'desc-preproc_{suffix}.nii.gz',
        f'desc-brain_{suffix}.nii.gz',
        f'desc-zscore_{suffix}.nii.gz',
        'desc-brain_mask.nii.gz',
    }
    phantom = odd.images[f'sub-{subject}_{suffix}']
    anat = odd.out / f'sub-{subject}/anat'
    mask = np.asarray(nb.load(anat / f'sub-{subject}_desc-brain_mask.nii.gz').dataobj) > 0
    np.testing.assert_array_equal(mask, as_ras(phantom.brain_mask, phantom.affine))
    page = (odd.out / f'sub-{subject}.html').read_text(encoding='utf-8')
    assert 'was not made' not in page


def test_a_wrong_name_is_doubted_in_table_sidecar_and_report(odd):
    rows = {row['participant_id']: row for row in masks(odd.out) if row['contrast'] != 'T1w'}
    assert rows['sub-flair']['contrast_doubt'] == 'n/a'
    assert rows['sub-t2']['contrast_doubt'] == 'n/a'
    doubt = rows['sub-liar']['contrast_doubt']
    assert 'is named T2w' in doubt
    assert 'as in T1w' in doubt
    told = json.loads((odd.out / 'sub-liar/anat/sub-liar_desc-iqms_T2w.json').read_text())
    assert told['contrast_doubt'] == doubt
    assert doubt in (odd.out / 'sub-liar.html').read_text(encoding='utf-8')
    # it keeps the name that it has
    assert 'desc-preproc_T2w.nii.gz' in names(odd, 'liar')


def test_stripped_images_are_recognised_and_keep_their_masks(odd):
    rows = {row['contrast']: row for row in masks(odd.out) if row['participant_id'] == 'sub-bare'}
    assert {row['mask_extractor'] for row in rows.values()} == {'stripped'}
    assert {row['mask_status'] for row in rows.values()} == {'accept'}
    for suffix, place in (('T1w', ''), ('FLAIR', 'space-FLAIR_')):
        phantom = odd.images[f'sub-bare_{suffix}']
        path = odd.out / f'sub-bare/anat/sub-bare_{place}desc-brain_mask.nii.gz'
        found = np.asarray(nb.load(path).dataobj) > 0
        assert dice(found, as_ras(phantom.brain_mask, phantom.affine)) > 0.98
    assert 'brain without its head' in (odd.out / 'sub-bare.html').read_text(encoding='utf-8')


def test_stripped_images_go_through_everything_else(odd):
    assert {
        'from-FLAIR_to-T1w_mode-image_xfm.txt', 'from-T1w_to-FLAIR_mode-image_xfm.txt',
        'space-T1w_desc-preproc_FLAIR.nii.gz', 'space-T1w_desc-zscore_FLAIR.nii.gz',
        'desc-preproc_T1w.nii.gz', 'desc-zscore_FLAIR.nii.gz',
    } <= names(odd, 'bare')  # fmt: skip
    found = linear_matrix(odd.out / 'sub-bare/anat/sub-bare_from-FLAIR_to-T1w_mode-image_xfm.txt')
    points = brain_points(odd.images['sub-bare_T1w'])
    assert distance_mm(found, between(PLAIN, SAGITTAL), points) < 1


def test_output_of_the_odd_ones_is_valid(odd, bids_validator):
    assert validate(odd.out) == []


def test_finished_contrasts_are_not_done_again(odd, capsys):
    before = {path: path.stat().st_mtime_ns for path in odd.out.glob('sub-*/*/*')}
    assert run(odd.bids, odd.out, *odd.words) == 0
    assert '4 of 4 sessions are finished' in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.fixture(scope='module')
def turned(tmp_path_factory, embedded_template):
    """FLAIR as the reference of a T1w; a T2w that nobody asked for is damaged."""
    root = tmp_path_factory.mktemp('turned')
    scan = scanner(embedded_template)
    images = {'sub-01_T1w': scan(T1W, PLAIN), 'sub-01_FLAIR': scan(FLAIR, SAGITTAL)}
    write_images(root / 'bids', images)
    raw_path(root / 'bids', 'sub-01_T2w').write_bytes(b'not found')
    write_given(
        root / 'hand',
        {
            f'sub-01_space-{suffix}_desc-brain_mask': (phantom.brain_mask, phantom.affine)
            for suffix, phantom in (
                ('T1w', images['sub-01_T1w']),
                ('FLAIR', images['sub-01_FLAIR']),
            )
        },
    )
    before = snapshot(root / 'bids')
    code = run(
        root / 'bids', root / 'out', '-w', root / 'work', *quick(root / 'settings'),
        '-d', f'hand={root / "hand"}', '--second-extractor', 'none',
        '--reference-contrast', 'FLAIR', '--contrasts', 'T1w', 'FLAIR',
    )  # fmt: skip
    return SimpleNamespace(
        bids=root / 'bids', out=root / 'out', code=code, images=images, before=before
    )


def test_another_contrast_can_be_the_reference(turned):
    assert turned.code == 0
    assert {
        'desc-preproc_FLAIR.nii.gz', 'desc-brain_mask.nii.gz', 'space-T1w_desc-brain_mask.nii.gz',
        'space-FLAIR_desc-preproc_T1w.nii.gz', 'from-T1w_to-FLAIR_mode-image_xfm.txt',
    } <= names(turned, '01')  # fmt: skip
    anat = turned.out / 'sub-01/anat'
    moved, like = (
        nb.load(anat / f'sub-01_{name}.nii.gz')
        for name in ('space-FLAIR_desc-preproc_T1w', 'desc-preproc_FLAIR')
    )
    assert moved.shape == like.shape
    np.testing.assert_allclose(moved.affine, like.affine, atol=1e-4)
    found = linear_matrix(anat / 'sub-01_from-T1w_to-FLAIR_mode-image_xfm.txt')
    points = brain_points(turned.images['sub-01_FLAIR'])
    assert distance_mm(found, between(SAGITTAL, PLAIN), points) < 1


def test_contrasts_that_are_not_asked_for_are_not_touched(turned):
    assert failures(turned.out) == []
    assert not list(turned.out.rglob('*T2w*'))
    assert 'T2w' not in {row['contrast'] for row in masks(turned.out)}
    assert snapshot(turned.bids) == turned.before
    assert half_written(turned.out) == []
