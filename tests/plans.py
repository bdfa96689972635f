"""Plans made from a few words: what tests of plan, provenance, wiring and reports share."""

from __future__ import annotations

from pathlib import Path

from mriprep.extractors.base import AtlasFiles, Facts, MapKind
from mriprep.extractors.choice import Extraction
from mriprep.given import Given, GivenFile
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
    relative: str,
    *,
    error: str | None = None,
    zooms_mm=(1.0, 1.0, 1.0),
    shape=(170, 256, 256),
    stripped: bool = False,
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
        shape=tuple(shape),
        zooms_mm=tuple(zooms_mm),
        stripped=stripped,
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


def given_file(name: str, folder: Path = Path('/home/jo/hand')) -> GivenFile:
    """Name a file of the data set ``hand``; it need not be there."""
    return GivenFile(path=folder / name, dataset='hand', relative=name)


def make_plans(
    images,
    settings: Settings,
    *,
    given: Given | None = None,
    given_masks=None,
    participants=None,
    extraction: Extraction = EXTRACTION,
    **template_files: Path,
) -> tuple[SubjectPlan, ...]:
    """Plan a run on images (records or paths), with a fake template for each space."""
    templates = {
        space: fake_template(str(space), **template_files)
        for space in settings.output_spaces
        if not space.is_native
    }
    records = [image_record(image) if isinstance(image, str) else image for image in images]
    inventory = make_inventory(records, participants=participants or {})
    given = given or Given(masks=given_masks or {})
    return plan_run(inventory, settings, templates, VERSIONS, extraction, given)


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


def scans(*names: str, subject: str = '01', session: str | None = None) -> list[str]:
    """Paths of images, from their names without subject and session.

    >>> scans('T1w', 'ce-gd_T1w', session='a')[1]
    'sub-01/ses-a/anat/sub-01_ses-a_ce-gd_T1w.nii.gz'
    """
    who = [f'sub-{subject}', *([f'ses-{session}'] if session else [])]
    return ['/'.join([*who, 'anat', '_'.join([*who, name]) + '.nii.gz']) for name in names]


def plan_session(
    images, /, *spaces: str, given: Given | None = None, extraction=EXTRACTION, **values
):
    """Plan the one session of one subject; ``values`` are settings."""
    (subject,) = make_plans(
        images, settings_for(*(spaces or ('T1w',)), **values), given=given, extraction=extraction
    )
    (session,) = subject.sessions
    return session


# a session of everything that is prepared, with two runs of a contrast and a lesion
_FULL = ('ce-gd_T1w', 'FLAIR', 'PDw', 'T1w', 'run-1_T2w', 'run-2_T2w')
FULL = scans(*_FULL)
FULL_SESSIONS = [path for session in ('a', 'b') for path in scans(*_FULL, session=session)]
FULL_SPACES = (
    'A:res-1', 'A:res-2', 'A:res-native', 'B:cohort-2:res-2', 'B:cohort-3:res-2', 'T1w'
)  # fmt: skip


def full_session(images=FULL, spaces=FULL_SPACES, /, **values):
    """Plan `FULL`, the runs averaged, with a lesion drawn on the FLAIR."""
    lesions = {
        image: given_file(f'{image.removesuffix("_FLAIR.nii.gz")}_label-lesion_mask.nii.gz')
        for image in images
        if image.endswith('_FLAIR.nii.gz')
    }
    values = {'images': {'merge_runs': True}} | values
    (subject,) = make_plans(images, settings_for(*spaces, **values), given=Given(lesions=lesions))
    return subject
