"""Templates: where their files come from, and on which grid their outputs are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mriprep.extractors.base import AtlasFiles
from mriprep.files import written_whole
from mriprep.settings import EMBEDDED_SPACE, Space

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

TISSUES = ('GM', 'WM', 'CSF')
EMBEDDED_CITATION = 'Fonov et al. (2011), NeuroImage 54:313, doi:10.1016/j.neuroimage.2010.07.033'

_NILEARN_FILE = 'mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz'
_NILEARN_SCALE = 255  # the maps in the wheel are uint8 with this as one
_DERIVATION = b'1'  # raise it when the files that `EmbeddedSource` derives change
_NILEARN_KINDS = ('t1', 'gm', 'wm')
_EMBEDDED_SIZES = ('1', '2', 'native')


class TemplateError(ValueError):
    """A template that can't be used; the message says which files, where and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The voxels of an image: how many, and where they lie."""

    affine: tuple[tuple[float, ...], ...]  # 4x4, voxel indices to RAS mm
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, affine: ArrayLike, shape: Sequence[int]) -> Grid:
        """Build a grid from a 4x4 affine (RAS mm) and a shape of three or more axes."""
        import numpy as np

        rows = tuple(tuple(float(value) for value in row) for row in np.asarray(affine))
        return cls(affine=rows, shape=(int(shape[0]), int(shape[1]), int(shape[2])))

    @classmethod
    def of_file(cls, path: Path) -> Grid:
        """Read the grid from the header of a NIfTI file."""
        import nibabel as nb

        image: Any = nb.load(path)
        return cls.of(image.affine, image.shape)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as a (4, 4) array, voxel indices to RAS mm."""
        import numpy as np

        return np.array(self.affine)

    @property
    def voxel_size_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each axis."""
        i, j, k = (float(size) for size in (self.matrix[:3, :3] ** 2).sum(0) ** 0.5)
        return i, j, k


def grid_for(
    template_affine: ArrayLike, template_shape: Sequence[int], voxel_size_mm: Sequence[float]
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Cover a template's field of view with voxels of another size, as niworkflows does.

    Parameters
    ----------
    template_affine : (4, 4) float array
        Voxel indices of the template to RAS mm.
    template_shape : three int
        Voxels of the template along each axis.
    voxel_size_mm : three float
        Wanted size along right, anterior and superior; micrometres below 1 are rounded away, so
        that headers that differ by rounding give one grid.

    Returns
    -------
    affine : (4, 4) float array
        Voxel indices to RAS mm; axes point right, anterior, superior, and the first voxel is
        centred where the template's field of view begins.
    shape : three int
        Enough voxels for the last centre to reach the template's last centre.

    Raises
    ------
    ValueError
        If a voxel size is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> affine, shape = grid_for(np.eye(4), (10, 10, 4), (2, 3, 1.5))
    >>> shape
    (6, 4, 3)
    """
    import numpy as np

    size = np.round(np.asarray(voxel_size_mm, dtype=float), 3)
    if size.shape != (3,) or not (size > 0).all():
        raise ValueError(f'three positive voxel sizes are needed, got {voxel_size_mm}')
    matrix = np.asarray(template_affine, dtype=float)
    last = np.asarray(template_shape[:3]) - 1
    corners = np.indices((2, 2, 2)).reshape(3, -1) * last[:, None]
    points = matrix[:3, :3] @ corners + matrix[:3, 3:]
    low, high = points.min(1), points.max(1)
    # a hair is taken off so that 9.000000001 intervals do not become ten
    i, j, k = (int(n) + 1 for n in np.ceil((high - low) / size - 1e-6))
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = low
    return affine, (i, j, k)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One template: what is registered to, and the grid that outputs are written on.

    ``t1w``, ``brain_mask`` and ``tissue`` share ``target_grid``; registration uses them whatever
    the resolution of the outputs is.
    """

    space: Space
    t1w: Path
    brain_mask: Path
    target_grid: Grid
    target_resolution: str | None  # TemplateFlow's index of `target_grid`; None where it has none
    reference: Path | None  # image on the output grid; None for ``res-native``
    reference_grid: Grid | None
    resolution: str | None  # value of the entity ``res-`` of the outputs; None: leave it out
    stripped: bool  # whether `t1w` shows the brain alone
    tissue: Mapping[str, Path] = field(default_factory=dict, hash=False)  # probabilities, 0 to 1
    source: str
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)  # file name to checksum

    def output_grid(self, voxel_size_mm: Sequence[float]) -> Grid:
        """Grid of the outputs for an input whose voxels, in RAS order, have this size.

        The size matters for ``res-native`` alone.
        """
        if self.reference_grid is not None:
            return self.reference_grid
        return Grid.of(*grid_for(self.target_grid.matrix, self.target_grid.shape, voxel_size_mm))


