"""`init_t1w_wf` inside somebody else's Nipype workflow, in a process that knows nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import nibabel as nb
import numpy as np
import pytest

SCRIPT = """\
import sys
from pathlib import Path

from mriprep.settings import BiasSettings, Registration, RegistrationSettings
from mriprep.settings import Resources, Settings, Space
from mriprep.templates import find_template
from mriprep.workflows import init_t1w_wf
from nipype import Function, Node, Workflow
from nipype.interfaces.utility import IdentityInterface

OUTPUTS = (
    'preproc', 'brain_mask', 'brain', 'audit', 'forward', 'inverse',
    'std_preproc', 'std_brain_mask', 'std_brain', 'std_zscore',
)


def report(out_file, **given):
    import json
    from pathlib import Path
    import nibabel as nb
    given['shape'] = nb.load(given['brain']).shape
    Path(out_file).write_text(json.dumps(given))


image, folder = sys.argv[1], Path(sys.argv[2])
spaces = ['MNI152NLin2009aSym:res-2', 'MNI152NLin2009aSym:res-native']
templates = [
    find_template(Space.from_string(space), folder / 'cache', offline=True) for space in spaces
]
settings = Settings(
    bias=BiasSettings(iterations=(4,)),
    registration=RegistrationSettings(transform=Registration.RIGID),
)
prepare = init_t1w_wf(settings, Resources(n_threads=1), templates, name='prepare')
mine = Workflow('mine', base_dir=str(folder / 'work'))
source = Node(IdentityInterface(fields=['image']), name='source')
source.inputs.image = image
sink = Node(
    Function(input_names=['out_file', *OUTPUTS], output_names=[], function=report), 'sink'
)
sink.inputs.out_file = str(folder / 'report.json')
mine.connect(source, 'image', prepare, 'inputnode.t1w')
for name in OUTPUTS:
    mine.connect(prepare, f'outputnode.{name}', sink, name)
mine.run(plugin='Linear')
"""


@pytest.fixture(scope='module')
def outputs(tmp_path_factory, tiny_left_handed_head):
    """What the workflow hands on, by name."""
    folder = tmp_path_factory.mktemp('embedding')
    image = nb.Nifti1Image(tiny_left_handed_head.volume, tiny_left_handed_head.affine)
    image.to_filename(folder / 'head.nii.gz')
    script = folder / 'script.py'
    script.write_text(SCRIPT)
    answer = subprocess.run(
        [sys.executable, script, folder / 'head.nii.gz', folder],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {'NIPYPE_NO_ET': '1'},
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads((folder / 'report.json').read_text())


def test_outputs_are_those_of_the_docstring(outputs):
    head, mask, brain = (nb.load(outputs[name]) for name in ('preproc', 'brain_mask', 'brain'))
    for image in (head, mask, brain):
        assert nb.aff2axcodes(image.affine) == ('R', 'A', 'S')
        np.testing.assert_allclose(image.affine, head.affine)
    assert outputs['shape'] == list(head.shape)
    assert mask.get_data_dtype() == np.uint8
    inside = np.asarray(mask.dataobj) > 0
    np.testing.assert_array_equal(brain.get_fdata(), np.where(inside, head.get_fdata(), 0))


def test_mask_is_the_brain(outputs, tiny_left_handed_head):
    truth = nb.as_closest_canonical(
        nb.Nifti1Image(
            tiny_left_handed_head.brain_mask.astype(np.uint8), tiny_left_handed_head.affine
        )
    ).get_fdata()
    mask = nb.load(outputs['brain_mask']).get_fdata()
    assert 2 * (mask * truth).sum() / (mask.sum() + truth.sum()) > 0.9


def test_audit_names_what_was_changed(outputs):
    with open(outputs['audit'], encoding='utf-8') as stream:  # noqa: PTH123
        audit = json.load(stream)
    assert any('LAS to RAS' in change for change in audit['changes'])


def test_lists_have_one_item_a_template_or_a_grid(outputs):
    assert [len(outputs[name]) for name in ('forward', 'inverse')] == [1, 1]
    names = ('std_preproc', 'std_brain_mask', 'std_brain', 'std_zscore')
    for name in names:
        sizes = [nb.load(path).header.get_zooms() for path in outputs[name]]
        np.testing.assert_allclose(sizes, [(2, 2, 2), (4, 4, 5)], atol=1e-3)
    mask, zscore = (nb.load(outputs[name][1]).get_fdata() for name in names[1::2])
    assert zscore[mask > 0].mean() == pytest.approx(0, abs=1e-4)
