"""Reading damaged files in plain words; writing whole files of fixed bytes."""

from __future__ import annotations

import gzip

import nibabel as nb
import numpy as np
import pytest

from mriprep.headers import HeaderError, read_header
from mriprep.images import (
    ImageError,
    load,
    load_mask_on,
    same_grid,
    stored_header,
    write_image,
    write_like,
)

SHAPE = (7, 8, 9)


@pytest.fixture
def affine():
    turn = np.radians(11)
    matrix = np.diag([-0.9, 1.1, 2.5, 1])  # left-handed, anisotropic
    matrix[:3, :3] = [
        [np.cos(turn), -np.sin(turn), 0],
        [np.sin(turn), np.cos(turn), 0],
        [0, 0, 1],
    ] @ matrix[:3, :3]
    matrix[:3, 3] = 31, -42, 7.5
    return matrix


@pytest.fixture
def volume():
    return np.random.default_rng(5).normal(100, 20, SHAPE).astype(np.float32)


def test_both_forms_say_the_same(tmp_path, volume, affine):
    path = tmp_path / 'x.nii.gz'
    write_image(volume, affine, path, dtype='float32', space_code=4)
    image = nb.load(path)
    qform, q_code = image.get_qform(coded=True)
    sform, s_code = image.get_sform(coded=True)
    assert (q_code, s_code) == (4, 4)
    np.testing.assert_allclose(qform, sform, atol=1e-5)
    np.testing.assert_allclose(sform, affine, atol=1e-4)
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), volume)
    np.testing.assert_allclose(image.header.get_zooms(), (0.9, 1.1, 2.5), rtol=1e-6)
    assert image.header.get_xyzt_units()[0] == 'mm'
    assert image.get_data_dtype() == np.float32


@pytest.mark.parametrize('name', ['x.nii', 'x.nii.gz'])
def test_bytes_depend_on_content_only(tmp_path, volume, affine, name):
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
    first, second = tmp_path / 'a' / name, tmp_path / 'b' / f'other_{name}'
    write_image(volume, affine, first, dtype='float32', space_code=1)
    order_c = np.ascontiguousarray(volume.astype(np.float64))
    write_image(order_c, affine, second, dtype='float32', space_code=1)
    assert first.read_bytes() == second.read_bytes()


def test_gzip_carries_neither_time_nor_name(tmp_path, volume, affine):
    path = tmp_path / 'x.nii.gz'
    write_image(volume, affine, path, dtype='float32', space_code=1)
    content = path.read_bytes()
    assert content[3] == 0  # no flags: no name
    assert content[4:8] == b'\0\0\0\0'
    plain = tmp_path / 'x.nii'
    write_image(volume, affine, plain, dtype='float32', space_code=1)
    assert gzip.decompress(content) == plain.read_bytes()


def test_views_are_written_in_their_own_order(tmp_path, volume, affine):
    path = tmp_path / 'x.nii'
    view = volume[::-1].transpose(2, 0, 1)
    write_image(view, affine, path, dtype='float32', space_code=1)
    np.testing.assert_array_equal(load(path).get_fdata(dtype=np.float32), view)


def test_masks_are_written_as_bytes(tmp_path, volume, affine):
    path = tmp_path / 'mask.nii.gz'
    for mask in (volume > 100, (volume > 100).astype(np.float64)):
        write_image(mask, affine, path, dtype='uint8', space_code=1)
        assert load(path).get_data_dtype() == np.uint8
        np.testing.assert_array_equal(load_mask_on(load(path), path), volume > 100)


@pytest.mark.parametrize('value', [0.5, -1.0, 256.0])
def test_what_is_no_byte_is_not_written(tmp_path, affine, value):
    path = tmp_path / 'mask.nii'
    with pytest.raises(ValueError, match=r'mask\.nii: values are not whole numbers'):
        write_image(np.full(SHAPE, value), affine, path, dtype='uint8', space_code=1)
    assert list(tmp_path.iterdir()) == []


