"""Voxels brought to RAS order without interpolation, and the proof that nothing moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from mriprep.audit import GeometryError, HeaderAudit, HeaderFacts, audit_header, orientation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Scalar = TypeVar('_Scalar', bound=np.generic)

_LARGEST, _SMALLEST = 1e12, 1e-12  # brightest voxel; squares and their sums must fit float32
_MOST_TOO_LARGE = 1e-3  # share of voxels
_CANDIDATES, _WITNESSES = 6000, 300  # voxels
_INDEX_TOLERANCE = 0.05  # voxels: float32 headers round


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conformed:
    """A scan in RAS order."""

    volume: NDArray[np.float32]  # (I, J, K), finite, not constant
    affine: NDArray[np.float64]  # (4, 4) voxels to mm, no shear
    audit: HeaderAudit


def conform(volume: NDArray[np.generic], facts: HeaderFacts) -> Conformed:
    """Bring a scan into RAS order, as finite float32 values, without interpolation.

    Parameters
    ----------
    volume : (I, J, K) or (I, J, K, 1, ...) array
        Voxels, with slope and intercept applied.
    facts : HeaderFacts
        Content of the header.

    Returns
    -------
    Conformed
        Its audit tells what was found and changed. NaN and infinities became 0, and so did values
        beyond 1e12, whose squares float32 can't sum up.

    Raises
    ------
    GeometryError
        If `audit_header` refuses the header, all voxels hold one value, more than one voxel of a
        thousand is beyond 1e12, or none is beyond 1e-12.
    """
    audit = audit_header(facts)
    if audit.affine is None:
        raise GeometryError(audit.refusal)
    values, n_lost, n_large = _computable(volume.reshape(volume.shape[:3]))
    changes, warnings = list(audit.changes), list(audit.warnings)
    peak = max(-float(values.min()), float(values.max()))
    scaled = f' after a slope of {facts.slope:g}' if facts.slope != 1 else ''
    remedy = 'correct the slope in the header, or convert the scan again from DICOM'
    if n_large > _MOST_TOO_LARGE * values.size:
        raise GeometryError(
            f'{_share(n_large, values.size)} hold values beyond {_LARGEST:.0e}{scaled}; {remedy}'
        )
    if n_large:
        warnings.append(f'{_share(n_large, values.size)} held values beyond {_LARGEST:.0e}')
        changes.append(f'voxels beyond {_LARGEST:.0e} were set to 0')
    if n_lost:
        warnings.append(f'{_share(n_lost, values.size)} were NaN or infinite')
        changes.append('NaN and infinite voxels were set to 0')
    if (low := values.min()) == values.max():
        raise GeometryError(
            f'all voxels hold the same value ({low:g}), so there is no image in the file; '
            'copy the file again or convert it again from DICOM'
        )
    if peak < _SMALLEST:
        raise GeometryError(f'the largest value is only {peak:.1e}{scaled}; {remedy}')
    before = orientation(audit.affine)
    ras, affine = to_ras(values, audit.affine)
    if before != 'RAS':
        changes.append(f'voxel axes were reordered from {before} to RAS, without interpolation')
    return Conformed(
        volume=ras,
        affine=affine,
        audit=replace(audit, changes=tuple(changes), warnings=tuple(warnings)),
    )


def finite(volume: NDArray[np.generic]) -> tuple[NDArray[np.float32], int]:
    """Convert to float32 and put 0 in place of NaN and infinities; also how many there were."""
    import numpy as np

    with np.errstate(over='ignore'):
        values = np.asarray(volume, dtype=np.float32)
    good = np.isfinite(values)
    n_bad = int(good.size - np.count_nonzero(good))
    return (np.where(good, values, np.float32(0)) if n_bad else values), n_bad


def _computable(volume: NDArray[np.generic]) -> tuple[NDArray[np.float32], int, int]:
    """Put 0 in place of what can't be computed with: NaN and infinities, and what is too large.

    Returns
    -------
    values : float32 array
    n_lost : int
        Voxels that were NaN or infinite.
    n_large : int
        Voxels that were finite, but too large.
    """
    import numpy as np

    values, n_bad = finite(volume)
    n_lost = n_bad and int(np.count_nonzero(~np.isfinite(volume)))
    n_large = n_bad - n_lost
    if max(-values.min(), values.max()) > _LARGEST:
        large = np.abs(values) > _LARGEST
        n_large += int(np.count_nonzero(large))
        values = np.where(large, np.float32(0), values)
    return values, n_lost, n_large


def to_ras(
    volume: NDArray[_Scalar], affine: NDArray[np.floating]
) -> tuple[NDArray[_Scalar], NDArray[np.float64]]:
    """Flip and permute voxel axes so that they point right, anterior and superior.

    Parameters
    ----------
    volume : (I, J, K) array
        Voxels.
    affine : (4, 4) array
        Voxel indices to mm.

    Returns
    -------
    volume : array
        A view of the same values in another order.
    affine : (4, 4) float64 array
        Of the view: each value keeps its place in space.
    """
    from nibabel import orientations

    nib: Any = orientations
    order = nib.io_orientation(affine)
    return nib.apply_orientation(volume, order), affine @ nib.inv_ornt_aff(order, volume.shape)


def check_places(
    before: NDArray[np.generic],
    before_affine: NDArray[np.floating],
    after: NDArray[np.generic],
    after_affine: NDArray[np.floating],
) -> None:
    """Make sure that reordering left every value where it was; left and right above all.

    A few hundred voxels are witnesses: those of a random sample, always the same, whose value
    differs most from that of their mirror images, so that a flip can't hide. Each is followed to
    mm by the first affine and from there to a voxel by the second.

    Parameters
    ----------
    before : (I, J, K) array
        Values; those that aren't finite bear no witness.
    before_affine : (4, 4) array
        Voxel indices to mm.
    after : array
        The same values in another order, float32.
    after_affine : (4, 4) array
        Voxel indices to mm.

    Raises
    ------
    GeometryError
        If a witness is not found in its place.
    """
    import numpy as np

    fault = (
        'reordering the voxels moved the image, so left and right can not be trusted; '
        'this is a fault of mriprep: report it with the header of this file'
    )
    voxels = _witnesses(before)
    path = np.linalg.inv(after_affine) @ before_affine
    places = voxels @ path[:3, :3].T + path[:3, 3]
    found = np.rint(places).astype(np.intp)
    inside = ((found >= 0) & (found < after.shape)).all()
    if before.size != after.size or not inside or np.abs(places - found).max() > _INDEX_TOLERANCE:
        raise GeometryError(fault)
    with np.errstate(over='ignore'):
        expected = before[tuple(voxels.T)].astype(np.float32)
    known = np.isfinite(expected)
    if not np.array_equal(after[tuple(found.T)][known], expected[known]):
        raise GeometryError(fault)


def _witnesses(volume: NDArray[np.generic]) -> NDArray[np.intp]:
    """Indices of voxels that differ from their mirror images across each axis; (N, 3)."""
    import numpy as np

    sample = np.random.default_rng(0).integers(0, volume.shape, (_CANDIDATES, 3))
    values = volume[tuple(sample.T)].astype(np.float64)
    contrast = np.full(len(sample), np.inf)
    for axis, size in enumerate(volume.shape):
        mirror = sample.copy()
        mirror[:, axis] = size - 1 - mirror[:, axis]
        with np.errstate(invalid='ignore'):
            contrast = np.minimum(contrast, np.abs(values - volume[tuple(mirror.T)]))
    order = np.argsort(-np.where(np.isfinite(contrast), contrast, -1), kind='stable')
    return np.asarray(sample[order[:_WITNESSES]])


def _share(part: int, whole: int) -> str:
    share = 100 * part / whole
    return f'{part} voxels ({share:.0f} %)' if share >= 10 else f'{part} voxels ({share:.2g} %)'
