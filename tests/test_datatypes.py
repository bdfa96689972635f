"""Whatever type voxels are stored as, the numbers that come out are those that were meant."""

from __future__ import annotations

import warnings

import nibabel as nb
import numpy as np
import pytest
from oblique import oblique_affine

from mriprep.heads import why_not_a_head
from mriprep.images import load
from mriprep.intensity import apply_mask, otsu_threshold, zscore, zscore_parameters
from mriprep.interfaces.conform import Conform
from mriprep.resampling import coarsen

SHAPE = (12, 13, 14)
INTEGERS = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32]
FLOATS = [np.float32, np.float64]


def full_range(dtype):
    """Values over all that a type holds, both ends included."""
    if np.issubdtype(dtype, np.integer):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    else:
        low, high = -1e5, 1e6
    values = np.linspace(low, high, np.prod(SHAPE), dtype=np.float64)
    stored = np.clip(np.round(values), low, high).astype(dtype)
    stored.flat[0], stored.flat[-1] = low, high
    return np.random.default_rng(0).permutation(stored.ravel()).reshape(SHAPE)


def write(path, stored, *, slope=1.0, intercept=0.0, kind=nb.Nifti1Image, endianness='<'):
    """Write voxels as they are, with any slope and intercept in the header."""
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(stored.dtype.newbyteorder(endianness))
    header.set_xyzt_units('mm')
    image = kind(stored, oblique_affine(signs=(1, 1, 1)), header)
    image.set_qform(image.affine, 1)
    content = image.to_bytes()
    size = kind.header_class.sizeof_hdr
    stored_header = kind.header_class(content[:size], check=False)
    stored_header['scl_slope'], stored_header['scl_inter'] = slope, intercept
    path.write_bytes(stored_header.binaryblock + content[size:])
    return path


def conformed(path, folder):
    return load(Conform(in_file=path, check_head=False).run(cwd=folder).outputs.out_file)


def refusal(path, folder) -> str:
    with pytest.raises(ValueError, match=f'^{path.name}: .+; .+') as caught:
        conformed(path, folder)
    return str(caught.value)


@pytest.mark.parametrize('dtype', INTEGERS + FLOATS)
@pytest.mark.parametrize(
    ('slope', 'intercept'), [(1, 0), (2.008, 0), (133.88, -1024), (1e-3, 7), (-2, 3), (1, -32768)]
)
def test_physical_values_are_kept(tmp_path, dtype, slope, intercept):
    stored = full_range(dtype)
    path = write(tmp_path / 'x.nii', stored, slope=slope, intercept=intercept)
    given = np.float64(np.float32(slope)), np.float64(np.float32(intercept))
    meant = stored.astype(np.float64) * given[0] + given[1]
    out = np.asarray(conformed(path, tmp_path).dataobj)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, meant, rtol=3e-7, atol=2e-7 * np.abs(meant).max())


@pytest.mark.parametrize('slope', [0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('intercept', [0, 5, np.nan])
def test_a_slope_that_is_none_means_no_scaling(tmp_path, slope, intercept):
    stored = full_range(np.int16)
    path = write(tmp_path / 'x.nii', stored, slope=slope, intercept=intercept)
    np.testing.assert_array_equal(np.asarray(conformed(path, tmp_path).dataobj), stored)


def test_a_slope_without_an_intercept_is_damage(tmp_path):
    path = write(tmp_path / 'x.nii', full_range(np.int16), slope=2, intercept=np.nan)
    assert 'header is damaged' in refusal(path, tmp_path)


@pytest.mark.parametrize('dtype', [np.int16, np.uint8, np.float64])
def test_scaling_that_leaves_what_can_be_computed_with_is_refused(tmp_path, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        path = write(tmp_path / 'x.nii', full_range(dtype), slope=1e37)
        assert 'values beyond 1e+12 after a slope of 1e+37' in refusal(path, tmp_path)


def test_float64_beyond_float32(tmp_path):
    stored = full_range(np.float64)
    assert 'beyond 1e+12' in refusal(write(tmp_path / 'x.nii', stored * 1e35), tmp_path)
    stored[3, 4, 5] = 1e300
    out = np.asarray(conformed(write(tmp_path / 'x.nii', stored), tmp_path).dataobj)
    assert np.count_nonzero(out == 0) == 1 + np.count_nonzero(stored == 0)
    assert np.abs(out).max() < 2e6


@pytest.mark.parametrize('endianness', ['<', '>'])
@pytest.mark.parametrize('kind', [nb.Nifti1Image, nb.Nifti2Image])
@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_byte_order_and_version_make_no_difference(tmp_path, dtype, kind, endianness):
    stored = full_range(dtype)
    plain = conformed(write(tmp_path / 'x.nii', stored, slope=0.5, intercept=3), tmp_path)
    values, affine = np.asarray(plain.dataobj), plain.affine
    path = write(
        tmp_path / 'y.nii', stored, slope=0.5, intercept=3, kind=kind, endianness=endianness
    )
    other = conformed(path, tmp_path)
    np.testing.assert_array_equal(np.asarray(other.dataobj), values)
    np.testing.assert_allclose(other.affine, affine, atol=1e-4)


@pytest.fixture(scope='module')
def head(tiny_head):
    """Voxels that fill the range of their type, so that sums and squares overflow it."""
    scaled = tiny_head.volume * (250 / tiny_head.volume.max())
    return np.round(scaled), tiny_head.brain_mask, tiny_head.affine


@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.uint16])
def test_functions_of_arrays_do_not_overflow_small_integers(head, dtype):
    values, mask, affine = head
    small = values if dtype is np.uint8 else values * 120
    stored, plain = small.astype(dtype), small.astype(np.float64)
    assert why_not_a_head(stored, affine) == why_not_a_head(plain.astype(np.float32), affine)
    assert otsu_threshold(stored) == pytest.approx(otsu_threshold(plain), rel=1e-6)
    parameters = zscore_parameters(stored, mask)
    assert parameters.mean == pytest.approx(plain[mask].mean())
    assert parameters.deviation == pytest.approx(plain[mask].std())
    np.testing.assert_allclose(
        zscore(stored, parameters), (plain - plain[mask].mean()) / plain[mask].std(), atol=1e-4
    )
    np.testing.assert_array_equal(apply_mask(stored, mask), np.where(mask, plain, 0))
    np.testing.assert_allclose(
        coarsen(stored, affine, 8.0)[0], coarsen(plain, affine, 8.0)[0], rtol=1e-5, atol=1e-3
    )
