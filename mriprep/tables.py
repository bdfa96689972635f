"""Records to HTML fragments for the report: escaped, and without paths of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Protocol, TypeGuard

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
    'merge': 'Average the runs',
    'extract': 'Extract the brain',
    'coregister': 'Co-register to the reference',
    'bias': 'Correct the bias field',
    'longitudinal': 'Average the sessions',
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
NOT_FOUND = {
    'given': 'Given',
    'stripped': 'Already stripped: taken from the image',
    'reference': 'Taken from the reference',
}


def rows_html(rows: Sequence[Mapping[str, object]]) -> str:
    """Tell of several things alike: one row each, columns in the order in which keys appear.

    Columns without any value are left out, as are folders before the name of an ``image``. Cells
    that begin with the words for a doubtful or a refused result are coloured.
    """
    keys = dict.fromkeys(key for row in rows for key in row)
    keys = {
        key: None for key in keys if any(row.get(key) not in (None, '', (), []) for row in rows)
    }
    if not keys:
        return ''
    head = ''.join(f'<th>{escape(label(key))}</th>' for key in keys)
    body = ''.join(f'<tr>{"".join(_cell(key, row.get(key)) for key in keys)}</tr>' for row in rows)
    return f'<table class="rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(key: str, value: object) -> str:
    """One value; sentences of a list stand below each other."""
    listed = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
    if all(isinstance(item, str) for item in listed):
        words = [str(item).rsplit('/', 1)[-1] if key == 'image' else item for item in listed]
        text = '<br>'.join(escape(shown(item)) for item in words) or shown(None)
    else:
        text = escape(shown(value))
    for status in ('doubtful', 'refused'):
        if text.startswith(VERDICTS[status].split(':', 1)[0]):
            return f'<td class="{status}">{text}</td>'
    if key == 'contrast':
        return f'<th scope="row">{text}</th>'
    return f'<td class="file">{text}</td>' if key == 'image' else f'<td>{text}</td>'


def verdict_words(verdict: Mapping[str, object]) -> str:
    """Sum up what the guard says of a mask, for the foot of its picture.

    Examples
    --------
    >>> verdict_words({'mask_status': 'doubtful', 'mask_extractor': 'deepbet',
    ...     'mask_compared_with': 'template', 'mask_agreement_dice': 0.913})
    'Orange: deepbet, doubtful: look at it. Blue: template, Dice 0.91.'
    >>> verdict_words({'mask_status': 'accept', 'mask_extractor': 'stripped'})
    'Already stripped: taken from the image, believed.'
    """
    status = VERDICTS.get(str(verdict.get('mask_status')), '')
    found = str(verdict.get('mask_extractor') or '')
    if rival := verdict.get('mask_compared_with'):
        agreement = verdict.get('mask_agreement_dice')
        overlap = f', Dice {agreement:.2f}' if isinstance(agreement, float) else ''
        return f'Orange: {", ".join(filter(None, [found, status]))}. Blue: {rival}{overlap}.'
    if not found:
        return f'The mask is {status}.' if status else ''
    return f'{", ".join(filter(None, [NOT_FOUND.get(found, f"Found by {found}"), status]))}.'


def warning_words(verdict: Mapping[str, object], what: str = '') -> str:
    """Word what is doubtful, for the head of a picture; '' when nothing is.

    Parameters
    ----------
    verdict
        As `checks_html` takes it. Doubts of a mask are left to its table.
    what
        What was judged; '' for a mask: then only a doubt of the contrast is told.

    Examples
    --------
    >>> warning_words({'status': 'doubtful', 'reasons': ['Masks overlap by 0.81.']}, 'It')
    'It is doubtful: look at it. Masks overlap by 0.81.'
    """
    words = []
    if what and (status := str(verdict.get('status'))) in ('doubtful', 'refused'):
        words = [f'{what} is {VERDICTS[status]}.', *_reasons(verdict)]
    return ' '.join([*words, *_listed(verdict.get('contrast_doubt'))])


def guard_html(verdict: Mapping[str, object]) -> str:
    """Tell what the guard measured of a mask, one row a check, and what was tried.

    ``verdict`` is what `mriprep.extractors.verdicts.record` gives.
    """
    plain = {key.removeprefix('mask_'): value for key, value in verdict.items()}
    tried = plain.pop('attempts', None)
    return checks_html(plain, 'The mask', _attempts_html(tried))


def checks_html(verdict: Mapping[str, object], what: str, tried: str = '') -> str:
    """Tell what a guard measured: doubts first, then one row a check.

    Parameters
    ----------
    verdict : mapping
        ``status``, one of `VERDICTS`; ``checks``, a list of what `mriprep.criteria.Check.record`
        gives; ``reasons``, a list of sentences, otherwise those of the checks; ``attempts``, a
        list of rows about what was tried; ``contrast_doubt``, a sentence. All may be absent.
    what : str
        What was judged: ``'The mask'``.
    tried : str
        HTML about what was tried, instead of ``attempts``.
    """
    status = str(verdict.get('status'))
    title = f'{what} is {VERDICTS[status]}' if status in VERDICTS else f'{what} was not judged'
    kind = 'bad' if status == 'refused' else 'warning'
    told = _sentences(verdict.get('contrast_doubt'), 'warning', 'Is this the right contrast?', '')
    told += _sentences(_reasons(verdict), kind, title, '') or f'<p>{title}.</p>'
    attempts = verdict.get('attempts')
    tried = tried or rows_html(attempts if isinstance(attempts, list) else [])
    checks = _checks(verdict)
    odd = [check for check in checks if check.get('status') != 'accept']
    told += tried + (_table_of_checks(odd) if odd else '')
    if not checks:
        return told
    folded = f'<summary>All {len(checks)} checks</summary>{_table_of_checks(checks)}'
    return f'{told}<details>{folded}</details>'


def _checks(verdict: Mapping[str, object]) -> list[Mapping[str, object]]:
    checks = verdict.get('checks')
    return [check for check in checks if isinstance(check, Mapping)] if _is_list(checks) else []


def _reasons(verdict: Mapping[str, object]) -> list[str]:
    """Sentences that tell why something is doubtful."""
    if 'reasons' in verdict:
        return _listed(verdict['reasons'])
    return [str(check['words']) for check in _checks(verdict) if check.get('words')]


def _table_of_checks(checks: Sequence[Mapping[str, object]]) -> str:
    rows = ''.join(
        f'<tr class="{escape(str(check.get("status")))}">'
        f'<th scope="row">{escape(label(check.get("name")))}</th>'
        f'<td class="number">{escape(shown(check.get("value")))} '
        f'{escape(str(check.get("unit") or ""))}</td>'
        f'<td>{escape(_range(check.get("accept")))}</td>'
        f'<td>{escape(_range(check.get("believe")))}</td>'
        f'<td>{escape(str(check.get("reason") or ""))}</td></tr>'
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
    listed = _listed(items)
    if not listed:
        return f'<p>{otherwise}</p>' if otherwise else ''
    head = f'<strong>{title}</strong>' if title else ''
    rows = ''.join(f'<li>{escape(item)}</li>' for item in listed)
    return f'<div class="{kind}">{head}<ul>{rows}</ul></div>'


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _listed(items: object) -> list[str]:
    """Sentences as a list, whether there is none, one or a list of them."""
    if isinstance(items, str):
        return [items] if items else []
    return [shown(item) for item in items] if _is_list(items) else []


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
