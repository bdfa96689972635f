"""The page of a subject: one file, everything inside, nothing of the machine, also after failure."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from mriprep.figures import mask_contour, template_overlay
from mriprep.issues import Issue, Severity
from mriprep.report import SessionRecord, write_subject_report
from mriprep.svg import save_svg

SECTIONS = ['Summary', 'Anatomical', 'Steps', 'Methods', 'About', 'Errors']
STEP = SimpleNamespace(
    name='bias', tool='N4', version='2.6', parameters={'shrink_factor': 4}, space=None
)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """SVG files of a mask and of a registration."""
    folder = tmp_path_factory.mktemp('pictures')
    mask = np.zeros((12, 14, 10), bool)
    mask[3:9, 3:11, 2:8] = True
    volume = mask * 50.0 + np.arange(10)
    affine = np.diag([4.0, 4, 4, 1])
    return SimpleNamespace(
        mask=save_svg(mask_contour(volume, affine, mask, count=2), folder / 'mask.svg'),
        overlay=save_svg(
            template_overlay(volume, volume, mask, affine, count=2), folder / 'overlay.svg'
        ),
    )


@pytest.fixture
def out(tmp_path):
    """Output folder whose path would be noticed in a page."""
    folder = tmp_path / 'jane doe' / 'out'
    (folder / 'sub-01' / 'figures').mkdir(parents=True)
    return folder


def _put(out, name, source):
    text = source if isinstance(source, str) else source.read_text()
    (out / 'sub-01' / 'figures' / f'sub-01_{name}').write_text(text)


def _page(out, **changes):
    values = {
        'summary': {'T1w images': 1},
        'methods': '### Preprocessing\n\nDone with *care* [doi:1](https://doi.org/10.1/1).',
        'errors': [],
        'versions': {'mriprep': '0.1'},
        'command': f'mriprep /data/raw "{out}" participant -w /scratch/jane/w',
        'times': {'bias': 4.2},
        'sessions': [SessionRecord(steps=[STEP])],
    }
    path = write_subject_report(out, '01', 'run1', **(values | changes))
    assert path == out / 'sub-01.html'
    return path.read_text(encoding='utf-8')


class _Outline(HTMLParser):
    """Ids, links and tags of a page; raises when tags are not balanced."""

    VOID = frozenset({'meta', 'br', 'hr', 'img', 'input', 'link'})

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.tags, self.open = [], [], set(), []
        self.feed(text)
        assert not self.open

    def handle_startendtag(self, tag, attrs):
        self.note(tag, attrs)

    def handle_starttag(self, tag, attrs):
        self.note(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def note(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        if 'id' in values:
            self.ids.append(values['id'])
        self.links += [
            values[key] for key in ('href', 'src', 'data', 'xlink:href') if key in values
        ]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_one_file_with_every_section(out, pictures):
    _put(out, 'desc-brain_T1w.svg', pictures.mask)
    _put(out, 'desc-audit_T1w.html', '<p>header was fine</p>')
    _put(out, 'space-MNI152NLin2009aSym_desc-registration_T1w.svg', pictures.overlay)
    text = _page(out, sessions=[SessionRecord(steps=[STEP], spaces=['MNI152NLin2009aSym'])])
    outline = _Outline(text)
    assert [name for name in outline.ids if name in SECTIONS] == SECTIONS
    assert not outline.tags & {'object', 'img', 'iframe', 'link', 'script'}
    for link in outline.links:
        assert link.startswith(('#', 'data:image/jpeg', 'https://doi.org/')), link[:80]
    assert not re.search(r'@import|url\((?!#)', text)
    assert text.count('<svg') == 2
    assert 'header was fine' in text
    assert sorted(path.name for path in out.iterdir()) == ['sub-01', 'sub-01.html']


def test_links_inside_the_page_lead_somewhere(out, pictures):
    _put(out, 'desc-brain_T1w.svg', pictures.mask)
    _put(out, 'desc-bias_T1w.svg', pictures.mask)  # the same names inside
    text = _page(out, errors=['failed'])
    outline = _Outline(text)
    assert len(outline.ids) == len(set(outline.ids))
    targets = [link[1:] for link in outline.links if link.startswith('#')]
    targets += re.findall(r'url\(#([^)]+)\)', text)
    assert set(targets) <= set(outline.ids)


def test_flicker_works_inside_the_page(out, pictures):
    _put(out, 'space-MNI152NLin2009aSym_desc-registration_T1w.svg', pictures.overlay)
    text = _page(out)
    assert '.mriprep-flicker:hover .mriprep-front' in text
    assert re.search(r'<svg[^>]*class="mriprep-flicker"', text)
    assert '<g class="mriprep-front"' in text


def test_figures_are_left_alone(out, pictures):
    _put(out, 'desc-brain_T1w.svg', pictures.mask)
    figure = out / 'sub-01' / 'figures' / 'sub-01_desc-brain_T1w.svg'
    before = figure.stat()
    _page(out)
    after = figure.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_nothing_of_the_machine_is_told(out, tmp_path):
    text = _page(
        out,
        errors=[
            f'{out}/sub-01/anat/x.nii.gz: broken\nFile "/opt/venv/lib/nipype/core.py", line 3'
        ],
        summary={'input': '/data/jane/raw'},
    )
    for absent in (str(tmp_path), 'jane', '/scratch', '/opt/venv', '/tmp'):
        assert absent not in text
    assert 'sub-01/anat/x.nii.gz: broken' in text
    assert '…/core.py' in text


def test_missing_figures_are_said_to_be_missing(out):
    text = _page(
        out,
        errors=['N4 ended with code 1'],
        sessions=[SessionRecord(spaces=['MNI152NLin2009aSym', 'MNIPediatricAsym+3'])],
    )
    for what in ('header audit', 'brain mask', 'bias field', 'histograms'):
        assert re.search(f'{what} was not made: an error came first', text)
    assert text.count('picture of the registration was not made') == 2
    assert 'MNIPediatricAsym+3' in text
    assert 'Not finished: <strong>one error</strong>' in text
    _Outline(text)


def test_page_is_written_without_a_figures_folder(tmp_path):
    text = _page(tmp_path, sessions=[], errors=['the file is empty (0 bytes)'])
    assert 'the file is empty (0 bytes)' in text
    assert 'Steps are not known' in text


@pytest.mark.parametrize('content', ['', '<svg viewBox="0 0 1 1"><g>', 'no picture'])
def test_broken_figures_count_as_missing(out, content):
    _put(out, 'desc-brain_T1w.svg', content)
    assert 'brain mask was not made' in _page(out)


def test_sessions_have_their_own_figures(out, pictures):
    _put(out, 'ses-a_desc-brain_T1w.svg', pictures.mask)
    _put(out, 'ses-b_acq-x_desc-brain_T1w.svg', pictures.mask)
    _put(out, 'ses-old_desc-audit_T1w.html', '<p>from an earlier run</p>')
    text = _page(
        out,
        sessions=[
            SessionRecord(session='a', summary={'volume_ml': 1400.0}, steps=[STEP]),
            SessionRecord(session='b', steps=[STEP]),
            SessionRecord(session='c', steps=[STEP]),
        ],
        errors=[
            Issue(severity=Severity.ERROR, where='c.nii.gz', problem='cut', remedy='', session='c')
        ],
    )
    anatomical = text[text.index('<section id="Anatomical"') : text.index('<section id="Steps"')]
    parts = re.split(r'<h2>Session <span class="bids-entity">(\w+)</span></h2>', anatomical)
    told = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(told) == ['a', 'b', 'c', 'old']
    assert [name for name, part in told.items() if '<svg' in part] == ['a', 'b']
    assert 'volume (ml)' in told['a']
    assert 'no such file' in told['a']
    assert 'an error came first' in told['c']
    assert 'from an earlier run' in told['old']
    assert text.count('not all of it was done') == 1


def test_spaces_are_titled_and_other_sessions_stay_out(out, pictures):
    _put(out, 'space-MNIPediatricAsym+3_desc-registration_T1w.svg', pictures.overlay)
    _put(out, 'ses-a_desc-registration_T1w.svg', pictures.overlay)
    text = _page(out, sessions=[SessionRecord(spaces=['MNIPediatricAsym+3'])])
    none, told = text.index('Session <span class="bids-entity">none'), text.index('<h4>MNIPed')
    assert text.index('Session <span class="bids-entity">a<') < none < told
    assert text[told:].startswith('<h4>MNIPediatricAsym+3</h4><figure>')


def test_issues_are_sorted_by_weight_and_escaped(out):
    issues = [
        Issue(severity=Severity.NOTE, where='', problem='a note', remedy=''),
        Issue(severity=Severity.WARNING, where='x.nii', problem='tilt <b>', remedy='look'),
        '<script>alert(1)</script>\nTraceback <1>',
    ]
    text = _page(out, errors=issues)
    errors = text[text.index('<section id="Errors"') :]
    assert errors.index('alert(1)') < errors.index('x.nii: tilt &lt;b&gt;; look')
    assert errors.index('x.nii') < errors.index('a note')
    assert '<script' not in text
    assert '<pre>Traceback &lt;1&gt;</pre>' in errors


@pytest.mark.parametrize(
    ('severity', 'told'),
    [(Severity.NOTE, 'Finished without errors.'), (Severity.WARNING, 'one warning')],
)
def test_status_tells_what_matters(out, severity, told):
    issue = Issue(severity=severity, where='', problem='p', remedy='')
    assert told in _page(out, errors=[issue])


def test_methods_are_rendered_but_not_as_html(out):
    text = _page(out, methods='with *care* <img src=x>', bibtex='@article{a,\n}')
    assert 'with <em>care</em> &lt;img' in text
    assert '@article{a,' in text


def test_failure_while_writing_keeps_the_old_page(out, monkeypatch):
    old = _page(out)

    def broken(*_):
        raise OSError('disk full')

    monkeypatch.setattr('nireports.assembler.report.Report.generate_report', broken)
    with pytest.raises(OSError, match='disk full'):
        _page(out)
    assert (out / 'sub-01.html').read_text(encoding='utf-8') == old
    assert sorted(path.name for path in out.iterdir()) == ['sub-01', 'sub-01.html']


def _section(text, name):
    """HTML of one reportlet, up to the next."""
    start = text.index(f'<div id="{name}_')
    return text[start : text.find('<div id="', start + 1)]


CONTRASTS = ['FLAIR', 'T1w', 'ceT1w']  # the reference first, not as the enumeration has them


def test_each_contrast_has_its_block_the_reference_first(out, pictures):
    for name in ('desc-brain_FLAIR', 'ce-gd_desc-brain_T1w', 'desc-brain_T1w', 'desc-brain_PDw'):
        _put(out, f'{name}.svg', pictures.mask)
    text = _page(out, sessions=[SessionRecord(contrasts=CONTRASTS, steps=[STEP])])
    part = _section(text, 'desc-brain')
    found = re.findall(r'<h4 class="contrast">(.*?)</h4>', part)
    assert found == [
        'FLAIR <small>reference</small>', 'T1w', 'T1w with contrast agent', 'PDw',
    ]  # fmt: skip
    assert part.count('<svg') == 4
    assert part.count('class="caption"') == 1
    assert 'T1w image' not in part
    _Outline(text)


def test_missing_figures_of_planned_contrasts_are_named(out, pictures):
    _put(out, 'desc-brain_FLAIR.svg', pictures.mask)
    _put(out, 'ce-gd_desc-brain_T1w.svg', pictures.mask)
    text = _page(out, sessions=[SessionRecord(contrasts=CONTRASTS, spaces=['TPL'])])
    part = _section(text, 'desc-brain')
    blocks = re.split(r'<h4 class="contrast">(\w+)', part)
    missing = [name for name, html in zip(blocks[1::2], blocks[2::2], strict=True)
               if 'was not made' in html and '<svg' not in html]  # fmt: skip
    assert missing == ['T1w']
    joined = _section(text, 'desc-coregistration')
    assert re.findall(r'class="contrast">([^<]*)<', joined) == ['T1w', 'T1w with contrast agent']
    assert joined.count('The picture of the co-registration was not made') == 2
    assert joined.count('The verdict on the co-registration was not made') == 2
    registered = _section(text, 'desc-registration')
    assert registered.count('was not made') == 1
    assert 'id="desc-lesion' not in text


def test_one_contrast_needs_no_headings(out, pictures):
    _put(out, 'desc-brain_FLAIR.svg', pictures.mask)
    text = _page(out, sessions=[SessionRecord(contrasts=['FLAIR'])])
    assert 'class="contrast"' not in text
    assert 'co-registration' not in text
    assert '<svg' in _section(text, 'desc-brain')


def test_planned_names_say_what_is_missing(out, pictures):
    _put(out, 'desc-brain_T2w.svg', pictures.mask)
    names = [
        'sub-01_desc-brain_T1w.svg',
        'sub-01_desc-guard_T1w.html',
        'sub-01_desc-brain_T2w.svg',
    ]
    text = _page(out, sessions=[SessionRecord(contrasts=['T1w', 'T2w'], figures=names)])
    assert text.count('was not made') == 2
    assert re.findall(r'class="contrast">(\w+)', _section(text, 'desc-guard')) == ['T1w']


def test_picture_and_verdict_of_a_coregistration_stand_together(out, pictures):
    for suffix in ('T2w', 'FLAIR'):
        _put(out, f'desc-coregistration_{suffix}.svg', pictures.overlay)
        _put(out, f'desc-coregguard_{suffix}.html', f'<p>verdict on {suffix}</p>')
    text = _page(out, sessions=[SessionRecord(contrasts=['T1w', 'T2w', 'FLAIR'])])
    part = _section(text, 'desc-coregistration')
    order = [part.index(words) for words in ('>T2w<', 'verdict on T2w', '>FLAIR<', 'on FLAIR')]
    assert order == sorted(order)
    assert part.count('<svg') == 2
    assert text.count('verdict on T2w') == 1


def test_runs_of_one_contrast_are_told_apart(out):
    for run in ('1', '2'):
        _put(out, f'acq-x_run-{run}_desc-audit_T1w.html', f'<p>header {run}</p>')
    part = _section(_page(out), 'desc-audit')
    assert re.findall(r'<h5>(.*?)</h5><p>(.*?)</p>', part) == [
        ('run-1', 'header 1'), ('run-2', 'header 2'),
    ]  # fmt: skip


def test_lesions_are_shown_where_there_are_some(out, pictures):
    _put(out, 'desc-lesion_FLAIR.svg', pictures.mask)
    text = _page(out, sessions=[SessionRecord(contrasts=['T1w', 'FLAIR'])])
    assert re.findall(r'class="contrast">(\w+)', _section(text, 'desc-lesion')) == ['FLAIR']


def test_images_and_runs_of_a_session_have_tables(out):
    images = [
        {'contrast': 'T1w', 'image': 'sub-01/anat/sub-01_T1w.nii.gz', 'role': 'reference'},
        {'contrast': 'T2w', 'image': 'sub-01/anat/sub-01_T2w.nii.gz', 'role': 'other',
         'brain mask': 'doubtful: look at it'},
    ]  # fmt: skip
    runs = [{'image': 'run-1', 'use': 'left out', 'why': 'coarse voxels'}]
    text = _page(out, sessions=[SessionRecord(images=images, runs=runs, summary={'age': 3})])
    part = _section(text, 'desc-summary')
    order = [
        part.index(words)
        for words in ('age', 'Images of this session', 'sub-01_T2w.nii.gz', 'Which runs', 'coarse')
    ]
    assert order == sorted(order)
    assert '<td class="doubtful">doubtful: look at it</td>' in part
    assert 'Which runs' not in _page(out, sessions=[SessionRecord(images=images)])


def test_sessions_of_other_runs_are_not_blamed(out, pictures):
    _put(out, 'ses-old_desc-brain_FLAIR.svg', pictures.mask)
    text = _page(out, sessions=[SessionRecord(session='new', contrasts=['T1w'], steps=[STEP])])
    old = text[text.index('<div id="desc-brain_session-old') : text.index('id="Steps"')]
    assert '<svg' in old
    assert 'was not made' not in old
    assert 'this session was not part of this run' in text


def test_sessions_and_their_parts_can_be_reached(out, pictures):
    for session in 'ab':
        _put(out, f'ses-{session}_desc-brain_T1w.svg', pictures.mask)
    records = [SessionRecord(session=name, summary={'x': 1}) for name in 'ab']
    text = _page(out, sessions=records)
    nav = text[text.index('<nav') : text.index('</nav>')]
    assert re.findall(r'href="#desc-summary_session-(.)', nav) == ['a', 'b']
    bars = re.findall(r'<div class="bar">.*?</div>', text, re.DOTALL)
    assert re.search(r'href="#desc-brain_session-b[^"]*">Brain mask<', bars[1])
    outline = _Outline(text)
    assert {link[1:] for link in outline.links if link.startswith('#')} <= set(outline.ids)
