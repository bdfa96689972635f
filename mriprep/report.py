"""Reportlets to one HTML page a subject, through NiReports.

NiReports links to figures and to style sheets on the web. Here each reportlet is first written as
an HTML fragment with its figure inside, into a temporary folder that holds nothing else; NiReports
indexes that folder and joins the fragments with a template of our own. So the page is one file
that works without network, and its cost does not grow with the number of subjects.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import count
from pathlib import Path

from mriprep.files import written_whole
from mriprep.issues import Issue, Severity
from mriprep.naming import report_path
from mriprep.tables import StepLike, shown, steps_html, summary_html, times_html, without_paths

CAPTIONS = {
    'brain': (
        'Contour of the brain mask over the T1w image. It should follow the surface of the brain: '
        'no skull, eyes or neck inside, no cortex or cerebellum outside. A blue contour is the '
        'mask that it was compared with.'
    ),
    'bias': (
        'The same slices before and after N4, shown in the same grey window, and the field that '
        'was divided out (inside the brain mask). The field should be smooth and show no anatomy; '
        'white matter should be even after the correction.'
    ),
    'histogram': (
        'Intensities in the brain before (grey) and after (black) N4, and outside of it (dashed); '
        'peaks of tissues should become narrower.'
    ),
    'registration': (
        'The registered image and the template in turns: hold the pointer on the picture, or tap '
        'it. Ventricles and the outline of the brain should stay in place.'
    ),
}
NOT_MADE = {
    'audit': 'The header audit',
    'brain': 'The picture of the brain mask',
    'guard': 'The verdict on the brain mask',
    'bias': 'The picture of the bias field',
    'histogram': 'The picture of the histograms',
    'registration': 'The picture of the registration',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """What the report says about one session, apart from its figures."""

    session: str | None = None  # without 'ses-'
    summary: Mapping[str, object] = field(default_factory=dict)
    steps: Sequence[StepLike] = ()
    spaces: Sequence[str] = ()  # labels of the templates that were asked for


def write_subject_report(
    out_dir: Path,
    subject: str,
    run_id: str,
    *,
    summary: Mapping[str, object],
    methods: str,
    errors: Sequence[Issue | str],
    versions: Mapping[str, str],
    command: str,
    times: Mapping[str, float],
    sessions: Sequence[SessionRecord] = (),
    bibtex: str = '',
    date: str = '',
) -> Path:
    """Write ``sub-X.html``, one file with everything inside.

    Figures are read from ``sub-X/figures``; those that are missing are said to be. Paths of this
    machine are taken out of every text.

    Parameters
    ----------
    out_dir : Path
        Output folder of the run; must exist.
    subject : str
        Label without ``sub-``.
    run_id : str
        Name of the run's folder in ``logs``.
    summary : mapping
        What is told of the subject as a whole.
    methods : str
        Markdown from `mriprep.prose.methods_text`.
    errors : sequence of Issue or str
        What went wrong or is doubtful.
    versions : mapping of str to str
        Tool to version.
    command : str
        Command line of the run.
    times : mapping of str to float
        Seconds of each step.
    sessions : sequence of SessionRecord
        What was planned; sessions that only have figures are shown too.
    bibtex : str
        From `mriprep.prose.methods_bibliography`.
    date : str
        When the run was made, as it should be read.

    Returns
    -------
    Path
        The page, written whole or not at all.
    """
    from nireports.assembler.report import Report

    page = out_dir / report_path(subject)
    roots = (str(out_dir), str(out_dir.resolve()))
    issues = [item if isinstance(item, Issue) else _as_issue(item) for item in errors]
    pieces = {
        'overview': _status(issues) + summary_html(summary),
        'methods': _methods(methods, bibtex),
        'about': _about(run_id, versions, command, times, date, roots),
        'errors': _issues(issues, roots),
    }
    with tempfile.TemporaryDirectory(prefix='mriprep-report-') as scratch:
        folder = Path(scratch) / f'sub-{subject}' / 'figures'
        folder.mkdir(parents=True)
        for name, html in pieces.items():
            _stage(folder, f'sub-{subject}', name, html)
        figures = out_dir / f'sub-{subject}' / 'figures'
        failed = {issue.session for issue in issues if issue.severity is Severity.ERROR}
        numbers = count(1)
        records = _all_sessions(figures, sessions)
        for record in records:
            # NiReports leaves out what has no session when something else has one
            session = record.session or ('none' if len(records) > 1 else '')
            stem = f'sub-{subject}' + (f'_ses-{session}' if session else '')
            stopped = bool(failed & {record.session, None})
            for name, html in _session_pieces(figures, record, failed=stopped, numbers=numbers):
                _stage(folder, stem, name, html)
        with written_whole(page) as beside:
            report = Report(  # type: ignore[no-untyped-call]
                scratch,
                run_id,
                bootstrap_file=_package_file('reports-spec.yml'),
                out_filename=str(beside),
                reportlets_dir=scratch,
                metadata={'template_path': str(_package_file('report.html'))},
                plugins=[],
                subject=subject,
            )
            report.generate_report()  # type: ignore[no-untyped-call]
    return page


def _package_file(name: str) -> Path:
    return Path(__file__).parent / 'data' / name


def _stage(folder: Path, stem: str, desc: str, html: str) -> None:
    (folder / f'{stem}_desc-{desc}_T1w.html').write_text(html, encoding='utf-8')


def _as_issue(text: str) -> Issue:
    return Issue(severity=Severity.ERROR, where='', problem=text, remedy='')


def _all_sessions(figures: Path, planned: Sequence[SessionRecord]) -> list[SessionRecord]:
    """Planned sessions, and those that earlier runs left figures of."""
    found = {
        match[1] if (match := re.search(r'_ses-([A-Za-z0-9]+)_', path.name)) else None
        for path in figures.glob('sub-*')
    }
    others = found - {record.session for record in planned}
    records = [*planned, *(SessionRecord(session=session) for session in others)]
    return sorted(records or [SessionRecord()], key=lambda record: record.session or '')


def _session_pieces(
    figures: Path, record: SessionRecord, *, failed: bool, numbers: Iterator[int]
) -> Iterator[tuple[str, str]]:
    """Name and HTML of each reportlet of one session."""
    reason = 'an error came first; see <a href="#Errors">Errors</a>' if failed else 'no such file'
    kept = _files(figures, record.session, 'summary')
    summary = summary_html(record.summary) + ''.join(_read(path, numbers) for path in kept)
    if summary:
        yield 'summary', summary
    for desc, what in NOT_MADE.items():
        html = []
        wanted: dict[str, list[Path]] = {}
        if desc == 'registration':
            wanted = {space: [] for space in record.spaces}
        for path in _files(figures, record.session, desc):
            match = re.search(r'_space-([A-Za-z0-9+]+)_', path.name)
            wanted.setdefault(match[1] if match else '', []).append(path)
        for space, paths in (wanted or {'': []}).items():
            title = f'<h4>{escape(space)}</h4>' if space else ''
            pictures = ''.join(_read(path, numbers, CAPTIONS.get(desc, '')) for path in paths)
            if not pictures and (space or desc != 'registration'):
                pictures = f'<p class="missing">{what} was not made: {reason}.</p>'
            html.append(title + pictures if pictures else '')
        if joined := ''.join(html):
            yield desc, joined
    kept = _files(figures, record.session, 'steps')
    steps = steps_html(record.steps) if record.steps else ''
    steps = steps or ''.join(_read(path, numbers) for path in kept)
    if failed and steps:
        steps = f'<p class="missing">Planned, but not all of it was done: {reason}.</p>{steps}'
    yield 'steps', steps or f'<p class="missing">Steps are not known: {reason}.</p>'


def _files(figures: Path, session: str | None, desc: str) -> list[Path]:
    """Find figures of a session, in the order of their names."""
    return sorted(
        path
        for path in figures.glob(f'sub-*_desc-{desc}_*')
        if path.suffix in ('.svg', '.html')
        and (f'_ses-{session}_' in path.name if session else '_ses-' not in path.name)
    )


def _read(path: Path, numbers: Iterator[int], caption: str = '') -> str:
    """Take a figure or a fragment into the page; '' when the file is broken."""
    text = path.read_text(encoding='utf-8', errors='replace').strip()
    if path.suffix == '.html':
        return text
    start = text.find('<svg')
    if start < 0 or not text.endswith('</svg>'):
        return ''
    # names inside a figure must not meet those of another one on the page
    text = re.sub(r'\b(id="|url\(#|href="#)', rf'\1f{next(numbers)}-', text[start:])
    told = f'<figcaption>{escape(caption)}</figcaption>' if caption else ''
    return f'<figure>{told}{text}</figure>'


def _status(issues: Iterable[Issue]) -> str:
    """One line that says whether the reader may go on."""
    counts = dict.fromkeys(Severity, 0)
    for issue in issues:
        counts[issue.severity] += 1
    link = '<a href="#Errors">what and what to do</a>'
    if errors := counts[Severity.ERROR]:
        told = 'one error' if errors == 1 else f'{errors} errors'
        return f'<p class="bad">Not finished: <strong>{told}</strong>. See {link}.</p>'
    if warnings := counts[Severity.WARNING]:
        told = 'one warning' if warnings == 1 else f'{warnings} warnings'
        return f'<p class="warning">Finished, with <strong>{told}</strong>: {link}.</p>'
    return '<p class="good">Finished without errors.</p>'


def _issues(issues: Sequence[Issue], roots: Iterable[str]) -> str:
    """Lists of errors, warnings and notes, most serious first."""
    kinds = {
        Severity.ERROR: ('bad', 'Errors'),
        Severity.WARNING: ('warning', 'Warnings'),
        Severity.NOTE: ('missing', 'Notes'),
    }
    html = []
    for severity, (kind, title) in kinds.items():
        rows = [
            f'<li>{_lines(without_paths(str(issue), roots))}</li>'
            for issue in issues
            if issue.severity is severity
        ]
        if rows:
            html.append(
                f'<div class="{kind}"><strong>{title}</strong><ul>{"".join(rows)}</ul></div>'
            )
    return ''.join(html) or '<p class="good">Nothing to report.</p>'


def _lines(text: str) -> str:
    """The first line for everybody, the others folded away."""
    first, _, rest = text.strip().partition('\n')
    folded = f'<details><summary>details</summary><pre>{escape(rest)}</pre></details>'
    return escape(first) + (folded if rest.strip() else '')


def _methods(markdown: str, bibtex: str) -> str:
    from markdown_it import MarkdownIt

    if not markdown.strip():
        return '<p class="missing">No methods text was written.</p>'
    text = MarkdownIt('commonmark', {'html': False}).render(markdown)
    entries = f'<details><summary>BibTeX</summary><pre>{escape(bibtex)}</pre></details>'
    return f'<div class="methods">{text}</div>{entries if bibtex else ""}'


def _about(
    run_id: str,
    versions: Mapping[str, str],
    command: str,
    times: Mapping[str, float],
    date: str,
    roots: Iterable[str],
) -> str:
    run = {'run': run_id, 'date': date} if date else {'run': run_id}
    told = ''.join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(shown(version))}</td></tr>'
        for name, version in versions.items()
    )
    seconds = times_html(times)
    return (
        f'{summary_html(run)}'
        f'<h3>Command</h3><pre>{escape(without_paths(command, roots))}</pre>'
        '<p>Folders are left out, so that the page tells nothing of the machine.</p>'
        '<div class="beside">'
        f'<div><h3>Versions</h3><table class="pairs"><tbody>{told}</tbody></table></div>'
        f'<div><h3>Time of each step</h3>{seconds or "<p>Not measured.</p>"}</div>'
        '</div>'
    )