class TemplateSource(Protocol):
    """Where templates come from."""

    def find(self, space: Space) -> Template:
        """Return the template of a space, or raise `TemplateError`."""

    def fetch(self, space: Space) -> list[Path]:
        """Put the files of a space on this disk and return them, or raise `TemplateError`."""


def find_template(space: Space, cache: Path, offline: bool = False) -> Template:
    """Find a template: the embedded one if the space is its own, else TemplateFlow's.

    Parameters
    ----------
    space : Space
        A template space; ``T1w`` has no template.
    cache : Path
        Folder for the files derived from the embedded template.
    offline : bool
        Whether the network is out of bounds.

    Raises
    ------
    TemplateError
        If the template is unknown, or its files are missing and can't be had.
    """
    return source_of(space, cache, offline).find(space)


def source_of(space: Space, cache: Path, offline: bool = False) -> TemplateSource:
    """Choose where the files of a space come from; see `find_template`."""
    if space.is_native:
        raise TemplateError(f'output space {space} is the image itself and has no template')
    if space.name == EMBEDDED_SPACE.name:
        return EmbeddedSource(cache)
    # imported here because that module builds on this one
    from mriprep.template_flow import TemplateFlowSource

    return TemplateFlowSource(offline=offline)


@dataclass(frozen=True, slots=True)
class EmbeddedSource:
    """``MNI152NLin2009aSym``, 1 mm and 2 mm, from the files in nilearn's wheel.

    The wheel holds a stripped T1w and two tissue maps. The mask, the CSF map and the 2 mm grid
    are derived from them once for each `cache` folder.
    """

    cache: Path

    def find(self, space: Space) -> Template:
        """Return the template, deriving its files first where they are not yet."""
        resolution = resolution_index(space.resolution or '1')
        if space.name != EMBEDDED_SPACE.name or space.cohort or resolution not in _EMBEDDED_SIZES:
            raise TemplateError(
                f'output space {space} is not embedded; {EMBEDDED_SPACE.name} has no cohorts and '
                'the resolutions res-1, res-2 and res-native'
            )
        files = self._derive()
        target = Grid.of_file(files['T1w'])
        native = resolution == 'native'
        reference = None if native else files['T1w' if resolution == '1' else 'T1w2']
        tissue = {name: files[name] for name in TISSUES}
        used = {files['T1w'], files['mask'], *tissue.values(), *([reference] if reference else [])}
        return Template(
            space=space,
            t1w=files['T1w'],
            brain_mask=files['mask'],
            target_grid=target,
            target_resolution='1',
            reference=reference,
            reference_grid=Grid.of_file(reference) if reference else None,
            resolution=None if native else resolution,
            stripped=True,
            tissue=tissue,
            source=f'nilearn {version_of("nilearn")}',
            sha256={path.name: _sha256(path) for path in sorted(used)},
        )

    def fetch(self, space: Space) -> list[Path]:
        """Derive the files of the template; no network is needed."""
        template = self.find(space)
        return [template.t1w, template.brain_mask, *template.tissue.values()]

    def _derive(self) -> dict[str, Path]:
        """Return the derived files by kind, writing those that are not there."""
        import hashlib

        sources = {kind: _nilearn_folder() / _NILEARN_FILE.format(kind) for kind in _NILEARN_KINDS}
        if absent := [str(path) for path in sources.values() if not path.is_file()]:
            raise TemplateError(
                f'the embedded template lacks {", ".join(absent)}; '
                'reinstall nilearn (pip install --force-reinstall nilearn)'
            )
        key = hashlib.sha256(_DERIVATION + b''.join(p.read_bytes() for p in sources.values()))
        stem = f'tpl-{EMBEDDED_SPACE.name}'
        folder = self.cache / f'{stem}_{key.hexdigest()[:12]}'
        names = {
            'T1w': f'{stem}_res-01_desc-brain_T1w.nii',
            'mask': f'{stem}_res-01_desc-brain_mask.nii',
            'T1w2': f'{stem}_res-02_desc-brain_T1w.nii',
            **{tissue: f'{stem}_res-01_label-{tissue}_probseg.nii' for tissue in TISSUES},
        }
        files = {kind: folder / name for kind, name in names.items()}
        if not all(path.is_file() for path in files.values()):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _write_embedded(sources, files)
            except OSError as error:
                raise TemplateError(
                    f'the embedded template cannot be written to {folder} '
                    f'({error.strerror or error}); choose a folder that is writable'
                ) from error
        return files


