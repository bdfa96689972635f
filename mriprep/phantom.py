"""Scans with known truth: mask, bias field, pose, left and right, made from a template's brain.

A *head* is a whole head in template space, T1w unless another contrast is asked for; a *phantom* is that head warped, posed, shaded and
made noisy, on a scanner's grid. Coordinates are RAS mm everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mriprep import __version__
from mriprep.files import write_json, write_text, written_whole
from mriprep.head_model import T1W, Head, Tissues, sharp_brain, whole_head
from mriprep.templates import EMBEDDED_CITATION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from mriprep.templates import Template

_CENTRE_MM = (0.0, -16.0, -12.0)  # middle of head and neck, template RAS


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """How a head is posed, deformed and scanned."""

    seed: int = 0
    axes: str = 'RAS'  # where the voxel axes point
    voxel_size_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    field_of_view_mm: tuple[float, float, float] = (192.0, 240.0, 232.0)  # along the voxel axes
    tilt_deg: tuple[float, float, float] = (4.0, -6.0, 5.0)  # head in scanner, about R, A, S
    shift_mm: tuple[float, float, float] = (3.0, -6.0, 8.0)
    scale: tuple[float, float, float] = (0.97, 1.03, 0.98)  # size of this head in template axes
    oblique_deg: tuple[float, float, float] = (3.0, 2.0, -4.0)  # grid in scanner
    warp_mm: float = 2.0  # root mean square of the nonlinear displacement in the brain
    bias: float = 0.25  # largest departure of the shading's logarithm from its mean
    noise: float = 0.02  # standard deviation of each channel over white matter brightness


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phantom:
    """One scan and its truth.

    Attributes
    ----------
    volume : (I, J, K) int16 array
        Rician brightness, arbitrary units.
    affine : (4, 4) float array
        Voxel indices to scanner RAS mm.
    brain_mask : (I, J, K) bool array
    bias : (I, J, K) float32 array
        The factor by which the scan is brighter than the head; dimensionless.
    linear : (4, 4) float array
        Template RAS mm to scanner RAS mm; the best affine fit, over the brain, of the true
        deformation.
    marker_mm, mirror_mm : three float
        Scanner RAS mm of the capsule on the left, and of the same place on the right.
    """

    volume: NDArray[np.int16]
    affine: NDArray[np.float64]
    brain_mask: NDArray[np.bool_]
    bias: NDArray[np.float32]
    linear: NDArray[np.float64]
    marker_mm: NDArray[np.float64]
    mirror_mm: NDArray[np.float64]


ISOTROPIC = Scan(seed=1)
LEFT_HANDED = Scan(
    seed=2,
    axes='LAS',
    voxel_size_mm=(1.0, 1.0, 1.3),
    tilt_deg=(-5.0, 3.0, -8.0),
    shift_mm=(-5.0, 4.0, -6.0),
    scale=(1.04, 0.97, 1.02),
    oblique_deg=(-6.0, 3.0, 2.0),
)


def make_phantom(head: Head, scan: Scan) -> Phantom:
    """Scan a head.

    Parameters
    ----------
    head : Head
        In template space.
    scan : Scan
        Pose, deformation, grid, shading and noise. Equal scans give equal phantoms; a coarser
        voxel size samples the same deformed and shaded head.

    Returns
    -------
    Phantom
    """
    import numpy as np

    rng = np.random.default_rng(scan.seed)
    affine, shape = scanner_grid(scan)
    millimetres = [
        (np.arange(n, dtype=np.float32) - (n - 1) / 2) * size
        for n, size in zip(shape, scan.voxel_size_mm, strict=True)
    ]
    index = _index(np.linalg.inv(head.affine) @ np.linalg.inv(head_pose(scan)) @ affine, shape)
    index += _warp(rng, millimetres, scan.warp_mm, head, index)
    mask = _sample(head.brain_mask.astype(np.float32), index) > 0.5
    clean = _sample(head.volume, index)
    bias = _shading(rng, millimetres, scan.bias, mask)
    sigma = np.float32(scan.noise * np.percentile(clean[mask], 90))
    real, imaginary = rng.standard_normal((2, *shape), dtype=np.float32) * sigma
    noisy = np.hypot(clean * bias + real, imaginary)
    mirror = (-head.marker_mm[0], *head.marker_mm[1:])
    return Phantom(
        volume=np.round(4 * noisy).astype(np.int16),
        affine=affine,
        brain_mask=mask,
        bias=bias,
        linear=_linear_part(index, mask, head.affine, affine),
        marker_mm=_locate(head.marker_mm, index, head.affine, affine),
        mirror_mm=_locate(mirror, index, head.affine, affine),
    )


def head_pose(scan: Scan) -> NDArray[np.float64]:
    """Return the (4, 4) matrix that takes template RAS mm to scanner RAS mm, warp aside."""
    import numpy as np

    pose = np.eye(4)
    pose[:3, :3] = _rotation(scan.tilt_deg) @ np.diag(scan.scale)
    pose[:3, 3] = scan.shift_mm
    return pose


def scanner_grid(scan: Scan) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Place the voxels of a scan so that its middle shows the middle of head and neck.

    Returns
    -------
    affine : (4, 4) float array
        Voxel indices to scanner RAS mm.
    shape : three int
    """
    import numpy as np
    from nibabel.orientations import axcodes2ornt

    size = np.array(scan.voxel_size_mm)
    shape = np.round(np.array(scan.field_of_view_mm) / size).astype(int)
    orientation = axcodes2ornt(tuple(scan.axes)).astype(int)  # type: ignore[no-untyped-call]
    axes = np.zeros((3, 3))
    axes[orientation[:, 0], range(3)] = orientation[:, 1]
    affine = np.eye(4)
    affine[:3, :3] = _rotation(scan.oblique_deg) @ axes * size
    centre = (head_pose(scan) @ [*_CENTRE_MM, 1])[:3]
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2)
    i, j, k = (int(n) for n in shape)
    return affine, (i, j, k)


