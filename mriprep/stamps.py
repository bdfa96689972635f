"""When a session is finished: a stamp that holds what it was made from and what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from mriprep.naming import stamp_path
from mriprep.plan import SessionPlan
from mriprep.settings import Settings, to_dict


def fingerprint(session: SessionPlan, settings: Settings, versions: Mapping[str, str]) -> str:
    """Identify what a session's derivatives depend on: input, settings, version, templates.

    The input may move and be copied: its content counts.
    """
    checksums = {
        str(grid.space): sorted(grid.sha256.items())
        for registration in session.registrations
        for grid in registration.grids
    }
    extraction, mask = session.extraction, session.given_mask
    parts = (
        session.reference.relative,
        _content(session.reference.path),
        _scientific(settings),
        [versions.get(name) for name in ('mriprep', 'ANTs')],
        # not the second extractor: what is believed already was made without it
        [extraction.first.name, extraction.version, extraction.test_time_augmentation],
        mask and _content(mask.path),
        checksums,
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _scientific(settings: Settings) -> dict[str, object]:
    """Settings without what changes no result that is finished already."""
    values = to_dict(settings)
    brain = values['brain']
    assert isinstance(brain, dict)
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


def is_finished(session: SessionPlan, out_dir: Path, fingerprint: str) -> bool:
    """Whether everything that is planned for a session stands there, made from the same things."""
    stamp = out_dir / stamp_path(session.subject, session.session)
    try:
        record = json.loads(stamp.read_text(encoding='utf-8'))
        files = record['Files']
        planned = {str(item.path) for item in session.derivatives if not item.optional}
        return (
            record['Fingerprint'] == fingerprint
            and planned <= set(files)
            and all((out_dir / name).stat().st_size == size for name, size in files.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
