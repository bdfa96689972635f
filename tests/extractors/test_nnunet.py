"""Networks that nnU-Net trained: known answers, parity with nnU-Net, memory, safety, silence."""

import json
import multiprocessing
import os
import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tiny_nnunet
import torch
from oblique import turned_affine

from mriprep.extractors import devices, nnunet
from mriprep.extractors.base import ExtractorError, LoadOptions, NoBrainError

pytest.importorskip('nnunetv2', reason='nnunetv2 is not installed')

SHAPE, LOW, HIGH = (22, 27, 15), (3, 12, 5), (10, 23, 11)
MIRRORED = LoadOptions(test_time_augmentation=True)


def load(folder, options=LoadOptions(), **kwargs):  # noqa: B008 - frozen
    return nnunet.load_network(folder, options, name='tiny', **kwargs)


@pytest.fixture(autouse=True)
def _one_thread():
    with devices.torch_threads(1):
        yield


@pytest.fixture
def tiles(monkeypatch):
    """Shapes of what goes through a network; ``tiles.limit`` voxels fit into memory."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    forward = PlainConvUNet.forward

    class Tiles(list):
        limit = None
        device = 'cpu'  # where the network is
        everywhere = False  # whether the limit holds on the CPU too

    seen = Tiles()

    def watched(self, image):
        seen.append(tuple(image.shape[2:]))
        limited = seen.limit is not None and (seen.device != 'cpu' or seen.everywhere)
        if limited and image[0, 0].numel() > seen.limit:
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')
        return forward(self, image)

    monkeypatch.setattr(PlainConvUNet, 'forward', watched)
    return seen


@pytest.fixture
def gpu(monkeypatch, tiles):
    """A device cuda:0, which is the processor by another name."""

    def torch_device(name):
        tiles.device = name
        return torch.device('cpu')

    monkeypatch.setattr(devices, 'torch_device', torch_device)
    monkeypatch.setattr(nnunet, 'torch_device', torch_device)
    return 'cuda:0'


def test_a_box_is_found_where_it_is_on_an_anisotropic_oblique_grid(tmp_path):
    volume, truth = tiny_nnunet.box(SHAPE, LOW, HIGH)
    folder = tiny_nnunet.write_folder(tmp_path, known={}, spacing=(1.2, 1.1, 0.9))
    found = load(folder)(volume, turned_affine(1.0, 1.3, 2.5), n_threads=1)
    inside = found.values > 0.5
    assert 2 * (inside & truth).sum() / (inside.sum() + truth.sum()) > 0.95
    np.testing.assert_allclose(np.argwhere(inside).mean(0), np.argwhere(truth).mean(0), atol=0.2)
    assert found.values.dtype == np.float32
    assert found.values.shape == SHAPE
    assert found.values.min() >= 0
    assert found.values.max() <= 1
    assert (found.device, found.remarks) == ('cpu', ())


@pytest.mark.parametrize(
    ('transpose', 'axis', 'moved'),
    [
        ((0, 1, 2), 0, 2),  # nnU-Net's first axis is the image's last
        ((0, 1, 2), 1, 1),
        ((0, 1, 2), 2, 0),
        ((2, 0, 1), 0, 0),
        ((2, 0, 1), 1, 2),
        ((1, 2, 0), 0, 1),
    ],
)
def test_axes_and_spacings_go_together(tmp_path, transpose, axis, moved):
    # two convolutions move the box by a voxel of the network's grid each, which is the image's
    # grid exactly as long as sizes and spacings meet their axes
    zooms = (1.0, 1.5, 2.5)
    volume, truth = tiny_nnunet.box(SHAPE, LOW, HIGH)
    shift = tuple(int(position == axis) for position in range(3))
    spacing = [zooms[::-1][position] for position in transpose]
    folder = tiny_nnunet.write_folder(
        tmp_path, known={'shift': shift}, spacing=spacing, transpose=transpose
    )
    found = load(folder)(volume, turned_affine(*zooms), n_threads=1)
    np.testing.assert_array_equal(found.values > 0.5, np.roll(truth, 2, axis=moved))


def test_a_coarser_network_moves_the_box_by_its_own_millimetres(tmp_path):
    volume, truth = tiny_nnunet.box((20, 20, 40), (4, 5, 8), (14, 15, 20))
    folder = tiny_nnunet.write_folder(tmp_path, known={'shift': (1, 0, 0)}, spacing=(4, 1, 1))
    found = load(folder)(volume, turned_affine(1, 1, 2), n_threads=1)
    moved = np.argwhere(found.values > 0.5).mean(0) - np.argwhere(truth).mean(0)
    np.testing.assert_allclose(moved, [0, 0, 4], atol=0.6)  # 2 x 4 mm are 4 voxels of 2 mm


@pytest.mark.parametrize('mirror', [False, True])
def test_probabilities_are_those_of_nnunets_own_prediction(tmp_path, mirror):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    shape = (14, 20, 9)
    folder = tiny_nnunet.write_folder(tmp_path, features=(4, 8), convolutions=2, seed=3)
    volume = tiny_nnunet.box(shape, (3, 8, 2), (9, 15, 7))[0]
    volume += np.random.default_rng(5).normal(0, 5, shape).astype(np.float32)
    network = load(folder, LoadOptions(test_time_augmentation=mirror))
    for weights in network._predictor.list_of_parameters:  # random answers, but further apart
        weights['decoder.seg_layers.0.weight'] *= 20
    found = network(volume, turned_affine(1.3, 1.1, 2.5), n_threads=1)
    own = nnUNetPredictor(use_mirroring=mirror, device=torch.device('cpu'), allow_tqdm=False)
    own.initialize_from_trained_model_folder(str(folder), ('all',))
    own.list_of_parameters = network._predictor.list_of_parameters
    _, expected = own.predict_single_npy_array(
        volume.T[None], {'spacing': [2.5, 1.1, 1.3]}, None, None, True
    )
    np.testing.assert_allclose(found.values, expected[1].T, atol=2e-3)
    assert np.ptp(found.values) > 0.1


def test_mirrored_images_are_averaged_only_on_request(tmp_path, tiles):
    volume, _ = tiny_nnunet.box((16, 16, 16), (4, 4, 4), (12, 12, 12))
    folder = tiny_nnunet.write_folder(tmp_path, known={'shift': (0, 0, 1)})
    plain = load(folder)(volume, np.eye(4), n_threads=1).values
    assert len(tiles) == 1
    tiles.clear()
    averaged = load(folder, MIRRORED)(volume, np.eye(4), n_threads=1).values
    assert len(tiles) == tiny_nnunet.mirrorings()
    assert not np.allclose(plain, plain[::-1], atol=0.1)
    np.testing.assert_allclose(averaged, averaged[::-1], atol=1e-3)


def test_several_trained_networks_are_averaged(tmp_path):
    volume, _ = tiny_nnunet.box(SHAPE, LOW, HIGH)
    tiny_nnunet.write_folder(tmp_path, known={'gain': 20.0}, fold=0)
    tiny_nnunet.write_folder(tmp_path, known={'gain': -40.0}, fold=1)
    assert (load(tmp_path, folds=('0',))(volume, np.eye(4), n_threads=1).values > 0.5).any()
    both = load(tmp_path, folds=('0', '1'))(volume, np.eye(4), n_threads=1).values
    assert not (both > 0.5)[5:8, 15:20, 7:9].any()


def test_a_network_trained_with_regions(tmp_path):
    volume, truth = tiny_nnunet.box(SHAPE, LOW, HIGH)
    labels = {'background': 0, 'brain': [1, 2]}
    folder = tiny_nnunet.write_folder(tmp_path, known={}, labels=labels, outputs=1)
    found = load(folder)(volume, np.eye(4), n_threads=1)
    np.testing.assert_array_equal(found.values > 0.5, truth)


def test_smaller_tiles_when_the_gpu_is_too_small(tmp_path, tiles, gpu, caplog):
    volume, truth = tiny_nnunet.box(SHAPE, LOW, HIGH)
    folder = tiny_nnunet.write_folder(tmp_path, known={}, patch=(32, 16, 32))
    network = load(folder, LoadOptions(device=gpu, test_time_augmentation=True))
    tiles.limit = 16 * 16 * 16
    found = network(volume, np.eye(4), n_threads=1)
    assert list(dict.fromkeys(tiles)) == [(32, 16, 32), (16, 16, 32), (16, 16, 16)]
    np.testing.assert_array_equal(found.values > 0.5, truth)
    assert found.device == gpu
    (remark,) = found.remarks
    assert '32 x 16 x 32 voxels' in remark
    assert '16 x 16 x 16 voxels' in remark
    assert remark in caplog.text

    tiles.limit = None  # as when another program has ended
    tiles.clear()
    again = network(volume, np.eye(4), n_threads=1)
    assert (again.device, again.remarks) == (gpu, ())
    assert set(tiles) == {(32, 16, 32)}


def test_the_processor_when_the_gpu_is_too_small_for_any_tile(tmp_path, tiles, gpu):
    volume, truth = tiny_nnunet.box(SHAPE, LOW, HIGH)
    folder = tiny_nnunet.write_folder(tmp_path, known={}, patch=(32, 32, 32))
    network = load(folder, LoadOptions(device=gpu, test_time_augmentation=True))
    tiles.limit = 0
    found = network(volume, np.eye(4), n_threads=1)
    assert found.device == 'cpu'
    (remark,) = found.remarks
    assert 'cuda:0' in remark
    assert '16 x 16 x 16' in remark
    assert 'on the CPU, without averaging over mirrored images' in remark
    assert tiles == [(32, 32, 32), (16, 32, 32), (16, 16, 32), (16, 16, 16), (32, 32, 32)]
    np.testing.assert_array_equal(found.values > 0.5, truth)

    tiles.limit = None
    assert network(volume, np.eye(4), n_threads=1).device == gpu


def test_a_full_main_memory_and_other_errors_are_told(tmp_path, tiles, monkeypatch):
    volume, _ = tiny_nnunet.box(SHAPE, LOW, HIGH)
    network = load(tiny_nnunet.write_folder(tmp_path, known={}))
    tiles.limit, tiles.everywhere = 0, True
    with pytest.raises(ExtractorError, match=r'memory of cpu is too small.*; give the job more'):
        network(volume, np.eye(4), n_threads=1)

    def broken(attempt):
        raise RuntimeError('CUDA error: no kernel image is available')

    with pytest.raises(RuntimeError, match='no kernel image'):
        devices.first_that_fits(broken, [devices.Attempt(device='cpu')] * 2, 'tiny')


@pytest.mark.parametrize(
    ('error', 'full'),
    [
        (torch.OutOfMemoryError('CUDA out of memory'), True),
        (RuntimeError('MPS backend out of memory (MPS allocated: 5.29 GB)'), True),
        (RuntimeError('CUDNN_STATUS_ALLOC_FAILED'), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError('mat1 and mat2 shapes cannot be multiplied'), False),
        (ValueError('out of memory'), False),
    ],
)
def test_what_counts_as_full_memory(error, full):
    assert devices.is_out_of_memory(error) is full


def test_tiles_stay_multiples_of_the_strides_and_are_halved_once():
    assert devices.smaller_tiles((128, 160, 112), (32, 32, 16)) == [
        (128, 96, 112),
        (64, 96, 112),
        (64, 96, 64),
    ]
    assert devices.smaller_tiles((32, 16, 16), (32, 16, 8)) == [(32, 16, 8)]


def test_an_absent_gpu_is_named(tmp_path):
    if torch.cuda.is_available():
        pytest.skip('there is a GPU here')
    folder = tiny_nnunet.write_folder(tmp_path, known={})
    with pytest.raises(ExtractorError, match='no device cuda:7 here; choose --device cpu'):
        load(folder, LoadOptions(device='cuda:7'))


class Payload:
    """What an attacker pickles."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('how', ['system', 'eval', 'touch', 'pickle alone'])
