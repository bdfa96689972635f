"""Templates: chosen by name, derived or read from a folder, never silently wrong."""

from __future__ import annotations

import gzip
import hashlib

import nibabel as nb
import numpy as np
import pytest

from mriprep import template_flow
from mriprep.settings import EMBEDDED_SPACE, Space
from mriprep.template_flow import TemplateFlowSource, choose_files, templateflow_files
from mriprep.templates import (
    EmbeddedSource,
    Grid,
    TemplateError,
    embedded_arrays,
    find_template,
    grid_for,
    source_of,
)


def space(text: str) -> Space:
    return Space.from_string(text)


@pytest.fixture
def home(tmp_path):
    """A TemplateFlow folder with one template whole, at 2 mm and 4 mm."""
    folder = tmp_path / 'templateflow' / 'tpl-Toy'
    folder.mkdir(parents=True)
    for res, size in (('01', 2), ('02', 4)):
        affine = np.diag([size, size, size, 1.0])
        for name in ('T1w', 'desc-brain_mask', 'label-GM_probseg'):
            image = nb.Nifti1Image(np.ones((8 // size,) * 3, np.uint8), affine)
            image.to_filename(folder / f'tpl-Toy_res-{res}_{name}.nii.gz')
    return folder.parent


@pytest.mark.parametrize('size', [(1, 1, 1), (2, 2, 2), (0.7, 0.67, 0.67), (1, 1, 5.5), (3, 4, 7)])
def test_native_grid_covers_the_template_as_niworkflows_does(size):
    from nilearn.image import resample_img

    affine = np.array([[0, 0, -1.5, 40], [2.0, 0, 0, -30], [0, 1, 0, -20], [0, 0, 0, 1]])
    shape = (31, 17, 24)
    template = nb.Nifti1Image(np.zeros(shape, np.float32), affine)
    theirs = resample_img(
        template, np.diag(np.array(size, float)), interpolation='nearest', copy_header=True,
        force_resample=True,
    )  # fmt: skip
    ours = grid_for(affine, shape, size)
    np.testing.assert_allclose(ours[0], theirs.affine, atol=1e-9)
    assert ours[1] == theirs.shape


def test_rounding_of_header_does_not_change_the_grid():
    one = grid_for(np.eye(4), (10, 10, 10), (0.7, 0.7, 0.7))
    other = grid_for(np.eye(4), (10, 10, 10), (0.70000005, 0.69999998, 0.7000001))
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1] == other[1]


def test_grid_refuses_voxels_without_size():
    with pytest.raises(ValueError, match='positive'):
        grid_for(np.eye(4), (10, 10, 10), (1, 0, 1))


def test_tissue_maps_add_up_inside_the_mask_and_vanish_outside():
    rng = np.random.default_rng(3)
    t1 = rng.integers(28, 255, (6, 6, 6), dtype=np.uint8)
    t1[:2] = 0
    gm = rng.integers(0, 200, t1.shape, dtype=np.uint8)
    derived = embedded_arrays(t1, gm, (200 - gm).astype(np.uint8))
    total = sum(derived[name].astype(int) for name in ('GM', 'WM', 'CSF'))
    np.testing.assert_array_equal(total, np.where(t1 > 0, 255, 0))
    np.testing.assert_array_equal(derived['mask'], t1 > 0)


def test_embedded_template_has_one_grid_and_clean_headers(template_cache):
    template = find_template(EMBEDDED_SPACE, template_cache, offline=True)
    assert template.resolution == template.target_resolution == '1'
    assert template.stripped
    assert template.reference == template.t1w
    assert template.reference_grid == template.target_grid
    for path in (template.t1w, template.brain_mask, *template.tissue.values()):
        image = nb.load(path)
        assert (int(image.header['qform_code']), int(image.header['sform_code'])) == (4, 4)
        np.testing.assert_array_equal(image.get_qform(), image.get_sform())
        assert Grid.of_file(path) == template.target_grid
        assert template.sha256[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    mask = np.asarray(nb.load(template.brain_mask).dataobj)
    assert 1.80e6 < mask.sum() < 1.95e6  # the supplier's mask has 1887 ml
    total = sum(nb.load(path).get_fdata(dtype=np.float32) for path in template.tissue.values())
    np.testing.assert_allclose(total, mask, atol=1e-6)
    white = nb.load(template.tissue['WM']).get_fdata(dtype=np.float32)
    t1w = np.asarray(nb.load(template.t1w).dataobj)
    assert t1w[white > 0.9].mean() > t1w[(white < 0.1) & (mask > 0)].mean()


def test_embedded_two_millimetres_show_the_same_places(template_cache):
    template = find_template(space('MNI152NLin2009aSym:res-02'), template_cache)
    assert template.resolution == '2'
    assert template.target_grid.voxel_size_mm == (1, 1, 1)
    assert template.reference_grid.voxel_size_mm == (2, 2, 2)
    assert template.output_grid((3, 3, 3)) == template.reference_grid
    fine = nb.load(template.t1w).get_fdata(dtype=np.float32)
    coarse = nb.load(template.reference)
    index = np.array([40, 50, 45])
    there = np.linalg.inv(template.target_grid.matrix) @ coarse.affine @ [*index, 1]
    assert np.corrcoef(coarse.get_fdata().ravel(), fine[::2, ::2, ::2].ravel())[0, 1] > 0.98
    np.testing.assert_allclose(there[:3], 2 * index)


def test_embedded_native_takes_the_size_of_the_input(template_cache):
    template = find_template(space('MNI152NLin2009aSym:res-native'), template_cache)
    assert template.reference is None
    assert template.resolution is None
    grid = template.output_grid((1, 1, 1.3))
    assert grid.voxel_size_mm == pytest.approx((1, 1, 1.3))
    assert grid.shape == (197, 233, 146)


def test_embedded_files_are_written_once_and_alike(tmp_path):
    first = EmbeddedSource(tmp_path / 'a').find(EMBEDDED_SPACE)
    second = EmbeddedSource(tmp_path / 'b').find(EMBEDDED_SPACE)
    assert first.sha256 == second.sha256
    stamp = first.t1w.stat().st_mtime_ns
    EmbeddedSource(tmp_path / 'a').find(EMBEDDED_SPACE)
    assert first.t1w.stat().st_mtime_ns == stamp
    first.brain_mask.unlink()
    assert EmbeddedSource(tmp_path / 'a').find(EMBEDDED_SPACE).sha256 == first.sha256
    assert not list((tmp_path / 'a').rglob('.*'))


@pytest.mark.parametrize('text', ['MNI152NLin2009aSym:res-3', 'MNI152NLin2009aSym:cohort-1'])
def test_embedded_says_what_it_has(text, tmp_path):
    with pytest.raises(TemplateError, match='res-1, res-2 and res-native'):
        find_template(space(text), tmp_path)


def test_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(TemplateError, match=r'cannot be written to .*file.*choose a folder'):
        find_template(EMBEDDED_SPACE, tmp_path / 'file')


def test_native_space_has_no_template(tmp_path):
    with pytest.raises(TemplateError, match='has no template'):
        source_of(space('T1w'), tmp_path)


NAMES = [
    'tpl-A_res-01_T1w.nii.gz',
    'tpl-A_res-02_T1w.nii.gz',
    'tpl-A_res-01_desc-brain_T1w.nii.gz',
    'tpl-A_res-01_desc-brain_mask.nii.gz',
    'tpl-A_res-02_desc-brain_mask.nii.gz',
    'tpl-A_res-01_label-WM_probseg.nii.gz',
    'tpl-A_res-02_label-GM_probseg.nii.gz',
    'tpl-A_desc-SPM12_res-02_T1w.nii.gz',
    'tpl-A_res-01_atlas-HOCPA_desc-th0_dseg.nii.gz',
]


def test_target_is_res_1_whatever_is_asked_for():
    choice = choose_files(NAMES, space('A:res-2'))
    assert choice.t1w == 'tpl-A_res-01_T1w.nii.gz'
    assert choice.mask == 'tpl-A_res-01_desc-brain_mask.nii.gz'
    assert choice.reference == 'tpl-A_res-02_T1w.nii.gz'
    assert choice.resolution == '2'
    assert not choice.stripped
    assert choice.tissue == {'WM': 'tpl-A_res-01_label-WM_probseg.nii.gz'}


def test_target_falls_back_to_what_exists():
    without = [name for name in NAMES if 'res-01' not in name]
    choice = choose_files(without, space('A'))
    assert (choice.target_resolution, choice.resolution) == ('2', '2')
    assert choose_files(without, space('A:res-1')) is None


def test_stripped_image_serves_where_there_is_no_other():
    names = ['tpl-A_res-1_desc-brain_T1w.nii.gz', 'tpl-A_res-1_desc-brain_mask.nii.gz']
    assert choose_files(names, space('A')).stripped


def test_template_with_one_unnumbered_grid():
    names = ['tpl-U_cohort-1_T1w.nii.gz', 'tpl-U_cohort-1_label-brain_mask.nii.gz']
    for text in ('U:cohort-1', 'U:cohort-1:res-1'):
        choice = choose_files(names, space(text))
        assert choice.reference == names[0]
        assert choice.resolution is None
    assert choose_files(names, space('U:cohort-1:res-2')) is None
    assert choose_files(names, space('U:cohort-1:res-native')).reference is None


def test_an_image_without_mask_is_no_target():
    assert choose_files(['tpl-A_res-1_T1w.nii.gz'], space('A')) is None


def test_every_usable_template_of_the_catalogue_can_be_chosen():
    listed = [name for name in templateflow_files() if name.startswith('tpl-MNIPediatricAsym/')]
    names = [name.rpartition('/')[2] for name in listed if '/cohort-3/' in name]
    choice = choose_files(names, space('MNIPediatricAsym:cohort-3:res-2'))
    assert choice.t1w == 'tpl-MNIPediatricAsym_cohort-3_res-1_T1w.nii.gz'
    assert set(choice.tissue) == {'GM', 'WM', 'CSF'}


def test_folder_is_read_by_name(home):
    template = TemplateFlowSource(home, offline=True).find(space('Toy:res-2'))
    assert template.t1w == home / 'tpl-Toy' / 'tpl-Toy_res-01_T1w.nii.gz'
    assert template.target_grid.voxel_size_mm == (2, 2, 2)
    assert template.reference_grid.voxel_size_mm == (4, 4, 4)
    assert template.tissue['GM'].name == 'tpl-Toy_res-01_label-GM_probseg.nii.gz'
    digest = hashlib.sha256(template.t1w.read_bytes()).hexdigest()
    assert template.sha256[template.t1w.name] == digest


def test_environment_names_the_folder(home, monkeypatch, tmp_path):
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(home))
    assert find_template(space('Toy'), tmp_path, offline=True).t1w.parent == home / 'tpl-Toy'


def damage(path):
    path.write_bytes(path.read_bytes()[:-9])


def placeholder(path):
    path.write_bytes(b'')


@pytest.mark.parametrize('spoil', [damage, placeholder])
def test_unwhole_files_are_not_trusted(home, spoil):
    spoil(home / 'tpl-Toy' / 'tpl-Toy_res-02_T1w.nii.gz')
    source = TemplateFlowSource(home, offline=True)
    with pytest.raises(TemplateError) as caught:
        source.find(space('Toy:res-2'))
    assert 'tpl-Toy_res-02_T1w.nii.gz' in str(caught.value) or 'choose res-1' in str(caught.value)
    assert '\n' not in str(caught.value)
    assert source.find(space('Toy')).resolution == '1'


def test_offline_error_names_files_folder_and_way_out(tmp_path):
    with pytest.raises(TemplateError) as caught:
        TemplateFlowSource(tmp_path / 'tf', offline=True).find(space('MNI152NLin2009cAsym:res-2'))
    words = str(caught.value)
    assert 'tpl-MNI152NLin2009cAsym_res-02_T1w.nii.gz' in words
    assert str(tmp_path / 'tf' / 'tpl-MNI152NLin2009cAsym') in words
    assert 'mriprep fetch --spaces MNI152NLin2009cAsym:res-2' in words
    assert 'MNI152NLin2009aSym' in words
    assert '\n' not in words
    assert not (tmp_path / 'tf').exists()


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('MNI152NLin2009cAsm', 'nearest names are MNI152NLin2009cAsym'),
        ('MNI152NLin2009cAsym:res-9', 'choose res-1, res-2 or res-native'),
        ('MNIPediatricAsym', 'choose one of its cohorts: MNIPediatricAsym:cohort-1, cohort-2'),
        ('MNIPediatricAsym:cohort-9', 'choose one of its cohorts'),
        ('fsLR', 'no T1w image with a brain mask'),
    ],
)
@pytest.mark.parametrize('offline', [True, False])
def test_impossible_spaces_are_refused_before_any_download(text, words, offline, tmp_path):
    with pytest.raises(TemplateError, match=words):
        TemplateFlowSource(tmp_path, offline=offline).find(space(text))