def embedded_atlas(cache: Path) -> AtlasFiles:
    """Files of the embedded template that masks are compared with.

    Raises
    ------
    TemplateError
        If they are missing, or ``cache`` can't be written.
    """
    template = EmbeddedSource(cache).find(EMBEDDED_SPACE)
    return AtlasFiles(
        t1w=template.t1w,
        brain_mask=template.brain_mask,
        gm=template.tissue['GM'],
        wm=template.tissue['WM'],
        csf=template.tissue['CSF'],
    )


def embedded_arrays(
    t1: NDArray[np.uint8], gm: NDArray[np.uint8], wm: NDArray[np.uint8]
) -> dict[str, NDArray[np.uint8]]:
    """Derive the brain mask, three tissue maps and a 2 mm T1w from what nilearn ships.

    Parameters
    ----------
    t1, gm, wm : (I, J, K) uint8 array
        Stripped T1w, and probabilities of grey and white matter where 255 is one.

    Returns
    -------
    dict
        ``T1w`` and ``mask`` (0, 1) as they are; ``GM``, ``WM``, ``CSF`` (255 is one) that add up
        to one inside the mask and are zero outside; ``T1w2`` of every other voxel, smoothed.
    """
    import numpy as np
    from scipy import ndimage as ndi

    mask = t1 > 0  # the supplier's own mask: its darkest voxel inside has 28 of 255
    gm, wm = np.where(mask, gm, 0), np.where(mask, wm, 0)
    rest = _NILEARN_SCALE - gm.astype(np.int16) - wm
    csf = np.where(mask, np.clip(rest, 0, _NILEARN_SCALE), 0).astype(np.uint8)
    smooth = ndi.gaussian_filter(t1.astype(np.float32), 0.8)
    coarse = np.where(mask, np.round(smooth), 0)[::2, ::2, ::2].astype(np.uint8)
    return {
        'T1w': t1, 'mask': mask.astype(np.uint8), 'GM': gm, 'WM': wm, 'CSF': csf, 'T1w2': coarse
    }  # fmt: skip


def _write_embedded(sources: Mapping[str, Path], files: Mapping[str, Path]) -> None:
    import nibabel as nb
    import numpy as np

    images: dict[str, Any] = {kind: nb.load(path) for kind, path in sources.items()}
    arrays = {kind: np.asarray(image.dataobj) for kind, image in images.items()}
    affine = images['t1'].affine
    nifti: Any = nb.Nifti1Image  # nibabel's methods carry no types
    derived = embedded_arrays(arrays['t1'], arrays['gm'], arrays['wm'])
    for kind, path in files.items():
        grid = affine @ np.diag([2, 2, 2, 1]) if kind == 'T1w2' else affine
        image = nifti(derived[kind], grid)
        image.set_qform(grid, code=4)
        image.set_sform(grid, code=4)
        image.header.set_xyzt_units('mm')
        if kind in TISSUES:
            # nibabel leaves the voxels alone when the header has a slope: uint8 with a scale
            # takes a quarter of the bytes of float32
            image.header.set_slope_inter(1 / _NILEARN_SCALE, 0)
        with written_whole(path) as beside:
            beside.write_bytes(image.to_bytes())


def _nilearn_folder() -> Path:
    """Folder of nilearn's data, found without importing nilearn (which takes a second)."""
    from importlib.util import find_spec

    spec = find_spec('nilearn')
    if spec is None or spec.origin is None:
        raise TemplateError('nilearn, which holds the embedded template, is not installed')
    return Path(spec.origin).parent / 'datasets' / 'data'


def version_of(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return '(unknown version)'


def resolution_index(resolution: str) -> str:
    """Write a resolution index without leading zeros.

    >>> resolution_index('01'), resolution_index('native')
    ('1', 'native')
    """
    return str(int(resolution)) if resolution.isdecimal() else resolution


def _sha256(path: Path) -> str:
    import hashlib

    with path.open('rb') as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest()
