"""Whole runs on phantoms: masks that are given, refused or doubted, and networks loaded once."""

from __future__ import annotations

import json

import nibabel as nb
import numpy as np
import pytest
from runs import failures, finished, masks, newest_log, quick, run, validate

from mriprep.phantom import write_bids


def metrics(out, subject):
    return json.loads((out / f'sub-{subject}/anat/sub-{subject}_desc-iqms_T1w.json').read_text())


def mask_path(out, subject):
    return out / f'sub-{subject}/anat/sub-{subject}_desc-brain_mask.nii.gz'


def give(folder, subject, phantom, mask):
    """Put a mask into a derivative data set."""
    image = nb.Nifti1Image(mask.astype(np.uint8), phantom.affine)
    path = mask_path(folder, subject)
    path.parent.mkdir(parents=True)
    image.to_filename(path)
    description = {'Name': 'masks', 'BIDSVersion': '1.10.0', 'DatasetType': 'derivative'}
    (folder / 'dataset_description.json').write_text(json.dumps(description))


@pytest.fixture
def place(tmp_path):
    """Folders of a run, and its quick options."""

    def words(*more):
        return [*quick(tmp_path / 'settings'), '-w', tmp_path / 'work', *more]

    words.out, words.hand = tmp_path / 'out', tmp_path / 'hand'
    return words


def half(phantom):
    mask = phantom.brain_mask.copy()
    mask[: mask.shape[0] // 2] = False
    return mask


def test_a_given_mask_is_used_and_named(tiny_bids, tiny_left_handed_head, place, bids_validator):
    phantom = tiny_left_handed_head
    give(place.hand, '02', phantom, phantom.brain_mask)
    words = place('-d', f'hand={place.hand}', '--participant-label', '02')
    assert run(tiny_bids, place.out, *words) == 0
    saved = nb.load(mask_path(place.out, '02'))
    # the phantom is LAS, derivatives are RAS
    np.testing.assert_array_equal(saved.get_fdata()[::-1] > 0, phantom.brain_mask)
    sidecar = json.loads(
        (place.out / 'sub-02/anat/sub-02_desc-brain_mask.json').read_text(encoding='utf-8')
    )
    assert sidecar['Extractor'] == 'given'
    assert 'bids:hand:sub-02/anat/sub-02_desc-brain_mask.nii.gz' in sidecar['Sources']
    description = json.loads((place.out / 'dataset_description.json').read_text())
    assert description['DatasetLinks']['hand'] == '../hand'
    assert metrics(place.out, '02')['mask_extractor'] == 'given'
    assert validate(place.out) == []


def test_a_refused_mask_stops_its_subject_alone_and_force_goes_on(
    tiny_bids, tiny_head, tiny_left_handed_head, place
):
    give(place.hand, '01', tiny_head, half(tiny_head))
    give(place.hand / 'more', '02', tiny_left_handed_head, tiny_left_handed_head.brain_mask)
    given = ('-d', f'hand={place.hand}', f'more={place.hand / "more"}')
    words = place(*given, '--second-extractor', 'none')
    assert run(tiny_bids, place.out, *words) == 1
    (failure,) = failures(place.out)
    assert failure['participant_id'] == 'sub-01'
    assert 'the brain mask is refused' in failure['cause']
    assert '--force' in failure['next_step']
    assert not mask_path(place.out, '01').exists()
    assert mask_path(place.out, '02').exists()
    assert set(finished(place.out)) == {'sub-02'}
    # what the guard saw can be looked at all the same
    assert metrics(place.out, '01')['mask_status'] == 'refused'
    page = (place.out / 'sub-01.html').read_text(encoding='utf-8')
    assert 'The mask is REFUSED' in page
    assert (place.out / 'sub-01/figures/sub-01_desc-brain_T1w.svg').exists()
    rows = masks(place.out)
    assert [(row['contrast'], row['mask_status']) for row in rows] == [
        ('T1w', 'refused'),
        ('T1w', 'accept'),
    ]

    before = mask_path(place.out, '02').stat().st_mtime_ns
    assert run(tiny_bids, place.out, *words, '--force') == 0
    assert mask_path(place.out, '02').stat().st_mtime_ns == before
    sidecar = json.loads(
        (mask_path(place.out, '01').with_name('sub-01_desc-brain_mask.json')).read_text()
    )
    assert sidecar['GuardStatus'] == 'refused'


def test_a_mask_that_is_doubted_is_compared_with_another(tiny_bids, tiny_head, place):
    give(place.hand, '01', tiny_head, half(tiny_head))
    words = place(
        '-d', f'hand={place.hand}', '--second-extractor', 'deepbet', '--participant-label', '01'
    )
    assert run(tiny_bids, place.out, *words) == 1
    found = metrics(place.out, '01')
    assert found['mask_compared_with'] == 'deepbet'
    assert 0.5 < found['mask_agreement_dice'] < 0.8
    assert [item['status'] for item in found['mask_attempts']] == ['refused', 'accept']
    page = (place.out / 'sub-01.html').read_text(encoding='utf-8')
    assert f'Dice {found["mask_agreement_dice"]:.2f}' in page


def test_a_network_is_loaded_once_for_many_images(tmp_path, tiny_head):
    bids, out = tmp_path / 'bids', tmp_path / 'out'
    write_bids(bids, dict.fromkeys(('01', '02', '03', '04'), tiny_head))
    settings = quick(tmp_path / 'settings')[:2]
    code = run(
        bids, out, *settings, '-w', tmp_path / 'work', '--offline', '--nprocs', 2,
        '--omp-nthreads', 2,
    )  # fmt: skip
    assert code == 0
    log = newest_log(out, 'mriprep.log').read_text()
    assert log.count('extractor deepbet: loaded on cpu') == 1
    assert 'networks: deepbet on cpu was loaded 1 times for 4 images' in log


def test_an_extractor_that_can_not_run_is_refused_before_anything_starts(
    tiny_bids, place, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv('MRIPREP_WEIGHTS_DIR', str(tmp_path / 'none'))
    monkeypatch.setenv('HOME', str(tmp_path))
    assert run(tiny_bids, place.out, *place('--extractor', 'hd-bet')) == 2
    err = capsys.readouterr().err
    assert '--extractor hd-bet' in err
    assert 'mriprep fetch hd-bet' in err
    assert not place.out.exists()
