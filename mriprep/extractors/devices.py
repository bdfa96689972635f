"""Where a network computes, and what is done when a GPU's memory is too small for an image."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mriprep.extractors.base import ExtractorError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger('nipype.interface')

Result = TypeVar('Result')
Tile = tuple[int, ...]

CPU = 'cpu'
# what torch, cuDNN, cuBLAS and Apple's MPS say, in lower case
_FULL = ('out of memory', 'alloc_failed', "can't allocate memory", 'not enough memory')


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way to compute an image."""

    device: str  # 'cpu', 'cuda:N' or 'mps'
    tile: Tile | None = None  # voxels that go through the network at once; None: all
    mirror: bool = False  # whether mirrored images are averaged


def torch_device(name: str) -> torch.device:
    """Return a device that is there.

    Raises
    ------
    ExtractorError
        If this machine, or this torch, lacks it.
    """
    import torch

    device = torch.device(name)
    match device.type:
        case 'cuda':
            there = torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
        case 'mps':
            there = torch.backends.mps.is_available()
        case other:
            there = other == CPU
    if not there:
        raise ExtractorError(
            f'torch finds no device {name} here; choose --device cpu, or look at `mriprep doctor`'
        )
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory is full."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _FULL)


def release(device: torch.device) -> None:
    """Give memory back that torch keeps on a device but doesn't use."""
    import torch

    if device.type == 'cuda':
        torch.cuda.empty_cache()
    elif device.type == 'mps':
        torch.mps.empty_cache()


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch use a number of processors; afterwards as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def smaller_tiles(tile: Tile, multiples: Tile) -> list[Tile]:
    """Tiles to try when one doesn't fit, each about half of the one before.

    The longest axis is halved first, and none twice: a network that sees much less around a
    voxel than it was trained with finds something else.

    Parameters
    ----------
    tile
        Voxels along each axis that the network was trained with.
    multiples
        What the length of each axis must be a multiple of.

    Examples
    --------
    >>> smaller_tiles((128, 160, 112), (32, 32, 16))
    [(128, 96, 112), (64, 96, 112), (64, 96, 64)]
    """
    found = []
    current = list(tile)
    for axis in sorted(range(len(tile)), key=lambda axis: -tile[axis]):
        multiple = multiples[axis]
        half = -(-tile[axis] // (2 * multiple)) * multiple
        if half < tile[axis]:
            current[axis] = half
            found.append(tuple(current))
    return found


def first_that_fits(
    compute: Callable[[Attempt], Result], attempts: Sequence[Attempt], name: str
) -> tuple[Result, Attempt, tuple[str, ...]]:
    """Compute in the first way for which memory suffices.

    Parameters
    ----------
    compute
        Computes an image; memory that it took must be free once it has raised.
    attempts
        Ways to do it, as asked for first.
    name
        Of the extractor, for the log.

    Returns
    -------
    result, attempt, remarks
        What was computed, how, and a sentence if that is not the first way.

    Raises
    ------
    ExtractorError
        If memory suffices for none.
    """
    for number, attempt in enumerate(attempts):
        try:
            result = compute(attempt)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if number + 1 == len(attempts):
                raise ExtractorError(
                    f'{name}: the memory of {attempt.device} is too small for this image; '
                    'give the job more memory, or choose another extractor'
                ) from error
        else:
            remarks = () if number == 0 else (_remark(attempts[0], attempts[number - 1], attempt),)
            for remark in remarks:
                logger.warning('%s: %s', name, remark)
            return result, attempt, remarks
        # past the handler, so that the error holds no tensors any more
        logger.info('%s: the memory of %s is full (%s)', name, attempt.device, _size(attempt))
        release(torch_device(attempt.device))
    raise ValueError('there is nothing to attempt')


def _size(attempt: Attempt) -> str:
    if attempt.tile is None:
        return 'the whole image'
    return f'tiles of {" x ".join(map(str, attempt.tile))} voxels'


def _remark(first: Attempt, failed: Attempt, done: Attempt) -> str:
    """Say in a sentence what was done otherwise than asked, and why."""
    if done.device == first.device:
        return (
            f'The memory of {first.device} was too small for {_size(first)}, so {_size(done)} '
            'were used, which let the network see less around each voxel.'
        )
    plain = ', without averaging over mirrored images' if first.mirror and not done.mirror else ''
    return (
        f'The memory of {failed.device} was too small even for {_size(failed)}, so the brain was '
        f'found on the {done.device.upper()}{plain}.'
    )
