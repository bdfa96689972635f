"""Look at what networks need: extractors and their weights, torch, GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mriprep.findings import Finding, State, Topic, install

if TYPE_CHECKING:
    from mriprep.extractors.base import Extractor
    from mriprep.weights import Weights

EMBEDDED = 'deepbet'  # the extractor that a run with default settings needs


def weights() -> Finding:
    """Look at the weights of the brain extraction, against the checksums of their wheel."""
    from mriprep.extractors.deepbet import WEIGHTS, weights_checksum, weights_folder

    try:
        folder = weights_folder()
        damaged = [name for name in WEIGHTS if not _as_installed('deepbet', folder / name)]
    except ModuleNotFoundError:
        folder, damaged = Path(), list(WEIGHTS)
    return Finding(
        topic=Topic.DATA,
        name='weights of deepbet',
        state=State.MISSING if damaged else State.OK,
        value=f'missing or damaged: {", ".join(damaged)}'
        if damaged
        else f'sha256 {weights_checksum()}',
        origin='' if folder == Path() else str(folder),
        remedy=f'{install("deepbet")} --force-reinstall --no-deps' if damaged else '',
    )


def _as_installed(package: str, path: Path) -> bool:
    """Whether a file's checksum is the one that its package was installed with."""
    import base64
    import hashlib

    if not path.is_file():
        return False
    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest())
    for entry in metadata.files(package) or ():
        if entry.name == path.name and entry.hash is not None:
            return entry.hash.value == digest.decode().rstrip('=')
    return True  # installed by something that keeps no record


def extractors() -> Iterator[Finding]:
    """Look at each extractor that is registered, but for the one that mriprep comes with."""
    from mriprep.extractors.base import ExtractorError
    from mriprep.extractors.registry import get, names

    for name in names():
        if name == EMBEDDED:
            continue
        try:
            yield extractor(name, get(name))
        except ExtractorError as error:
            yield Finding(topic=Topic.DATA, name=name, state=State.NOTE, value=str(error))


def extractor(name: str, found: Extractor) -> Finding:
    """Look at an extractor: its package, its weights, whether they are what was fetched."""
    from mriprep.extractors.at_hand import installed
    from mriprep.weights import WeightsError, find, verify

    weights: Weights | None = getattr(found, 'weights', None)
    facts = found.facts
    licence = facts.licence
    values, remedies, place = [facts.title], [], None
    problem = found.problem()
    if not installed(facts):
        values.append(f'{facts.package} is not installed')
        remedies.append(install(_requirement(name, facts.package)))
    if weights is not None:
        licence = weights.licence or licence
        place = find(weights)
        try:
            values.append(f'sha256 {verify(weights)}')
        except (WeightsError, OSError) as error:
            values.append(str(error) if place else 'its weights are not here')
            remedies.append(f'mriprep fetch {name}')
    if problem is not None and not remedies:
        values.append(problem)
    elif licence:
        values.append(f'licence {licence}')
    return Finding(
        topic=Topic.DATA,
        name=name,
        state=State.NOTE if problem or remedies else State.OK,
        value='; '.join(values),
        origin=str(place or ''),
        remedy=' && '.join(remedies),
    )


def _requirement(name: str, package: str) -> str:
    """Return what pip is asked for: the extra of mriprep if there is one of that name."""
    extras = metadata.metadata('mriprep').get_all('Provides-Extra') or ()
    return f'mriprep[{name}]' if name in extras else package


def automatic() -> Finding:
    """Say which extractor a run with default settings takes here, and why."""
    from mriprep.extractors.at_hand import choose_here
    from mriprep.extractors.base import ExtractorError
    from mriprep.gpus import resolve_device
    from mriprep.settings import BrainSettings

    try:
        found = choose_here(BrainSettings(), resolve_device('auto'))
    except ExtractorError as error:
        words, _, remedy = str(error).partition('; ')
        return Finding(
            topic=Topic.DATA,
            name='extractor of a run',
            state=State.MISSING,
            value=words,
            remedy=remedy,
        )
    second = f'; in doubt {found.second.name}' if found.second else ''
    return Finding(
        topic=Topic.DATA,
        name='extractor of a run',
        state=State.OK,
        value=f'{found.first.name}, since {found.reason}{second}',
    )


def torch() -> Finding:
    """Look at the build of torch, without importing it."""
    from mriprep.gpus import torch_build

    build = torch_build()
    if build is None:
        return Finding(
            topic=Topic.MACHINE,
            name='build of torch',
            state=State.MISSING,
            value='torch is not there',
            remedy=f'{install("torch")} --force-reinstall',
        )
    return Finding(
        topic=Topic.MACHINE,
        name='build of torch',
        state=State.OK,
        value=f'for CUDA {build.cuda}' if build.cuda else 'for processors, without CUDA',
        origin=f'torch {build.version}',
    )


def gpu() -> Finding:
    """Look for a GPU that torch can use."""
    from mriprep.gpus import cuda_problem, driver, has_mps

    found = driver()
    problem = cuda_problem()
    if problem is None:
        state, value = State.OK, '; '.join(map(str, found.gpus))
    elif has_mps():
        state, value = State.OK, 'mps: the GPU of this Apple processor'
    elif found.gpus or found.problem:
        state, value = State.NOTE, problem
    else:
        state, value = State.NOTE, 'none, and not needed'
    origin = f'driver for CUDA up to {found.cuda}' if found.cuda else ''
    return Finding(topic=Topic.MACHINE, name='GPU', state=state, value=value, origin=origin)
