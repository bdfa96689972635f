"""What can run on this machine: the registry, the weights and the devices, looked at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from mriprep.extractors import registry
from mriprep.extractors.base import ExtractorError, Facts
from mriprep.extractors.choice import Candidate, Extraction, choose
from mriprep.settings import BrainSettings


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


def fetch_missing(
    settings: BrainSettings, weights_dir: Path | None, *, say: Callable[[str], None]
) -> None:
    """Fetch the weights of extractors that are asked for by name and lack nothing else.

    Raises
    ------
    WeightsError
        If they can't be had.
    """
    from mriprep.weights import fetch, find

    for name in (settings.extractor, settings.second):
        if name not in registry.names():
            continue
        extractor = registry.get(name)
        weights = getattr(extractor, 'weights', None)
        if weights is None or find(weights, weights_dir) is not None:
            continue
        if not installed(extractor.facts):
            continue  # the choice tells that the package is missing
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
    settings: BrainSettings, devices: Sequence[str], weights_dir: Path | None = None
) -> Extraction:
    """Choose among what can run on this machine; see `mriprep.extractors.choice.choose`."""
    for name in (settings.extractor, settings.second):
        if name in registry.names():
            registry.get(name)  # tells why one that is asked for can't be imported
    return choose(settings, candidates(weights_dir), devices)
