"""Linear transforms survive ITK's files; the closest rigid one is the right one."""

from __future__ import annotations

import numpy as np
import pytest

from mriprep.itk import (
    closest_rigid,
    itk_to_ras,
    read_linear,
    write_linear,
    write_linear_text,
)


def rigid(angles_deg, shift_mm):
    matrix = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(angles_deg)):
        turn = np.eye(4)
        i, j = [other for other in range(3) if other != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    matrix[:3, 3] = shift_mm
    return matrix


BRAIN = np.random.default_rng(2).uniform(-70, 70, (500, 3)) + np.array([5, -20, 10])


def test_a_matrix_comes_back_from_the_file(tmp_path):
    matrix = rigid((10, -5, 20), (12, -7, 3)) @ np.diag([1.1, 0.9, 1.05, 1])
    write_linear(matrix, tmp_path / 'xfm.h5')
    np.testing.assert_allclose(read_linear(tmp_path / 'xfm.h5'), matrix, atol=1e-12)


def test_the_centre_of_rotation_stays_where_it_is():
    matrix = rigid((0, 0, 30), (0, 0, 0))[:3, :3]
    centre_lps = np.array([10.0, -20, 30])
    ras = itk_to_ras('AffineTransform_float_3_3', [*matrix.ravel(), 0, 0, 0], centre_lps)
    centre = centre_lps * [-1, -1, 1]
    np.testing.assert_allclose(ras[:3, :3] @ centre + ras[:3, 3], centre, atol=1e-9)


def test_a_rigid_transform_is_its_own_closest():
    matrix = rigid((15, -10, 40), (20, -3, 8))
    np.testing.assert_allclose(closest_rigid(matrix, BRAIN), matrix, atol=1e-9)


def test_growing_about_the_middle_turns_and_shifts_nothing():
    grow = np.diag([1.2, 1.2, 1.2, 1])
    middle = BRAIN.mean(0)
    grow[:3, 3] = middle - grow[:3, :3] @ middle
    np.testing.assert_allclose(closest_rigid(grow, BRAIN), np.eye(4), atol=1e-9)


def test_no_rigid_transform_near_by_moves_the_points_more_alike():
    affine = rigid((4, 8, -12), (5, 5, -9)) @ np.diag([1.1, 0.95, 1.02, 1])
    affine[0, 1] += 0.05

    def miss(matrix):
        difference = BRAIN @ (matrix - affine)[:3, :3].T + (matrix - affine)[:3, 3]
        return (difference**2).sum()

    best = closest_rigid(affine, BRAIN)
    assert np.linalg.det(best[:3, :3]) == pytest.approx(1)
    for axis in np.eye(3):
        for sign in (-1, 1):
            assert miss(rigid(sign * axis, (0, 0, 0)) @ best) > miss(best)
            assert miss(rigid((0, 0, 0), sign * axis) @ best) > miss(best)


def test_antsapplytransforms_reads_the_file(tmp_path, make_nifti):
    import subprocess

    import nibabel as nb

    from mriprep.tools import activate

    activate()
    volume = np.random.default_rng(1).normal(size=(12, 14, 16)).astype(np.float32)
    image = make_nifti('image.nii', volume, np.diag([1.0, 1, 1, 1]))
    matrix = np.eye(4)
    matrix[:3, 3] = (2, -3, 1)  # a point of the output shows what lies at this offset
    write_linear(matrix, tmp_path / 'xfm.h5')
    words = ['antsApplyTransforms', '-d', '3', '-i', image, '-r', image, '-n', 'NearestNeighbor']
    words += ['-t', str(tmp_path / 'xfm.h5'), '-o', str(tmp_path / 'moved.nii')]
    subprocess.run(words, check=True, capture_output=True)
    moved = nb.load(tmp_path / 'moved.nii').get_fdata()
    np.testing.assert_allclose(moved[2:8, 4:10, 3:9], volume[4:10, 1:7, 4:10], rtol=1e-6)


def test_text_is_what_ants_reads_and_holds_the_matrix(tmp_path):
    matrix = rigid((10, -5, 20), (12, -7, 3))
    write_linear_text(matrix, tmp_path / 'xfm.txt')
    lines = (tmp_path / 'xfm.txt').read_text().splitlines()
    assert lines[0] == '#Insight Transform File V1.0'
    words = dict(line.split(': ') for line in lines[2:])
    parameters, fixed = (
        np.array(words[name].split(), float) for name in ('Parameters', 'FixedParameters')
    )
    np.testing.assert_allclose(
        itk_to_ras(words['Transform'], parameters, fixed), matrix, atol=1e-11
    )


def test_text_of_the_identity_has_no_signs(tmp_path):
    write_linear_text(np.eye(4), tmp_path / 'xfm.txt')
    assert 'Parameters: 1 0 0 0 1 0 0 0 1 0 0 0\n' in (tmp_path / 'xfm.txt').read_text()
