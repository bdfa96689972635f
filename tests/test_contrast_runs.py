"""Whole runs on one head in several contrasts whose poses are known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import nibabel as nb
import numpy as np
import pytest
from contrast_phantoms import (
    AGENT,
    PLAIN,
    SAGITTAL,
    THICK,
    as_ras,
    between,
    brain_points,
    bright_spot_mm,
    coarse,
    correlation,
    distance_mm,
    raw_path,
    scanner,
    write_images,
)
from runs import failures, finished, half_written, masks, quick, run, validate
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation

from mriprep.contrasts import Contrast
from mriprep.overlay import point_map
from mriprep.phantom import image_bytes
from mriprep.tools import BIN, PYTHON_VARIABLE
from mriprep.transforms import linear_matrix, read_parts
from mriprep.truth import dice

TPL = 'MNI152NLin2009aSym'
SCANS = {
    Contrast.T1W: PLAIN,
    Contrast.CE_T1W: AGENT,
    Contrast.T2W: THICK,
    Contrast.FLAIR: SAGITTAL,
}
OTHERS = [Contrast.CE_T1W, Contrast.T2W, Contrast.FLAIR]
STEM = {contrast: f'sub-01_{contrast}' for contrast in Contrast} | {
    Contrast.CE_T1W: 'sub-01_ce-gd_T1w'
}


@pytest.fixture(scope='module')
def done(tmp_path_factory, embedded_template):
    """One session with four contrasts, to one template."""
    root = tmp_path_factory.mktemp('contrasts')
    scan = scanner(embedded_template)
    phantoms = {contrast: scan(contrast, SCANS[contrast]) for contrast in SCANS}
    write_images(root / 'bids', {STEM[key]: phantom for key, phantom in phantoms.items()})
    code = run(
        root / 'bids', root / 'out', '-w', root / 'work', *coarse(root / 'settings'),
        '--output-spaces', 'T1w', f'{TPL}:res-2',
        '--extractor', 'template', '--second-extractor', 'none',
    )  # fmt: skip
    anat = root / 'out/sub-01/anat'
    return SimpleNamespace(
        bids=root / 'bids', out=root / 'out', anat=anat, code=code, phantoms=phantoms, scan=scan
    )


def saved(done, contrast, middle):
    """A file of an image; ``middle`` holds what stands between the entities and the suffix."""
    entities, _, suffix = STEM[contrast].rpartition('_')
    return done.anat / f'{entities}_{middle}_{suffix}.nii.gz'


def transform(done, contrast, start, end, extension):
    """The transform that resamples ``start`` onto ``end``."""
    entities = STEM[contrast].rpartition('_')[0]
    return done.anat / f'{entities}_from-{start}_to-{end}_mode-image_xfm.{extension}'


def mask_of(done, contrast):
    entities = STEM[contrast].rpartition('_')[0]
    place = '' if contrast is Contrast.T1W else f'space-{contrast.label}_'
    return done.anat / f'{entities}_{place}desc-brain_mask.nii.gz'


def data(path):
    return np.asanyarray(nb.load(path).dataobj)


def test_all_is_done(done):
    assert done.code == 0
    assert failures(done.out) == []
    assert set(finished(done.out)) == {'sub-01'}
    assert half_written(done.out) == []


def test_every_contrast_comes_on_three_grids(done):
    """Its own, the reference's and the template's; one mask a grid."""
    places = {'desc', 'space-T1w_desc', f'space-{TPL}_res-2_desc'}
    for contrast in SCANS:
        for place in places - ({'space-T1w_desc'} if contrast is Contrast.T1W else set()):
            for what in ('preproc', 'brain', 'zscore'):
                assert saved(done, contrast, f'{place}-{what}').is_file(), (contrast, place)
    masks = {path.name for path in done.anat.glob('*_mask.nii.gz')}
    assert masks == {
        'sub-01_desc-brain_mask.nii.gz',
        'sub-01_ce-gd_space-ceT1w_desc-brain_mask.nii.gz',
        'sub-01_space-T2w_desc-brain_mask.nii.gz',
        'sub-01_space-FLAIR_desc-brain_mask.nii.gz',
        f'sub-01_space-{TPL}_res-2_desc-brain_mask.nii.gz',
    }


@pytest.mark.parametrize('contrast', SCANS)
def test_native_images_keep_their_own_grid(done, contrast):
    image = nb.load(saved(done, contrast, 'desc-preproc'))
    raw = nb.as_closest_canonical(nb.load(next(done.bids.rglob(f'{STEM[contrast]}.nii.gz'))))
    assert image.shape == raw.shape
    np.testing.assert_allclose(image.affine, raw.affine, atol=1e-3)
    assert image.header.get_sform(coded=True)[1] == 1


@pytest.mark.parametrize('contrast', OTHERS)
def test_other_grids_are_those_of_reference_and_template(done, contrast):
    pairs = (
        ('space-T1w_desc-preproc', saved(done, Contrast.T1W, 'desc-preproc')),
        (
            f'space-{TPL}_res-2_desc-preproc',
            done.anat / f'sub-01_space-{TPL}_res-2_desc-brain_mask.nii.gz',
        ),
    )
    for place, like in pairs:
        image, other = nb.load(saved(done, contrast, place)), nb.load(like)
        assert image.shape == other.shape
        np.testing.assert_allclose(image.affine, other.affine, atol=1e-4)


@pytest.mark.parametrize('contrast', SCANS)
def test_masks_are_the_brain(done, contrast):
    phantom = done.phantoms[contrast]
    truth = as_ras(phantom.brain_mask, phantom.affine)
    assert dice(data(mask_of(done, contrast)) > 0, truth) > 0.9


@pytest.mark.parametrize('contrast', OTHERS)
def test_poses_are_found(done, contrast):
    """Within a millimetre, though voxels are of 3 to 6 mm; one way undoes the other."""
    label = contrast.label
    there = linear_matrix(transform(done, contrast, label, 'T1w', 'txt'))
    back = linear_matrix(transform(done, contrast, 'T1w', label, 'txt'))
    points = brain_points(done.phantoms[Contrast.T1W])
    truth = between(PLAIN, SCANS[contrast])
    assert distance_mm(there, truth, points) < 1
    assert distance_mm(back @ there, np.eye(4), points) < 1e-6
    np.testing.assert_allclose(there[:3, :3] @ there[:3, :3].T, np.eye(3), atol=1e-9)


def test_moves_are_not_small():
    """What the tests above find would be missed by a registration that does nothing."""
    place = np.array([[0, -16, 20.0]])
    for contrast, least_mm in ((Contrast.T2W, 4), (Contrast.FLAIR, 3), (Contrast.CE_T1W, 1)):
        assert distance_mm(np.eye(4), between(PLAIN, SCANS[contrast]), place) > least_mm


@pytest.mark.parametrize('contrast', OTHERS)
def test_contrasts_overlay_the_reference(done, contrast):
    """As if scanned on the reference's grid at once: one voxel aside is worse, on every side."""
    truth = done.scan(contrast, replace(PLAIN, noise=0, bias=0))
    volume = as_ras(truth.volume.astype(float), truth.affine)
    brain = as_ras(truth.brain_mask, truth.affine)
    found = data(saved(done, contrast, 'space-T1w_desc-preproc'))
    here = correlation(found, volume, brain)
    assert here > 0.9
    for axis in range(3):
        for step in (-1, 1):
            assert correlation(np.roll(found, step, axis), volume, brain) < here - 0.05


