"""Whole runs on repeated runs and sessions of one head whose moves are known."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from types import SimpleNamespace

import nibabel as nb
import numpy as np
import objects
import pytest
from contrast_phantoms import (
    PLAIN,
    SAGITTAL,
    as_ras,
    between,
    brain_points,
    coarse,
    correlation,
    distance_mm,
    head_in,
    raw_path,
    scanner,
    write_given,
    write_images,
)
from runs import (
    derivatives,
    failures,
    finished,
    half_written,
    newest_log,
    nodes,
    quick,
    run,
    validate,
)
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation

from mriprep.contrasts import Contrast
from mriprep.overlay import point_map
from mriprep.phantom import head_pose, image_bytes
from mriprep.transforms import linear_matrix

T1W, FLAIR = Contrast.T1W, Contrast.FLAIR
TPL = 'MNI152NLin2009aSym'
NOISE = 0.07
RUNS = {
    '1': replace(PLAIN, seed=51, noise=NOISE),
    '2': replace(PLAIN, seed=52, noise=NOISE, tilt_deg=(7, -8, 3), shift_mm=(0, -4, 10)),
    '3': replace(PLAIN, seed=53, noise=NOISE, tilt_deg=(2, -4, 8), shift_mm=(5, -9, 6)),
}
FIRST = replace(PLAIN, bias=0.03, noise=0.01)
SECOND = replace(
    FIRST,
    seed=42,
    axes='LAS',
    tilt_deg=(10, -9, 1),
    shift_mm=(-2, -3, 11),
    oblique_deg=(-4, 5, 2),
)


def turn_deg(matrix):
    """Angle of a rotation."""
    return np.degrees(np.arccos((np.trace(matrix[:3, :3]) - 1) / 2))


# repeated runs


@pytest.fixture(scope='module')
def runs(tmp_path_factory, embedded_template):
    """Three noisy runs of one head, averaged, and as they are."""
    root = tmp_path_factory.mktemp('runs')
    scan = scanner(embedded_template)
    phantoms = {f'run-{label}': scan(T1W, pose) for label, pose in RUNS.items()}
    write_images(
        root / 'bids', {f'sub-01_{name}_T1w': phantom for name, phantom in phantoms.items()}
    )
    first = phantoms['run-1']
    given = {'sub-01_run-1_desc-brain_mask': (first.brain_mask, first.affine)}
    write_given(root / 'hand', given)
    words = [*quick(root / 'settings'), '--second-extractor', 'none']
    merged, single = (root / name for name in ('merged', 'single'))
    codes = [
        run(
            root / 'bids', merged, '-w', root / 'work', *words, '--merge-runs',
            '--extractor', 'template',
        ),
        run(root / 'bids', single, '-w', root / 'work1', *words, '-d', f'hand={root / "hand"}'),
    ]  # fmt: skip
    return SimpleNamespace(
        merged=merged / 'sub-01/anat', single=single, codes=codes, phantoms=phantoms
    )


def run_pose(runs, name):
    """Matrix from RAS mm of the average to RAS mm of one run."""
    path = runs.merged / f'sub-01_{name}_from-orig_to-T1w_mode-image_xfm.txt'
    return linear_matrix(path)


def test_runs_are_averaged_into_one_image_without_their_number(runs):
    assert runs.codes == [0, 0]
    found = {path.name for path in runs.merged.glob('*[zt]')}
    images = ('desc-preproc_T1w', 'desc-brain_mask', 'desc-brain_T1w', 'desc-zscore_T1w')
    ways = [
        f'sub-01_{name}_from-{one}_to-{other}_mode-image_xfm.txt'
        for name in runs.phantoms
        for one, other in (('orig', 'T1w'), ('T1w', 'orig'))
    ]
    assert found == {*(f'sub-01_{name}.nii.gz' for name in images), *ways}
    sidecar = json.loads((runs.merged / 'sub-01_desc-preproc_T1w.json').read_text())
    assert sidecar['Sources'] == [
        f'bids:raw:sub-01/anat/sub-01_{name}_T1w.nii.gz' for name in runs.phantoms
    ]


def test_moves_between_runs_are_found(runs):
    points = brain_points(runs.phantoms['run-1'])
    first = run_pose(runs, 'run-1')
    for label, pose in list(RUNS.items())[1:]:
        found = run_pose(runs, f'run-{label}') @ np.linalg.inv(first)
        assert distance_mm(found, between(RUNS['1'], pose), points) < 0.5
    for name in runs.phantoms:
        back = runs.merged / f'sub-01_{name}_from-T1w_to-orig_mode-image_xfm.txt'
        both = linear_matrix(back) @ run_pose(runs, name)
        assert distance_mm(both, np.eye(4), points) < 1e-6


def test_the_moves_to_all_runs_cancel(runs):
    """The average lies in the middle: no run is its reference."""
    poses = [run_pose(runs, name) for name in runs.phantoms]
    turns = [Rotation.from_matrix(pose[:3, :3]).as_rotvec(degrees=True) for pose in poses]
    np.testing.assert_allclose(np.sum(turns, axis=0), 0, atol=0.1)
    assert max(map(np.linalg.norm, turns)) > 2
    middle = brain_points(runs.phantoms['run-1']).mean(0)
    shifts = [nb.affines.apply_affine(pose, middle) - middle for pose in poses]
    np.testing.assert_allclose(np.mean(shifts, axis=0), 0, atol=0.5)


def test_the_average_is_nearer_to_the_truth_than_each_run(runs, embedded_template):
    """Correlated with the clean head, voxel by voxel in the brain."""
    head = head_in(T1W, embedded_template)
    alone = []
    for label, pose in RUNS.items():
        phantom = runs.phantoms[f'run-{label}']
        clean = scanner(embedded_template)(T1W, replace(pose, noise=0, bias=0))
        shaded = clean.volume * phantom.bias
        alone.append(correlation(phantom.volume, shaded, phantom.brain_mask))
    image = nb.load(runs.merged / 'sub-01_desc-preproc_T1w.nii.gz')
    mask = nb.load(runs.merged / 'sub-01_desc-brain_mask.nii.gz').get_fdata() > 0
    to_head = np.linalg.inv(head_pose(RUNS['1'])) @ run_pose(runs, 'run-1')
    voxels = nb.affines.apply_affine(
        np.linalg.inv(head.affine) @ to_head @ image.affine, np.argwhere(mask)
    )
    truth = ndi.map_coordinates(head.volume, voxels.T, order=1)
    together = np.corrcoef(image.get_fdata()[mask], truth)[0, 1]
    assert 1 - together < 0.6 * (1 - max(alone))
    assert together > 0.9


def test_without_being_asked_one_run_is_used_and_named(runs):
    names = {path.name for path in (runs.single / 'sub-01/anat').glob('*.nii.gz')}
    assert 'sub-01_run-1_desc-preproc_T1w.nii.gz' in names
    assert all(name.startswith('sub-01_run-1_') for name in names)
    log = newest_log(runs.single, 'mriprep.log').read_text(encoding='utf-8')
    page = html.unescape((runs.single / 'sub-01.html').read_text(encoding='utf-8'))
    for text in (log, page):
        assert 'the first of equal runs' in text
        assert 'sub-01_run-2_T1w.nii.gz' in text
        assert '--merge-runs' in text


# sessions


@pytest.fixture(scope='module')
def sessions(tmp_path_factory, embedded_template):
    """Two sessions of one head; the same the other way round; one beside a bottle of water."""
    root = tmp_path_factory.mktemp('sessions')
    scan = scanner(embedded_template)
    one, two, flair = scan(T1W, FIRST), scan(T1W, SECOND), scan(FLAIR, SAGITTAL)
    images = {
        'sub-ab_ses-1_T1w': one,
        'sub-ab_ses-2_T1w': two,
        'sub-ab_ses-2_FLAIR': flair,
        'sub-ba_ses-1_T1w': two,
        'sub-ba_ses-2_T1w': one,
        'sub-wet_ses-1_T1w': one,
    }
    write_images(root / 'bids', images)
    masks = {
        stem.replace('_T1w', '_desc-brain_mask'): (phantom.brain_mask, phantom.affine)
        for stem, phantom in images.items()
        if stem.endswith('_T1w')
    }
    write_given(root / 'hand', masks)
    water = objects.water_ball()
    path = raw_path(root / 'bids', 'sub-wet_ses-2_T1w')
    path.parent.mkdir(parents=True)
    path.write_bytes(image_bytes(water.volume.astype(np.int16), water.affine))
    ball = {'sub-wet_ses-2_desc-brain_mask': (water.volume > water.volume.mean(), water.affine)}
    write_given(root / 'hand', ball)
    words = [
        '-w', root / 'work', *coarse(root / 'settings'), '--longitudinal',
        '--output-spaces', f'{TPL}:res-2', '-d', f'hand={root / "hand"}',
        '--second-extractor', 'none', '--extractor', 'given',
    ]  # fmt: skip
    out = root / 'out'
    code = run(root / 'bids', out, *words)
    return SimpleNamespace(
        bids=root / 'bids', out=out, code=code, words=words, images=images, rows=failures(out)
    )


def way(done, subject, session, start, end, extension='txt'):
    """The transform that resamples ``start`` onto ``end``."""
    folder = done.out / f'sub-{subject}' / (f'ses-{session}' if session else '') / 'anat'
    who = f'sub-{subject}' + (f'_ses-{session}' if session else '')
    return folder / f'{who}_from-{start}_to-{end}_mode-image_xfm.{extension}'


def in_template(done, subject, session, what):
    folder = done.out / f'sub-{subject}/ses-{session}/anat'
    return nb.load(folder / f'sub-{subject}_ses-{session}_space-{TPL}_res-2_{what}.nii.gz')


def test_sessions_of_heads_are_done(sessions):
    assert set(finished(sessions.out)) == {
        f'sub-{label}_{end}' for label in ('ab', 'ba') for end in ('ses-1', 'ses-2', 'individual')
    }
    assert half_written(sessions.out) == []


def test_each_session_goes_half_the_way(sessions):
    points = brain_points(sessions.images['sub-ab_ses-1_T1w'])
    one, two = (
        linear_matrix(way(sessions, 'ab', session, 'T1w', 'individual')) for session in '12'
    )
    move = between(FIRST, SECOND)
    assert turn_deg(move) > 7
    assert distance_mm(two @ np.linalg.inv(one), move, points) < 0.5
    for half in (one, two):
        assert turn_deg(half) == pytest.approx(turn_deg(move) / 2, abs=0.3)
    assert distance_mm(one @ two, np.eye(4), points) < 0.5, 'one as far as the other'
    for session, half in (('1', one), ('2', two)):
        back = linear_matrix(way(sessions, 'ab', session, 'individual', 'T1w'))
        assert distance_mm(back @ half, np.eye(4), points) < 1e-6


@pytest.mark.parametrize(('subject', 'session'), [('ab', '1'), ('ab', '2'), ('ba', '1')])
def test_transforms_to_the_template_lead_through_the_mean(sessions, subject, session):
    mean = way(sessions, subject, None, 'individual', TPL, 'h5')
    half = way(sessions, subject, session, 'T1w', 'individual')
    joined = way(sessions, subject, session, 'T1w', TPL, 'h5')
    back = way(sessions, subject, session, TPL, 'T1w', 'h5')
    image = in_template(sessions, subject, session, 'desc-brain_mask')
    points = nb.affines.apply_affine(image.affine, np.argwhere(image.get_fdata() > 0)[::53])
    native = point_map(joined)(points)
    np.testing.assert_allclose(native, point_map(mean, half)(points), atol=1e-3)
    np.testing.assert_allclose(point_map(back)(native), points, atol=0.05)
    sources = json.loads(joined.with_suffix('.json').read_text())['Sources']
    assert sources == [
        f'bids::{half.relative_to(sessions.out)}', f'bids::{mean.relative_to(sessions.out)}'
    ]  # fmt: skip


def test_another_contrast_goes_through_the_mean_too(sessions):
    reference = linear_matrix(way(sessions, 'ab', '2', 'FLAIR', 'T1w'))
    points = brain_points(sessions.images['sub-ab_ses-2_T1w'])
    assert distance_mm(reference, between(SECOND, SAGITTAL), points) < 1
    template = point_map(way(sessions, 'ab', '2', TPL, 'T1w', 'h5'))(points)
    joined = point_map(way(sessions, 'ab', '2', 'FLAIR', TPL, 'h5'))(template)
    in_a_row = point_map(
        way(sessions, 'ab', None, 'individual', TPL, 'h5'),
        way(sessions, 'ab', '2', 'T1w', 'individual'),
        way(sessions, 'ab', '2', 'FLAIR', 'T1w'),
    )(template)
    np.testing.assert_allclose(joined, in_a_row, atol=1e-3)


def test_the_order_of_sessions_does_not_matter(sessions):
    """What is ses-1 of one subject is ses-2 of the other."""
    for ours, theirs in (('1', '2'), ('2', '1')):
        ends = (('T1w', 'individual', 'txt'), ('T1w', TPL, 'h5'), (TPL, 'T1w', 'h5'))
        points = brain_points(sessions.images[f'sub-ab_ses-{ours}_T1w'])
        for start, end, extension in ends:
            found = [
                point_map(way(sessions, subject, session, start, end, extension))(points)
                for subject, session in (('ab', ours), ('ba', theirs))
            ]
            assert np.linalg.norm(found[0] - found[1], axis=1).mean() < 0.1
        volumes = [
            in_template(sessions, subject, session, 'desc-preproc_T1w').get_fdata()
            for subject, session in (('ab', ours), ('ba', theirs))
        ]
        np.testing.assert_allclose(*volumes, atol=1e-3 * volumes[0].max())


def test_sessions_overlay_each_other_in_template_space(sessions):
    one, two = (
        in_template(sessions, 'ab', session, 'desc-preproc_T1w').get_fdata() for session in '12'
    )
    mask = in_template(sessions, 'ab', '1', 'desc-brain_mask').get_fdata() > 0
    here = correlation(one, two, mask)
    assert here >= 0.98
    for axis in range(3):
        assert correlation(one, np.roll(two, 1, axis), mask) < here


def test_the_mean_is_saved_and_shown(sessions):
    anat = sessions.out / 'sub-ab/anat'
    assert {path.name for path in anat.glob('*[zt5]')} == {
        'sub-ab_space-individual_desc-preproc_T1w.nii.gz',
        'sub-ab_space-individual_desc-brain_mask.nii.gz',
        f'sub-ab_from-individual_to-{TPL}_mode-image_xfm.h5',
        f'sub-ab_from-{TPL}_to-individual_mode-image_xfm.h5',
    }
    mean = nb.load(anat / 'sub-ab_space-individual_desc-preproc_T1w.nii.gz')
    mask = nb.load(anat / 'sub-ab_space-individual_desc-brain_mask.nii.gz')
    assert mean.shape == mask.shape
    truth = sessions.images['sub-ab_ses-1_T1w'].brain_mask.sum() * 64 / 1000
    volume_ml = mask.get_fdata().sum() * abs(np.linalg.det(mask.affine)) / 1000
    assert volume_ml == pytest.approx(truth, rel=0.03)
    page = (sessions.out / 'sub-ab.html').read_text(encoding='utf-8')
    assert 'Finished without errors' in page or 'Finished, with' in page
    assert 'was not made' not in page


def test_a_refused_session_is_told_to_the_other_in_plain_words(sessions):
    assert sessions.code == 1
    rows = {row['session_id']: row for row in sessions.rows}
    assert {row['participant_id'] for row in sessions.rows} == {'sub-wet'}
    assert len(rows) == len(sessions.rows) == 2
    assert rows['ses-2']['image'] == 'sub-wet/ses-2/anat/sub-wet_ses-2_T1w.nii.gz'
    assert 'mean of its sessions' in rows['ses-1']['cause']
    assert '--session-label' in rows['ses-1']['next_step']
    page = html.unescape((sessions.out / 'sub-wet.html').read_text(encoding='utf-8'))
    assert rows['ses-1']['cause'] in page
    # what belongs to the good session alone is there, and nothing of the mean
    native = sessions.out / 'sub-wet/ses-1/anat/sub-wet_ses-1_desc-preproc_T1w.nii.gz'
    mask = as_ras(sessions.images['sub-wet_ses-1_T1w'].volume, np.eye(4))
    assert nb.load(native).shape == mask.shape
    assert not list(sessions.out.glob('sub-wet/**/*individual*'))
    assert not list(sessions.out.glob(f'sub-wet/**/*{TPL}*'))


def test_the_output_is_valid(sessions, bids_validator):
    assert validate(sessions.out) == []


def test_a_finished_run_does_nothing_and_what_is_deleted_comes_back(sessions, capsys):
    words = [*sessions.words, '--participant-label', 'ab', 'ba']
    before = derivatives(sessions.out, 'ab')
    assert run(sessions.bids, sessions.out, *words) == 0
    assert '4 of 4 sessions are finished' in capsys.readouterr().err
    lost = [
        way(sessions, 'ab', None, 'individual', TPL, 'h5'),
        way(sessions, 'ab', '2', 'T1w', TPL, 'h5'),
    ]
    for path in lost:
        path.unlink()
    other = way(sessions, 'ba', '1', 'T1w', TPL, 'h5').stat().st_mtime_ns
    assert run(sessions.bids, sessions.out, *words) == 0
    after = derivatives(sessions.out, 'ab')
    assert [name for name in before if before[name] != after.get(name)] == []
    assert way(sessions, 'ba', '1', 'T1w', TPL, 'h5').stat().st_mtime_ns == other
    assert not [node for node in nodes(sessions.out) if 'sub_ba' in node]
