"""Look at this machine: programs, packages, weights, templates, processors, memory, disk.

Nothing here writes a file, touches the network, or imports torch.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from mriprep.findings import Finding, State, Topic, install
from mriprep.network_findings import automatic, extractors, gpu, torch, weights

GIB = 2**30
LITTLE_MEMORY_GIB = 4.0  # a run of one subject needs up to 3
LITTLE_DISK_GIB = 2.0  # work folder and derivatives of one subject


def examine(folders: Iterable[Path]) -> tuple[Finding, ...]:
    """Gather every finding.

    Parameters
    ----------
    folders : iterable of Path
        Folders whose free disk counts, such as the work and the output folder. They need not
        exist: the nearest parent that does is looked at.
    """
    return (
        *python(),
        *packages(),
        *ants(),
        dcm2niix(),
        weights(),
        *extractors(),
        automatic(),
        embedded_template(),
        template_cache(template_home()),
        torch(),
        gpu(),
        processors(),
        memory(),
        *(disk(folder) for folder in folders),
    )


def can_run(findings: Iterable[Finding]) -> bool:
    """Whether a run with default settings can start."""
    return all(finding.state is not State.MISSING for finding in findings)


def default_folders() -> tuple[Path, ...]:
    """Return the current folder and the one for temporary files."""
    return Path.cwd(), Path(tempfile.gettempdir())


def python() -> Iterator[Finding]:
    """Look at mriprep and the Python it runs in."""
    from mriprep import __version__

    for name, version, origin in (
        ('mriprep', __version__, str(Path(__file__).parent)),
        ('Python', platform.python_version(), sys.executable),
    ):
        yield Finding(topic=Topic.PROGRAM, name=name, state=State.OK, value=version, origin=origin)


def packages() -> Iterator[Finding]:
    """Look at each Python package that mriprep requires, in its own metadata's words."""
    from packaging.requirements import Requirement

    for text in metadata.requires('mriprep') or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({'extra': ''}):
            yield package(requirement.name, str(requirement.specifier))


def package(name: str, specifier: str) -> Finding:
    """Look at one Python package, which must satisfy a version specifier such as ``>=2.1``."""
    from packaging.specifiers import SpecifierSet

    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        value, state, origin = 'not installed', State.MISSING, ''
    else:
        value, state = distribution.version, State.OK
        origin = str(distribution.locate_file(''))
        if not SpecifierSet(specifier).contains(value, prereleases=True):
            value, state = f'{value}, {specifier} is needed', State.MISSING
    return Finding(
        topic=Topic.PACKAGE,
        name=name,
        state=state,
        value=value,
        origin=origin,
        remedy='' if state is State.OK else install(f'{name}{specifier}'),
    )


def ants() -> Iterator[Finding]:
    """Look at the ANTs programs inside antspyx by starting one, and at those on ``PATH``."""
    from mriprep import tools

    system = path_without_embedded()
    remedy = install('antspyx')
    try:
        tools.check_embedded()
        version = tools.program_version(str(tools.BIN / 'antsRegistration'))
        value = version or f'{tools.BIN / "antsRegistration"} does not run'
        origin = f'antspyx, {tools.embedded_ants()}'
    except tools.ToolError as error:
        version, value, origin = None, str(error), ''
        remedy = remedy if tools.embedded_ants() is None else f'chmod +x {tools.BIN}/*'
    yield Finding(
        topic=Topic.PROGRAM,
        name='ANTs (embedded)',
        state=State.OK if version else State.MISSING,
        value=value,
        origin=origin,
        remedy='' if version else remedy,
    )
    found = shutil.which('antsRegistration', path=system)
    absent = [name for name in tools.ANTS_NEEDED if not shutil.which(name, path=system)]
    complete = f'lacks {", ".join(absent)}' if absent else tools.program_version(found or '')
    yield Finding(
        topic=Topic.PROGRAM,
        name='ANTs (system)',
        state=State.NOTE if absent else State.OK,
        value=(complete or 'does not run') if found else 'not on PATH, and not needed',
        origin=found or '',
    )


