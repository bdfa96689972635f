"""What a brain looks like: a template's mask and tissue on a coarse grid, to compare masks with."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from mriprep.extractors.base import AtlasFiles

_MARGIN_MM = 27.0  # around the brain, so that what protrudes lies on the grid as well
_SMOOTHING_MM = (
    2.0  # of the tissue maps: an affine fit leaves the gyri of two heads this far apart
)
_STEM_MM = ((-20.0, 20.0), (-60.0, -5.0), (-200.0, -48.0))  # along R, A, S


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Atlas:
    """A template's brain, on one coarse grid.

    Attributes
    ----------
    affine : (4, 4) float array
        Voxel indices to template RAS mm; the mid-sagittal plane is at 0.
    mask : (I, J, K) float32 array
        Share of each voxel that is brain, 0 to 1.
    distance : (I, J, K) float32 array
        Distance to the surface of the brain in mm; negative inside.
    tissue : (3, I, J, K) float32 array
        Smoothed probabilities of grey matter, white matter and fluid, 0 to 1.
    surface : (N, 3) float64 array
        Points on the surface of the brain, template RAS mm.
    volume_ml : float
        Of the brain mask at full resolution.
    """

    affine: NDArray[np.float64]
    mask: NDArray[np.float32]
    distance: NDArray[np.float32]
    tissue: NDArray[np.float32]
    surface: NDArray[np.float64]
    volume_ml: float

    @property
    def stem(self) -> NDArray[np.bool_]:
        """Where the brain stem leaves, and where masks end at any height; (I, J, K)."""
        import numpy as np

        within = []
        for axis, (low, high) in enumerate(_STEM_MM):
            index = np.arange(self.mask.shape[axis])
            along = index * self.affine[axis, axis] + self.affine[axis, 3]
            within.append((along > low) & (along < high))
        return np.asarray(within[0][:, None, None] & within[1][:, None] & within[2])

    def tissue_at(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tissue probabilities (N, 3) at points (N, 3) in template RAS mm; zero off the grid."""
        import numpy as np
        from scipy import ndimage

        inverse = np.linalg.inv(self.affine)
        index = points_mm @ inverse[:3, :3].T + inverse[:3, 3]
        return np.stack(
            [ndimage.map_coordinates(kind, index.T, order=1) for kind in self.tissue], 1
        )


@functools.cache
def load_atlas(files: AtlasFiles, voxel_mm: float = 3.0) -> Atlas:
    """Read a template once in the life of a process.

    Parameters
    ----------
    files : AtlasFiles
        NIfTI files on one grid, axes in RAS order and parallel to the template's.
    voxel_mm : float
        Wanted size of the coarse voxels; whole numbers of the template's are joined.

    Raises
    ------
    mriprep.images.ImageError
        If a file can't be read, or the grids differ.
    """
    import numpy as np

    from mriprep.images import load, load_mask_on

    image: Any = load(files.t1w)
    mask = load_mask_on(image, files.brain_mask)
    maps = np.stack([_values(image, path) for path in (files.gm, files.wm, files.csf)])
    return make_atlas(mask, maps, np.asarray(image.affine, np.float64), voxel_mm)


def make_atlas(
    mask: NDArray[np.bool_],
    tissue: NDArray[np.floating],
    affine: NDArray[np.float64],
    voxel_mm: float = 3.0,
) -> Atlas:
    """Build an atlas from arrays; see `load_atlas`.

    Parameters
    ----------
    mask : (I, J, K) bool array
        Brain of the template.
    tissue : (3, I, J, K) float array
        Probabilities of grey matter, white matter and fluid, 0 to 1.
    affine : (4, 4) array
        Voxel indices to template RAS mm.
    voxel_mm : float
        Wanted size of the coarse voxels.
    """
    import numpy as np
    from scipy import ndimage

    from mriprep.masks import bounding_box
    from mriprep.shape import blocks, signed_distance, surface_points

    coarse = blocks(mask, affine, bounding_box(mask), target_mm=voxel_mm, margin_mm=_MARGIN_MM)
    maps = np.stack([coarse.averaged(kind) for kind in tissue])
    sigma = (0.0, *(_SMOOTHING_MM / coarse.spacing_mm))
    return Atlas(
        affine=coarse.affine,
        mask=coarse.share,
        distance=signed_distance(coarse.share, coarse.spacing_mm),
        tissue=ndimage.gaussian_filter(maps, sigma),
        surface=surface_points(coarse).points_mm,
        volume_ml=float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000),
    )


def _values(image: Any, path: Path) -> NDArray[np.float32]:
    import numpy as np

    from mriprep.images import load, same_grid

    other: Any = load(path)
    same_grid(image, other)
    return np.asarray(other.get_fdata(dtype=np.float32))
