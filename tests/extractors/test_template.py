"""The template-based extractor on heads whose brain and pose are known."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mriprep.extractors.base import ExtractorError, LoadOptions, MapKind, NoBrainError
from mriprep.extractors.head_alignment import align, labelled_points
from mriprep.extractors.head_alignment import coarse_head as make_coarse
from mriprep.extractors.template import EXTRACTOR, bring_mask
from mriprep.phantom import Scan, make_phantom
from mriprep.templates import embedded_atlas
from mriprep.truth import dice, linear_error_mm

# How heads lie in scanners: chin down, chin up, to the side, turned, off-centre
TILTS = ((25, 0, 0), (-25, 0, 0), (0, 20, 0), (10, -10, 20))


@pytest.fixture(scope='module')
def network(template_cache):
    return EXTRACTOR.load(LoadOptions(atlas=embedded_atlas(template_cache)))


def scan(head, **changes):
    """A phantom of 4 mm voxels."""
    return make_phantom(head, replace(Scan(seed=3, voxel_size_mm=(4, 4, 4)), **changes))


def found_in(network, phantom, volume=None):
    """Mask of the brain that is found in a phantom, or in another volume of the same head."""
    volume = phantom.volume if volume is None else volume
    return network(volume.astype(np.float32), phantom.affine, n_threads=1).values > 0.5


@pytest.mark.parametrize('tilt', TILTS)
def test_brain_is_found_however_the_head_lies(coarse_head, network, tilt):
    phantom = scan(coarse_head, tilt_deg=tilt, shift_mm=(12, -15, 30))
    assert dice(found_in(network, phantom), phantom.brain_mask) > 0.92


@pytest.mark.parametrize('voxels', [(2, 2, 5.5), (5, 2, 2)])
def test_thick_slices_do(coarse_head, network, voxels):
    phantom = scan(coarse_head, voxel_size_mm=voxels, oblique_deg=(8, 5, -6))
    assert dice(found_in(network, phantom), phantom.brain_mask) > 0.92


def test_no_contrast_in_particular_is_needed(coarse_head, network):
    phantom = scan(coarse_head)
    head = phantom.volume.astype(float)
    white = np.percentile(head[phantom.brain_mask], 95)
    # fluid becomes the brightest tissue; bone and air stay dark
    fluid_bright = np.where(phantom.brain_mask, np.maximum(1.3 * white - head, 0), 0.7 * head)
    assert dice(found_in(network, phantom, fluid_bright), phantom.brain_mask) > 0.9


def test_a_stripped_brain_is_found_too(coarse_head, network):
    phantom = scan(coarse_head)
    stripped = np.where(phantom.brain_mask, phantom.volume, 0)
    assert dice(found_in(network, phantom, stripped), phantom.brain_mask) > 0.94


def test_a_short_field_of_view_does(coarse_head, network):
    phantom = scan(coarse_head)
    lowest = int(np.flatnonzero(phantom.brain_mask.any((0, 1)))[0])
    cut = phantom.volume[:, :, lowest:].astype(np.float32)
    affine = phantom.affine.copy()
    affine[:3, 3] += affine[:3, 2] * lowest
    mask = network(cut, affine, n_threads=1).values > 0.5
    assert dice(mask, phantom.brain_mask[:, :, lowest:]) > 0.92


def test_pose_and_size_are_those_of_the_truth(coarse_head, network):
    phantom = scan(coarse_head)
    found = align(network.points, make_coarse(phantom.volume.astype(np.float32), phantom.affine))
    error = linear_error_mm(found.matrix, phantom.linear, network.points.points_mm[::20])
    assert error < 4  # one voxel of what it works on
    assert np.linalg.det(found.matrix[:3, :3]) > 0


def test_brightness_has_no_unit_and_answers_repeat(coarse_head, network):
    phantom = scan(coarse_head)
    one, bright = (
        found_in(network, phantom, gain * phantom.volume.astype(float)) for gain in (1, 64)
    )
    np.testing.assert_array_equal(one, bright)


def test_values_are_a_mask_on_the_grid_of_the_image(tiny_head, network):
    found = network(tiny_head.volume.astype(np.float32), tiny_head.affine, n_threads=1)
    assert found.values.shape == tiny_head.volume.shape
    assert found.values.dtype == np.float32
    assert set(np.unique(found.values)) == {0, 1}
    assert (EXTRACTOR.facts.gives, found.device) == (MapKind.MASK, 'cpu')


@pytest.mark.parametrize('what', ['constant', 'noise', 'limb', 'upside down'])
def test_where_there_is_no_brain_none_is_found(coarse_head, network, what):
    rng = np.random.default_rng(0)
    phantom = scan(coarse_head)
    volume = {
        'constant': lambda: np.full((48, 60, 58), 7.0),
        'noise': lambda: rng.normal(100, 20, (48, 60, 58)),
        'limb': lambda: _limb(rng),
        'upside down': lambda: phantom.volume[:, :, ::-1],
    }[what]()
    with pytest.raises(NoBrainError, match='is it a head'):
        network(np.ascontiguousarray(volume, np.float32), phantom.affine, n_threads=1)


def test_without_a_template_it_says_so():
    with pytest.raises(ExtractorError, match='got no template'):
        EXTRACTOR.load(LoadOptions())


def test_a_missing_file_of_the_template_is_named(template_cache, tmp_path):
    atlas = replace(embedded_atlas(template_cache), gm=tmp_path / 'gm.nii')
    with pytest.raises(ExtractorError, match=r'gm\.nii: there is no such file'):
        EXTRACTOR.load(LoadOptions(atlas=atlas))


def test_it_has_no_weights_and_nothing_to_complain_about():
    assert EXTRACTOR.facts.name == 'template'
    assert EXTRACTOR.problem() is None
    assert EXTRACTOR.checksum() is None


def test_labels_lie_in_the_brain_and_its_rim(embedded_template):
    image = nb.load(embedded_template.brain_mask)
    maps = [nb.load(embedded_template.tissue[kind]).get_fdata() for kind in ('GM', 'WM', 'CSF')]
    points = labelled_points(image.get_fdata(), *maps, image.affine)
    voxels = np.rint(nb.affines.apply_affine(np.linalg.inv(image.affine), points.points_mm))
    inside = np.zeros(len(voxels), bool)
    on_grid = ((voxels >= 0) & (voxels < image.shape)).all(axis=1)
    inside[on_grid] = np.asarray(image.dataobj)[tuple(voxels[on_grid].astype(int).T)] > 0
    assert set(points.labels) == set(range(7))
    assert inside[points.labels < 6].mean() > 0.98
    assert inside[points.labels == 6].mean() < 0.1
    assert points.points_mm[points.labels == 6, 2].min() > -80  # none in the neck


@pytest.mark.parametrize('flip', [1, -1])
def test_a_mask_is_carried_by_the_matrix(flip):
    mask = np.zeros((10, 12, 14), np.float32)
    mask[3:6, 4:8, 5:10] = 1
    axes = np.diag([2.0, 2, 2, 1])
    matrix = np.eye(4)
    matrix[:3, 3] = (4, -2, 6)  # two, minus one and three voxels
    image = np.diag([2.0 * flip, 2, 2, 1])
    image[0, 3] = 0 if flip == 1 else 2 * 19
    out = bring_mask(mask, axes, matrix, (20, 20, 20), image)
    expected = np.zeros((20, 20, 20), bool)
    expected[5:8, 3:7, 8:13] = True
    np.testing.assert_array_equal(out, expected[::flip])


def test_a_mask_beside_the_image_is_empty():
    far = np.eye(4)
    far[:3, 3] = 500
    out = bring_mask(np.ones((4, 4, 4), np.float32), np.eye(4), far, (5, 6, 7), np.eye(4))
    assert out.shape == (5, 6, 7)
    assert not out.any()


@pytest.mark.parametrize('contrast', ['T1W', 'T2W', 'FLAIR'])
def test_real_heads(test_data, network, contrast):
    folder = test_data / 'ms-t1-t2-flair'
    image = nb.as_closest_canonical(nb.load(folder / f'study1_{contrast}.nii.gz'))
    truth = nb.as_closest_canonical(
        nb.load(folder / f'patient04_study1_{contrast}_brainmask-from-common.nii.gz')
    )
    volume = image.get_fdata(dtype=np.float32)
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler('xyz', (20, 0, 10), degrees=True).as_matrix()
    mask = network(volume, tilt @ image.affine, n_threads=1).values > 0.5
    assert dice(mask, truth.get_fdata() > 0.5) > 0.9


def _limb(rng):
    """Two legs, with marrow and skin."""
    x, y = np.meshgrid(np.arange(48) - 24.0, np.arange(60) - 30.0, indexing='ij')
    leg = np.minimum(np.hypot(x - 12, y), np.hypot(x + 12, y))
    across = np.select([leg < 3, leg < 4, leg < 10, leg < 11], [150.0, 20, 100, 200], 0)
    return across[:, :, None] + rng.normal(0, 4, (48, 60, 58))
