"""A stamp holds as long as what a session was made from, and what was written, is the same."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from plans import image_record, make_plans, settings_for

from mriprep.given import GivenFile
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
    return replace(session, extraction=replace(session.extraction, **changes))


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


def test_the_content_of_a_given_mask_counts(tmp_path):
    session = session_with(tmp_path / 'a.nii', b'voxels')
    mask = GivenFile(path=tmp_path / 'm.nii', dataset='hand', relative='m.nii')
    prints = set()
    for voxels in (b'one', b'two'):
        mask.path.write_bytes(voxels)
        prints.add(fingerprint(replace(session, given_mask=mask), Settings(), VERSIONS))
    assert len(prints) == 2


def test_a_session_is_finished_while_its_files_stand(tmp_path):
    session = session_with(tmp_path / 'a.nii', b'voxels')
    files = {str(item.path): 4 for item in session.derivatives}
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'done')
    stamp = tmp_path / stamp_path('01', None)
    stamp.parent.mkdir(parents=True)
    assert not is_finished(session, tmp_path, 'f')
    stamp.write_text(json.dumps({'Fingerprint': 'f', 'Files': files}))
    assert is_finished(session, tmp_path, 'f')
    assert not is_finished(session, tmp_path, 'g')
    (tmp_path / next(iter(files))).write_bytes(b'cut')
    assert not is_finished(session, tmp_path, 'f')


@pytest.mark.parametrize('text', ['', '[]', '{"Fingerprint": "f"}', 'no json'])
def test_a_broken_stamp_is_no_stamp(tmp_path, text):
    session = session_with(tmp_path / 'a.nii', b'voxels')
    stamp = tmp_path / stamp_path('01', None)
    stamp.parent.mkdir(parents=True)
    stamp.write_text(text)
    assert not is_finished(session, tmp_path, 'f')
