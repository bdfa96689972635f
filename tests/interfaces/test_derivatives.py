"""Derivatives on disk: whole or not at all, described, and equal to the byte."""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
from pathlib import Path

import h5py
import nibabel as nb
import numpy as np
import pytest
from oblique import oblique_affine

from mriprep.interfaces.derivatives import SaveDerivative, Stamp
from mriprep.itk import read_linear, write_linear

PATH = 'sub-01/anat/sub-01_desc-preproc_T1w.nii.gz'
SIDECAR = PATH.replace('.nii.gz', '.json')


@pytest.fixture
def out_dir(tmp_path):
    folder = tmp_path / 'out'
    folder.mkdir()
    return folder


@pytest.fixture
def head(make_nifti):
    volume = np.random.default_rng(2).normal(100, 20, (20, 24, 22)).astype(np.float32)
    return make_nifti('head.nii', volume, oblique_affine())


def save(out_dir, in_file, *, path=PATH, **options):
    inputs = {'dtype': 'float32', 'metadata': {'Sources': ['bids:raw:x']}} | options
    interface = SaveDerivative(base_directory=out_dir, path=path, in_file=in_file, **inputs)
    return Path(interface.run(cwd=out_dir.parent).outputs.out_file)


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file())


@pytest.mark.parametrize('code', [1, 4])
def test_qform_and_sform_agree_and_have_the_code_of_their_space(out_dir, head, code):
    image = nb.load(save(out_dir, head, space_code=code))
    (qform, q_code), (sform, s_code) = image.get_qform(coded=True), image.get_sform(coded=True)
    assert (q_code, s_code) == (code, code)
    np.testing.assert_allclose(qform, sform, atol=1e-5)
    np.testing.assert_allclose(sform, oblique_affine(), atol=2e-3)
    np.testing.assert_array_equal(image.get_fdata(), nb.load(head).get_fdata())
    assert image.header.get_xyzt_units()[0] == 'mm'


@pytest.mark.parametrize(('dtype', 'values'), [('float32', (0.25, 7)), ('uint8', (0, 1))])
def test_voxels_have_the_type_of_the_table_and_are_not_scaled(out_dir, make_nifti, dtype, values):
    volume = np.resize(np.array(values, np.float64), (4, 5, 6))
    image = nb.load(save(out_dir, make_nifti('x.nii', volume), dtype=dtype))
    assert image.get_data_dtype() == np.dtype(dtype)
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(image.get_fdata(), volume)


def test_a_mask_with_fractions_is_refused_and_not_written(out_dir, make_nifti):
    blurred = make_nifti('x.nii', np.full((4, 5, 6), 0.4, np.float32))
    with pytest.raises(ValueError, match='whole numbers'):
        save(out_dir, blurred, dtype='uint8')
    assert not (out_dir / PATH).exists()


def test_equal_content_gives_equal_bytes_under_any_name_and_at_any_time(
    out_dir, head, monkeypatch
):
    first = save(out_dir, head).read_bytes()
    monkeypatch.setattr('time.time', lambda: 4e9)
    second = save(out_dir, head, path='sub-02/other_T1w.nii.gz').read_bytes()
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
    assert first[4:8] == bytes(4)  # gzip's time stamp


def test_the_sidecar_joins_what_was_planned_and_what_was_measured(out_dir, head):
    save(out_dir, head, metadata={'A': 1, 'B': 2}, measured={'B': 3, 'VolumeMl': 1500.5})
    text = (out_dir / PATH.replace('.nii.gz', '.json')).read_text()
    assert json.loads(text) == {'A': 1, 'B': 3, 'VolumeMl': 1500.5}


def test_without_metadata_there_is_no_sidecar(out_dir, make_nifti, tmp_path):
    (tmp_path / 'figure.svg').write_text('<svg/>')
    saved = save(
        out_dir, tmp_path / 'figure.svg', path='sub-01/figures/a.svg', dtype=None, metadata={}
    )
    assert saved.read_text() == '<svg/>'
    assert names(out_dir) == ['sub-01/figures/a.svg']


