"""The whole run on phantoms: what is written, what a second run does, what is left when it ends."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
from pathlib import Path

import nibabel as nb
import numpy as np
import psutil
import pytest
from runs import (
    ONE,
    derivatives,
    failures,
    finished,
    half_written,
    newest_log,
    quick,
    run,
    stand_ins,
    start,
    validate,
    whole_run,
)

from mriprep.phantom import write_bids

TPL = 'MNI152NLin2009aSym'
DESCS = ('desc-preproc_T1w', 'desc-brain_mask', 'desc-brain_T1w', 'desc-zscore_T1w')


@pytest.fixture(scope='module')
def done(tmp_path_factory, tiny_head, tiny_left_handed_head):
    """Two subjects, to two grids of one template and their own; shared by all tests."""
    return whole_run(tmp_path_factory, {'01': tiny_head, '02': tiny_left_handed_head})


def affines(path: Path):
    header = nb.load(path).header
    return header.get_qform(coded=True), header.get_sform(coded=True)


# what is written


def test_all_done(done):
    assert done.code == 0, done.errors
    lines = re.findall(r'^\[(./.)\] (sub-..) done', done.errors, re.MULTILINE)
    assert [count for count, _ in lines] == ['1/2', '2/2']
    assert {subject for _, subject in lines} == {'sub-01', 'sub-02'}
    assert '2 done, 0 failed' in done.errors
    assert failures(done.out) == []


@pytest.mark.parametrize('subject', ['sub-01', 'sub-02'])
def test_every_file_has_its_bids_name(done, subject):
    places = ['', f'space-{TPL}_res-2_', f'space-{TPL}_']
    images = {f'{subject}_{place}{desc}.nii.gz' for place in places for desc in DESCS}
    images.add(f'{subject}_desc-brain_probseg.nii.gz')
    transforms = {
        f'{subject}_from-{a}_to-{b}_mode-image_xfm.h5' for a, b in (('T1w', TPL), (TPL, 'T1w'))
    }
    metrics = {f'{subject}_desc-iqms_T1w.json'}
    sidecars = {f'{name.split(".")[0]}.json' for name in images | transforms}
    found = {path.name for path in (done.out / subject / 'anat').iterdir()}
    assert found == images | transforms | sidecars | metrics
    figures = {path.name for path in (done.out / subject / 'figures').iterdir()}
    assert figures == {
        f'{subject}_desc-audit_T1w.html',
        f'{subject}_desc-bias_T1w.svg',
        f'{subject}_desc-brain_T1w.svg',
        f'{subject}_desc-guard_T1w.html',
        f'{subject}_desc-histogram_T1w.svg',
        f'{subject}_space-{TPL}_desc-registration_T1w.svg',
    }
    assert {f'{subject}/anat/{name}' for name in images | transforms} < set(
        finished(done.out)[subject]
    )
    assert (done.out / f'{subject}.html').is_file()


def test_nothing_else_is_written(done):
    names = {path.name for path in done.out.iterdir()}
    assert names == {
        '.bidsignore', 'README.md', 'dataset_description.json', 'logs',
        'sub-01', 'sub-01.html', 'sub-02', 'sub-02.html',
    }  # fmt: skip
    (log_dir,) = (path.parent for path in done.out.glob('logs/*/settings.toml'))
    assert {path.name for path in log_dir.iterdir()} == {
        'failures.tsv', 'masks.tsv', 'mriprep.log', 'settings.toml', 'timings.tsv',
    }  # fmt: skip
    assert half_written(done.out) == []


def test_headers_are_of_one_mind(done):
    images = sorted(done.out.glob('sub-*/anat/*.nii.gz'))
    assert len(images) == 2 * (3 * len(DESCS) + 1), 'and a probability of brain'
    for path in images:
        (qform, q_code), (sform, s_code) = affines(path)
        np.testing.assert_allclose(qform, sform, rtol=0, atol=1e-5, err_msg=path.name)
        assert q_code == s_code == (4 if '_space-' in path.name else 1), path.name
        image = nb.load(path)
        assert image.get_data_dtype() == (np.uint8 if 'mask' in path.name else np.float32)
        assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
        assert image.header.get_xyzt_units()[0] == 'mm'
        assert nb.aff2axcodes(image.affine) == ('R', 'A', 'S')
        assert image.ndim == 3


def test_gzip_holds_no_time_and_no_name(done):
    for path in done.out.glob('sub-*/anat/*.nii.gz'):
        start = path.read_bytes()[:10]
        assert start[3] == 0, 'flags: neither name nor comment'
        assert start[4:8] == bytes(4), 'time'


def test_grids_are_those_of_the_plan(done, tiny_head, tiny_left_handed_head):
    anat = done.out / 'sub-02' / 'anat'
    native = nb.load(anat / 'sub-02_desc-preproc_T1w.nii.gz')
    raw = nb.load(done.bids / 'sub-02/anat/sub-02_T1w.nii.gz')
    assert nb.aff2axcodes(raw.affine) == ('L', 'A', 'S')
    assert native.shape == raw.shape
    np.testing.assert_allclose(native.header.get_zooms(), (4, 4, 5), atol=1e-4)
    two = nb.load(anat / f'sub-02_space-{TPL}_res-2_desc-preproc_T1w.nii.gz')
    np.testing.assert_allclose(two.header.get_zooms(), (2, 2, 2))
    own = nb.load(anat / f'sub-02_space-{TPL}_desc-preproc_T1w.nii.gz')
    np.testing.assert_allclose(own.header.get_zooms(), (4, 4, 5), atol=1e-4)


def test_masks_and_images_agree(done):
    for mask_path in done.out.glob('sub-*/anat/*desc-brain_mask.nii.gz'):
        mask = np.asarray(nb.load(mask_path).dataobj)
        assert set(np.unique(mask)) == {0, 1}
        stem = str(mask_path).removesuffix('desc-brain_mask.nii.gz')
        head, brain, zscore = (
            nb.load(f'{stem}desc-{desc}_T1w.nii.gz').get_fdata()
            for desc in ('preproc', 'brain', 'zscore')
        )
        np.testing.assert_array_equal(brain, np.where(mask, head, 0))
        assert zscore[mask > 0].mean() == pytest.approx(0, abs=1e-4)
        assert zscore[mask > 0].std() == pytest.approx(1, abs=1e-4)
        sidecar = json.loads(Path(f'{stem}desc-zscore_T1w.json').read_text())
        mean, deviation = (
            sidecar[f'Normalization{word}'] for word in ('Mean', 'StandardDeviation')
        )
        np.testing.assert_allclose(zscore * deviation + mean, head, rtol=1e-3, atol=1e-2)


def test_brains_are_found(done, tiny_head, tiny_left_handed_head):
    for subject, phantom in (('sub-01', tiny_head), ('sub-02', tiny_left_handed_head)):
        image = nb.load(done.out / subject / f'anat/{subject}_desc-brain_mask.nii.gz')
        truth = nb.as_closest_canonical(
            nb.Nifti1Image(phantom.brain_mask.astype(np.uint8), phantom.affine)
        )
        np.testing.assert_allclose(image.affine, truth.affine, atol=1e-3)
        mask, true = np.asarray(image.dataobj) > 0, truth.get_fdata() > 0
        assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.9


def test_sources_are_files(done):
    description = json.loads((done.out / 'dataset_description.json').read_text())
    raw = done.out / description['DatasetLinks']['raw']
    assert raw.resolve() == done.bids.resolve()
    sidecars = [path for path in done.out.glob('sub-*/anat/*.json') if 'iqms' not in path.name]
    for path in sidecars:
        content = json.loads(path.read_text())
        assert content['Sources'], path.name
        for uri in content['Sources']:
            scheme, dataset, relative = uri.split(':', 2)
            assert scheme == 'bids'
            assert ({'raw': raw, '': done.out}[dataset] / relative).is_file(), uri
        assert content['GeneratedBy'][0]['Name'] == 'mriprep'
        if path.name.endswith(('_T1w.json', '_mask.json')):
            assert ('Resolution' in content) == ('_space-' in path.name)
            assert ('SkullStripped' in content) == path.name.endswith('_T1w.json')


def test_the_seed_is_recorded(done):
    path = done.out / f'sub-01/anat/sub-01_from-T1w_to-{TPL}_mode-image_xfm.json'
    (step,) = json.loads(path.read_text())['Steps']
    assert step['Parameters']['random_seed'] == 7


@pytest.mark.parametrize('which', ['out', 'bids'])
def test_bids_validator_finds_no_error(done, which):
    assert validate(getattr(done, which)) == []


def test_report_shows_every_figure(done):
    for subject in ('sub-01', 'sub-02'):
        page = (done.out / f'{subject}.html').read_text(encoding='utf-8')
        assert 'Finished without errors' in page
        assert 'was not made' not in page
        assert page.count('<svg') >= 4
        assert len(page) < 5e6
        assert not re.search(r'(src|href)="(?!#|data:|https://)', page), 'it stands alone'


# once more


def test_settings_of_a_run_give_the_same_bytes(done, tmp_path):
    settings = newest_log(done.out, 'settings.toml')
    out, work = tmp_path / 'out', tmp_path / 'work'
    words = [*ONE, '--offline', '--participant-label', '01', '--config-file', settings]
    assert run(done.bids, out, '-w', work, *words, *done.linear) == 0
    ours, theirs = derivatives(out, '01'), derivatives(done.out, '01')
    assert list(ours) == list(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_a_finished_run_does_nothing(done, tmp_path, capsys):
    def times():
        # the pages too: they tell command and times of the run that made them
        files = [*done.out.glob('sub-*/*/*'), *done.out.glob('sub-*.html')]
        return {path: path.stat().st_mtime_ns for path in files}

    before = times()
    assert run(done.bids, done.out, '-w', tmp_path / 'other', *done.options) == 0
    assert '2 of 2 sessions are finished' in capsys.readouterr().err
    assert times() == before
    assert not newest_log(done.out, 'settings.toml').with_name('timings.tsv').exists()
    assert [path.name for path in (tmp_path / 'other').iterdir()] == ['templates']


def test_a_deleted_file_comes_back(done, capsys):
    before = derivatives(done.out)
    lost = done.out / f'sub-01/anat/sub-01_space-{TPL}_res-2_desc-brain_T1w.nii.gz'
    lost.unlink()
    assert run(done.bids, done.out, '-w', done.work, *done.options, *done.linear) == 0
    assert '1 of 2 sessions are finished' in capsys.readouterr().err
    assert lost.is_file()
    after = derivatives(done.out)
    assert [name for name in before if before[name] != after.get(name)] == []


def test_a_changed_setting_is_computed(done, tmp_path):
    out = tmp_path / 'out'
    shutil.copytree(done.out, out)
    name = f'sub-01/anat/sub-01_from-T1w_to-{TPL}_mode-image_xfm'
    words = [*done.options, *done.linear, '--participant-label', '01', '--registration', 'rigid']
    assert run(done.bids, out, '-w', done.work, *words) == 0
    step = json.loads((out / f'{name}.json').read_text())['Steps'][0]
    assert step['Parameters']['transform'] == 'rigid'
    before, after = derivatives(done.out), derivatives(out)
    changed = {path for path in before if before[path] != after[path]}
    assert f'{name}.h5' in changed
    assert f'sub-01/anat/sub-01_space-{TPL}_res-2_desc-preproc_T1w.nii.gz' in changed
    assert not any(path.startswith('sub-02') for path in changed)
    assert 'sub-01/anat/sub-01_desc-preproc_T1w.nii.gz' not in changed


def test_reports_only(done):
    page = done.out / 'sub-01.html'
    page.unlink()
    before = derivatives(done.out)
    assert run(done.bids, done.out, '-w', done.work, *done.options, '--reports-only') == 0
    assert page.read_text(encoding='utf-8').count('<svg') >= 4
    assert derivatives(done.out) == before


# nothing, or little


def test_dry_run_writes_nothing(tiny_bids, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob('*'))
    assert run('bids', 'out', '--dry-run', '--offline') == 0
    assert sorted(tmp_path.rglob('*')) == before
    said = capsys.readouterr().out
    assert f'sub-01/anat/sub-01_space-{TPL}_res-1_desc-zscore_T1w.nii.gz' in said
    assert '2 sessions, 2 to do, 0 refused' in said
    assert str(tmp_path) not in said


def test_boilerplate_only(tiny_bids, tmp_path):
    out = tmp_path / 'out'
    assert run(tiny_bids, out, '-w', tmp_path / 'work', '--boilerplate-only', '--offline') == 0
    assert 'N4' in (out / 'logs/CITATION.md').read_text()
    assert '@article' in (out / 'logs/CITATION.bib').read_text()
    assert not list(out.glob('sub-*'))


# several at once


@pytest.fixture(scope='module')
def side_by_side(tmp_path_factory, tiny_head, tiny_left_handed_head):
    """Two processes into one output folder; ``sub-01`` has two sessions, one with two runs."""
    root = tmp_path_factory.mktemp('side')
    bids, out = root / 'bids', root / 'out'
    write_bids(bids, {'01': tiny_head, '02': tiny_left_handed_head})
    anat = bids / 'sub-01' / 'anat'
    for place in ('ses-a/anat/sub-01_ses-a_run-1', 'ses-a/anat/sub-01_ses-a_run-2',
                  'ses-b/anat/sub-01_ses-b'):  # fmt: skip
        for end in ('T1w.nii.gz', 'T1w.json'):
            copy = bids / 'sub-01' / f'{place}_{end}'
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(anat / f'sub-01_{end}', copy)
    shutil.rmtree(anat)
    config = quick(root / 'settings')[:2]
    processes = [
        start(
            bids, out, '-w', root / f'work{label}', *config, *ONE, '--offline', '--clean-workdir',
            '--participant-label', label,
        )
        for label in ('01', '02')
    ]  # fmt: skip
    errors = [process.communicate()[1] for process in processes]
    return root, [process.returncode for process in processes], errors


def test_two_runs_share_one_output_folder(side_by_side):
    root, codes, errors = side_by_side
    assert codes == [0, 0], errors
    assert set(finished(root / 'out')) == {'sub-01_ses-a', 'sub-01_ses-b', 'sub-02'}
    assert validate(root / 'out') == []
    assert half_written(root / 'out') == []


def test_native_space_alone_needs_no_template(side_by_side):
    out = side_by_side[0] / 'out'
    names = [path.name for path in out.glob('sub-*/**/anat/*.nii.gz')]
    assert len(names) == 3 * (len(DESCS) + 1)
    assert not [name for name in names if 'space-' in name]
    assert not list(out.rglob('*_xfm.*'))


def test_the_first_of_two_runs_is_taken(side_by_side):
    root, _, errors = side_by_side
    names = [path.name for path in (root / 'out/sub-01/ses-a/anat').glob('*_mask.nii.gz')]
    assert names == ['sub-01_ses-a_run-1_desc-brain_mask.nii.gz']
    assert 'sub-01_ses-a_run-2_T1w.nii.gz' in errors[0]
    page = (root / 'out/sub-01.html').read_text(encoding='utf-8')
    assert 'sub-01_ses-a_run-2_T1w.nii.gz' in page
    assert 'ses-b' in page


def test_working_files_of_what_is_finished_are_deleted(side_by_side):
    root = side_by_side[0]
    assert not list(root.glob('work*/mriprep*/**/*.nii*'))


# stopped


def test_a_stopped_run_goes_on(tmp_path, tiny_head):
    """Ctrl-C, then SIGTERM from a batch system, then to the end."""
    write_bids(tmp_path / 'bids', {'01': tiny_head})
    out, work, gate = tmp_path / 'out', tmp_path / 'work', tmp_path / 'gate'
    os.mkfifo(gate)
    # while the gate is there, N4 tells its process id and stands still
    stand_still = f'if [ -p {gate} ]; then echo $$ > {gate}; exec tail -f /dev/null; fi'
    environment = os.environ | stand_ins(tmp_path / 'programs', stand_still)
    words = [tmp_path / 'bids', out, '-w', work, *quick(tmp_path)[:2], *ONE, '--offline',
             '--ants', 'system']  # fmt: skip

    for name, kill in (('Ctrl-C', os.killpg), ('batch system', os.kill)):
        process = start(*words, env=environment, start_new_session=True)
        program = _opened(gate)
        family = psutil.Process(process.pid).children(recursive=True)
        assert program in [member.pid for member in family]
        kill(process.pid, signal.SIGINT if name == 'Ctrl-C' else signal.SIGTERM)
        _, errors = process.communicate()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == [], name
        assert process.returncode == 130, (name, errors)
        assert 'Traceback' not in errors, name
        assert re.search('same command', errors.splitlines()[-1]), errors
        assert half_written(out) == []
        assert finished(out) == {}
        for path in out.glob('sub-*/anat/*.nii.gz'):
            nb.load(path).get_fdata()

    gate.unlink()
    process = start(*words, env=environment)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert set(finished(out)) == {'sub-01'}
    log = newest_log(out, 'mriprep.log').read_text()
    assert 'Cached' in log, 'what was done before is not done again'


def _opened(gate: Path) -> int:
    """Wait until somebody writes a number into a pipe."""
    handle = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert select.select([handle], [], [], 240)[0], 'the run never came to N4'
        return int(os.read(handle, 100))
    finally:
        os.close(handle)


# batches


def test_sessions_go_through_in_batches(tmp_path, monkeypatch, tiny_head, tiny_left_handed_head):
    """A failure in the first of two batches costs nobody else, and the second one runs."""
    monkeypatch.setattr('mriprep.computing.IMAGES_PER_BATCH', 2)
    monkeypatch.setattr('mriprep.computing.IMAGES_PER_PROCESSOR', 1)
    bids, out = tmp_path / 'bids', tmp_path / 'out'
    write_bids(bids, {'01': tiny_head, '02': tiny_left_handed_head, '03': tiny_head})
    damaged = bids / 'sub-01/anat/sub-01_T1w.nii.gz'
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    config = quick(tmp_path / 'settings')[:2]
    code = run(bids, out, '-w', tmp_path / 'work', *config, '--nprocs', '2', '--offline')
    assert code == 1
    assert set(finished(out)) == {'sub-02', 'sub-03'}
    (failure,) = failures(out)
    assert failure['participant_id'] == 'sub-01'
    assert 'truncated' in failure['cause']
    (timings,) = out.glob('logs/*/timings.tsv')
    assert {'sub_02_wf', 'sub_03_wf'} <= set(re.findall(r'sub_\d\d_wf', timings.read_text()))
    # workers outlive a batch, and so does what they have loaded
    log = newest_log(out, 'mriprep.log').read_text()
    assert 'networks: deepbet on cpu was loaded 1 times for 2 images' in log
