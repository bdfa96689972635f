"""When a session is finished: a stamp that holds what it was made from and what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from mriprep.extractors.choice import Extraction
from mriprep.listing import Derivative
from mriprep.plan import ImagePlan, SessionPlan
from mriprep.settings import STRIPPED, Settings, to_dict


def fingerprint(
    session: SessionPlan,
    settings: Settings,
    versions: Mapping[str, str],
    members: Iterable[SessionPlan] = (),
) -> str:
    """Identify what a session's derivatives depend on: input, settings, version, templates.

    The input may move and be copied: its content counts. ``members`` are the sessions through
    whose mean it goes to templates.
    """
    checksums = {
        str(grid.space): sorted(grid.sha256.items())
        for registration in session.registrations
        for grid in registration.grids
    }
    given = [file for pair in session.given_transforms.values() for file in pair]
    parts = (
        [_image_parts(image) for image in session.images],
        _scientific(settings),
        [versions.get(name) for name in ('mriprep', 'ANTs')],
        [_content(file.path) for file in given],
        checksums,
        [_image_parts(member.main) for member in members],
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _image_parts(image: ImagePlan) -> list[object]:
    """What the result of one image depends on."""
    given = (image.mask, image.corrected, image.to_reference, image.from_reference, image.lesion)
    return [
        image.contrast.value,
        [(source.relative, *_content(source.path)) for source in image.choice.sources],
        _extraction_parts(image.extraction),
        [file and _content(file.path) for file in given],
    ]


def _extraction_parts(extraction: Extraction | None) -> list[object] | None:
    """What a mask depends on.

    Not the second extractor: what is believed already was made without it. Nor whether it was
    known before the run that the image is stripped.
    """
    if extraction is None:
        return None
    if extraction.first.name == STRIPPED and extraction.second is not None:
        return [extraction.second.name, extraction.second_version]
    augmented = [True] if extraction.test_time_augmentation else []
    return [extraction.first.name, extraction.version, *augmented]


def _scientific(settings: Settings) -> dict[str, object]:
    """Settings without what changes no result that is finished already.

    Which images are used, and through what mean they go, is told by the plan.
    """
    values = to_dict(settings)
    brain = values['brain']
    assert isinstance(brain, dict)
    del values['images']
    return {**values, 'brain': {key: brain[key] for key in brain if key != 'force'}}


def _content(path: Path) -> tuple[int, str]:
    """Size and checksum of a file; of a gzip file the end is enough, which holds a checksum."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open('rb') as stream:
        if path.suffix == '.gz':
            stream.seek(max(0, size - 65536))
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return size, digest.hexdigest()


def is_finished(
    stamp: Path, out_dir: Path, fingerprint: str, derivatives: Iterable[Derivative]
) -> bool:
    """Whether everything that is planned stands there, made from the same things.

    Parameters
    ----------
    stamp
        Path of the record, which `mriprep.interfaces.derivatives.Stamp` writes.
    out_dir
        Output folder.
    fingerprint
        From `fingerprint`.
    derivatives
        What is planned.
    """
    try:
        record = json.loads(stamp.read_text(encoding='utf-8'))
        files = record['Files']
        planned = {str(item.path) for item in derivatives if not item.optional}
        return (
            record['Fingerprint'] == fingerprint
            and planned <= set(files)
            and all((out_dir / name).stat().st_size == size for name, size in files.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
