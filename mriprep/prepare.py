"""Before a run: check folders, look at the data set, find tools and templates, plan."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriprep.contrasts import Contrast
from mriprep.folders import RefusalError, check_folders
from mriprep.naming import individual_stamp_path, stamp_path
from mriprep.plan import IndividualPlan, SessionPlan, SubjectPlan, plan_run
from mriprep.settings import GIVEN, Resources, Settings, Space
from mriprep.stamps import fingerprint, is_finished
from mriprep.steps import Step, in_order

if TYPE_CHECKING:
    from mriprep.extractors.base import AtlasFiles
    from mriprep.extractors.choice import Extraction
    from mriprep.inventory import Inventory
    from mriprep.templates import Template

_MOST_READ = 200  # images before a run, so that it begins within seconds
_RUN_ID = re.compile(r'\w[\w.-]*')


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What to run on and how; nothing in it changes a result."""

    bids_dir: Path
    out_dir: Path
    work_dir: Path | None = None
    participant_labels: tuple[str, ...] = ()
    session_labels: tuple[str, ...] = ()
    bids_filter_file: Path | None = None
    bids_database_dir: Path | None = None
    derivatives: Mapping[str, Path] = field(default_factory=dict)
    plugin_file: Path | None = None
    clean_workdir: bool = False
    dry_run: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    write_graph: bool = False
    stop_on_first_crash: bool = False
    offline: bool = False
    run_id: str | None = None
    verbose: int = 0
    command: tuple[str, ...] = ('mriprep',)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, once it is decided what to do."""

    options: RunOptions
    settings: Settings
    resources: Resources
    inventory: Inventory
    plans: tuple[SubjectPlan, ...]
    versions: Mapping[str, str]
    atlas: AtlasFiles
    run_id: str
    work_dir: Path
    plugin: Mapping[str, Any] | None = None  # of `--use-plugin`; None: our own
    _fingerprints: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def out_dir(self) -> Path:
        """Folder of the derivatives."""
        return self.options.out_dir

    @property
    def log_dir(self) -> Path:
        """Folder of this run's logs."""
        return self.out_dir / 'logs' / self.run_id

    @property
    def sessions(self) -> list[SessionPlan]:
        """All sessions, in order."""
        return [session for plan in self.plans for session in plan.sessions]

    @property
    def steps(self) -> list[Step]:
        """Steps of all sessions, those that sessions share once."""
        groups = [image.steps for session in self.sessions for image in session.images]
        groups += [session.shared_steps for session in self.sessions]
        shared = {id(steps): steps for steps in groups}
        return list(in_order(step for steps in shared.values() for step in steps))

    @property
    def contrasts(self) -> list[str]:
        """What the images of all sessions show, in the order of `Contrast`."""
        found = {image.contrast for session in self.sessions for image in session.images}
        return [contrast.value for contrast in Contrast if contrast in found]

    def individual_of(self, session: SessionPlan) -> IndividualPlan | None:
        """The mean of sessions through which a session goes to templates."""
        if not session.through_individual:
            return None
        return next(plan.individual for plan in self.plans if plan.subject == session.subject)

    def fingerprint(self, session: SessionPlan) -> str:
        """Identify what the derivatives of a session depend on; each image is read once."""
        if session.name not in self._fingerprints:
            individual = self.individual_of(session)
            members = () if individual is None else individual.members
            made = fingerprint(session, self.settings, self.versions, members)
            self._fingerprints[session.name] = made
        return self._fingerprints[session.name]

    def is_finished(self, session: SessionPlan) -> bool:
        """Whether nothing is left to do for a session."""
        out_dir = self.out_dir
        stamp = out_dir / stamp_path(session.subject, session.session)
        if not is_finished(stamp, out_dir, self.fingerprint(session), session.derivatives):
            return False
        individual = self.individual_of(session)
        if individual is None:
            return True
        stamp = out_dir / individual_stamp_path(session.subject)
        made = self.fingerprint(individual.members[0])
        return is_finished(stamp, out_dir, made, individual.derivatives)


def prepare(options: RunOptions, settings: Settings, resources: Resources) -> Run:
    """Check folders, look at the data set, find templates and tools, plan."""
    from mriprep.engine import read_plugin_file, warm_up
    from mriprep.extractors.base import ExtractorError
    from mriprep.given import find_given
    from mriprep.inventory import InventoryError, take_inventory
    from mriprep.tools import ToolError, activate, versions

    if options.run_id is not None and not _RUN_ID.fullmatch(options.run_id):
        raise RefusalError(
            f'--run-uuid {options.run_id!r} names a folder; use letters, digits, "-", "_" and "."'
        )
    options = check_folders(options)
    plugin = None if options.plugin_file is None else read_plugin_file(options.plugin_file)
    if options.write_graph and shutil.which('dot') is None:
        raise RefusalError(
            '--write-graph: the program "dot" is not on PATH; install Graphviz, or leave it out'
        )
    if _computes_for_sure(options):
        warm_up()
    try:
        inventory = take_inventory(
            options.bids_dir,
            participant_labels=options.participant_labels,
            session_labels=options.session_labels,
            bids_filters=_read_filters(options.bids_filter_file),
            database_dir=options.bids_database_dir,
            suffixes=settings.images.suffixes,
        )
        inventory = _with_stripped(inventory)
        activate(settings.ants)
        extraction, resources = choose_extraction(settings, resources, options)
    except (InventoryError, ToolError, ExtractorError) as exc:
        raise RefusalError(str(exc)) from exc
    tools = {'mriprep': _own_version(), **versions()}
    asked = (
        (extraction.first, extraction.version),
        (extraction.second, extraction.second_version),
    )
    tools |= {facts.name: version for facts, version in asked if facts and version}
    work_dir = options.work_dir or Path.cwd() / 'work'
    with contextlib.ExitStack() as stack:
        cache = work_dir / 'templates'
        if options.dry_run:
            cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='mriprep-')))
        templates, atlas = find_templates(settings, cache, offline=options.offline)
    options = _with_own_derivatives(options, settings)
    given = find_given(
        inventory.images,
        options.derivatives,
        raw=inventory.root,
        spaces=[template.space.label for template in templates.values()],
    )
    return Run(
        options=options,
        settings=settings,
        resources=resources,
        inventory=inventory,
        plans=plan_run(
            inventory,
            settings,
            templates,
            tools,
            extraction,
            given,
        ),
        versions=tools,
        atlas=atlas,
        run_id=options.run_id or f'{time.strftime("%Y%m%d-%H%M%S")}_{uuid.uuid4().hex[:8]}',
        work_dir=work_dir,
        plugin=plugin,
    )


