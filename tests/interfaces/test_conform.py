"""Conform on files: places kept, headers mended, and refusals of one plain line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from mriprep.interfaces.conform import Conform

SHAPE = (8, 9, 10)
MARK = (2, 7, 4)


@pytest.fixture
def volume():
    volume = np.random.default_rng(2).integers(1, 200, SHAPE).astype(np.int16)
    volume[MARK] = 240
    return volume


def oblique(signs=(1, 1, 1), zooms=(1.0, 1.5, 3.0)):
    turn = np.radians(9)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine = affine @ np.diag([*np.multiply(signs, zooms), 1])
    affine[:3, 3] = 17, -33, 8
    return affine


def save(path, volume, affine, *, qform_code=1, sform_code=1, qform=None):
    image = nb.Nifti1Image(volume, affine)
    image.header.set_xyzt_units('mm')
    image.set_qform(affine if qform is None else qform, qform_code)
    image.set_sform(affine, sform_code)
    nb.save(image, path)
    return path


def run(path, folder, **inputs):
    return Conform(in_file=path, **({'check_head': False} | inputs)).run(cwd=folder).outputs


def refusal(path, folder, **inputs) -> str:
    with pytest.raises(ValueError, match=f'^{path.name}: .+; .+') as caught:
        run(path, folder, **inputs)
    message = str(caught.value)
    assert '\n' not in message
    assert str(folder) not in message
    return message


@pytest.mark.parametrize('name', ['scan.nii', 'scan.nii.gz'])
@pytest.mark.parametrize('signs', [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_a_voxel_keeps_its_place(tmp_path, volume, signs, name):
    affine = oblique(signs)
    outputs = run(save(tmp_path / name, volume, affine), tmp_path)
    image = nb.load(outputs.out_file)
    assert nb.aff2axcodes(image.affine) == ('R', 'A', 'S')
    values = np.asanyarray(image.dataobj)
    (where,) = np.argwhere(values == 240)
    np.testing.assert_allclose(image.affine @ [*where, 1], affine @ [*MARK, 1], atol=1e-4)
    np.testing.assert_array_equal(np.sort(values, None), np.sort(volume, None))
    assert values.dtype == np.float32
    qform, q_code = image.get_qform(coded=True)
    sform, s_code = image.get_sform(coded=True)
    assert (q_code, s_code) == (1, 1)
    np.testing.assert_allclose(qform, sform, atol=1e-5)


def test_audit_can_restore_the_original_grid(tmp_path, volume):
    affine = oblique((-1, 1, -1))
    outputs = run(save(tmp_path / 'scan.nii', volume, affine), tmp_path)
    with Path(outputs.out_audit).open() as stream:
        audit = json.load(stream)
    assert list(audit) == ['found', 'changes', 'warnings', 'original']
    assert audit['original']['orientation'] == 'LAI'
    assert audit['original']['shape'] == list(SHAPE)
    np.testing.assert_allclose(audit['original']['affine'], affine, atol=1e-4)
    image = nb.load(outputs.out_file)
    back = image.as_reoriented(
        nb.orientations.ornt_transform(
            nb.io_orientation(image.affine),
            nb.io_orientation(np.array(audit['original']['affine'])),
        )
    )
    np.testing.assert_array_equal(back.get_fdata(), volume)


@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.float32, np.float64])
def test_types_of_voxels(tmp_path, volume, dtype):
    outputs = run(save(tmp_path / 'scan.nii', volume.astype(dtype), oblique()), tmp_path)
    np.testing.assert_array_equal(nb.load(outputs.out_file).get_fdata(), volume)


def test_slope_and_intercept_are_applied(tmp_path, volume):
    image = nb.Nifti1Image(volume, oblique())
    image.header.set_slope_inter(2.5, -100)
    nb.save(image, tmp_path / 'scan.nii.gz')
    outputs = run(tmp_path / 'scan.nii.gz', tmp_path)
    np.testing.assert_allclose(nb.load(outputs.out_file).get_fdata(), volume * 2.5 - 100)
    with Path(outputs.out_audit).open() as stream:
        assert 'slope 2.5 and intercept -100' in json.load(stream)['found']


def test_nan_and_infinity_are_replaced(tmp_path, volume):
    broken = volume.astype(np.float32)
    broken[0, 0, :3] = np.nan, np.inf, -np.inf
    outputs = run(save(tmp_path / 'scan.nii', broken, oblique()), tmp_path)
    np.testing.assert_array_equal(nb.load(outputs.out_file).dataobj[0, 0, :3], 0)
    with Path(outputs.out_audit).open() as stream:
        assert json.load(stream)['warnings'][0].startswith('3 voxels')


def test_quaternion_that_is_none_gives_way_to_the_sform(tmp_path, volume):
    path = save(tmp_path / 'scan.nii', volume, oblique())
    content = bytearray(path.read_bytes())
    content[256:268] = np.array([0.9, 0.9, 0.9], '<f4').tobytes()
    path.write_bytes(content)
    image = nb.load(run(path, tmp_path).out_file)
    np.testing.assert_allclose(image.affine, oblique(), atol=1e-4)


def patched(path, **fields):
    """Write values into the header of an image, past nibabel's checks."""
    content = path.read_bytes()
    header = nb.Nifti1Header(content[:348], check=False)
    for field, value in fields.items():
        header[field] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


