"""The demo: measures with known answers, and a comparison that notices each kind of failure."""

from __future__ import annotations

import json

import h5py
import nibabel as nb
import numpy as np
import pytest
from nibabel.affines import apply_affine

from mriprep import demo
from mriprep.cli.demo import main
from mriprep.demo import LIMITS, Check, Limit, Quantity, compare_subject
from mriprep.images import write_image
from mriprep.itk import itk_to_ras, read_linear
from mriprep.phantom import write_bids
from mriprep.truth import (
    bias_correlation,
    brightness_ratio,
    dice,
    linear_error_mm,
)

LPS = np.diag([-1, -1, 1, 1.0])
XFM = 'from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.h5'
IN_TEMPLATE = 'space-MNI152NLin2009aSym_res-1_desc-preproc_T1w.nii.gz'


def test_dice_of_halves():
    whole = np.ones((4, 4, 4), bool)
    half = whole.copy()
    half[:2] = False
    assert dice(whole, whole) == 1
    assert dice(half, whole) == pytest.approx(2 / 3)
    assert dice(half, ~half) == 0
    with pytest.raises(ValueError, match='differ in shape'):
        dice(half, whole[1:])
    with pytest.raises(ValueError, match='empty'):
        dice(half & False, whole & False)


def test_bias_correlation_knows_the_field_and_its_opposite():
    x = np.linspace(-1, 1, 20)
    bias = np.exp(0.2 * (x[:, None, None] + 0.5 * x[:, None] * x))
    head = np.random.default_rng(1).uniform(50, 100, bias.shape)
    brain = np.ones(bias.shape, bool)
    assert bias_correlation(head * bias, head, bias, brain) == pytest.approx(1)
    assert bias_correlation(head, head * bias, bias, brain) == pytest.approx(-1)
    with pytest.raises(ValueError, match='no bias field'):
        bias_correlation(head, head, bias, brain)


def test_linear_error_is_in_millimetres():
    shifted = np.eye(4)
    shifted[:3, 3] = (3, 0, 4)
    points = np.random.default_rng(2).normal(0, 50, (100, 3))
    assert linear_error_mm(shifted, np.eye(4), points) == pytest.approx(5)
    grown = np.diag([1.1, 1, 1, 1])
    assert linear_error_mm(grown, np.eye(4), np.array([[50.0, 7, 7]])) == pytest.approx(5)


def test_brightness_is_measured_in_world_coordinates():
    affine = np.array([[-2, 0, 0, 40], [0, 2, 0, -40], [0, 0, 2, -40], [0, 0, 0, 1.0]])
    volume = np.ones((41, 41, 41))
    volume[30:36, 17:24, 17:24] = 3  # x = -20 to -30 mm: on the left
    assert brightness_ratio(volume, affine, (-25, 0, 0), (25, 0, 0)) == pytest.approx(3, rel=0.05)
    with pytest.raises(ValueError, match='outside the image'):
        brightness_ratio(volume, affine, (-25, 0, 0), (90, 0, 0))


@pytest.mark.parametrize('kind', ['AffineTransform', 'Euler3DTransform', 'TranslationTransform'])
def test_itk_transforms_read_as_itk_applies_them(kind, tmp_path):
    ants = pytest.importorskip('ants')
    rng = np.random.default_rng(4)
    parameters = {
        'AffineTransform': np.r_[(np.eye(3) + rng.normal(0, 0.1, (3, 3))).ravel(), 5, -6, 7],
        'Euler3DTransform': [0.2, -0.1, 0.3, 5, -6, 7],
        'TranslationTransform': [5, -6, 7],
    }[kind]
    transform = ants.create_ants_transform(transform_type='AffineTransform', dimension=3)
    if kind != 'TranslationTransform':
        transform = ants.create_ants_transform(transform_type=kind, dimension=3)
        transform.set_fixed_parameters([10.0, 20.0, -30.0])
        transform.set_parameters(np.asarray(parameters))
    else:
        transform.set_parameters(np.r_[np.eye(3).ravel(), parameters])
    fixed = [10.0, 20.0, -30.0] if kind != 'TranslationTransform' else []
    matrix = itk_to_ras(f'{kind}_double_3_3', parameters, fixed)
    point = np.array([30.0, -40.0, 50.0])
    expected = np.array(
        ants.apply_ants_transform_to_point(transform, (point * [-1, -1, 1]).tolist())
    )
    np.testing.assert_allclose(apply_affine(matrix, point), expected * [-1, -1, 1], atol=1e-4)


