"""The guard of the mask: each check against known truth, and masks broken on purpose."""

from __future__ import annotations

import json

import numpy as np
import pytest
from broken_masks import BREAKS, Head, borrowed
from oblique import ball, oblique_affine

from mriprep.atlas import load_atlas
from mriprep.border import find_border
from mriprep.criteria import RULES, Rule, Status
from mriprep.extractors.base import AtlasFiles
from mriprep.guard import judge, rules_for, verdict_of
from mriprep.images import load, load_mask_on
from mriprep.interfaces.conform import Conform
from mriprep.masks import Pieces, binarize_brain, bounding_box, clean_brain
from mriprep.phantom import Scan, load_head, make_phantom
from mriprep.shape import (
    blocks,
    cut_share,
    holes_ml,
    largest_share,
    roughness,
    surface_points,
)


@pytest.fixture(scope='module')
def atlas(embedded_template):
    tissue = embedded_template.tissue
    return load_atlas(
        AtlasFiles(
            t1w=embedded_template.t1w, brain_mask=embedded_template.brain_mask,
            gm=tissue['GM'], wm=tissue['WM'], csf=tissue['CSF'],
        )
    )  # fmt: skip


@pytest.fixture(scope='module')
def template_head(embedded_template):
    return load_head(embedded_template, step=2)


@pytest.fixture(scope='module')
def scanned(template_head):
    """Scan the head; by default 2 mm voxels, oblique."""

    def scan(seed=5, voxel_size_mm=(2, 2, 2), **kwargs):
        phantom = make_phantom(
            template_head, Scan(seed=seed, voxel_size_mm=voxel_size_mm, **kwargs)
        )
        return Head(
            volume=phantom.volume.astype(np.float32),
            affine=phantom.affine,
            mask=phantom.brain_mask,
        )

    return scan


@pytest.fixture(scope='module')
def head(scanned):
    return scanned()


def numbers(verdict):
    return {check.name: check.value for check in verdict.checks}


def names(verdict, status):
    return {check.name for check in verdict.checks if check.status is status}


# blocks, and what is counted in them


@pytest.mark.parametrize('zooms', [(1, 1, 1), (0.7, 0.9, 3.3), (2, 2.5, 4)])
def test_blocks_keep_volume_and_place(zooms):
    affine = oblique_affine(zooms, signs=(1, 1, 1))
    shape = np.ceil(60 / np.array(zooms)).astype(int)
    mask = ball(shape, shape * 0.4, 20 / max(zooms))
    mask[0, 2:5, 2:5] = True  # on the edge of the image
    coarse = blocks(mask, affine, bounding_box(mask))
    volume = mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000
    assert coarse.share.sum() * coarse.block_ml == pytest.approx(volume, rel=1e-5)
    centre = affine[:3] @ np.append(np.argwhere(mask).mean(0), 1)
    index = np.stack(np.indices(coarse.share.shape), -1).reshape(-1, 3)
    found = np.average(index, axis=0, weights=coarse.share.ravel())
    np.testing.assert_allclose(coarse.affine[:3] @ np.append(found, 1), centre, atol=0.05)
    ones = coarse.averaged(np.ones(mask.shape))
    assert ones.max() == pytest.approx(1)
    assert (ones >= coarse.share - 1e-6).all()


def test_the_order_of_the_voxels_in_memory_plays_no_part():
    mask = ball((30, 33, 36), (14, 15, 16), 10)
    there = blocks(np.asfortranarray(mask), np.eye(4), bounding_box(mask))
    np.testing.assert_array_equal(blocks(mask, np.eye(4), bounding_box(mask)).share, there.share)


@pytest.mark.parametrize('zooms', [(1, 1, 1), (1, 1, 3), (0.8, 1.6, 1.2)])
def test_a_ball_is_as_rough_as_a_ball(zooms):
    shape = np.ceil(90 / np.array(zooms)).astype(int)
    index = np.indices(shape) - (np.reshape(shape, (3, 1, 1, 1)) - 1) / 2
    mask = ((index * np.reshape(zooms, (3, 1, 1, 1))) ** 2).sum(0) <= 40**2
    affine = np.diag([*zooms, 1])
    assert roughness(mask, affine) == pytest.approx(1, abs=0.04)
    checkered = mask & (np.indices(shape).sum(0) % 2 == 0)
    assert roughness(checkered, affine) > 10


