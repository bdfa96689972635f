"""What is no head is refused in words: at once, or by the guard of what the extractor finds."""

from __future__ import annotations

import subprocess

import numpy as np
import objects
import pytest
from objects import OBJECTS, Image
from runs import warnings_of_others_ignored

from mriprep.atlas import load_atlas
from mriprep.criteria import Status
from mriprep.extraction import Finder, find_brain
from mriprep.extractors import registry, verdicts
from mriprep.extractors.base import AtlasFiles, BrainMap, LoadOptions, NoBrainError
from mriprep.extractors.template import EXTRACTOR as TEMPLATE
from mriprep.extractors.template import bring_mask
from mriprep.guard import judge
from mriprep.heads import why_not_a_head
from mriprep.images import load
from mriprep.intensity import otsu_threshold
from mriprep.interfaces.conform import Conform
from mriprep.masks import bounding_box, clean_brain
from mriprep.tools import embedded_dcm2niix

AT_ONCE = {
    'noise': 'looks like noise',
    'smoothed_noise': 'looks like noise',
    'specks': 'looks like noise',
    'mostly_zero': 'looks like noise',
    'checkerboard': 'scattered',
    'gradient': 'of one brightness inside',
    'water_ball': 'of one brightness inside',
    'box_of_ones': 'a mask or labels',
    'kiwi': 'too small for a head',
    'abdomen': 'from bottom to top without an end',
    'thigh': 'from bottom to top without an end',
    'knee': 'from bottom to top without an end',
    'spine': 'from left to right without an end',
}


@pytest.fixture(scope='module')
def head(tiny_head) -> Image:
    """A phantom head, RAS."""
    return Image(tiny_head.volume.astype('f4'), tiny_head.affine)


@pytest.mark.parametrize('name', AT_ONCE)
def test_objects_are_refused_at_once(name):
    reason = why_not_a_head(*OBJECTS[name]())
    assert reason is not None
    assert AT_ONCE[name] in reason
    what, _, to_do = reason.partition('; ')
    assert what
    assert to_do.startswith(('look', 'check', 'give'))


@pytest.mark.parametrize('bias', [0.0, 0.4, 0.8])
@pytest.mark.parametrize('noise', [1.0, 4.0])
def test_shading_does_not_make_a_head_of_a_bottle(bias, noise):
    reason = why_not_a_head(*objects.water_ball(bias=bias, noise=noise))
    assert reason is not None
    assert 'of one brightness' in reason


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (objects.three_slices, '3 slices only'),
        (lambda head: objects.rescaled(head, 0.1), 'check the voxel size'),
        (lambda head: objects.rescaled(head, 10), 'too large for a head'),
        (lambda head: objects.rescaled(head, 2), 'too large for a head'),
    ],
)
def test_heads_gone_wrong_are_refused_at_once(head, change, words):
    reason = why_not_a_head(*change(head))
    assert reason is not None
    assert words in reason


@pytest.mark.parametrize(
    'change',
    [
        lambda head: head,
        lambda head: objects.flipped(head, 0),
        lambda head: objects.flipped(head, 0, 2),
        lambda head: objects.rolled(head, to=(0, 2, 1)),
        lambda head: objects.rescaled(head, 0.7),  # a child
        objects.slab,  # as for the hippocampus
        lambda head: objects.in_noise(head),
        lambda head: objects.standardized(head),
        lambda head: objects.rounded(head, 40),
    ],
)
def test_heads_of_any_kind_pass(head, change):
    assert why_not_a_head(*change(head)) is None


