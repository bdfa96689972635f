"""The saved transforms, read by others: ANTs gives the saved image back, nitransforms agrees."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from runs import whole_run

from mriprep.settings import Space
from mriprep.templates import find_template
from mriprep.tools import activate

TPL = 'MNI152NLin2009aSym'
SUBJECTS = ('sub-01', 'sub-02')


@pytest.fixture(scope='module')
def done(tmp_path_factory, tiny_head, tiny_left_handed_head):
    activate()
    return whole_run(tmp_path_factory, {'01': tiny_head, '02': tiny_left_handed_head})


@pytest.fixture(scope='module')
def phantoms(tiny_head, tiny_left_handed_head):
    return {'sub-01': tiny_head, 'sub-02': tiny_left_handed_head}


def saved(done, subject: str, name: str) -> Path:
    return done.out / subject / 'anat' / f'{subject}_{name}'


def forward(done, subject: str) -> Path:
    """Resamples an image onto the template; takes points of the template to the image."""
    return saved(done, subject, f'from-T1w_to-{TPL}_mode-image_xfm.h5')


def inverse(done, subject: str) -> Path:
    return saved(done, subject, f'from-{TPL}_to-T1w_mode-image_xfm.h5')


def resample(image: Path, grid: Path, transform: Path, out: Path, *words: str) -> np.ndarray:
    """Apply a transform with the ANTs program."""
    subprocess.run(
        ['antsApplyTransforms', '-d', '3', '-i', image, '-r', grid, '-t', transform, '-o', out,
         *words],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return nb.load(out).get_fdata()


def move(points: np.ndarray, folder: Path, *transforms: Path) -> np.ndarray:
    """Take RAS points through transforms, the first first, with the ANTs program."""
    table, moved = folder / 'points.csv', folder / 'moved.csv'
    flip = np.array([-1, -1, 1])  # ITK's points are LPS
    with table.open('w', newline='') as stream:
        writer = csv.writer(stream)
        writer.writerow(['x', 'y', 'z', 't'])
        writer.writerows([*row, 0] for row in (points * flip).tolist())
    words = [word for transform in transforms for word in ('-t', transform)]
    subprocess.run(
        ['antsApplyTransformsToPoints', '-d', '3', '-p', '1', '-i', table, '-o', moved, *words],
        check=True,
        capture_output=True,
    )
    return np.loadtxt(moved, delimiter=',', skiprows=1, ndmin=2)[:, :3] * flip


def brain_points(path: Path, count: int = 200) -> np.ndarray:
    """RAS mm of voxels spread over a mask."""
    image = nb.load(path)
    voxels = np.argwhere(np.asarray(image.dataobj) > 0)
    voxels = voxels[:: max(1, len(voxels) // count)]
    return nb.affines.apply_affine(image.affine, voxels)


@pytest.mark.parametrize('subject', SUBJECTS)
def test_ants_gives_the_saved_images_back(done, subject, template_cache, tmp_path):
    grid = find_template(Space(TPL, None, '2'), template_cache, offline=True).reference
    head = saved(done, subject, 'desc-preproc_T1w.nii.gz')
    ours = resample(
        head, grid, forward(done, subject), tmp_path / 'head.nii', '-n', 'BSpline', '--float', '1'
    )
    theirs = nb.load(saved(done, subject, f'space-{TPL}_res-2_desc-preproc_T1w.nii.gz'))
    np.testing.assert_allclose(ours, theirs.get_fdata(), atol=1e-5 * ours.max())
    np.testing.assert_allclose(nb.load(grid).affine, theirs.affine)
    mask = saved(done, subject, 'desc-brain_mask.nii.gz')
    ours = resample(
        mask, grid, forward(done, subject), tmp_path / 'mask.nii', '-n', 'GenericLabel'
    )
    theirs = nb.load(saved(done, subject, f'space-{TPL}_res-2_desc-brain_mask.nii.gz'))
    np.testing.assert_array_equal(ours, theirs.get_fdata())


@pytest.mark.parametrize('subject', SUBJECTS)
def test_there_and_back_again(done, subject, tmp_path):
    points = brain_points(saved(done, subject, 'desc-brain_mask.nii.gz'))
    there = move(points, tmp_path, inverse(done, subject))
    back = move(there, tmp_path, forward(done, subject))
    assert np.linalg.norm(there - points, axis=1).max() > 1, 'the transform does something'
    assert np.linalg.norm(back - points, axis=1).max() < 0.01


@pytest.mark.parametrize('subject', SUBJECTS)
@pytest.mark.parametrize('way', [forward, inverse])
def test_nitransforms_maps_points_as_ants_does(done, subject, way, tmp_path):
    from nitransforms.linear import load

    mask = saved(done, subject, f'space-{TPL}_res-2_desc-brain_mask.nii.gz')
    points, path = brain_points(mask), way(done, subject)
    theirs = load(path, fmt='itk').map(points)
    np.testing.assert_allclose(theirs, move(points, tmp_path, path), atol=1e-3)


@pytest.mark.parametrize('subject', SUBJECTS)
def test_brains_meet_the_template(done, subject, phantoms, tmp_path):
    """Points of the template come within 4 mm of where the true linear pose puts them."""
    points = brain_points(saved(done, subject, f'space-{TPL}_res-2_desc-brain_mask.nii.gz'))
    true = nb.affines.apply_affine(phantoms[subject].linear, points)
    ours = move(points, tmp_path, forward(done, subject))
    assert np.linalg.norm(ours - true, axis=1).mean() < 4


@pytest.mark.parametrize('subject', SUBJECTS)
def test_left_stays_left(done, subject, phantoms, tmp_path):
    phantom = phantoms[subject]
    for point, side in ((phantom.marker_mm, -1), (phantom.mirror_mm, 1)):
        x = move(point[None], tmp_path, inverse(done, subject))[0, 0]
        assert x * side > 40, 'RAS: left is negative'
    image = nb.load(saved(done, subject, f'space-{TPL}_res-2_desc-preproc_T1w.nii.gz'))
    volume = image.get_fdata()
    bright = {}
    for name, point in (('left', phantom.marker_mm), ('right', phantom.mirror_mm)):
        place = move(point[None], tmp_path, inverse(done, subject))[0]
        i, j, k = np.round(nb.affines.apply_affine(np.linalg.inv(image.affine), place)).astype(int)
        low = [max(0, n - 2) for n in (i, j, k)]
        bright[name] = volume[low[0] : i + 3, low[1] : j + 3, low[2] : k + 3].max()
    assert bright['left'] > 1.2 * bright['right'], 'the capsule lies on the left'
