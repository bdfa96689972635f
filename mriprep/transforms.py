"""ITK transforms joined into one file, so that any ITK program repeats a single interpolation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mriprep.files import written_whole

_COMPOSITE = 'CompositeTransform'
_FIELD = 'DisplacementFieldTransform'
_AFFINE = 'AffineTransform_double_3_3'


def join_transforms(paths: Sequence[Path], path: Path) -> None:
    """Write transforms one after another into one composite ``.h5`` file.

    Parameters
    ----------
    paths
        ITK transforms, ``.h5`` or ``.txt``, in the order that a point passes them: from the grid
        that is resampled onto towards the image that is resampled.
    path
        File to write. Equal transforms give equal bytes.

    Raises
    ------
    ValueError
        If a file holds no transform.
    """
    import h5py

    parts = _simplified([part for source in paths for part in read_parts(source)])
    precision = 'float' if any('_float_' in kind for kind, _, _ in parts) else 'double'
    number = np.float32 if precision == 'float' else np.float64
    text = h5py.string_dtype('ascii')  # ITK reads no other kind of text
    with written_whole(path) as beside, h5py.File(beside, 'w') as file:
        first = file.create_group('TransformGroup/0')
        first.create_dataset('TransformType', data=[f'{_COMPOSITE}_{precision}_3_3'], dtype=text)
        # in a file, the transform that comes last is applied first
        for index, (kind, parameters, fixed) in enumerate(reversed(parts), start=1):
            group = file.create_group(f'TransformGroup/{index}')
            kind = kind.replace('_double_', f'_{precision}_').replace('_float_', f'_{precision}_')
            group.create_dataset('TransformType', data=[kind], dtype=text)
            group.create_dataset('TransformFixedParameters', data=fixed, dtype=np.float64)
            group.create_dataset('TransformParameters', data=parameters, dtype=number)


Part = tuple[str, 'np.ndarray', 'np.ndarray']  # ITK's name, parameters, fixed parameters


def _simplified(parts: Sequence[Part]) -> list[Part]:
    """Join linear transforms that follow each other into one affine, which every program reads."""
    from mriprep.itk import itk_parameters, itk_to_ras

    out: list[Part] = []
    linear: np.ndarray | None = None
    for kind, parameters, fixed in parts:
        if not kind.startswith(_FIELD):
            matrix = itk_to_ras(kind, parameters, fixed)
            linear = matrix if linear is None else matrix @ linear
            continue
        if linear is not None:
            out.append((_AFFINE, itk_parameters(linear), np.zeros(3)))
            linear = None
        out.append((kind, parameters, fixed))
    if linear is not None:
        out.append((_AFFINE, itk_parameters(linear), np.zeros(3)))
    return out


def read_parts(path: Path) -> list[Part]:
    """Read the transforms of an ITK file, in the order that a point passes them.

    Raises
    ------
    ValueError
        If the file holds no transform.
    """
    parts = list(_text_parts(path) if path.suffix == '.txt' else _h5_parts(path))
    if not parts:
        raise ValueError(f'{path.name}: holds no ITK transform; make it again')
    return parts[::-1]


def _text_parts(path: Path) -> Iterator[Part]:
    kind, values = '', np.empty(0)
    for line in path.read_text(encoding='utf-8').splitlines():
        name, _, rest = line.partition(':')
        match name:
            case 'Transform':
                kind = rest.strip()
            case 'Parameters':
                values = np.array(rest.split(), float)
            case 'FixedParameters' if not kind.startswith(_COMPOSITE):
                yield kind, values, np.array(rest.split(), float)


def _h5_parts(path: Path) -> Iterator[Part]:
    import h5py

    with h5py.File(path, 'r') as file:
        group = file['TransformGroup']
        for key in sorted(group, key=int):
            kind = group[key]['TransformType'][0].decode()
            if kind.startswith(_COMPOSITE):
                continue
            # ITK misspelt these names up to version 4
            names = [name for name in group[key] if name.startswith('Tran') and 'Type' not in name]
            fixed = next(name for name in names if 'Fixed' in name)
            free = next(name for name in names if 'Fixed' not in name)
            yield kind, group[key][free][()], group[key][fixed][()]


def linear_matrix(path: Path) -> np.ndarray:
    """Read a linear ITK transform, ``.txt`` or ``.h5``.

    Returns
    -------
    (4, 4) float array
        From RAS mm of the grid that is resampled onto to RAS mm of the image that is resampled.

    Raises
    ------
    ValueError
        If a part of it is not linear.
    """
    from mriprep.itk import itk_to_ras

    total = np.eye(4)
    for kind, parameters, fixed in read_parts(path):
        total = itk_to_ras(kind, parameters, fixed) @ total
    return total
