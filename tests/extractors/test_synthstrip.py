"""SynthStrip: the grid that it sees, the way back, its weights; with networks of known answer."""

import dataclasses
import importlib.util
import os

import numpy as np
import pytest
from oblique import turned_affine

from mriprep.extractors import devices, synthstrip
from mriprep.extractors.base import ExtractorError, LoadOptions, MapKind, NoBrainError
from mriprep.extractors.synthstrip import EXTRACTOR, SynthStripNetwork, field_of, load_network

torch = pytest.importorskip('torch')

SHAPE, LOW, HIGH = (30, 41, 17), (5, 20, 4), (17, 36, 13)
ZOOMS = (1.5, 1.1, 3.2)


@pytest.fixture(autouse=True)
def _one_thread():
    with devices.torch_threads(1):
        yield


@pytest.fixture
def small_field(monkeypatch):
    """A field of view that takes milliseconds."""
    monkeypatch.setattr(synthstrip, 'SHORTEST', 64)


class Bright(torch.nn.Module):
    """Says that what is bright is brain, moved by millimetres along an axis of its grid."""

    def __init__(self, axis=0, by=0):
        super().__init__()
        self.axis, self.by = axis, by
        self.seen = []

    def forward(self, image):
        self.seen.append(image[0, 0].numpy().copy())
        return torch.roll((0.6 - image) * 10 + 1, self.by, dims=2 + self.axis)


def head():
    """Image of a dim head that fills the grid, a bright box in it; and where the box is."""
    inside = np.zeros(SHAPE, bool)
    inside[tuple(slice(*ends) for ends in zip(LOW, HIGH, strict=True))] = True
    return np.where(inside, 900, 100).astype(np.float32), inside


@pytest.mark.parametrize('zooms', [(1, 1, 1), ZOOMS])
def test_a_box_comes_back_where_it_was(small_field, zooms):
    volume, inside = head()
    found = SynthStripNetwork(Bright(), 'cpu')(volume, turned_affine(*zooms), n_threads=1)
    assert found.values.dtype == np.float32
    assert found.values.shape == SHAPE
    assert set(np.unique(found.values)) == {0, 1}
    if zooms == (1, 1, 1):
        np.testing.assert_array_equal(found.values == 1, inside)
    # nothing deeper than a voxel in the box is missed, nothing further than one is added
    from scipy import ndimage

    cube = np.ones((3, 3, 3))
    assert (found.values == 1)[ndimage.binary_erosion(inside, cube)].all()
    assert not (found.values == 1)[~ndimage.binary_dilation(inside, cube)].any()
    assert (found.device, found.remarks) == ('cpu', ())


@pytest.mark.parametrize(
    ('axis', 'image_axis', 'sign'), [(0, 0, -1), (1, 2, -1), (2, 1, 1)], ids=['L', 'I', 'A']
)
def test_axes_lead_to_the_left_down_and_forward(small_field, axis, image_axis, sign):
    volume, inside = head()
    plain = SynthStripNetwork(Bright(), 'cpu')(volume, turned_affine(*ZOOMS), n_threads=1)
    moved = SynthStripNetwork(Bright(axis, 3), 'cpu')(volume, turned_affine(*ZOOMS), n_threads=1)
    step = np.argwhere(moved.values == 1).mean(0) - np.argwhere(plain.values == 1).mean(0)
    expected = np.zeros(3)
    expected[image_axis] = sign * 3 / ZOOMS[image_axis]
    np.testing.assert_allclose(step, expected, atol=0.4)
    # exactly so on a grid of 1 mm
    network = SynthStripNetwork(Bright(axis, 3), 'cpu')
    found = network(volume, turned_affine(1, 1, 1), n_threads=1)
    np.testing.assert_array_equal(found.values == 1, np.roll(inside, sign * 3, axis=image_axis))