@pytest.mark.parametrize('contrast', OTHERS)
@pytest.mark.parametrize('place', ['space-T1w', f'space-{TPL}_res-2'])
def test_left_stays_left(done, contrast, place):
    """The capsule on the left scalp lies in one place in all contrasts, within a voxel."""
    phantom = done.phantoms[Contrast.T1W]
    marker, mirror = phantom.marker_mm, phantom.mirror_mm
    native = place == 'space-T1w'
    if not native:
        way = point_map(transform(done, Contrast.T1W, TPL, 'T1w', 'h5'))
        marker, mirror = way(np.array([marker, mirror]))
    assert marker[0] < -40, 'RAS: left is negative'
    assert mirror[0] > 40, 'RAS: left is negative'
    middle = 'desc-preproc' if native else f'{place}_desc-preproc'
    reference = bright_spot_mm(nb.load(saved(done, Contrast.T1W, middle)), marker)
    image = nb.load(saved(done, contrast, f'{place}_desc-preproc'))
    assert np.linalg.norm(bright_spot_mm(image, marker) - reference) < (4 if native else 2)
    volume, inverse = image.get_fdata(), np.linalg.inv(image.affine)
    left, right = (
        volume[tuple(np.rint(nb.affines.apply_affine(inverse, spot)).astype(int))]
        for spot in (reference, mirror)
    )
    assert left > 1.5 * right


