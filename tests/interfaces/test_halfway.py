"""The average of several images as files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from mriprep.interfaces.halfway import HalfwayAverage
from mriprep.phantom import Scan, make_phantom
from mriprep.tools import activate

SCAN = Scan(seed=3, voxel_size_mm=(4, 4, 4))


@pytest.fixture(scope='module')
def files(coarse_head, tmp_path_factory):
    """Two scans of one head and their masks."""
    folder = tmp_path_factory.mktemp('members')
    phantom = make_phantom(coarse_head, SCAN)
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1]]
    turn[:3, 3] = 3, -6, 4
    images, masks = [], []
    for n, pose in enumerate((np.eye(4), turn)):
        rng = np.random.default_rng(n)
        noisy = (phantom.volume + rng.normal(0, 10, phantom.volume.shape)).astype(np.float32)
        for kind, values, kept in (
            ('head', noisy, images),
            ('mask', phantom.brain_mask.astype(np.uint8), masks),
        ):
            path = folder / f'{kind}{n}.nii.gz'
            nb.Nifti1Image(values, pose @ phantom.affine).to_filename(path)
            kept.append(str(path))
    return images, masks


def run(folder, files, **options):
    images, masks = files
    folder.mkdir()
    return HalfwayAverage(in_files=images, in_masks=masks, **options).run(cwd=folder).outputs


def test_files_agree_with_each_other(tmp_path, files):
    outputs = run(tmp_path / 'a', files, names=['one', 'two'], num_threads=2)
    image, mask = nb.load(outputs.out_file), nb.load(outputs.out_mask)
    np.testing.assert_array_equal(image.affine, mask.affine)
    assert image.shape == mask.shape
    assert (image.get_data_dtype(), mask.get_data_dtype()) == (np.float32, np.uint8)
    assert nb.aff2axcodes(image.affine) == ('R', 'A', 'S')
    assert int(image.header['qform_code']) == int(image.header['sform_code']) == 1
    np.testing.assert_allclose(image.get_qform(), image.get_sform())
    verdict = json.loads((tmp_path / 'a' / 'verdict.json').read_text(encoding='utf-8'))
    assert verdict['status'] == outputs.metadata['GuardStatus'] == 'accept'
    assert [check['name'] for check in verdict['checks']] == [
        'correlation', 'mask_overlap', 'last_move', 'seen_by_all',
    ]  # fmt: skip
    assert outputs.metadata['Members'] == ['one', 'two']


def test_transforms_are_read_by_ants(tmp_path, files):
    activate()
    outputs = run(tmp_path / 'a', files)
    average = nb.load(outputs.out_file).get_fdata()
    brain = nb.load(outputs.out_mask).get_fdata() > 0
    volumes = []
    for n, (image, forward) in enumerate(zip(files[0], outputs.forward, strict=True)):
        path = tmp_path / f'on-average{n}.nii'
        subprocess.run(
            ['antsApplyTransforms', '-d', '3', '-i', image, '-r', outputs.out_file, '-t', forward,
             '-n', 'BSpline', '-o', str(path)],
            check=True, capture_output=True,
        )  # fmt: skip
        volumes.append(nb.load(path).get_fdata())
    assert np.corrcoef(np.mean(volumes, axis=0)[brain], average[brain])[0, 1] > 0.999
    back = tmp_path / 'back.nii'
    subprocess.run(
        ['antsApplyTransforms', '-d', '3', '-i', outputs.out_mask, '-r', files[1][1],
         '-t', outputs.inverse[1], '-n', 'NearestNeighbor', '-o', str(back)],
        check=True, capture_output=True,
    )  # fmt: skip
    again, own = nb.load(back).get_fdata() > 0, nb.load(files[1][1]).get_fdata() > 0
    assert 2 * (again & own).sum() / (again.sum() + own.sum()) > 0.95


def test_equal_input_gives_equal_bytes_in_any_order(tmp_path, files):
    first = run(tmp_path / 'a', files)
    second = run(tmp_path / 'b', [part[::-1] for part in files], num_threads=2)
    for name in ('average.nii', 'mask.nii', 'verdict.json'):
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()
    for way in ('forward', 'inverse'):
        pairs = zip(getattr(first, way), getattr(second, way)[::-1], strict=True)
        assert all(Path(one).read_bytes() == Path(other).read_bytes() for one, other in pairs)


def test_masks_may_be_missing_but_not_some(tmp_path, files):
    images, masks = files
    outputs = HalfwayAverage(in_files=images).run(cwd=tmp_path).outputs
    assert not (tmp_path / 'mask.nii').exists()
    assert outputs.metadata['Members'] == ['head0.nii.gz', 'head1.nii.gz']
    with pytest.raises(ValueError, match='2 images and 1 masks; give one for each'):
        HalfwayAverage(in_files=images, in_masks=masks[:1]).run(cwd=tmp_path)


def test_the_average_of_two_heads_is_refused_in_words_unless_forced(tmp_path, files):
    images, masks = files
    flipped = tmp_path / 'other.nii.gz'
    image = nb.load(images[1])
    nb.Nifti1Image(image.get_fdata()[:, ::-1, ::-1].astype(np.float32), image.affine).to_filename(
        flipped
    )
    mixed = ([images[0], str(flipped)], masks)
    with pytest.raises(ValueError, match=r'the average of one, two is refused: .*--force'):
        run(tmp_path / 'a', mixed, names=['one', 'two'])
    forced = run(tmp_path / 'b', mixed, names=['one', 'two'], force=True)
    assert forced.metadata['GuardStatus'] == 'refused'