def test_nonlinear_transform_is_refused():
    with pytest.raises(ValueError, match='not a linear transform'):
        itk_to_ras('DisplacementFieldTransform_double_3_3', [], [])


def write_h5(path, *matrices, spelling='Transform'):
    """Write linear transforms between RAS mm as ITK does: the last one is applied first."""
    with h5py.File(path, 'w') as file:
        group = file.create_group('TransformGroup')
        group.create_group('0')['TransformType'] = [b'CompositeTransform_double_3_3']
        for number, matrix in enumerate(matrices, start=1):
            lps = LPS @ matrix @ LPS
            one = group.create_group(str(number))
            one['TransformType'] = [b'AffineTransform_double_3_3']
            one[f'{spelling}Parameters'] = np.r_[lps[:3, :3].ravel(), lps[:3, 3]]
            one[f'{spelling}FixedParameters'] = np.zeros(3)


@pytest.mark.parametrize('spelling', ['Transform', 'Tranform'])
def test_composite_is_read_in_the_order_of_itk(tmp_path, spelling):
    turn, shift = np.eye(4), np.eye(4)
    turn[:2, :2] = [[0, -1], [1, 0]]
    shift[0, 3] = 10
    write_h5(tmp_path / 'xfm.h5', turn, shift, spelling=spelling)
    np.testing.assert_allclose(read_linear(tmp_path / 'xfm.h5'), turn @ shift, atol=1e-12)


def test_limits_hold_on_their_own_side():
    assert Limit(bound=1).holds(1.2)
    assert not Limit(bound=1).holds(float('nan'))
    assert Limit(bound=1, largest=True).holds(0.8)
    assert not Limit(bound=1, largest=True).holds(1.2)
    assert set(LIMITS) == set(Quantity)


@pytest.fixture
def finished(tmp_path, tiny_left_handed_head, coarse_head):
    """A demo whose derivatives are the truth itself."""
    phantom = tiny_left_handed_head
    for folder in ('truth', 'derivatives/sub-01/anat'):
        (tmp_path / folder).mkdir(parents=True)
    write_bids(tmp_path / 'bids', {'01': phantom})
    demo.write_truth(tmp_path / 'truth', '01', phantom)
    anat = tmp_path / 'derivatives' / 'sub-01' / 'anat'
    raw = nb.as_closest_canonical(nb.Nifti1Image(phantom.volume, phantom.affine))
    mask = nb.as_closest_canonical(
        nb.Nifti1Image(phantom.brain_mask.astype(np.uint8), phantom.affine)
    )
    bias = nb.as_closest_canonical(nb.Nifti1Image(phantom.bias, phantom.affine))
    for name, array, dtype in (
        ('desc-brain_mask', np.asarray(mask.dataobj), 'uint8'),
        ('desc-preproc_T1w', raw.get_fdata() / bias.get_fdata(), 'float32'),
    ):
        path = anat / f'sub-01_{name}.nii.gz'
        write_image(array, raw.affine, path, dtype=dtype, space_code=1)
    head = coarse_head
    path = anat / f'sub-01_{IN_TEMPLATE}'
    write_image(head.volume, head.affine, path, dtype='float32', space_code=4)
    write_h5(anat / f'sub-01_{XFM}', phantom.linear)
    return tmp_path


def rewrite(path, change):
    image = nb.load(path)
    changed = change(image.get_fdata(dtype=np.float32))
    affine = image.affine
    image.uncache()
    write_image(changed, affine, path, dtype='float32', space_code=1)


def failing(out):
    return {check.quantity for check in compare_subject(out, '01') if not check.passed}


def test_truth_passes_every_check(finished):
    checks = {check.quantity: check for check in compare_subject(finished, '01')}
    assert set(checks) == set(Quantity)
    assert all(check.passed for check in checks.values())
    assert checks[Quantity.DICE].value == 1
    assert checks[Quantity.BIAS].value == pytest.approx(1, abs=1e-4)
    assert checks[Quantity.LINEAR].value == pytest.approx(0, abs=1e-6)


def test_flipped_images_fail_the_capsule(finished):
    anat = finished / 'derivatives' / 'sub-01' / 'anat'
    rewrite(anat / 'sub-01_desc-preproc_T1w.nii.gz', lambda volume: volume[::-1])
    assert Quantity.LEFT_NATIVE in failing(finished)
    rewrite(anat / f'sub-01_{IN_TEMPLATE}', lambda volume: volume[::-1])
    assert Quantity.LEFT_TEMPLATE in failing(finished)


