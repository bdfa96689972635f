"""The first bytes of a NIfTI or FreeSurfer (MGH) file, read without most of its voxels and without nibabel.

A dataset has thousands of images, so that the inventory can only afford a few hundred bytes
of each. Orientation is judged later, by `mriprep.geometry`, where the voxels are read too.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from mriprep.issues import Severity

_LONGEST = 540  # bytes of a NIfTI-2 header; one of NIfTI-1 has 348
_CHUNK = 4096
_SNIFFED = 65_536  # bytes looked at, at most; extensions of a header take some
_FLAT_VOXELS = 4096  # the first rows; a brain in a tight box is not met before
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown, metre, millimetre, micrometre
_ZOOM_LIMITS_MM = (0.05, 30.0)
_SCALAR_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8}
_MGH_VERSION = b'\0\0\0\1'  # the first bytes of a file
_MGH_OFFSET = 284  # bytes: the header of an MGH file
_MGH_TYPES = {0: 2, 1: 8, 3: 16, 4: 4, 10: 512}  # MGH code to NIfTI code
_TYPE_NAMES = {
    1: 'single bits',
    32: 'complex numbers',
    128: 'RGB colours',
    1536: '128-bit floats',
    1792: 'complex numbers',
    2048: 'complex numbers',
    2304: 'RGBA colours',
}
_COPY_AGAIN = 'copy the file again or convert it again from DICOM'


class HeaderError(ValueError):
    """A file whose header can't be read; `problem` and `remedy` are plain words."""

    def __init__(self, problem: str, remedy: str = _COPY_AGAIN) -> None:
        super().__init__(f'{problem}; {remedy}')
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class BriefHeader:
    """What a header says about the grid."""

    shape: tuple[int, ...]
    zooms_mm: tuple[float, ...]  # of the spatial axes
    datatype: int  # NIfTI code
    missing_bytes: int = 0  # by which an uncompressed file is too short
    flat_start: bool = False  # the first voxels hold one value, as outside a stripped brain


def read_header(path: Path) -> BriefHeader:
    """Read the header of a NIfTI or MGH file; format and compression are told from its bytes.

    Raises
    ------
    HeaderError
        If there is no file, or no such header in it.
    """
    try:
        with path.open('rb') as stream:
            start = stream.read(_CHUNK)
            compressed = start[:2] == b'\x1f\x8b'
            block = _inflate(start, stream) if compressed else start + stream.read(_SNIFFED)
            size = path.stat().st_size
    except FileNotFoundError:
        if path.is_symlink():
            raise HeaderError(
                'a link to a file that is not there', 'get its content, e.g. with "datalad get"'
            ) from None
        raise HeaderError(
            'there is no such file', 'make the --bids-database-dir database anew'
        ) from None
    except OSError as error:
        raise HeaderError(
            f'can not be read ({error.strerror or error})', 'check its permissions and the disk'
        ) from error
    if not size:
        raise HeaderError('the file is empty (0 bytes)')
    header, offset = _parse(block)
    voxel_bytes = _SCALAR_BYTES.get(header.datatype, 0)
    end = offset + math.prod(max(n, 0) for n in header.shape) * voxel_bytes
    return replace(
        header,
        missing_bytes=0 if compressed else max(0, end - size),
        flat_start=_flat(block[offset:], voxel_bytes),
    )


def header_findings(header: BriefHeader) -> list[tuple[Severity, str, str]]:
    """Judge a header as that of one 3D scan: severity, problem and remedy of each finding."""
    found = []
    shape = header.shape
    text = ' x '.join(map(str, shape))
    if any(n < 1 for n in shape):
        found.append((Severity.ERROR, f'the image is empty ({text} voxels)', _COPY_AGAIN))
    elif math.prod(shape[3:]) > 1:
        found.append((
            Severity.ERROR,
            f'a series of {math.prod(shape[3:])} volumes ({text}), not one 3D scan',
            'leave one volume in the file, or take it out of the dataset',
        ))  # fmt: skip
    elif len(shape) < 3 or min(shape[:3]) == 1:
        found.append((
            Severity.ERROR,
            f'a 2D image ({text}), not a 3D scan',
            'give a 3D scan, or exclude this file with --bids-filter-file',
        ))  # fmt: skip
    elif len(shape) > 3:
        found.append((Severity.NOTE, f'4D with a single volume ({text}): taken as 3D', ''))
    if not all(map(_plausible, header.zooms_mm)):
        sizes = ' x '.join(f'{zoom:g}' for zoom in header.zooms_mm)
        found.append((
            Severity.ERROR,
            f'voxels of {sizes} mm can not be right',
            'convert the scan again from DICOM, or correct the voxel size in the header',
        ))  # fmt: skip
    if header.datatype not in _SCALAR_BYTES:
        kind = _TYPE_NAMES.get(header.datatype, f'data type {header.datatype}')
        found.append((
            Severity.ERROR,
            f'voxels hold {kind}, not one real number each',
            'store magnitudes as integers or floats',
        ))  # fmt: skip
    if header.missing_bytes:
        found.append((
            Severity.ERROR,
            f'the file is truncated: {header.missing_bytes} bytes of its voxels are missing',
            _COPY_AGAIN,
        ))  # fmt: skip
    return found


