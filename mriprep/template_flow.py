"""Templates of TemplateFlow: chosen by file name, read from a folder, fetched on demand."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriprep.settings import EMBEDDED_SPACE, Space
from mriprep.templates import (
    TISSUES,
    Grid,
    Template,
    TemplateError,
    resolution_index,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_FILE = re.compile(
    r'tpl-[^_/]+(_cohort-[^_/]+)?(_res-(?P<res>[^_/]+))?'
    r'(_(?P<variant>desc-brain|label-(GM|WM|CSF|brain)))?_(?P<suffix>T1w|mask|probseg)\.nii(\.gz)?'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """File names of one template that serve one output space."""

    t1w: str
    mask: str
    target_resolution: str | None
    reference: str | None  # None for ``res-native``
    resolution: str | None
    stripped: bool
    tissue: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def needed(self) -> tuple[str, ...]:
        """Files without which nothing can be done, each once."""
        names = {self.t1w, self.mask} | ({self.reference} if self.reference else set())
        return tuple(sorted(names))


def choose_files(names: Iterable[str], space: Space) -> Choice | None:
    """Choose the registration target and the output grid among a template's file names.

    The target is the finest whole-head T1w that comes with a brain mask, which is ``res-1``
    wherever that exists; a stripped one where there is no other.

    Parameters
    ----------
    names : iterable of str
        File names as in TemplateFlow, of one template and cohort.
    space : Space
        What is asked for. Without a resolution, outputs are on the target's grid.

    Returns
    -------
    Choice or None
        None if no pair of files serves as a target, or the resolution does not exist.
    """
    t1w: dict[tuple[str | None, bool], str] = {}
    masks: dict[str | None, str] = {}
    tissue: dict[tuple[str | None, str], str] = {}
    for name in sorted(names):
        if (found := _FILE.fullmatch(name)) is None:
            continue
        res = resolution_index(found['res']) if found['res'] else None
        match found['variant'], found['suffix']:
            case ((None | 'desc-brain' as variant), 'T1w'):
                t1w[res, variant is not None] = name
            case 'desc-brain' | 'label-brain', 'mask':
                masks[res] = name
            case str(label), 'probseg':
                tissue[res, label.removeprefix('label-')] = name
    if not (targets := sorted((key for key in t1w if key[0] in masks), key=_preference)):
        return None
    res, stripped = targets[0]
    asked = resolution_index(space.resolution) if space.resolution else res
    if asked == '1' and res is None:
        asked = None  # the only grid of a template without an index
    references = [t1w[key] for key in ((asked, stripped), (asked, not stripped)) if key in t1w]
    if asked != 'native' and not references:
        return None
    return Choice(
        t1w=t1w[res, stripped],
        mask=masks[res],
        target_resolution=res,
        reference=None if asked == 'native' else references[0],
        resolution=None if asked == 'native' else asked,
        stripped=stripped,
        tissue={label: tissue[res, label] for label in TISSUES if (res, label) in tissue},
    )


def _preference(key: tuple[str | None, bool]) -> tuple[bool, int, str]:
    """Sort the whole head before the stripped one, then by index; no index counts as zero."""
    res, stripped = key
    if res is None:
        return stripped, 0, ''
    return stripped, int(res) if res.isdecimal() else 99, res


def explain_space(space: Space, names: Iterable[str], known: Iterable[str], home: Path) -> str:
    """Say why a space can't be used, and what can.

    Parameters
    ----------
    space : Space
        What was asked for.
    names : iterable of str
        File names of its template and cohort, if any.
    known : iterable of str
        Paths of all files that TemplateFlow lists, from its root.
    home : Path
        TemplateFlow's folder on this disk.
    """
    from difflib import get_close_matches

    known = list(known)
    templates = sorted({path.split('/')[0].removeprefix('tpl-') for path in known if '/' in path})
    found = [match for name in names if (match := _FILE.fullmatch(name))]
    grids = {m['res'] for m in found if m['res'] and m['suffix'] == 'T1w'}
    cohorts = {
        path.split('/')[1].removeprefix('cohort-')
        for path in known
        if path.startswith(f'tpl-{space.name}/cohort-')
    }
    if space.resolution and grids:
        have = ', '.join(f'res-{resolution_index(res)}' for res in sorted(grids))
        return f'output space {space}: there is no such resolution; choose {have} or res-native'
    if cohorts and space.cohort not in cohorts:
        have = ', '.join(f'cohort-{c}' for c in sorted(cohorts, key=lambda c: (len(c), c)))
        return f'output space {space}: choose one of its cohorts: {space.name}:{have}'
    if space.name in templates or found:
        return (
            f'output space {space}: its template has no T1w image with a brain mask for this '
            f'request; choose another, such as {EMBEDDED_SPACE}'
        )
    close = get_close_matches(space.name, [*templates, EMBEDDED_SPACE.name], n=3, cutoff=0.5)
    return (
        f'output space {space} is unknown: neither TemplateFlow {version_of("templateflow")} nor '
        f'{home / f"tpl-{space.name}"} has it; the nearest names are '
        f'{", ".join(close) or EMBEDDED_SPACE.name}'
    )


@dataclass(frozen=True, slots=True)
class TemplateFlowSource:
    """The files of TemplateFlow, from its folder on this disk or from the network.

    The folder is read by file names, so that templates a user has put there work too.
    """

    home: Path | None = None  # default: TEMPLATEFLOW_HOME, or TemplateFlow's own folder
    offline: bool = False

    def find(self, space: Space) -> Template:
        """Return the template, fetching files first where that is allowed and needed."""
        if self.offline and (choice := self._on_disk(space)):
            return self._template(space, choice)
        choice = self._wanted(space)
        if absent := self._absent(space, choice.needed):
            if self.offline:
                raise TemplateError(self._lacking(space, absent, 'the network is not used'))
            self._download(space, absent)
        if absent := self._absent(space, choice.needed):
            raise TemplateError(self._lacking(space, absent, 'they could not be fetched whole'))
        return self._template(space, choice)

    def fetch(self, space: Space) -> list[Path]:
        """Put every file of the template on this disk and return their paths."""
        choice = self._wanted(space)
        every = [*choice.needed, *choice.tissue.values()]
        if absent := self._absent(space, every):
            if self.offline:
                raise TemplateError(self._lacking(space, absent, 'the network is not used'))
            self._download(space, absent)
        if absent := self._absent(space, every):
            raise TemplateError(self._lacking(space, absent, 'they could not be fetched whole'))
        return [self._folder(space) / name for name in every]

    def _root(self) -> Path:
        if self.home is not None:
            return self.home
        if given := os.environ.get('TEMPLATEFLOW_HOME'):
            return Path(given).absolute()
        from platformdirs import user_cache_path

        return user_cache_path('templateflow')

    def _folder(self, space: Space) -> Path:
        folder = self._root() / f'tpl-{space.name}'
        return folder / f'cohort-{space.cohort}' if space.cohort else folder

    def _names(self, space: Space) -> set[str]:
        """Names on this disk; empty files are TemplateFlow's placeholders."""
        try:
            files = list(self._folder(space).iterdir())
        except OSError:
            return set()
        return {path.name for path in files if path.is_file() and path.stat().st_size > 0}

    def _absent(self, space: Space, names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if _checksum(self._folder(space) / name) is None)

    def _on_disk(self, space: Space) -> Choice | None:
        """Choose among whole files alone."""
        names = self._names(space)
        while choice := choose_files(names, space):
            damaged = self._absent(space, [*choice.needed, *choice.tissue.values()])
            if not damaged:
                break
            names -= set(damaged)
        return choice

    def _wanted(self, space: Space) -> Choice:
        """Choose among all files that TemplateFlow lists or this disk holds."""
        known = templateflow_files()
        prefix = f'tpl-{space.name}/' + (f'cohort-{space.cohort}/' if space.cohort else '')
        listed = {name.removeprefix(prefix) for name in known if name.startswith(prefix)}
        names = listed | self._names(space)
        if choice := choose_files(names, space):
            return choice
        raise TemplateError(explain_space(space, names, known, self._root()))

    def _lacking(self, space: Space, absent: Sequence[str], why: str) -> str:
        return (
            f'template {space}: {", ".join(absent)} missing or damaged in {self._folder(space)}, '
            f'and {why}; run `mriprep fetch --spaces {space}` where there is a network '
            f'(TEMPLATEFLOW_HOME names the folder to take along), or choose the embedded '
            f'{EMBEDDED_SPACE}'
        )

    def _download(self, space: Space, names: Sequence[str]) -> None:
        """Fetch files into a folder aside, then rename them into place."""
        from shutil import rmtree
        from tempfile import mkdtemp

        folder = self._folder(space)
        aside: Path | None = None
        try:
            _furnish(self._root())
            folder.mkdir(parents=True, exist_ok=True)
            aside = Path(mkdtemp(prefix='.mriprep-', dir=self._root()))
            for path in _fetch_aside(aside, folder.relative_to(self._root()), names):
                path.replace(folder / path.name)
        except Exception as error:  # pybids, requests and TemplateFlow raise what they like
            words = (
                'no connection' if 'Max retries' in str(error) else ' '.join(str(error).split())
            )
            why = f'fetching failed ({words[:200] or type(error).__name__})'
            raise TemplateError(self._lacking(space, names, why)) from error
        finally:
            if aside is not None:
                rmtree(aside, ignore_errors=True)

    def _template(self, space: Space, choice: Choice) -> Template:
        folder = self._folder(space)
        # a tissue map that is not there is no reason to stop: some templates have none at all
        tissue = {
            label: folder / name
            for label, name in choice.tissue.items()
            if _checksum(folder / name) is not None
        }
        reference = folder / choice.reference if choice.reference else None
        used = sorted({*(folder / name for name in choice.needed), *tissue.values()})
        return Template(
            space=space,
            t1w=folder / choice.t1w,
            brain_mask=folder / choice.mask,
            target_grid=Grid.of_file(folder / choice.t1w),
            target_resolution=choice.target_resolution,
            reference=reference,
            reference_grid=Grid.of_file(reference) if reference else None,
            resolution=choice.resolution,
            stripped=choice.stripped,
            tissue=tissue,
            source=f'TemplateFlow {version_of("templateflow")}',
            sha256={path.name: _checksum(path) or '' for path in used},
        )


