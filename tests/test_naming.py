"""Names of outputs: order of entities, folders, and no two files under one name."""

from __future__ import annotations

import itertools
from pathlib import PurePosixPath

import pytest

from mriprep.naming import (
    PATTERNS,
    Kind,
    Output,
    file_name,
    output_path,
    report_path,
    sidecar_path,
    stamp_path,
)
from mriprep.settings import Space

PEDIATRIC = Space('MNIPediatricAsym', '3', '2')


def path(output, **options) -> str:
    return str(output_path(output, **({'subject': '01'} | options)))


@pytest.mark.parametrize(
    ('output', 'expected'),
    [
        (Output.PREPROC, 'sub-01/anat/sub-01_desc-preproc_T1w.nii.gz'),
        (Output.BRAIN_MASK, 'sub-01/anat/sub-01_desc-brain_mask.nii.gz'),
        (Output.BRAIN, 'sub-01/anat/sub-01_desc-brain_T1w.nii.gz'),
        (Output.ZSCORE, 'sub-01/anat/sub-01_desc-zscore_T1w.nii.gz'),
        (Output.AUDIT_FIGURE, 'sub-01/figures/sub-01_desc-audit_T1w.html'),
        (Output.BRAIN_FIGURE, 'sub-01/figures/sub-01_desc-brain_T1w.svg'),
    ],
)
def test_native_names_are_those_of_the_contract(output, expected):
    assert path(output) == expected


@pytest.mark.parametrize(
    ('output', 'expected'),
    [
        (Output.FORWARD, 'sub-01_from-T1w_to-MNIPediatricAsym+3_mode-image_xfm.h5'),
        (Output.INVERSE, 'sub-01_from-MNIPediatricAsym+3_to-T1w_mode-image_xfm.h5'),
        (Output.PREPROC, 'sub-01_space-MNIPediatricAsym+3_res-2_desc-preproc_T1w.nii.gz'),
        (Output.BRAIN_MASK, 'sub-01_space-MNIPediatricAsym+3_res-2_desc-brain_mask.nii.gz'),
        (Output.REGISTRATION_FIGURE, 'sub-01_space-MNIPediatricAsym+3_desc-registration_T1w.svg'),
    ],
)
def test_template_names_carry_cohort_and_resolution(output, expected):
    assert PurePosixPath(path(output, space=PEDIATRIC)).name == expected


def test_a_native_resolution_has_no_res_entity():
    assert path(Output.BRAIN, space=Space('MNI152NLin6Asym')) == (
        'sub-01/anat/sub-01_space-MNI152NLin6Asym_desc-brain_T1w.nii.gz'
    )


def test_a_session_is_a_folder_and_an_entity_but_figures_lie_together():
    assert path(Output.BRAIN, session='pre') == (
        'sub-01/ses-pre/anat/sub-01_ses-pre_desc-brain_T1w.nii.gz'
    )
    assert path(Output.BRAIN_FIGURE, session='pre') == (
        'sub-01/figures/sub-01_ses-pre_desc-brain_T1w.svg'
    )


def test_entities_of_the_source_are_kept_in_the_order_of_bids():
    source = (('run', '2'), ('acq', 'mprage'), ('rec', 'norm'))
    assert path(Output.FORWARD, source_entities=source, space=PEDIATRIC) == (
        'sub-01/anat/sub-01_acq-mprage_rec-norm_run-2'
        '_from-T1w_to-MNIPediatricAsym+3_mode-image_xfm.h5'
    )


def test_the_suffix_of_the_source_is_kept_except_for_masks_and_transforms():
    names = [path(o, source_suffix='FLAIR') for o in (Output.BRAIN, Output.BRAIN_MASK)]
    assert [name.split('_')[-1] for name in names] == ['FLAIR.nii.gz', 'mask.nii.gz']
    assert '_from-FLAIR_to-' in path(Output.FORWARD, source_suffix='FLAIR', space=PEDIATRIC)


def test_no_two_outputs_share_a_name():
    spaces = [None, PEDIATRIC, Space('MNIPediatricAsym', '3', '1'), Space('MNIPediatricAsym', '4')]
    paths = [
        path(output, space=space, session=session, source_entities=entities)
        for output, space, session, entities in itertools.product(
            Output, spaces, (None, 'a'), ((), (('run', '1'),))
        )
        if PATTERNS[output].kind is Kind.IMAGE or PATTERNS[output].kind is Kind.MASK
    ]
    assert len(set(paths)) == len(paths)


def test_a_transform_needs_a_template():
    with pytest.raises(ValueError, match='needs a template space'):
        output_path(Output.FORWARD, subject='01')


def test_entities_without_a_place_are_named():
    with pytest.raises(ValueError, match=r"\['colour'\]"):
        file_name({'sub': '01', 'colour': 'red'}, 'T1w', '.nii.gz')


@pytest.mark.parametrize(
    ('kind', 'dtype'),
    [(Kind.IMAGE, 'float32'), (Kind.MASK, 'uint8'), (Kind.TRANSFORM, None), (Kind.FIGURE, None)],
)
def test_what_is_stored_as_what(kind, dtype):
    assert {row.dtype for row in PATTERNS.values() if row.kind is kind} == {dtype}


def test_every_output_has_a_row_and_every_image_says_whether_it_is_stripped():
    assert set(PATTERNS) == set(Output)
    assert all(p.stripped is not None for p in PATTERNS.values() if p.kind is Kind.IMAGE)


def test_sidecars_reports_and_stamps():
    assert (
        sidecar_path(PurePosixPath('a/sub-1_to-X+3_xfm.h5')).as_posix()
        == 'a/sub-1_to-X+3_xfm.json'
    )
    assert report_path('01') == PurePosixPath('sub-01.html')
    assert stamp_path('01', 'b') == PurePosixPath('logs/finished/sub-01_ses-b.json')
    assert stamp_path('01', None) != stamp_path('01', 'b')
