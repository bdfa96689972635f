"""Joined transforms: one file does what its parts do one after another."""

from __future__ import annotations

import h5py
import nibabel as nb
import numpy as np
import pytest
from nipype.interfaces import ants
from scipy import ndimage

from mriprep.itk import write_linear
from mriprep.settings import AntsSource
from mriprep.tools import activate
from mriprep.transforms import join_transforms, linear_matrix, read_parts

AFFINE = np.array([[2.0, 0, 0, -24], [0, 2, 0, -26], [0, 0, 2, -22], [0, 0, 0, 1]])
SHAPE = (24, 26, 22)
RIGID = """#Insight Transform File V1.0
#Transform 0
Transform: Euler3DTransform_double_3_3
Parameters: 0.1 -0.05 0.2 3 -2 1
FixedParameters: 5 -4 3 0
"""


@pytest.fixture
def parts(tmp_path):
    """A rigid text, an affine and a composite with a displacement field; and an image."""
    activate(AntsSource.EMBEDDED)
    rng = np.random.default_rng(3)
    volume = ndimage.gaussian_filter(rng.random(SHAPE), 2).astype(np.float32)
    nb.save(nb.Nifti1Image(volume, AFFINE), tmp_path / 'image.nii')
    (tmp_path / 'rigid.txt').write_text(RIGID)
    matrix = np.eye(4) + rng.normal(0, 0.03, (4, 4)) * [[1], [1], [1], [0]]
    matrix[:3, 3] = (1, -2, 3)
    write_linear(matrix, tmp_path / 'affine.h5')
    _write_field(tmp_path / 'warp.h5', rng)
    return tmp_path


def _write_field(path, rng):
    """A composite as antsRegistration writes it: an affine, then a field that a point meets first."""
    smooth = [ndimage.gaussian_filter(rng.normal(0, 25, SHAPE[::-1]), 3) for _ in range(3)]
    field = np.stack(smooth, -1).astype(np.float32)
    text = h5py.string_dtype('ascii')
    with h5py.File(path, 'w') as file:
        for index, (kind, fixed, free) in enumerate((
            ('CompositeTransform_float_3_3', None, None),
            (
                'AffineTransform_float_3_3',
                np.zeros(3),
                np.float32([1.02, 0.01, 0, 0, 0.98, 0.02, 0, 0, 1, 2, 1, -1]),
            ),
            (
                'DisplacementFieldTransform_float_3_3',
                # ITK counts in LPS
                np.array([*SHAPE, 24, 26, -22, 2, 2, 2, -1, 0, 0, 0, -1, 0, 0, 0, 1.0]),
                field.ravel(),
            ),
        )):  # fmt: skip
            group = file.create_group(f'TransformGroup/{index}')
            group.create_dataset('TransformType', data=[kind], dtype=text)
            if fixed is not None:
                group['TransformFixedParameters'] = fixed
                group['TransformParameters'] = free


def _resampled(folder, transforms):
    result = ants.ApplyTransforms(
        dimension=3,
        interpolation='Linear',
        input_image=str(folder / 'image.nii'),
        reference_image=str(folder / 'image.nii'),
        transforms=[str(folder / name) for name in transforms] or ['identity'],
        output_image=str(folder / 'out.nii'),
    ).run(cwd=folder)
    return nb.load(result.outputs.output_image, mmap=False).get_fdata()


ORDERS = [
    ('warp.h5', 'rigid.txt'),
    ('rigid.txt', 'warp.h5'),
    ('warp.h5', 'affine.h5', 'rigid.txt'),
    ('affine.h5', 'rigid.txt'),
    ('rigid.txt',),
]


@pytest.mark.parametrize('order', ORDERS, ids='+'.join)
def test_ants_gets_the_same_image_from_one_file_as_from_its_parts(parts, order):
    join_transforms([parts / name for name in order], parts / 'joined.h5')
    expected = _resampled(parts, order)
    np.testing.assert_allclose(_resampled(parts, ['joined.h5']), expected, atol=1e-5)
    assert np.abs(_resampled(parts, ['joined.h5']) - _resampled(parts, [])).max() > 0.02


def test_the_order_matters_here(parts):
    there, back = (_resampled(parts, order) for order in ORDERS[:2])
    assert np.abs(there - back).max() > 0.01


def test_equal_transforms_give_equal_bytes(parts):
    for name in ('one.h5', 'two.h5'):
        join_transforms([parts / 'warp.h5', parts / 'rigid.txt'], parts / name)
    assert (parts / 'one.h5').read_bytes() == (parts / 'two.h5').read_bytes()


def test_nitransforms_reads_it(parts):
    from nitransforms.linear import load

    join_transforms([parts / 'affine.h5', parts / 'rigid.txt'], parts / 'joined.h5')
    chain = load(parts / 'joined.h5', fmt='itk', reference=parts / 'image.nii')
    points = np.random.default_rng(1).uniform(-20, 20, (5, 3))
    ours = nb.affines.apply_affine(linear_matrix(parts / 'joined.h5'), points)
    np.testing.assert_allclose(chain.map(points), ours, atol=1e-4)


def test_a_linear_chain_has_one_matrix(parts):
    join_transforms([parts / 'affine.h5', parts / 'rigid.txt'], parts / 'joined.h5')
    first, second = (linear_matrix(parts / name) for name in ('affine.h5', 'rigid.txt'))
    np.testing.assert_allclose(linear_matrix(parts / 'joined.h5'), second @ first, atol=1e-9)


def test_a_field_is_not_linear(parts):
    with pytest.raises(ValueError, match='not a linear transform'):
        linear_matrix(parts / 'warp.h5')


def test_a_file_without_a_transform_is_refused(tmp_path):
    (tmp_path / 'empty.txt').write_text('#Insight Transform File V1.0\n')
    with pytest.raises(ValueError, match=r'empty\.txt: holds no ITK transform; make it again'):
        read_parts(tmp_path / 'empty.txt')