def audit_of(outputs) -> dict:
    return json.loads(Path(outputs.out_audit).read_text())


@pytest.mark.parametrize('zoom', [0, -1.5, np.nan, np.inf])
@pytest.mark.parametrize('sform_code', [0, 1])
def test_voxel_sizes_that_can_not_be(tmp_path, volume, zoom, sform_code):
    """Taken for 1 mm by nibabel where they are 0."""
    path = save(tmp_path / 'scan.nii', volume, oblique(), sform_code=sform_code)
    patched(path, pixdim=[1, 1, zoom, 3, 0, 0, 0, 0])
    assert f'voxels of 1 x {zoom:g} x 3 mm can not be right' in refusal(path, tmp_path)


@pytest.mark.parametrize('excess', [1e-7, 2e-4])
def test_quaternion_of_about_unit_length_is_scaled(tmp_path, volume, excess):
    """As of half a turn, stored with rounding; nibabel refuses to read the file."""
    affine = np.diag([-1.0, -1.5, 3, 1])
    path = save(tmp_path / 'scan.nii', volume, affine, sform_code=0)
    patched(path, quatern_b=0, quatern_c=0, quatern_d=np.sqrt(1 + excess))
    outputs = run(path, tmp_path)
    (where,) = np.argwhere(np.asanyarray(nb.load(outputs.out_file).dataobj) == 240)
    np.testing.assert_allclose(
        nb.load(outputs.out_file).affine @ [*where, 1], affine @ [*MARK, 1], atol=1e-4
    )
    assert len(audit_of(outputs)['warnings']) == (excess > 1e-6)


def test_quaternion_that_is_none_is_refused_alone(tmp_path, volume):
    path = save(tmp_path / 'scan.nii', volume, oblique(), sform_code=0)
    patched(path, quatern_b=0.9, quatern_c=0.9)
    assert 'neither qform nor sform' in refusal(path, tmp_path)


@pytest.mark.parametrize('qfac', [0, 5])
def test_handedness_that_is_not_stated(tmp_path, volume, qfac):
    """The sform tells left from right; a qform alone is taken as the standard says."""
    for code in (1, 0):
        affine = oblique((-1, 1, 1) if code else (1, 1, 1))
        path = save(tmp_path / 'scan.nii', volume, affine, sform_code=code)
        patched(path, pixdim=[qfac, 1, 1.5, 3, 0, 0, 0, 0])
        outputs = run(path, tmp_path)
        audit = audit_of(outputs)
        np.testing.assert_allclose(audit['original']['affine'], affine, atol=1e-4)
        assert [f'pixdim[0] is {qfac}' in line for line in audit['warnings']] == [True] * (
            1 - code
        )


def test_units_that_do_not_exist_are_taken_for_mm(tmp_path, volume):
    path = patched(save(tmp_path / 'scan.nii', volume, oblique()), xyzt_units=7)
    outputs = run(path, tmp_path)
    assert 'no unit of length: mm assumed' in audit_of(outputs)['found']
    np.testing.assert_allclose(nb.load(outputs.out_file).affine, oblique(), atol=1e-4)


@pytest.mark.parametrize('unit', ['meter', 'micron'])
def test_lengths_are_converted(tmp_path, volume, unit):
    per_mm = {'meter': 1e-3, 'micron': 1e3}[unit]
    image = nb.Nifti1Image(volume, np.diag([per_mm] * 3 + [1]) @ oblique())
    image.header.set_xyzt_units(unit)
    image.set_qform(image.affine, 1)
    image.to_filename(tmp_path / 'scan.nii')
    outputs = run(tmp_path / 'scan.nii', tmp_path)
    np.testing.assert_allclose(nb.load(outputs.out_file).affine, oblique(), atol=1e-3)


def test_an_image_aligned_by_another_tool_stays_where_it_was_put(tmp_path, volume):
    """SPM and FSL leave the scanner's qform, and write where the head was moved to as sform."""
    path = save(
        tmp_path / 'scan.nii', volume, oblique(), sform_code=2, qform=np.diag([1, 1.5, 3, 1])
    )
    outputs = run(path, tmp_path)
    np.testing.assert_allclose(nb.load(outputs.out_file).affine, oblique(), atol=1e-4)
    assert any('the sform is aligned' in line for line in audit_of(outputs)['warnings'])


def test_an_image_scaled_to_a_template_keeps_its_size(tmp_path, volume):
    scaled = np.diag([1.2, 1.1, 1.15, 1]) @ np.diag([1, 1.5, 3, 1.0])
    path = save(tmp_path / 'scan.nii', volume, scaled, sform_code=4, qform=oblique())
    outputs = run(path, tmp_path)
    np.testing.assert_allclose(nb.load(outputs.out_file).affine, oblique(), atol=1e-4)