def served(monkeypatch, content):
    """Let TemplateFlow's download write this instead of asking the network."""
    asked = []

    def get(config, path):
        asked.append(path.name)
        path.write_bytes(content)

    monkeypatch.setattr('templateflow.client._s3_get', get)
    return asked


@pytest.fixture
def furnished(tmp_path, monkeypatch):
    """A home that TemplateFlow takes for its own; unpacking the real one takes a second."""
    (tmp_path / 'tf' / 'tpl-Other').mkdir(parents=True)
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(tmp_path / 'tf'))
    with template_flow._client():
        pass
    return tmp_path / 'tf'


def test_missing_files_are_fetched_once(furnished, monkeypatch):
    image = nb.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4))
    asked = served(monkeypatch, gzip.compress(image.to_bytes()))
    source = TemplateFlowSource(furnished)
    template = source.find(space('MNI305'))
    assert sorted(asked) == ['tpl-MNI305_T1w.nii.gz', 'tpl-MNI305_desc-brain_mask.nii.gz']
    assert template.target_grid.shape == (4, 4, 4)
    assert source.find(space('MNI305')) == template
    assert len(asked) == 2
    assert sorted(path.name for path in furnished.iterdir()) == ['tpl-MNI305', 'tpl-Other']
    assert template.t1w in source.fetch(space('MNI305'))


def test_failed_download_leaves_what_was_there(furnished, monkeypatch):
    def get(config, path):
        raise ConnectionError('Max retries exceeded with a long tale')

    with template_flow._client():
        monkeypatch.setattr('templateflow.client._s3_get', get)
    with pytest.raises(TemplateError, match=r'no connection.*mriprep fetch --spaces MNI305'):
        TemplateFlowSource(furnished).find(space('MNI305'))
    assert not [path for path in furnished.rglob('*') if path.is_file()]


def test_download_that_breaks_off_is_not_trusted(furnished, monkeypatch):
    image = nb.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4))
    served(monkeypatch, gzip.compress(image.to_bytes())[:-5])
    with pytest.raises(TemplateError, match='could not be fetched whole'):
        TemplateFlowSource(furnished).find(space('MNI305'))


def test_new_home_gets_the_placeholders_of_all_templates(tmp_path, monkeypatch):
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(tmp_path))
    template_flow._furnish(tmp_path)
    assert (tmp_path / 'tpl-MNI152NLin2009cAsym').is_dir()
