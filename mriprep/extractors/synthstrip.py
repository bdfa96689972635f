"""Brain extraction with SynthStrip, through the network of the NiPreps.

Hoopes et al. (2022), NeuroImage, doi:10.1016/j.neuroimage.2022.119474.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriprep.extractors.base import BrainMap, ExtractorError, Facts, MapKind, NoBrainError
from mriprep.extractors.checkpoints import read_checkpoint
from mriprep.extractors.devices import CPU, Attempt, first_that_fits, torch_device, torch_threads
from mriprep.weights import Weights, WeightsError, checksum, find, verify

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mriprep.extractors.base import LoadOptions

WEIGHTS = Weights(
    name='synthstrip',
    url='https://surfer.nmr.mgh.harvard.edu/docs/synthstrip/requirements/synthstrip.1.pt',
    files=('synthstrip.1.pt',),
    sha256='37417f802196186441aae3e7f385d94f8a98c64a88acaeaa2723af995c653e33',
    licence='FreeSurfer',
)

BORDER_MM = 1  # brain reaches so far beyond the distance of zero, as SynthStrip does by default
FAR_MM = 100.0  # distance where the network saw nothing
BLOCK, SHORTEST, LONGEST = 64, 192, 320  # mm; lengths of the network's field of view


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The grid that the network sees: 1 mm, axes to the left, inferior and anterior.

    Its axes are those of the image, which it follows when the image is oblique.
    """

    shape: tuple[int, int, int]
    matrix: NDArray[np.float64]  # (3, 3); index of a voxel of the image: matrix @ index + offset
    offset: NDArray[np.float64]
    cuts_mm: float  # what doesn't fit, along the axis where most doesn't; 0: all fits


def field_of(volume: NDArray[np.float32], affine: NDArray[np.float64]) -> Field:
    """Lay the network's grid around what isn't zero in an image.

    Parameters
    ----------
    volume : (I, J, K) array
        Head, RAS axes.
    affine : (4, 4) array
        Voxel indices to RAS mm.

    Raises
    ------
    NoBrainError
        If the image is zero everywhere.
    """
    import numpy as np

    low, high = np.empty(3), np.empty(3)
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        used = np.flatnonzero(np.any(volume, axis=others))
        if used.size == 0:
            raise NoBrainError('the image is zero everywhere; look at it, is it a head?')
        low[axis], high[axis] = used[0], used[-1]
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    order, signs = [0, 2, 1], (-1, -1, 1)  # left, inferior, anterior of right, anterior, superior
    extent = ((high - low + 1) * zooms)[order]
    lengths = np.clip(np.ceil(extent / BLOCK - 1e-3) * BLOCK, SHORTEST, LONGEST).astype(int)
    # whole millimetres on either side, so that images of 1 mm are not interpolated
    margin = np.rint((lengths - extent) / 2)
    matrix, offset = np.zeros((3, 3)), np.zeros(3)
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        edge = high[axis] + 0.5 if sign < 0 else low[axis] - 0.5
        matrix[axis, column] = sign / zooms[axis]
        offset[axis] = edge - (margin[column] - 0.5) * matrix[axis, column]
    cuts = max(0.0, float((extent - lengths).max()))
    left, inferior, anterior = (int(length) for length in lengths)
    return Field(shape=(left, inferior, anterior), matrix=matrix, offset=offset, cuts_mm=cuts)


def to_field(volume: NDArray[np.float32], field: Field) -> NDArray[np.float32]:
    """Bring an image onto the network's grid, linearly, and its intensities to 0 to 1.

    Raises
    ------
    NoBrainError
        If all intensities are the same.
    """
    import numpy as np
    from scipy import ndimage

    lowest = float(volume.min())
    seen: NDArray[np.float32] = ndimage.affine_transform(
        volume, field.matrix, field.offset, field.shape, np.float32, order=1, cval=lowest
    )
    seen -= lowest
    bright = float(np.percentile(seen, 99)) or float(seen.max())
    if bright == 0:
        raise NoBrainError('the image is the same everywhere; look at it, is it a head?')
    np.clip(seen / bright, 0, 1, out=seen)
    return seen


