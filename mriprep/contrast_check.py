"""Whether an image shows the contrast that its file is named after.

Contrasts differ in the order of brightness of fluid, grey and white matter. The guard's fit of an
atlas' tissue maps (`mriprep.likeness`) measures both ratios in a brain mask, whatever the gain and
the shading; docs/contrast-check.md lists what real scans show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mriprep.contrasts import Contrast

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from mriprep.atlas import Atlas
    from mriprep.likeness import Fit, Tissue

_EVERYTHING = (-math.inf, math.inf)
_T1W = {'white matter': (-0.06, math.inf), 'fluid': (-math.inf, 0.2)}
# Logarithms of brightness over that of grey matter that a contrast may have. Real scans have,
# white matter: T1w 0.11 and more, T2w -0.22 and less, FLAIR -0.18 and less; fluid: T1w -0.05 (with
# agent) and less, T2w 0.47 and more, FLAIR -0.48 and less. White matter may be bright in T2w: in
# disease, and in the young.
_RANGES: dict[Contrast, dict[str, tuple[float, float]]] = {
    Contrast.T1W: _T1W,
    Contrast.CE_T1W: _T1W,
    Contrast.T2W: {'white matter': _EVERYTHING, 'fluid': (0.2, math.inf)},
    Contrast.FLAIR: {'white matter': (-math.inf, 0.02), 'fluid': (-math.inf, 0.2)},
    Contrast.PDW: {'white matter': (-math.inf, 0.02), 'fluid': (-0.2, math.inf)},
}
_LEAST_SHARE = 0.02  # of the contrast that tissue explains; below it the guard refuses the mask
_ALIKE = 0.1  # logarithm of a ratio that people hardly see
_LEAST_LOW = 0.1  # of the darkest tissue, over the range of brightness
_INFANT_YEARS = 1.0  # until then white matter is darker than grey in T1w and brighter in T2w
_TODDLER_YEARS = 3.0  # until then T2w and FLAIR keep some of that
_INFANT_SCALE, _TODDLER_SCALE = 1.45, 1.33  # of the fit of brains of 620 and 800 ml


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What an image shows of the contrast between tissues.

    Contrasts are logarithms of a tissue's intensity over that of grey matter; errors are standard
    errors, from the difference between halves of the brain.
    """

    white_contrast: float
    white_error: float
    fluid_contrast: float
    fluid_error: float
    share: float  # of the contrast in the brain that tissue explains, 0 to 1
    against: Mapping[Contrast, tuple[str, ...]]  # words for what a contrast does not explain

    @property
    def likely(self) -> tuple[Contrast, ...]:
        """What the image may be: all contrasts where it does not tell, none where it is odd."""
        return tuple(contrast for contrast in Contrast if not self.against[contrast])

    def record(self) -> dict[str, object]:
        """Describe it for JSON."""
        return {
            'white_over_grey_log': round(self.white_contrast, 3),
            'white_over_grey_error': round(self.white_error, 3),
            'fluid_over_grey_log': round(self.fluid_contrast, 3),
            'fluid_over_grey_error': round(self.fluid_error, 3),
            'tissue_share': round(self.share, 3),
            'likely': [contrast.value for contrast in self.likely],
        }