def test_pieces_and_holes_are_counted():
    mask = ball((60, 60, 60), (25, 25, 25), 15)
    hole = ball((60, 60, 60), (25, 25, 25), 6)
    far = ball((60, 60, 60), (50, 50, 50), 7)
    broken = (mask & ~hole) | far
    coarse = blocks(broken, np.eye(4), bounding_box(broken))
    assert largest_share(coarse) == pytest.approx(1 - far.sum() / broken.sum(), abs=0.01)
    assert holes_ml(coarse) == pytest.approx(hole.sum() / 1000, rel=0.15)
    found = clean_brain(np.where(broken, 0.9, 0.2), 0.5)[1]
    assert found.largest_share == pytest.approx(1 - far.sum() / broken.sum())
    assert found.filled_share == pytest.approx(hole.sum() / mask.sum())
    assert clean_brain(mask, 0.5)[1] == Pieces(largest_share=1, filled_share=0)


def test_pieces_are_those_that_cleaning_removes():
    rng = np.random.default_rng(3)
    values = rng.random((20, 21, 22))
    found = clean_brain(values, 0.7)[1]
    cleaned = binarize_brain(values, 0.7)
    kept = cleaned & (values > 0.7)
    assert found.filled_share == pytest.approx(1 - kept.sum() / cleaned.sum())
    assert found.largest_share == pytest.approx(kept.sum() / (values > 0.7).sum())


def test_the_section_at_the_edge_of_the_image_is_measured():
    inside = ball((40, 40, 40), (20, 20, 20), 10)
    assert cut_share(inside, bounding_box(inside)) == 0
    halved = ball((40, 40, 40), (20, 20, 0), 10)
    assert cut_share(halved, bounding_box(halved)) == 1
    touching = ball((40, 40, 40), (20, 32, 20), 10)
    assert 0.3 < cut_share(touching, bounding_box(touching)) < 0.7


def test_where_the_image_ends_there_is_no_surface():
    halved = ball((40, 40, 40), (20, 20, 0), 12)
    surface = surface_points(blocks(halved, np.eye(4), bounding_box(halved)))
    assert surface.points_mm[:, 2].min() > 0
    radius = np.linalg.norm(surface.points_mm - (20, 20, 0), axis=1)
    np.testing.assert_allclose(radius, 12, atol=1.5)
    outward = (surface.points_mm - (20, 20, 0)) / radius[:, None]
    assert (outward * surface.outward).sum(1).mean() > 0.95


# the edge of the brain in the image


def edges_of(radius_mm, offset=(0, 0, 0), zooms=(2, 2, 2), gain=1.0):
    """Ball of 50 mm in the image, and another one as its mask."""
    zooms = np.array(zooms)
    shape = np.ceil(150 / zooms).astype(int)
    index = (np.indices(shape) - np.reshape((shape - 1) / 2, (3, 1, 1, 1))) * np.reshape(
        zooms, (3, 1, 1, 1)
    )
    volume = gain * np.where((index**2).sum(0) <= 50**2, 100.0, 3.0).astype(np.float32)
    away = index - np.reshape(offset, (3, 1, 1, 1))
    mask = (away**2).sum(0) <= radius_mm**2
    affine = oblique_affine(zooms, signs=(1, 1, 1))
    return find_border(volume, affine, surface_points(blocks(mask, affine, bounding_box(mask))))


@pytest.mark.parametrize('zooms', [(1.5, 1.5, 1.5), (2, 2, 2), (1, 1, 4)])
@pytest.mark.parametrize('grown', [-5, -3, 0, 3, 5])
def test_the_edge_lies_where_it_was_put(zooms, grown):
    found = edges_of(50 + grown, zooms=zooms)
    assert found.offset_mm == pytest.approx(-grown, abs=1.2)
    assert found.shift_mm < 1
    assert found.seen_share > 0.99


