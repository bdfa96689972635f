"""Brain extraction on files: grids, what is written down, and what is stopped."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from extractor_fakes import Threshold, install
from nipype.interfaces.base import isdefined
from oblique import oblique_affine

from mriprep.extractors import verdicts
from mriprep.guard import Check, Status, Verdict
from mriprep.images import ImageError
from mriprep.interfaces.brain import BelieveMask, FindBrain

SHAPE = (12, 13, 14)
AFFINE = oblique_affine(signs=(1, 1, 1))


@pytest.fixture
def head():
    """A bright block, in which one voxel is dark, and a bright speck."""
    volume = np.full(SHAPE, 1.0, np.float32)
    volume[3:9, 3:10, 3:11] = 10
    volume[5, 5, 5] = 1
    volume[0, 0, 0] = 10
    return volume


@pytest.fixture
def solid():
    mask = np.zeros(SHAPE, bool)
    mask[3:9, 3:10, 3:11] = True
    return mask


@pytest.fixture
def guard(monkeypatch):
    """A guard that says what it is told to, in turn."""
    states = []

    def judge_of(volume, affine, atlas, **more):
        def judge(mask, values):
            status = states.pop(0) if mask.any() else Status.REFUSED
            words = '' if status is Status.ACCEPT else 'the volume is odd; very odd'
            found = Check(
                name='volume', value=1.0, unit='ml', accept=(0, 2), believe=(0, 3),
                status=status, words=words, reason='measured',
            )  # fmt: skip
            zooms = np.linalg.norm(affine[:3, :3], axis=0)
            millilitres = float(mask.sum() * np.prod(zooms) / 1000)
            return Verdict(status=status, checks=(found,), volume_ml=millilitres)

        return judge

    monkeypatch.setattr(verdicts, 'judge_of', judge_of)
    monkeypatch.setattr('mriprep.head_bias.even_head', lambda volume, **_: volume)
    return states


@pytest.fixture
def find(tmp_path, make_nifti, head, monkeypatch):
    """Run the interface on the head; the extractors are ``bright`` and ``other``."""
    bright, other = Threshold(), Threshold('other')
    install(monkeypatch, bright, other)
    template = make_nifti('atlas.nii', np.ones((2, 2, 2), bool))

    def run(**inputs):
        defaults = {'extractor': 'bright', 'atlas': [template] * 5, 'num_threads': 3}
        image = make_nifti('head.nii', head, AFFINE)
        return FindBrain(in_file=image, **(defaults | inputs)).run(cwd=tmp_path).outputs

    run.bright = bright
    return run


def test_the_mask_is_one_solid_body_on_the_grid_of_the_head(find, guard, solid):
    guard[:] = [Status.ACCEPT]
    outputs = find()
    mask = nb.load(outputs.out_mask)
    np.testing.assert_array_equal(mask.get_fdata() > 0, solid)
    np.testing.assert_allclose(mask.affine, AFFINE, atol=2e-3)
    assert mask.get_data_dtype() == np.uint8
    assert find.bright.threads == [3]
    probability = nb.load(outputs.out_probability)
    assert probability.get_data_dtype() == np.float32
    # rounded to a thousandth; not cleaned, so that another threshold can be tried
    assert probability.get_fdata()[0, 0, 0] == pytest.approx(0.9, abs=1e-6)
    assert not isdefined(outputs.out_rival)
    assert outputs.metadata == {
        'Extractor': 'bright',
        'ExtractorVersion': outputs.metadata['ExtractorVersion'],
        'Device': 'cpu',
        'WeightsSHA256': 'c0ffee',
        'VolumeMl': pytest.approx(solid.sum() * 2 * 2.5 * 3 / 1000, abs=0.06),
        'GuardStatus': 'accept',
    }


def test_what_was_tried_is_written_down(find, guard):
    guard[:] = [Status.REFUSED, Status.REFUSED, Status.DOUBTFUL]
    outputs = find(second='other')
    verdict = json.loads(Path(outputs.out_verdict).read_text())
    assert verdict['mask_status'] == 'doubtful'
    assert verdict['mask_extractor'] == 'other after N4'
    assert verdict['mask_compared_with'] == 'bright'
    assert verdict['mask_agreement_dice'] == 1
    assert [item['extractor'] for item in verdict['mask_attempts']] == [
        'other after N4', 'bright', 'bright after N4',
    ]  # fmt: skip
    assert isdefined(outputs.out_rival)
    assert outputs.metadata['AgreementWith'] == 'bright'


def test_a_refused_mask_comes_out_and_is_stopped_at_the_gate(find, guard, tmp_path):
    guard[:] = [Status.REFUSED] * 2
    outputs = find()
    gate = {
        'in_mask': outputs.out_mask,
        'in_verdict': outputs.out_verdict,
        'metadata': outputs.metadata,
    }
    with pytest.raises(ValueError, match='refused') as stopped:
        BelieveMask(**gate).run(cwd=tmp_path)
    cause, _, remedy = str(stopped.value).partition('; ')
    assert cause == 'the brain mask is refused: the volume is odd, very odd'
    assert '--force' in remedy
    forced = BelieveMask(**gate, force=True).run(cwd=tmp_path).outputs
    assert forced.out_mask == outputs.out_mask
    assert forced.metadata == outputs.metadata


def test_of_many_reasons_two_are_told(tmp_path):
    checks = [
        {'status': status, 'words': words}
        for status, words in (
            ('refused', 'It is small.'), ('accept', ''), ('doubtful', 'It is cut.'),
            ('refused', 'It is rough.'), ('refused', 'It is turned.'),
        )
    ]  # fmt: skip
    verdict = {
        'mask_status': 'refused',
        'mask_volume_ml': 9.0,
        'mask_checks': checks,
        'mask_reasons': [check['words'] for check in checks if check['words']],
    }
    path = tmp_path / 'verdict.json'
    path.write_text(json.dumps(verdict))
    assert verdicts.why_refused(path).partition(';')[0] == (
        'the brain mask is refused: What was found does not look like a brain. It is small. '
        'It is rough. 2 more doubts stand in the report'
    )
    path.write_text(json.dumps(verdict | {'mask_volume_ml': 0}))
    assert verdicts.why_refused(path).startswith('no brain was found; ')


def test_a_believed_mask_passes_with_what_belongs_to_it(find, guard, tmp_path):
    guard[:] = [Status.ACCEPT]
    outputs = find()
    passed = (
        BelieveMask(
            in_mask=outputs.out_mask,
            in_probability=outputs.out_probability,
            in_verdict=outputs.out_verdict,
        )
        .run(cwd=tmp_path)
        .outputs
    )
    assert passed.out_mask == outputs.out_mask
    assert passed.out_probability == outputs.out_probability


def test_a_given_mask_may_have_the_axes_of_the_raw_image(find, guard, make_nifti, solid):
    guard[:] = [Status.ACCEPT]
    flipped = AFFINE @ np.diag([-1, 1, 1, 1.0])
    flipped[:3, 3] = (AFFINE @ [SHAPE[0] - 1, 0, 0, 1])[:3]
    given = make_nifti('given.nii.gz', solid[::-1], flipped)
    outputs = find(extractor='given', in_given=given)
    np.testing.assert_array_equal(nb.load(outputs.out_mask).get_fdata() > 0, solid)
    assert not isdefined(outputs.out_probability)
    assert outputs.metadata['Extractor'] == 'given'
    assert find.bright.loads == []


def test_a_given_mask_of_another_grid_is_refused_by_name(find, guard, make_nifti, solid):
    given = make_nifti('given.nii.gz', solid[1:], AFFINE)
    with pytest.raises(ImageError, match=r'given\.nii\.gz: the given file is not on the grid'):
        find(extractor='given', in_given=given)


def test_where_it_runs_does_not_change_what_a_node_is(make_nifti, head):
    image = make_nifti('head.nii', head)
    fixed = {'in_file': image, 'atlas': [image] * 5, 'extractor': 'bright'}

    def hash_of(**inputs):
        return FindBrain(**fixed, **inputs).inputs.get_hashval()[1]

    places = [{}, {'num_threads': 8}, {'device': 'cuda:1', 'use_gpu': True}, {'weights_dir': 'w'}]
    assert len({hash_of(**place) for place in places}) == 1
    others = [{'threshold': 0.4}, {'second': 'other'}, {'age_years': 7.0}, {'sex': 'male'}]
    assert hash_of() not in {hash_of(**other) for other in others}
