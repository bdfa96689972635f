"""What was measured of each session: read back from ``desc-iqms``, gathered into tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mriprep.naming import Output
from mriprep.outcome import write_table
from mriprep.plan import SessionPlan

_COLUMNS = (
    'participant_id', 'session_id', 'mask_status', 'mask_extractor', 'mask_volume_ml',
    'mask_compared_with', 'mask_agreement_dice', 'mask_reasons',
)  # fmt: skip

# sessions, each with what `read_metrics` gives
Measured = Sequence[tuple[SessionPlan, Mapping[str, object]]]


def read_metrics(out_dir: Path, session: SessionPlan) -> dict[str, object]:
    """Read what was measured of a session; {} when it is not there or damaged."""
    planned = session.derivative(Output.METRICS)
    if planned is None:
        return {}
    try:
        found = json.loads((out_dir / planned.path).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def mask_states(measured: Measured) -> Iterator[tuple[str, str | None]]:
    """Yield each session's name, and what the guard says of its mask; None if it is not known."""
    for session, metrics in measured:
        status = metrics.get('mask_status')
        yield session.name, status if isinstance(status, str) else None


def write_masks(path: Path, measured: Measured) -> None:
    """Write ``masks.tsv``: one row a session, what the guard says of its mask and why."""
    rows = []
    for session, metrics in measured:
        reasons = metrics.get('mask_reasons')
        told = ' | '.join(map(str, reasons)) if isinstance(reasons, list) else ''
        row = {key: metrics.get(key) for key in _COLUMNS} | {
            'participant_id': f'sub-{session.subject}',
            'session_id': 'n/a' if session.session is None else f'ses-{session.session}',
            'mask_reasons': told,
        }
        rows.append({key: 'n/a' if value in (None, '') else value for key, value in row.items()})
    write_table(path, _COLUMNS, rows)