def test_a_shift_is_told_from_a_wrong_size():
    found = edges_of(50, offset=(0, 6, 0))
    assert found.shift_mm == pytest.approx(6, abs=1.5)
    assert edges_of(45).shift_mm < 1


def test_gain_plays_no_part():
    assert edges_of(48) == edges_of(48, gain=256.0)


def test_an_even_image_shows_no_edge():
    mask = ball((40, 40, 40), (20, 20, 20), 14)
    affine = np.diag([2.0, 2, 2, 1])
    surface = surface_points(blocks(mask, affine, bounding_box(mask)))
    found = find_border(np.full(mask.shape, 7, np.float32), affine, surface)
    assert found.offset_mm is None
    assert found.shift_mm is None
    assert found.seen_share == 0


# rules and verdicts


def test_a_rule_accepts_doubts_and_refuses():
    rule = Rule(
        name='x', accept=(1, 2), believe=(0, None), low='low {:.0f}', high='high {:.0f}', reason=''
    )
    found = {value: rule.judged(value) for value in (-1, 0, 1, 2, 3, 1e9, None)}
    assert [check.status for check in found.values()] == [
        Status.REFUSED, Status.DOUBTFUL, Status.ACCEPT, Status.ACCEPT, Status.DOUBTFUL,
        Status.DOUBTFUL, Status.ACCEPT,
    ]  # fmt: skip
    assert (found[-1].words, found[1].words, found[3].words) == ('low -1', '', 'high 3')
    assert rule.judged(float('nan')).status is Status.REFUSED


def test_each_rule_has_words_for_each_way_of_failing():
    for rule in rules_for({}):
        low, high = rule.accept
        assert low is None or rule.low.format(low - 1).endswith('.'), rule.name
        assert high is None or rule.high.format(high + 1).endswith('.'), rule.name
        assert rule.reason
        wide, narrow = rule.believe, rule.accept
        assert wide[0] is None or wide[0] <= narrow[0]
        assert wide[1] is None or wide[1] >= narrow[1]


def test_many_doubts_refuse():
    values = {'volume': 1400.0, 'template_dice': 0.93, 'deficit': 9.0, 'symmetry': 0.93}
    four = verdict_of({**values, 'protrusion': 3.0}, rules_for(values))
    assert four.status is Status.DOUBTFUL
    five = verdict_of({**values, 'protrusion': 3.0, 'holes': 9.0}, rules_for(values))
    assert five.status is Status.REFUSED
    assert five.reasons[0] == '5 checks doubt the mask at once.'
    assert len(five.reasons) == 6


def test_the_edge_lies_deeper_where_white_matter_is_brightest():
    def offset(contrast):
        rules = rules_for({'white_contrast': contrast})
        return next(rule.accept for rule in rules if rule.name == 'edge_offset')

    assert offset(0.3)[0] < offset(-0.3)[0]
    assert offset(0.3)[1] < offset(-0.3)[1]


# heads


def test_a_good_mask_is_accepted(head, atlas):
    found = judge(
        head.volume, head.affine, head.mask, atlas=atlas, pieces=clean_brain(head.mask, 0.5)[1]
    )
    assert found.status is Status.ACCEPT, found.reasons
    assert found.reasons == ()
    assert set(numbers(found)) == {'volume', *(rule.name for rule in RULES)}
    assert found.volume_ml == pytest.approx(head.mask.sum() * 8 / 1000, rel=1e-4)


@pytest.mark.parametrize(
    'scan',
    [
        {'voxel_size_mm': (3, 3, 3)},
        {'voxel_size_mm': (1.5, 1.5, 5), 'seed': 6},
        {'voxel_size_mm': (4, 1.5, 1.5), 'seed': 7},
        {'tilt_deg': (20, 5, -8), 'scale': (0.88, 0.92, 0.9), 'seed': 8},
        {'tilt_deg': (-14, 0, 10), 'oblique_deg': (20, 8, -10), 'scale': (0.95, 0.88, 0.9)},
        {'bias': 0.6, 'noise': 0.06, 'seed': 9},
    ],
    ids=str,
)
def test_pose_and_grid_and_shading_play_no_part(scanned, atlas, scan):
    other = scanned(**scan)
    found = judge(other.volume, other.affine, other.mask, atlas=atlas)
    assert found.status is Status.ACCEPT, found.reasons


