"""Datasets built in a folder, and what the inventory says about them."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from mriprep.inventory import InventoryError, Severity, take_inventory
from mriprep.settings import ImageSettings


def nifti(shape=(4, 5, 6), zooms=(1.0, 1.2, 2.0), dtype=np.int16, unit='mm') -> bytes:
    image = nb.Nifti1Image(np.zeros(shape, dtype), np.eye(4))
    image.header.set_xyzt_units(unit)
    image.header['pixdim'][1:4] = zooms
    return image.to_bytes()


IMAGE = nifti()


class Dataset:
    """A raw dataset that grows file by file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.json('dataset_description.json', {'Name': 'Tiny', 'BIDSVersion': '1.9.0'})

    def write(self, relative: str, content: bytes) -> Path:
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def json(self, relative: str, content: object) -> Path:
        return self.write(relative, json.dumps(content).encode())

    def scan(self, stem: str, content: bytes = IMAGE) -> Path:
        parts = stem.split('_')
        folders = [part for part in parts[:2] if part.startswith(('sub-', 'ses-'))]
        relative = '/'.join([*folders, 'anat', f'{stem}.nii.gz'])
        return self.write(relative, gzip.compress(content, mtime=0))


@pytest.fixture
def dataset(tmp_path):
    return Dataset(tmp_path / 'raw')


def stems(inventory) -> list[str]:
    return [Path(image.relative).name.removesuffix('.nii.gz') for image in inventory.images]


def problems(image) -> list[str]:
    assert all(issue.subject == image.subject for issue in image.issues)
    return [f'{issue.severity}: {issue.problem}' for issue in image.issues]


def one_line(caught) -> str:
    message = str(caught.value)
    assert '\n' not in message
    assert '; ' in message
    return message


def test_a_record_holds_what_the_name_and_the_header_say(dataset):
    path = dataset.scan('sub-01_ses-a_run-1_acq-mprage_T1w')
    inventory = take_inventory(dataset.root)
    (image,) = inventory.images
    assert image.path == path
    assert image.relative == 'sub-01/ses-a/anat/sub-01_ses-a_run-1_acq-mprage_T1w.nii.gz'
    assert (image.subject, image.session, image.suffix) == ('01', 'a', 'T1w')
    assert image.entities == (('acq', 'mprage'), ('run', '1'))  # BIDS order, not the name's
    assert image.shape == (4, 5, 6)
    np.testing.assert_allclose(image.zooms_mm, (1.0, 1.2, 2.0), rtol=1e-6)
    assert image.usable
    assert (inventory.name, inventory.issues, inventory.subjects) == ('Tiny', (), ('01',))
    hash(image)
    assert pickle.loads(pickle.dumps(inventory)) == inventory


def test_images_come_in_bids_order(dataset):
    expected = [
        'sub-1_T1w',
        'sub-1_run-2_T1w',
        'sub-1_run-10_T1w',
        'sub-1_acq-a_run-2_T1w',
        'sub-1_acq-b_run-1_T1w',
        'sub-2_ses-9_T1w',
        'sub-2_ses-10_T1w',
        'sub-10_T1w',
    ]
    for stem in reversed(expected):
        dataset.scan(stem)
    assert stems(take_inventory(dataset.root)) == expected


def test_only_the_suffixes_asked_for(dataset):
    for suffix in ('T1w', 'T2w', 'FLAIR', 'PDw'):
        dataset.scan(f'sub-1_{suffix}')
    assert stems(take_inventory(dataset.root)) == ['sub-1_T1w']
    found = take_inventory(dataset.root, suffixes=('T1w', 'FLAIR'))
    assert stems(found) == ['sub-1_FLAIR', 'sub-1_T1w']


def test_all_contrasts_in_one_look(dataset):
    for suffix in ('T1w', 'T2w', 'FLAIR', 'PDw', 'T2star', 'bold', 'mask', 'roi'):
        dataset.scan(f'sub-1_{suffix}')
    dataset.scan('sub-1_ce-gd_T1w')
    found = take_inventory(dataset.root, suffixes=ImageSettings().suffixes)
    assert stems(found) == [
        'sub-1_FLAIR', 'sub-1_PDw', 'sub-1_T1w', 'sub-1_ce-gd_T1w', 'sub-1_T2w'
    ]  # fmt: skip