@pytest.mark.parametrize('contrast', OTHERS)
def test_joined_transforms_are_their_parts_in_a_row(done, contrast):
    label = contrast.label
    points = brain_points(done.phantoms[Contrast.T1W])
    onto = transform(done, Contrast.T1W, 'T1w', TPL, 'h5')
    there = transform(done, contrast, label, TPL, 'h5')
    back = transform(done, contrast, TPL, label, 'h5')
    template = point_map(transform(done, Contrast.T1W, TPL, 'T1w', 'h5'))(points)
    in_a_row = point_map(onto, transform(done, contrast, label, 'T1w', 'txt'))(template)
    joined = point_map(there)(template)
    np.testing.assert_allclose(joined, in_a_row, atol=1e-3)
    np.testing.assert_allclose(point_map(back)(joined), template, atol=0.05)
    assert len(read_parts(there)) == 1, 'an affine one joins a rigid one'


@pytest.mark.parametrize('contrast', SCANS)
def test_another_tool_repeats_the_single_interpolation(done, contrast, tmp_path):
    """By the transform and the words of the sidecar, from the native image."""
    target = saved(done, contrast, f'space-{TPL}_res-2_desc-preproc')
    steps = json.loads(target.with_name(target.name.replace('.nii.gz', '.json')).read_text())
    (step,) = (step for step in steps['Steps'] if step['Name'] == 'resample')
    program = BIN / step['Tool']
    words = [
        program, '-d', '3', '--float', '1',
        '-i', saved(done, contrast, 'desc-preproc'), '-r', target,
        '-t', transform(done, contrast, contrast.label, TPL, 'h5'),
        '-n', step['Parameters']['images'], '-o', tmp_path / 'again.nii',
    ]  # fmt: skip
    subprocess.run(words, check=True, env=os.environ | {PYTHON_VARIABLE: sys.executable})
    again, kept = data(tmp_path / 'again.nii'), data(target)
    assert np.abs(again - kept).max() <= 1e-4 * np.ptp(kept)


@pytest.mark.parametrize('contrast', SCANS)
@pytest.mark.parametrize('place', ['', 'space-T1w', f'space-{TPL}_res-2'])
def test_stripped_and_normalised_with_the_mask_of_the_grid(done, contrast, place):
    if place == 'space-T1w' and contrast is Contrast.T1W:
        place = ''
    mask = mask_of(done, contrast)
    if place:
        grid = '' if place == 'space-T1w' else f'{place}_'
        mask = done.anat / f'sub-01_{grid}desc-brain_mask.nii.gz'
    inside = data(mask) > 0
    head, brain, zscore = (
        data(saved(done, contrast, f'{place}_desc-{what}'.lstrip('_')))
        for what in ('preproc', 'brain', 'zscore')
    )
    np.testing.assert_array_equal(brain, np.where(inside, head, 0))
    assert zscore[inside].mean() == pytest.approx(0, abs=1e-4)
    assert zscore[inside].std() == pytest.approx(1, abs=1e-4)


def test_an_agent_makes_another_contrast(done):
    """Scalp shines with an agent; the plain T1w is not mixed with it."""
    outside = ~(data(mask_of(done, Contrast.T1W)) > 0)
    plain = data(saved(done, Contrast.T1W, 'desc-preproc'))
    agent = data(saved(done, Contrast.CE_T1W, 'space-T1w_desc-preproc'))
    bright = outside & (plain > 0.3 * plain[~outside].mean())
    assert agent[bright].mean() > 1.05 * plain[bright].mean()


