"""Extractors that need no weights: what tests of choosing, loading and judging share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from plans import facts

from mriprep.extractors import loaded, registry
from mriprep.extractors.base import BrainMap, ExtractorError, NoBrainError


@dataclass
class Threshold:
    """What is brighter than half the maximum is brain."""

    name: str = 'bright'
    wrong: str | None = None  # why it can't run
    declared: dict = field(default_factory=dict)
    loads: list = field(default_factory=list)
    threads: list = field(default_factory=list)

    @property
    def facts(self):
        return facts(self.name, **({'package': 'mriprep'} | self.declared))

    def problem(self, weights_dir=None):
        return self.wrong

    def checksum(self, weights_dir=None):
        return 'c0ffee'

    def load(self, options):
        if self.wrong:
            raise ExtractorError(self.wrong)
        self.loads.append(options)

        def network(volume, affine, *, n_threads):
            self.threads.append(n_threads)
            if volume.max() <= 0:
                raise NoBrainError('no brain was found')
            values = (volume > volume.max() / 2).astype(np.float32)
            return BrainMap(values=0.9 * values, device=options.device)

        return network


def install(monkeypatch, *extractors):
    """Let the registry hold these extractors alone, none of them loaded."""
    by_name = {extractor.name: extractor for extractor in extractors}

    def get(name):
        if name not in by_name:
            raise ExtractorError(f'extractor {name!r} is not installed')
        return by_name[name]

    monkeypatch.setattr(registry, 'names', lambda: tuple(by_name))
    monkeypatch.setattr(registry, 'get', get)
    monkeypatch.setattr(loaded, '_networks', {})
    monkeypatch.setattr(loaded, '_images', type(loaded._images)())