def test_inverse_instead_of_forward_transform_fails(finished):
    truth = json.loads((finished / 'truth' / 'sub-01.json').read_text())
    path = finished / 'derivatives' / 'sub-01' / 'anat' / f'sub-01_{XFM}'
    write_h5(path, np.linalg.inv(truth['linear']))
    assert failing(finished) == {Quantity.LINEAR}


def test_mask_that_leaks_fails(finished):
    path = finished / 'derivatives' / 'sub-01' / 'anat' / 'sub-01_desc-brain_mask.nii.gz'
    rewrite(path, lambda volume: np.ones_like(volume))
    assert failing(finished) == {Quantity.DICE}


def test_uncorrected_image_fails_the_bias(finished):
    raw = nb.as_closest_canonical(nb.load(finished / 'bids/sub-01/anat/sub-01_T1w.nii.gz'))
    path = finished / 'derivatives' / 'sub-01' / 'anat' / 'sub-01_desc-preproc_T1w.nii.gz'
    write_image(raw.get_fdata(), raw.affine, path, dtype='float32', space_code=1)
    assert Quantity.BIAS in failing(finished)


def test_other_grid_fails_with_a_reason(finished):
    path = finished / 'derivatives' / 'sub-01' / 'anat' / 'sub-01_desc-brain_mask.nii.gz'
    write_image(np.ones((5, 5, 5)), np.eye(4), path, dtype='uint8', space_code=1)
    check = next(c for c in compare_subject(finished, '01') if c.quantity is Quantity.DICE)
    assert not check.passed
    assert 'grids differ' in check.problem


def test_missing_derivatives_fail_and_are_named(finished, capsys):
    for path in (finished / 'derivatives').rglob('*.*'):
        path.unlink()
    checks = compare_subject(finished, '01')
    assert not any(check.passed for check in checks)
    demo.print_checks(checks)
    printed = capsys.readouterr().out
    assert printed.count('FAIL') == len(Quantity)
    assert 'sub-01_desc-brain_mask.nii.gz' in printed
    demo.write_checks(checks, finished / 'checks.tsv')
    rows = (finished / 'checks.tsv').read_text().splitlines()
    assert len(rows) == 1 + len(Quantity)
    assert {len(row.split('\t')) for row in rows} == {6}


def checks_of(value):
    return lambda out: [Check(subject='01', quantity=Quantity.DICE, value=value)]


@pytest.mark.parametrize(
    ('job', 'value', 'code'),
    [(0, 0.99, 0), (0, 0.5, 1), (1, 0.99, 1), (2, 0.99, 2), (130, 1, 130)],
)
def test_exit_code(job, value, code, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr('mriprep.cli.participant.main', lambda words: called.append(words) or job)
    monkeypatch.setattr(demo, 'build', lambda out: (out / 'truth').mkdir(parents=True))
    monkeypatch.setattr(demo, 'compare', checks_of(value))
    out = tmp_path / 'out'
    assert main([str(out), '--nprocs', '2']) == code
    assert called == [
        [str(out / 'bids'), str(out / 'derivatives'), 'participant', '-w', str(out / 'work'),
         '--nprocs', '2']
    ]  # fmt: skip


def test_help_and_nonsense(capsys):
    assert main(['--help']) == 0
    assert 'mriprep demo' in capsys.readouterr().out
    assert main([]) == 2


def test_folder_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / 'file').touch()
    assert main([str(tmp_path / 'file' / 'out')]) == 2
    words = capsys.readouterr().err
    assert str(tmp_path / 'file') in words
    assert 'choose another folder' in words


def test_data_set_is_built_once(tmp_path, monkeypatch, coarse_head, embedded_template):
    from mriprep.phantom import Scan

    monkeypatch.setattr('mriprep.phantom.load_head', lambda template: coarse_head)
    monkeypatch.setattr('mriprep.templates.find_template', lambda *_, **__: embedded_template)
    for name in ('ISOTROPIC', 'LEFT_HANDED'):
        monkeypatch.setattr(f'mriprep.phantom.{name}', Scan(voxel_size_mm=(6, 6, 6)))
    demo.build(tmp_path)
    images = sorted((tmp_path / 'bids').rglob('*.nii.gz'))
    assert [path.name for path in images] == ['sub-01_T1w.nii.gz', 'sub-02_T1w.nii.gz']
    stamps = [path.stat().st_mtime_ns for path in images]
    demo.build(tmp_path)
    assert [path.stat().st_mtime_ns for path in images] == stamps
    truth = demo.read_truth(tmp_path / 'truth' / 'sub-02.json')
    assert truth.linear.shape == (4, 4)
    assert truth.marker_mm[0] < 0
