"""A name that lies is noticed from the brightness of tissues; a name that is right never."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oblique import oblique_affine
from scipy import ndimage

from mriprep.atlas import load_atlas
from mriprep.contrast_check import doubt, see_contrast
from mriprep.contrasts import Contrast
from mriprep.extractors.base import AtlasFiles
from mriprep.geometry import to_ras
from mriprep.images import load, load_mask_on
from mriprep.intensity import otsu_threshold
from mriprep.stripped import stripped_mask

T1W, CE, T2W, FLAIR, PDW = Contrast
GREY, WHITE, FLUID = range(3)
LEVELS = {  # of grey matter, white matter and fluid
    T1W: (100, 140, 35),
    CE: (110, 135, 100),
    T2W: (100, 75, 190),
    FLAIR: (100, 82, 35),
    PDW: (100, 86, 104),
}


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
def scanned(atlas):
    """Scan the atlas' brain, smaller than it is and tilted, with some levels of its tissues."""

    def scan(levels, zooms=(3, 3, 3), scale=1.1):
        affine = oblique_affine(zooms, signs=(1, 1, 1), degrees=6)
        shape = np.ceil(200 / np.array(zooms)).astype(int)
        affine[:3, 3] -= affine[:3] @ np.append((shape - 1) / 2, 1)
        pose = np.diag([scale, scale, scale, 1.0])
        pose[:3, 3] = (0, -18, 8)
        onto = np.linalg.inv(atlas.affine) @ pose @ affine

        def place(kind):
            return ndimage.affine_transform(kind, onto, output_shape=tuple(shape), order=1)

        image = sum(level * place(kind) for level, kind in zip(levels, atlas.tissue, strict=True))
        noise = np.random.default_rng(2).normal(0, 6, image.shape)
        return (image + noise).astype(np.float32), affine, place(atlas.mask) > 0.5

    return scan


def warned(seen):
    return {contrast for contrast in Contrast if doubt(contrast, seen)}


@pytest.mark.parametrize('zooms', [(3, 3, 3), (2, 2, 5)])
@pytest.mark.parametrize(
    ('contrast', 'wrong'),
    [
        (T1W, {T2W, FLAIR, PDW}),
        (CE, {T2W, FLAIR, PDW}),
        (T2W, {T1W, CE, FLAIR}),
        (FLAIR, {T1W, CE, T2W, PDW}),
        (PDW, {T1W, CE, T2W}),
    ],
)
def test_wrong_names_are_doubted_and_right_ones_never(atlas, scanned, zooms, contrast, wrong):
    volume, affine, mask = scanned(LEVELS[contrast], zooms)
    seen = see_contrast(volume, affine, mask, atlas)
    assert contrast in seen.likely
    assert warned(seen) == wrong
    grey, white, fluid = LEVELS[contrast]
    assert seen.white_contrast == pytest.approx(np.log(white / grey), abs=0.12)
    assert seen.fluid_contrast == pytest.approx(0.8 * np.log(fluid / grey), rel=0.3, abs=0.05)
    assert 0 < seen.white_error < 0.05


def test_the_doubt_is_a_sentence_for_people(atlas, scanned):
    seen = see_contrast(*scanned(LEVELS[FLAIR]), atlas)
    assert doubt(T2W, seen) == (
        'The file is named T2w, but fluid is darker than grey matter, as in FLAIR; '
        'look whether its name is right.'
    )
    assert 'white matter is darker than grey matter' in doubt(T1W, seen)
    seen = see_contrast(*scanned(LEVELS[T1W]), atlas)
    assert 'white matter is brighter than grey matter, as in T1w;' in doubt(FLAIR, seen)
    assert 'T1w with contrast agent' in doubt(CE, see_contrast(*scanned(LEVELS[T2W]), atlas))
    assert 'hardly brighter than' in doubt(T2W, see_contrast(*scanned(LEVELS[PDW]), atlas))


@pytest.mark.parametrize('contrast', [T1W, T2W, FLAIR])
def test_gain_offset_shading_and_sign_play_no_part(atlas, scanned, contrast):
    volume, affine, mask = scanned(LEVELS[contrast])
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in volume.shape), indexing='ij')
    inside = volume[mask]
    expected = warned(see_contrast(volume, affine, mask, atlas))
    for changed in (
        3e-4 * volume,
        volume + 80,
        volume * np.exp(0.5 * x - 0.6 * y + 0.5 * z * y).astype(np.float32),
        np.where(mask, (volume - inside.mean()) / inside.std(), 0),
    ):
        assert warned(see_contrast(changed, affine, mask, atlas)) == expected


@pytest.mark.parametrize('contrast', [T1W, T2W, FLAIR])
def test_masks_that_miss_the_rim_or_take_too_much_do(atlas, scanned, contrast):
    volume, affine, mask = scanned(LEVELS[contrast])
    into = ndimage.distance_transform_edt(mask, sampling=3)
    out = ndimage.distance_transform_edt(~mask, sampling=3)
    for other in (into > 5, out < 5):
        assert doubt(contrast, see_contrast(volume, affine, other, atlas)) is None


