"""Files appear whole or not at all."""

from __future__ import annotations

import json
import os
import stat

import pytest

from mriprep.files import copy_whole, write_json, write_text, written_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_stands_only_after_the_block(tmp_path):
    path = tmp_path / 'a.txt'
    with written_whole(path) as beside:
        beside.write_text('half')
        assert not path.exists()
        assert beside.parent == tmp_path
        assert beside.name.startswith('.')
    assert path.read_text() == 'half'
    assert names(tmp_path) == ['a.txt']


def write_half(path, error):
    with written_whole(path) as beside:
        beside.write_text('half')
        raise error


@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt()])
def test_after_a_failure_nothing_is_left_behind(tmp_path, error):
    with pytest.raises(type(error)):
        write_half(tmp_path / 'a.txt', error)
    assert names(tmp_path) == []


def test_after_a_failure_the_old_file_still_stands(tmp_path):
    path = tmp_path / 'a.txt'
    write_text('old', path)
    with pytest.raises(OSError, match='full'):
        write_half(path, OSError('full'))
    assert path.read_text() == 'old'
    assert names(tmp_path) == ['a.txt']


def test_a_folder_in_the_way_is_not_replaced(tmp_path):
    (tmp_path / 'a').mkdir()
    with pytest.raises(OSError, match='directory'):
        write_text('text', tmp_path / 'a')
    assert names(tmp_path) == ['a']


def test_two_writers_do_not_disturb_each_other(tmp_path):
    path = tmp_path / 'a.txt'
    with written_whole(path) as first:
        first.write_text('first')
        with written_whole(path) as second:
            assert second != first
            second.write_text('second')
        assert path.read_text() == 'second'
        assert first.read_text() == 'first'
    assert path.read_text() == 'first'
    assert names(tmp_path) == ['a.txt']


@pytest.mark.parametrize('mask', [0o022, 0o027, 0o002])
def test_permissions_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text('text', tmp_path / 'a.txt')
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'a.txt').stat().st_mode) == 0o666 & ~mask


def test_json_keeps_the_order_of_its_keys_and_every_letter(tmp_path):
    values = {'z': 1, 'a': ['ä', None], 'm': {'y': 2, 'x': 0.5}}
    write_json(values, tmp_path / 'a.json')
    text = (tmp_path / 'a.json').read_text(encoding='utf-8')
    assert json.loads(text) == values
    assert list(json.loads(text)) == ['z', 'a', 'm']
    assert 'ä' in text
    assert text.endswith('}\n')


def test_json_that_can_not_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json({'path': tmp_path}, tmp_path / 'a.json')
    assert names(tmp_path) == []


def test_a_copy_has_the_content_and_not_the_permissions(tmp_path):
    source = tmp_path / 'source'
    source.write_bytes(bytes(range(256)) * 100)
    source.chmod(0o400)
    copy_whole(source, tmp_path / 'copy')
    assert (tmp_path / 'copy').read_bytes() == source.read_bytes()
    assert os.access(tmp_path / 'copy', os.W_OK)


def test_a_copy_of_nothing_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        copy_whole(tmp_path / 'absent', tmp_path / 'copy')
    assert names(tmp_path) == []