def test_a_checkpoint_that_runs_a_program_is_refused(tmp_path, how):
    marker = tmp_path / 'was_here'
    folder = tiny_nnunet.write_folder(tmp_path / 'net', known={})
    path = folder / 'fold_all' / 'checkpoint_final.pth'
    with torch.serialization.safe_globals(nnunet_globals()):
        content = torch.load(path, weights_only=True)
    content['logging'] = {
        'system': Payload(os.system, f'touch {marker}'),
        'eval': Payload(eval, f'open({str(marker)!r}, "w")'),
        'touch': Payload(Path.touch, marker),
        'pickle alone': Payload(os.system, f'touch {marker}'),
    }[how]
    if how == 'pickle alone':
        path.write_bytes(pickle.dumps(content['logging'], protocol=2))
    else:
        torch.save(content, path)
    with pytest.raises(ExtractorError, match='could run any program, so it was not') as caught:
        load(folder)
    assert str(path) in str(caught.value)
    assert not marker.exists()


def nnunet_globals():
    from mriprep.extractors.checkpoints import _harmless

    return _harmless()


def spoil(folder, how):
    """Break a trained folder in one way."""
    checkpoint = folder / 'fold_all' / 'checkpoint_final.pth'
    plans = json.loads((folder / 'plans.json').read_text())
    kwargs = plans['configurations']['3d_fullres']['architecture']
    match how:
        case 'absent':
            checkpoint.unlink()
        case 'empty':
            checkpoint.write_bytes(b'')
        case 'cut short':
            checkpoint.write_bytes(checkpoint.read_bytes()[:-3000])
        case 'a page of the server':
            checkpoint.write_bytes(b'<html>503 Service Unavailable</html>')
        case 'another network':
            kwargs['arch_kwargs']['features_per_stage'] = [3, 3]
        case 'something else':
            torch.save({'model_state_dict': {}}, checkpoint)
        case 'plans that name a program':
            kwargs['network_class_name'] = 'subprocess.Popen'
        case 'plans that name a function':
            kwargs['arch_kwargs']['nonlin'] = 'os.system'
        case 'plans without configurations':
            del plans['configurations']
        case 'two images':
            (folder / 'dataset.json').write_text(json.dumps(tiny_nnunet.dataset(channels=2)))
        case 'no json':
            (folder / 'dataset.json').write_text('{')
    (folder / 'plans.json').write_text(json.dumps(plans))