def test_shear_is_not_written(tmp_path, volume, affine):
    affine[0, 1] += 0.3
    with pytest.raises(ValueError, match='shear'):
        write_image(volume, affine, tmp_path / 'x.nii', dtype='float32', space_code=1)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_what_was_there(tmp_path, volume, affine, monkeypatch):
    path = tmp_path / 'x.nii.gz'
    path.write_bytes(b'before')
    monkeypatch.setattr('mriprep.images._ISAL_LEVEL', 99)
    with pytest.raises(Exception, match=r'(?i)level'):
        write_image(volume, affine, path, dtype='float32', space_code=1)
    assert path.read_bytes() == b'before'
    assert list(tmp_path.iterdir()) == [path]


def test_write_like_takes_grid_and_space(tmp_path, volume, affine):
    source, copy = tmp_path / 'source.nii', tmp_path / 'copy.nii'
    write_image(volume, affine, source, dtype='float32', space_code=4)
    image = load(source)
    write_like(image, volume.astype(np.float64) * 2, copy)
    written = load(copy)
    same_grid(image, written)
    assert int(written.header['sform_code']) == int(written.header['qform_code']) == 4
    assert written.get_data_dtype() == np.float32
    write_like(image, volume > 100, copy)
    assert load(copy).get_data_dtype() == np.uint8
    with pytest.raises(ImageError, match='do not fit a grid of 7 x 8 x 9'):
        write_like(image, volume[:-1], copy)


def test_same_grid_says_how_far_apart(volume, affine):
    image = nb.Nifti1Image(volume, affine)
    moved = affine.copy()
    moved[0, 3] += 0.5
    same_grid(image, nb.Nifti1Image(volume, affine + 1e-5))
    with pytest.raises(ImageError, match=r'corners lie 0\.50 mm apart'):
        same_grid(image, nb.Nifti1Image(volume, moved))
    with pytest.raises(ImageError, match='7 x 8 x 9 and 7 x 8 x 8 voxels'):
        same_grid(image, nb.Nifti1Image(volume[..., :-1], affine))


@pytest.fixture
def noisy_gz(tmp_path, volume, affine):
    path = tmp_path / 'scan.nii.gz'
    write_image(volume, affine, path, dtype='float32', space_code=1)
    return path


def test_truncated_gzip(noisy_gz):
    noisy_gz.write_bytes(noisy_gz.read_bytes()[:-400])
    with pytest.raises(ImageError, match=r'^scan\.nii\.gz: truncated.*; copy the file again'):
        load(noisy_gz)


@pytest.mark.parametrize('place', [0.3, 0.6, 0.9])
def test_flipped_bits_in_gzip(noisy_gz, place):
    content = bytearray(noisy_gz.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    noisy_gz.write_bytes(content)
    with pytest.raises(ImageError, match=r'^scan\.nii\.gz: (truncated|the gzip)'):
        load(noisy_gz)


def test_gzip_of_a_truncated_image(noisy_gz):
    noisy_gz.write_bytes(gzip.compress(gzip.decompress(noisy_gz.read_bytes())[:-100]))
    with pytest.raises(ImageError, match='100 bytes of its voxels are missing'):
        load(noisy_gz)


def test_truncated_plain_file(tmp_path, volume, affine):
    path = tmp_path / 'scan.nii'
    write_image(volume, affine, path, dtype='float32', space_code=1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ImageError, match=r'scan\.nii: truncated: 100 bytes'):
        load(path)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', r'empty \(0 bytes\)'),
        (b'\x1f\x8b', 'scan.nii.gz: (truncated|the gzip)'),
        (b'hello', 'not a NIfTI file'),
        (b'\0' * 4000, 'not a NIfTI file'),
        (gzip.compress(b'hello' * 500), 'not a NIfTI file'),
    ],
)
def test_files_that_are_no_image(tmp_path, content, words):
    path = tmp_path / 'scan.nii.gz'
    path.write_bytes(content)
    with pytest.raises(ImageError, match=words) as caught:
        load(path)
    assert str(tmp_path) not in str(caught.value)
    assert '\n' not in str(caught.value)


