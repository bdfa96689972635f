"""The audit of image headers: which affine is believed, by which rules, and what is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_AGREEMENT_MM = 0.1  # between corners of the box under two affines
_SHEAR_LIMIT_MM = 2.0  # by which removing shear may move a corner
_ZOOM_AGREEMENT = 0.01  # relative
_UNIT_QUATERNION = (1e-6, 1e-3)  # by which a square may exceed 1: rounding, and what is mended
_CODES = {1: 'scanner', 2: 'aligned', 3: 'Talairach', 4: 'MNI', 5: 'another template'}
_OBLIQUE_DEGREES = 0.1
_UNIT_MM = {'mm': 1.0, 'meter': 1000.0, 'micron': 0.001, 'unknown': 1.0}
_VOXEL_LIMITS_MM = (0.05, 30.0)
_NO_SPACE = (
    'convert the scan again from DICOM, or set the qform and sform if the orientation is known'
)


class GeometryError(ValueError):
    """A scan that can't be used; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeaderFacts:
    """What a NIfTI header states."""

    shape: tuple[int, ...]
    zooms: tuple[float, ...]  # of the spatial axes, in `unit`
    qform: NDArray[np.floating] | None  # (4, 4) voxels to `unit`; None: can't be decoded
    qform_code: int
    sform: NDArray[np.floating] | None
    sform_code: int
    dtype: str = 'float32'
    slope: float = 1.0
    intercept: float = 0.0
    unit: str = 'mm'  # 'mm', 'meter', 'micron' or 'unknown'
    qfac: float = 1.0  # pixdim[0]: handedness of the qform, 1 or -1
    quaternion_square: float = 0.0  # b² + c² + d² as stored; `qform` is that of a unit one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeaderAudit:
    """What was found in a header, and what is made of it; all in words but the affine."""

    affine: NDArray[np.float64] | None  # (4, 4) voxels to mm, no shear; None when refused
    source: str | None = None  # 'sform' or 'qform': where the affine comes from
    found: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    refusal: str | None = None  # what is wrong; what to do


@dataclass(slots=True)
class _Notes:
    """Words gathered during one audit."""

    found: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def audit_header(facts: HeaderFacts) -> HeaderAudit:
    """Decide which affine of a NIfTI header is believed.

    Rules, in their order:

    1. The image is 3D, or has single volumes beyond three dimensions (squeezed); anything else is
       refused, and so are voxel sizes that are zero, negative or not finite.
    2. Lengths in metres or micrometres are converted to mm; an unknown unit is taken for mm.
       A unit that would make voxels outside 0.05 to 30 mm is taken for mm, with a warning.
    3. A form counts if its code is 1 to 5, its numbers are finite and it is invertible; a qform
       also needs a unit quaternion. One that exceeds 1 by up to 0.001 in its square is scaled to
       1, with a warning where that is more than rounding. A pixdim[0] that is neither 1 nor -1
       leaves the handedness of the qform open: the sform is used if it counts; otherwise negative
       is left-handed and all else right-handed, as the NIfTI standard has it, with a warning.
    4. Neither form counts: refused. Nothing else tells left from right.
    5. Both count and one is left-handed, the other right-handed: refused, for the same reason.
    6. The sform wins, whatever the codes, as in nibabel, FSL and SPM. If it disagrees with the
       qform by more than 0.1 mm at a corner of the box, this is a warning.
    7. But the qform is used, with a warning, where it counts and the sform is no pose of the head:
       if the sform has shear (more than 0.1 mm at a corner), or if it is aligned with something
       (code 2 to 5), the qform is the scanner's (code 1) and voxel sizes differ by over 1 %.
       Shear that no qform avoids is removed, with a warning; beyond 2 mm the image is refused.
    8. Voxel sizes that disagree by over 1 % with the affine are a warning; the affine wins.

    Parameters
    ----------
    facts : HeaderFacts
        Content of the header.

    Returns
    -------
    HeaderAudit
        With `HeaderAudit.refusal` set, and no affine, when the image can't be used.
    """
    notes = _Notes()
    try:
        scale = _check_grid(facts, notes)
        source, affine = _choose_affine(facts, scale, notes)
        affine = _without_shear(affine, facts.shape, notes)
    except GeometryError as error:
        refusal = str(error)
        return HeaderAudit(
            affine=None,
            found=tuple(notes.found),
            warnings=tuple(notes.warnings),
            refusal=refusal,
        )
    _check_zooms(affine, facts, scale, notes)
    _describe_values(facts, notes)
    return HeaderAudit(
        affine=affine,
        source=source,
        found=tuple(notes.found),
        changes=tuple(notes.changes),
        warnings=tuple(notes.warnings),
    )


def orientation(affine: NDArray[np.floating]) -> str:
    """Letters of the directions that the voxel axes point to, such as ``'LPS'``."""
    from nibabel import orientations

    codes: Any = orientations.aff2axcodes
    return ''.join(codes(affine))


