"""Networks that this process has loaded: each once, for all its images."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from typing import TYPE_CHECKING

from mriprep.extractors import registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mriprep.extractors.base import LoadOptions, Network

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
    if key not in _networks:
        began = time.monotonic()
        _networks[key] = registry.get(name).load(options)
        seconds = time.monotonic() - began
        logger.info(_LOADED, name, options.device, seconds, len(_networks))
    _images[key] += 1
    logger.info(_SERVES, name, _images[key], options.device)
    return _networks[key]


def forget() -> None:
    """Let go of every network."""
    _networks.clear()
    _images.clear()


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