def _with_stripped(inventory: Inventory) -> Inventory:
    """Tell images without skull: those that begin as one are read.

    Where there are many, the others are recognised when their turn comes.
    """
    from mriprep.stripped import find_stripped

    asked = [image.path for image in inventory.images if image.usable and image.flat_start]
    if not asked:
        return inventory
    found = find_stripped(asked[:_MOST_READ])
    return replace(
        inventory,
        images=tuple(replace(image, stripped=image.path in found) for image in inventory.images),
    )


def _with_own_derivatives(options: RunOptions, settings: Settings) -> RunOptions:
    """Look into ``derivatives`` of the raw data set for masks that are asked for with no ``-d``."""
    if options.derivatives or settings.brain.extractor != GIVEN:
        return options
    folder = options.bids_dir / 'derivatives'
    inside = [path for path in sorted(folder.glob('*')) if path.is_dir()]
    found = {
        re.sub(r'[^A-Za-z0-9]', '', path.name): path
        for path in inside
        if path.resolve() != options.out_dir.resolve() and not path.name.startswith('.')
    }
    if folder.is_dir() and any(folder.glob('sub-*')):
        found['derivatives'] = folder
    return replace(options, derivatives=found)


def _computes_for_sure(options: RunOptions) -> bool:
    """Whether workers will be needed: then they start while the data set is looked at."""
    idle = options.dry_run or options.reports_only or options.boilerplate_only
    resumes = (options.out_dir / 'logs' / 'finished').exists()
    return options.plugin_file is None and not idle and not resumes


def choose_extraction(
    settings: Settings, resources: Resources, options: RunOptions
) -> tuple[Extraction, Resources]:
    """Choose what finds the brain, and the devices that have the memory for it.

    Weights of what is asked for by name are fetched first, unless the run is offline.
    """
    from functools import partial

    from mriprep.extractors.at_hand import choose_here, fetch_missing, to_fetch
    from mriprep.weights import WeightsError

    brain, weights_dir = settings.brain, resources.weights_dir
    if options.dry_run and not options.offline:
        for extractor in to_fetch(brain, weights_dir):
            say(f'the weights of {extractor.facts.title} would be fetched first')
    elif not options.offline:
        try:
            fetch_missing(brain, weights_dir, say=say)
        except WeightsError as exc:
            raise RefusalError(str(exc)) from exc
    choose = partial(
        choose_here,
        mem_gb=resources.mem_gb,
        will_fetch=options.dry_run and not options.offline,
    )
    found = choose(brain, resources.devices, weights_dir)
    fitting = _fitting(found, resources)
    if fitting.devices != resources.devices:
        found = choose(brain, fitting.devices, weights_dir)
    if found.memory_gb > fitting.mem_gb:
        say(
            f'{found.first.name} may need {found.memory_gb:g} GB of memory, and there are '
            f'{fitting.mem_gb:.1f}; choose another --extractor if it is killed'
        )
    return found, fitting


def _fitting(extraction: Extraction, resources: Resources) -> Resources:
    """Leave out GPUs with too little memory; one that is asked for by number is kept."""
    from mriprep.gpus import with_memory

    if not resources.uses_gpu or ':' in resources.device:
        return resources
    needed = extraction.gpu_memory_gb
    kept = with_memory(resources.devices, needed)
    for device in resources.devices:
        if device not in kept:
            say(f'{device} is not used: {extraction.first.name} needs {needed:g} GB of GPU memory')
    if not kept:
        return replace(resources, device='cpu', devices=('cpu',))
    return replace(resources, devices=kept)


def find_templates(
    settings: Settings, cache: Path, *, offline: bool
) -> tuple[dict[Space, Template], AtlasFiles]:
    """Find the template of each output space, and the one that masks are compared with."""
    from mriprep.templates import TemplateError, embedded_atlas, find_template

    try:
        found = {
            space: find_template(space, cache, offline)
            for space in settings.output_spaces
            if not space.is_native
        }
        return found, embedded_atlas(cache)
    except TemplateError as exc:
        raise RefusalError(str(exc)) from exc


def _read_filters(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        filters = json.loads(path.read_text(encoding='utf-8'))
    except OSError as exc:
        raise RefusalError(
            f'{path}: BIDS filter file can not be read ({exc.strerror}); check the path'
        ) from exc
    except ValueError as exc:
        raise RefusalError(f'{path}: BIDS filter file is not JSON ({exc}); correct it') from exc
    if not isinstance(filters, dict):
        raise RefusalError(f'{path}: BIDS filter file must hold an object like {{"t1w": {{...}}}}')
    return filters


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(f'mriprep: {text}', file=sys.stderr, flush=True)


def _own_version() -> str:
    from mriprep import __version__

    return __version__
