"""What is written down of a brain extraction: verdicts for metrics, sidecars and failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mriprep.extractors import registry
from mriprep.extractors.base import ExtractorError
from mriprep.guard import Status, Verdict, judge
from mriprep.settings import GIVEN

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


def write(found: Found, path: Path) -> None:
    """Write `record` as JSON."""
    path.write_text(json.dumps(record(found), indent=2) + '\n', encoding='utf-8')


def metadata(found: Found, weights_dir: Path | None) -> dict[str, object]:
    """Tell what made the mask, as it stands in its sidecar."""
    best = found.best
    out: dict[str, object] = {'Extractor': best.name}
    if best.extractor != GIVEN:
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
    verdict = json.loads(path.read_text(encoding='utf-8'))
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
