"""What is wrong is said in one plain line, and the others are done."""

from __future__ import annotations

import contextlib
import gzip
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import nibabel as nb
import numpy as np
import pytest
from runs import (
    derivatives,
    failures,
    finished,
    half_written,
    newest_log,
    quick,
    run,
    stand_ins,
    validate,
)

from mriprep.phantom import write_bids


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a few things to stumble over; paths of a test are relative to it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    for name, text in {
        'file': 'a regular file',
        'syntax.toml': 'random_seed = = 3\n',
        'unknown.toml': '[registration]\ntransfrom = "rigid"\n',
        'type.toml': '[bias]\nconvergence = "small"\n',
        'choice.toml': 'normalization = "zscor"\n',
        'filters.json': '{"t1w": {"acquisition": ',
        'list.json': '[1, 2]',
        'entity.json': '{"t1w": {"acquisiton": "mprage"}}',
        'plugin.yml': 'plugin: [Linear\n',
        'no_plugin.yml': 'plugin_args: {}\n',
        'nonsense.yml': 'plugin: Nonsense\n',
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def refusal(capsys, *words: str) -> str:
    """Run what must be refused; return the line that says so."""
    code = run(*words)
    said = capsys.readouterr()
    assert code == 2, said.err
    assert not said.out
    *before, line = said.err.splitlines()
    assert line.startswith('mriprep: ')
    assert all(re.match('mriprep: (error|warning|note): ', other) for other in before), said.err
    assert ';' in line or 'must' in line, 'what to do is missing'
    return line


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (['nowhere', 'out'], ['nowhere', 'no such folder']),
        (['file', 'out'], ['file', 'not a folder']),
        (['empty', 'out'], ['empty', 'no T1w or T2w or FLAIR', 'sub-01/anat']),
        (['bids', 'out', '--participant-label', '01', '0x'], ["'0x'", 'nearest: 0', '--particip']),
        (['bids', 'out', '--participant-label', 'sub-zz'], ["'zz'", 'nearest: 01, 02']),
        (['bids', 'out', '--session-label', 'pre'], ["'pre'", '--session-label']),
        (['bids', 'out', '--output-spaces', 'MNI152Nowhere', '--offline'], ['MNI152Nowhere']),
        (['bids', 'out', '--output-spaces', 'MNI152:rez-2'], ['MNI152:rez-2', 'rez-2', 'res-N']),
        (['bids', 'out', '--output-spaces', 'MNI 152'], ['MNI 152', 'malformed']),
        (['bids', 'out', '--output-spaces', 'MNI152NLin2009aSym:res-9'], ['res-9', 'res-2']),
        (['bids', 'out', '--config-file', 'syntax.toml'], ['syntax.toml', 'line 1', 'TOML']),
        (
            ['bids', 'out', '--config-file', 'unknown.toml'],
            ['unknown.toml', 'transfrom', 'transform'],
        ),
        (
            ['bids', 'out', '--config-file', 'type.toml'],
            ['type.toml', 'bias.convergence', 'float'],
        ),
        (
            ['bids', 'out', '--config-file', 'choice.toml'],
            ['choice.toml', 'zscor', 'none, zscore'],
        ),
        (['bids', 'out', '--config-file', 'absent.toml'], ['absent.toml', 'No such file']),
        (['bids', 'out', '--bids-filter-file', 'filters.json'], ['filters.json', 'JSON']),
        (['bids', 'out', '--bids-filter-file', 'list.json'], ['list.json', 't1w']),
        (['bids', 'out', '--bids-filter-file', 'entity.json'], ['acquisiton', 'acquisition']),
        (['bids', 'out', '--bids-filter-file', 'absent.json'], ['absent.json', 'No such file']),
        (['bids', 'bids'], ['bids', 'output folder', 'raw data']),
        (['bids', 'bids/sub-01/out'], ['bids/sub-01/out', 'output folder', 'derivatives']),
        (['bids', 'out', '-w', 'bids/work'], ['bids/work', 'work folder', 'raw data']),
        (['bids', 'file/out'], ['file/out', 'output folder', 'Not a directory']),
        (['bids', 'out', '-w', 'file/work'], ['file/work', 'work folder', '-w']),
        (['bids', 'out', '--use-plugin', 'plugin.yml'], ['plugin.yml']),
        (['bids', 'out', '--use-plugin', 'no_plugin.yml'], ['no_plugin.yml', 'plugin']),
        (['bids', 'out', '--use-plugin', 'nonsense.yml'], ['nonsense.yml', 'Nonsense', 'SLURM']),
        (['bids', 'out', '--run-uuid', '../../evil'], ['--run-uuid', '../../evil']),
        (['bids', 'out', '--nprocs', '0'], ['--nprocs', '0']),
        (['bids', 'out', '--nprocs', 'two'], ['--nprocs', "'two'", '--help']),
        (['bids', 'out', '--nosuchoption'], ['--nosuchoption', '--help']),
    ],
    ids=lambda value: ' '.join(value),
)
def test_what_can_not_be_started_is_refused(here, tiny_bids, capsys, words, told):
    line = refusal(capsys, *words)
    for word in told:
        assert word in line
    assert str(here) not in line, 'names are those that the user gave'
    assert not list(here.glob('out/sub-*'))