def _plausible(zoom_mm: float) -> bool:
    low, high = _ZOOM_LIMITS_MM
    return low <= zoom_mm <= high  # never true of NaN


def _flat(voxels: bytes, voxel_bytes: int) -> bool:
    """Whether the first voxels hold one value, as far as they were read."""
    count = min(len(voxels) // voxel_bytes, _FLAT_VOXELS) if voxel_bytes else 0
    return count > 0 and voxels[: count * voxel_bytes] == voxels[:voxel_bytes] * count


def _inflate(start: bytes, stream: BinaryIO) -> bytes:
    """Decompress the first bytes of a gzip stream, and what else was read along with them."""
    inflater, block, chunk = zlib.decompressobj(wbits=31), b'', start
    try:
        while chunk and len(block) < _LONGEST and not inflater.eof:
            block += inflater.decompress(chunk, _LONGEST - len(block))
            chunk = stream.read(_CHUNK)
    except zlib.error as error:
        raise HeaderError('the gzip compression is damaged') from error
    try:
        return block + inflater.decompress(inflater.unconsumed_tail, _SNIFFED)
    except zlib.error:
        return block  # the header is whole; damage to voxels is told where they are read


def _parse(block: bytes) -> tuple[BriefHeader, int]:
    """Interpret header bytes; also where the voxels begin, in bytes."""
    if block[:4] == _MGH_VERSION:
        return _parse_mgh(block)
    for order in '<>':
        size = struct.unpack_from(f'{order}i', block.ljust(4, b'\0'))[0]
        if size == 348 and len(block) >= 348 and block[344:348] == b'n+1\0':
            dim = struct.unpack_from(f'{order}8h', block, 40)
            datatype, _ = struct.unpack_from(f'{order}2h', block, 70)
            pixdim = struct.unpack_from(f'{order}8f', block, 76)
            offset = int(struct.unpack_from(f'{order}f', block, 108)[0])
            unit = block[123] & 0x07
            break
        if size == 540 and len(block) >= 540 and block[4:8] == b'n+2\0':
            datatype, _ = struct.unpack_from(f'{order}2h', block, 12)
            dim = struct.unpack_from(f'{order}8q', block, 16)
            pixdim = struct.unpack_from(f'{order}8d', block, 104)
            offset = struct.unpack_from(f'{order}q', block, 168)[0]
            unit = struct.unpack_from(f'{order}i', block, 500)[0] & 0x07
            break
        if size in (348, 540) and len(block) < size:
            raise HeaderError(f'the file ends within its header, after {len(block)} bytes')
    else:
        raise HeaderError('not a NIfTI file', 'convert the scan to NIfTI, e.g. with dcm2niix')
    if not 1 <= dim[0] <= 7:
        raise HeaderError(f'the header is damaged: it claims {dim[0]} dimensions')
    shape = tuple(dim[1 : dim[0] + 1])
    zooms = pixdim[1 : min(dim[0], 3) + 1]
    converted = tuple(zoom * _MM_PER_UNIT.get(unit, 1.0) for zoom in zooms)
    if all(_plausible(zoom) for zoom in converted) or not all(map(_plausible, zooms)):
        zooms = converted  # otherwise the unit can't be right, and mm is meant
    return BriefHeader(shape=shape, zooms_mm=zooms, datatype=datatype), offset


def _parse_mgh(block: bytes) -> tuple[BriefHeader, int]:
    """Interpret header bytes of a FreeSurfer volume; also where the voxels begin, in bytes."""
    if len(block) < _MGH_OFFSET:
        raise HeaderError(f'the file ends within its header, after {len(block)} bytes')
    *shape, kind = struct.unpack_from('>5i', block, 4)
    (placed,) = struct.unpack_from('>h', block, 28)
    if placed != 1:
        raise HeaderError(
            'the header does not say where the voxels lie (goodRASFlag is not 1), so left and '
            'right are unknown',
            'convert the scan again from DICOM',
        )
    header = BriefHeader(
        shape=tuple(shape if shape[3] != 1 else shape[:3]),
        zooms_mm=struct.unpack_from('>3f', block, 30),
        datatype=_MGH_TYPES.get(kind, 0),
    )
    return header, _MGH_OFFSET