def see_contrast(
    volume: NDArray[np.floating],
    affine: NDArray[np.floating],
    mask: NDArray[np.bool_],
    atlas: Atlas,
    *,
    age_years: float | None = None,
) -> Seen:
    """Tell contrasts that an image may have from the brightness of its tissues.

    Parameters
    ----------
    volume : (I, J, K) float array
        Head, whole or stripped; RAS axes, arbitrary units, finite.
    affine : (4, 4) array
        Voxel indices to RAS mm; may be oblique.
    mask : (I, J, K) bool array
        Brain, not empty, that the guard believes: one that is misplaced gives any answer.
    atlas : Atlas
        Brain of a template; see `mriprep.atlas.load_atlas`.
    age_years : float, optional
        Of the subject; without it, a small brain is taken for that of an infant.

    Returns
    -------
    Seen

    Raises
    ------
    ValueError
        If the shapes differ, or the mask is empty.

    References
    ----------
    Barkovich et al. (1988), Radiology 166:173: brightness of grey and white matter in the first
    two years.
    """
    import numpy as np

    from mriprep import shape
    from mriprep.criteria import LEAST_POINTS
    from mriprep.likeness import Tissue, explained, fit_to_atlas
    from mriprep.masks import bounding_box

    if volume.shape != mask.shape:
        raise ValueError(f'volume {volume.shape} and mask {mask.shape} differ in shape')
    coarse = shape.blocks(mask, np.asarray(affine, np.float64), bounding_box(mask))
    surface = shape.surface_points(coarse)
    if len(surface.points_mm) < LEAST_POINTS:
        return _seen(Tissue(), toddler=True, infant=True)
    distance = shape.signed_distance(coarse.share, coarse.spacing_mm)
    fit = fit_to_atlas(coarse, distance, surface, atlas)
    means = _lifted(coarse.averaged(volume), coarse.share > 0.9)
    return _seen(
        explained(means, coarse, distance, atlas, fit),
        toddler=_younger(_TODDLER_YEARS, _TODDLER_SCALE, age_years, fit),
        infant=_younger(_INFANT_YEARS, _INFANT_SCALE, age_years, fit),
    )


def _lifted(means: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Add a constant where the darkest tissue is zero or less, as after a z-score.

    Logarithms need positive numbers; a constant changes ratios, and no order.
    """
    import numpy as np

    if not inside.any():
        return means
    low, high = np.percentile(means[inside], [5, 95])
    return means + np.float32(max(0.0, _LEAST_LOW * (high - low) - low))


def _seen(tissue: Tissue, *, toddler: bool, infant: bool) -> Seen:
    """Compare what was measured, as far as the age lets it count, with each contrast."""
    measured = {}
    if not infant and tissue.share >= _LEAST_SHARE:
        measured['fluid'] = (tissue.fluid_contrast, tissue.fluid_error)
        if not toddler:
            measured['white matter'] = (tissue.white_contrast, tissue.white_error)
    return Seen(
        white_contrast=tissue.white_contrast,
        white_error=tissue.white_error,
        fluid_contrast=tissue.fluid_contrast,
        fluid_error=tissue.fluid_error,
        share=tissue.share,
        against={contrast: _against(contrast, measured) for contrast in Contrast},
    )


def doubt(named: Contrast, seen: Seen) -> str | None:
    """Say in a sentence why an image may not be what its name says; None where it may be.

    Parameters
    ----------
    named : Contrast
        From the name of the file.
    seen : Seen
        From `see_contrast`.
    """
    if named in seen.likely or not seen.likely:
        return None
    # with agent or without makes no difference in the name that is looked for
    alike = [contrast.value for contrast in seen.likely if contrast is not Contrast.CE_T1W]
    return (
        f'The file is named {named.words}, but {" and ".join(seen.against[named])}, '
        f'as in {" or ".join(alike)}; look whether its name is right.'
    )


def _against(contrast: Contrast, measured: dict[str, tuple[float, float]]) -> tuple[str, ...]:
    """Words for each tissue whose brightness, error included, a contrast can't have."""
    words = []
    for tissue, (value, error) in measured.items():
        low, high = _RANGES[contrast][tissue]
        if value - error > high:
            words.append(f'{tissue} is brighter than grey matter')
        elif value + error < low:
            darker = 'darker than' if value < -_ALIKE else 'hardly brighter than'
            words.append(f'{tissue} is {darker} grey matter')
    return tuple(words)


def _younger(years: float, scale: float, age_years: float | None, fit: Fit) -> bool:
    """Whether a subject is younger, or, where no age is known, may be by the size of the brain."""
    return fit.scale > scale if age_years is None else age_years < years