def test_a_graph_without_graphviz_is_refused(here, tiny_bids, capsys, monkeypatch):
    monkeypatch.setenv('PATH', str(here / 'empty'))
    line = refusal(capsys, 'bids', 'out', '--write-graph')
    assert '--write-graph' in line
    assert 'Graphviz' in line


def test_all_images_bad_is_refused(here, tiny_bids, capsys):
    for path in tiny_bids.glob('sub-*/anat/*.nii.gz'):
        path.write_bytes(b'')
    line = refusal(capsys, 'bids', 'out')
    assert 'bids: no session can be processed' in line
    assert 'sub-01' in line
    assert 'empty (0 bytes)' in line
    assert str(here) not in line


def test_no_image_to_prepare_at_all_is_refused(here, tiny_bids, capsys):
    for path in tiny_bids.glob('sub-*/anat/*_T1w.*'):
        path.rename(path.with_name(path.name.replace('T1w', 'T2starw')))
    assert 'bids: no T1w or T2w or FLAIR or PDw image' in refusal(capsys, 'bids', 'out')


def test_no_image_of_a_wanted_contrast_is_refused(here, tiny_bids, capsys):
    line = refusal(capsys, 'bids', 'out', '--contrasts', 'FLAIR', 'T2w')
    assert 'bids: no FLAIR or T2w image' in line


def test_output_below_the_derivatives_of_the_raw_data_is_fine(here, tiny_bids, capsys):
    assert run('bids', 'bids/derivatives/mriprep', '--boilerplate-only') == 0
    assert (tiny_bids / 'derivatives/mriprep/logs/CITATION.md').stat().st_size
    assert validate(tiny_bids) == []


def test_a_participant_asked_for_without_an_image_is_a_failure(here, tiny_bids, capsys):
    """Asked by name and not done: exit code 1 and a row, while the other is done."""
    (tiny_bids / 'sub-03/anat').mkdir(parents=True)
    options = quick(here / 'settings')
    assert run('bids', 'out', '--participant-label', '01', '03', *options) == 1
    (row,) = failures(here / 'out')
    assert row['participant_id'] == 'sub-03'
    assert 'no T1w or T2w or FLAIR or PDw image' in row['cause']
    assert set(finished(here / 'out')) == {'sub-01'}


# one subject of a data set each: what is wrong, and where the run finds out


def _bytes(volume, affine, **forms) -> bytes:
    image = nb.Nifti1Image(volume, affine)
    image.set_qform(forms.get('qform', affine), forms.get('code', 1))
    image.set_sform(affine, forms.get('code', 1))
    image.header.set_xyzt_units('mm', 'sec')
    return image.to_bytes()