def _check_grid(facts: HeaderFacts, notes: _Notes) -> float:
    """Refuse what is not one 3D scan; return the factor from header units to mm."""
    shape = ' x '.join(map(str, facts.shape))
    again = 'convert the scan again from DICOM'
    if any(n < 1 for n in facts.shape):
        raise GeometryError(f'the image is empty ({shape} voxels); {again}')
    if math.prod(facts.shape[3:]) > 1:
        raise GeometryError(
            f'a series of volumes ({shape}), not one 3D scan; leave one volume in the file'
        )
    if len(facts.shape) < 3 or min(facts.shape[:3]) == 1:
        raise GeometryError(f'a 2D image ({shape}), not a 3D scan; give a 3D scan')
    if not all(math.isfinite(zoom) and zoom > 0 for zoom in facts.zooms):
        sizes = ' x '.join(f'{zoom:g}' for zoom in facts.zooms)
        raise GeometryError(f'voxels of {sizes} mm can not be right; {again}')
    scale = _UNIT_MM.get(facts.unit, 1.0)
    low, high = _VOXEL_LIMITS_MM
    if scale != 1 and not all(low <= zoom * scale <= high for zoom in facts.zooms):
        notes.warnings.append(f'unit "{facts.unit}" can not be right: lengths were taken for mm')
        scale = 1.0
    sizes = ' x '.join(f'{zoom * scale:.3g}' for zoom in facts.zooms)
    notes.found.append(f'{shape} voxels of {sizes} mm')
    if len(facts.shape) > 3:
        which = 'the fourth dimension' if len(facts.shape) == 4 else 'each dimension above three'
        notes.changes.append(f'{which}, of a single volume, was removed')
    if facts.unit == 'unknown':
        notes.found.append('no unit of length: mm assumed')
    elif scale != 1:
        notes.changes.append(f'lengths were converted from {facts.unit} to mm')
    return scale


def _choose_affine(
    facts: HeaderFacts, scale: float, notes: _Notes
) -> tuple[str, NDArray[np.float64]]:
    """Apply rules 3 to 7 of `audit_header`, but for the removal of shear."""
    qform = _form('qform', facts.qform, facts.qform_code, scale, notes)
    sform = _form('sform', facts.sform, facts.sform_code, scale, notes)
    qform = _handed(facts, _unit(facts, qform, notes), sform, notes)
    if qform is None and sform is None:
        raise GeometryError(
            'neither qform nor sform says where the voxels lie, so left and right are unknown; '
            + _NO_SPACE
        )
    if sform is None or qform is None:
        source, affine = ('qform', qform) if sform is None else ('sform', sform)
        assert affine is not None
        return source, affine
    if _determinant(qform) * _determinant(sform) < 0:
        raise GeometryError(
            'qform and sform mirror each other (one is left-handed, the other right-handed), '
            f'so left and right are unknown; {_NO_SPACE}'
        )
    if reason := _no_pose(sform, qform, facts):
        notes.warnings.append(f'{reason}, so the qform was used')
        return 'qform', qform
    if (apart := _corner_shift(qform, sform, facts.shape)) > _AGREEMENT_MM:
        codes = ', '.join(
            f'the {name} is {_CODES[code]}'
            for name, code in (('qform', facts.qform_code), ('sform', facts.sform_code))
            if code > 1
        )
        notes.warnings.append(
            f'qform and sform disagree by {apart:.2f} mm at a corner and '
            f'{_angle_between(qform, sform):.2f} degrees{codes and f" ({codes})"}: '
            'the sform was used'
        )
        notes.changes.append('the qform was set to the sform')
    return 'sform', sform


def _no_pose(
    sform: NDArray[np.float64], qform: NDArray[np.float64], facts: HeaderFacts
) -> str | None:
    """Why an sform does not say where the head lay in the scanner; rule 7 of `audit_header`."""
    import numpy as np

    if (sheared := _corner_shift(sform, _rigid(sform, facts.shape), facts.shape)) > _AGREEMENT_MM:
        return f'the sform has shear ({sheared:.2f} mm at a corner)'
    ratio = np.linalg.norm(sform[:3, :3], axis=0) / np.linalg.norm(qform[:3, :3], axis=0)
    scaled = float(np.abs(ratio - 1).max())
    if facts.sform_code > 1 and facts.qform_code == 1 and scaled > _ZOOM_AGREEMENT:
        space = _CODES[facts.sform_code]
        return f'the sform ({space}) changes the size of the head by up to {scaled:.1%}'
    return None


def _form(
    name: str, matrix: NDArray[np.floating] | None, code: int, scale: float, notes: _Notes
) -> NDArray[np.float64] | None:
    """Affine in mm of a form that counts, otherwise None."""
    import numpy as np

    if code == 0:
        notes.found.append(f'no {name} (code 0)')
        return None
    notes.found.append(f'{name} with code {code}')
    if code not in _CODES:
        notes.warnings.append(f'{name} code {code} has no meaning, so the {name} was not used')
        return None
    if matrix is None or not np.isfinite(matrix).all() or not _determinant(matrix):
        notes.warnings.append(f'the {name} is damaged and was not used')
        return None
    affine = np.array(matrix, dtype=np.float64)
    affine[:3] *= scale
    return affine


