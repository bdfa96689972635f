"""Whole runs in which one contrast of a session is broken: it costs itself and nothing else."""

from __future__ import annotations

import gzip
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from contrast_phantoms import (
    PERSON,
    PLAIN,
    SAGITTAL,
    THICK,
    raw_path,
    scanner,
    write_given,
    write_images,
)
from runs import derivatives, failures, finished, half_written, masks, newest_log, quick, run

from mriprep.contrasts import Contrast
from mriprep.phantom import image_bytes

T1W, T2W, FLAIR = Contrast.T1W, Contrast.T2W, Contrast.FLAIR
BROKEN = ('cutgz', 'cut', 'noise')
SUBJECTS = (*BROKEN, 'other', 'half')
WHOLE = (
    'desc-preproc_T1w', 'desc-brain_mask', 'desc-brain_T1w', 'desc-zscore_T1w',
)  # fmt: skip
OTHER = (
    'desc-preproc_{0}', 'desc-brain_{0}', 'desc-zscore_{0}', 'space-{0}_desc-brain_mask',
    'space-T1w_desc-preproc_{0}', 'space-T1w_desc-brain_{0}', 'space-T1w_desc-zscore_{0}',
)  # fmt: skip


@pytest.fixture(scope='module')
def troubled(tmp_path_factory, embedded_template):
    """Subjects with a good T1w, one with a good T2w too, each with a FLAIR that is none of theirs."""
    root = tmp_path_factory.mktemp('troubled')
    bids = root / 'bids'
    scan = scanner(embedded_template)
    t1w, flair = scan(T1W, PLAIN), scan(FLAIR, SAGITTAL)
    someone = replace(PERSON, seed=31, scale=(1.08, 0.95, 1.06), warp_mm=5)
    noise = np.random.default_rng(0).normal(500, 100, flair.volume.shape).astype(np.int16)
    images = {f'sub-{label}_T1w': t1w for label in SUBJECTS}
    images |= {
        'sub-cutgz_FLAIR': flair,
        'sub-cutgz_T2w': scan(T2W, THICK),
        'sub-half_FLAIR': flair,
        'sub-noise_FLAIR': replace(flair, volume=noise),
        'sub-other_FLAIR': scanner(embedded_template, someone)(FLAIR, SAGITTAL),
    }
    write_images(bids, images)
    good = raw_path(bids, 'sub-cutgz_FLAIR').read_bytes()
    raw_path(bids, 'sub-cutgz_FLAIR').write_bytes(good[: len(good) // 2])
    plain = gzip.decompress(image_bytes(flair.volume, flair.affine))
    raw_path(bids, 'sub-cut_FLAIR', '.nii').write_bytes(plain[:-1000])
    half = flair.brain_mask & (np.arange(flair.volume.shape[0]) > 38)[:, None, None]
    given = {f'sub-{label}_desc-brain_mask': (t1w.brain_mask, t1w.affine) for label in SUBJECTS}
    given['sub-half_space-FLAIR_desc-brain_mask'] = (half, flair.affine)
    write_given(root / 'hand', given)
    words = [
        '-w', root / 'work', *quick(root / 'settings'), '-d', f'hand={root / "hand"}',
        '--extractor', 'given', '--second-extractor', 'none',
    ]  # fmt: skip
    out = root / 'out'
    code = run(bids, out, *words)
    return SimpleNamespace(
        bids=bids, out=out, code=code, words=words, good=good, rows=failures(out), seen=masks(out)
    )


def missing(done, label, endings):
    anat = done.out / f'sub-{label}/anat'
    return [end for end in endings if not (anat / f'sub-{label}_{end}.nii.gz').is_file()]


@pytest.mark.parametrize('label', SUBJECTS)
def test_the_reference_is_complete_whatever_happens_to_a_contrast(troubled, label):
    assert missing(troubled, label, WHOLE) == []


def test_so_is_the_third_contrast(troubled):
    assert missing(troubled, 'cutgz', [end.format('T2w') for end in OTHER]) == []


@pytest.mark.parametrize('label', BROKEN)
def test_a_broken_contrast_leaves_nothing_half_done(troubled, label):
    ends = ('preproc_FLAIR.nii.gz', 'brain_FLAIR.nii.gz', 'zscore_FLAIR.nii.gz', 'xfm.h5')
    assert not [name for name in derivatives(troubled.out, label) if name.endswith(ends)]
    assert half_written(troubled.out) == []


def test_each_broken_contrast_is_one_row_that_names_it(troubled):
    assert troubled.code == 1
    broken = {
        'sub-cutgz': ('sub-cutgz/anat/sub-cutgz_FLAIR.nii.gz', 'truncated'),
        'sub-cut': ('sub-cut/anat/sub-cut_FLAIR.nii', 'truncated'),
        'sub-noise': ('sub-noise/anat/sub-noise_FLAIR.nii.gz', 'noise'),
        'sub-half': ('sub-half/anat/sub-half_FLAIR.nii.gz', 'the brain mask is refused'),
    }
    told = {row['participant_id']: row for row in troubled.rows}
    assert set(broken) <= set(told) <= {*broken, 'sub-other'}
    assert len(told) == len(troubled.rows), 'one row for each'
    for subject, (image, cause) in broken.items():
        assert told[subject]['image'] == image
        assert cause in told[subject]['cause']
        assert told[subject]['next_step']


def flair_row(done, subject):
    (row,) = (
        row
        for row in done.seen
        if (row['participant_id'], row['contrast']) == (f'sub-{subject}', 'FLAIR')
    )
    return row


def test_a_refused_mask_of_a_contrast_can_be_looked_at(troubled):
    row = flair_row(troubled, 'half')
    assert (row['mask_status'], row['mask_extractor']) == ('refused', 'given')
    assert (troubled.out / 'sub-half/figures/sub-half_desc-brain_FLAIR.svg').is_file()
    assert not missing(troubled, 'half', WHOLE)
    assert not list(troubled.out.glob('sub-half/anat/*space-FLAIR_desc-brain_mask*'))


def test_another_head_is_flagged(troubled):
    row = flair_row(troubled, 'other')
    assert row['coregistration_status'] in ('doubtful', 'refused')
    assert row['coregistration_reasons'] != 'n/a'
    page = (troubled.out / 'sub-other.html').read_text(encoding='utf-8')
    assert row['coregistration_reasons'].split(' | ')[0] in page


@pytest.mark.parametrize('label', BROKEN)
def test_the_page_names_the_broken_contrast(troubled, label):
    page = (troubled.out / f'sub-{label}.html').read_text(encoding='utf-8')
    assert 'Not finished' in page
    assert f'sub-{label}_FLAIR' in page


def test_reports_alone_do_not_hide_what_is_missing(troubled):
    words = [*troubled.words, '--participant-label', 'cutgz', 'other', '--reports-only']
    assert run(troubled.bids, troubled.out, *words) == 1
    (row,) = failures(troubled.out)
    assert row['image'] == 'sub-cutgz/anat/sub-cutgz_FLAIR.nii.gz'
    assert 'files are missing' in row['cause']
    assert 'Not finished' in (troubled.out / 'sub-cutgz.html').read_text(encoding='utf-8')
    assert 'Not finished' not in (troubled.out / 'sub-other.html').read_text(encoding='utf-8')


def test_a_mended_contrast_is_added_and_the_others_stay(troubled):
    before = derivatives(troubled.out, 'cutgz')
    raw_path(troubled.bids, 'sub-cutgz_FLAIR').write_bytes(troubled.good)
    words = [*troubled.words, '--participant-label', 'cutgz']
    assert run(troubled.bids, troubled.out, *words) == 0
    assert missing(troubled, 'cutgz', [end.format('FLAIR') for end in OTHER]) == []
    assert 'sub-cutgz' in finished(troubled.out)
    after = derivatives(troubled.out, 'cutgz')
    assert [name for name in before if before[name] != after[name]] == []
    log = newest_log(troubled.out, 'mriprep.log').read_text(encoding='utf-8')
    for step in ('conform', 'coregister', 'n4'):
        assert log.count(f'Executing "{step}"') == 1, 'that of the FLAIR alone'
