"""Stripped images are recognised and nothing else is; their mask is what the image shows."""

from __future__ import annotations

import gzip

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage

from mriprep.atlas import load_atlas
from mriprep.criteria import Status
from mriprep.extractors.base import AtlasFiles
from mriprep.geometry import to_ras
from mriprep.guard import judge
from mriprep.headers import read_header
from mriprep.images import load
from mriprep.masks import bounding_box
from mriprep.phantom import Scan, load_head, make_phantom
from mriprep.stripped import find_stripped, looks_stripped, stripped_mask
from mriprep.truth import dice

STRIPPED = [
    *(
        f'glioma-four-contrasts-stripped/00001_{kind}.nii.gz'
        for kind in ('t1n', 't1c', 't2w', 't2f')
    ),
    *(f'stroke-stripped-oblique/{kind}.nii.gz' for kind in ('T1', 'T2', 'FLAIR')),
]
WHOLE = [
    'cropped-head-uint8/MR.nii.gz',
    'flair-named-t2/t2.nii.gz',
    *(f'ms-t1-t2-flair/study1_{kind}.nii.gz' for kind in ('T1W', 'T2W', 'FLAIR')),
]


@pytest.fixture(scope='module')
def phantom(embedded_template):
    return make_phantom(
        load_head(embedded_template, step=2), Scan(seed=5, voxel_size_mm=(2, 2, 2))
    )


@pytest.fixture(scope='module')
def head(phantom):
    return phantom.volume.astype(np.float32)


@pytest.fixture(scope='module')
def brain(phantom, head):
    return np.where(phantom.brain_mask, head, np.float32(0))


def without_air(head, share=0.3):
    """The head with everything dark around it set to zero, as scanners do."""
    body = ndimage.binary_fill_holes(head > share * head[head > head.mean()].mean())
    return np.where(body, head, np.float32(0))


def test_the_mask_is_what_is_not_background(phantom, brain):
    assert looks_stripped(brain, phantom.affine)
    np.testing.assert_array_equal(stripped_mask(brain, phantom.affine), phantom.brain_mask)


def test_dark_ventricles_and_lesions_are_holes_that_are_filled(phantom, brain):
    depth = ndimage.distance_transform_edt(phantom.brain_mask)
    hollow = np.where(depth > depth.max() - 6, 0, brain)
    assert (hollow == 0).sum() > (brain == 0).sum() + 100
    np.testing.assert_array_equal(stripped_mask(hollow, phantom.affine), phantom.brain_mask)


def test_crumbs_beside_the_brain_are_left_out(phantom, brain):
    crumbs = brain.copy()
    crumbs[2:4, 2:4, 2:4] = 300
    np.testing.assert_array_equal(stripped_mask(crumbs, phantom.affine), phantom.brain_mask)


@pytest.mark.parametrize('level', [-1000, 7, -3.5])
def test_the_background_may_hold_any_value(phantom, head, level):
    image = np.where(phantom.brain_mask, head, np.float32(level))
    np.testing.assert_array_equal(stripped_mask(image, phantom.affine), phantom.brain_mask)


def test_eight_bits_with_a_slope(phantom, brain):
    image = np.rint(brain / brain.max() * 255) * np.float32(2.008)
    assert dice(stripped_mask(image, phantom.affine), phantom.brain_mask) > 0.999


def test_a_z_score_leaves_the_background_among_the_tissues(phantom, head):
    inside = head[phantom.brain_mask]
    image = np.where(phantom.brain_mask, (head - inside.mean()) / inside.std(), np.float32(0))
    assert dice(stripped_mask(image, phantom.affine), phantom.brain_mask) > 0.999


def test_ringing_of_an_interpolation_is_background(phantom, brain):
    move = (0.3, 0.4, 0.5)
    image = ndimage.shift(brain, move, order=3)
    truth = ndimage.shift(phantom.brain_mask.astype(np.float32), move, order=1) > 0.5
    assert image.min() < -0.02 * image.max()
    for rounded in (image, np.rint(image)):
        assert dice(stripped_mask(rounded, phantom.affine), truth) > 0.97


def test_faint_noise_is_background(phantom, brain):
    noise = np.random.default_rng(0).normal(0, 0.004 * np.median(brain[brain > 0]), brain.shape)
    image = (brain + noise).astype(np.float32)
    assert dice(stripped_mask(image, phantom.affine), phantom.brain_mask) > 0.99


def test_a_mask_with_a_margin_of_4_mm(phantom, head):
    wide = ndimage.distance_transform_edt(~phantom.brain_mask, sampling=2) <= 4
    image = np.where(wide, head, 0)
    assert dice(stripped_mask(image, phantom.affine), wide) > 0.99


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize('flip', [(), (0,), (1, 2)])
def test_the_order_of_the_axes_plays_no_part(phantom, brain, head, order, flip):
    axes = np.eye(4)
    axes[:3, :3] = np.eye(3)[:, order]
    affine = phantom.affine @ axes
    for axis in flip:
        affine[:, axis] *= -1  # the origin does not matter

    def turn(volume):
        return np.flip(volume.transpose(order), flip)

    np.testing.assert_array_equal(stripped_mask(turn(brain), affine), turn(phantom.brain_mask))
    assert not looks_stripped(turn(without_air(head)), affine)


def test_a_tight_box_is_enough(phantom, brain):
    box = bounding_box(phantom.brain_mask)
    mask = stripped_mask(brain[box], phantom.affine)
    np.testing.assert_array_equal(mask, phantom.brain_mask[box])


# what is not stripped


def test_a_head_is_not_stripped(phantom, head):
    assert not looks_stripped(head, phantom.affine)
    assert stripped_mask(head, phantom.affine) is None


