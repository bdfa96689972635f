"""Points go where ANTs takes them, and an output in the wrong place does not overlay its source."""

from __future__ import annotations

from types import SimpleNamespace

import h5py
import nibabel as nb
import numpy as np
import pytest
from nipype.interfaces import ants
from oblique import oblique_affine
from runs import warnings_of_others_ignored
from test_transforms import move, resample

from mriprep.images import load_given_mask, write_image
from mriprep.interfaces.conform import Conform
from mriprep.interfaces.grids import CropToMask
from mriprep.itk import write_linear
from mriprep.overlay import RULE, correlation, linear_map, point_map
from mriprep.registration import stages
from mriprep.settings import Registration
from mriprep.tools import activate

POINTS = np.random.default_rng(4).uniform([-70, -100, -50], [70, 70, 80], (300, 3))


@pytest.fixture(autouse=True, scope='module')
def programs():
    activate()


def matrix(shift, *, turn=0.3, scale=1.05):
    c, s = np.cos(turn), np.sin(turn)
    out = np.array([[c, -s, 0, 0], [s, c, 0.1, 0], [0, 0, scale, 0], [0, 0, 0, 1.0]])
    out[:3, 3] = shift
    return out


TEXT = """\
#Insight Transform File V1.0
#Transform 0
Transform: AffineTransform_double_3_3
Parameters: 0.98 -0.1 0.05 0.1 1.02 0 -0.05 0.02 0.97 4 -7 11
FixedParameters: 10 -20 30
"""


@pytest.fixture
def linear(tmp_path):
    """A composite of one affine transform, and a text file of another."""
    write_linear(matrix((5, -8, 12)), tmp_path / 'a.h5')
    (tmp_path / 'b.txt').write_text(TEXT)
    return tmp_path / 'a.h5', tmp_path / 'b.txt'


@pytest.fixture
def warped(tmp_path):
    """A composite as antsRegistration writes it: a field on an oblique grid, after an affine."""
    rng = np.random.default_rng(8)
    size = np.array([9, 8, 7])
    box = oblique_affine(zooms=(15.0, 20.0, 18.0), origin=(60, -80, -40))
    lps = np.diag([-1.0, -1, 1, 1]) @ box
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    fixed = np.r_[size, lps[:3, 3], spacing, (lps[:3, :3] / spacing).ravel()]
    vectors = rng.normal(0, 6, (*size[::-1], 3)).ravel()
    parts = [
        ('CompositeTransform_double_3_3', None, None),
        ('AffineTransform_double_3_3', np.r_[matrix(0)[:3, :3].ravel(), 3, 4, -5], [1.0, 2, 3]),
        ('DisplacementFieldTransform_double_3_3', vectors, fixed),
    ]
    path = tmp_path / 'warp.h5'
    with h5py.File(path, 'w') as file:
        for index, (kind, parameters, constants) in enumerate(parts):
            group = file.create_group(f'TransformGroup/{index}')
            text = h5py.string_dtype('ascii')
            group.create_dataset('TransformType', data=[kind], dtype=text)
            if parameters is not None:
                group['TransformParameters'] = np.asarray(parameters, float)
                group['TransformFixedParameters'] = np.asarray(constants, float)
    return path


def test_points_go_where_ants_takes_them(linear, warped, tmp_path):
    first, second = linear
    for paths in ([first], [second], [first, second], [second, first], [warped], [warped, second]):
        theirs = move(POINTS, tmp_path, *paths)
        np.testing.assert_allclose(point_map(*paths)(POINTS), theirs, atol=1e-4)
        assert np.linalg.norm(theirs - POINTS, axis=1).mean() > 5


def test_beyond_its_field_a_warp_moves_nothing_but_by_the_affine(warped, tmp_path):
    far = POINTS + 500
    theirs = move(far, tmp_path, warped)
    np.testing.assert_allclose(point_map(warped)(far), theirs, atol=1e-4)


def test_linear_transforms_can_be_taken_backwards(linear, warped):
    first, second = linear
    there = point_map(first, second)(POINTS)
    back = point_map(second, first, invert=[True, True])(there)
    np.testing.assert_allclose(back, POINTS, atol=1e-9)
    with pytest.raises(ValueError, match=r'warp\.h5: holds a displacement field'):
        point_map(warped, invert=[True])


AFFINE = oblique_affine(zooms=(2.0, 2.0, 2.5))


def smooth(shape, seed=0):
    from scipy import ndimage

    noise = np.random.default_rng(seed).normal(size=shape)
    return (1000 * ndimage.gaussian_filter(noise, 2.5)).astype(np.float32)


def middle(shape):
    mask = np.zeros(shape, bool)
    mask[6:-6, 6:-6, 6:-6] = True
    return mask


def test_an_image_overlays_itself_and_no_other():
    volume = smooth((40, 42, 38))
    mask = middle(volume.shape)

    def found(other, affine=AFFINE, to_output=lambda points: points):
        return correlation(volume, AFFINE, mask, other, affine, to_output)

    assert found(volume) == pytest.approx(1)
    assert found(3 * volume - 20) == pytest.approx(1)
    assert found(volume[::-1]) < 0.5
    assert found(smooth(volume.shape, seed=1)) < 0.5
    moved = AFFINE.copy()
    moved[1, 3] += 6
    assert found(volume, moved) < RULE.believe[0]
    shift = np.eye(4)
    shift[1, 3] = 6
    assert found(volume, moved, linear_map(shift)) == pytest.approx(1)


