"""A whole head around a template's brain: CSF, skull, scalp, eyes, face, neck and a marker.

Crude as anatomy, true enough as contrast that brain extraction made for real heads works on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MARKER = 520.0  # a fish-oil capsule outshines everything else, in every contrast
_MARKER_RADIUS_MM = 6.0
_CHIN_MM = -135.0  # where the head model ends below


@dataclass(frozen=True, slots=True, kw_only=True)
class Tissues:
    """Brightness of each tissue in one contrast, arbitrary units."""

    grey: float
    white: float
    csf: float
    bone: float
    marrow: float
    fat: float
    muscle: float
    skin: float
    vitreous: float
    cord: float


T1W = Tissues(
    grey=165.0,
    white=225.0,
    csf=45.0,
    bone=18.0,
    marrow=110.0,
    fat=255.0,
    muscle=105.0,
    skin=130.0,
    vitreous=35.0,
    cord=200.0,
)
CE_T1W = replace(T1W, skin=190.0, muscle=130.0)  # what blood reaches, and no barrier keeps out
T2W = Tissues(
    grey=140.0,
    white=95.0,
    csf=300.0,
    bone=12.0,
    marrow=80.0,
    fat=170.0,
    muscle=45.0,
    skin=70.0,
    vitreous=310.0,
    cord=100.0,
)
FLAIR = replace(T2W, grey=170.0, white=130.0, csf=30.0, vitreous=35.0, cord=130.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """A whole head in template space.

    ``volume`` and ``brain_mask`` are (I, J, K) arrays on the grid of ``affine`` (voxel indices to
    RAS mm); ``marker_mm`` is the centre of a bright capsule on the left scalp.
    """

    volume: NDArray[np.float32]
    brain_mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    marker_mm: tuple[float, float, float]


def sharp_brain(
    gm: NDArray[np.floating[Any]],
    wm: NDArray[np.floating[Any]],
    csf: NDArray[np.floating[Any]],
    tissues: Tissues = T1W,
) -> NDArray[np.float32]:
    """Make a brain as crisp as one person's from the tissue maps of many.

    An averaged brain fades toward its rim. Bias field correction can't tell that from shading,
    and takes it out.

    Parameters
    ----------
    gm, wm, csf : (I, J, K) float array
        Probabilities of the tissues; all zero outside the brain.
    tissues : Tissues
        The contrast.

    Returns
    -------
    (I, J, K) float32 array
        Zero outside the brain.
    """
    import numpy as np

    # the fourth power makes the likeliest tissue win, and leaves borders a partial volume
    weights = [np.asarray(tissue, np.float32) ** 4 for tissue in (gm, wm, csf)]
    total = np.maximum(sum(weights), np.float32(1e-6))
    levels = (tissues.grey, tissues.white, tissues.csf)
    brain = sum(level * weight for level, weight in zip(levels, weights, strict=True)) / total
    return np.asarray(brain, np.float32)


def whole_head(
    brain: NDArray[np.floating[Any]],
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    tissues: Tissues = T1W,
) -> Head:
    """Put a brain into a head: CSF, skull, scalp, eyes, face, neck and a capsule on the left.

    Parameters
    ----------
    brain : (I, J, K) array
        Stripped head, in the units of `tissues`.
    mask : (I, J, K) bool array
        The brain.
    affine : (4, 4) array
        Voxel indices to RAS mm; isotropic voxels, axes right, anterior, superior, origin between
        the hemispheres.
    tissues : Tissues
        The contrast.

    Returns
    -------
    Head
        On the same grid, continued downward to the neck.
    """
    import numpy as np
    from scipy import ndimage as ndi

    size = float(affine[0, 0])
    below = max(0, round((affine[2, 3] - _CHIN_MM) / size))
    pad = ((0, 0), (0, 0), (below, 0))
    brain, mask = np.pad(brain, pad), np.pad(mask, pad)
    affine = affine.copy()
    affine[2, 3] -= below * size
    # the shells are smooth, so that half the resolution does
    step = 2 if size < 2 else 1
    x, y, z = _axes_mm(affine, mask.shape, step)
    outside, marker = _surroundings(mask[::step, ::step, ::step], size * step, x, y, z, tissues)
    if step > 1:
        outside = _upsample(outside, mask.shape)
    inside = ndi.gaussian_filter(mask.astype(np.float32), 0.5 / size)
    filled = np.where(mask, brain, tissues.csf)
    volume = (inside * filled + (1 - inside) * outside).astype(np.float32)
    x, y, z = _axes_mm(affine, mask.shape, 1)
    capsule = _ball(x, y, z, marker, _MARKER_RADIUS_MM)
    edge = np.clip((_MARKER_RADIUS_MM - capsule) / size + 0.5, 0, 1)
    volume += (edge * (_MARKER - volume)).astype(np.float32)
    return Head(volume=volume, brain_mask=mask, affine=affine, marker_mm=marker)


def _axes_mm(
    affine: NDArray[np.float64], shape: tuple[int, ...], step: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Open grid of RAS mm of every `step`-th voxel, for a diagonal affine."""
    import numpy as np

    x, y, z = np.ogrid[: shape[0] : step, : shape[1] : step, : shape[2] : step]
    (a, b, c), (d, e, f) = np.diag(affine)[:3], affine[:3, 3]
    return tuple(v.astype(np.float32) for v in (a * x + d, b * y + e, c * z + f))


