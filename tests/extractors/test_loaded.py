"""A network is loaded once and serves every later image."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from extractor_fakes import Threshold, install

from mriprep.extractors import loaded, registry
from mriprep.extractors.at_hand import choose_here
from mriprep.extractors.base import ExtractorError, LoadOptions
from mriprep.settings import BrainSettings


def test_one_load_serves_many_images_and_both_are_counted(monkeypatch, caplog):
    bright = Threshold()
    install(monkeypatch, bright)
    volume = np.zeros((4, 4, 4), np.float32)
    volume[1:3, 1:3, 1:3] = 1
    with caplog.at_level(logging.INFO, logger='nipype.interface'):
        for _ in range(8):
            loaded.network('bright', LoadOptions())(volume, np.eye(4), n_threads=1)
    assert len(bright.loads) == 1
    assert len(bright.threads) == 8
    assert loaded.count_loads(caplog.messages) == {'bright on cpu': (1, 8)}


def test_other_devices_and_options_are_loaded_apart(monkeypatch):
    bright = Threshold()
    install(monkeypatch, bright)
    options = [
        LoadOptions(),
        LoadOptions(device='cuda:0'),
        LoadOptions(test_time_augmentation=True),
    ]
    for option in options * 2:
        loaded.network('bright', option)
    assert bright.loads == options


def test_what_can_not_be_loaded_is_tried_again(monkeypatch):
    bright = Threshold(wrong='no weights; fetch them')
    install(monkeypatch, bright)
    with pytest.raises(ExtractorError, match='no weights'):
        loaded.network('bright', LoadOptions())
    bright.wrong = None
    loaded.network('bright', LoadOptions())
    assert len(bright.loads) == 1


def test_the_registry_holds_what_mriprep_brings():
    assert {'deepbet', 'hd-bet', 'synthstrip', 'template'} <= set(registry.names())
    for name in ('deepbet', 'hd-bet', 'synthstrip', 'template'):
        assert registry.get(name).facts.name == name
    with pytest.raises(ExtractorError, match=r"'magic' is not installed; installed are .*deepbet"):
        registry.get('magic')


class _Entry:
    """An entry point of another package."""

    value = 'other.package:EXTRACTOR'
    dist = None

    def __init__(self, load):
        self.load = load


def test_a_broken_package_of_others_is_named(monkeypatch):
    def broken():
        raise ImportError('no module named other')

    entries = {'other': _Entry(broken), 'renamed': _Entry(Threshold)}
    monkeypatch.setattr(registry, '_entries', lambda: entries)
    registry.get.cache_clear()
    with pytest.raises(ExtractorError, match=r"'other' can not be imported .*other\.package"):
        registry.get('other')
    with pytest.raises(ExtractorError, match="'renamed' calls itself 'bright'"):
        registry.get('renamed')
    registry.get.cache_clear()


def test_an_extractor_of_another_package_is_found_by_its_entry_point(tmp_path, monkeypatch):
    info = tmp_path / 'theirs-0.3.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: theirs\nVersion: 0.3\n')
    (info / 'entry_points.txt').write_text(
        '[mriprep.extractors]\ntheirs = their_brain:EXTRACTOR\n'
    )
    (tmp_path / 'their_brain.py').write_text(
        'from extractor_fakes import Threshold\n'
        "EXTRACTOR = Threshold('theirs', declared={'package': 'theirs'})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    caches = (registry._entries, registry.get)
    try:
        for cache in caches:
            cache.cache_clear()
        assert 'theirs' in registry.names()
        assert registry.version('theirs') == '0.3'
        found = choose_here(BrainSettings(extractor='theirs'), ('cpu',))
        assert (found.first.name, found.version) == ('theirs', '0.3')
    finally:
        for cache in caches:
            cache.cache_clear()
