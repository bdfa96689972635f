"""What is written down of a brain extraction: verdicts for metrics, sidecars and failures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriprep.extractors import registry
from mriprep.extractors.base import ExtractorError
from mriprep.guard import Status, Verdict, judge
from mriprep.settings import GIVEN, STRIPPED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mriprep.extraction import Attempt, Found
    from mriprep.extractors.base import AtlasFiles
    from mriprep.masks import Pieces

_TOLD = 2  # reasons in one line
_UNLIKE_A_BRAIN = 3  # checks that refuse at once: more is wrong than a part of the mask


def judge_of(
    volume: NDArray[np.float32],
    affine: NDArray[np.float64],
    atlas_files: AtlasFiles,
    *,
    age_years: float | None,
    sex: str | None,
) -> Callable[[NDArray[np.bool_], Pieces | None], Verdict]:
    """Make the function that judges masks of one head; see `mriprep.guard.judge`."""
    from mriprep.atlas import load_atlas

    def verdict(mask: NDArray[np.bool_], pieces: Pieces | None) -> Verdict:
        return judge(
            volume,
            affine,
            mask,
            atlas=load_atlas(atlas_files),
            age_years=age_years,
            sex=sex,
            pieces=pieces,
        )

    return verdict


def record(found: Found) -> dict[str, object]:
    """Tell in plain values what was found and what the guard says; for ``desc-iqms``."""
    best, rival = found.best, found.rival
    out: dict[str, object] = {
        'mask_status': found.status.value,
        'mask_extractor': best.name,
        'mask_volume_ml': round(best.verdict.volume_ml, 1),
    }
    if rival is not None:
        out['mask_compared_with'] = rival.name
        out['mask_agreement_dice'] = None if found.agreement is None else round(found.agreement, 4)
    out['mask_reasons'] = list(best.verdict.reasons)
    out['mask_checks'] = [check.record() for check in best.verdict.checks]
    if found.others:
        out['mask_attempts'] = [_attempt(item) for item in (best, *found.others)]
    return out


def _attempt(attempt: Attempt) -> dict[str, object]:
    return {
        'extractor': attempt.name,
        'status': attempt.verdict.status.value,
        'volume_ml': round(attempt.verdict.volume_ml, 1),
        'reasons': [*attempt.remarks, *attempt.verdict.reasons],
    }


def write(found: Found, path: Path, more: Mapping[str, object] | None = None) -> None:
    """Write `record` as JSON, and what else was seen of the image."""
    told = record(found) | dict(more or {})
    path.write_text(json.dumps(told, indent=2) + '\n', encoding='utf-8')


def metadata(found: Found, weights_dir: Path | None) -> dict[str, object]:
    """Tell what made the mask, as it stands in its sidecar."""
    best = found.best
    out: dict[str, object] = {'Extractor': best.name}
    if best.extractor not in (GIVEN, STRIPPED):
        out['ExtractorVersion'] = registry.version(best.extractor)
        out['Device'] = best.device
        try:
            checksum = registry.get(best.extractor).checksum(weights_dir)
        except ExtractorError:
            checksum = None
        if checksum is not None:
            out['WeightsSHA256'] = checksum
    if best.remarks:
        out['Remarks'] = list(best.remarks)
    out['VolumeMl'] = round(best.verdict.volume_ml, 1)
    out['GuardStatus'] = found.status.value
    if found.agreement is not None and found.rival is not None:
        out['AgreementDice'] = round(found.agreement, 4)
        out['AgreementWith'] = found.rival.name
    return out


def why_refused(path: Path) -> str | None:
    """Say in one line why the guard refuses a mask: ``what is wrong; what to do``, or None.

    The worst two reasons are told; all stand in the report.

    Parameters
    ----------
    path
        What `write` wrote.
    """
    return _refusal(json.loads(path.read_text(encoding='utf-8')))


def _refusal(verdict: Mapping[str, Any]) -> str | None:
    """The line of `why_refused`."""
    if verdict['mask_status'] != Status.REFUSED.value:
        return None
    if not verdict['mask_volume_ml']:
        return 'no brain was found; look at the image, and exclude it if it is no head'
    checks = verdict['mask_checks']
    refused = [check['words'] for check in checks if check['status'] == Status.REFUSED.value]
    told = [words.replace(';', ',').rstrip('.') for words in refused[:_TOLD]]
    if len(refused) >= _UNLIKE_A_BRAIN:
        told.insert(0, 'What was found does not look like a brain')
    if (more := len(verdict['mask_reasons']) - min(len(refused), _TOLD)) > 0:
        told.append(f'{more} more doubts stand in the report')
    return (
        f'the brain mask is refused: {". ".join(told)}; look at its picture in the report: exclude '
        'the image if it shows no head or not the right way up, try another --extractor, give a '
        'mask (-d NAME=PATH), or go on with --force'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which mask of a contrast is kept, and what was measured of it."""

    own: bool  # the one found in the image; otherwise the reference's
    reason: str
    record: Mapping[str, object]


def choose_mask(
    own: Mapping[str, Any] | None, registered: Mapping[str, Any] | None, *, force: bool = False
) -> Chosen:
    """Choose between the mask found in an image and that of the reference, carried over.

    Its own mask is kept when the guard accepts it, or when it is given. Otherwise the reference's is taken, if the
    co-registration is believed; what neither supports stops the image.

    Parameters
    ----------
    own
        What `record` gives of the image's own mask; None when none was looked for.
    registered
        ``status`` and ``checks`` of the co-registration; None when its transform is given.
    force
        Whether to go on with what is refused.

    Raises
    ------
    ValueError
        If neither mask is believed: ``what is wrong; what to do``.
    """
    status = Status.ACCEPT if registered is None else Status(registered['status'])
    found = Status(own['mask_status']) if own is not None else Status.REFUSED
    has_mask = own is not None and bool(own['mask_volume_ml'])
    given = False
    if own is not None and own['mask_extractor'] == GIVEN:
        given = True
        if found is Status.REFUSED and not force:
            raise ValueError(_refusal(own))
    kept = has_mask and (
        given
        or found is Status.ACCEPT
        or (status is not Status.ACCEPT and found is Status.DOUBTFUL)
        or (status is Status.REFUSED and force)
    )
    if not kept and status is Status.REFUSED and not force:
        told = _refusal(own) if own is not None else None
        raise ValueError(
            'it could not be registered to the reference, whose mask would have been used; '
            'look at the picture of the co-registration in the report: does it show the same head? '
            'give a mask or a transform (-d NAME=PATH), or go on with --force'
            + (f'. Besides, {told.partition("; ")[0]}' if told else '')
        )
    if kept:
        reason = 'it is believed' if found is Status.ACCEPT else 'nothing better is at hand'
    elif own is None:
        reason = 'the mask of the reference was carried over'
    else:
        reason = 'the mask found in this image was not believed: that of the reference was taken'
    out: dict[str, object] = {**(own or {}), 'mask_source': 'own' if kept else 'reference'}
    if not kept:
        out |= {
            'mask_status': status.value,
            'mask_extractor': 'reference',
            'mask_reasons': [] if own is None else [f'{reason[0].upper()}{reason[1:]}.'],
        }
        if own is not None:
            out['own_mask_status'] = found.value
            out['own_mask_reasons'] = own['mask_reasons']
    if registered is not None:
        out['coregistration_status'] = status.value
        out['coregistration_reasons'] = [
            check['words'] for check in registered['checks'] if check['words']
        ]
        out['coregistration_checks'] = registered['checks']
    return Chosen(own=kept, reason=reason, record=out)