def test_filters_of_several_contrasts(dataset):
    for stem in ('acq-a_T1w', 'acq-b_T1w', 'acq-a_FLAIR', 'acq-b_FLAIR'):
        dataset.scan(f'sub-1_{stem}')
    filters = {'t1w': {'acquisition': 'a'}, 'flair': {'acquisition': 'b'}}
    found = take_inventory(dataset.root, bids_filters=filters, suffixes=('T1w', 'FLAIR'))
    assert stems(found) == ['sub-1_acq-b_FLAIR', 'sub-1_acq-a_T1w']
    assert found.issues == ()


def test_freesurfer_volumes_are_images(dataset):
    image = nb.MGHImage(np.ones((4, 5, 6), np.float32), np.diag([1, 1.2, 2, 1]))
    dataset.write('sub-1/anat/sub-1_T1w.mgh', image.to_bytes())
    dataset.write('sub-1/anat/sub-1_run-2_T1w.mgz', gzip.compress(image.to_bytes()))
    for record in take_inventory(dataset.root).images:
        assert record.usable
        assert record.shape == (4, 5, 6)
        np.testing.assert_allclose(record.zooms_mm, (1, 1.2, 2), rtol=1e-6)


def test_folders_that_are_not_raw_data_are_not_entered(dataset):
    dataset.scan('sub-1_T1w')
    for folder in ('derivatives/x', 'sourcedata', 'code', '.git', 'sub-1/func', 'sub-1/.hidden'):
        name = 'sub-1_acq-wrong_T1w.nii.gz'
        dataset.write(f'{folder}/sub-1/anat/{name}', gzip.compress(IMAGE))
        dataset.write(f'{folder}/{name}', gzip.compress(IMAGE))
    assert stems(take_inventory(dataset.root)) == ['sub-1_T1w']


@pytest.mark.parametrize('labels', [['2'], ['sub-2']])
def test_participants_are_taken_with_or_without_prefix(dataset, labels):
    for label in ('1', '2', '22'):
        dataset.scan(f'sub-{label}_T1w')
    assert stems(take_inventory(dataset.root, participant_labels=labels)) == ['sub-2_T1w']


@pytest.mark.parametrize('labels', [['b'], ['ses-b']])
def test_sessions_are_taken_with_or_without_prefix(dataset, labels):
    for stem in ('sub-1_ses-a', 'sub-1_ses-b', 'sub-2_ses-b', 'sub-3'):
        dataset.scan(f'{stem}_T1w')
    inventory = take_inventory(dataset.root, session_labels=labels)
    assert stems(inventory) == ['sub-1_ses-b_T1w', 'sub-2_ses-b_T1w']
    assert [(i.severity, i.subject) for i in inventory.issues] == [(Severity.WARNING, '3')]


def test_unknown_labels_name_the_nearest(dataset):
    for label in ('control01', 'control02', 'patient01'):
        dataset.scan(f'sub-{label}_ses-base_T1w')
    with pytest.raises(InventoryError) as caught:
        take_inventory(dataset.root, participant_labels=['control1', 'patient01'])
    message = one_line(caught)
    assert "participant 'control1' is not in the dataset" in message
    assert 'nearest: control01' in message
    with pytest.raises(InventoryError, match=r"session 'bsae' .* \(nearest: base\)"):
        take_inventory(dataset.root, session_labels=['bsae'])


def test_a_participant_asked_for_without_scan_is_an_error_of_its_own(dataset):
    dataset.scan('sub-1_T1w')
    dataset.scan('sub-2_T2w')
    (issue,) = take_inventory(dataset.root, participant_labels=['1', '2']).issues
    assert (issue.severity, issue.subject, issue.problem) == (
        Severity.ERROR,
        '2',
        'no T1w image',
    )
    (issue,) = take_inventory(dataset.root).issues
    assert issue.severity is Severity.WARNING
    with pytest.raises(InventoryError, match='no T1w image of participant 2'):
        take_inventory(dataset.root, participant_labels=['2'])


@pytest.mark.parametrize(
    ('group', 'expected'),
    [
        ({'acquisition': 'a'}, ['acq-a_rec-norm']),
        ({'acquisition': ['a', 'b']}, ['acq-a_rec-norm', 'acq-b']),
        ({'reconstruction': None}, ['acq-b', 'run-1']),
        ({'reconstruction': '*'}, ['acq-a_rec-norm']),
        ({'run': 1}, ['run-1']),
        ({'datatype': 'anat', 'suffix': 'T1w', 'acquisition': 'b'}, ['acq-b']),
    ],
)
@pytest.mark.parametrize('key', ['t1w', 'T1w'])
def test_filters(dataset, key, group, expected):
    for middle in ('acq-a_rec-norm', 'acq-b', 'run-1'):
        dataset.scan(f'sub-1_{middle}_T1w')
    inventory = take_inventory(dataset.root, bids_filters={key: group, 'bold': {'task': 'rest'}})
    assert sorted(stems(inventory)) == [f'sub-1_{middle}_T1w' for middle in expected]
    assert inventory.issues == ()


