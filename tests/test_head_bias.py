"""A head is made even without knowing its brain."""

from __future__ import annotations

import numpy as np
import pytest

from mriprep.head_bias import even_head
from mriprep.settings import AntsSource
from mriprep.tools import activate
from mriprep.truth import bias_correlation


def test_most_of_a_known_field_is_taken_out(tiny_head):
    activate(AntsSource.EMBEDDED)
    volume = tiny_head.volume.astype(np.float32)
    even = even_head(volume, tiny_head.affine)
    assert even.dtype == np.float32
    # fat and air hold it back: inside the brain mask N4 reaches 0.98
    assert bias_correlation(volume, even, tiny_head.bias, tiny_head.brain_mask) > 0.7
    # brightness as a whole stays
    assert np.median(even[tiny_head.brain_mask]) == pytest.approx(
        np.median(volume[tiny_head.brain_mask]), rel=0.25
    )


def test_without_the_program_it_says_so(tiny_head, monkeypatch):
    monkeypatch.setenv('PATH', '')
    with pytest.raises(RuntimeError, match='N4BiasFieldCorrection can not be run'):
        even_head(tiny_head.volume.astype(np.float32), tiny_head.affine)