def from_field(
    distance: NDArray[np.float32], field: Field, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Bring distances (mm) back onto the grid of the image, linearly; far where there are none."""
    import numpy as np
    from scipy import ndimage

    inverse = np.linalg.inv(field.matrix)
    found: NDArray[np.float32] = ndimage.affine_transform(
        distance, inverse, -inverse @ field.offset, shape, np.float32, order=1, cval=FAR_MM
    )
    return found


@dataclass(frozen=True, slots=True)
class SynthStrip:
    """SynthStrip: a network trained with synthetic images, for any contrast and age."""

    facts: Facts = Facts(
        name='synthstrip',
        title='SynthStrip',
        package='nipreps-synthstrip',
        citations=('hoopes2022',),
        licence='FreeSurfer',
        contrasts=('T1w', 'T2w', 'FLAIR', 'PDw', 'T2starw'),
        ages_years=(0, 100),
        memory_gb=8,
        gpu_memory_gb=8,
        seconds=135,
        gpu_seconds=5,
        gives=MapKind.MASK,
    )

    @property
    def weights(self) -> Weights:
        """What ``mriprep fetch`` gets."""
        return WEIGHTS

    def problem(self, weights_dir: Path | None = None) -> str | None:
        """Say why it can't run here."""
        try:
            absent = importlib.util.find_spec('nipreps.synthstrip') is None
        except ModuleNotFoundError:
            absent = True
        if absent:
            return 'nipreps-synthstrip is not installed; pip install "mriprep[synthstrip]"'
        if find(WEIGHTS, weights_dir) is None:
            return 'the weights of SynthStrip are not here; run `mriprep fetch synthstrip`'
        return None

    def checksum(self, weights_dir: Path | None = None) -> str:
        """SHA-256 of the weights."""
        return checksum(WEIGHTS, weights_dir)

    def load(self, options: LoadOptions) -> SynthStripNetwork:
        """Load the network."""
        folder = find(WEIGHTS, options.weights_dir)
        if (words := self.problem(options.weights_dir)) is not None or folder is None:
            raise ExtractorError(words)
        try:
            verify(WEIGHTS, options.weights_dir)
        except WeightsError as error:
            raise ExtractorError(str(error)) from error
        return load_network(folder / WEIGHTS.files[0], options.device)


def load_network(path: Path, device: str) -> SynthStripNetwork:
    """Load SynthStrip's network from its file of weights.

    Raises
    ------
    ExtractorError
        If the file holds anything else, or the device is absent.
    """
    from nipreps.synthstrip.model import StripModel

    torch_device(device)
    weights = read_checkpoint(path, 'model_state_dict')['model_state_dict']
    model = StripModel()
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ExtractorError(
            f'{path}: its weights are not those of SynthStrip; fetch them again'
        ) from error
    return SynthStripNetwork(model.eval(), device)


class SynthStripNetwork:
    """The loaded network; see `mriprep.extractors.base.Network`.

    Parameters
    ----------
    model
        Gives the distance to the border of the brain in mm, negative inside.
    device
        Where it computes while memory suffices.
    """

    def __init__(self, model: Any, device: str) -> None:
        self._model = model
        self._attempts = [Attempt(device=name) for name in dict.fromkeys((device, CPU))]

    def __call__(
        self, volume: NDArray[np.float32], affine: NDArray[np.float64], *, n_threads: int
    ) -> BrainMap:
        """Find the brain; see `mriprep.extractors.base.Network`."""
        import numpy as np

        field = field_of(volume, affine)
        seen = to_field(volume, field)
        with torch_threads(n_threads):
            distance, done, remarks = first_that_fits(
                lambda attempt: self._distance(seen, attempt), self._attempts, 'synthstrip'
            )
        inside = from_field(distance, field, volume.shape) < BORDER_MM
        if not inside.any():
            raise NoBrainError('no brain was found in the image; look at it, is it a head?')
        if field.cuts_mm >= 1:
            cut = f'so {field.cuts_mm:.0f} mm of the image at its edges were left out'
            remarks = (*remarks, f'SynthStrip sees {LONGEST} mm at most, {cut}.')
        return BrainMap(values=inside.astype(np.float32), device=done.device, remarks=remarks)

    def _distance(self, seen: NDArray[np.float32], attempt: Attempt) -> NDArray[np.float32]:
        """Send the conformed image through the network; distances in mm on the same grid."""
        import torch

        device = torch_device(attempt.device)
        model = self._model.to(device)
        with torch.inference_mode():
            found = model(torch.from_numpy(seen)[None, None].to(device))
        distance: NDArray[np.float32] = found.float().cpu().numpy()[0, 0]
        return distance


EXTRACTOR = SynthStrip()