def dcm2niix() -> Finding:
    """Look at the program that converts DICOM files."""
    from mriprep import tools

    embedded = tools.embedded_dcm2niix()
    version = tools.program_version(str(embedded)) if embedded else None
    return Finding(
        topic=Topic.PROGRAM,
        name='dcm2niix',
        state=State.OK if version else State.NOTE,
        value=version or 'not installed; only DICOM input needs it',
        origin=str(embedded or ''),
        remedy='' if version else install('dcm2niix'),
    )


def path_without_embedded() -> str:
    """Return ``PATH`` without the folder that `mriprep.tools.activate` puts there."""
    from mriprep.tools import BIN

    words = os.environ.get('PATH', os.defpath).split(os.pathsep)
    return os.pathsep.join(word for word in words if word != str(BIN))


def embedded_template() -> Finding:
    """Look at the template inside nilearn's wheel."""
    spec = importlib.util.find_spec('nilearn')
    root = Path(spec.origin).parent if spec and spec.origin else None
    folder = root / 'datasets' / 'data' if root else None
    count = len(list(folder.glob('mni_icbm152_*_tal_nlin_sym_09a_converted.*'))) if folder else 0
    complete = count >= 3  # T1w, grey matter, white matter
    return Finding(
        topic=Topic.DATA,
        name='MNI152NLin2009aSym',
        state=State.OK if complete else State.MISSING,
        value='embedded, 1 mm' if complete else 'files are missing from nilearn',
        origin=str(folder or ''),
        remedy='' if complete else f'{install("nilearn")} --force-reinstall --no-deps',
    )


def template_home() -> Path | None:
    """Return TemplateFlow's folder, found without importing it (which may write there).

    None where a user has neither that variable nor a home, as in some containers.
    """
    from platformdirs import user_cache_path

    if given := os.environ.get('TEMPLATEFLOW_HOME'):
        return Path(given).absolute()
    try:
        return user_cache_path('templateflow')
    except RuntimeError:
        return None


def template_cache(home: Path | None) -> Finding:
    """Look at the templates that TemplateFlow's folder holds.

    TemplateFlow marks what can be fetched by empty files, which do not count.
    """
    if home is None:
        return Finding(
            topic=Topic.DATA,
            name='TemplateFlow',
            state=State.MISSING,
            value='this user has no home folder',
            remedy='export HOME=/tmp  # or another folder that is writable',
        )
    names = [
        folder.name.removeprefix('tpl-')
        for folder in sorted(home.glob('tpl-*'))
        if any(path.is_file() and path.stat().st_size for path in folder.rglob('*.nii.gz'))
    ]
    listing = f'{", ".join(names[:6])}{", ..." if len(names) > 6 else ""}'
    return Finding(
        topic=Topic.DATA,
        name='TemplateFlow',
        state=State.OK if names else State.NOTE,
        value=f'{len(names)}: {listing}' if names else 'no templates; the embedded one is used',
        origin=str(home),
        remedy='' if names else 'mriprep fetch --spaces MNI152NLin2009cAsym:res-1',
    )


def processors() -> Finding:
    """Look at the processors that this process may use."""
    from mriprep.machine import available_processors

    return Finding(
        topic=Topic.MACHINE,
        name='processors',
        state=State.OK,
        value=f'{available_processors()} of {os.cpu_count()}',
        origin=platform.processor() or platform.machine(),
    )


def memory() -> Finding:
    """Look at the memory that this process may use."""
    import psutil

    from mriprep.machine import available_memory_gb

    total = available_memory_gb()
    little = total < LITTLE_MEMORY_GIB
    value = f'{total:.1f} GiB, {psutil.virtual_memory().available / GIB:.1f} GiB free'
    return Finding(
        topic=Topic.MACHINE,
        name='memory',
        state=State.NOTE if little else State.OK,
        value=f'{value}; large images need {LITTLE_MEMORY_GIB:.0f} GiB' if little else value,
    )


def disk(folder: Path) -> Finding:
    """Look at the free disk where a folder is or would be."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free / GIB
    writable = os.access(existing, os.W_OK)
    value = f'{free:.1f} GiB free' + ('' if writable else ', not writable')
    return Finding(
        topic=Topic.MACHINE,
        name='disk',
        state=State.OK if writable and free >= LITTLE_DISK_GIB else State.NOTE,
        value=value,
        origin=str(folder),
    )