def test_absent_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match=r'scan\.nii: there is no such file'):
        load(tmp_path / 'scan.nii')
    with pytest.raises(ImageError, match='can not be read'):
        load(tmp_path)


def test_name_does_not_decide_on_compression(tmp_path, noisy_gz, volume):
    plain = tmp_path / 'plain.nii.gz'
    plain.write_bytes(gzip.decompress(noisy_gz.read_bytes()))
    np.testing.assert_array_equal(load(plain).get_fdata(dtype=np.float32), volume)


def test_nifti_2_and_scaling_are_read(tmp_path, affine):
    image = nb.Nifti2Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine)
    image.header.set_slope_inter(0.5, 10)
    nb.save(image, tmp_path / 'x.nii.gz')
    values = load(tmp_path / 'x.nii.gz').get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(values, np.arange(24).reshape(2, 3, 4) * 0.5 + 10)


def patched(path, field, value):
    """Write a value into the header of an uncompressed image, past nibabel's checks."""
    content = path.read_bytes()
    header = nb.Nifti1Header(content[:348], check=False)
    header[field] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('pixdim', [5, 1, 1, 1, 0, 0, 0, 0]),
        ('pixdim', [1, 0, -1, 1, 0, 0, 0, 0]),
        ('quatern_b', 1.001),
        ('qform_code', -1),
        ('sform_code', 77),
        ('xyzt_units', 7),
    ],
)
def test_what_can_not_be_so_is_mended_quietly_and_kept_for_the_audit(
    tmp_path, volume, capfd, field, value
):
    write_image(volume, np.eye(4), tmp_path / 'x.nii', dtype='float32', space_code=1)
    image = load(patched(tmp_path / 'x.nii', field, value))
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), volume)
    assert np.isfinite(image.affine).all()
    assert image.header.get_xyzt_units()[0] in ('mm', 'unknown')
    np.testing.assert_allclose(stored_header(image)[field], value)
    assert capfd.readouterr().err == ''


def test_a_sound_header_is_not_touched(tmp_path, volume, affine):
    write_image(volume, affine, tmp_path / 'x.nii', dtype='float32', space_code=1)
    image = load(tmp_path / 'x.nii')
    assert image.header['quatern_b'] == stored_header(image)['quatern_b']
    assert stored_header(nb.Nifti1Image(volume, affine)).get_data_shape() == SHAPE


@pytest.mark.parametrize('kind', [nb.Nifti1Pair, nb.Nifti2Pair])
def test_half_of_a_pair_is_told(tmp_path, volume, affine, kind):
    nb.save(kind(volume, affine), tmp_path / 'x.img')
    with pytest.raises(ImageError, match=r'x\.hdr: half of a pair .*; convert the pair'):
        load(tmp_path / 'x.hdr')
    with pytest.raises(ImageError, match=r'x\.img: not a NIfTI file'):
        load(tmp_path / 'x.img')


def test_analyze_files_are_no_nifti(tmp_path, volume, affine):
    nb.save(nb.AnalyzeImage(volume, affine), tmp_path / 'x.img')
    with pytest.raises(ImageError, match=r'x\.hdr: not a NIfTI file'):
        load(tmp_path / 'x.hdr')


@pytest.mark.parametrize('kind', [nb.Nifti1Image, nb.Nifti2Image])
def test_big_endian_files_are_read(tmp_path, volume, affine, kind):
    header = kind.header_class(endianness='>')
    header.set_data_dtype('>i2')
    image = kind((10 * volume).astype('>i2'), affine, header)
    image.header.set_xyzt_units('mm')
    image.to_filename(tmp_path / 'x.nii')
    assert image.header.endianness == '>'
    read = load(tmp_path / 'x.nii')
    np.testing.assert_array_equal(np.asarray(read.dataobj), (10 * volume).astype(np.int16))
    np.testing.assert_allclose(read.affine, affine, atol=1e-5)
    assert stored_header(read).get_data_shape() == SHAPE


