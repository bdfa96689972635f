"""Plans made from a few words: what tests of plan, provenance, wiring and reports share."""

from __future__ import annotations

from pathlib import Path

from mriprep.extractors.base import AtlasFiles, Facts, MapKind
from mriprep.extractors.choice import Extraction
from mriprep.issues import Issue, Severity
from mriprep.plan import SubjectPlan, plan_run
from mriprep.records import ImageRecord, Inventory
from mriprep.settings import Settings, Space, from_dict
from mriprep.sidecars import ordered_entities, split_name
from mriprep.templates import Grid, Template

VERSIONS = {'mriprep': '1.2.3', 'ANTs': '2.5.0', 'deepbet': '1.0.2', 'nibabel': '5.3.0'}


def facts(name: str, **values) -> Facts:
    """Make what an extractor declares."""
    declared = {
        'name': name,
        'title': name,
        'package': name,
        'citations': (),
        'licence': 'MIT',
        'contrasts': ('T1w',),
        'ages_years': (18, 100),
        'memory_gb': 1.8,
        'gpu_memory_gb': None,
    }
    return Facts(**(declared | values))


EXTRACTION = Extraction(
    first=facts('deepbet'),
    version='1.0.2',
    second=facts('template', gives=MapKind.MASK),
    second_version='2.5.0',
    reason='there is no GPU',
)
ATLAS = AtlasFiles(
    **{
        name: Path(f'/home/jo/atlas/{name}.nii')
        for name in ('t1w', 'brain_mask', 'gm', 'wm', 'csf')
    }
)
TARGET = Grid(
    affine=((1.0, 0, 0, -90), (0, 1.0, 0, -120), (0, 0, 1.0, -70), (0, 0, 0, 1)),
    shape=(180, 220, 190),
)
COARSE = Grid(
    affine=((2.0, 0, 0, -90), (0, 2.0, 0, -120), (0, 0, 2.0, -70), (0, 0, 0, 1)),
    shape=(90, 110, 95),
)


def image_record(
    relative: str, *, error: str | None = None, zooms_mm=(1.0, 1.0, 1.0), shape=(170, 256, 256)
) -> ImageRecord:
    """Make the record of an image that is nowhere; ``error`` makes it unusable."""
    name = split_name(relative)
    issues = ()
    if error is not None:
        issues = (
            Issue(
                severity=Severity.ERROR,
                where=relative,
                problem=error,
                remedy='copy the file again',
                subject=name.entities['sub'],
                session=name.entities.get('ses'),
            ),
        )
    return ImageRecord(
        path=Path('/home/jo/secret/bids') / relative,
        relative=relative,
        subject=name.entities['sub'],
        session=name.entities.get('ses'),
        suffix=name.suffix,
        entities=ordered_entities(name.entities),
        shape=shape,
        zooms_mm=zooms_mm,
        issues=issues,
    )


def fake_template(
    text: str, t1w: Path = Path('/home/jo/tpl/t1.nii.gz'), mask: Path = Path('/home/jo/m.nii.gz')
) -> Template:
    """Make a template as `find_template` gives it for a word of ``--output-spaces``."""
    space = Space.from_string(text)
    resolution = (space.resolution or '1').lstrip('0')
    native = resolution == 'native'
    grid = {'native': None, '2': COARSE}.get(resolution, TARGET)
    return Template(
        space=space,
        t1w=t1w,
        brain_mask=mask,
        target_grid=TARGET,
        target_resolution='1',
        reference=None if native else t1w,
        reference_grid=grid,
        resolution=None if native else resolution,
        stripped=True,
        source='TemplateFlow',
        sha256={t1w.name: 'c0ffee'},
    )


def make_inventory(images, root: Path = Path('/home/jo/secret/bids'), **fields) -> Inventory:
    """Make the inventory of records, which come in BIDS order."""
    return Inventory(root=root, name='ds', images=tuple(images), **fields)


def make_plans(
    images, settings: Settings, *, given_masks=None, participants=None, **template_files: Path
) -> tuple[SubjectPlan, ...]:
    """Plan a run on images, with a fake template for each space."""
    templates = {
        space: fake_template(str(space), **template_files)
        for space in settings.output_spaces
        if not space.is_native
    }
    inventory = make_inventory(images, participants=participants or {})
    return plan_run(inventory, settings, templates, VERSIONS, EXTRACTION, given_masks)


def settings_for(*spaces: str, **values) -> Settings:
    """Make settings with these output spaces."""
    return from_dict({'output_spaces': list(spaces), **values})


def plan_one(
    *spaces: str, image: str = 'sub-01/anat/sub-01_T1w.nii.gz', zooms_mm=(1.0, 1.0, 1.0), **values
):
    """Plan a subject that has one image; return its one session."""
    (subject,) = make_plans(
        [image_record(image, zooms_mm=zooms_mm)], settings_for(*spaces, **values)
    )
    (session,) = subject.sessions
    return session