def test_a_coarse_output_is_not_blamed_for_being_coarse():
    volume = smooth((60, 62, 58)) + np.random.default_rng(3).normal(0, 15, (60, 62, 58))
    every = (slice(None, None, 2),) * 3
    coarse = AFFINE @ np.diag([2, 2, 2, 1])
    found = correlation(volume, AFFINE, middle(volume.shape), volume[every], coarse, np.asarray)
    assert found > RULE.accept[0]


def test_nothing_to_compare_is_no_correlation():
    volume = smooth((20, 20, 20))
    mask = middle(volume.shape)
    away = AFFINE.copy()
    away[0, 3] += 500
    for output, affine in ((volume, away), (np.ones_like(volume), AFFINE)):
        assert correlation(volume, AFFINE, mask, output, affine, np.asarray) == 0
    with pytest.raises(ValueError, match='the mask is empty'):
        correlation(volume, AFFINE, mask & False, volume, AFFINE, np.asarray)
    with pytest.raises(ValueError, match='differ in shape'):
        correlation(volume, AFFINE, mask[1:], volume, AFFINE, np.asarray)


def register(folder, head, mask, template, kind, **changes):
    """Register a brain to the template, and resample the head onto a grid of it."""
    boxes = {}
    for name, image, inside in (
        ('moving', head, mask),
        ('fixed', template.t1w, template.brain_mask),
    ):
        (folder / name).mkdir()
        crop = CropToMask(in_file=str(image), in_mask=str(inside), voxel_mm=changes['voxel_mm'])
        boxes[name] = crop.run(cwd=str(folder / name)).outputs.out_file
    settings = stages(kind) | changes.get('stages', {})
    ants.Registration(
        **settings,
        dimension=3,
        float=True,
        random_seed=1,
        num_threads=1,
        write_composite_transform=True,
        output_transform_prefix='xfm_',
        fixed_image=boxes['fixed'],
        moving_image=boxes['moving'],
    ).run(cwd=str(folder))
    grid = nb.load(template.t1w)
    step = changes.get('step', 2)
    write_image(
        np.zeros([-(-n // step) for n in grid.shape]), grid.affine @ np.diag([step] * 3 + [1]),
        folder / 'grid.nii', dtype='uint8', space_code=4,
    )  # fmt: skip
    done = SimpleNamespace(
        head=head,
        mask=mask,
        forward=folder / 'xfm_Composite.h5',
        inverse=folder / 'xfm_InverseComposite.h5',
        output=folder / 'output.nii',
    )
    resample(head, folder / 'grid.nii', done.forward, done.output, '-n', 'BSpline')
    return done


def overlay(done, transform):
    head, output = nb.load(done.head), nb.load(done.output)
    return correlation(
        head.get_fdata(), head.affine, nb.load(done.mask).get_fdata() > 0.5,
        output.get_fdata(), output.affine, point_map(transform),
    )  # fmt: skip


def round_trip(done, folder):
    """Correlation, in the brain, of a head with what comes back from the template."""
    back = resample(done.output, done.head, done.inverse, folder / 'back.nii', '-n', 'BSpline')
    inside = nb.load(done.mask).get_fdata() > 0.5
    return np.corrcoef(back[inside], nb.load(done.head).get_fdata()[inside])[0, 1]


@pytest.fixture(scope='module', params=[Registration.AFFINE, Registration.SYN])
def phantom(request, tmp_path_factory, tiny_left_handed_head, embedded_template):
    """The phantom, conformed and registered, with few iterations."""
    folder = tmp_path_factory.mktemp(request.param.value)
    raw = tiny_left_handed_head
    nb.Nifti1Image(raw.volume, raw.affine).to_filename(folder / 'raw.nii')
    nb.Nifti1Image(raw.brain_mask.astype(np.uint8), raw.affine).to_filename(folder / 'given.nii')
    head = Conform(in_file=folder / 'raw.nii').run(cwd=str(folder)).outputs.out_file
    image = nb.load(head)
    mask = load_given_mask(image, folder / 'given.nii')
    write_image(mask, image.affine, folder / 'mask.nii', dtype='uint8', space_code=1)
    quick = {
        'number_of_iterations': [[20, 10], [20, 10], [10, 5, 0]][: 2 + (request.param == 'syn')]
    }
    return register(
        folder, head, folder / 'mask.nii', embedded_template, request.param, voxel_mm=4.0,
        stages=quick,
    )  # fmt: skip


def test_registered_phantoms_overlay_their_source(phantom, tmp_path):
    assert round_trip(phantom, tmp_path) >= 0.98
    assert overlay(phantom, phantom.inverse) >= RULE.accept[0]
    # the other direction is the wrong one
    assert overlay(phantom, phantom.forward) < RULE.believe[0]


def test_registered_phantoms_take_points_where_ants_does(phantom, tmp_path):
    for path in (phantom.forward, phantom.inverse):
        theirs = move(POINTS, tmp_path, path)
        np.testing.assert_allclose(point_map(path)(POINTS), theirs, atol=0.01)


def test_a_real_scan_comes_back(test_data, embedded_template, tmp_path):
    source = test_data / 'ms-t1-t2-flair'
    head = Conform(in_file=source / 'study1_T1W.nii.gz').run(cwd=str(tmp_path)).outputs.out_file
    image = nb.load(head)
    given = source / 'patient04_study1_T1W_brainmask-from-common.nii.gz'
    write_image(
        load_given_mask(image, given), image.affine, tmp_path / 'mask.nii',
        dtype='uint8', space_code=1,
    )  # fmt: skip
    with warnings_of_others_ignored():
        done = register(
            tmp_path, head, tmp_path / 'mask.nii', embedded_template, Registration.AFFINE,
            voxel_mm=3.0, step=1,
        )  # fmt: skip
    assert overlay(done, done.inverse) >= 0.98
    assert round_trip(done, tmp_path) >= 0.98