@pytest.mark.parametrize(
    ('how', 'words'),
    [
        ('absent', 'checkpoint_final.pth is absent'),
        ('empty', 'checkpoint_final.pth can not be read'),
        ('cut short', 'checkpoint_final.pth can not be read'),
        ('a page of the server', 'checkpoint_final.pth can not be read'),
        ('another network', 'its files make no network of nnU-Net'),
        ('something else', 'lacks network_weights'),
        ('plans that name a program', 'names subprocess.Popen'),
        ('plans that name a function', 'names os.system'),
        ('plans without configurations', 'its files make no network'),
        ('two images', 'needs 2 images of a head at once'),
        ('no json', 'dataset.json: '),
    ],
)
def test_a_spoilt_folder_is_told_in_words(tmp_path, how, words):
    folder = tiny_nnunet.write_folder(tmp_path, known={})
    spoil(folder, how)
    with pytest.raises(ExtractorError) as caught:
        load(folder)
    assert words in str(caught.value)
    assert str(folder) in str(caught.value)
    assert '; ' in str(caught.value)


def test_an_unknown_trainer_built_a_plain_network(tmp_path, monkeypatch):
    from nnunetv2.utilities import find_objects

    def find(name):
        raise RuntimeError(f'Could not find requested nnunet trainer {name}')

    monkeypatch.setattr(find_objects, 'recursive_find_trainer_class_by_name', find)
    volume, truth = tiny_nnunet.box(SHAPE, LOW, HIGH)
    folder = tiny_nnunet.write_folder(tmp_path, known={}, trainer='nnUNetTrainerOfMine')
    found = load(folder)(volume, np.eye(4), n_threads=1)
    np.testing.assert_array_equal(found.values > 0.5, truth)