def templateflow_files() -> list[str]:
    """List the paths that TemplateFlow knew when its client was released, from its root.

    The list lies in the client's wheel; it is read without importing the client, which would
    create a folder in the user's home.
    """
    from importlib.util import find_spec
    from zipfile import ZipFile

    spec = find_spec('templateflow')
    if spec is None or spec.origin is None:
        return []
    try:
        with ZipFile(Path(spec.origin).parent / 'conf' / 'templateflow-skel.zip') as archive:
            return archive.namelist()
    except OSError:
        return []


def _furnish(home: Path) -> None:
    """Put TemplateFlow's placeholders into a new home.

    TemplateFlow takes any folder that is not empty for complete, so that our few files alone
    would hide every other template from the programs that share the home.
    """
    with _client() as client:
        client(root=home, use_datalad=False).cache.ensure()


@contextmanager
def _client() -> Iterator[Any]:
    """Import TemplateFlow's client, deaf to what it tells of homes and of pybids' future."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        from templateflow.client import TemplateFlowClient

        yield TemplateFlowClient


def _fetch_aside(aside: Path, folder: Path, names: Sequence[str]) -> list[Path]:
    """Fetch files of one template folder into a TemplateFlow home of their own.

    Placeholders for the wanted files are all that its index has to walk through.
    """
    (aside / folder).mkdir(parents=True, exist_ok=True)
    paths = [aside / folder / name for name in names]
    for path in paths:
        path.touch()
    with _client() as client:
        template = folder.parts[0].removeprefix('tpl-')
        client(root=aside, use_datalad=False).get(template, raise_empty=True)
    return paths


def _checksum(path: Path) -> str | None:
    """SHA-256 of a file, or None where it is absent, empty, or gzip that breaks off."""
    try:
        state = path.stat()
    except OSError:
        return None
    return _checksum_of(path, state.st_size, state.st_mtime_ns) if state.st_size else None


@cache
def _checksum_of(path: Path, size: int, mtime_ns: int) -> str | None:
    import gzip
    import hashlib
    import zlib

    try:
        with path.open('rb') as stream:
            digest = hashlib.file_digest(stream, 'sha256').hexdigest()
        if path.suffix == '.gz':
            with gzip.open(path) as content:
                while content.read(1 << 22):
                    pass
    except (OSError, EOFError, zlib.error):
        return None
    return digest
