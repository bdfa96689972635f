"""Heads whose moves are known, their halfway space, and their average."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from oblique import oblique_affine
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mriprep.criteria import Status
from mriprep.halfway import (
    Member,
    average,
    halfway_grid,
    metadata,
    resample,
    verdict,
)
from mriprep.images import load
from mriprep.itk import itk_to_ras, write_linear_text
from mriprep.lattice import Grid
from mriprep.mean_pose import halfway_poses, mean_rigid
from mriprep.phantom import Scan, load_head, make_phantom
from mriprep.robust import brightness_scales, noise_deviation, robust_mean
from mriprep.same_contrast import relief, rigid_register

CENTRE = np.array([0.0, -15.0, 10.0])
MOVES = (
    ((0, 0, 0), (0, 0, 0)),
    ((10, 0, 0), (10, 0, 0)),
    ((-5, 8, 3), (-4, 6, 9)),
)
FAR = (  # and whether with masks
    (((0, 20, -15), (15, -10, 20)), True),
    (((-17, 17, 17), (-17, 17, 17)), False),
    (((0, 0, 30), (30, 0, 0)), True),
)


def rigid(turn_deg, shift_mm, centre=CENTRE):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn_deg, degrees=True).as_matrix()
    matrix[:3, 3] = centre + shift_mm - matrix[:3, :3] @ centre
    return matrix


def degrees(matrix):
    return np.degrees(Rotation.from_matrix(matrix[:3, :3]).magnitude())


def moved(member, motion, *, noise=0.0, scale=1.0, shading=0.0, seed=0):
    """The same head after a motion, on the same grid, interpolated once."""
    rng = np.random.default_rng(seed)
    whole = np.linalg.inv(motion @ member.affine) @ member.affine

    def carried(volume, order):
        return ndimage.affine_transform(volume, whole[:3, :3], whole[:3, 3], order=order)

    shape = member.volume.shape
    values = np.clip(carried(member.volume, 3), 0, None)
    places = np.indices(shape) / np.reshape(shape, (3, 1, 1, 1))
    values = scale * values * np.exp(shading * np.sin(4 * places + 1).sum(axis=0))
    sigma = scale * noise * member.volume[member.mask].mean()
    values = np.hypot(values + rng.normal(0, sigma, shape), rng.normal(0, sigma, shape))
    mask = carried(member.mask.astype(np.float32), 1) > 0.5
    return Member(volume=values.astype(np.float32), affine=member.affine, mask=mask)


def unmasked(members):
    return [replace(member, mask=None) for member in members]


@pytest.fixture(scope='module')
def head(embedded_template):
    """A head of 2.5 mm voxels without noise, oblique, RAS."""
    scan = Scan(seed=3, voxel_size_mm=(2.5, 2.5, 2.5), noise=0.0, bias=0.1)
    phantom = make_phantom(load_head(embedded_template, step=2), scan)
    return Member(
        volume=phantom.volume.astype(np.float32), affine=phantom.affine, mask=phantom.brain_mask
    )


@pytest.fixture(scope='module')
def scans(head):
    """Three noisy scans of the head, each in another pose and brightness."""
    return [
        moved(head, rigid(*move), noise=0.06, scale=1 + n, seed=n) for n, move in enumerate(MOVES)
    ]


@pytest.fixture(scope='module')
def averaged(scans):
    return average(scans)


def apart_mm(head, matrices, motions):
    """How far, on average over the brain, poses put what belongs together."""
    points = nb.affines.apply_affine(head.affine, np.argwhere(head.mask)[::97])
    common = nb.affines.apply_affine(np.linalg.inv(matrices[0]) @ motions[0], points)
    apart = [
        nb.affines.apply_affine(motion, points) - nb.affines.apply_affine(matrix, common)
        for matrix, motion in zip(matrices, motions, strict=True)
    ]
    return np.linalg.norm(apart, axis=2).mean(axis=1).max()


def test_the_mean_of_two_poses_is_halfway():
    first, second = rigid((4, 2, -7), (3, 1, 2)), rigid((14, -9, 6), (-5, 8, 4))
    mean = mean_rigid([first, second], CENTRE)
    np.testing.assert_allclose(mean[:3, :3] @ mean[:3, :3].T, np.eye(3), atol=1e-12)
    ways = [pose @ np.linalg.inv(mean) for pose in (first, second)]
    assert degrees(ways[0]) == pytest.approx(degrees(first @ np.linalg.inv(second)) / 2, abs=1e-6)
    np.testing.assert_allclose(ways[0][:3, :3], ways[1][:3, :3].T, atol=1e-9)
    places = nb.affines.apply_affine(first, CENTRE) + nb.affines.apply_affine(second, CENTRE)
    np.testing.assert_allclose(nb.affines.apply_affine(mean, CENTRE), places / 2)


def test_the_mean_pose_does_not_ask_for_the_first_or_the_frame():
    poses = [rigid((n, 3 * n - 9, 20 - 4 * n), (2 * n, -n, n * n)) for n in range(5)]
    mean = mean_rigid(poses, CENTRE)
    np.testing.assert_allclose(mean_rigid(poses[::-1], CENTRE), mean, atol=1e-9)
    frame = rigid((11, -24, 8), (30, -10, 5))
    seen = mean_rigid(
        [pose @ frame for pose in poses], nb.affines.apply_affine(np.linalg.inv(frame), CENTRE)
    )
    np.testing.assert_allclose(seen, mean @ frame, atol=1e-8)


@pytest.mark.parametrize(('move', 'with_masks'), FAR)
def test_far_moves_are_found(head, move, with_masks):
    motion = rigid(*move)
    other = moved(head, motion, noise=0.06, scale=3, shading=0.1)
    pair = [head, other] if with_masks else unmasked([head, other])
    reliefs = [relief(member.volume, member.affine, member.mask) for member in pair]
    found = rigid_register(*reliefs)
    assert apart_mm(head, [np.eye(4), found], [np.eye(4), motion]) < 0.15


def test_two_meet_in_the_middle(head, scans):
    motion = rigid(*MOVES[1])
    pair = scans[:2]
    poses = halfway_poses([relief(one.volume, one.affine, one.mask) for one in pair]).matrices
    assert apart_mm(head, poses, [np.eye(4), motion]) < 0.05
    assert [degrees(pose) for pose in poses] == pytest.approx([5, 5], abs=0.1)
    brain = nb.affines.apply_affine(head.affine, np.argwhere(head.mask).mean(axis=0))
    middle = nb.affines.apply_affine(np.linalg.inv(poses[0]), brain)
    went = [nb.affines.apply_affine(pose, middle) - middle for pose in poses]
    np.testing.assert_allclose(went[0], -went[1], atol=0.1)


def test_all_members_are_placed(head, averaged):
    motions = [rigid(*move) for move in MOVES]
    assert apart_mm(head, averaged.poses.matrices, motions) < 0.05
    assert averaged.status is Status.ACCEPT


def test_without_masks_members_are_placed_too(head, scans):
    found = average(unmasked(scans[1:]))
    motions = [rigid(*move) for move in MOVES[1:]]
    first = np.linalg.inv(motions[0])
    motions = [motion @ first for motion in motions]
    place = replace(head, affine=rigid(*MOVES[1]) @ head.affine)
    assert apart_mm(place, found.poses.matrices, motions) < 0.08
    assert found.mask is None
    assert found.status is Status.ACCEPT


def test_the_algorithm_does_not_ask_for_the_order(head, scans, averaged):
    points = nb.affines.apply_affine(head.affine, np.argwhere(head.mask)[::97])
    reliefs = [relief(one.volume, one.affine, one.mask) for one in scans]
    found = halfway_poses(reliefs[::-1]).matrices[::-1]
    for pair in zip(found, averaged.poses.matrices, strict=True):
        ends = [nb.affines.apply_affine(matrix, points) for matrix in pair]
        assert np.linalg.norm(ends[0] - ends[1], axis=1).max() < 0.02


def test_any_order_and_number_of_threads_give_the_same_bytes(scans, averaged):
    again = average([scans[n] for n in (2, 0, 1)], n_threads=3)
    assert again.volume.tobytes() == averaged.volume.tobytes()
    assert again.mask.tobytes() == averaged.mask.tobytes()
    for place, n in enumerate((2, 0, 1)):
        np.testing.assert_array_equal(again.poses.matrices[place], averaged.poses.matrices[n])
        assert again.scales[place] == averaged.scales[n]
        assert again.weights[place] == averaged.weights[n]


def clean_brain(head, averaged):
    """What the average would show without noise, and where its brain is."""
    pose = np.linalg.inv(rigid(*MOVES[0])) @ averaged.poses.matrices[0]
    clean, _ = resample(head, pose, averaged.grid)
    brain = replace(head, volume=head.mask.astype(np.float32))
    return clean, resample(brain, pose, averaged.grid)[0] > 0.9


def noise_over_signal(volume, clean, brain):
    ratio = volume[brain] / clean[brain]
    return np.std(ratio / np.median(ratio) * clean[brain] - clean[brain]) / clean[brain].mean()


def test_noise_falls_by_the_root_of_the_number(head, scans, averaged):
    clean, brain = clean_brain(head, averaged)
    single, _ = resample(scans[0], averaged.poses.matrices[0], averaged.grid)
    before, after = (noise_over_signal(part, clean, brain) for part in (single, averaged.volume))
    assert before / after == pytest.approx(np.sqrt(3), rel=0.1)


def test_what_is_wrong_in_one_of_three_is_left_out(head):
    scans = [moved(head, rigid(*m), noise=0.03, seed=n) for n, m in enumerate(MOVES)]
    brain = np.argwhere(scans[1].mask)
    near = np.linalg.norm(np.indices(head.volume.shape).T - brain.mean(axis=0), axis=-1).T < 7
    damaged = scans[1].volume.copy()
    damaged[near] *= 3
    found = average([scans[0], replace(scans[1], volume=damaged), scans[2]])
    assert apart_mm(head, found.poses.matrices, [rigid(*m) for m in MOVES]) < 0.05
    clean, inside = clean_brain(head, found)
    hit, _ = resample(
        replace(scans[1], volume=near.astype(np.float32)), found.poses.matrices[1], found.grid
    )
    spot = inside & (hit > 0.9)
    ratio = np.median(found.volume[inside] / clean[inside])
    off = found.volume[spot].mean() / ratio / clean[spot].mean()
    assert off == pytest.approx(1, abs=0.03)
    assert found.weights[1] < min(found.weights[0], found.weights[2])


def test_brightness_is_the_geometric_mean(scans, averaged):
    assert np.prod(averaged.scales) == pytest.approx(1)
    np.testing.assert_allclose(
        np.multiply(averaged.scales, (1, 2, 3)) / averaged.scales[0], 1, atol=0.15
    )


def test_the_mask_is_what_most_agree_on(head, averaged):
    _, brain = clean_brain(head, averaged)
    assert (averaged.mask & brain).sum() / brain.sum() > 0.995
    voxel_ml = np.prod(np.diag(averaged.grid.affine)) / 1000
    own_ml = head.mask.sum() * abs(np.linalg.det(head.affine)) / 1000
    assert averaged.mask.sum() * voxel_ml == pytest.approx(own_ml, rel=0.03)


def test_a_cut_member_counts_only_where_it_is(head, scans):
    start = 34
    affine = head.affine.copy()
    affine[:3, 3] += affine[:3, 2] * start
    cut = Member(
        volume=scans[1].volume[:, :, start:], affine=affine, mask=scans[1].mask[:, :, start:]
    )
    found = average([scans[0], cut])
    assert apart_mm(head, found.poses.matrices, [rigid(*m) for m in MOVES[:2]]) < 0.1
    clean, brain = clean_brain(head, found)
    assert np.corrcoef(found.volume[brain], clean[brain])[0, 1] > 0.97
    (seen,) = (check.value for check in found.checks if check.name == 'seen_by_all')
    assert 0.5 < seen < 1
    assert (found.mask & brain).sum() / brain.sum() > 0.99


def test_another_head_is_not_believed(coarse_head):
    heads = []
    for seed, warp_mm in ((3, 2.0), (9, 7.0)):
        scan = Scan(seed=seed, voxel_size_mm=(4, 4, 4), warp_mm=warp_mm)
        phantom = make_phantom(coarse_head, scan)
        volume = phantom.volume.astype(np.float32)
        heads.append(Member(volume=volume, affine=phantom.affine, mask=phantom.brain_mask))
    found = average(heads)
    assert found.status is not Status.ACCEPT
    told = verdict(found)
    assert told['status'] == found.status.value
    assert any('another head' in words for words in told['reasons'])


def test_voxels_are_the_finest_of_all_and_hold_each_head(head):
    thick = Member(volume=head.volume[:, :, ::2], affine=head.affine @ np.diag([1, 1, 2, 1]))
    grid = halfway_grid([thick, head], [np.eye(4), rigid((0, 0, 12), (4, 0, 0))])
    np.testing.assert_allclose(np.diag(grid.affine), [2.5, 2.5, 2.5, 1])
    assert not (grid.affine[:3, :3] - np.diag(np.diag(grid.affine)[:3])).any()
    brain = nb.affines.apply_affine(head.affine, np.argwhere(head.mask))
    index = nb.affines.apply_affine(np.linalg.inv(grid.affine), brain)
    assert (index > 0).all()
    assert (index < np.array(grid.shape) - 1).all()
    nudged = halfway_grid(
        [thick, head], [rigid((0, 0, 0), (1e-6,) * 3), rigid((0, 0, 12), (4, 0, 0))]
    )
    np.testing.assert_array_equal(np.mod(nudged.affine[:3, 3] / 2.5, 1), 0)


def test_a_pose_carries_places_of_the_average_to_the_member():
    rng = np.random.default_rng(4)
    volume = ndimage.gaussian_filter(rng.normal(size=(24, 20, 16)), 2).astype(np.float32)
    member = Member(volume=volume, affine=oblique_affine((1.0, 1.5, 2.0), (1, 1, 1)))
    pose = rigid((6, -3, 9), (2, 1, -3), np.zeros(3))
    grid = Grid(affine=np.linalg.inv(pose) @ member.affine, shape=volume.shape)
    values, inside = resample(member, pose, grid)
    assert inside.all()
    np.testing.assert_allclose(values, volume, atol=1e-5)
    grid = Grid(affine=grid.affine, shape=(24, 20, 20))
    values, inside = resample(member, pose, grid)
    assert not inside[:, :, 16:].any()
    assert not values[~inside].any()


def test_one_of_three_far_off_does_not_count():
    volumes = [np.full((20, 2, 2), value, np.float32) for value in (10, 11, 500)]
    seen = [np.ones((20, 2, 2), bool)] * 3
    mean = robust_mean(volumes, seen, 1.0)
    np.testing.assert_allclose(mean, 10.5, atol=0.05)


def test_of_two_and_where_only_some_see_it_is_the_mean():
    volumes = [np.full((20, 2, 2), value, np.float32) for value in (10, 14, 500)]
    seen = [np.ones((20, 2, 2), bool) for _ in range(3)]
    seen[2][:] = False
    seen[1][3], seen[0][4] = False, False
    seen[0][5], seen[1][5] = False, False
    mean = robust_mean(volumes, seen, 1.0)
    np.testing.assert_allclose(mean[:6, 0, 0], [12, 12, 12, 10, 14, 0])
    np.testing.assert_allclose(robust_mean(volumes[:2], seen[:2], 1.0)[0, 0, 0], 12)


def test_noise_is_that_of_the_two_that_agree():
    rng = np.random.default_rng(2)
    truth = rng.uniform(50, 150, 20_000)
    samples = truth + rng.normal(0, 4, (3, truth.size))
    samples[2] += rng.normal(0, 60, truth.size)
    assert noise_deviation(samples) == pytest.approx(4, rel=0.05)
    assert noise_deviation(np.stack([truth, truth])) > 0


def test_scales_match_brightness_despite_a_lesion():
    rng = np.random.default_rng(3)
    truth = rng.uniform(50, 150, 5000)
    samples = np.stack([truth, 4 * truth, 2 * truth])
    samples[1, :900] *= 0.2
    scales = brightness_scales(samples)
    np.testing.assert_allclose(scales / scales[0], [1, 0.25, 0.5], rtol=0.01)
    samples[0] = 0
    with pytest.raises(ValueError, match='is black'):
        brightness_scales(samples)


def test_text_transforms_are_what_itk_means(tmp_path):
    pose = rigid((5, -12, 30), (3, -8, 40))
    path = tmp_path / 'pose.txt'
    write_linear_text(pose, path)
    lines = path.read_text(encoding='utf-8').splitlines()
    assert lines[0] == '#Insight Transform File V1.0'
    kind, parameters, fixed = (line.split(': ')[1] for line in lines[2:])
    read = itk_to_ras(kind, np.array(parameters.split(), float), np.array(fixed.split(), float))
    np.testing.assert_allclose(read, pose, atol=1e-12)


def test_the_sidecar_tells_what_each_member_gave(averaged):
    told = metadata(averaged, ['a', 'b', 'c'])
    assert told['Members'] == ['a', 'b', 'c']
    assert sum(told['Weights']) == pytest.approx(1, abs=1e-3)
    assert min(told['Correlations']) > 0.9
    assert told['GuardStatus'] == 'accept'
    assert len(told['RotationsDeg']) == len(told['ShiftsMm']) == len(told['Scales']) == 3


def test_wrong_input_is_refused_in_words(head):
    with pytest.raises(ValueError, match='two or more images; give'):
        average([head])
    with pytest.raises(ValueError, match='only some images have a brain mask; give'):
        average([head, replace(head, mask=None)])
    with pytest.raises(ValueError, match='mask is empty'):
        average([head, replace(head, mask=np.zeros_like(head.mask))])
    with pytest.raises(ValueError, match='nothing in the image is bright; leave'):
        relief(np.zeros((40, 40, 40), np.float32), np.diag([3.0, 3, 3, 1]))
    with pytest.raises(ValueError, match='differ in shape'):
        replace(head, mask=head.mask[1:])


def test_one_real_head_twice_is_not_moved(test_data, tmp_path):
    """Equal scans, one of them with the vendor's correction of brightness."""
    from test_real_scans import convert

    from mriprep.interfaces.conform import Conform

    members = []
    for name in ('ser5_no-prescan-norm', 'ser6_NORM'):
        convert(test_data / 'siemens-xa30-enhanced' / f'{name}.dcm', tmp_path / name, 'head')
        (tmp_path / f'c-{name}').mkdir()
        path = Conform(in_file=tmp_path / name / 'head.nii.gz').run(cwd=tmp_path / f'c-{name}')
        image = load(path.outputs.out_file)
        members.append(Member(volume=image.get_fdata(dtype=np.float32), affine=image.affine))
    found = average(members)
    assert found.status is Status.ACCEPT
    places = np.array([[0, 0, 0], [60, 0, 0], [0, 70, 0], [0, 0, 50], [0, -70, 0]], float)
    ends = [nb.affines.apply_affine(pose, places) for pose in found.poses.matrices]
    assert np.linalg.norm(ends[0] - ends[1], axis=1).mean() < 0.15


def test_thick_slices_of_a_real_head_are_found(test_data):
    folder = test_data / 'ms-t1-t2-flair'
    names = ('study1_T1W.nii.gz', 'patient04_study1_T1W_brainmask-from-common.nii.gz')
    image, brain = (nb.as_closest_canonical(load(folder / name)) for name in names)
    mask = brain.get_fdata() > 0.5
    head = Member(volume=image.get_fdata(dtype=np.float32), affine=image.affine, mask=mask)
    middle = nb.affines.apply_affine(image.affine, np.argwhere(mask).mean(axis=0))
    motion = rigid((7, -9, 12), (5, -8, 6), middle)
    other = moved(head, motion, noise=0.08, scale=2, shading=0.1)
    reliefs = [relief(one.volume, one.affine, one.mask) for one in (head, other)]
    poses = halfway_poses(reliefs)
    assert apart_mm(head, poses.matrices, [np.eye(4), motion]) < 0.1
    assert min(poses.correlations) > 0.95
