"""A stamp holds as long as what a session was made from, and what was written, is the same."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from plans import image_record, make_plans, scans, settings_for

from mriprep.given import Given, GivenFile
from mriprep.naming import stamp_path
from mriprep.settings import BrainSettings, Settings
from mriprep.stamps import fingerprint, is_finished

VERSIONS = {'mriprep': '1', 'ANTs': '2'}


def session_with(path: Path, content: bytes):
    path.write_bytes(content)
    record = replace(image_record('sub-01/anat/sub-01_T1w.nii.gz'), path=path)
    ((session,),) = (plan.sessions for plan in make_plans([record], settings_for('T1w')))
    return session


@pytest.mark.parametrize('name', ['a.nii', 'a.nii.gz'])
def test_another_image_of_the_same_size_is_noticed(tmp_path, name):
    # as in an uncompressed scan, the end is background in both
    heads = (bytes([value]) * 1000 + bytes(200_000) for value in (1, 2))
    pack = gzip.compress if name.endswith('.gz') else bytes
    first, second = (
        fingerprint(session_with(tmp_path / name, pack(head)), Settings(), VERSIONS)
        for head in heads
    )
    assert first != second


def test_a_moved_image_is_the_same(tmp_path):
    (tmp_path / 'there').mkdir()
    here, there = (
        fingerprint(session_with(folder / 'a.nii', b'voxels'), Settings(), VERSIONS)
        for folder in (tmp_path, tmp_path / 'there')
    )
    assert here == there


def test_settings_and_versions_count(tmp_path):
    session = session_with(tmp_path / 'a.nii', b'voxels')
    prints = {
        fingerprint(session, Settings(), VERSIONS),
        fingerprint(session, Settings(random_seed=5), VERSIONS),
        fingerprint(session, Settings(), {**VERSIONS, 'ANTs': '4'}),
        fingerprint(with_extraction(session, version='4'), Settings(), VERSIONS),
    }
    assert len(prints) == 4


def with_extraction(session, **changes):
    """The same session, its reference's brain found otherwise."""
    main = session.main
    changed = replace(main, extraction=replace(main.extraction, **changes))
    return replace(session, images=(changed, *session.others))


def test_what_changes_nothing_that_is_believed_makes_nothing_anew(tmp_path):
    session = session_with(tmp_path / 'a.nii', b'voxels')
    forced = Settings(brain=BrainSettings(force=True))
    prints = {
        fingerprint(session, Settings(), VERSIONS),
        fingerprint(session, forced, VERSIONS),
        # another extractor was installed since, for doubtful masks
        fingerprint(with_extraction(session, second=None), Settings(), VERSIONS),
    }
    assert len(prints) == 1


