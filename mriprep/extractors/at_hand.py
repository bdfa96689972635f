"""What can run on this machine: the registry, the weights and the devices, looked at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mriprep.extractors import registry
from mriprep.extractors.base import ExtractorError, Facts
from mriprep.extractors.choice import Candidate, Extraction, choose
from mriprep.settings import BrainSettings

if TYPE_CHECKING:
    from mriprep.extractors.base import Extractor


def candidates(weights_dir: Path | None = None) -> dict[str, Candidate]:
    """Look at every extractor that is installed; those that can't be imported are left out."""
    out = {}
    for name in registry.names():
        try:
            extractor = registry.get(name)
        except ExtractorError:
            continue
        out[name] = Candidate(
            facts=extractor.facts,
            version=registry.version(name),
            problem=extractor.problem(weights_dir),
        )
    return out


def to_fetch(settings: BrainSettings, weights_dir: Path | None) -> tuple[Extractor, ...]:
    """Extractors that are asked for by name and lack nothing but their weights."""
    from mriprep.weights import find

    wanted = [name for name in (settings.extractor, settings.second) if name in registry.names()]
    extractors = [registry.get(name) for name in dict.fromkeys(wanted)]
    return tuple(
        extractor
        for extractor in extractors
        if (weights := getattr(extractor, 'weights', None)) is not None
        and installed(extractor.facts)
        and find(weights, weights_dir) is None
    )


def fetch_missing(
    settings: BrainSettings, weights_dir: Path | None, *, say: Callable[[str], None]
) -> None:
    """Fetch the weights of what `to_fetch` names.

    Raises
    ------
    WeightsError
        If they can't be had.
    """
    from mriprep.weights import fetch

    for extractor in to_fetch(settings, weights_dir):
        weights = extractor.weights  # type: ignore[attr-defined]
        say(f'fetching the weights of {extractor.facts.title} (licence: {weights.licence})')
        fetch(weights, weights_dir)


def installed(facts: Facts) -> bool:
    """Whether the package of an extractor is here."""
    try:
        metadata.version(facts.package)
    except metadata.PackageNotFoundError:
        return False
    return True


def choose_here(
    settings: BrainSettings,
    devices: Sequence[str],
    weights_dir: Path | None = None,
    *,
    mem_gb: float = math.inf,
    will_fetch: bool = False,
) -> Extraction:
    """Choose among what can run on this machine; see `mriprep.extractors.choice.choose`.

    With ``will_fetch``, weights that `fetch_missing` would get count as here.
    """
    for name in (settings.extractor, settings.second):
        if name in registry.names():
            registry.get(name)  # tells why one that is asked for can't be imported
    found = candidates(weights_dir)
    if will_fetch:
        for extractor in to_fetch(settings, weights_dir):
            name = extractor.facts.name
            found[name] = replace(found[name], problem=None)
    return choose(settings, found, devices, mem_gb)
