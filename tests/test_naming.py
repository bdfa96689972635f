"""Names of outputs: order of entities, folders, and no two files under one name."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import PurePosixPath

import pytest
from plans import FULL, FULL_SESSIONS, full_session

from mriprep.contrasts import Contrast
from mriprep.listing import Place
from mriprep.naming import (
    ENTITY_ORDER,
    PATTERNS,
    Kind,
    Output,
    file_name,
    individual_stamp_path,
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
    with pytest.raises(ValueError, match='needs the space'):
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


PLANS = {
    'one session': (FULL, {}),
    'reference FLAIR': (FULL, {'images': {'merge_runs': True, 'reference': 'FLAIR'}}),
    'reference ce-T1w': (FULL, {'images': {'merge_runs': True, 'reference': 'ce-T1w'}}),
    'best run': (FULL, {'images': {}}),
    'masks of the reference': (FULL, {'images': {'masks': 'reference'}}),
    'not normalised': (FULL, {'normalization': 'none'}),
    'two sessions': (FULL_SESSIONS, {}),
    'longitudinal': (FULL_SESSIONS, {'images': {'longitudinal': True, 'merge_runs': True}}),
    'one without session': ([*FULL, *FULL_SESSIONS], {'images': {'longitudinal': True}}),
}
LABEL = r'[0-9A-Za-z+]+'


def derivatives_of(name):
    """All files of a subject, with the sessions that they are of."""
    images, values = PLANS[name]
    subject = full_session(sorted(images, key=lambda image: '/ses-' in image), **values)
    parts = [*subject.sessions, *([subject.individual] if subject.individual else [])]
    return [(part, item) for part in parts for item in part.derivatives]


@pytest.mark.parametrize('name', PLANS)
def test_no_two_files_of_a_subject_share_a_path(name):
    paths = Counter()
    for _, item in derivatives_of(name):
        paths[item.path] += 1
        if PATTERNS[item.output].kind not in (Kind.FIGURE, Kind.METRICS):
            paths[sidecar_path(item.path)] += 1
    assert [path for path, count in paths.items() if count > 1] == []
    # nor do they on a disk that does not tell letters apart
    assert len({str(path).lower() for path in paths}) == len(paths)


@pytest.mark.parametrize('name', PLANS)
def test_every_name_follows_bids(name):
    for part, item in derivatives_of(name):
        stem, _, extension = item.path.name.partition('.')
        *pairs, suffix = stem.split('_')
        assert all(re.fullmatch(f'[a-z]+-{LABEL}', pair) for pair in pairs), stem
        keys = [pair.partition('-')[0] for pair in pairs]
        assert keys == sorted(keys, key=ENTITY_ORDER.index), stem
        assert len(set(keys)) == len(keys), stem
        assert suffix in ('mask', 'probseg', 'xfm', *(c.suffix for c in Contrast))
        assert f'.{extension}' == PATTERNS[item.output].extension
        session = getattr(part, 'session', None)
        who = [f'sub-{part.subject}', *([f'ses-{session}'] if session else [])]
        assert pairs[: len(who)] == who
        assert ('ses' in keys) == bool(session)
        figure = PATTERNS[item.output].kind is Kind.FIGURE
        home = f'sub-{part.subject}/figures' if figure else '/'.join([*who, 'anat'])
        assert item.path.parent.as_posix() == home


def test_every_output_is_planned_somewhere():
    seen = {item.output for name in PLANS for _, item in derivatives_of(name)}
    assert seen == set(Output)


def entities_of(item):
    return dict(pair.split('-') for pair in item.path.name.split('.')[0].split('_')[:-1])


def expected_space(part, item, grid):
    """The value of ``space-`` that a reader expects."""
    if item.place is Place.INDIVIDUAL:
        return 'individual'
    if item.template is not None:
        return item.template.space.label
    if item.place is Place.REFERENCE:
        return part.main.label
    # beside its own image a file needs no space, unless it could be taken for the reference's
    shared = PATTERNS[item.output].suffix is not None
    return grid if shared and item.contrast is not part.main.contrast else None


@pytest.mark.parametrize('name', PLANS)
def test_a_name_tells_on_which_grid_its_voxels_lie(name):
    kinds = (Kind.IMAGE, Kind.MASK, Kind.PROBABILITY)
    for part, item in derivatives_of(name):
        if PATTERNS[item.output].kind not in kinds:
            continue
        found = entities_of(item)
        assert found.get('space') == expected_space(part, item, item.contrast.label), item.path
        assert found.get('res') == (item.template.resolution if item.template else None)


def test_plain_and_enhanced_images_differ_by_their_agent():
    for _, item in derivatives_of('one session'):
        named = 'ce-gd' in item.path.name
        assert named is (item.contrast is Contrast.CE_T1W), item.path


def test_what_is_averaged_bears_no_run_and_what_is_of_a_run_does():
    for _, item in derivatives_of('one session'):
        of_run = entities_of(item).get('run')
        assert of_run == (None if item.run is None else str(item.run + 1)), item.path


BACK = {
    Output.FORWARD: Output.INVERSE,
    Output.TO_REFERENCE: Output.FROM_REFERENCE,
    Output.TO_INDIVIDUAL: Output.FROM_INDIVIDUAL,
    Output.TO_RUN: Output.FROM_RUN,
}


@pytest.mark.parametrize('name', PLANS)
def test_every_transform_has_a_way_back_with_its_ends_exchanged(name):
    files = {}
    for part, item in derivatives_of(name):
        if PATTERNS[item.output].kind is Kind.TRANSFORM:
            label = item.template and item.template.space.label
            files[id(part), item.output, item.contrast, item.place, label, item.run] = item
    assert files
    for (part, output, *where), item in files.items():
        if output in BACK:
            there, back = entities_of(item), entities_of(files[part, BACK[output], *where])
            assert (there.pop('from'), there.pop('to')) == (back.pop('to'), back.pop('from'))
            assert there == back
            assert there['mode'] == 'image'


def test_ends_of_transforms():
    ends = {}
    for part, item in derivatives_of('longitudinal'):
        if PATTERNS[item.output].kind is Kind.TRANSFORM and getattr(part, 'session', 'a') == 'a':
            found = entities_of(item)
            ends.setdefault(item.output, set()).add((found['from'], found['to']))
    others = ('ceT1w', 'T2w', 'FLAIR', 'PDw')
    templates = ('A', 'B+2', 'B+3')
    assert ends[Output.TO_REFERENCE] == {(label, 'T1w') for label in others}
    assert ends[Output.FROM_REFERENCE] == {('T1w', label) for label in others}
    assert ends[Output.TO_INDIVIDUAL] == {('T1w', 'individual')}
    assert ends[Output.FROM_RUN] == {('orig', 'T2w')}
    assert ends[Output.TO_RUN] == {('T2w', 'orig')}
    origins = (*others, 'T1w', 'individual')
    assert ends[Output.FORWARD] == {(origin, to) for origin in origins for to in templates}
    assert ends[Output.INVERSE] == {(to, origin) for origin in origins for to in templates}


def test_stamps_of_a_subject_and_its_sessions_differ():
    stamps = [stamp_path('01', None), stamp_path('01', 'a'), individual_stamp_path('01')]
    assert len({str(path) for path in stamps}) == 3
