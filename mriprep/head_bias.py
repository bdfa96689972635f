"""A head made even without a brain mask: N4 inside the whole head, coarse and quick."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SAMPLE_MM = 8.0


def even_head(
    volume: NDArray[np.float32], affine: NDArray[np.floating], *, n_threads: int = 1
) -> NDArray[np.float32]:
    """Remove the bias field of a head whose brain is not known.

    Rougher than the correction inside the brain mask: fat and air hold N4 back. Meant to help an
    extractor that an uneven head misleads.

    Parameters
    ----------
    volume : (I, J, K) float32 array
        Head, RAS axes, arbitrary units.
    affine : (4, 4) array
        Voxel indices to RAS mm.
    n_threads
        Processors that N4 may use.

    Returns
    -------
    (I, J, K) float32 array
        Head divided by the field, which has a mean logarithm of zero inside the head.

    Raises
    ------
    RuntimeError
        If N4 can't be run, or fails.
    """
    import nibabel as nb
    import numpy as np

    from mriprep.bias import lattice_around, take_out
    from mriprep.images import write_image
    from mriprep.intensity import otsu_threshold

    head = volume > otsu_threshold(volume)
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    lattice = lattice_around(head, zooms.tolist(), _SAMPLE_MM)
    grid = lattice.affine(affine)
    with tempfile.TemporaryDirectory(prefix='mriprep-n4-') as folder:
        names = {name: Path(folder) / f'{name}.nii' for name in ('head', 'mask', 'even', 'field')}
        write_image(volume[lattice.slices], grid, names['head'], dtype='float32', space_code=1)
        write_image(head[lattice.slices], grid, names['mask'], dtype='uint8', space_code=1)
        _run_n4(names, n_threads)
        samples = np.asarray(nb.load(names['field']).dataobj, dtype=np.float32)  # type: ignore[attr-defined]
    return take_out(volume, np.maximum(samples, 1e-6), lattice, head)


def _run_n4(names: dict[str, Path], n_threads: int) -> None:
    words = ['N4BiasFieldCorrection', '-d', '3', '-i', names['head'], '-x', names['mask']]
    words += ['-s', '1', '-b', '[200]', '-c', '[25x25,1e-5]']
    words += ['-o', f'[{names["even"]},{names["field"]}]']
    threads = {'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS': str(n_threads)}
    try:
        done = subprocess.run(
            [str(word) for word in words],
            env=os.environ | threads,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as exc:
        raise RuntimeError(f'N4BiasFieldCorrection can not be run ({exc}); see doctor') from exc
    if done.returncode:
        last = ' '.join((done.stderr or done.stdout).split()[-30:])
        raise RuntimeError(f'N4BiasFieldCorrection failed ({last}); look at the image')