def test_filters_that_can_not_be_used(dataset):
    dataset.scan('sub-1_T1w')
    with pytest.raises(InventoryError, match="there is no entity 'acq'; write one of: acquis"):
        take_inventory(dataset.root, bids_filters={'t1w': {'acq': 'a'}})
    with pytest.raises(InventoryError, match="'t1w' holds 'mprage'"):
        take_inventory(dataset.root, bids_filters={'t1w': 'mprage'})
    with pytest.raises(InventoryError, match='no T1w image passes the BIDS filters'):
        take_inventory(dataset.root, bids_filters={'t1w': {'acquisition': 'a'}})
    (issue,) = take_inventory(dataset.root, bids_filters={'T1': {'run': 1}}).issues
    assert "'T1' is not an image that is looked for" in issue.problem


def test_sidecars_are_inherited_and_the_nearest_wins(dataset):
    dataset.json('T1w.json', {'A': 1, 'B': 1, 'C': 1, 'D': 1})
    dataset.json('acq-x_T1w.json', {'B': 2, 'C': 2, 'D': 2})
    dataset.json('T2w.json', {'A': 'other suffix'})
    dataset.json('sub-1/sub-1_T1w.json', {'C': 3, 'D': 3})
    dataset.json('sub-1/ses-a/anat/sub-1_ses-a_acq-x_T1w.json', {'D': 4})
    dataset.json('sub-1/ses-a/anat/sub-1_ses-a_acq-x_run-2_T1w.json', {'D': 'other run'})
    dataset.scan('sub-1_ses-a_acq-x_T1w')
    dataset.scan('sub-2_T1w')
    first, second = take_inventory(dataset.root).images
    assert first.metadata == {'A': 1, 'B': 2, 'C': 3, 'D': 4}
    assert second.metadata == {'A': 1, 'B': 1, 'C': 1, 'D': 1}


@pytest.mark.parametrize('content', [b'{"A": 1,}', b'', b'[1, 2]', b'\xff\xfe{', b'{"A": "\xe9"}'])
def test_a_sidecar_that_is_not_json_concerns_its_image_only(dataset, content):
    dataset.scan('sub-1_T1w')
    dataset.scan('sub-2_T1w')
    dataset.json('T1w.json', {'A': 1})
    dataset.write('sub-1/anat/sub-1_T1w.json', content)
    first, second = take_inventory(dataset.root).images
    (issue,) = first.issues
    assert issue.severity is Severity.WARNING
    assert issue.where == 'sub-1/anat/sub-1_T1w.json'
    assert 'not JSON' in issue.problem
    assert first.usable
    assert first.metadata == {'A': 1}
    assert (second.issues, second.metadata) == ((), {'A': 1})