@pytest.mark.parametrize('size', [1, 0.75, 0.6])  # the smallest heads have 1 litre
@pytest.mark.parametrize('cut', [0, 0.4])  # of their height
def test_a_head_in_air_of_zero_is_not_stripped(phantom, head, size, cut):
    alone = without_air(head)
    low, high = np.flatnonzero(alone.any((0, 1)))[[0, -1]]
    alone[:, :, : low + int(cut * (high - low))] = 0
    assert np.mean(alone == 0) > 0.4
    affine = phantom.affine @ np.diag([size, size, size, 1])
    assert not looks_stripped(alone, affine)


@pytest.mark.parametrize('litres', [1.4, 4])
def test_a_bottle_of_water_is_not_stripped(litres):
    index = np.indices((110, 110, 110)) - 54.5
    radius = np.cbrt(litres * 1e6 * 3 / 4 / np.pi) / 2
    noise = np.random.default_rng(1).normal(0, 2, (110, 110, 110))
    bottle = np.where((index**2).sum(0) < radius**2, 100 + noise, 0).astype(np.float32)
    assert not looks_stripped(bottle, np.diag([2.0, 2, 2, 1]))


@pytest.mark.parametrize(
    'volume',
    [
        np.zeros((20, 20, 20), np.float32),
        np.random.default_rng(0).normal(size=(60, 60, 60)).astype(np.float32),
        np.pad(np.ones((2, 2, 2), np.float32), 30),
        np.zeros((40, 40, 1), np.float32),
    ],
    ids=['nothing', 'noise', 'dot', 'slice'],
)
def test_what_is_no_brain_is_not_stripped(volume):
    assert not looks_stripped(volume, np.diag([2.0, 2, 2, 1]))
    assert stripped_mask(volume, np.diag([2.0, 2, 2, 1])) is None


# files


def test_the_start_of_a_file_tells_what_need_not_be_asked(tmp_path, make_nifti, phantom, brain):
    for suffix in ('nii', 'nii.gz'):
        stripped = read_header(tmp_path / make_nifti(f'b.{suffix}', brain, phantom.affine))
        assert stripped.flat_start
        scan = read_header(tmp_path / make_nifti(f'h.{suffix}', phantom.volume, phantom.affine))
        assert not scan.flat_start
        assert scan.shape == stripped.shape


@pytest.mark.parametrize('dtype', ['u1', '>i2', 'f4', 'f8'])
def test_the_start_is_flat_whatever_the_type(tmp_path, dtype):
    voxels = np.full((40, 40, 40), 3, dtype)
    voxels[20, 20, 20] = 5
    for name, content in (('flat', voxels), ('late', voxels.copy())):
        if name == 'late':
            content[0, 3, 0] = 1
        data = nb.Nifti1Image(content.astype(dtype), np.eye(4), dtype=np.dtype(dtype)).to_bytes()
        (tmp_path / f'{name}.nii').write_bytes(data)
        (tmp_path / f'{name}.nii.gz').write_bytes(gzip.compress(data))
        for suffix in ('nii', 'nii.gz'):
            found = read_header(tmp_path / f'{name}.{suffix}')
            assert found.flat_start is (name == 'flat')


def test_damage_behind_the_header_is_left_to_whoever_reads_the_voxels(tmp_path, make_nifti):
    noise = np.random.default_rng(0).integers(0, 999, (40, 40, 40)).astype(np.int16)
    content = bytearray((tmp_path / make_nifti('n.nii.gz', noise)).read_bytes())
    content[2000:2100] = bytes(100)
    (tmp_path / 'n.nii.gz').write_bytes(content)
    assert read_header(tmp_path / 'n.nii.gz').shape == (40, 40, 40)


def test_stripped_files_are_found_and_broken_ones_left_out(tmp_path, make_nifti, phantom, brain):
    named = {
        'brain.nii.gz': brain,
        'four.nii': brain[..., None],
        'lost.nii': np.where(phantom.brain_mask, brain, np.nan),
        'series.nii': np.stack([brain, brain], -1),
        'head.nii.gz': phantom.volume,
        'flat.nii': np.zeros((30, 30)),
    }
    paths = [tmp_path / make_nifti(name, data, phantom.affine) for name, data in named.items()]
    (tmp_path / 'text.nii').write_text('no image')
    paths += [tmp_path / 'text.nii', tmp_path / 'absent.nii']
    found = find_stripped(paths, threads=2)
    assert {path.name for path in found} == {'brain.nii.gz', 'four.nii', 'lost.nii'}
    assert find_stripped([]) == frozenset()


# real scans


@pytest.mark.parametrize('name', STRIPPED)
def test_real_stripped_brains_are_found_and_accepted(test_data, embedded_template, name):
    image = load(test_data / name)
    volume, affine = to_ras(image.get_fdata(dtype=np.float32), image.affine)
    mask = stripped_mask(volume, affine)
    assert mask[volume != 0].mean() > 0.999
    assert (mask & (volume == 0)).sum() < 0.01 * mask.sum()
    tissue = embedded_template.tissue
    atlas = load_atlas(
        AtlasFiles(
            t1w=embedded_template.t1w, brain_mask=embedded_template.brain_mask,
            gm=tissue['GM'], wm=tissue['WM'], csf=tissue['CSF'],
        )
    )  # fmt: skip
    assert judge(volume, affine, mask, atlas=atlas).status is Status.ACCEPT
    assert read_header(test_data / name).flat_start
    assert find_stripped([test_data / name])


@pytest.mark.parametrize('name', WHOLE)
def test_real_heads_are_not_stripped(test_data, name):
    assert not find_stripped([test_data / name])
    image = load(test_data / name)
    assert stripped_mask(image.get_fdata(dtype=np.float32), image.affine) is None