@pytest.mark.parametrize('size', [1.0, 0.55])
@pytest.mark.parametrize(
    'levels',
    [
        (165, 225, 45),
        (100, 100, 40),  # an infant of half a year, T1w: grey and white alike
        (100, 100, 60),
        (100, 80, 190),  # T2w
        (100, 115, 80),
    ],
)
def test_stripped_brains_pass(embedded_template, levels, size):
    """Also those of newborns, a sixth of an adult's."""
    maps = [load(embedded_template.tissue[name]) for name in ('GM', 'WM', 'CSF')]
    brain = sum(
        level * image.get_fdata(dtype='f4')[::2, ::2, ::2]
        for level, image in zip(levels, maps, strict=True)
    )
    affine = maps[0].affine @ [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
    assert why_not_a_head(*objects.rescaled(Image(brain, affine), size)) is None


@pytest.fixture(scope='session')
def atlas_files(embedded_template) -> AtlasFiles:
    """The template that the guard compares with."""
    tissue = embedded_template.tissue
    return AtlasFiles(
        t1w=embedded_template.t1w, brain_mask=embedded_template.brain_mask,
        gm=tissue['GM'], wm=tissue['WM'], csf=tissue['CSF'],
    )  # fmt: skip


@pytest.fixture(scope='session')
def guarded(atlas_files):
    """Function that says what becomes of an image: the status of its mask, and the words."""
    atlas = atlas_files
    deepbet = registry.get('deepbet')
    with warnings_of_others_ignored():
        network = deepbet.load(LoadOptions())

    def judge(image: Image, folder) -> tuple[Status, str | None]:
        brain = _found(network, image)

        def look(volume):
            if isinstance(brain, NoBrainError):
                raise brain
            return brain

        found = find_brain(
            image.volume,
            Finder(name='deepbet', gives=deepbet.facts.gives, look=look),
            None,
            judge=verdicts.judge_of(image.volume, image.affine, atlas, age_years=None, sex=None),
            even=lambda volume: volume,
        )
        verdicts.write(found, folder / 'verdict.json')
        return found.status, verdicts.why_refused(folder / 'verdict.json')

    return judge


def _found(network, image: Image) -> BrainMap | NoBrainError:
    with warnings_of_others_ignored():
        try:
            return network(image.volume, image.affine, n_threads=1)
        except NoBrainError as error:
            return error


@pytest.mark.parametrize('name', ['melon', 'orange'])
def test_what_an_extractor_takes_for_a_brain_is_refused(name, guarded, tmp_path):
    image = OBJECTS[name]()
    assert why_not_a_head(*image) is None, 'the extractor is not needed to tell'
    status, words = guarded(image, tmp_path)
    assert status is Status.REFUSED
    assert words is not None
    assert 'the brain mask is refused' in words
    assert 'exclude the image if it shows no head' in words


def lying(image: Image) -> Image:
    """Exchange the second axis and the third: what stood lies as heads do."""
    return objects.rolled(image, to=(0, 2, 1))


def sized(image: Image, *factors: float) -> Image:
    return Image(image.volume, image.affine @ np.diag([*factors, 1.0]))


AS_LARGE_AS_A_BRAIN = {
    'watermelon': lambda: objects.rescaled(lying(objects.watermelon()), 0.8),
    'pineapple': lambda: sized(lying(objects.pineapple()), 0.9, 0.85, 0.85),
    'melon': lambda: sized(objects.melon(), 0.74, 0.95, 0.72),
    'bottle of noisy water': lambda: sized(objects.water_ball(noise=14), 0.75, 0.95, 0.72),
}


def brain_in(image: Image, atlas) -> np.ndarray:
    """The brain of a template in the box around an object, a little smaller and higher.

    So the template-based extractor finds fruit: its masks have the shape of a brain.
    """

    def box_mm(mask, affine):
        box = bounding_box(mask)
        ends = np.array([[side.start, side.stop] for side in box]).T - 0.5
        return ends @ affine[:3, :3].T + affine[:3, 3]

    there = box_mm(image.volume > 0.5 * otsu_threshold(image.volume), image.affine)
    here = box_mm(atlas.mask > 0.5, atlas.affine)
    scales = 0.96 * (there[1] - there[0]) / (here[1] - here[0])
    matrix = np.diag([*scales, 1.0])
    matrix[:3, 3] = there.mean(0) - scales * here.mean(0) + (0, 0, 4)
    return bring_mask(atlas.mask, atlas.affine, matrix, image.volume.shape, image.affine)


@pytest.mark.parametrize('name', AS_LARGE_AS_A_BRAIN)
def test_fruit_of_the_size_and_shape_of_a_brain_is_refused(name, atlas_files):
    """A rim around a core, which it has as brains have, is not enough."""
    image = AS_LARGE_AS_A_BRAIN[name]()
    assert why_not_a_head(*image) is None, 'the guard is not needed to tell'
    atlas = load_atlas(atlas_files)
    found = judge(*image, brain_in(image, atlas), atlas=atlas)
    by_name = {check.name: check for check in found.checks}
    for check in ('volume', 'template_dice', 'template_scale', 'protrusion', 'deficit'):
        assert by_name[check].status is Status.ACCEPT, check
    assert by_name['tissue'].status is not Status.ACCEPT
    assert by_name['tissue_advantage'].status is not Status.ACCEPT
    assert found.status is Status.REFUSED
    assert 'it may not be a brain' in ' '.join(found.reasons)


def test_a_watermelon_that_the_template_fits_is_refused(atlas_files):
    image = AS_LARGE_AS_A_BRAIN['watermelon']()
    network = TEMPLATE.load(LoadOptions(atlas=atlas_files))
    mask, pieces = clean_brain(network(*image, n_threads=1).values, 0.5)
    found = judge(*image, mask, atlas=load_atlas(atlas_files), pieces=pieces)
    assert found.status is Status.REFUSED


def test_a_head_is_believed(head, guarded, tmp_path):
    assert guarded(head, tmp_path) == (Status.ACCEPT, None)


@pytest.fixture(scope='session')
def real_head(test_data, tmp_path_factory) -> Image:
    """A T1w of 2 mm, RAS."""
    folder = tmp_path_factory.mktemp('head')
    source = test_data / 'siemens-xa30-enhanced' / 'ser6_NORM.dcm'
    subprocess.run(
        [embedded_dcm2niix(), '-s', 'y', '-z', 'n', '-f', 'head', '-o', folder, source],
        check=True,
        capture_output=True,
    )
    conform = Conform(in_file=str(folder / 'head.nii'), check_head=False)
    image = load(conform.run(cwd=folder).outputs.out_file)
    return Image(image.get_fdata(dtype='f4'), image.affine)


def test_a_real_head_passes(real_head):
    assert why_not_a_head(*real_head) is None


@pytest.mark.parametrize(
    'change',
    [
        lambda head: objects.flipped(head, 2),  # upside down
        lambda head: objects.rolled(head, to=(2, 1, 0)),  # on its side
        objects.low_half,
    ],
)
def test_what_is_a_head_all_the_same_is_left_to_the_guard(real_head, change):
    assert why_not_a_head(*change(real_head)) is None


@pytest.mark.parametrize(
    'change', [lambda head: objects.flipped(head, 2), objects.low_half], ids=['turned', 'neck']
)
def test_a_real_head_is_refused_where_its_brain_is_not_to_be_found(
    change, real_head, guarded, tmp_path
):
    status, words = guarded(change(real_head), tmp_path)
    assert status is Status.REFUSED
    assert words is not None
