"""Which extractors are chosen, from what is asked for and what is at hand."""

from __future__ import annotations

import pytest
from plans import facts

from mriprep.extractors.base import ExtractorError
from mriprep.extractors.choice import Candidate, choose
from mriprep.settings import BrainSettings, Switch

CPU, GPU = ('cpu',), ('cuda:0', 'cuda:1')


def candidates(**problems):
    """Everything is installed; these can't run."""
    declared = {
        'deepbet': facts('deepbet', gpu_memory_gb=3),
        'hd-bet': facts('hd-bet', augments=True, gpu_memory_gb=4, memory_gb=8),
        'synthstrip': facts('synthstrip', gpu_memory_gb=4),
        'template': facts('template'),
    }
    problems = {name.replace('_', '-'): words for name, words in problems.items()}
    return {
        name: Candidate(facts=found, version='1', problem=problems.get(name))
        for name, found in declared.items()
    }


@pytest.mark.parametrize(
    ('devices', 'problems', 'first', 'second', 'reason'),
    [
        (CPU, {}, 'deepbet', 'synthstrip', 'there is no GPU'),
        (GPU, {}, 'hd-bet', 'synthstrip', 'a GPU and its weights are at hand'),
        (GPU, {'hd_bet': 'no weights; fetch'}, 'deepbet', 'synthstrip', 'no weights'),
        (CPU, {'synthstrip': 'no'}, 'deepbet', 'hd-bet', 'there is no GPU'),
        (CPU, {'synthstrip': 'no', 'hd_bet': 'no'}, 'deepbet', 'template', 'there is no GPU'),
    ],
)
def test_what_suits_the_machine_is_taken(devices, problems, first, second, reason):
    found = choose(BrainSettings(), candidates(**problems), devices)
    assert (found.first.name, found.second.name) == (first, second)
    assert reason in found.reason


def test_what_is_asked_for_is_taken_or_refused_in_words():
    assert choose(BrainSettings(extractor='template'), candidates(), GPU).first.name == 'template'
    with pytest.raises(ExtractorError, match='--extractor hd-bet: no weights; mriprep fetch'):
        choose(
            BrainSettings(extractor='hd-bet'), candidates(hd_bet='no weights; mriprep fetch'), CPU
        )
    with pytest.raises(ExtractorError, match='magic: not installed; choose one of auto, given'):
        choose(BrainSettings(extractor='magic'), candidates(), CPU)
    with pytest.raises(ExtractorError, match='magic: not installed'):
        choose(BrainSettings(second='magic'), candidates(), CPU)


@pytest.mark.parametrize('second', ['none', 'deepbet'])
def test_an_extractor_is_never_its_own_second(second):
    settings = BrainSettings(extractor='deepbet', second=second)
    assert choose(settings, candidates(), CPU).second is None


@pytest.mark.parametrize(
    ('word', 'devices', 'on'),
    [('auto', CPU, False), ('auto', GPU, True), ('on', CPU, True), ('off', GPU, False)],
)
def test_augmentation_is_for_gpus_unless_it_is_asked_for(word, devices, on):
    settings = BrainSettings(extractor='hd-bet', test_time_augmentation=Switch(word))
    assert choose(settings, candidates(), devices).test_time_augmentation is on
    plain = BrainSettings(extractor='deepbet', test_time_augmentation=Switch(word))
    assert choose(plain, candidates(), devices).test_time_augmentation is False


def test_a_given_mask_has_the_extractor_as_its_second():
    given = choose(BrainSettings(), candidates(), CPU).given()
    assert (given.first.name, given.second.name) == ('given', 'deepbet')
    asked = choose(BrainSettings(extractor='given'), candidates(), CPU)
    assert (asked.first.name, asked.second.name) == ('given', 'synthstrip')
    assert asked.given().second.name == 'synthstrip'


def test_memory_is_that_of_the_hungrier_one():
    found = choose(BrainSettings(extractor='deepbet', second='hd-bet'), candidates(), CPU)
    assert found.memory_gb == 8


@pytest.mark.parametrize(('mem_gb', 'second'), [(16, 'hd-bet'), (8, 'hd-bet'), (7, 'template')])
def test_a_second_that_does_not_fit_into_memory_is_not_taken_unasked(mem_gb, second):
    found = choose(BrainSettings(), candidates(synthstrip='no'), CPU, mem_gb)
    assert found.second.name == second
    asked = choose(BrainSettings(second='hd-bet'), candidates(), CPU, mem_gb)
    assert asked.second.name == 'hd-bet'
