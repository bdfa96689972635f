"""Programs that come with Python wheels, made callable: ANTs (antspyx) and dcm2niix.

The folder ``bin`` holds one small script for each ANTs program that antspyx's compiled module
carries. `activate` puts it on ``PATH``, where Nipype's and niworkflows' interfaces look; nothing
is written. ``import mriprep.tools.ants`` does the same in one line for other people's scripts.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from itertools import pairwise
from pathlib import Path

from mriprep.settings import AntsSource
from mriprep.tools.launch import LIBRARY_VARIABLE, library_in

BIN = Path(__file__).parent / 'bin'
PYTHON_VARIABLE = 'MRIPREP_PYTHON'

ANTS_PROGRAMS = tuple(sorted(path.name for path in BIN.glob('[!.]*')))
"""Every ANTs program that antspyx carries."""

ANTS_NEEDED = (
    'N4BiasFieldCorrection',
    'antsAffineInitializer',
    'antsApplyTransforms',
    'antsRegistration',
)
"""The ANTs programs without which mriprep can't work."""

_PACKAGES = (
    'antspyx',
    'torch',
    'nipype',
    'niworkflows',
    'nireports',
    'nibabel',
    'nilearn',
    'nitransforms',
    'templateflow',
    'numpy',
    'scipy',
)


class ToolError(RuntimeError):
    """A program that is missing or can't run; the message says which and what to do."""


def activate(source: AntsSource = AntsSource.EMBEDDED) -> None:
    """Put the chosen ANTs programs, and the wheel's dcm2niix, on ``PATH`` of this process.

    May be called any number of times; the last call counts. Child processes inherit the choice.
    The wheel's dcm2niix goes before any other on ``PATH``, whatever the source of ANTs.

    Parameters
    ----------
    source : AntsSource
        ``EMBEDDED``: the programs inside the antspyx wheel. ``SYSTEM``: those on ``PATH``.

    Raises
    ------
    ToolError
        If antspyx is missing or its scripts are not executable (``EMBEDDED``), or programs that
        mriprep needs are not on ``PATH`` (``SYSTEM``).
    """
    source = AntsSource(source)
    folders = [embedded_dcm2niix()]
    match source:
        case AntsSource.EMBEDDED:
            check_embedded()
            os.environ.update(embedded_environment())
            folders.insert(0, BIN / 'antsRegistration')
        case AntsSource.SYSTEM:
            os.environ.pop(LIBRARY_VARIABLE, None)
            os.environ.pop(PYTHON_VARIABLE, None)
    _set_path([program.parent for program in folders if program is not None])
    if source is AntsSource.SYSTEM and (missing := _missing(ANTS_NEEDED)):
        raise ToolError(
            f'--ants system: {", ".join(missing)} not found on PATH; add the bin folder of an '
            'ANTs installation to PATH, or use --ants embedded, which needs no installation'
        )


def embedded_ants() -> Path | None:
    """Return antspyx's compiled module, or None where antspyx is not installed."""
    spec = importlib.util.find_spec('ants')
    for folder in (spec and spec.submodule_search_locations) or ():
        if found := library_in(Path(folder)):
            return Path(found)
    return None


def check_embedded() -> None:
    """Raise `ToolError` if the programs inside antspyx can't be run."""
    if embedded_ants() is None:
        raise ToolError(
            f'the ANTs programs are missing: {sys.executable} has no antspyx; '
            'install it (pip install antspyx), or use --ants system with ANTs on PATH'
        )
    if not os.access(BIN / 'antsRegistration', os.X_OK):
        raise ToolError(
            f'{BIN / "antsRegistration"} is not executable; run: chmod +x {BIN}/* '
            '(if that is done, the file system is mounted noexec: install mriprep on another)'
        )


def embedded_environment() -> dict[str, str]:
    """Return the variables that the scripts in ``bin`` read; empty without antspyx."""
    library = embedded_ants()
    if library is None:
        return {}
    return {LIBRARY_VARIABLE: str(library), PYTHON_VARIABLE: sys.executable}


def embedded_dcm2niix() -> Path | None:
    """Return the executable inside the dcm2niix wheel, or None where it is not installed."""
    spec = importlib.util.find_spec('dcm2niix')
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder) / 'dcm2niix'
        if os.access(program, os.X_OK):
            return program
    return None


def versions() -> dict[str, str]:
    """Return name and version of each tool, as provenance records them.

    ``ANTs`` and ``dcm2niix`` are asked on the ``PATH`` of now (call `activate` before); Python
    packages are read from their metadata, none is imported. What is missing is left out.
    """
    found = {
        'ANTs': program_version('antsRegistration'),
        'dcm2niix': program_version('dcm2niix'),
    }
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return {name: version for name, version in found.items() if version is not None}


def program_version(program: str) -> str | None:
    """Return the version that a program on ``PATH`` reports, or None if it can't be run.

    Reads the word after ``version`` in what ``PROGRAM --version`` prints, without a leading ``v``.
    """
    path = shutil.which(program)
    return None if path is None else _ask_version(path)


@lru_cache
def _ask_version(path: str) -> str | None:
    try:
        answer = subprocess.run(
            [path, '--version'],
            env=os.environ | embedded_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            timeout=60,
            check=False,  # dcm2niix answers with exit code 3
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = answer.replace(':', ' ').split()
    for before, word in pairwise(words):
        if before.lower() == 'version':
            return word.removeprefix('v')
    return None


def _set_path(first: list[Path]) -> None:
    """Put ``first`` before what ``PATH`` held, less the folders that `activate` put there."""
    dcm2niix = embedded_dcm2niix()
    ours = {str(BIN)} | ({str(dcm2niix.parent)} if dcm2niix else set())
    kept = [
        word for word in os.environ.get('PATH', os.defpath).split(os.pathsep) if word not in ours
    ]
    os.environ['PATH'] = os.pathsep.join([*map(str, first), *kept])


def _missing(programs: Iterable[str]) -> list[str]:
    return [program for program in programs if shutil.which(program) is None]