def _unit(
    facts: HeaderFacts, qform: NDArray[np.float64] | None, notes: _Notes
) -> NDArray[np.float64] | None:
    """Take a qform away if its quaternion is not near enough to a unit one."""
    excess = facts.quaternion_square - 1
    rounding, limit = _UNIT_QUATERNION
    if qform is None or not excess > rounding:
        return qform
    if excess > limit:
        notes.warnings.append('the quaternion of the qform is no rotation: the qform was not used')
        return None
    notes.warnings.append(
        'the quaternion of the qform was longer than 1 and was scaled: its direction may be off by '
        f'{math.degrees(2 * math.sqrt(excess)):.1f} degrees'
    )
    return qform


def _handed(
    facts: HeaderFacts,
    qform: NDArray[np.float64] | None,
    sform: NDArray[np.float64] | None,
    notes: _Notes,
) -> NDArray[np.float64] | None:
    """Take a qform away if its handedness is not stated and there is an sform."""
    if qform is None or facts.qfac in (-1, 1):
        return qform
    words = f'pixdim[0] is {facts.qfac:g}, where 1 or -1 tells left from right'
    if sform is None:
        notes.warnings.append(f'{words}: taken for {-1 if facts.qfac < 0 else 1}')
        return qform
    notes.found.append(f'{words}: the qform was not used')
    return None


def _without_shear(
    affine: NDArray[np.float64], shape: tuple[int, ...], notes: _Notes
) -> NDArray[np.float64]:
    nearest = _rigid(affine, shape)
    shift = _corner_shift(affine, nearest, shape)
    if shift > _SHEAR_LIMIT_MM:
        raise GeometryError(
            f'the affine has shear ({shift:.2f} mm at a corner), so the grid is not a box; '
            'resample the scan to a rectangular grid, or convert it again from DICOM'
        )
    if shift > _AGREEMENT_MM:
        notes.warnings.append(f'the affine has shear: corners moved by up to {shift:.2f} mm')
        notes.changes.append('shear was removed from the affine')
    return nearest


def _check_zooms(
    affine: NDArray[np.float64], facts: HeaderFacts, scale: float, notes: _Notes
) -> None:
    import numpy as np

    stated = np.array(facts.zooms[:3]) * scale
    actual = np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(stated / actual - 1).max() > _ZOOM_AGREEMENT:
        sizes = [' x '.join(f'{size:.3g}' for size in sizes) for sizes in (stated, actual)]
        notes.warnings.append(
            f'the header states voxels of {sizes[0]} mm, its affine {sizes[1]} mm: '
            'the affine was used'
        )
    low, high = _VOXEL_LIMITS_MM
    if not low <= actual.min() <= actual.max() <= high:
        notes.warnings.append('voxels of this size are unusual: check the unit of the header')
    axes = np.abs(affine[:3, :3] / actual).max(axis=0)
    tilt = float(np.degrees(np.arccos(np.clip(axes, -1, 1))).max())
    pose = f'oblique by {tilt:.1f} degrees' if tilt > _OBLIQUE_DEGREES else 'not oblique'
    notes.found.append(f'axes point to {orientation(affine)}, {pose}')


def _describe_values(facts: HeaderFacts, notes: _Notes) -> None:
    notes.found.append(f'voxels stored as {facts.dtype}')
    scaled = (facts.slope, facts.intercept) != (1, 0)
    if scaled:
        notes.found.append(f'slope {facts.slope:g} and intercept {facts.intercept:g}')
    if facts.slope < 0:
        notes.warnings.append('the slope is negative: it turns dark into bright')
    if scaled or facts.dtype != 'float32':
        how = ', slope and intercept applied' if scaled else ''
        notes.changes.append(f'voxels were converted from {facts.dtype} to float32{how}')


def _determinant(affine: NDArray[np.floating]) -> float:
    import numpy as np

    return float(np.linalg.det(affine[:3, :3]))


def _rigid(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Nearest affine of orthogonal axes with the same voxel sizes and the same centre."""
    import numpy as np

    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / zooms)
    nearest = np.eye(4)
    nearest[:3, :3] = left @ right * zooms
    centre = (np.array(shape[:3]) - 1) / 2
    nearest[:3, 3] = affine[:3, 3] + (affine[:3, :3] - nearest[:3, :3]) @ centre
    return nearest


def _corner_shift(
    first: NDArray[np.float64], second: NDArray[np.float64], shape: tuple[int, ...]
) -> float:
    """Largest distance, in mm, between equal corners of a grid under two affines."""
    import numpy as np

    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape[:3]) - 1)
    apart = (first - second) @ np.c_[corners, np.ones(8)].T
    return float(np.linalg.norm(apart[:3], axis=0).max())


def _angle_between(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Angle, in degrees, of the rotation between two affines of one handedness."""
    import numpy as np

    axes = [m[:3, :3] / np.linalg.norm(m[:3, :3], axis=0) for m in (first, second)]
    cosine = (np.trace(axes[0].T @ axes[1]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
