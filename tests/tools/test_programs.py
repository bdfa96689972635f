"""The embedded ANTs programs behave like the programs of an ANTs installation."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from mriprep.tools import ANTS_NEEDED, ANTS_PROGRAMS, BIN, PYTHON_VARIABLE, launch


@pytest.fixture
def image(tmp_path) -> Path:
    """A box of 100 in a volume of 32 x 32 x 32 voxels of 2 mm."""
    volume = np.zeros((32, 32, 32), np.float32)
    volume[8:24, 10:22, 12:20] = 100
    path = tmp_path / 'box.nii.gz'
    nb.save(nb.Nifti1Image(volume, np.diag([2.0, 2, 2, 1])), path)
    return path


@pytest.fixture
def environment() -> dict[str, str]:
    return {PYTHON_VARIABLE: sys.executable, 'PATH': os.defpath}


def run(program, *words, env) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / program, *map(str, words)], env=env, capture_output=True, text=True, check=False
    )


def long_registration(image, env, n_threads) -> subprocess.Popen[bytes]:
    words = f'-d 3 -m MI[{image},{image},1,32] -t SyN[0.1] -c 200x200 -s 1x0 -f 2x1 -o out_'
    return subprocess.Popen(
        [BIN / 'antsRegistration', *words.split()],
        env=env | {'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS': str(n_threads)},
        cwd=image.parent,
        stdout=subprocess.DEVNULL,
    )


def test_what_mriprep_needs_is_there():
    assert set(ANTS_NEEDED) <= set(ANTS_PROGRAMS)


@pytest.mark.parametrize('program', ANTS_PROGRAMS)
def test_program_explains_itself(program, environment):
    answer = run(program, env=environment)
    assert answer.returncode in (0, 1)  # as the originals: some call it a success
    assert program in answer.stdout + answer.stderr
    assert 'Traceback' not in answer.stderr


def test_scripts_are_one_text_and_executable():
    assert len({(BIN / program).read_text() for program in ANTS_PROGRAMS}) == 1
    assert all(os.access(BIN / program, os.X_OK) for program in ANTS_PROGRAMS)


def test_exit_code_and_output_pass_through(environment, image):
    answer = run('antsRegistration', '--version', env=environment)
    assert (answer.returncode, answer.stderr) == (0, '')
    assert answer.stdout.startswith('ANTs Version: v')
    assert run('antsRegistration', '--no-such-flag', env=environment).returncode == 1


def test_exception_inside_becomes_words_and_a_failure(environment, tmp_path):
    words = (3, tmp_path / 'absent.nii.gz', tmp_path / 'out.nii.gz', 1, 2)
    answer = run('ThresholdImage', *words, env=environment)
    assert answer.returncode == 134  # as of an original that aborts
    assert 'absent.nii.gz does not exist' in answer.stderr
    assert 'ThresholdImage: RuntimeError: ' in answer.stderr


@pytest.mark.parametrize('locale', ['C', 'C.UTF-8'])
def test_file_names_beyond_ascii(environment, image, locale):
    source = image.rename(image.with_name('Hänsel 頭.nii.gz'))
    target = image.with_name('Маска.nii.gz')
    answer = run(
        'ThresholdImage', 3, source, target, 50, 'Inf', env=environment | {'LC_ALL': locale}
    )
    assert answer.returncode == 0
    assert np.asanyarray(nb.load(target).dataobj).sum() == 16 * 12 * 8


def test_runs_by_hand_without_activation(image):
    env = {'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.defpath}'}
    assert run('antsRegistration', '--version', env=env).returncode == 0


def test_runs_through_a_link(environment, tmp_path):
    link = tmp_path / 'antsRegistration'
    link.symlink_to(BIN / 'antsRegistration')
    assert subprocess.run([link, '--version'], env=environment, check=False).returncode == 0


def test_python_without_antspyx_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(launch, 'find_library', lambda: None)
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    assert launch.main(['antsRegistration', '--version']) == 127
    message = capsys.readouterr().err
    assert 'pip install antspyx' in message
    assert PYTHON_VARIABLE in message


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='counts threads in /proc')
@pytest.mark.parametrize('n_threads', [1, 3])
def test_threads_are_as_many_as_asked(environment, image, n_threads):
    process = long_registration(image, environment, n_threads)
    most = 0
    try:
        while process.poll() is None and most < n_threads + 1:
            most = max(most, len(list(Path(f'/proc/{process.pid}/task').iterdir())))
    finally:
        process.kill()
        process.wait()
    assert most == n_threads + 1  # the one that waits for the others


def test_interrupt_ends_a_program_at_work(environment, image):
    words = f'-d 3 -m MI[{image},{image},1,32] -t SyN[0.1] -c 500x500 -s 1x0 -f 2x1 -v -o out_'
    process = subprocess.Popen(
        [BIN / 'antsRegistration', *words.split()],
        env=environment,
        cwd=image.parent,
        stdout=subprocess.PIPE,
    )
    with process:
        for line in process.stdout:
            if b'DIAGNOSTIC' in line:
                break
        process.send_signal(signal.SIGINT)
    assert process.returncode == -signal.SIGINT
