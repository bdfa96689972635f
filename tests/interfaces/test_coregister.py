"""Co-registration on files: transforms that other tools read, a verdict, metadata."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from two_contrasts import miss, pose, t1w_of, t2w_of

from mriprep.interfaces.coregister import Coregister
from mriprep.tools import activate


@pytest.fixture
def files(coarse_head, make_nifti):
    """A reference and another contrast, moved; paths, and the move."""
    rng = np.random.default_rng(3)
    move = pose(coarse_head, (4, -6, 3), (3, 5, -4))
    reference, other = t1w_of(coarse_head, rng), t2w_of(coarse_head, rng, move=move)
    paths = {
        'in_reference': make_nifti('t1w.nii.gz', reference.volume, reference.affine),
        'in_reference_mask': make_nifti('t1w_mask.nii.gz', reference.mask, reference.affine),
        'in_file': make_nifti('t2w.nii.gz', other.volume, other.affine),
        'in_mask': make_nifti('t2w_mask.nii.gz', other.mask, other.affine),
    }
    return paths, move


def resample(tmp_path, image, grid, transform):
    """Carry an image over with antsApplyTransforms."""
    activate()
    out = tmp_path / 'carried.nii'
    words = ['antsApplyTransforms', '-d', '3', '-i', image, '-r', grid, '-t', transform]
    subprocess.run(
        [*words, '-n', 'NearestNeighbor', '-o', str(out)], check=True, capture_output=True
    )
    return np.asanyarray(nb.load(out).dataobj) > 0


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_ants_carries_masks_both_ways(tmp_path, files):
    paths, _ = files
    found = Coregister(**paths).run(cwd=tmp_path).outputs
    here, there = (
        np.asanyarray(nb.load(paths[name]).dataobj) > 0
        for name in ('in_reference_mask', 'in_mask')
    )
    before = resample(tmp_path, paths['in_mask'], paths['in_reference'], 'identity')
    onto = resample(tmp_path, paths['in_mask'], paths['in_reference'], found.forward)
    back = resample(tmp_path, paths['in_reference_mask'], paths['in_file'], found.inverse)
    assert dice(before, here) < 0.95 < dice(onto, here)
    assert dice(back, there) > 0.95


def test_the_text_holds_the_pose(tmp_path, files, coarse_head):
    nitransforms = pytest.importorskip('nitransforms')
    paths, move = files
    found = Coregister(**paths).run(cwd=tmp_path).outputs
    forward, inverse = (
        nitransforms.linear.load(path, fmt='itk').matrix for path in (found.forward, found.inverse)
    )
    assert miss(forward, move, coarse_head) < 0.6
    # nitransforms reads in single precision
    np.testing.assert_allclose(forward @ inverse, np.eye(4), atol=1e-5)


def test_the_verdict_and_the_metadata_tell_what_was_measured(tmp_path, files):
    paths, _ = files
    found = Coregister(**paths).run(cwd=tmp_path).outputs
    verdict = json.loads(Path(found.out_verdict).read_text(encoding='utf-8'))
    assert verdict['status'] == 'accept'
    assert verdict['reasons'] == []
    values = {check['name']: check['value'] for check in verdict['checks']}
    assert values['overlap'] > 0.95
    assert values['coverage'] == 1
    assert verdict['attempts'][0]['start'] == found.metadata['Start']
    assert found.metadata['MaskOverlapDice'] == values['overlap']
    assert found.metadata['TransformType'] == 'rigid'


def test_two_runs_write_the_same_bytes_and_need_no_mask(tmp_path, files):
    paths, _ = files
    del paths['in_mask']
    contents = []
    for name in ('first', 'second'):
        folder = tmp_path / name
        folder.mkdir()
        found = Coregister(**paths).run(cwd=folder).outputs
        names = (found.forward, found.inverse, found.out_verdict)
        contents.append([Path(path).read_bytes() for path in names])
    assert contents[0] == contents[1]


def test_a_mask_on_another_grid_is_an_error(tmp_path, files):
    paths, _ = files
    paths['in_mask'] = paths['in_reference_mask']
    with pytest.raises(ValueError, match='grids differ'):
        Coregister(**paths).run(cwd=tmp_path)