# FreeSurfer's volumes


@pytest.fixture
def mgz(tmp_path, volume, affine):
    nb.save(nb.MGHImage(volume, affine), tmp_path / 'scan.mgz')
    return tmp_path / 'scan.mgz'


@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize('name', ['x.mgz', 'x.mgh'])
def test_freesurfer_volumes_become_nifti(tmp_path, volume, affine, dtype, name):
    voxels = volume.astype(dtype)
    nb.save(nb.MGHImage(voxels, affine), tmp_path / name)
    image = load(tmp_path / name)
    assert isinstance(image, nb.Nifti1Image)
    assert image.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(image.dataobj), voxels)
    (qform, q_code), (sform, s_code) = image.get_qform(coded=True), image.get_sform(coded=True)
    assert (q_code, s_code) == (1, 1)
    np.testing.assert_allclose(sform, affine, atol=1e-4)
    np.testing.assert_allclose(qform, affine, atol=1e-3)
    np.testing.assert_allclose(image.header.get_zooms(), (0.9, 1.1, 2.5), rtol=1e-6)
    assert image.header.get_xyzt_units()[0] == 'mm'
    brief = read_header(tmp_path / name)
    assert brief.shape == SHAPE
    np.testing.assert_allclose(brief.zooms_mm, (0.9, 1.1, 2.5), rtol=1e-6)
    assert brief.datatype == int(image.header['datatype'])
    assert brief.missing_bytes == 0


def test_several_frames_are_four_dimensions(tmp_path, volume, affine):
    frames = np.stack([volume, volume], axis=-1)
    nb.save(nb.MGHImage(frames, affine), tmp_path / 'x.mgz')
    np.testing.assert_array_equal(np.asarray(load(tmp_path / 'x.mgz').dataobj), frames)
    assert read_header(tmp_path / 'x.mgz').shape == (*SHAPE, 2)


def test_damaged_freesurfer_volumes(tmp_path, mgz):
    whole = mgz.read_bytes()
    plain = gzip.decompress(whole)
    mgz.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r'scan\.mgz: truncated.*; copy the file again'):
        load(mgz)
    short = tmp_path / 'short.mgh'
    short.write_bytes(plain[: 284 + 4 * 7 * 8 * 9 - 50])
    with pytest.raises(ImageError, match=r'short\.mgh: truncated: 50 bytes'):
        load(short)
    assert read_header(short).missing_bytes == 50
    short.write_bytes(plain[:60])
    with pytest.raises(ImageError, match=r'short\.mgh: not an MGH file'):
        load(short)
    with pytest.raises(HeaderError, match='ends within its header'):
        read_header(short)
    mgz.write_bytes(gzip.compress(b'hello' * 500))
    with pytest.raises(ImageError, match=r'scan\.mgz: not an MGH file'):
        load(mgz)


def test_a_freesurfer_volume_without_a_place_is_refused(mgz):
    content = bytearray(gzip.decompress(mgz.read_bytes()))
    content[28:30] = b'\0\0'
    mgz.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(ImageError, match=r'scan\.mgz: .*left and right are unknown; convert'):
        load(mgz)
    with pytest.raises(HeaderError, match='left and right are unknown; convert'):
        read_header(mgz)


def test_the_name_does_not_decide_on_the_format(tmp_path, mgz, volume):
    (tmp_path / 'x.nii.gz').write_bytes(mgz.read_bytes())
    np.testing.assert_array_equal(np.asarray(load(tmp_path / 'x.nii.gz').dataobj), volume)