@pytest.mark.parametrize('factor', [0.4, 2])
@pytest.mark.parametrize('contrast', [T1W, T2W, FLAIR])
def test_a_large_lesion_is_no_wrong_name(atlas, scanned, contrast, factor):
    volume, affine, mask = scanned(LEVELS[contrast])
    index = np.indices(mask.shape) - np.argwhere(mask).mean(0)[:, None, None, None]
    lesion = ((3 * index - np.reshape([30, 10, 25], (3, 1, 1, 1))) ** 2).sum(0) < 28**2
    seen = see_contrast(np.where(lesion, factor * volume, volume), affine, mask, atlas)
    assert doubt(contrast, seen) is None


def test_infants_show_another_order(atlas, scanned):
    newborn = scanned((100, 80, 60))  # T1w: white matter is not myelinated
    seen = see_contrast(*newborn, atlas)
    assert doubt(T1W, seen)
    for age in (0, 0.5, 0.99):
        assert not warned(see_contrast(*newborn, atlas, age_years=age))
    small = scanned((100, 80, 60), scale=1.6)  # its size tells, where no age does
    assert not warned(see_contrast(*small, atlas))
    assert doubt(T1W, see_contrast(*small, atlas, age_years=30))


def test_toddlers_are_judged_by_fluid_alone(atlas, scanned):
    seen = see_contrast(*scanned((100, 110, 35)), atlas, age_years=1.5)
    assert warned(seen) == {T2W, PDW}
    assert FLAIR in seen.likely
    assert doubt(FLAIR, see_contrast(*scanned((100, 110, 35)), atlas, age_years=12))


def test_white_matter_that_is_bright_in_a_t2w_is_disease(atlas, scanned):
    seen = see_contrast(*scanned((100, 120, 190)), atlas)
    assert doubt(T2W, seen) is None
    assert doubt(T1W, seen)


def test_nothing_is_said_where_nothing_is_seen(atlas, scanned):
    volume, affine, mask = scanned(LEVELS[T1W])
    noise = np.random.default_rng(0).normal(100, 10, mask.shape).astype(np.float32)
    depth = ndimage.distance_transform_edt(mask, sampling=3).astype(np.float32)
    for empty in (np.ones_like(volume), noise, noise + 20 * np.sin(depth / 9)):
        assert not warned(see_contrast(empty, affine, mask, atlas))
    dot = np.zeros_like(mask)
    dot[30:33, 30:33, 30:33] = True
    assert not warned(see_contrast(volume, affine, dot, atlas))
    with pytest.raises(ValueError, match='differ in shape'):
        see_contrast(volume, affine, mask[1:], atlas)
    with pytest.raises(ValueError, match='empty'):
        see_contrast(volume, affine, np.zeros_like(mask), atlas)


def test_what_is_seen_can_be_written_down(atlas, scanned):
    record = json.loads(json.dumps(see_contrast(*scanned(LEVELS[T2W]), atlas).record()))
    assert record['likely'] == ['T2w', 'PDw']
    assert record['fluid_over_grey_log'] > 0.3


# real scans


@pytest.mark.parametrize(
    ('name', 'contrast', 'wrong'),
    [
        ('glioma-four-contrasts-stripped/00001_t1n.nii.gz', T1W, {T2W, FLAIR, PDW}),
        ('glioma-four-contrasts-stripped/00001_t1c.nii.gz', CE, {T2W, FLAIR, PDW}),
        ('glioma-four-contrasts-stripped/00001_t2w.nii.gz', T2W, {T1W, CE, FLAIR}),
        ('glioma-four-contrasts-stripped/00001_t2f.nii.gz', FLAIR, {T1W, CE, T2W, PDW}),
        ('stroke-stripped-oblique/T1.nii.gz', T1W, {T2W, FLAIR, PDW}),
        ('stroke-stripped-oblique/T2.nii.gz', T2W, {T1W, CE, FLAIR}),
        ('stroke-stripped-oblique/FLAIR.nii.gz', FLAIR, {T2W, PDW}),
        ('ms-t1-t2-flair/study1_T1W.nii.gz', T1W, {T2W, FLAIR, PDW}),
        ('ms-t1-t2-flair/study1_T2W.nii.gz', T2W, {T1W, CE, FLAIR}),
        ('ms-t1-t2-flair/study1_FLAIR.nii.gz', FLAIR, {T1W, CE, T2W, PDW}),
        ('flair-named-t2/t2.nii.gz', FLAIR, {T1W, CE, T2W, PDW}),
    ],
)
def test_real_scans(test_data, atlas, name, contrast, wrong):
    path = test_data / name
    image = load(path)
    volume, affine = to_ras(image.get_fdata(dtype=np.float32), image.affine)
    if 'stripped' in name:
        mask = stripped_mask(volume, affine)
    elif 'ms-' in name:
        kind = path.name.removeprefix('study1_').removesuffix('.nii.gz')
        given = path.with_name(f'patient04_study1_{kind}_brainmask-from-common.nii.gz')
        mask, _ = to_ras(load_mask_on(image, given), image.affine)
    else:
        mask = rough_brain(volume, affine)
    seen = see_contrast(volume, affine, mask, atlas)
    assert doubt(contrast, seen) is None
    assert wrong <= warned(seen)


def rough_brain(volume, affine):
    """What is bright and hangs together after 10 mm have been taken off."""
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    bright = ndimage.uniform_filter(volume, np.maximum(1, np.rint(3 / zooms).astype(int)))
    bright = bright > 0.6 * otsu_threshold(bright)
    depth = ndimage.distance_transform_edt(bright, sampling=zooms)
    labels, _ = ndimage.label(depth > 10)
    core = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    return ndimage.distance_transform_edt(~core, sampling=zooms) < 10