def _rotation(degrees: ArrayLike) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    matrix: NDArray[np.float64] = Rotation.from_euler('xyz', degrees, degrees=True).as_matrix()
    return matrix


def _index(matrix: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Apply a 4x4 matrix to every voxel index of a grid; (3, I, J, K)."""
    import numpy as np

    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return np.stack([(a * i + b * j + c * k + d).astype(np.float32) for a, b, c, d in matrix[:3]])


def _waves(
    rng: np.random.Generator, axes: list[NDArray[np.float32]], shortest: float, longest: float
) -> NDArray[np.float32]:
    """Add up a few standing waves of random phase, wavelengths in mm; (I, J, K)."""
    import numpy as np

    parts = []
    for axis in axes:
        wavelength = rng.uniform(shortest, longest, (4, 1))
        parts.append(np.cos(2 * np.pi * (axis / wavelength + rng.uniform(0, 1, (4, 1)))))
    total: NDArray[np.float32] = np.einsum(
        'mi,mj,mk->ijk', *(part.astype(np.float32) for part in parts), optimize=True
    )
    return total


def _warp(
    rng: np.random.Generator,
    millimetres: list[NDArray[np.float32]],
    size_mm: float,
    head: Head,
    index: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Draw a smooth displacement, in voxels of the head; its affine part in the brain is zero.

    The shortest wave is long against the displacement, so that the deformation can be inverted.
    """
    import numpy as np

    warp = np.stack([_waves(rng, millimetres, 110, 220) for _ in range(3)])
    coarse = (slice(None), *(slice(None, None, max(1, n // 64)) for n in index.shape[1:]))
    brain = _sample(head.brain_mask.astype(np.float32), index[coarse]) > 0.5
    points = np.stack([*index[coarse][:, brain], np.ones(brain.sum())])
    affine_part = np.linalg.lstsq(points.T, warp[coarse][:, brain].T, rcond=None)[0].T
    warp -= _apply(affine_part, index)
    spread = np.sqrt((warp[coarse][:, brain] ** 2).sum(0).mean())
    return np.asarray(warp * (size_mm / spread / head.affine[0, 0]), np.float32)


def _apply(matrix: NDArray[np.float64], points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply the upper rows of a 4x4 matrix to (3, ...) points."""
    import numpy as np

    turned = np.tensordot(matrix[:3, :3].astype(np.float32), points, 1)
    offset: NDArray[np.float32] = matrix[:3, 3].astype(np.float32)
    return np.asarray(turned + offset.reshape(3, *[1] * (points.ndim - 1)))


def _sample(volume: NDArray[np.float32], index: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy import ndimage as ndi

    sampled: NDArray[np.float32] = ndi.map_coordinates(volume, index, order=1, output='f4')
    return sampled


def _shading(
    rng: np.random.Generator,
    millimetres: list[NDArray[np.float32]],
    amplitude: float,
    brain: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Draw a smooth factor whose logarithm has mean 0 and at most `amplitude` in the brain."""
    import numpy as np

    field = _waves(rng, millimetres, 300, 500)
    inside = field[brain]
    field = (field - inside.mean()) * (amplitude / np.abs(inside - inside.mean()).max())
    return np.asarray(np.exp(np.clip(field, -1.6 * amplitude, 1.6 * amplitude)), np.float32)


def _linear_part(
    index: NDArray[np.float32],
    brain: NDArray[np.bool_],
    head_affine: NDArray[np.float64],
    affine: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Fit the affine that best takes template RAS mm to scanner RAS mm over the brain."""
    import numpy as np

    voxels = np.argwhere(brain)[::7].T
    template = _points(head_affine, index[:, *voxels])
    scanner = _points(affine, voxels)
    matrix = np.eye(4)
    matrix[:3] = np.linalg.lstsq(template.T, scanner.T, rcond=None)[0].T[:3]
    return matrix


def _points(affine: NDArray[np.float64], voxels: NDArray[Any]) -> NDArray[np.float64]:
    """Take (3, N) voxel indices to (4, N) homogeneous RAS mm."""
    import numpy as np

    return np.asarray(affine @ np.vstack([voxels, np.ones(voxels.shape[1])]))


def _locate(
    point_mm: ArrayLike,
    index: NDArray[np.float32],
    head_affine: NDArray[np.float64],
    affine: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Find the voxel that shows a place of the head; scanner RAS mm of its centre."""
    import numpy as np

    wanted = np.linalg.inv(head_affine) @ [*np.asarray(point_mm), 1]
    distance = sum((axis - np.float32(w)) ** 2 for axis, w in zip(index, wanted, strict=False))
    voxel = np.unravel_index(int(np.argmin(distance)), index.shape[1:])
    return np.asarray((affine @ [*voxel, 1])[:3])


def load_head(template: Template, step: int = 1, tissues: Tissues = T1W) -> Head:
    """Make a head around the brain of a template.

    Parameters
    ----------
    template : Template
        Must have tissue maps, as the embedded one does.
    step : int
        Keep every `step`-th voxel, smoothed before: small heads for quick tests.
    tissues : Tissues
        The contrast, from `mriprep.head_model`.
    """
    import nibabel as nb
    import numpy as np
    from scipy import ndimage as ndi

    def read(path: Path) -> NDArray[np.float32]:
        image: Any = nb.load(path)
        return np.asarray(image.get_fdata(dtype=np.float32))

    mask = read(template.brain_mask) > 0.5
    grey, white, csf = (read(template.tissue[label]) for label in ('GM', 'WM', 'CSF'))
    brain = sharp_brain(grey, white, csf, tissues)
    brain = ndi.gaussian_filter(brain, 0.5 if step == 1 else step / 3)
    every = (slice(None, None, step),) * 3
    affine = template.target_grid.matrix @ np.diag([step, step, step, 1.0])
    return whole_head(np.where(mask, brain, 0)[every], mask[every], affine, tissues)


def image_bytes(volume: NDArray[Any], affine: NDArray[np.float64], code: int = 1) -> bytes:
    """Return a gzipped NIfTI file, the same bytes for the same image; `code` names the space."""
    import gzip

    import nibabel as nb

    nifti: Any = nb.Nifti1Image  # nibabel's methods carry no types
    image = nifti(volume, affine)
    image.set_qform(affine, code=code)
    image.set_sform(affine, code=code)
    image.header.set_xyzt_units('mm', 'sec')
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def write_bids(root: Path, phantoms: Mapping[str, Phantom]) -> list[Path]:
    """Write phantoms as a raw BIDS data set.

    Parameters
    ----------
    root : Path
        Folder of the data set; made where it is not.
    phantoms : mapping of str to Phantom
        By subject label, without ``sub-``.

    Returns
    -------
    list of Path
        The T1w images.
    """
    root.mkdir(parents=True, exist_ok=True)
    write_json(_DESCRIPTION, root / 'dataset_description.json')
    write_text(_README, root / 'README')
    rows = ''.join(f'sub-{label}\tn/a\tn/a\n' for label in phantoms)
    write_text(f'participant_id\tage\tsex\n{rows}', root / 'participants.tsv')
    write_json(_COLUMNS, root / 'participants.json')
    paths = []
    for label, phantom in phantoms.items():
        folder = root / f'sub-{label}' / 'anat'
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f'sub-{label}_T1w.nii.gz'
        with written_whole(path) as beside:
            beside.write_bytes(image_bytes(phantom.volume, phantom.affine))
        write_json(_SIDECAR, folder / f'sub-{label}_T1w.json')
        paths.append(path)
    return paths


_DESCRIPTION = {
    'Name': 'mriprep phantoms: heads with known truth',
    'BIDSVersion': '1.10.0',
    'DatasetType': 'raw',
    'License': 'that of the ICBM 152 templates: free use with their notice, Copyright (C) 1993-2009 '
    'Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University',
    'Authors': ['The mriprep developers'],
    'Acknowledgements': 'Brains after the ICBM 2009a nonlinear symmetric template',
    'HowToAcknowledge': f'Cite {EMBEDDED_CITATION}',
    'ReferencesAndLinks': ['https://doi.org/10.1016/j.neuroimage.2010.07.033'],
    'GeneratedBy': [{'Name': 'mriprep demo', 'Version': __version__}],
}
_README = """\
Phantoms
========
No person was scanned: `mriprep demo` made these T1w heads from the ICBM 2009a template, and knows
the brain mask, the bias field, the pose and the side of the capsule on each scalp (left).
"""
_COLUMNS = {
    'age': {'Description': 'Age; phantoms have none', 'Units': 'year'},
    'sex': {'Description': 'Sex; phantoms have none'},
}
_SIDECAR = {
    'Modality': 'MR',
    'Manufacturer': 'mriprep',
    'ManufacturersModelName': 'phantom',
    'MagneticFieldStrength': 3,
    'PulseSequenceType': 'simulated MPRAGE',
    'MRAcquisitionType': '3D',
}