def _ball(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    z: NDArray[np.float32],
    centre: tuple[float, float, float],
    radii: float | tuple[float, float, float],
) -> NDArray[np.float32]:
    """Distance from a centre in mm, or, for three radii, relative to the ellipsoid's surface."""
    import numpy as np

    a, b, c = (1.0, 1.0, 1.0) if isinstance(radii, float) else radii
    p, q, r = centre
    return np.asarray(np.sqrt(((x - p) / a) ** 2 + ((y - q) / b) ** 2 + ((z - r) / c) ** 2))


def _surroundings(
    mask: NDArray[np.bool_],
    size: float,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    z: NDArray[np.float32],
    tissues: Tissues,
) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Paint everything but the brain, outermost first; also find the place of the capsule.

    Returns
    -------
    volume : (I, J, K) float32 array
    marker : three float
        RAS mm of a point in the left scalp.
    """
    import numpy as np
    from scipy import ndimage as ndi

    depth = ndi.distance_transform_edt(~mask, sampling=size).astype(np.float32)
    volume = np.zeros(mask.shape, np.float32)
    neck = _ball(x, y, 0 * z, (0, -38, 0), (58.0, 62.0, 1.0))
    neck = np.where(z < -35, neck, 9)
    face = _ball(x, y, z, (0, 38, -62), (62.0, 58.0, 72.0))
    for shape, skin in ((neck, 0.97), (face, 0.97), (depth / 15.5, 0.9)):
        volume[(shape < 1) & (volume == 0)] = tissues.skin
        volume[shape < skin] = tissues.fat
    texture = np.random.default_rng(0).standard_normal(mask.shape, dtype=np.float32)
    texture = ndi.gaussian_filter(texture, 4 / size)
    muscle = tissues.muscle * (1 + 0.25 * texture / texture.std())
    deep = (np.minimum(neck, face) < 0.88) & ((depth > 9) | (z < -60))
    volume[deep] = muscle[deep]
    for side in (-1, 1):
        eye = _ball(x, y, z, (33.0 * side, 70.0, -34.0), 1.0)
        volume[eye < 19] = tissues.fat
        volume[eye < 12.5] = tissues.skin
        volume[eye < 11] = tissues.vitreous
    airway = _ball(x, y, z, (0, 68, -58), (13.0, 30.0, 18.0))
    volume[airway < 1] = 0
    bone, marrow = tissues.bone, tissues.marrow
    for reach, tissue in ((9, bone), (6.5, marrow), (4.5, bone), (2.5, tissues.csf)):
        volume[depth < reach] = tissue
    _paint_spine(volume, mask, x, y, z, tissues)
    volume = ndi.gaussian_filter(volume, 0.6)
    level = int(np.argmin(np.abs(z - 20)))
    row = int(np.argmin(np.abs(y + 20)))
    left = np.flatnonzero(depth[:, row, level] < 13)[0]
    return volume, (float(x.ravel()[left]), float(y.ravel()[row]), float(z.ravel()[level]))


def _paint_spine(
    volume: NDArray[np.float32],
    mask: NDArray[np.bool_],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    z: NDArray[np.float32],
    tissues: Tissues,
) -> None:
    """Continue the brain stem as a cord in its canal, in front of it the vertebrae; in place."""
    import numpy as np

    lowest = int(np.flatnonzero(mask.any((0, 1)))[0])
    rows = y.ravel()[mask[:, :, lowest].any(0)]
    stem = float(rows.mean())
    below = np.broadcast_to(z < z.ravel()[lowest], mask.shape)
    disc = np.abs((z + 300) % 22 - 11) > 9
    body = _ball(x, y, 0 * z, (0, stem + 22, 0), 1.0)
    canal = _ball(x, y, 0 * z, (0, stem, 0), 1.0)
    for where, tissue in (
        (body < 14, tissues.bone),
        ((body < 12) & ~disc, tissues.marrow),
        (canal < 13, tissues.bone),
        (canal < 10, tissues.csf),
        (canal < 6, tissues.cord),
    ):
        volume[below & where] = tissue


def _upsample(volume: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate a volume that holds every second voxel back to a full grid."""
    import numpy as np

    for axis, n in enumerate(shape):
        coarse = np.moveaxis(volume, axis, 0)
        fine = np.empty((2 * len(coarse), *coarse.shape[1:]), np.float32)
        fine[::2] = coarse
        fine[1:-1:2] = (coarse[:-1] + coarse[1:]) / 2
        fine[-1] = coarse[-1]
        volume = np.moveaxis(fine[:n], 0, axis)
    return volume
