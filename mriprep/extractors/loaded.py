"""Networks that this process has loaded: each once, for all its images."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from typing import TYPE_CHECKING

from mriprep.extractors import registry
from mriprep.extractors.base import LoadOptions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mriprep.extractors.base import AtlasFiles, Facts, Network

logger = logging.getLogger('nipype.interface')

_networks: dict[tuple[str, LoadOptions], Network] = {}
_images: Counter[tuple[str, LoadOptions]] = Counter()

_LOADED = 'extractor %s: loaded on %s in %.1f s (load %d of this worker)'
_SERVES = 'extractor %s: image %d of this worker on %s'


def network(name: str, options: LoadOptions) -> Network:
    """Return the network of an extractor, loading it when this process has not done so yet.

    Two lines in the log let loads and images be counted, see `count_loads`.

    Raises
    ------
    ExtractorError
        If the extractor is unknown or can't run here.
    """
    key = (name, options)
    load_ahead(name, options)
    _images[key] += 1
    logger.info(_SERVES, name, _images[key], options.device)
    return _networks[key]


def load_ahead(name: str, options: LoadOptions) -> None:
    """Load a network before there is an image for it; see `network`."""
    key = (name, options)
    if key not in _networks:
        began = time.monotonic()
        _networks[key] = registry.get(name).load(options)
        seconds = time.monotonic() - began
        logger.info(_LOADED, name, options.device, seconds, len(_networks))


def warm(name: str, options: LoadOptions) -> None:
    """Load what the first image needs: the network, and the atlas that its mask is judged by."""
    from mriprep.atlas import load_atlas

    load_ahead(name, options)
    if options.atlas is not None:
        load_atlas(options.atlas)


def load_options(
    facts: Facts, device: str, *, augment: bool, weights_dir: Path | None, atlas: AtlasFiles
) -> LoadOptions:
    """Say what a network is loaded with; ``device`` as `mriprep.gpus.resolve_device` takes it."""
    from mriprep.gpus import resolve_device

    return LoadOptions(
        device='cpu' if facts.gpu_memory_gb is None else resolve_device(device)[0],
        test_time_augmentation=facts.augments and augment,
        weights_dir=weights_dir,
        atlas=atlas,
    )


def count_loads(log: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Count in a run's log how often each network was loaded, and how many images it served.

    Examples
    --------
    >>> count_loads([
    ...     'INFO extractor deepbet: loaded on cpu in 0.4 s (load 1 of this worker)',
    ...     'INFO extractor deepbet: image 1 of this worker on cpu',
    ...     'INFO extractor deepbet: image 2 of this worker on cpu',
    ... ])
    {'deepbet on cpu': (1, 2)}
    """
    loads: Counter[str] = Counter()
    images: Counter[str] = Counter()
    for line in log:
        if found := re.search(r'extractor (\S+): loaded on (\S+) in ', line):
            loads[f'{found[1]} on {found[2]}'] += 1
        elif found := re.search(r'extractor (\S+): image \d+ of this worker on (\S+)', line):
            images[f'{found[1]} on {found[2]}'] += 1
    return {name: (loads[name], images[name]) for name in sorted({*loads, *images})}
