"""What many tests share: images made on the spot, phantom heads, the folder of real scans."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from mriprep.phantom import Scan, load_head, make_phantom, write_bids
from mriprep.settings import EMBEDDED_SPACE
from mriprep.templates import find_template

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that starts tests in the background lets them, and all they start, ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def make_nifti(tmp_path):
    """Write arrays as NIfTI files.

    Call ``make_nifti(name, array, affine, code=1)``; booleans become uint8, and both header
    transforms get the affine and the code. Returns the path as text.
    """

    def make(name, array, affine=None, code=1):
        affine = np.eye(4) if affine is None else np.asarray(affine, float)
        data = np.asarray(array)
        if data.dtype == bool or data.dtype == np.int64:
            data = data.astype(np.uint8 if data.dtype == bool else np.int32)
        image = nb.Nifti1Image(data, affine)
        image.set_qform(affine, code=code)
        image.set_sform(affine, code=code)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.to_filename(path)
        return str(path)

    return make


@pytest.fixture(scope='session')
def template_cache(tmp_path_factory):
    """Folder for the files derived from the embedded template, shared by all tests."""
    return tmp_path_factory.mktemp('templates')


@pytest.fixture(scope='session')
def embedded_template(template_cache):
    """The embedded template at 1 mm."""
    return find_template(EMBEDDED_SPACE, template_cache, offline=True)


@pytest.fixture(scope='session')
def coarse_head(embedded_template):
    """A head in template space with 4 mm voxels."""
    return load_head(embedded_template, step=4)


@pytest.fixture(scope='session')
def tiny_head(coarse_head):
    """A phantom of 4 mm voxels, oblique, RAS."""
    return make_phantom(coarse_head, Scan(seed=3, voxel_size_mm=(4, 4, 4)))


@pytest.fixture(scope='session')
def tiny_left_handed_head(coarse_head):
    """A phantom of 4 x 4 x 5 mm voxels, oblique, LAS."""
    return make_phantom(coarse_head, Scan(seed=4, axes='LAS', voxel_size_mm=(4, 4, 5)))


@pytest.fixture
def tiny_bids(tmp_path, tiny_head, tiny_left_handed_head):
    """A raw BIDS data set of the two tiny phantoms, ``sub-01`` and ``sub-02``."""
    root = tmp_path / 'bids'
    write_bids(root, {'01': tiny_head, '02': tiny_left_handed_head})
    return root


@pytest.fixture(scope='session')
def test_data():
    """Folder of real scans, named by MRIPREP_TEST_DATA."""
    folder = os.environ.get('MRIPREP_TEST_DATA')
    if not folder or not Path(folder).is_dir():
        pytest.skip('real scans are absent: MRIPREP_TEST_DATA does not name their folder')
    return Path(folder).resolve()


@pytest.fixture(scope='session')
def bids_validator():
    """The BIDS validator's program, from this environment or ``PATH``."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which('bids-validator-deno', path=beside) or shutil.which('bids-validator-deno')
    if found is None:
        pytest.skip('bids-validator-deno is not installed')
    return found
