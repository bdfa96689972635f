"""One head stored in any of the 48 orientations is one head: conformed, and in template space."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from runs import quick, run

from mriprep.interfaces.conform import Conform
from mriprep.phantom import Phantom, Scan, make_phantom, write_bids

TURNS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
SCANS = {
    'straight': Scan(seed=5, voxel_size_mm=(4, 4, 4), oblique_deg=(0, 0, 0)),
    'anisotropic': Scan(seed=6, voxel_size_mm=(3, 4, 6), oblique_deg=(0, 0, 0)),
    'oblique': Scan(seed=7, voxel_size_mm=(4, 5, 6), oblique_deg=(14, -11, 19)),
}
COHORT = 'MNIPediatricAsym'


def turned(volume, affine, order, signs):
    """Store a volume with its axes in another order and direction; each voxel keeps its place.

    Written out by hand, so that it shares nothing with what is tested.
    """
    stored = np.transpose(volume, order)
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for axis, (source, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[source, axis] = sign
        if sign < 0:
            matrix[source, 3] = stored.shape[axis] - 1
            stored = np.flip(stored, axis)
    return stored, affine @ matrix


def test_turning_keeps_each_voxel_in_its_place():
    volume = np.arange(60).reshape(3, 4, 5)
    affine = np.diag([2.0, 3, 4, 1])
    for order, signs in TURNS:
        stored, other = turned(volume, affine, order, signs)
        for value in (0, 17, 42, 59):
            before = affine @ [*np.argwhere(volume == value)[0], 1]
            np.testing.assert_array_equal(other @ [*np.argwhere(stored == value)[0], 1], before)


def marked(phantom: Phantom) -> np.ndarray:
    """The phantom with a capsule on its right, twice as bright as the one on its left."""
    volume = phantom.volume.copy()
    volume[nearest(phantom.affine, phantom.mirror_mm)] = 2 * volume.max()
    return volume


def nearest(affine, place_mm) -> tuple[int, ...]:
    index = np.linalg.inv(affine) @ [*place_mm, 1]
    return tuple(np.rint(index[:3]).astype(int))


@pytest.fixture(scope='module', params=SCANS)
def scan(request, coarse_head):
    return make_phantom(coarse_head, SCANS[request.param])


def test_all_48_conform_to_the_same_image(scan, tmp_path):
    volume = marked(scan)
    places = np.random.default_rng(0).integers(0, volume.shape, (200, 3))
    seen, outputs = set(), []
    for order, signs in TURNS:
        stored, affine = turned(volume, scan.affine, order, signs)
        seen.add(nb.aff2axcodes(affine))
        image = nb.Nifti1Image(stored, affine)
        image.set_qform(affine, 1)
        image.to_filename(tmp_path / 'scan.nii')
        out = nb.load(Conform(in_file=tmp_path / 'scan.nii').run(cwd=tmp_path).outputs.out_file)
        values = np.asarray(out.dataobj).copy()
        outputs.append((values, out.affine))
        # each value where it was, and the bright capsule on the right
        there = np.linalg.inv(out.affine) @ scan.affine @ np.c_[places, np.ones(len(places))].T
        found = values[tuple(np.rint(there[:3]).astype(int))]
        np.testing.assert_array_equal(found, volume[tuple(places.T)])
        bright = out.affine @ [*np.argwhere(values == values.max())[0], 1]
        np.testing.assert_allclose(bright[:3], scan.mirror_mm, atol=1e-2)
        assert bright[0] > scan.marker_mm[0] + 80
    assert len(seen) == 48
    for values, affine in outputs:
        np.testing.assert_array_equal(values, outputs[0][0])
        np.testing.assert_allclose(affine, outputs[0][1], atol=1e-3)


@pytest.fixture
def small_cohort(coarse_head, tmp_path, monkeypatch):
    """A TemplateFlow folder with one cohort of 4 mm; its headers lie about their code."""
    home = tmp_path / 'templateflow'
    folder = home / f'tpl-{COHORT}' / 'cohort-3'
    folder.mkdir(parents=True)
    for name, voxels in (('T1w', coarse_head.volume), ('desc-brain_mask', coarse_head.brain_mask)):
        image = nb.Nifti1Image(voxels.astype(np.uint8), coarse_head.affine)
        image.set_sform(image.affine, 2)
        image.set_qform(image.affine, 2)
        image.to_filename(folder / f'tpl-{COHORT}_cohort-3_res-1_{name}.nii.gz')
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(home))


STORED = {
    'ras': ((0, 1, 2), (1, 1, 1)),
    'las': ((0, 1, 2), (-1, 1, 1)),
    'psr': ((1, 2, 0), (-1, 1, 1)),
    'sla': ((2, 0, 1), (1, -1, 1)),
}


def test_whole_runs_agree_in_template_space(coarse_head, small_cohort, tmp_path):
    """Four orientations, two of them left-handed, with one mask given for all."""
    phantom = make_phantom(coarse_head, SCANS['oblique'])
    bids, out, hand = tmp_path / 'bids', tmp_path / 'out', tmp_path / 'hand'
    phantoms = {}
    for label, turn in STORED.items():
        volume, affine = turned(phantom.volume, phantom.affine, *turn)
        mask, _ = turned(phantom.brain_mask, phantom.affine, *turn)
        phantoms[label] = replace(phantom, volume=volume, affine=affine, brain_mask=mask)
        path = hand / f'sub-{label}/anat/sub-{label}_desc-brain_mask.nii.gz'
        path.parent.mkdir(parents=True)
        nb.Nifti1Image(mask.astype(np.uint8), affine).to_filename(path)
    write_bids(bids, phantoms)
    description = {'Name': 'masks', 'BIDSVersion': '1.10.0', 'DatasetType': 'derivative'}
    (hand / 'dataset_description.json').write_text(json.dumps(description))
    config, plugin = quick(tmp_path / 'settings')[:2], quick(tmp_path / 'settings')[2:]
    words = [
        *config, *plugin, '-w', tmp_path / 'work', '-d', f'hand={hand}', '--force',
        '--second-extractor', 'none', '--output-spaces', 'T1w', f'{COHORT}:cohort-3:res-1',
    ]  # fmt: skip
    assert run(bids, out, *words) == 0

    space = f'space-{COHORT}+3_res-1'
    images = {
        label: nb.load(out / f'sub-{label}/anat/sub-{label}_{space}_desc-preproc_T1w.nii.gz')
        for label in STORED
    }
    first = images['ras'].get_fdata()
    inside = coarse_head.brain_mask
    spread = np.ptp(np.percentile(first[inside], [1, 99]))
    for label, image in images.items():
        np.testing.assert_allclose(image.affine, coarse_head.affine, atol=1e-4)
        assert np.abs(image.get_fdata() - first)[inside].mean() < 0.01 * spread
        # the capsule of the phantom lies on the left of the template too
        bright, mirror = (
            image.dataobj[nearest(image.affine, place * np.array(coarse_head.marker_mm))]
            for place in ([1, 1, 1], [-1, 1, 1])
        )
        assert bright > 2 * mirror
        for path in (out / f'sub-{label}/anat').glob(f'*_{space}_*.nii.gz'):
            header = nb.load(path).header
            assert (int(header['qform_code']), int(header['sform_code'])) == (4, 4), path.name
            np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-5)
        for path in (out / f'sub-{label}/anat').glob('*.nii.gz'):
            if 'space-' not in path.name:
                assert int(nb.load(path).header['sform_code']) == 1, path.name
