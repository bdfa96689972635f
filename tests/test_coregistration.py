"""Another contrast finds its place on the reference; the guard sees when it does not."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage
from two_contrasts import Scan, middle, miss, pose, t1w_of, t2w_of

from mriprep.coregistration import coregister, judge_pose
from mriprep.criteria import Status
from mriprep.geometry import to_ras
from mriprep.image_pair import mean_distance, prepare
from mriprep.mutual_information import (
    Comparison,
    NothingSharedError,
    Splined,
    limits_of,
    moved,
    normalized_mutual_information,
    transformed,
)

MOVES = [((0, 0, 0), (0, 0, 0)), ((3, -5, 8), (4, -6, 5)), ((-12, 9, 12), (8, 6, -10))]
LIMIT_MM = 0.6  # on voxels of 4 x 4 x 4 and 3.5 x 3.5 x 6 mm


@pytest.fixture(scope='module')
def head(coarse_head):
    return coarse_head


@pytest.fixture(scope='module')
def t1w(head):
    return t1w_of(head, np.random.default_rng(1))


def other(head, **options):
    return t2w_of(head, np.random.default_rng(2), **options)


def register(reference, moving, mask=True):
    own = moving.mask if mask is True else mask
    return coregister(
        reference.volume, reference.affine, reference.mask, moving.volume, moving.affine, own
    )


@pytest.fixture(scope='module')
def right(head, t1w):
    """A pair, and the pose found for it."""
    move = pose(head, *MOVES[1])
    moving = other(head, move=move)
    return moving, move, register(t1w, moving)


@pytest.mark.parametrize(
    ('move', 'zooms'),
    [(MOVES[0], (3.5, 3.5, 6.0)), (MOVES[1], (4.0, 4.0, 4.0)), (MOVES[2], (6.0, 3.5, 3.5))],
)
def test_a_known_move_is_found(head, t1w, move, zooms):
    move = pose(head, *move)
    found = register(t1w, other(head, move=move, zooms=zooms))
    assert miss(found.matrix, move, head) < LIMIT_MM
    assert found.status is Status.ACCEPT
    assert not found.searched_widely


def test_a_lying_header_is_outdone(head, t1w):
    move = pose(head, (70, -40, 90), (0, 0, 30))
    found = register(t1w, other(head, move=move), mask=None)
    assert miss(found.matrix, move, head) < LIMIT_MM
    assert found.searched_widely
    doubted = {check.name for check in found.checks if check.words}
    assert doubted == {'turn', 'move'}
    assert found.status is Status.DOUBTFUL


def test_the_pose_neither_scales_nor_reflects(right):
    rotation = right[2].matrix[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_a_mask_that_is_wrong_does_not_move_the_pose(head, t1w, right):
    moving, move, _ = right
    half = moving.mask.copy()
    half[: half.shape[0] // 2] = False
    for wrong in (half, ndimage.binary_dilation(moving.mask, iterations=3)):
        found = register(t1w, moving, mask=wrong)
        assert miss(found.matrix, move, head) < LIMIT_MM
        assert found.status is Status.DOUBTFUL
        assert [check.name for check in found.checks if check.words] == ['overlap']


@pytest.mark.parametrize('axis', [0, 2])
def test_half_a_head_is_registered_and_the_missing_half_is_told(head, t1w, axis):
    moving = other(head, zooms=(4.0, 4.0, 4.0))
    box = [slice(None)] * 3
    box[axis] = slice(moving.volume.shape[axis] // 2, None)
    corner = [part.start or 0 for part in box]
    affine = moving.affine.copy()
    affine[:3, 3] = moving.affine[:3] @ [*corner, 1]
    found = register(t1w, Scan(moving.volume[*box], affine, moving.mask[*box]))
    assert miss(found.matrix, np.eye(4), head) < 2 * LIMIT_MM
    assert any('covers only' in words for words in found.record()['reasons'])


@pytest.mark.parametrize('which', ['other', 'both'])
def test_stripped_images_are_registered_too(head, t1w, right, which):
    moving, move, _ = right
    if which == 'both':
        t1w = replace(t1w, volume=np.where(t1w.mask, t1w.volume, 0))
    moving = replace(moving, volume=np.where(moving.mask, moving.volume, 0))
    found = register(t1w, moving)
    assert miss(found.matrix, move, head) < 2 * LIMIT_MM


def test_two_runs_agree_to_the_last_bit(t1w, right):
    moving, _, found = right
    np.testing.assert_array_equal(register(t1w, moving).matrix, found.matrix)


@pytest.mark.parametrize('size', [3.0, 8.0])
def test_a_pose_that_is_off_is_not_believed(head, t1w, right, size):
    moving, _, found = right
    here = prepare(t1w.volume, t1w.affine, t1w.mask, crop=True)
    there = prepare(moving.volume, moving.affine, moving.mask)
    centre = transformed(found.matrix, middle(head)[None])[0]
    assert judge_pose(here, there, found.matrix)[0] is Status.ACCEPT
    rng = np.random.default_rng(4)
    for shifts, turns in ((1, 0), (0, 1), (1, 1)):
        shift, turn = rng.normal(size=(2, 3))
        off = moved(
            shifts * size * shift / np.linalg.norm(shift),
            turns * size * turn / np.linalg.norm(turn),
            centre,
        )
        status, checks = judge_pose(here, there, off @ found.matrix)
        assert status is not Status.ACCEPT
        assert any(check.words for check in checks if check.name in ('better_near_by', 'fall'))


def test_a_shift_by_a_whole_head_is_refused(t1w, right):
    moving, _, found = right
    here = prepare(t1w.volume, t1w.affine, t1w.mask, crop=True)
    there = prepare(moving.volume, moving.affine, moving.mask)
    away = moved(np.array([0.0, 0, 300]), np.zeros(3), np.zeros(3))
    status, checks = judge_pose(here, there, away @ found.matrix)
    assert status is Status.REFUSED
    assert {check.name: check.value for check in checks}['coverage'] == 0


def test_swapped_sides_are_noticed(head):
    places = np.moveaxis(np.indices(head.volume.shape), 0, -1)
    gap = transformed(head.affine, places.reshape(-1, 3)) - middle(head) - [30, 0, 20]
    ball = (np.linalg.norm(gap, axis=1) < 22).reshape(head.volume.shape)
    # a template's sides are alike
    lopsided = replace(head, volume=np.where(ball, 45, head.volume).astype(np.float32))
    reference, moving = t1w_of(lopsided, np.random.default_rng(1)), other(lopsided)
    swapped = Scan(moving.volume[::-1].copy(), moving.affine, moving.mask[::-1].copy())
    assert register(reference, moving).values['mirrored'] < 0
    assert register(reference, swapped).values['mirrored'] > 0


def test_noise_is_refused_in_words(t1w, right):
    moving, _, _ = right
    noise = np.random.default_rng(0).normal(100, 10, moving.volume.shape).astype(np.float32)
    found = register(t1w, replace(moving, volume=noise), mask=None)
    assert found.status is Status.REFUSED
    assert found.searched_widely
    assert any('tell little of each other' in words for words in found.record()['reasons'])


def test_an_image_of_one_value_is_refused_in_words(t1w, right):
    moving, _, _ = right
    found = register(t1w, replace(moving, volume=np.full_like(moving.volume, 7)), mask=None)
    assert found.status is Status.REFUSED
    assert 'one value (7)' in found.record()['reasons'][0]
    np.testing.assert_array_equal(found.matrix, np.eye(4))


def test_a_mask_of_another_shape_is_an_error(t1w, right):
    with pytest.raises(ValueError, match=r'its mask \(3, 3, 3\) differ in shape'):
        register(t1w, right[0], mask=np.ones((3, 3, 3), bool))


def test_every_doubt_has_a_sentence_and_every_range_a_reason():
    from mriprep.coregistration_checks import RULES

    for rule in RULES:
        assert rule.reason
        for limit, words in zip(rule.accept, (rule.low, rule.high), strict=True):
            assert (limit is None) == (not words)
            if words:
                assert words.format(0.5).endswith('.')


def waves(shape, seed):
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.normal(size=shape), 2).astype(np.float32)


def test_an_image_tells_all_of_itself_and_nothing_of_noise():
    volume, mask = waves((24, 26, 28), 1), np.ones((24, 26, 28), bool)
    affine = np.diag([3.0, 3, 3, 1])

    def of(moving, matrix=None):
        return normalized_mutual_information(
            volume, affine, moving, affine, np.eye(4) if matrix is None else matrix, mask
        ).normalized

    alone = of(volume)
    # windows blur the histogram, so that even an image does not tell all of itself
    assert alone > 0.6
    assert of(np.exp(-3 * volume)) == pytest.approx(alone, abs=0.12)
    assert of(waves(volume.shape, 2)) < 0.1
    shift = np.eye(4)
    shift[0, 3] = 6
    assert 0.05 < of(volume, shift) < 0.6 * alone


def test_images_that_do_not_meet_share_nothing():
    volume, mask = waves((20, 20, 20), 1), np.ones((20, 20, 20), bool)
    away = np.eye(4)
    away[2, 3] = 1000
    with pytest.raises(NothingSharedError, match='only 0 points'):
        normalized_mutual_information(volume, np.eye(4), volume, np.eye(4), away, mask, voxel_mm=1)


def test_the_slope_is_that_of_mutual_information():
    volume = waves((30, 30, 30), 3)
    affine = np.diag([2.0, 2, 2, 1])
    index = np.argwhere(np.ones((20, 20, 20))) + 5
    values = volume[tuple(index.T)]
    image = Splined(volume**2 + volume, affine, limits_of(volume**2 + volume))
    comparison = Comparison(transformed(affine, index), values, limits_of(values), image)
    centre = np.full(3, 29.0)
    start = moved(np.array([0.7, -0.4, 0.5]), np.array([1.0, 2, -1]), centre)
    gradient, curvature = comparison.slope(start, centre)
    for axis in range(6):
        step = np.zeros(6)
        step[axis] = 0.05
        ends = [
            comparison.information(
                moved(sign * step[:3], np.degrees(sign * step[3:] / 50), centre) @ start
            ).nats
            for sign in (1, -1)
        ]
        assert gradient[axis] == pytest.approx((ends[0] - ends[1]) / 0.1, rel=0.15, abs=2e-3)
    assert np.linalg.eigvalsh(curvature).min() > 0


def test_known_moves_of_a_real_head_are_found(test_data):
    folder = test_data / 'ms-t1-t2-flair'
    scans = [read(folder, contrast) for contrast in ('T1W', 'T2W', 'FLAIR')]
    reference = scans[0]
    points = transformed(reference.affine, np.argwhere(reference.mask)[::997])
    for moving, (shift, turn), change in zip(
        scans[1:], MOVES[1:], (resampled, turned), strict=True
    ):
        still = register(reference, moving)
        assert still.status is Status.ACCEPT
        # one session, a head that lay still
        assert mean_distance(still.matrix, np.eye(4), points) < 1
        move = moved(np.array(shift, float), np.array(turn, float), points.mean(0))
        found = register(reference, change(moving, move))
        assert mean_distance(found.matrix, move @ still.matrix, points) < 0.5


def turned(scan, move):
    return replace(scan, affine=move @ scan.affine)


def resampled(scan, move):
    grid = scan.affine @ np.diag([1.5, 1.5, 1, 1])
    grid[:3, 3] = scan.affine[:3] @ [-30, -30, -8, 1]
    back = np.linalg.inv(move @ scan.affine) @ grid
    shape = (*(int(n / 1.5) + 40 for n in scan.volume.shape[:2]), scan.volume.shape[2] + 16)
    volume, mask = (
        ndimage.affine_transform(array.astype(np.float32), back, output_shape=shape, order=1)
        for array in (scan.volume, scan.mask)
    )
    return Scan(volume, grid, mask > 0.5)


def read(folder, contrast):
    image = nb.load(folder / f'study1_{contrast}.nii.gz')
    mask = nb.load(folder / f'patient04_study1_{contrast}_brainmask-from-common.nii.gz')
    volume, affine = to_ras(image.get_fdata(dtype=np.float32), image.affine)
    inside = to_ras(np.asanyarray(mask.dataobj) > 0, image.affine)[0]
    return Scan(np.ascontiguousarray(volume), affine, inside)