def test_intensities_reach_the_network_between_0_and_1(small_field):
    volume, inside = head()
    for gain, offset in ((1, 0), (7, -300)):
        network = SynthStripNetwork(model := Bright(), 'cpu')
        found = network(gain * volume + offset, np.eye(4), n_threads=1)
        (seen,) = model.seen
        assert seen.dtype == np.float32
        assert seen.min() == 0
        assert seen.max() == pytest.approx(1)
        np.testing.assert_array_equal(found.values == 1, inside)


@pytest.mark.parametrize(
    ('shape', 'zooms', 'expected'),
    [
        ((170, 256, 256), (1, 1, 1), (192, 256, 256)),
        ((100, 100, 100), (1, 1, 1), (192, 192, 192)),
        ((256, 256, 48), (0.91, 0.95, 3), (256, 192, 256)),
        ((200, 193, 60), (1, 1, 7), (256, 320, 256)),
    ],
)
def test_the_field_covers_the_image_in_multiples_of_64(shape, zooms, expected):
    volume = np.ones(shape, np.float32)
    field = field_of(volume, turned_affine(*zooms))
    assert field.shape == expected
    middle = field.matrix @ ((np.array(expected) - 1) / 2) + field.offset
    assert (np.abs(middle - (np.array(shape) - 1) / 2) * zooms <= 0.5 + 1e-6).all()
    assert field.cuts_mm == pytest.approx(max(0, shape[2] * zooms[2] - 320), abs=1e-6)


def test_the_field_lies_around_what_is_not_zero():
    volume = np.zeros((500, 90, 90), np.float32)
    volume[400:480, 10:80, 10:80] = 5
    field = field_of(volume, np.eye(4))
    assert field.shape == (192, 192, 192)
    assert field.cuts_mm == 0
    np.testing.assert_allclose(
        field.matrix @ (95.5, 95.5, 95.5) + field.offset, (439.5, 44.5, 44.5)
    )


def test_what_lies_outside_the_field_is_no_brain(monkeypatch):
    for name in ('SHORTEST', 'LONGEST'):
        monkeypatch.setattr(synthstrip, name, 64)

    class Everything(torch.nn.Module):
        def forward(self, image):
            return torch.full_like(image, -3)

    volume = np.random.default_rng(1).random((20, 20, 50), np.float32) + 1
    found = SynthStripNetwork(Everything(), 'cpu')(volume, np.diag([1, 1, 2, 1]), n_threads=1)
    inside = np.flatnonzero(found.values.any((0, 1)))
    assert inside[[0, -1]] == pytest.approx([9, 40], abs=1)  # the middle 64 of 100 mm
    assert found.values[:, :, inside[0] : inside[-1] + 1].all()
    assert found.remarks == (
        'SynthStrip sees 64 mm at most, so 36 mm of the image at its edges were left out.',
    )


def test_no_brain(small_field):
    class Nothing(torch.nn.Module):
        def forward(self, image):
            return torch.full_like(image, 5)

    volume, _ = head()
    with pytest.raises(NoBrainError, match='no brain'):
        SynthStripNetwork(Nothing(), 'cpu')(volume, np.eye(4), n_threads=1)
    with pytest.raises(NoBrainError, match='zero everywhere'):
        SynthStripNetwork(Bright(), 'cpu')(0 * volume, np.eye(4), n_threads=1)
    full = np.full((64, 64, 64), 3, np.float32)
    with pytest.raises(NoBrainError, match='same everywhere'):
        SynthStripNetwork(Bright(), 'cpu')(full, np.eye(4), n_threads=1)


def test_the_processor_when_the_gpu_is_too_small(small_field, monkeypatch):
    asked = []

    def torch_device(name):
        asked.append(name)
        return torch.device('cpu')

    class Heavy(Bright):
        full = True

        def forward(self, image):
            if self.full and asked[-1] == 'cuda:0':
                raise torch.OutOfMemoryError('CUDA out of memory')
            return super().forward(image)

    monkeypatch.setattr(devices, 'torch_device', torch_device)
    monkeypatch.setattr(synthstrip, 'torch_device', torch_device)
    volume, inside = head()
    network = SynthStripNetwork(model := Heavy(), 'cuda:0')
    found = network(volume, np.eye(4), n_threads=1)
    assert found.device == 'cpu'
    (remark,) = found.remarks
    assert 'memory of cuda:0 was too small' in remark
    assert 'the brain was found on the CPU.' in remark
    np.testing.assert_array_equal(found.values == 1, inside)
    model.full = False
    again = network(volume, np.eye(4), n_threads=1)
    assert (again.device, again.remarks) == ('cuda:0', ())


