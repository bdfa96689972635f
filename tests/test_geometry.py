"""Header audit and reordering: each rule against a header made to need it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mriprep.geometry import (
    GeometryError,
    HeaderFacts,
    audit_header,
    conform,
    finite,
    orientation,
    to_ras,
)

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


def test_single_volume_of_four_dimensions_is_squeezed():
    volume = np.random.default_rng(0).normal(size=(*SHAPE, 1))
    result = conform(volume, facts(shape=(*SHAPE, 1)))
    np.testing.assert_array_equal(result.volume, volume[..., 0].astype(np.float32))
    assert said(result.audit.changes, 'fourth dimension')


def test_reordering_is_told():
    left = np.diag([-1.0, 1, 1, 1]) @ affine_of()
    volume = np.random.default_rng(0).normal(size=SHAPE)
    result = conform(volume, facts(qform=left, sform=left))
    assert said(result.audit.changes, 'from LAS to RAS')


def test_nan_and_infinities_become_zero_and_are_counted():
    volume = np.ones(SHAPE)
    volume[0, 0, :4] = np.nan, np.inf, -np.inf, 1e300  # the last is too large for float32
    volume[1] = -2
    result = conform(volume, facts())
    np.testing.assert_array_equal(result.volume[0, 0, :4], 0)
    assert np.isfinite(result.volume).all()
    assert said(result.audit.warnings, '4 voxels (1.9 %) were NaN or infinite')


def test_finite_values_are_not_copied():
    volume = np.ones(SHAPE, np.float32)
    values, n_lost = finite(volume)
    assert values is volume
    assert n_lost == 0


@pytest.mark.parametrize('value', [0.0, 7.0, np.nan])
def test_constant_image_is_refused(value):
    with pytest.raises(GeometryError, match='the same value'):
        conform(np.full(SHAPE, value), facts())


def test_scaling_is_told():
    audit = audit_header(facts(dtype='int16', slope=2.5, intercept=-1.0))
    assert 'slope 2.5 and intercept -1' in audit.found
    assert said(audit.changes, 'from int16 to float32, slope and intercept applied')
