"""ITK's transform files, and linear transforms as 4x4 matrices in RAS mm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mriprep.files import write_text, written_whole

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's axes point left, posterior, superior
_OF_THE_MACHINE = ('OSName', 'OSVersion')  # written by ITK into every file


def itk_to_ras(kind: str, parameters: ArrayLike, fixed: ArrayLike) -> NDArray[np.float64]:
    """Turn one ITK transform into a (4, 4) matrix.

    Parameters
    ----------
    kind
        ITK's name, such as ``AffineTransform_double_3_3``.
    parameters, fixed : float array
        ITK's parameters (LPS mm, radians) and centre.

    Returns
    -------
    (4, 4) float array
        From RAS mm of the fixed image to RAS mm of the moving image.

    Raises
    ------
    ValueError
        If the transform is not linear.
    """
    values, centre = np.asarray(parameters, float), np.asarray(fixed, float)[:3]
    matrix = np.eye(4)
    if kind.startswith(('AffineTransform', 'MatrixOffsetTransformBase')):
        matrix[:3, :3], shift = values[:9].reshape(3, 3), values[9:]
    elif kind.startswith('Euler3DTransform'):
        from scipy.spatial.transform import Rotation

        matrix[:3, :3] = Rotation.from_euler('ZXY', values[[2, 0, 1]]).as_matrix()
        shift = values[3:]
    elif kind.startswith('TranslationTransform'):
        shift = values
    else:
        raise ValueError(f'{kind} is not a linear transform')
    matrix[:3, 3] = shift + centre - matrix[:3, :3] @ centre if centre.size else shift
    out: NDArray[np.float64] = _LPS @ matrix @ _LPS
    return out


def itk_parameters(matrix: ArrayLike) -> NDArray[np.float64]:
    """Turn a (4, 4) matrix in RAS mm into the 12 parameters of ITK's affine about the origin."""
    lps = _LPS @ np.asarray(matrix, float) @ _LPS
    return np.concatenate([lps[:3, :3].ravel(), lps[:3, 3]])


def read_linear(path: Path) -> NDArray[np.float64]:
    """Read a composite of linear transforms from an ITK ``.h5`` file.

    Returns
    -------
    (4, 4) float array
        From RAS mm of the fixed image to RAS mm of the moving image.

    Raises
    ------
    ValueError
        If the file holds anything but linear transforms.
    """
    import h5py

    total = np.eye(4)
    with h5py.File(path, 'r') as file:
        group = file['TransformGroup']
        for key in sorted(group, key=int):
            kind = group[key]['TransformType'][0].decode()
            if kind.startswith('CompositeTransform'):
                continue
            # ITK misspelt these names up to version 4
            names = [name for name in group[key] if name.startswith('Tran') and 'Type' not in name]
            fixed = next(name for name in names if 'Fixed' in name)
            free = next(name for name in names if 'Fixed' not in name)
            # the transform that comes last in the file is applied first
            total = total @ itk_to_ras(kind, group[key][free][()], group[key][fixed][()])
    return total


def write_linear(matrix: ArrayLike, path: Path) -> None:
    """Write a linear transform as a composite ITK ``.h5`` file, as antsRegistration does.

    Parameters
    ----------
    matrix : (4, 4) array
        From RAS mm of the fixed image to RAS mm of the moving image.
    path
        File to write.
    """
    import h5py

    parameters = itk_parameters(matrix)
    with written_whole(path) as beside, h5py.File(beside, 'w') as file:
        # ITK reads no other kind of text
        text = h5py.string_dtype('ascii')
        kinds = ('CompositeTransform_double_3_3', 'AffineTransform_double_3_3')
        for index, kind in enumerate(kinds):
            group = file.create_group(f'TransformGroup/{index}')
            group.create_dataset('TransformType', data=[kind], dtype=text)
        group['TransformFixedParameters'] = np.zeros(3)
        group['TransformParameters'] = parameters


def copy_transform(source: Path, path: Path) -> None:
    """Copy an ITK ``.h5`` transform without what tells time and machine.

    Equal transforms give equal bytes; ITK and nitransforms read the copy as they read the source.
    """
    import h5py

    with (
        written_whole(path) as beside,
        h5py.File(source) as given,
        h5py.File(beside, 'w') as kept,
    ):

        def copy(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Group):
                kept.create_group(name)
            elif name not in _OF_THE_MACHINE:
                kept.create_dataset(name, data=item[()], dtype=item.dtype, track_times=False)

        given.visititems(copy)


def closest_rigid(affine: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Rigid transform that moves points most nearly as an affine one does.

    Parameters
    ----------
    affine : (4, 4) array
        mm to mm.
    points : (N, 3) array
        Where it matters, in mm; in least squares.

    Returns
    -------
    (4, 4) float array
        Rotation and translation; never a reflection.

    References
    ----------
    Kabsch (1976), Acta Cryst A 32:922, doi:10.1107/S0567739476001873.
    """
    matrix, start = np.asarray(affine, float), np.asarray(points, float)
    end = start @ matrix[:3, :3].T + matrix[:3, 3]
    middle_start, middle_end = start.mean(0), end.mean(0)
    u, _, vt = np.linalg.svd((end - middle_end).T @ (start - middle_start))
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    out = np.eye(4)
    out[:3, :3] = rotation
    out[:3, 3] = middle_end - rotation @ middle_start
    return out


def write_linear_text(matrix: ArrayLike, path: Path) -> None:
    """Write a linear transform as ITK text: readable, and the same bytes for the same matrix.

    ITK, ITK-SNAP and nitransforms read it.

    Parameters
    ----------
    matrix : (4, 4) array
        From RAS mm of the fixed image to RAS mm of the moving image.
    path
        File to write.
    """
    lps = _LPS @ np.asarray(matrix, float) @ _LPS
    # adding 0 turns -0 into 0
    numbers = np.round(np.concatenate([lps[:3, :3].ravel(), lps[:3, 3]]), 12) + 0.0
    parameters = ' '.join(np.format_float_positional(number, trim='-') for number in numbers)
    write_text(
        '#Insight Transform File V1.0\n'
        '#Transform 0\n'
        'Transform: AffineTransform_double_3_3\n'
        f'Parameters: {parameters}\n'
        'FixedParameters: 0 0 0\n',
        path,
    )
