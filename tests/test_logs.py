"""Logs tell what happened, and nothing about whose machine it was."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from pathlib import Path

import pytest

import mriprep
from mriprep.logs import LOG_VARIABLE, PLACES_VARIABLE, hide_places, log_to, places_of, start_log

LOGGERS = ('mriprep', 'nipype', 'nipype.workflow', 'nipype.interface', 'nipype.utils')


@pytest.fixture
def loggers(monkeypatch):
    """Give the loggers back as they were."""
    monkeypatch.delenv(LOG_VARIABLE, raising=False)
    monkeypatch.delenv(PLACES_VARIABLE, raising=False)
    before = {
        name: (tuple(log.handlers), log.level, log.propagate)
        for name in LOGGERS
        if (log := logging.getLogger(name))
    }
    yield
    for name, (handlers, level, propagate) in before.items():
        log = logging.getLogger(name)
        for handler in tuple(log.handlers):
            log.removeHandler(handler)
            if handler not in handlers:
                handler.close()
        for handler in handlers:
            log.addHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


def test_the_longest_folder_wins():
    places = {'/home/jo': '~', '/home/jo/bids': '<bids>', '/home/jo/bids/out': '<out>'}
    assert hide_places('/home/jo/bids/out/a /home/jo/b', places) == '<out>/a ~/b'


def test_text_without_folders_stays():
    assert hide_places('sub-01: 3/4 done', {'/home/jo': '~', '/': '<root>'}) == 'sub-01: 3/4 done'


@pytest.mark.parametrize(
    'text', ['/home/jolanda/scan.nii', '/data/home/jo/scan.nii', '/home/jo.old/scan.nii']
)
def test_a_folder_whose_name_only_looks_alike_is_left_alone(text):
    assert hide_places(text, {'/home/jo': '~'}) == text


@pytest.mark.parametrize(
    'text', ["in '/home/jo'", '/home/jo:/usr/bin', 'File "/home/jo/x.py", line 3', '(/home/jo)']
)
def test_a_folder_is_found_wherever_it_ends(text):
    assert '/home/jo' not in hide_places(text, {'/home/jo': '~'})


def test_places_of_a_run_cover_home_python_package_and_links(tmp_path):
    target, link = tmp_path / 'data', tmp_path / 'link'
    target.mkdir()
    link.symlink_to(target)
    places = places_of(bids=link, out=None)
    text = f'{link}/a {target}/b {Path(mriprep.__file__)} {sys.prefix}/x {Path.home()}/y'
    hidden = hide_places(text, places)
    assert hidden.startswith('<bids>/a <bids>/b <mriprep>/__init__.py ')
    assert '<python>/x' in hidden
    for folder in (sys.prefix, tempfile.gettempdir(), str(Path(mriprep.__file__).parent)):
        assert folder not in hidden


@pytest.mark.usefixtures('loggers')
def test_messages_of_mriprep_and_nipype_go_to_the_file_alone(tmp_path, capsys):
    path = tmp_path / 'mriprep.log'
    start_log(path, {str(tmp_path): '<out>'})
    logging.getLogger('mriprep').info('wrote %s/a.nii', tmp_path)
    logging.getLogger('nipype.workflow').warning('node in %s', tmp_path / 'work')
    logging.getLogger('mriprep').debug('details')
    lines = path.read_text().splitlines()
    assert [line.split(' ', 2)[2] for line in lines] == [
        'INFO wrote <out>/a.nii',
        'WARNING node in <out>/work',
    ]
    out = capsys.readouterr()
    assert (out.out, out.err) == ('', '')


@pytest.mark.usefixtures('loggers')
def test_a_traceback_in_the_log_tells_no_folder_either(tmp_path):
    path = tmp_path / 'mriprep.log'
    start_log(path, {str(tmp_path): '<out>', str(Path(__file__).parent): '<tests>'})
    try:
        raise OSError(f'{tmp_path}/a.nii is broken')
    except OSError:
        logging.getLogger('mriprep').exception('failed')
    text = path.read_text()
    assert 'OSError: <out>/a.nii is broken' in text
    assert '<tests>/test_logs.py' in text
    assert str(tmp_path) not in text


@pytest.mark.usefixtures('loggers')
def test_a_worker_finds_the_log_through_its_environment(tmp_path):
    path = tmp_path / 'mriprep.log'
    start_log(path, {'/secret': '<x>'}, level=logging.DEBUG)
    assert os.environ[LOG_VARIABLE] == str(path)
    assert json.loads(os.environ[PLACES_VARIABLE]) == {'/secret': '<x>'}
    (handler,) = logging.getLogger('mriprep').handlers
    handler.close()
    log_to(os.environ[LOG_VARIABLE])
    logging.getLogger('mriprep').info('/secret/a')
    assert path.read_text().endswith('INFO <x>/a\n')


@pytest.mark.usefixtures('loggers')
def test_the_log_of_a_second_run_closes_that_of_the_first(tmp_path):
    start_log(tmp_path / 'first.log', {})
    (handler,) = logging.getLogger('mriprep').handlers
    start_log(tmp_path / 'second.log', {})
    closed = handler.stream is None or handler.stream.closed
    handler.close()
    assert closed, 'the file of the first run stays open'
    logging.getLogger('mriprep').info('hello')
    assert (tmp_path / 'first.log').read_text() == ''
    assert 'hello' in (tmp_path / 'second.log').read_text()