def test_a_trainer_of_before_nnunet_2_8(tmp_path, monkeypatch):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    def build(name, kwargs, imports, channels, outputs, enable_deep_supervision=True):
        return get_network_from_plans(
            name, kwargs, imports, channels, outputs, deep_supervision=enable_deep_supervision
        )

    monkeypatch.setattr(nnUNetTrainer, 'build_network_architecture', staticmethod(build))
    volume, truth = tiny_nnunet.box(SHAPE, LOW, HIGH)
    folder = tiny_nnunet.write_folder(tmp_path, known={})
    found = load(folder)(volume, np.eye(4), n_threads=1)
    np.testing.assert_array_equal(found.values > 0.5, truth)


def test_no_brain(tmp_path):
    volume, _ = tiny_nnunet.box(SHAPE, LOW, HIGH)
    network = load(tiny_nnunet.write_folder(tmp_path / 'a', known={'cut': 50.0}))
    with pytest.raises(NoBrainError, match='is it a head'):
        network(volume, np.eye(4), n_threads=1)
    with pytest.raises(NoBrainError, match='zero everywhere'):
        network(np.zeros(SHAPE, np.float32), np.eye(4), n_threads=1)
    broken = load(tiny_nnunet.write_folder(tmp_path / 'b', known={'gain': float('nan')}))
    with pytest.raises(ExtractorError, match='no numbers'):
        broken(volume, np.eye(4), n_threads=1)


