"""Records to HTML fragments for the report: escaped, and without paths of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Protocol

# Links and BIDS URIs are kept whole; a path keeps its last part, since folders tell of the
# machine and its users.
_PATH = re.compile(
    r'(?P<keep>\b(?!file:)[A-Za-z][\w+.-]*://[^\s"\'<>]+)'
    r'|(?:\bfile://|(?<![\w.~…/]))~?/(?:[^\s/"\'<>:;,|]+/)+(?P<last>[^\s/"\'<>:;,|]*)'
)

LABELS = {
    'shape': 'grid (voxels)',
    'zooms_mm': 'voxel size (mm)',
    'dtype': 'stored type',
    'n_nonfinite': 'voxels that are not numbers (NaN, Inf)',
    'qform_code': 'qform code',
    'sform_code': 'sform code',
    'tilt_deg': 'tilt against the axes of the scanner (°)',
}
STEPS = {
    'conform': 'Conform',
    'extract': 'Extract the brain',
    'bias': 'Correct the bias field',
    'register': 'Register',
    'resample': 'Resample',
    'normalize': 'Normalise intensities',
}


class StepLike(Protocol):
    """What is read of a step of the plan."""

    @property
    def name(self) -> str: ...
    @property
    def tool(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, object]: ...
    @property
    def space(self) -> str | None: ...


def without_paths(text: str, roots: Iterable[str] = ()) -> str:
    """Take the folders of this machine out of a text.

    Parameters
    ----------
    text : str
        Any text: a command, an error message, a traceback.
    roots : iterable of str
        Folders whose names may hold spaces; paths below them become relative to them.

    Examples
    --------
    >>> without_paths('mriprep /home/jane/study /scratch/x/out participant -w /tmp/w/a')
    'mriprep …/study …/out participant -w …/a'
    >>> without_paths('see https://bids.neuroimaging.io/index.html, and/or 1/2/3')
    'see https://bids.neuroimaging.io/index.html, and/or 1/2/3'
    >>> without_paths('/my data/out: no sub-1, /my data/out/sub-1', ['/my data/out'])
    '…/out: no sub-1, sub-1'
    """
    for root in sorted((root.rstrip('/') for root in roots), key=len, reverse=True):
        if root:
            text = re.sub(rf'{re.escape(root)}/(?=[\w.])', '', text)
            text = re.sub(rf'{re.escape(root)}(?![\w.-])', f'…/{root.rsplit("/", 1)[-1]}', text)
    return _PATH.sub(lambda found: found['keep'] or f'…/{found["last"]}', text)


def shown(value: object) -> str:
    """Word a value for people; not yet escaped.

    Examples
    --------
    >>> shown((0.699988, 0.666667)), shown(True), shown(None), shown({'seed': 7})
    ('0.7 × 0.6667', 'yes', '–', 'seed = 7')
    """
    if value is None or value == '':
        return '–'
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:.4g}'
    if isinstance(value, Mapping):
        return '; '.join(f'{label(key)} = {shown(item)}' for key, item in value.items()) or '–'
    if isinstance(value, Sequence) and not isinstance(value, str):
        numbers = all(isinstance(item, int | float) for item in value)
        return (' × ' if numbers else ', ').join(map(shown, value)) or 'none'
    return without_paths(str(value))


def label(key: object) -> str:
    """Name a field for people.

    Examples
    --------
    >>> label('zooms_mm'), label('spline_distance_mm'), label('Output spaces')
    ('voxel size (mm)', 'spline distance (mm)', 'Output spaces')
    """
    text = LABELS.get(str(key), str(key))
    return re.sub(r'_(mm|ml|s|mb|gb|deg)$', r' (\1)', text).replace('_', ' ')


def summary_html(values: Mapping[str, object]) -> str:
    """Two columns: names and values."""
    rows = ''.join(
        f'<tr><th scope="row">{escape(label(key))}</th><td>{escape(shown(value))}</td></tr>'
        for key, value in values.items()
    )
    return f'<table class="pairs"><tbody>{rows}</tbody></table>' if rows else ''


def audit_html(audit: Mapping[str, object]) -> str:
    """Say what the header of an image held, what was changed, and what is doubtful.

    ``found``, ``changes`` and ``warnings`` are lists of sentences; other keys are for programs.
    """
    return (
        f'{_sentences(audit.get("warnings"), "warning", "Look at this", "")}'
        '<div class="beside">'
        f'<div><h4>What the header said</h4>'
        f'{_sentences(audit.get("found"), "changes", "", "Nothing.")}</div>'
        f'<div><h4>What was changed</h4>'
        f'{_sentences(audit.get("changes"), "changes", "", "Nothing had to be changed.")}</div>'
        '</div>'
    )


VERDICTS = {
    'accept': 'believed',
    'doubtful': 'doubtful: look at it',
    'refused': 'REFUSED',
}


def verdict_words(verdict: Mapping[str, object]) -> str:
    """Sum up what the guard says of a mask, for the foot of its picture.

    Examples
    --------
    >>> verdict_words({'mask_status': 'doubtful', 'mask_extractor': 'deepbet',
    ...     'mask_compared_with': 'template', 'mask_agreement_dice': 0.913})
    'Orange: deepbet, doubtful: look at it. Blue: template, Dice 0.91.'
    """
    status = VERDICTS.get(str(verdict.get('mask_status')), str(verdict.get('mask_status')))
    if not (rival := verdict.get('mask_compared_with')):
        return f'Found by {verdict.get("mask_extractor")}, {status}.'
    agreement = verdict.get('mask_agreement_dice')
    overlap = f', Dice {agreement:.2f}' if isinstance(agreement, float) else ''
    return f'Orange: {verdict.get("mask_extractor")}, {status}. Blue: {rival}{overlap}.'


def guard_html(verdict: Mapping[str, object]) -> str:
    """Tell what the guard measured of a mask, one row a check, and what was tried.

    ``verdict`` is what `mriprep.extractors.verdicts.record` gives.
    """
    status = str(verdict.get('mask_status'))
    reasons = verdict.get('mask_reasons')
    title = f'The mask is {VERDICTS.get(status, status)}'
    kind = 'bad' if status == 'refused' else 'warning'
    told = _sentences(reasons, kind, title, '') or f'<p>{title}.</p>'
    checks = verdict.get('mask_checks')
    listed = list(checks) if isinstance(checks, Sequence) else []
    odd = [check for check in listed if check.get('status') != 'accept']
    shown_at_once = _checks_html(odd) if odd else ''
    folded = (
        f'<details><summary>All {len(listed)} checks</summary>{_checks_html(listed)}</details>'
    )
    return told + _attempts_html(verdict.get('mask_attempts')) + shown_at_once + folded


def _checks_html(checks: Sequence[Mapping[str, object]]) -> str:
    rows = ''.join(
        f'<tr class="{escape(str(check["status"]))}">'
        f'<th scope="row">{escape(label(check["name"]))}</th>'
        f'<td class="number">{escape(shown(check["value"]))} {escape(str(check["unit"]))}</td>'
        f'<td>{escape(_range(check["accept"]))}</td><td>{escape(_range(check["believe"]))}</td>'
        f'<td>{escape(str(check["reason"]))}</td></tr>'
        for check in checks
    )
    head = (
        '<tr><th>Check</th><th>Measured</th><th>Accepted</th><th>Not refused</th><th>Why</th></tr>'
    )
    return f'<table class="steps"><thead>{head}</thead><tbody>{rows}</tbody></table>'


def _attempts_html(attempts: object) -> str:
    if not isinstance(attempts, Sequence) or not attempts:
        return ''
    rows = ''.join(
        f'<tr class="{escape(str(item["status"]))}">'
        f'<th scope="row">{escape(str(item["extractor"]))}</th>'
        f'<td>{escape(VERDICTS.get(str(item["status"]), ""))}</td>'
        f'<td class="number">{item["volume_ml"]:.0f} ml</td>'
        f'<td>{escape(" ".join(map(str, item["reasons"])))}</td></tr>'
        for item in attempts
    )
    head = '<tr><th>Tried, the first is kept</th><th></th><th>Volume</th><th>Doubts</th></tr>'
    return f'<table class="steps"><thead>{head}</thead><tbody>{rows}</tbody></table>'


def _range(limits: object) -> str:
    """Word a range whose ends may be open.

    >>> _range([1000, None]), _range([None, 0.3]), _range([0.8, 1.2])
    ('at least 1000', 'at most 0.3', '0.8 to 1.2')
    """
    if not isinstance(limits, Sequence) or len(limits) != 2:
        return '–'
    low, high = limits
    if low is None or high is None:
        if low is None and high is None:
            return 'any'
        return f'at least {shown(low)}' if high is None else f'at most {shown(high)}'
    return f'{shown(low)} to {shown(high)}'


def _sentences(items: object, kind: str, title: str, otherwise: str) -> str:
    """A titled list in a box; the other sentence when there is nothing to list."""
    listed = [items] if isinstance(items, str) else items
    if not isinstance(listed, Sequence) or not listed:
        return f'<p>{otherwise}</p>' if otherwise else ''
    head = f'<strong>{title}</strong>' if title else ''
    rows = ''.join(f'<li>{escape(shown(item))}</li>' for item in listed)
    return f'<div class="{kind}">{head}<ul>{rows}</ul></div>'


def steps_html(steps: Iterable[StepLike]) -> str:
    """One row a step, in order: what, with what tool, with what parameters."""
    rows = ''.join(
        f'<tr><td>{number}</td><th scope="row">{escape(STEPS.get(str(step.name), str(step.name)))}'
        f'{f"<br><small>to {escape(step.space)}</small>" if step.space else ""}</th>'
        f'<td>{escape(step.tool)}<br><small>{escape(step.version)}</small></td>'
        f'<td>{_parameters(step.parameters)}</td></tr>'
        for number, step in enumerate(steps, 1)
    )
    head = '<tr><th></th><th>Step</th><th>Tool and version</th><th>Parameters</th></tr>'
    return f'<table class="steps"><thead>{head}</thead><tbody>{rows}</tbody></table>'


def _parameters(values: Mapping[str, object]) -> str:
    return ''.join(
        f'<span class="parameter"><span>{escape(label(key))}</span> '
        f'<code>{escape(shown(value))}</code></span>'
        for key, value in values.items()
    )


def times_html(times: Mapping[str, float]) -> str:
    """Seconds of each step, with bars."""
    longest = max([*times.values(), 1e-9])
    rows = ''.join(
        f'<tr><th scope="row">{escape(label(name))}</th><td class="number">{seconds:.1f} s</td>'
        f'<td class="bar"><span style="width:{100 * max(0, seconds) / longest:.1f}%"></span></td>'
        '</tr>'
        for name, seconds in times.items()
    )
    return f'<table class="times"><tbody>{rows}</tbody></table>' if rows else ''
