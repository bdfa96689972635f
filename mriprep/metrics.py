"""What was measured of each image: read back from ``desc-iqms``, gathered into tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mriprep.naming import Output
from mriprep.outcome import write_table
from mriprep.plan import ImagePlan, SessionPlan

_COLUMNS = (
    'participant_id', 'session_id', 'contrast', 'mask_status', 'mask_extractor', 'mask_source',
    'mask_volume_ml', 'mask_compared_with', 'mask_agreement_dice', 'mask_reasons',
    'coregistration_status', 'coregistration_reasons', 'contrast_doubt',
)  # fmt: skip
_LISTS = ('mask_reasons', 'coregistration_reasons')


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of one image."""

    session: SessionPlan
    image: ImagePlan
    values: Mapping[str, object]  # {} when nothing was

    @property
    def name(self) -> str:
        """Name of the session, and of the contrast where there are several."""
        several = len(self.session.images) > 1
        return f'{self.session.name} {self.image.contrast}' if several else self.session.name

    def words(self, key: str) -> str:
        """Sentences of a list, one after the other."""
        listed = self.values.get(key)
        return ' '.join(map(str, listed)) if isinstance(listed, list) else ''


def read_metrics(out_dir: Path, sessions: Iterable[SessionPlan]) -> list[Measured]:
    """Read what was measured; a file that is not there or damaged holds nothing."""
    return [
        Measured(session=session, image=image, values=_read(out_dir, session, image))
        for session in sessions
        for image in session.images
    ]


def _read(out_dir: Path, session: SessionPlan, image: ImagePlan) -> dict[str, object]:
    planned = session.derivative(Output.METRICS, contrast=image.contrast)
    if planned is None:
        return {}
    try:
        found = json.loads((out_dir / planned.path).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def doubtful(measured: Iterable[Measured], key: str) -> Iterator[str]:
    """Yield the names of images that go on though one of their states is not accepted.

    A refused mask stops an image, and is told as a failure; a refused co-registration need not.
    """
    states = ('doubtful', 'refused') if key == 'coregistration_status' else ('doubtful',)
    for item in measured:
        if item.values.get(key) in states:
            yield item.name


def write_masks(path: Path, measured: Sequence[Measured]) -> None:
    """Write ``masks.tsv``: one row an image, what the guard says of it and why."""
    rows = []
    for item in measured:
        row = {key: item.values.get(key) for key in _COLUMNS} | {
            'participant_id': f'sub-{item.session.subject}',
            'session_id': 'n/a' if item.session.session is None else f'ses-{item.session.session}',
            'contrast': item.image.contrast.value,
        }
        for key in _LISTS:
            listed = item.values.get(key)
            row[key] = ' | '.join(map(str, listed)) if isinstance(listed, list) else ''
        rows.append({key: 'n/a' if value in (None, '') else value for key, value in row.items()})
    write_table(path, _COLUMNS, rows)
