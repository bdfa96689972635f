"""Header audit and reordering: each rule against a header made to need it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mriprep.audit import GeometryError, HeaderFacts, audit_header, orientation
from mriprep.geometry import check_places, conform, finite, to_ras

SHAPE = (5, 6, 7)


def rotation(degrees: float, axis: int = 2) -> np.ndarray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    first, second = [i for i in range(3) if i != axis]
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


def affine_of(zooms=(1.0, 1.2, 2.0), degrees=0.0, origin=(-20.0, 15.0, 3.0)) -> np.ndarray:
    affine = rotation(degrees) @ np.diag([*zooms, 1.0])
    affine[:3, 3] = origin
    return affine


def facts(**changes) -> HeaderFacts:
    affine = affine_of()
    given = {
        'shape': SHAPE,
        'zooms': (1.0, 1.2, 2.0),
        'qform': affine,
        'qform_code': 1,
        'sform': affine,
        'sform_code': 1,
    }
    return HeaderFacts(**(given | changes))


def said(words: tuple[str, ...], text: str) -> bool:
    return any(text in line for line in words)


def test_clean_header_needs_no_change():
    audit = audit_header(facts())
    assert (audit.refusal, audit.changes, audit.warnings) == (None, (), ())
    assert audit.source == 'sform'
    np.testing.assert_allclose(audit.affine, affine_of(), atol=1e-12)
    assert '5 x 6 x 7 voxels of 1 x 1.2 x 2 mm' in audit.found
    assert 'axes point to RAS, not oblique' in audit.found


def test_qform_serves_where_the_sform_has_no_code():
    tilted = affine_of(degrees=8)
    audit = audit_header(facts(qform=tilted, sform=np.zeros((4, 4)), sform_code=0))
    assert audit.source == 'qform'
    np.testing.assert_allclose(audit.affine, tilted, atol=1e-12)
    assert 'axes point to RAS, oblique by 8.0 degrees' in audit.found


@pytest.mark.parametrize('bad', [None, np.full((4, 4), np.nan), np.diag([1.0, 0, 1, 1])])
def test_damaged_qform_is_not_used(bad):
    audit = audit_header(facts(qform=bad))
    assert audit.source == 'sform'
    assert audit.warnings == ('the qform is damaged and was not used',)


@pytest.mark.parametrize(
    'codes', [{'qform_code': 0, 'sform_code': 0}, {'qform_code': 0, 'sform': np.zeros((4, 4))}]
)
def test_no_form_is_refused(codes):
    audit = audit_header(facts(**codes))
    assert audit.affine is None
    assert 'left and right are unknown' in audit.refusal


def test_forms_that_mirror_each_other_are_refused():
    audit = audit_header(facts(qform=np.diag([-1.0, 1, 1, 1]) @ affine_of()))
    assert audit.affine is None
    assert 'mirror each other' in audit.refusal


def test_forms_may_share_an_orientation_other_than_ras():
    left = np.diag([-1.0, 1, 1, 1]) @ affine_of()
    assert audit_header(facts(qform=left, sform=left)).refusal is None


def test_forms_that_disagree_are_a_warning_in_mm_and_degrees():
    sform = affine_of()
    qform = rotation(10) @ sform
    qform[:3, 3] = sform[:3, 3]
    audit = audit_header(facts(qform=qform))
    corner = np.linalg.norm([4 * 1.0, 5 * 1.2])  # the corner farthest from the axis of rotation
    chord = 2 * corner * np.sin(np.radians(5))
    assert audit.source == 'sform'
    assert said(audit.warnings, f'disagree by {chord:.2f} mm at a corner and 10.00 degrees')
    np.testing.assert_allclose(audit.affine, sform, atol=1e-12)


@pytest.mark.parametrize(('shift', 'warned'), [(0.05, False), (0.2, True)])
def test_forms_may_disagree_by_a_tenth_of_a_millimetre(shift, warned):
    qform = affine_of(origin=(-20.0 + shift, 15, 3))
    assert said(audit_header(facts(qform=qform)).warnings, 'disagree') is warned


MIRROR = np.diag([-1.0, 1, 1, 1])


@pytest.mark.parametrize('hand', [np.eye(4), MIRROR])
def test_one_form_alone_is_believed_whatever_its_handedness(hand):
    affine = hand @ affine_of(degrees=8)
    for code in range(1, 6):
        for form in ('qform', 'sform'):
            other = 'sform' if form == 'qform' else 'qform'
            audit = audit_header(facts(**{form: affine, f'{form}_code': code, f'{other}_code': 0}))
            assert (audit.source, audit.refusal, audit.warnings) == (form, None, ())
            np.testing.assert_allclose(audit.affine, affine, atol=1e-12)


@pytest.mark.parametrize('code', [-1, 6, 300])
def test_codes_without_meaning_do_not_count(code):
    audit = audit_header(facts(sform_code=code))
    assert audit.source == 'qform'
    assert said(audit.warnings, f'sform code {code} has no meaning')
    assert audit_header(facts(sform_code=code, qform_code=0)).affine is None


@pytest.mark.parametrize('code', [1, 2, 4])
def test_an_sform_that_moves_the_head_is_believed(code):
    """As viewers do; it says where the head was moved to, and the head keeps its size."""
    sform = rotation(20) @ affine_of()
    audit = audit_header(facts(sform=sform, sform_code=code))
    assert audit.source == 'sform'
    np.testing.assert_allclose(audit.affine, sform, atol=1e-12)
    assert said(audit.warnings, '20.00 degrees')
    assert said(audit.warnings, {1: ': the', 2: 'sform is aligned', 4: 'sform is MNI'}[code])


@pytest.mark.parametrize(('code', 'source'), [(1, 'sform'), (2, 'qform'), (4, 'qform')])
def test_an_sform_that_changes_the_size_of_the_head_leads_to_another_space(code, source):
    scaled = np.diag([1.1, 1.2, 1.1, 1]) @ affine_of()
    audit = audit_header(facts(sform=scaled, sform_code=code))
    assert audit.source == source
    if source == 'qform':
        np.testing.assert_allclose(audit.affine, affine_of(), atol=1e-12)
        assert said(audit.warnings, 'changes the size of the head by up to 20.0%')
    else:
        assert said(audit.warnings, 'its affine 1.1 x 1.44 x 2.2 mm')
    # without the scanner's qform there is nothing better
    assert audit_header(facts(sform=scaled, sform_code=code, qform_code=2)).source == 'sform'


@pytest.mark.parametrize('qfac', [0, 5, -3, np.nan])
def test_a_qform_of_unknown_handedness_counts_only_alone(qfac):
    left = MIRROR @ affine_of()
    audit = audit_header(facts(sform=left, qfac=qfac))
    assert (audit.source, audit.warnings) == ('sform', ())
    np.testing.assert_allclose(audit.affine, left, atol=1e-12)
    assert said(audit.found, f'pixdim[0] is {qfac:g}')
    audit = audit_header(facts(sform_code=0, qfac=qfac))
    assert audit.source == 'qform'
    assert said(audit.warnings, f'pixdim[0] is {qfac:g}, where 1 or -1')
    assert said(audit.warnings, 'taken for -1' if qfac == -3 else 'taken for 1')


@pytest.mark.parametrize(
    ('square', 'source', 'words'),
    [
        (1 + 5e-7, 'qform', ''),
        (1 + 1e-4, 'qform', 'off by 1.1 degrees'),
        (1.01, None, 'no rotation'),
        (np.nan, 'qform', ''),  # then the qform isn't finite either
    ],
)
def test_quaternions_of_about_unit_length(square, source, words):
    audit = audit_header(facts(sform_code=0, quaternion_square=square))
    assert audit.source == source
    assert said(audit.warnings, words) if words else audit.warnings == ()
    assert audit_header(facts(quaternion_square=square)).source == 'sform'


def test_sheared_sform_gives_way_to_the_qform():
    sheared = affine_of()
    sheared[0, 1] = 0.4
    audit = audit_header(facts(sform=sheared))
    assert audit.source == 'qform'
    assert said(audit.warnings, 'the sform has shear')
    np.testing.assert_allclose(audit.affine, affine_of(), atol=1e-12)


def test_shear_alone_is_removed_about_the_centre_with_a_warning():
    sheared = affine_of()
    sheared[0, 1] = 0.2
    audit = audit_header(facts(sform=sheared, qform_code=0))
    axes = audit.affine[:3, :3] / np.linalg.norm(audit.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    centre = [2, 2.5, 3, 1]
    np.testing.assert_allclose(audit.affine @ centre, sheared @ centre, atol=1e-12)
    assert said(audit.warnings, 'has shear')
    assert said(audit.changes, 'shear was removed')


def test_strong_shear_alone_is_refused():
    sheared = affine_of()
    sheared[0, 2] = 2.0
    audit = audit_header(facts(sform=sheared, qform_code=0))
    assert 'the grid is not a box' in audit.refusal


def test_voxel_sizes_that_contradict_the_affine_are_a_warning():
    audit = audit_header(facts(zooms=(1.0, 1.0, 1.0)))
    assert said(audit.warnings, 'voxels of 1 x 1 x 1 mm, its affine 1 x 1.2 x 2 mm')


@pytest.mark.parametrize(('unit', 'per_mm'), [('meter', 1e-3), ('micron', 1e3)])
def test_lengths_are_converted_to_mm(unit, per_mm):
    scaled = affine_of()
    scaled[:3] *= per_mm
    zooms = tuple(zoom * per_mm for zoom in (1.0, 1.2, 2.0))
    audit = audit_header(facts(unit=unit, zooms=zooms, qform=scaled, sform=scaled))
    np.testing.assert_allclose(audit.affine, affine_of(), atol=1e-9)
    assert audit.changes == (f'lengths were converted from {unit} to mm',)


def test_impossible_unit_is_not_believed():
    audit = audit_header(facts(unit='meter'))
    np.testing.assert_allclose(audit.affine, affine_of(), atol=1e-12)
    assert said(audit.warnings, 'unit "meter" can not be right')


def test_unknown_unit_is_taken_for_mm():
    audit = audit_header(facts(unit='unknown'))
    assert 'no unit of length: mm assumed' in audit.found
    assert audit.warnings == ()


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'shape': (5, 6)}, 'a 2D image (5 x 6)'),
        ({'shape': (5, 6, 1)}, 'a 2D image'),
        ({'shape': (5, 6, 7, 3)}, 'a series of volumes'),
        ({'shape': (5, 0, 7)}, 'is empty'),
        ({'zooms': (1.0, 0.0, 1.0)}, 'can not be right'),
        ({'zooms': (1.0, -1.0, 1.0)}, 'can not be right'),
        ({'zooms': (1.0, np.nan, 1.0)}, 'can not be right'),
    ],
)
def test_what_is_not_one_scan_is_refused(changes, words):
    audit = audit_header(facts(**changes))
    assert words in audit.refusal
    assert '; ' in audit.refusal  # what to do


def test_all_48_orientations_come_to_ras_with_each_value_in_its_place():
    rng = np.random.default_rng(3)
    volume = rng.normal(size=SHAPE).astype(np.float32)
    mark = (1, 4, 2)
    oblique = rotation(7, 0) @ rotation(12, 1) @ rotation(5, 2)
    seen = set()
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((-1, 1), repeat=3):
            turn = np.eye(4)
            turn[:3, :3] = np.eye(3)[:, order] * signs
            affine = oblique @ turn @ np.diag([0.9, 1.1, 2.5, 1])
            affine[:3, 3] = (12, -7, 40)
            result = conform(volume, facts(sform=affine, qform=affine, zooms=(0.9, 1.1, 2.5)))
            seen.add(orientation(affine))
            assert orientation(result.affine) == 'RAS'
            where = np.argwhere(result.volume == volume[mark])
            assert len(where) == 1
            np.testing.assert_allclose(
                result.affine @ [*where[0], 1], affine @ [*mark, 1], atol=1e-9
            )
            np.testing.assert_array_equal(np.sort(result.volume, None), np.sort(volume, None))
    assert len(seen) == 48


def test_to_ras_leaves_ras_alone():
    volume = np.arange(24).reshape(2, 3, 4)
    same, affine = to_ras(volume, affine_of())
    np.testing.assert_array_equal(same, volume)
    np.testing.assert_array_equal(affine, affine_of())


@pytest.mark.parametrize('more', [(1,), (1, 1), (1, 1, 1, 1)])
def test_single_volumes_beyond_three_dimensions_are_squeezed(more):
    volume = np.random.default_rng(0).normal(size=(*SHAPE, *more))
    result = conform(volume, facts(shape=(*SHAPE, *more)))
    np.testing.assert_array_equal(result.volume, volume.reshape(SHAPE).astype(np.float32))
    assert said(result.audit.changes, 'of a single volume, was removed')


def test_reordering_is_told():
    left = np.diag([-1.0, 1, 1, 1]) @ affine_of()
    volume = np.random.default_rng(0).normal(size=SHAPE)
    result = conform(volume, facts(qform=left, sform=left))
    assert said(result.audit.changes, 'from LAS to RAS')


def test_nan_and_infinities_become_zero_and_are_counted():
    volume = np.ones(SHAPE)
    volume[0, 0, :3] = np.nan, np.inf, -np.inf
    volume[1] = -2
    result = conform(volume, facts())
    np.testing.assert_array_equal(result.volume[0, 0, :3], 0)
    assert np.isfinite(result.volume).all()
    assert said(result.audit.warnings, '3 voxels (1.4 %) were NaN or infinite')


@pytest.mark.parametrize('value', [1e300, -4e38, 1e37, -2e12])
def test_a_few_values_too_large_to_compute_with_become_zero_and_are_counted(value):
    volume = np.random.default_rng(0).normal(size=(20, 20, 20))
    volume[0, 0, :2] = value
    result = conform(volume, facts(shape=volume.shape))
    np.testing.assert_array_equal(result.volume[0, 0, :2], 0)
    np.testing.assert_allclose(result.volume[0, 0, 2:], volume[0, 0, 2:], rtol=1e-6)
    assert said(result.audit.warnings, '2 voxels (0.025 %) held values beyond 1e+12')
    assert not said(result.audit.warnings, 'NaN')


@pytest.mark.parametrize('slope', [1e13, 1e38])
def test_many_values_too_large_are_refused(slope):
    volume = slope * np.random.default_rng(0).uniform(1, 10, SHAPE)
    with pytest.raises(GeometryError, match=r'beyond 1e\+12 after a slope of 1e\+\d+; correct'):
        conform(volume, facts(slope=slope))


def test_values_too_small_are_refused():
    volume = 1e-20 * np.random.default_rng(0).uniform(1, 10, SHAPE)
    with pytest.raises(GeometryError, match=r'largest value is only 1\.0e-19; correct'):
        conform(volume, facts())
    conform(1e-9 * np.random.default_rng(0).uniform(1, 10, SHAPE), facts())


def test_finite_values_are_not_copied():
    volume = np.ones(SHAPE, np.float32)
    values, n_bad = finite(volume)
    assert values is volume
    assert n_bad == 0


@pytest.mark.parametrize('value', [0.0, 7.0, np.nan])
def test_constant_image_is_refused(value):
    with pytest.raises(GeometryError, match='the same value'):
        conform(np.full(SHAPE, value), facts())


def test_scaling_is_told():
    audit = audit_header(facts(dtype='int16', slope=2.5, intercept=-1.0))
    assert 'slope 2.5 and intercept -1' in audit.found
    assert said(audit.changes, 'from int16 to float32, slope and intercept applied')


def test_a_negative_slope_is_told():
    assert said(audit_header(facts(slope=-1.0)).warnings, 'dark into bright')


@pytest.fixture(scope='module')
def placed():
    """A cube, so that any axis may be taken for another, and its oblique affine."""
    volume = np.random.default_rng(6).normal(size=(16, 16, 16)).astype(np.float32)
    volume[:3] = np.nan
    return volume, rotation(20, 0) @ rotation(-10, 1) @ affine_of()


def test_what_keeps_its_place_passes(placed):
    volume, affine = placed
    for turned in (volume, volume[::-1], volume.transpose(2, 0, 1), volume[:, ::-1].T):
        ras, ras_affine = to_ras(turned, affine)
        filled = np.nan_to_num(ras, nan=0.0)
        check_places(turned, affine, filled, ras_affine.astype(np.float32))


def test_what_was_moved_is_found(placed):
    volume, affine = placed
    moved = (
        volume[::-1],
        volume[:, ::-1],
        volume[:, :, ::-1],
        volume[::-1, ::-1],
        volume.transpose(1, 0, 2),
        np.roll(volume, 1, axis=0),
        volume * np.float32(1.001),
        volume[1:],
    )
    for other in moved:
        with pytest.raises(GeometryError, match=r'left and right can not be trusted; .*report'):
            check_places(volume, affine, other, affine)
    mirrored = affine @ np.diag([-1, 1, 1, 1])
    half = affine.copy()
    half[0, 3] += 0.3
    for other in (mirrored, half):
        with pytest.raises(GeometryError, match='report'):
            check_places(volume, affine, volume, other)


def test_a_nearly_symmetric_head_does_not_hide_a_flip():
    half = np.zeros((20, 30, 30), np.float32)
    half[8:, 5:25, 5:25] = np.random.default_rng(0).normal(100, 10, (12, 20, 20))
    volume = np.concatenate([half, half[::-1]])
    volume[4:8, 10:16, 10:16] = 300  # a capsule on one side
    check_places(volume, np.eye(4), volume, np.eye(4))
    with pytest.raises(GeometryError):
        check_places(volume, np.eye(4), volume[::-1], np.eye(4))
