"""Phantoms: what they claim to be true is true."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage as ndi

from mriprep.phantom import (
    LEFT_HANDED,
    Scan,
    head_pose,
    image_bytes,
    make_phantom,
    scanner_grid,
    write_bids,
)

PLAIN = Scan(
    voxel_size_mm=(4, 4, 4),
    tilt_deg=(0, 0, 0),
    shift_mm=(0, 0, 0),
    scale=(1, 1, 1),
    oblique_deg=(0, 0, 0),
    warp_mm=0,
    bias=0,
    noise=0,
)


def at(volume, affine, point_mm):
    index = np.linalg.inv(affine) @ [*point_mm, 1]
    return ndi.map_coordinates(volume, index[:3, None], order=1)[0]


def overlap(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_nothing_done_to_a_head_shows_the_head(coarse_head):
    phantom = make_phantom(coarse_head, PLAIN)
    np.testing.assert_allclose(phantom.linear, np.eye(4), atol=1e-5)
    np.testing.assert_array_equal(phantom.bias, 1)
    for point in ([20, -30, 25], [-40, 10, -10], [0, 50, 0]):
        expected = 4 * at(coarse_head.volume, coarse_head.affine, point)
        assert at(phantom.volume.astype(float), phantom.affine, point) == pytest.approx(
            expected, rel=0.15
        )


def test_same_scan_gives_the_same_phantom(coarse_head):
    scan = Scan(seed=5, voxel_size_mm=(6, 6, 6))
    one, two = make_phantom(coarse_head, scan), make_phantom(coarse_head, scan)
    np.testing.assert_array_equal(one.volume, two.volume)
    other = make_phantom(coarse_head, replace(scan, seed=6))
    assert (one.volume != other.volume).any()


def test_linear_truth_takes_the_template_brain_onto_the_mask(coarse_head, tiny_head):
    voxels = np.argwhere(tiny_head.brain_mask)
    points = nb.affines.apply_affine(np.linalg.inv(tiny_head.linear) @ tiny_head.affine, voxels)
    index = nb.affines.apply_affine(np.linalg.inv(coarse_head.affine), points)
    inside = ndi.map_coordinates(coarse_head.brain_mask.astype(float), index.T, order=1)
    assert (inside > 0.5).mean() > 0.95
    moved = nb.affines.apply_affine(tiny_head.affine, voxels)
    assert np.linalg.norm(moved - points, axis=1).mean() > 5  # the pose is no small one


def test_warp_has_the_size_asked_for_and_no_affine_part(coarse_head):
    scan = replace(PLAIN, seed=8, voxel_size_mm=(3, 3, 3), warp_mm=3.0)
    warped, straight = (make_phantom(coarse_head, s) for s in (scan, replace(scan, warp_mm=0)))
    np.testing.assert_allclose(warped.linear[:3, :3], np.eye(3), atol=0.02)
    assert np.abs(warped.linear[:3, 3]).max() < 1
    assert 0.9 < overlap(warped.brain_mask, straight.brain_mask) < 0.985


def test_pose_is_the_linear_truth(coarse_head):
    scan = Scan(seed=9, voxel_size_mm=(4, 4, 4), warp_mm=0)
    np.testing.assert_allclose(make_phantom(coarse_head, scan).linear, head_pose(scan), atol=1e-3)


def test_shading_is_smooth_and_as_strong_as_asked(tiny_head):
    logarithm = np.log(tiny_head.bias)
    inside = logarithm[tiny_head.brain_mask]
    assert np.abs(inside).max() == pytest.approx(0.25, abs=1e-3)
    assert abs(inside.mean()) < 1e-3
    assert max(np.abs(np.diff(logarithm, axis=axis)).max() for axis in range(3)) < 0.05


def test_shading_and_noise_are_what_separates_volume_and_head(coarse_head):
    clean = Scan(seed=10, voxel_size_mm=(4, 4, 4), bias=0, noise=0)
    shaded = replace(clean, bias=0.25)
    noisy = replace(clean, noise=0.05)
    a, b, c = (make_phantom(coarse_head, scan) for scan in (clean, shaded, noisy))
    brain = a.brain_mask & (a.volume > 300)
    np.testing.assert_allclose(b.volume[brain] / b.bias[brain], a.volume[brain], rtol=0.01)
    white = np.percentile(a.volume[a.brain_mask], 90)
    deviation = (c.volume[brain].astype(float) - a.volume[brain]).std()
    assert deviation == pytest.approx(0.05 * white, rel=0.05)
    # Rician: the mean of the background is sigma * sqrt(pi / 2)
    air = a.volume == 0
    assert c.volume[air].mean() == pytest.approx(0.05 * white * np.sqrt(np.pi / 2), rel=0.05)


def test_capsule_shines_on_the_left(tiny_head, tiny_left_handed_head):
    for phantom in (tiny_head, tiny_left_handed_head):
        assert phantom.marker_mm[0] < 0 < phantom.mirror_mm[0]
        smooth = phantom.volume / phantom.bias
        left = at(smooth, phantom.affine, phantom.marker_mm)
        right = at(smooth, phantom.affine, phantom.mirror_mm)
        assert left > 1.4 * right


def test_left_handed_scan_is_left_handed_oblique_and_anisotropic():
    affine, shape = scanner_grid(LEFT_HANDED)
    assert nb.aff2axcodes(affine) == ('L', 'A', 'S')
    np.testing.assert_allclose(nb.affines.voxel_sizes(affine), (1, 1, 1.3))
    assert nb.affines.obliquity(affine).max() > np.deg2rad(3)
    assert shape == (192, 240, 178)


def test_whole_brain_lies_in_the_field_of_view(tiny_head, tiny_left_handed_head):
    for phantom in (tiny_head, tiny_left_handed_head):
        inner = phantom.brain_mask[1:-1, 1:-1, 1:-1]
        assert inner.sum() == phantom.brain_mask.sum()
        litres = inner.sum() * np.prod(nb.affines.voxel_sizes(phantom.affine)) / 1e6
        assert 1.6 < litres < 2.1


def test_head_has_dark_bone_between_brain_and_bright_scalp(coarse_head):
    depth = ndi.distance_transform_edt(~coarse_head.brain_mask, sampling=4)
    z = coarse_head.affine[2, 3] + 4 * np.arange(depth.shape[2])
    above = np.broadcast_to(z > 20, depth.shape)
    brain = np.median(coarse_head.volume[coarse_head.brain_mask])
    bone = np.median(coarse_head.volume[(depth > 2) & (depth < 7) & above])
    scalp = np.median(coarse_head.volume[(depth > 11) & (depth < 13) & above])
    assert bone < 0.5 * brain < brain < scalp
    assert coarse_head.volume[(depth > 24) & above].max() < 1


def test_bytes_do_not_depend_on_the_hour(tiny_head):
    one = image_bytes(tiny_head.volume, tiny_head.affine)
    assert one == image_bytes(tiny_head.volume, tiny_head.affine)
    assert one[4:8] == bytes(4)  # gzip's time stamp


def test_data_set_reads_back(tiny_bids, tiny_left_handed_head):
    image = nb.load(tiny_bids / 'sub-02' / 'anat' / 'sub-02_T1w.nii.gz')
    np.testing.assert_array_equal(np.asarray(image.dataobj), tiny_left_handed_head.volume)
    np.testing.assert_allclose(image.affine, tiny_left_handed_head.affine, atol=1e-5)
    assert (int(image.header['qform_code']), int(image.header['sform_code'])) == (1, 1)


def test_data_set_satisfies_the_validator(tmp_path, tiny_head, bids_validator):
    write_bids(tmp_path, {'01': tiny_head, '02': tiny_head})
    done = subprocess.run(
        [bids_validator, '--ignoreWarnings', str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '[ERROR]' not in done.stdout