class Study:
    """A session of T1w, FLAIR and two runs of T2w, with files that the user has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ('flair', 't1w', 't2w-1', 't2w-2', 'mask', 'lesion', 'n4', 'to', 'back'):
            self.write(name, name)

    def write(self, name: str, content: str) -> None:
        (self.folder / name).write_text(content)

    def file(self, name: str) -> GivenFile:
        return GivenFile(path=self.folder / name, dataset='hand', relative=name)

    def plan(self, subject='01', *, given=None, **values):
        paths = scans('FLAIR', 'T1w', 'run-1_T2w', 'run-2_T2w', subject=subject)
        files = ('flair', 't1w', 't2w-1', 't2w-2')
        images = [
            replace(image_record(path), path=self.folder / name)
            for path, name in zip(paths, files, strict=True)
        ]
        flair, t1w = paths[:2]
        every = Given(
            masks={flair: self.file('mask')},
            lesions={flair: self.file('lesion')},
            corrected={flair: self.file('n4')},
            transforms={
                (t1w, 'T1w', 'A'): self.file('to'),
                (t1w, 'A', 'T1w'): self.file('back'),
                (flair, 'FLAIR', 'T1w'): self.file('to'),
                (flair, 'T1w', 'FLAIR'): self.file('back'),
            },
        )
        values = {'images': {'merge_runs': True}} | values
        settings = settings_for('A', **values)
        ((session,),) = (
            plan.sessions
            for plan in make_plans(images, settings, given=every if given is None else given)
        )
        return session, settings

    def print(self, *args, members=(), **values) -> str:
        session, settings = self.plan(*args, **values)
        return fingerprint(session, settings, VERSIONS, members)


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


@pytest.mark.parametrize(
    'name', ['flair', 't1w', 't2w-1', 't2w-2', 'mask', 'lesion', 'n4', 'to', 'back']
)
def test_the_content_of_every_file_counts(study, name):
    before = study.print()
    assert study.print() == before
    study.write(name, name[::-1] + '.')
    assert study.print() != before


def test_each_way_to_use_the_same_files_is_another(study):
    none = Given()
    prints = [
        study.print(),
        study.print(given=none),
        study.print(given=none, images={}),
        study.print(given=none, images={'reference': 'FLAIR'}),
        study.print(given=none, images={'contrasts': ['T1w', 'FLAIR']}),
        study.print(given=none, images={'masks': 'reference'}),
        study.print(given=none, registration={'lesion_masking': True}),
        study.print(given=Given(lesions={scans('T1w')[0]: study.file('lesion')})),
        study.print(given=Given(masks={scans('T1w')[0]: study.file('lesion')})),
    ]
    assert len(set(prints)) == len(prints)


def test_choices_that_lead_to_the_same_plan_are_the_same(study):
    prints = {
        study.print(images=images)
        for images in (
            {},
            {'reference': 'T1w'},
            {'longitudinal': True},
            {'contrasts': ['FLAIR', 'T2w', 'T1w']},
        )
    }
    assert len(prints) == 1


def test_the_sessions_of_a_mean_count_for_each_of_them(study):
    other, _ = study.plan('02')
    session, settings = study.plan()
    alone = fingerprint(session, settings, VERSIONS)
    joined = fingerprint(session, settings, VERSIONS, [session, other])
    assert joined != alone
    assert fingerprint(session, settings, VERSIONS, [session]) != joined
    # the reference of a member, which has a file of its own here
    study.write('elsewhere', 'another head')
    elsewhere = replace(other.reference, path=study.folder / 'elsewhere')
    choice = replace(other.main.choice, image=elsewhere)
    changed = replace(other, images=(replace(other.main, choice=choice), *other.others))
    assert fingerprint(session, settings, VERSIONS, [session, changed]) != joined


def test_a_session_is_finished_while_its_files_stand(tmp_path):
    session = session_with(tmp_path / 'a.nii', b'voxels')
    files = {str(item.path): 4 for item in session.derivatives}
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'done')
    stamp = tmp_path / stamp_path('01', None)
    stamp.parent.mkdir(parents=True)

    def finished(fingerprint):
        return is_finished(stamp, tmp_path, fingerprint, session.derivatives)

    assert not finished('f')
    stamp.write_text(json.dumps({'Fingerprint': 'f', 'Files': files}))
    assert finished('f')
    assert not finished('g')
    (tmp_path / next(iter(files))).write_bytes(b'cut')
    assert not finished('f')


def test_what_may_turn_out_not_to_exist_is_not_missed(tmp_path):
    session = session_with(tmp_path / 'a.nii', b'voxels')
    stamp = tmp_path / 'stamp.json'
    (optional,) = (item for item in session.derivatives if item.optional)
    for missing, finished in ((optional, True), (session.derivatives[0], False)):
        files = {str(item.path): 4 for item in session.derivatives if item is not missing}
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b'done')
        stamp.write_text(json.dumps({'Fingerprint': 'f', 'Files': files}))
        assert is_finished(stamp, tmp_path, 'f', session.derivatives) is finished


@pytest.mark.parametrize('text', ['', '[]', '{"Fingerprint": "f"}', 'no json'])
def test_a_broken_stamp_is_no_stamp(tmp_path, text):
    session = session_with(tmp_path / 'a.nii', b'voxels')
    stamp = tmp_path / 'stamp.json'
    stamp.write_text(text)
    assert not is_finished(stamp, tmp_path, 'f', session.derivatives)