def test_each_file_is_read_once(dataset, monkeypatch):
    for label in range(5):
        dataset.scan(f'sub-{label}_T1w')
        dataset.json(f'sub-{label}/anat/sub-{label}_T1w.json', {})
    dataset.json('T1w.json', {})
    opened = []
    read_text, open_ = Path.read_text, Path.open
    monkeypatch.setattr(Path, 'read_text', lambda p, **k: (opened.append(p), read_text(p, **k))[1])
    monkeypatch.setattr(Path, 'open', lambda p, *a, **k: (opened.append(p), open_(p, *a, **k))[1])
    take_inventory(dataset.root)
    relevant = [path.name for path in opened if 'T1w' in path.name]
    # Path.read_text opens through Path.open, so that a sidecar counts twice
    assert sum(name.endswith('.gz') for name in relevant) == 5
    assert sum(name.endswith('.json') for name in relevant) in (6, 12)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'the file is empty (0 bytes)'),
        (b'hello', 'not a NIfTI file'),
        (gzip.compress(b'x' * 2000), 'not a NIfTI file'),
        (gzip.compress(IMAGE)[:60], 'the file ends within its header'),
        (gzip.compress(IMAGE)[:10] + b'\xff' * 90, 'the gzip compression is damaged'),
        (nifti((4, 5)), 'a 2D image (4 x 5)'),
        (nifti((4, 5, 1)), 'a 2D image (4 x 5 x 1)'),
        (nifti((4, 5, 6, 7)), 'a series of 7 volumes'),
        (nifti(zooms=(1, 0, 1)), 'voxels of 1 x 0 x 1 mm'),
        (nifti(zooms=(1, -1, 1)), 'voxels of 1 x -1 x 1 mm'),
        (nifti(zooms=(1, np.nan, 1)), 'voxels of 1 x nan x 1 mm'),
        (nifti(zooms=(1, 500, 1)), 'voxels of 1 x 500 x 1 mm'),
        (nifti(dtype=np.complex64), 'voxels hold complex numbers'),
        (nifti(dtype=[('R', 'u1'), ('G', 'u1'), ('B', 'u1')]), 'voxels hold RGB colours'),
        (IMAGE[:-5], 'truncated: 5 bytes'),
    ],
)
def test_a_damaged_image_concerns_itself_only(dataset, content, words):
    dataset.scan('sub-1_T1w')
    dataset.write('sub-2/anat/sub-2_T1w.nii.gz', content)
    good, bad = take_inventory(dataset.root).images
    assert good.usable
    assert not bad.usable
    assert any(words in problem for problem in problems(bad))
    for issue in bad.issues:
        assert issue.severity is Severity.ERROR
        assert issue.where == bad.relative
        assert issue.remedy
        assert '\n' not in str(issue)


def test_a_link_to_nothing_is_an_absent_file(dataset):
    dataset.scan('sub-1_T1w')
    (dataset.root / 'sub-1/anat/sub-1_run-2_T1w.nii.gz').symlink_to('../../.git/annex/nothing')
    _, bad = take_inventory(dataset.root).images
    assert problems(bad) == ['error: a link to a file that is not there']


def test_a_single_volume_in_four_dimensions_is_fine(dataset):
    dataset.scan('sub-1_T1w', nifti((4, 5, 6, 1)))
    (image,) = take_inventory(dataset.root).images
    assert image.usable
    assert problems(image) == ['note: 4D with a single volume (4 x 5 x 6 x 1): taken as 3D']


@pytest.mark.parametrize(
    ('unit', 'zooms'),
    [('meter', (1e-3, 2e-3, 3e-3)), ('micron', (1e3, 2e3, 3e3)), ('meter', (1, 2, 3))],
)
def test_voxel_sizes_are_in_mm(dataset, unit, zooms):
    dataset.scan('sub-1_T1w', nifti(zooms=zooms, unit=unit))
    (image,) = take_inventory(dataset.root).images
    np.testing.assert_allclose(image.zooms_mm, (1, 2, 3), rtol=1e-6)
    assert image.usable


def test_nifti_2_and_big_endian_headers(dataset):
    second = nb.Nifti2Image(np.zeros((4, 5, 6), np.float32), np.eye(4))
    dataset.scan('sub-1_T1w', second.to_bytes())
    header = nb.Nifti1Header(endianness='>')
    big = nb.Nifti1Image(np.zeros((4, 5, 6), '>i2'), np.eye(4), header)
    dataset.scan('sub-2_T1w', big.to_bytes())
    images = take_inventory(dataset.root).images
    assert [(image.shape, image.issues) for image in images] == [((4, 5, 6), ())] * 2


@pytest.mark.parametrize(
    ('middle', 'words'),
    [
        ('mt-on', 'one of a magnetization transfer series (mt-on)'),
        ('flip-1', 'one flip angle of several (flip-1)'),
        ('part-phase', 'one part of a complex image (part-phase)'),
        ('echo-2', 'one echo of several (echo-2)'),
        ('inv-1', 'one inversion of several (inv-1)'),
    ],
)
def test_what_is_no_plain_image_is_set_apart(dataset, middle, words):
    dataset.scan('sub-1_T1w')
    dataset.scan(f'sub-1_{middle}_T1w')
    plain, other = take_inventory(dataset.root).images
    assert (plain.set_apart, other.set_apart) == (None, words)
    assert problems(other) == [f'note: {words}: not taken for a plain T1w']
    assert other.usable


@pytest.mark.parametrize('middle', ['part-mag', 'ce-gad'])
def test_magnitude_is_plain_and_so_is_an_image_with_agent(dataset, middle):
    dataset.scan(f'sub-1_{middle}_T1w')
    (image,) = take_inventory(dataset.root).images
    assert (image.set_apart, image.issues) == (None, ())


