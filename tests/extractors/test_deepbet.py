"""deepbet behind the protocol: nothing found, memory that is too small, threads given back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from runs import warnings_of_others_ignored

from mriprep.extractors import deepbet, devices
from mriprep.extractors.base import LoadOptions, NoBrainError
from mriprep.extractors.deepbet import EXTRACTOR, DeepBetNetwork


class Model:
    """Stands for both networks."""

    def __init__(self, answer):
        self.model = self.bbox_model = torch.nn.Conv3d(1, 1, 1)
        self.answer = answer
        self.threads = []

    def run_model(self, volume):
        self.threads.append(torch.get_num_threads())
        assert volume.flags.c_contiguous
        return self.answer()


def test_what_it_declares_and_that_it_is_ready():
    assert EXTRACTOR.problem() is None
    assert len(EXTRACTOR.checksum()) == 64
    assert EXTRACTOR.facts.contrasts == ('T1w',)


def test_an_empty_image_has_no_brain():
    with warnings_of_others_ignored():
        network = EXTRACTOR.load(LoadOptions())
    with pytest.raises(NoBrainError, match='is it a head'):
        network(np.zeros((20, 20, 20), np.float32), np.eye(4), n_threads=1)


def test_threads_are_obeyed_and_given_back():
    model = Model(lambda: np.ones((4, 5, 6), np.float32))
    before = torch.get_num_threads()
    network = DeepBetNetwork(model, 'cpu')
    flipped = np.zeros((4, 5, 6), np.float32)[::-1]
    assert network(flipped, np.eye(4), n_threads=3).values.shape == (4, 5, 6)
    assert model.threads == [3]
    assert torch.get_num_threads() == before


def test_a_gpu_that_is_too_small_is_left_for_the_processors(monkeypatch):
    asked = []

    def torch_device(name):
        asked.append(name)
        return torch.device('cpu')

    def answer():
        if asked[-1] == 'cuda:0':
            raise torch.OutOfMemoryError('CUDA out of memory')
        return np.ones((4, 4, 4), np.float32)

    monkeypatch.setattr(devices, 'torch_device', torch_device)
    monkeypatch.setattr(deepbet, 'torch_device', torch_device)
    found = DeepBetNetwork(Model(answer), 'cuda:0')(
        np.ones((4, 4, 4), np.float32), np.eye(4), n_threads=1
    )
    assert found.device == 'cpu'
    assert 'memory of cuda:0 was too small' in found.remarks[0]


def test_other_errors_are_not_hidden():
    def answer():
        raise ValueError('strides are negative')

    with pytest.raises(ValueError, match='strides'):
        DeepBetNetwork(Model(answer), 'cpu')(
            np.ones((4, 4, 4), np.float32), np.eye(4), n_threads=1
        )
