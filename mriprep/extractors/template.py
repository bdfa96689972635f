"""Brain extraction by laying a template's brain over the head: no weights, no network, no torch.

The second opinion on the masks of networks, since nothing was learned: what confuses a network
need not confuse it, and the other way round. Its mask is as smooth as the template's, and does not
follow sulci, atrophy or lesions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriprep.extractors.base import (
    BrainMap,
    ExtractorError,
    Facts,
    LoadOptions,
    MapKind,
    NoBrainError,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mriprep.extractors.base import AtlasFiles
    from mriprep.extractors.head_alignment import LabelledPoints

LEAST_SCORE = 0.12  # nats; right answers have 0.18 and more on the shared scans
_LOOK = 'look at it, is it a head?'


@dataclass(frozen=True, slots=True)
class TemplateExtractor:
    """The extractor that needs nothing but a template."""

    facts: Facts = Facts(
        name='template',
        title='template-based brain extraction',
        package='mriprep',
        citations=('fonov2011', 'wells1996'),
        licence='Apache-2.0; the template is free to use with the notice of the ICBM 152 templates',
        contrasts=('T1w', 'T2w', 'FLAIR', 'PDw'),
        ages_years=(4.5, 100),
        memory_gb=0.6,
        gpu_memory_gb=None,
        seconds=2,
        gives=MapKind.MASK,
        from_template=True,
    )

    def problem(self, weights_dir: Path | None = None) -> str | None:
        """None: it runs wherever mriprep does."""
        return None

    def checksum(self, weights_dir: Path | None = None) -> None:
        """None: it has no weights."""

    def load(self, options: LoadOptions) -> TemplateNetwork:
        """Read the template.

        Raises
        ------
        ExtractorError
            If no template is given, or its files can't be read.
        """
        if options.atlas is None:
            raise ExtractorError(
                'the template-based extractor got no template; give one (LoadOptions.atlas)'
            )
        return _read(options.atlas)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TemplateNetwork:
    """A template that is ready to be laid over heads."""

    mask: NDArray[np.float32]  # (I, J, K), 0 to 1
    affine: NDArray[np.float64]  # (4, 4), voxel indices to template RAS mm
    points: LabelledPoints

    def __call__(
        self, volume: NDArray[np.float32], affine: NDArray[np.float64], *, n_threads: int
    ) -> BrainMap:
        """Find the brain; see `mriprep.extractors.base.Network`. One thread is all it uses."""
        import numpy as np

        from mriprep.extractors.head_alignment import align, coarse_head

        head = coarse_head(volume, affine)
        if head is None:
            raise NoBrainError(
                f'nothing in the image is as bright and as large as a head; {_LOOK}'
            )
        found = align(self.points, head)
        if found.score < LEAST_SCORE:
            raise NoBrainError(
                'no place in the image looks like the brain of a template '
                f'(mutual information {found.score:.2f}, not {LEAST_SCORE} or more); {_LOOK}'
            )
        values = bring_mask(self.mask, self.affine, found.matrix, volume.shape, affine)
        if not values.any():
            raise NoBrainError(f'the template comes to lie outside of the image; {_LOOK}')
        return BrainMap(values=np.asarray(values, np.float32), device='cpu')


def bring_mask(
    mask: NDArray[np.float32],
    mask_affine: NDArray[np.float64],
    matrix: NDArray[np.float64],
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Bring a mask onto the grid of an image.

    Parameters
    ----------
    mask : (I, J, K) float array
        0 to 1, interpolated linearly and cut at one half.
    mask_affine : (4, 4) array
        Its voxel indices to mm.
    matrix : (4, 4) array
        From mm of the mask to mm of the image.
    shape : three int
        Voxels of the image.
    affine : (4, 4) array
        Its voxel indices to mm.

    Returns
    -------
    ``shape`` bool array
    """
    import numpy as np
    from scipy import ndimage

    to_image = np.linalg.inv(affine) @ matrix @ mask_affine
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(mask.shape) - 1)
    reached = corners @ to_image[:3, :3].T + to_image[:3, 3]
    low = np.clip(np.floor(reached.min(axis=0)).astype(int), 0, shape)
    high = np.clip(np.ceil(reached.max(axis=0)).astype(int) + 1, 0, shape)
    out = np.zeros(shape, bool)
    if (high > low).all():
        back = np.linalg.inv(to_image)
        back[:3, 3] += back[:3, :3] @ low
        part = ndimage.affine_transform(mask, back, output_shape=tuple(high - low), order=1)
        out[tuple(slice(*pair) for pair in zip(low, high, strict=True))] = part > 0.5
    return out


def _read(atlas: AtlasFiles) -> TemplateNetwork:
    import numpy as np

    from mriprep.extractors.head_alignment import labelled_points
    from mriprep.images import ImageError, load, same_grid
    from mriprep.masks import bounding_box

    paths = (atlas.brain_mask, atlas.gm, atlas.wm, atlas.csf)
    try:
        images: list[Any] = [load(path) for path in paths]
        for image in images[1:]:
            same_grid(images[0], image)
    except ImageError as exc:
        raise ExtractorError(f'the template can not be used: {exc}') from exc
    mask, gm, wm, csf = (image.get_fdata(dtype=np.float32) for image in images)
    affine = np.asarray(images[0].affine, float)
    points = labelled_points(mask, gm, wm, csf, affine)
    box = bounding_box(mask > 0, 1)
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    return TemplateNetwork(mask=np.ascontiguousarray(mask[box]), affine=affine, points=points)


EXTRACTOR = TemplateExtractor()