def _damaged(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return (
        whole[:middle] + bytes(255 - b for b in whole[middle : middle + 64]) + whole[middle + 64 :]
    )


def _bad_images(phantom) -> dict[str, tuple[str, bytes, str]]:
    """Extension, content, and words of the cause, by subject label."""
    head, affine = phantom.volume, phantom.affine
    plain = _bytes(head, affine)
    packed = gzip.compress(plain, mtime=0)
    mirror = affine @ np.diag([-1, 1, 1, 1])
    noise = np.random.default_rng(0).normal(500, 100, head.shape).astype(np.int16)
    return {
        'corrupt': ('.nii.gz', _damaged(packed), 'gzip compression is damaged'),
        'cutgz': ('.nii.gz', packed[: len(packed) // 2], 'truncated'),
        'cut': ('.nii', plain[:-1000], 'truncated: 1000 bytes'),
        'zerobytes': ('.nii.gz', b'', 'empty (0 bytes)'),
        'text': ('.nii.gz', b'not found', 'not a NIfTI file'),
        'flat': ('.nii', _bytes(head[:, :, 30], affine), '2D image'),
        'series': ('.nii', _bytes(np.stack([head] * 3, -1), affine), 'series of 3 volumes'),
        'zeros': ('.nii', _bytes(np.zeros_like(head), affine), 'same value (0)'),
        'nowhere': ('.nii', _bytes(head, affine, code=0), 'neither qform nor sform'),
        'mirror': ('.nii', _bytes(head, affine, qform=mirror), 'left-handed'),
        'noise': ('.nii', _bytes(noise, affine), 'noise'),
    }


BAD = [
    'corrupt', 'cutgz', 'cut', 'zerobytes', 'text', 'flat', 'series', 'zeros', 'nowhere', 'mirror',
    'noise',
]  # fmt: skip
GOOD = ['good', 'lost', 'json']


@pytest.fixture(scope='module')
def mixed(tmp_path_factory, tiny_head):
    """One run on good and bad subjects of a data set without description, as user ``kaspar``."""
    root = tmp_path_factory.mktemp('mixed')
    home = root / 'home' / 'kaspar'
    home.mkdir(parents=True)
    bids, out = root / 'srv' / 'bids', root / 'srv' / 'out'
    write_bids(bids, dict.fromkeys(GOOD, tiny_head))
    (bids / 'dataset_description.json').unlink()
    (bids / 'participants.tsv').unlink()
    for label, (extension, content, _) in _bad_images(tiny_head).items():
        folder = bids / f'sub-{label}' / 'anat'
        folder.mkdir(parents=True)
        (folder / f'sub-{label}_T1w{extension}').write_bytes(content)
    lost = tiny_head.volume.astype(np.float32)
    lost[:2, :2, :2], lost[-3:] = np.inf, np.nan
    path = bids / 'sub-lost/anat/sub-lost_T1w.nii.gz'
    path.write_bytes(gzip.compress(_bytes(lost, tiny_head.affine)))
    (bids / 'sub-json/anat/sub-json_T1w.json').write_text('{"EchoTime": 0.003,')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('HOME', str(home))
        patch.setenv('LOGNAME', 'kaspar')
        patch.setenv('USER', 'kaspar')
        patch.setattr(tempfile, 'tempdir', str(home))
        patch.chdir(root)
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            code = run(bids, out, '-w', home / 'work', *quick(root / 'srv' / 'settings'))
    return SimpleNamespace(root=root, bids=bids, out=out, code=code, errors=errors.getvalue())


def test_exit_code_tells_that_some_failed(mixed):
    assert mixed.code == 1
    assert 'Traceback' not in mixed.errors
    assert f'{len(GOOD)} done, {len(BAD)} failed' in mixed.errors
    told_done = re.findall(r'^\[.+\] sub-(\w+) done', mixed.errors, re.MULTILINE)
    assert sorted(told_done) == sorted(GOOD)


def test_good_subjects_are_complete(mixed):
    assert set(finished(mixed.out)) == {f'sub-{label}' for label in GOOD}
    for name, files in finished(mixed.out).items():
        wanted = {
            f'{name}/anat/{name}_{end}.nii.gz'
            for end in ('desc-preproc_T1w', 'desc-brain_mask', 'desc-brain_T1w', 'desc-zscore_T1w')
        }
        assert wanted <= set(files)
        assert all((mixed.out / file).stat().st_size for file in files)


def test_bad_subjects_leave_no_derivative(mixed):
    for label in BAD:
        assert derivatives(mixed.out, label) == {}
    assert half_written(mixed.out) == []


def test_one_row_and_one_line_for_each_failure(mixed, tiny_head):
    rows = {row['participant_id'].removeprefix('sub-'): row for row in failures(mixed.out)}
    assert sorted(rows) == sorted(BAD)
    assert len(failures(mixed.out)) == len(BAD)
    for label, (extension, _, cause) in _bad_images(tiny_head).items():
        row = rows[label]
        assert cause in row['cause']
        assert row['image'] == f'sub-{label}/anat/sub-{label}_T1w{extension}'
        assert row['next_step'], 'what to do is missing'
        lines = [line for line in mixed.errors.splitlines() if f'failed: sub-{label},' in line]
        assert len(lines) == 1
        assert cause in lines[0]


def test_next_steps_say_what_to_do(mixed):
    """Each names an action; none just repeats the cause."""
    for row in failures(mixed.out):
        assert re.match(
            r'(copy|convert|give|store|leave|look|set|correct|get|repair)', row['next_step']
        ), row


@pytest.mark.parametrize('label', BAD)
def test_page_of_a_failed_subject_names_the_cause(mixed, tiny_head, label):
    page = html.unescape((mixed.out / f'sub-{label}.html').read_text(encoding='utf-8'))
    assert _bad_images(tiny_head)[label][2] in page
    assert f'sub-{label}_T1w.nii' in page
    assert 'Traceback' not in page


@pytest.mark.parametrize('label', GOOD)
def test_page_of_a_good_subject_has_no_error(mixed, label):
    assert 'Not finished' not in (mixed.out / f'sub-{label}.html').read_text(encoding='utf-8')


def test_lost_voxels_are_a_warning_in_the_audit(mixed):
    audit = (mixed.out / 'sub-lost/figures/sub-lost_desc-audit_T1w.html').read_text()
    assert 'NaN or infinite' in audit
    for path in mixed.out.glob('sub-lost/anat/*.nii.gz'):
        assert np.isfinite(nb.load(path).get_fdata()).all(), path.name


@pytest.mark.parametrize('where', ['dataset_description.json', 'sub-json/anat/sub-json_T1w.json'])
def test_a_bad_text_file_is_a_warning(mixed, where):
    lines = [line for line in mixed.errors.splitlines() if f'warning: {where}: ' in line]
    assert len(lines) == 1
    log = newest_log(mixed.out, 'mriprep.log').read_text(encoding='utf-8')
    assert where in log


def test_nothing_below_the_output_tells_whose_machine_it_was(mixed):
    places = [str(mixed.root), 'kaspar', sys.prefix, str(Path(__file__).parents[1])]
    absolute = re.compile(rb'(?<![\w.>~:/*])/(?:home|root|tmp|usr|opt|srv|var|work)/\w')
    told = []
    for path in mixed.out.rglob('*'):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if content[:2] == b'\x1f\x8b':
            content = gzip.decompress(content)[:352]
        told += [(path.name, place) for place in places if place.encode() in content]
        if path.suffix not in ('.gz', '.h5'):
            told += [(path.name, match[0]) for match in absolute.finditer(content)]
    assert told == []


def test_the_output_is_valid_all_the_same(mixed):
    assert validate(mixed.out) == []


# a disk that is full


@pytest.fixture
def small_disk(tmp_path):
    """Function that mounts a file system of some kB, and gives it another size later."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def resize(size_kb: int) -> Path:
        options = f'size={size_kb}k' + (',remount' if os.path.ismount(folder) else '')
        if shutil.which('mount') is None:
            pytest.skip('there is no mount program')
        answer = subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            pytest.skip(f'a small file system can not be mounted here ({answer.stderr.strip()})')
        return folder

    yield resize
    if os.path.ismount(folder):
        subprocess.run(['umount', '--lazy', folder], check=True)


def whole(path: Path) -> bool:
    """Whether a file is complete, as far as its kind tells."""
    match path.suffix:
        case '.gz':
            return nb.load(path).get_fdata().size > 0
        case '.json':
            return isinstance(json.loads(path.read_text()), dict)
        case '.svg' | '.html':
            return path.read_text().rstrip().endswith('>')
        case _:
            return path.stat().st_size > 0


def test_a_disk_too_small_is_refused_before_the_start(here, tiny_bids, small_disk, capsys):
    small_disk(64)
    line = refusal(capsys, 'bids', 'disk/out', *quick(here / 'settings'))
    assert re.search(r'out: the output folder has \d+ MB free and a session needs', line)
    assert str(here) not in line


@pytest.mark.parametrize(('which', 'size_kb'), [('out', 1400), ('work', 53000)])
def test_a_disk_that_fills_up(here, tiny_bids, small_disk, capsys, monkeypatch, which, size_kb):
    small_disk(size_kb)
    out, work = (here / ('disk' if which == name else 'roomy') / name for name in ('out', 'work'))
    words = [tiny_bids, out, '-w', work, '--participant-label', '01', *quick(here / 'settings')]
    ballast = here / 'disk' / 'ballast'
    if which == 'work':  # what is asked for before the start is more than is used
        fill = f'head -c 10000000 /dev/zero > {ballast} 2> {here}/full'
        monkeypatch.setenv('PATH', stand_ins(here / 'programs', fill)['PATH'])
        words += ['--ants', 'system']
    code = run(*words)
    said = capsys.readouterr()
    assert code == 1, said.err
    assert 'Traceback' not in said.err
    assert 'no space left' in said.err.lower()
    assert len(said.err.splitlines()) <= 6, said.err
    assert half_written(out) == []
    assert [path.name for path in out.rglob('*') if path.is_file() and not whole(path)] == []
    assert finished(out) == {}

    ballast.unlink(missing_ok=True)
    small_disk(300_000)
    assert run(*words) == 0, capsys.readouterr().err
    assert set(finished(out)) == {'sub-01'}
    assert validate(out) == []
