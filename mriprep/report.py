"""Reportlets to one HTML page a subject, through NiReports.

NiReports links to figures and to style sheets on the web. Here each reportlet is first written as
an HTML fragment with its figure inside, into a temporary folder that holds nothing else; NiReports
indexes that folder and joins the fragments with a template of our own. So the page is one file
that works without network, and its cost does not grow with the number of subjects.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import count
from pathlib import Path

from mriprep.files import written_whole
from mriprep.issues import Issue, Severity
from mriprep.naming import report_path
from mriprep.shelf import CAPTIONS, NOT_MADE, PARTS, Shelf
from mriprep.sidecars import split_name
from mriprep.tables import (
    StepLike,
    rows_html,
    shown,
    steps_html,
    summary_html,
    times_html,
    without_paths,
)

STOPPED = 'an error came first; see <a href="#Errors">Errors</a>'


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """What the report says about one session, apart from its figures."""

    session: str | None = None  # without 'ses-'
    summary: Mapping[str, object] = field(default_factory=dict)
    contrasts: Sequence[str] = ()  # labels of those that were planned, the reference first
    images: Sequence[Mapping[str, object]] = ()  # rows of a table, one image each
    runs: Sequence[Mapping[str, object]] = ()  # the same; told only where there was a choice
    steps: Sequence[StepLike] = ()
    spaces: Sequence[str] = ()  # labels of the templates that were asked for
    figures: Sequence[str] = ()  # file names that were planned; empty: what `contrasts` gives


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
            reason = STOPPED if failed & {record.session, None} else 'no such file'
            if sessions and record not in sessions:
                reason = ''
            for name, html in _session_pieces(figures, record, reason=reason, numbers=numbers):
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
    found = {split_name(path.name).entities.get('ses') for path in figures.glob('sub-*')}
    others = found - {record.session for record in planned}
    records = [*planned, *(SessionRecord(session=session) for session in others)]
    return sorted(records or [SessionRecord()], key=lambda record: record.session or '')


def _session_pieces(
    figures: Path, record: SessionRecord, *, reason: str, numbers: Iterator[int]
) -> Iterator[tuple[str, str]]:
    """Name and HTML of each reportlet of one session.

    ``reason`` says why a figure may be missing; without one nothing was planned, and what is
    there is shown.
    """
    shelf = Shelf.of(figures, record, reason, numbers)
    summary = summary_html(record.summary)
    for title, rows in (
        ('Images of this session', record.images),
        ('Which runs were used', record.runs),
    ):
        summary += f'<h4>{title}</h4>{rows_html(rows)}' if rows else ''
    if summary := summary + shelf.kept('summary'):
        yield 'summary', summary
    for desc in NOT_MADE:
        parts = PARTS.get(desc, (desc,))
        blocks = {contrast: shelf.block(contrast, parts) for contrast in shelf.contrasts}
        told = [
            (shelf.heading(contrast) if len(blocks) > 1 else '') + html
            for contrast, html in blocks.items()
            if html
        ]
        if told:
            caption = CAPTIONS.get(desc, '')
            caption = (
                f'<p class="caption">{escape(caption)}</p>' if '<svg' in ''.join(told) else ''
            )
            yield desc, caption + ''.join(told)
    steps = steps_html(record.steps) if record.steps else shelf.kept('steps')
    if steps and reason == STOPPED:
        steps = f'<p class="missing">Planned, but not all of it was done: {reason}.</p>{steps}'
    reason = reason or 'this session was not part of this run'
    yield 'steps', steps or f'<p class="missing">Steps are not known: {reason}.</p>'


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