@pytest.mark.parametrize(
    'relative', ['sub-1/anat/sub-2_T1w.nii.gz', 'sub-1/anat/sub-1_defaced_T1w.nii.gz']
)
def test_names_that_mislead_are_not_used(dataset, relative):
    dataset.scan('sub-2_T1w')
    dataset.write(relative, gzip.compress(IMAGE))
    images = {image.relative: image for image in take_inventory(dataset.root).images}
    assert not images[relative].usable
    assert 'does not follow BIDS' in images[relative].issues[0].problem


def test_participants_table(dataset):
    dataset.scan('sub-1_T1w')
    table = '\ufeffparticipant_id\tage\tsex\nsub-1\t34\tF\n2\tn/a\tM\nsub-3\n\n'
    dataset.write('participants.tsv', table.encode())
    assert take_inventory(dataset.root).participants == {
        '1': {'age': '34', 'sex': 'F'},
        '2': {'sex': 'M'},
        '3': {},
    }


def test_provenance_of_the_dataset(dataset):
    dataset.scan('sub-1_T1w')
    assert take_inventory(dataset.root).doi is None
    dataset.json(
        'dataset_description.json',
        {'Name': 'N', 'DatasetDOI': 'doi:10.1/x'},
    )
    inventory = take_inventory(dataset.root)
    assert inventory.doi == 'doi:10.1/x'


@pytest.mark.parametrize('content', [None, b'{"Name": ', b''])
def test_no_description_is_a_warning(dataset, content):
    dataset.scan('sub-1_T1w')
    description = dataset.root / 'dataset_description.json'
    description.unlink()
    if content is not None:
        description.write_bytes(content)
    inventory = take_inventory(dataset.root)
    assert stems(inventory) == ['sub-1_T1w']
    assert inventory.name == 'raw'
    (issue,) = inventory.issues
    assert issue.severity is Severity.WARNING
    assert issue.where == 'dataset_description.json'


def test_a_description_that_is_a_list_stops(dataset):
    dataset.scan('sub-1_T1w')
    dataset.json('dataset_description.json', [])
    with pytest.raises(InventoryError, match='not a JSON object'):
        take_inventory(dataset.root)


def test_no_dataset_at_all(tmp_path):
    with pytest.raises(InventoryError) as caught:
        take_inventory(tmp_path / 'nowhere')
    assert 'there is no such folder' in one_line(caught)
    (tmp_path / 'file').touch()
    with pytest.raises(InventoryError) as caught:
        take_inventory(tmp_path / 'file')
    assert 'not a folder' in one_line(caught)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InventoryError) as caught:
        take_inventory(tmp_path / 'empty')
    assert 'no T1w image; give the root folder' in one_line(caught)


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*'))


def test_nothing_is_written_into_the_dataset(dataset):
    dataset.scan('sub-1_T1w')
    before = tree(dataset.root)
    take_inventory(dataset.root)
    assert tree(dataset.root) == before


def test_database_is_made_once_and_serves_all_labels(dataset, tmp_path, monkeypatch):
    dataset.scan('sub-1_T1w')
    dataset.scan('sub-2_T1w')
    folder = tmp_path / 'db'
    options = {'database_dir': folder, 'bids_filters': {'t1w': {'session': None}}}
    take_inventory(dataset.root, participant_labels=['1'], **options)
    assert [path.name for path in folder.iterdir()] == ['mriprep']

    def never(*args):
        raise AssertionError('indexed again')

    monkeypatch.setattr('bids.layout.BIDSLayoutIndexer.__call__', never)
    assert stems(take_inventory(dataset.root, participant_labels=['2'], **options)) == [
        'sub-2_T1w'
    ]
    shutil.rmtree(dataset.root / 'sub-2')
    (dataset.root / 'sub-2').mkdir()
    _, gone = take_inventory(dataset.root, **options).images
    assert problems(gone) == ['error: there is no such file']


def test_database_that_can_not_be_used(dataset, tmp_path):
    dataset.scan('sub-1_T1w')
    other = Dataset(tmp_path / 'other')
    other.scan('sub-1_T1w')
    take_inventory(other.root, database_dir=tmp_path / 'db')
    with pytest.raises(InventoryError, match='a database of another dataset'):
        take_inventory(dataset.root, database_dir=tmp_path / 'db')
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad/layout_index.sqlite').write_bytes(b'no database at all' * 100)
    with pytest.raises(InventoryError, match='not a database that this version of pybids reads'):
        take_inventory(dataset.root, database_dir=tmp_path / 'bad')