def test_the_scanner_gain_plays_no_part(head, atlas):
    found = [
        numbers(judge(gain * head.volume, head.affine, head.mask, atlas=atlas)) for gain in (1, 64)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_stripped_and_whole_heads_are_accepted_alike(head, atlas):
    stripped = np.where(head.mask, head.volume, 0)
    found = judge(stripped, head.affine, head.mask, atlas=atlas)
    assert found.status is Status.ACCEPT, found.reasons


def test_inverted_contrast_is_accepted(head, atlas):
    """Bright fluid and dark white matter, as in T2w; bone and air stay dark."""
    top = np.percentile(head.volume[head.mask], 99)
    other = np.where(head.mask, np.clip(1.1 * top - head.volume, 0, None), 0.05 * top)
    found = judge(other.astype(np.float32), head.affine, head.mask, atlas=atlas)
    assert found.status is not Status.REFUSED, found.reasons
    assert numbers(found)['tissue'] > 0.3


@pytest.mark.parametrize('kind', list(BREAKS))
def test_a_broken_mask_is_caught(head, atlas, kind):
    found = judge(head.volume, head.affine, BREAKS[kind](head), atlas=atlas)
    assert found.status is not Status.ACCEPT
    assert found.reasons
    if kind not in SUBTLE:
        assert found.status is Status.REFUSED, found.reasons


SUBTLE = {
    'eroded 3 mm', 'eroded 5 mm', 'dilated 3 mm', 'dilated 5 mm', 'eyes in', 'temporal lobe gone',
    'mirrored left to right', 'front to back in place', 'shifted 10 mm',
}  # fmt: skip


def test_the_mask_of_another_head_is_caught(head, scanned, atlas):
    other = scanned(seed=11, scale=(0.86, 0.92, 0.95), tilt_deg=(-10, 4, 8))
    found = judge(head.volume, head.affine, borrowed(head, other), atlas=atlas)
    assert names(found, Status.ACCEPT) != set(numbers(found))
    assert found.status is not Status.ACCEPT


def test_words_name_what_is_wrong(head, atlas):
    def reasons(kind):
        mask = BREAKS[kind](head)
        return ' '.join(judge(head.volume, head.affine, mask, atlas=atlas).reasons)

    assert 'too small' in reasons('eroded 5 mm')
    assert 'too large' in reasons('dilated 5 mm')
    assert 'cerebellum may be missing' in reasons('cerebellum gone')
    assert 'eyes, neck or scalp' in reasons('eyes in')
    assert 'out of place' in reasons('shifted 10 mm')
    assert 'hangs together' in reasons('scattered pieces')
    assert 'holes' in reasons('hole')
    assert 'ragged' in reasons('checkered border')


def test_an_empty_mask_is_refused(head, atlas):
    found = judge(head.volume, head.affine, np.zeros_like(head.mask), atlas=atlas)
    assert found.status is Status.REFUSED
    assert found.volume_ml == 0
    assert '0 ml' in found.reasons[0]


@pytest.mark.parametrize('kind', ['voxel', 'full', 'column'])
def test_masks_of_no_shape_are_refused(head, atlas, kind):
    mask = np.full_like(head.mask, kind == 'full')
    if kind == 'voxel':
        mask[40, 40, 40] = True
    if kind == 'column':
        mask[30:36, 30:36, :] = True
    assert judge(head.volume, head.affine, mask, atlas=atlas).status is Status.REFUSED


def test_noise_in_the_shape_of_a_brain_is_refused(head, atlas):
    noise = np.random.default_rng(0).uniform(50, 150, head.mask.shape).astype(np.float32)
    found = judge(noise, head.affine, head.mask, atlas=atlas)
    assert found.status is Status.REFUSED
    assert 'tissue' in names(found, Status.REFUSED)


def test_a_ball_in_a_ball_is_refused(atlas):
    """A phantom for calibration, a fruit."""
    mask = ball((100, 100, 100), (50, 50, 50), 35)
    volume = np.where(mask, 100, 2).astype(np.float32)
    found = judge(volume, np.diag([2.0, 2, 2, 1]), mask, atlas=atlas)
    assert found.status is Status.REFUSED


def test_the_head_of_a_newborn_needs_its_age(scanned, atlas):
    small = scanned(scale=(0.6, 0.6, 0.6), warp_mm=1.0)
    known = judge(small.volume, small.affine, small.mask, atlas=atlas, age_years=0.05)
    assert known.status is Status.ACCEPT, known.reasons
    unknown = judge(small.volume, small.affine, small.mask, atlas=atlas)
    assert names(unknown, Status.DOUBTFUL) == {'volume'}
    assert 'no age is known' in unknown.reasons[0]
    adult = judge(small.volume, small.affine, small.mask, atlas=atlas, age_years=30, sex='female')
    assert 'volume' in names(adult, Status.REFUSED)


def test_what_cleaning_removed_is_judged(head, atlas):
    pieces = Pieces(largest_share=0.7, filled_share=0.05)
    found = judge(head.volume, head.affine, head.mask, atlas=atlas, pieces=pieces)
    assert names(found, Status.REFUSED) == {'largest_before_cleaning'}
    assert names(found, Status.DOUBTFUL) == {'filled_before_cleaning'}


def test_arguments_are_left_alone(head, atlas):
    volume, mask = head.volume.copy(), head.mask.copy()
    judge(volume, head.affine, mask, atlas=atlas)
    np.testing.assert_array_equal(volume, head.volume)
    np.testing.assert_array_equal(mask, head.mask)


def test_a_mask_of_another_shape_is_said(head, atlas):
    with pytest.raises(ValueError, match='differ in shape'):
        judge(head.volume, head.affine, head.mask[1:], atlas=atlas)


def test_every_check_goes_into_json(head, atlas):
    found = judge(head.volume, head.affine, BREAKS['eyes in'](head), atlas=atlas)
    records = json.loads(json.dumps([check.record() for check in found.checks], allow_nan=False))
    assert [record['name'] for record in records] == [check.name for check in found.checks]
    told = {record['words'] for record in records if record['status'] != 'accept'}
    assert told == set(found.reasons)


# real scans


def real(path, folder):
    folder.mkdir()
    done = Conform(in_file=str(path), check_head=False).run(cwd=str(folder))
    return load(done.outputs.out_file)


@pytest.mark.parametrize('name', ['T1', 'T2', 'FLAIR'])
def test_a_stripped_brain_with_a_stroke_is_accepted(test_data, tmp_path, atlas, name):
    image = real(test_data / 'stroke-stripped-oblique' / f'{name}.nii.gz', tmp_path / 'scan')
    volume = image.get_fdata(dtype=np.float32)
    mask = binarize_brain((volume != 0).astype(np.float32), 0.5)
    found = judge(volume, image.affine, mask, atlas=atlas)
    assert found.status is Status.ACCEPT, found.reasons


@pytest.mark.parametrize('contrast', ['T1W', 'T2W', 'FLAIR'])
def test_given_masks_of_thick_slices_are_not_refused(test_data, tmp_path, atlas, contrast):
    folder = test_data / 'ms-t1-t2-flair'
    image = real(folder / f'study1_{contrast}.nii.gz', tmp_path / 'scan')
    given = f'patient04_study1_{contrast}_brainmask-from-common.nii.gz'
    real(folder / given, tmp_path / 'mask')
    mask = load_mask_on(image, tmp_path / 'mask' / 'conformed.nii')
    found = judge(image.get_fdata(dtype=np.float32), image.affine, mask, atlas=atlas)
    assert found.status is not Status.REFUSED, found.reasons
    head = Head(volume=image.get_fdata(dtype=np.float32), affine=image.affine, mask=mask)
    for kind in ('left half only', 'cerebellum gone', 'upside down in place'):
        broken = judge(head.volume, head.affine, BREAKS[kind](head), atlas=atlas)
        assert broken.status is Status.REFUSED, kind