def test_threads_and_flags_are_as_before(small_field):
    class Counts(Bright):
        def forward(self, image):
            self.threads = torch.get_num_threads()
            return super().forward(image)

    cudnn = torch.backends.cudnn
    before = torch.get_num_threads(), cudnn.benchmark, cudnn.deterministic, cudnn.enabled
    volume, _ = head()
    SynthStripNetwork(model := Counts(), 'cpu')(volume, np.eye(4), n_threads=2)
    assert model.threads == 2
    assert before == (
        torch.get_num_threads(), cudnn.benchmark, cudnn.deterministic, cudnn.enabled
    )  # fmt: skip


class Program:
    def __reduce__(self):
        return os.system, ('true',)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """File of weights that say that all is brain, where `mriprep fetch` puts it."""
    model = pytest.importorskip('nipreps.synthstrip.model').StripModel()
    with torch.no_grad():
        model.remaining[-1].conv.weight.zero_()
        model.remaining[-1].conv.bias.fill_(-5)
    (tmp_path / 'synthstrip').mkdir()
    path = tmp_path / 'synthstrip' / 'synthstrip.1.pt'
    torch.save({'model_state_dict': model.state_dict(), 'loss': np.float64(0.1)}, path)
    monkeypatch.setattr(
        synthstrip, 'WEIGHTS', dataclasses.replace(synthstrip.WEIGHTS, sha256=None)
    )
    return path


def test_the_real_network_from_its_file(weights, tmp_path, small_field):
    assert EXTRACTOR.problem(tmp_path) is None
    assert len(EXTRACTOR.checksum(tmp_path)) == 64
    network = EXTRACTOR.load(LoadOptions(weights_dir=tmp_path))
    volume, _ = head()
    assert network(volume, np.eye(4), n_threads=1).values.all()
    assert not network._model.training


def test_weights_that_are_not_synthstrips_are_refused(weights):
    torch.save({'model_state_dict': {'a': torch.zeros(2)}}, weights)
    with pytest.raises(ExtractorError, match='not those of SynthStrip; fetch'):
        load_network(weights, 'cpu')
    torch.save({'network_weights': {}}, weights)
    with pytest.raises(ExtractorError, match='lacks model_state_dict'):
        load_network(weights, 'cpu')
    torch.save({'model_state_dict': {}, 'extra': Program()}, weights)
    with pytest.raises(ExtractorError, match='could run any program'):
        load_network(weights, 'cpu')


def test_other_weights_than_the_pinned_ones_are_refused(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(
        synthstrip, 'WEIGHTS', dataclasses.replace(synthstrip.WEIGHTS, sha256='0' * 64)
    )
    with pytest.raises(ExtractorError, match='not the weights that this version'):
        EXTRACTOR.load(LoadOptions(weights_dir=tmp_path))


def test_what_is_absent_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv('MRIPREP_WEIGHTS_DIR', str(tmp_path))
    if importlib.util.find_spec('nipreps') is not None:
        assert 'mriprep fetch synthstrip' in EXTRACTOR.problem()
        with pytest.raises(ExtractorError, match='mriprep fetch synthstrip'):
            EXTRACTOR.load(LoadOptions())

    def find_spec(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.util, 'find_spec', find_spec)
    assert 'pip install "mriprep[synthstrip]"' in EXTRACTOR.problem()


def test_what_it_declares():
    facts = EXTRACTOR.facts
    assert facts.name == synthstrip.WEIGHTS.name == 'synthstrip'
    assert facts.gives is MapKind.MASK
    assert not facts.augments
    assert len(synthstrip.WEIGHTS.sha256) == 64
