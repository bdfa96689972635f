"""Nipype's and niworkflows' own interfaces run on the embedded programs after one import."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import nibabel as nb
import numpy as np
import pytest

SHIFT_MM = np.array([4.0, -3.0, 2.0])

SCRIPT = """
import mriprep.tools.ants
import json
from nipype.interfaces.ants import ApplyTransforms, N4BiasFieldCorrection, Registration
from nipype.interfaces.ants.base import Info
from nipype.interfaces.base import CommandLine
from nipype.interfaces.dcm2nii import Info as Dcm2niixInfo
from nipype.pipeline import engine as pe
from niworkflows.interfaces.fixes import FixHeaderApplyTransforms, FixN4BiasFieldCorrection

answers = {'ants': Info.version(), 'dcm2niix': Dcm2niixInfo.version()}
n4 = {'input_image': 'fixed.nii.gz', 'dimension': 3, 'shrink_factor': 2, 'n_iterations': [20]}
answers['n4'] = N4BiasFieldCorrection(**n4).run().outputs.output_image
n4['output_image'] = 'fixed_header.nii.gz'
answers['fix_n4'] = FixN4BiasFieldCorrection(**n4, copy_header=True).run().outputs.output_image
registration = Registration(
    fixed_image='fixed.nii.gz', moving_image='moving.nii.gz', dimension=3, metric=['Mattes'],
    metric_weight=[1], radius_or_number_of_bins=[32], transforms=['Rigid'],
    transform_parameters=[(0.5,)], number_of_iterations=[[50, 20]], shrink_factors=[[2, 1]],
    smoothing_sigmas=[[1, 0]], sigma_units=['vox'], random_seed=1, num_threads=2,
)
transforms = registration.run().outputs.forward_transforms
answers['transform'] = transforms[0]
apply = {
    'input_image': 'moving.nii.gz', 'reference_image': 'fixed.nii.gz', 'transforms': transforms
}
for name, interface in (('apply', ApplyTransforms), ('fix_apply', FixHeaderApplyTransforms)):
    result = interface(**apply, output_image=name + '.nii.gz').run()
    answers[name] = result.outputs.output_image
commands = {
    'crash': ('antsRegistration', '-d 3 -m MI[absent.nii.gz,absent.nii.gz,1,32] -t Rigid[1] -c 1'
              ' -s 0 -f 1 -o x'),
    'exception': ('ThresholdImage', '3 absent.nii.gz out.nii.gz 1 2'),
}
for name, (program, words) in commands.items():
    workflow = pe.Workflow(name, base_dir='work')
    workflow.config['execution'] = {'crashdump_dir': 'crash', 'crashfile_format': 'txt'}
    workflow.add_nodes([pe.Node(CommandLine(program, args=words), name='node')])
    try:
        workflow.run(plugin='MultiProc', plugin_args={'n_procs': 2})
    except RuntimeError as error:
        answers[name] = str(error)
print('ANSWERS', json.dumps(answers))
"""


def blob(grid: np.ndarray) -> np.ndarray:
    """An ellipsoid with an off-centre ball; ``grid`` is (..., 3) in mm."""
    centred = grid - grid.reshape(-1, 3).mean(axis=0)
    outer = np.linalg.norm(centred / [24, 20, 16], axis=-1) < 1
    return 20 + 100.0 * outer + 50 * (np.linalg.norm(centred - [8, 5, 0], axis=-1) < 6)


@pytest.fixture(scope='module')
def answers(tmp_path_factory):
    """Run the script in a process that knows nothing of these tests, and read its answers."""
    folder = tmp_path_factory.mktemp('nipype')
    volume = blob(2.0 * np.moveaxis(np.indices((32, 32, 32)), 0, -1)).astype(np.float32)
    volume += np.random.default_rng(1).normal(0, 2, volume.shape).astype(np.float32)
    affine = np.diag([2.0, 2, 2, 1])
    nb.save(nb.Nifti1Image(volume, affine), folder / 'fixed.nii.gz')
    affine[:3, 3] += SHIFT_MM
    nb.save(nb.Nifti1Image(volume, affine), folder / 'moving.nii.gz')
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        cwd=folder,
        env={'PATH': os.defpath, 'HOME': str(folder), 'NIPYPE_NO_ET': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, json.loads(done.stdout.split('ANSWERS ')[1])


def test_versions_are_understood_by_nipype(answers):
    _, found = answers
    assert found['ants'].startswith('2.')
    assert found['dcm2niix'].lstrip('v').startswith('1.0.')


def test_n4_of_a_flat_image_keeps_it(answers):
    folder, found = answers
    fixed = nb.load(folder / 'fixed.nii.gz').get_fdata()
    for name in ('n4', 'fix_n4'):
        corrected = nb.load(found[name]).get_fdata()
        assert np.corrcoef(corrected.ravel(), fixed.ravel())[0, 1] > 0.99


def test_registration_finds_the_known_shift(answers):
    from nipype.interfaces.base import isdefined
    from nitransforms.linear import Affine

    _, found = answers
    assert isdefined(found['transform'])
    matrix = Affine.from_filename(found['transform'], fmt='itk').matrix
    centre = np.array([31.0, 31, 31, 1])
    np.testing.assert_allclose((matrix @ centre - centre)[:3], SHIFT_MM, atol=0.3)


def test_apply_transforms_brings_the_moving_image_back(answers):
    folder, found = answers
    fixed = nb.load(folder / 'fixed.nii.gz')
    inner = (slice(6, -6),) * 3
    for name in ('apply', 'fix_apply'):
        moved = nb.load(found[name])
        np.testing.assert_array_equal(moved.affine, fixed.affine)
        difference = moved.get_fdata()[inner] - fixed.get_fdata()[inner]
        assert np.abs(difference).mean() < 3


@pytest.mark.parametrize(('name', 'code'), [('crash', 139), ('exception', 134)])
def test_failure_inside_is_a_failed_node_with_the_programs_words(answers, name, code):
    _, found = answers
    assert 'absent.nii.gz does not exist' in found[name]
    assert f'exited with code {code}' in found[name]