@pytest.mark.parametrize('shape', [(*SHAPE, 1), (*SHAPE, 1, 1)])
@pytest.mark.parametrize('signs', [(1, 1, 1), (-1, 1, -1)])
def test_single_volumes_are_squeezed(tmp_path, volume, shape, signs):
    outputs = run(save(tmp_path / 'scan.nii', volume.reshape(shape), oblique(signs)), tmp_path)
    image = nb.load(outputs.out_file)
    assert image.shape == SHAPE
    (where,) = np.argwhere(np.asanyarray(image.dataobj) == 240)
    np.testing.assert_allclose(image.affine @ [*where, 1], oblique(signs) @ [*MARK, 1], atol=1e-4)


@pytest.mark.parametrize('name', ['scan.mgz', 'scan.mgh'])
def test_freesurfer_volumes(tmp_path, volume, name):
    affine = oblique((-1, 1, -1))
    nb.save(nb.MGHImage(volume, affine), tmp_path / name)
    outputs = run(tmp_path / name, tmp_path)
    image = nb.load(outputs.out_file)
    assert nb.aff2axcodes(image.affine) == ('R', 'A', 'S')
    (where,) = np.argwhere(np.asanyarray(image.dataobj) == 240)
    np.testing.assert_allclose(image.affine @ [*where, 1], affine @ [*MARK, 1], atol=1e-3)
    assert audit_of(outputs)['warnings'] == []


@pytest.mark.parametrize('fault', ['flip', 'swap', 'shift'])
def test_the_sentinel_stops_a_reordering_that_moves_the_image(
    tmp_path, volume, monkeypatch, fault
):
    """A bug that writes another image than was meant is found in the file."""
    from mriprep import images

    def broken(array, affine, path, **options):
        if fault == 'flip':
            array = array[::-1]
        elif fault == 'swap':
            array = array.transpose(1, 0, 2)
        else:
            affine = affine + np.outer([1, 0, 0, 0], [0, 0, 0, 1])  # mm to the right
        write(array, affine, path, **options)

    write = images.write_image
    monkeypatch.setattr(images, 'write_image', broken)
    path = save(tmp_path / 'scan.nii', volume, oblique((-1, 1, 1)))
    assert 'left and right can not be trusted' in refusal(path, tmp_path)


def test_no_forms(tmp_path, volume):
    path = save(tmp_path / 'scan.nii', volume, oblique(), qform_code=0, sform_code=0)
    assert 'left and right are unknown' in refusal(path, tmp_path)


def test_forms_of_other_handedness(tmp_path, volume):
    path = save(tmp_path / 'scan.nii', volume, oblique(), qform=oblique((-1, 1, 1)))
    assert 'mirror each other' in refusal(path, tmp_path)


@pytest.mark.parametrize(
    ('shape', 'words'), [((8, 9), '2D'), ((8, 9, 1), '2D'), ((8, 9, 10, 2), 'series of volumes')]
)
def test_not_one_3d_scan(tmp_path, shape, words):
    values = np.random.default_rng(0).integers(0, 99, shape).astype(np.int16)
    path = save(tmp_path / 'scan.nii', values, np.eye(4))
    assert words in refusal(path, tmp_path)


def test_all_zeros(tmp_path):
    path = save(tmp_path / 'scan.nii.gz', np.zeros(SHAPE, np.int16), oblique())
    assert 'the same value (0)' in refusal(path, tmp_path)


@pytest.mark.parametrize('dtype', [np.complex64, [('R', 'u1'), ('G', 'u1'), ('B', 'u1')]])
def test_voxels_that_are_no_numbers(tmp_path, dtype):
    path = save(tmp_path / 'scan.nii', np.ones(SHAPE, dtype), oblique())
    assert 'not one real number each' in refusal(path, tmp_path)


def test_damaged_files(tmp_path, volume):
    path = save(tmp_path / 'scan.nii.gz', volume, oblique())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert 'truncated' in refusal(path, tmp_path)
    path.write_bytes(whole[:40] + b'\xff' * 40 + whole[80:])
    assert 'damaged' in refusal(path, tmp_path)
    path.write_bytes(b'')
    assert 'empty (0 bytes)' in refusal(path, tmp_path)
    plain = tmp_path / 'scan.nii'
    plain.write_bytes(gzip.decompress(whole)[:-30])
    assert '30 bytes of its voxels are missing' in refusal(plain, tmp_path)


def test_noise_is_no_head(tmp_path):
    noise = np.random.default_rng(1).integers(0, 1000, (60, 60, 60)).astype(np.int16)
    path = save(tmp_path / 'scan.nii', noise, np.diag([4.0, 4, 4, 1]))
    assert 'looks like noise' in refusal(path, tmp_path, check_head=True)


def test_what_was_read_is_not_changed(tmp_path, volume):
    path = save(tmp_path / 'scan.nii', volume, oblique((-1, 1, 1)))
    before = path.read_bytes()
    folder = tmp_path / 'work'
    folder.mkdir()
    run(path, folder)
    assert path.read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ['audit.json', 'conformed.nii']