def test_a_transform_keeps_its_matrix_and_forgets_time_and_machine(out_dir, tmp_path):
    matrix = np.diag([1.1, 0.9, 1.0, 1.0])
    matrix[:3, 3] = 5, -6, 7
    path = 'sub-01/anat/sub-01_from-T1w_to-A_mode-image_xfm.h5'
    contents = []
    for system in ('Linux 6.1', 'Linux 6.2'):
        write_linear(matrix, tmp_path / 'xfm.h5')
        with h5py.File(tmp_path / 'xfm.h5', 'a') as file:
            file.create_dataset('OSVersion', data=[system], dtype=h5py.string_dtype('ascii'))
        saved = save(out_dir, tmp_path / 'xfm.h5', path=path, dtype=None)
        contents.append(saved.read_bytes())
    assert saved == out_dir / path
    assert contents[0] == contents[1]
    assert b'Linux' not in contents[0]
    np.testing.assert_array_equal(read_linear(saved), matrix)
    assert path.replace('.h5', '.json') in names(out_dir)


def test_the_sidecar_stands_before_its_image(out_dir, head, monkeypatch):
    def look(*args, **options):
        assert names(out_dir) == [PATH.replace('.nii.gz', '.json')]
        raise OSError('seen')

    monkeypatch.setattr('mriprep.images.write_image', look)
    with pytest.raises(OSError, match='seen'):
        save(out_dir, head)


@contextlib.contextmanager
def full_disk():
    """Let no file grow beyond 8 kB; the image has 40 kB, its sidecar a few hundred bytes.

    Only for the moment of saving: the file that pytest's own words go to may be longer.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_an_image_that_can_not_be_written_is_not_there_at_all(out_dir, head):
    with pytest.raises(OSError, match='File too large'), full_disk():
        save(out_dir, head)
    assert [name for name in names(out_dir) if not name.endswith('.json')] == []


def test_a_failed_write_leaves_the_old_image(out_dir, head, make_nifti):
    old = save(out_dir, make_nifti('old.nii', np.ones((4, 5, 6), np.float32))).read_bytes()
    with pytest.raises(OSError, match='File too large'), full_disk():
        save(out_dir, head)
    assert (out_dir / PATH).read_bytes() == old
    assert len(names(out_dir)) == 2


def test_a_damaged_input_is_named(out_dir, tmp_path, head):
    damaged = tmp_path / 'half.nii'
    damaged.write_bytes(Path(head).read_bytes()[:-100])
    with pytest.raises(ValueError, match=r'half\.nii: truncated: 100 bytes'):
        save(out_dir, damaged)
    assert not (out_dir / PATH).exists()


def test_a_deleted_derivative_comes_back_on_the_next_run(out_dir, head, tmp_path):
    from nipype.pipeline import engine as pe

    saved = out_dir / PATH
    for _ in range(2):
        node = pe.Node(
            SaveDerivative(base_directory=out_dir, path=PATH, dtype='float32', in_file=head),
            name='save',
            base_dir=str(tmp_path / 'work'),
        )
        node.run()
        assert saved.exists()
        saved.unlink()


def test_the_stamp_holds_each_file_and_sidecar_with_its_size(out_dir, head):
    saved = save(out_dir, head)
    stamp = Stamp(
        in_files=[saved], base_directory=out_dir, path='logs/finished/sub-01.json', fingerprint='f'
    )
    written = Path(stamp.run(cwd=out_dir.parent).outputs.out_file)
    assert written == out_dir / 'logs/finished/sub-01.json'
    assert json.loads(written.read_text()) == {
        'Fingerprint': 'f',
        'Files': {
            PATH: saved.stat().st_size,
            SIDECAR: (out_dir / SIDECAR).stat().st_size,
        },
    }


def test_there_is_no_stamp_for_a_file_that_is_gone(out_dir, head):
    saved = save(out_dir, head)
    stamp = Stamp(in_files=[saved], base_directory=out_dir, path='stamp.json', fingerprint='f')
    saved.unlink()
    with pytest.raises(FileNotFoundError):
        stamp.run(cwd=out_dir.parent)
    assert not (out_dir / 'stamp.json').exists()