def test_sources_are_files(done):
    description = json.loads((done.out / 'dataset_description.json').read_text())
    roots = {'raw': done.out / description['DatasetLinks']['raw'], '': done.out}
    sidecars = [path for path in done.anat.glob('*.json') if 'iqms' not in path.name]
    assert len(sidecars) > 50
    for path in sidecars:
        sources = json.loads(path.read_text())['Sources']
        assert sources, path.name
        for uri in sources:
            _, dataset, relative = uri.split(':', 2)
            assert (roots[dataset] / relative).is_file(), (path.name, uri)


def test_outputs_overlay_their_sources(done):
    """As the guard measured it through the saved inverse."""
    for contrast in SCANS:
        path = saved(done, contrast, f'space-{TPL}_res-2_desc-preproc')
        told = json.loads(path.with_name(path.name.replace('.nii.gz', '.json')).read_text())
        assert told['OverlayCorrelation'] > 0.98
        assert 'OverlayDoubt' not in told


def test_the_report_shows_each_contrast(done):
    page = (done.out / 'sub-01.html').read_text(encoding='utf-8')
    assert 'Finished without errors' in page
    assert 'was not made' not in page
    figures = {path.name for path in (done.out / 'sub-01/figures').iterdir()}
    for contrast in OTHERS:
        entities, _, suffix = STEM[contrast].rpartition('_')
        assert f'{entities}_desc-coregistration_{suffix}.svg' in figures


def test_the_output_is_valid(done, bids_validator):
    assert validate(done.out) == []
    assert validate(done.bids) == []


# real heads

MOVE = np.eye(4)
MOVE[:3, :3] = Rotation.from_euler('xyz', (4, -5, 5), degrees=True).as_matrix()
MOVE[:3, 3] = (5, -8, 6)


def test_a_real_head_is_found_where_it_was_moved(test_data, tmp_path):
    """T1w and FLAIR of one session; once more with the FLAIR moved in its header."""
    source = test_data / 'ms-t1-t2-flair'
    bids, hand = tmp_path / 'bids', tmp_path / 'hand'
    for subject, move in (('ms', np.eye(4)), ('moved', MOVE)):
        for suffix in ('T1w', 'FLAIR'):
            moved = move if suffix == 'FLAIR' else np.eye(4)
            for root, stem, name in (
                (bids, f'sub-{subject}_{suffix}', f'study1_{suffix.upper()}'),
                (
                    hand,
                    f'sub-{subject}_space-{suffix}_desc-brain_mask',
                    f'patient04_study1_{suffix.upper()}_brainmask-from-common',
                ),
            ):
                image = nb.load(source / f'{name}.nii.gz')
                path = raw_path(root, stem)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(image_bytes(np.asarray(image.dataobj), moved @ image.affine))
    out = tmp_path / 'out'
    words = [*quick(tmp_path / 'settings'), '-w', tmp_path / 'work', '-d', f'hand={hand}']
    assert run(bids, out, *words, '--second-extractor', 'none') == 0
    assert {row['coregistration_status'] for row in masks(out)} <= {'accept', 'n/a'}
    name = 'from-FLAIR_to-T1w_mode-image_xfm.txt'
    found = [
        linear_matrix(out / f'sub-{subject}/anat/sub-{subject}_{name}')
        for subject in ('ms', 'moved')
    ]
    image = nb.load(out / 'sub-ms/anat/sub-ms_desc-brain_mask.nii.gz')
    points = nb.affines.apply_affine(image.affine, np.argwhere(image.get_fdata() > 0)[::97])
    assert distance_mm(found[1], MOVE @ found[0], points) < 0.5
    assert distance_mm(found[0], np.eye(4), points) < 6, 'a head that lay still'
    flair = nb.load(out / 'sub-ms/anat/sub-ms_space-FLAIR_desc-brain_mask.nii.gz')
    place = np.linalg.inv(flair.affine) @ found[0] @ image.affine
    carried = ndi.affine_transform(flair.get_fdata(), place, output_shape=image.shape, order=1)
    assert dice(carried > 0.5, image.get_fdata() > 0) > 0.93