def test_nothing_of_the_process_changes(tmp_path, monkeypatch, capfd):
    def forbidden(*args, **kwargs):
        raise AssertionError('a process was started')

    asked = []
    set_threads = torch.set_num_threads
    monkeypatch.setattr(multiprocessing.Process, 'start', forbidden)
    monkeypatch.setattr(multiprocessing.get_context('spawn').Process, 'start', forbidden)
    monkeypatch.setattr(multiprocessing.get_context('fork').Process, 'start', forbidden)
    monkeypatch.setattr(
        torch, 'set_num_threads', lambda number: (asked.append(number), set_threads(number))
    )
    monkeypatch.setenv('nnUNet_compile', 'true')
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    before = (
        dict(os.environ),
        sys.stdout,
        torch.get_num_threads(),
        torch.backends.cudnn.benchmark,
        threading.active_count(),
    )
    folder = tiny_nnunet.write_folder(tmp_path / 'net', known={}, spacing=(2, 1, 1))
    volume, _ = tiny_nnunet.box(SHAPE, LOW, HIGH)
    found = load(folder)(volume, np.eye(4), n_threads=2)
    assert (found.values > 0.5).any()
    assert before == (
        dict(os.environ),
        sys.stdout,
        torch.get_num_threads(),
        torch.backends.cudnn.benchmark,
        threading.active_count(),
    )
    assert set(asked) - {before[2]} <= {1, 2}
    assert not list(Path.cwd().iterdir())
    assert capfd.readouterr() == ('', '')


def test_threads_come_back_after_an_error(tmp_path, tiles):
    volume, _ = tiny_nnunet.box(SHAPE, LOW, HIGH)
    network = load(tiny_nnunet.write_folder(tmp_path, known={}))
    tiles.limit, tiles.everywhere = 0, True
    before = torch.get_num_threads()
    with pytest.raises(ExtractorError):
        network(volume, np.eye(4), n_threads=before + 1)
    assert torch.get_num_threads() == before
