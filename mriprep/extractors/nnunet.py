"""Brain extraction with a network that nnU-Net trained, through nnU-Net's predictor on arrays.

Isensee et al. (2021), Nat Methods, doi:10.1038/s41592-020-01008-z.
"""

from __future__ import annotations

import functools
import inspect
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriprep.extractors.base import BrainMap, ExtractorError, NoBrainError
from mriprep.extractors.checkpoints import read_checkpoint
from mriprep.extractors.devices import (
    CPU,
    Attempt,
    Tile,
    first_that_fits,
    release,
    smaller_tiles,
    torch_device,
    torch_threads,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mriprep.extractors.base import LoadOptions

logger = logging.getLogger('nipype.interface')

CHECKPOINT = 'checkpoint_final.pth'
KEYS = ('network_weights', 'init_args', 'trainer_name')
# where the classes that plans name may come from: naming one imports and calls it
_TRUSTED = ('dynamic_network_architectures.', 'torch.nn.')


class NnunetNetwork:
    """A trained nnU-Net that tells brain from the rest; see `mriprep.extractors.base.Network`.

    Parameters
    ----------
    predictor
        nnU-Net's predictor, ready to predict.
    device
        Where it computes while memory suffices.
    name
        Of the extractor, for the log and for errors.
    """

    def __init__(self, predictor: Any, device: str, name: str) -> None:
        self._predictor = predictor
        self._name = name
        settings = predictor.configuration_manager
        trained: Tile = tuple(settings.patch_size)
        multiples = _multiples(settings.pool_op_kernel_sizes)
        mirror = bool(predictor.use_mirroring and predictor.allowed_mirroring_axes)
        asked = Attempt(device=device, tile=trained, mirror=mirror)
        self._attempts = [asked]
        if device != CPU:
            self._attempts += [
                Attempt(device=device, tile=tile, mirror=mirror)
                for tile in smaller_tiles(trained, multiples)
            ]
            self._attempts.append(Attempt(device=CPU, tile=trained, mirror=False))

    def __call__(
        self, volume: NDArray[np.float32], affine: NDArray[np.float64], *, n_threads: int
    ) -> BrainMap:
        """Find the brain; see `mriprep.extractors.base.Network`."""
        import numpy as np

        if not np.any(volume):
            raise NoBrainError('the image is zero everywhere; look at it, is it a head?')
        with torch_threads(n_threads):
            data, properties = self._preprocess(volume, affine)
            logits, done, remarks = first_that_fits(
                lambda attempt: self._logits(data, attempt), self._attempts, self._name
            )
            values = self._brain(logits, properties, n_threads)
        if not np.isfinite(values).all():
            raise ExtractorError(
                f'{self._name}: the network gave values that are no numbers on {done.device}; '
                'try --device cpu, or fetch its weights again'
            )
        np.clip(values, 0, 1, out=values)
        if not (values > 0.5).any():
            raise NoBrainError('no brain was found in the image; look at it, is it a head?')
        return BrainMap(values=values, device=done.device, remarks=remarks)

    def _preprocess(
        self, volume: NDArray[np.float32], affine: NDArray[np.float64]
    ) -> tuple[Any, dict[str, Any]]:
        """Crop, normalise and resample as in training; axes go from (I, J, K) to (1, K, J, I)."""
        import numpy as np
        import torch

        predictor = self._predictor
        spacing = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
        properties = {'spacing': [float(mm) for mm in spacing]}
        with quietly():
            data = predictor.configuration_manager.preprocessor_class(verbose=False).run_case_npy(
                volume.T[np.newaxis],
                None,
                properties,  # gets what leads back
                predictor.plans_manager,
                predictor.configuration_manager,
                predictor.dataset_json,
            )[0]
        return torch.from_numpy(np.ascontiguousarray(data, np.float32)), properties

    def _logits(self, data: Any, attempt: Attempt) -> Any:
        """Send a preprocessed image through the network in one of the ways."""
        predictor = self._predictor
        settings = predictor.configuration_manager.configuration
        before = settings['patch_size']
        predictor.device = torch_device(attempt.device)
        predictor.perform_everything_on_device = predictor.device.type == 'cuda'
        predictor.use_mirroring = attempt.mirror
        settings['patch_size'] = list(attempt.tile or before)
        try:
            with quietly():
                return predictor.predict_logits_from_preprocessed_data(data)
        finally:
            settings['patch_size'] = before

    def _brain(
        self, logits: Any, properties: dict[str, Any], n_threads: int
    ) -> NDArray[np.float32]:
        """Probability of brain on the grid of the image, from logits on the network's."""
        import numpy as np

        predictor = self._predictor
        with quietly():
            from nnunetv2.inference import export_prediction

            convert = export_prediction.convert_predicted_logits_to_segmentation_with_correct_shape
            _, probabilities = convert(
                logits,
                predictor.plans_manager,
                predictor.configuration_manager,
                predictor.label_manager,
                properties,
                return_probabilities=True,
                num_threads_torch=n_threads,
            )
        if predictor.label_manager.has_regions:
            brain = probabilities.max(0)
        else:  # every label but the background
            brain = probabilities[1:].sum(0)
        return np.array(brain.T, np.float32, order='C')


def load_network(
    folder: Path, options: LoadOptions, *, name: str, folds: tuple[str, ...] = ('all',)
) -> NnunetNetwork:
    """Load what nnU-Net trained, without running any code that its files may hold.

    Parameters
    ----------
    folder
        Holds ``dataset.json``, ``plans.json`` and ``fold_*/checkpoint_final.pth``.
    options
        Device, and whether mirrored images are averaged.
    name
        Of the extractor, for the log and for errors.
    folds
        Which of the trained networks are averaged.

    Raises
    ------
    ExtractorError
        If a file can't be read, holds more than numbers or fits no network of nnU-Net's, or if
        the device is absent.
    """
    device = torch_device(options.device)
    checkpoints = [read_checkpoint(folder / f'fold_{fold}' / CHECKPOINT, *KEYS) for fold in folds]
    plans, dataset = _read_json(folder / 'plans.json'), _read_json(folder / 'dataset.json')
    with quietly(), _same_environment():
        predictor = _predictor(device, mirror=options.test_time_augmentation)
        try:
            _initialize(predictor, plans, dataset, checkpoints)
        except ExtractorError as error:
            raise ExtractorError(f'{folder}: {error}') from error
        except Exception as error:  # whatever nnU-Net does with files that don't fit each other
            words = ' '.join(str(error).split())[:200]
            raise ExtractorError(
                f'{folder}: its files make no network of nnU-Net ({type(error).__name__}: '
                f'{words}); fetch the weights again'
            ) from error
    return NnunetNetwork(predictor, options.device, name)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ExtractorError(f'{path}: {error}; fetch the weights again') from error
    if not isinstance(content, dict):
        raise ExtractorError(f'{path}: not a table; fetch the weights again')
    return content


def _initialize(
    predictor: Any,
    plans: dict[str, Any],
    dataset: dict[str, Any],
    checkpoints: list[dict[str, Any]],
) -> None:
    """Give a predictor its network."""
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    first = checkpoints[0]
    manager = PlansManager(plans)
    settings = manager.get_configuration(first['init_args']['configuration'])
    _forbid_strangers(settings)
    channels = determine_num_input_channels(manager, settings, dataset)
    if channels != 1:
        raise ExtractorError(
            f'the network needs {channels} images of a head at once and gets one; '
            'take a network that was trained with single images'
        )
    network = _build(first['trainer_name'], manager, settings, dataset)
    network.load_state_dict(first['network_weights'])
    predictor.manual_initialization(
        network,
        manager,
        settings,
        [checkpoint['network_weights'] for checkpoint in checkpoints],
        dataset,
        first['trainer_name'],
        first.get('inference_allowed_mirroring_axes'),
    )
    predictor.network = network  # not compiled, whatever nnUNet_compile says


def _build(trainer: str, manager: Any, settings: Any, dataset: Mapping[str, Any]) -> Any:
    """Build the network as its trainer does; trainers that aren't here built a plain one."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    outputs = manager.get_label_manager(dataset).num_segmentation_heads
    found = nnUNetTrainer
    if trainer != nnUNetTrainer.__name__:
        try:
            found = recursive_find_trainer_class_by_name(trainer)
        except (RuntimeError, ImportError):
            logger.debug('nnU-Net has no trainer %s; nnUNetTrainer stands in', trainer)
    build = found.build_network_architecture
    if 'plans_manager' in inspect.signature(build).parameters:
        return build(manager, settings, 1, outputs, enable_deep_supervision=False)
    return build(
        settings.network_arch_class_name,
        settings.network_arch_init_kwargs,
        settings.network_arch_init_kwargs_req_import,
        1,
        outputs,
        enable_deep_supervision=False,
    )


def _forbid_strangers(settings: Any) -> None:
    """Refuse plans that name classes other than those of networks."""
    kwargs = settings.network_arch_init_kwargs
    named = [kwargs.get(key) for key in settings.network_arch_init_kwargs_req_import]
    for path in (settings.network_arch_class_name, *named):
        if path is not None and not str(path).startswith(_TRUSTED):
            raise ExtractorError(
                f'plans.json names {path}, which is no part of a network of nnU-Net; '
                'delete the folder and fetch the weights again'
            )


def _multiples(strides: Any) -> Tile:
    """What the length of a tile must be a multiple of, along each axis."""
    import numpy as np

    return tuple(int(step) for step in np.prod(np.atleast_2d(strides), axis=0))


def _predictor(device: Any, *, mirror: bool) -> Any:
    import torch

    benchmark = torch.backends.cudnn.benchmark
    try:
        return _predictor_class()(use_mirroring=mirror, device=device, allow_tqdm=False)
    finally:
        torch.backends.cudnn.benchmark = benchmark


@functools.cache
def _predictor_class() -> Any:
    """Return nnU-Net's predictor without the thread that feeds it.

    That thread would wait for ever, holding the image on the GPU, once the network has run out of
    memory; and the network would wait for ever once the thread has.
    """
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    class Predictor(nnUNetPredictor):  # type: ignore[misc]
        """Sends tile after tile through the network."""

        @torch.inference_mode()
        def _internal_predict_sliding_window_return_logits(
            self, data: Any, slicers: Any, do_on_device: bool = True
        ) -> Any:
            try:
                return self._sum_of_tiles(data, slicers, do_on_device)
            except Exception as error:
                import traceback

                traceback.clear_frames(error.__traceback__)  # they hold tensors
                release(self.device)
                raise

        def _sum_of_tiles(self, data: Any, slicers: Any, do_on_device: bool) -> Any:
            home = self.device if do_on_device else torch.device(CPU)
            data = data.to(home)
            heads = self.label_manager.num_segmentation_heads
            total = torch.zeros((heads, *data.shape[1:]), dtype=torch.half, device=home)
            weights = torch.zeros(data.shape[1:], dtype=torch.half, device=home)
            tile = tuple(self.configuration_manager.patch_size)
            gaussian = compute_gaussian(
                tile, sigma_scale=1 / 8, value_scaling_factor=10, device=home
            )
            for place in slicers:
                part = data[place][None].contiguous().to(self.device)
                found = self._internal_maybe_mirror_and_predict(part)[0].to(home)
                total[place] += found * gaussian
                weights[place[1:]] += gaussian
            return total.div_(weights)

    return Predictor


@contextmanager
def _same_environment() -> Iterator[None]:
    """Take back what imports of nnU-Net's write into the environment."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def quietly() -> Iterator[None]:
    """Let nnU-Net print and warn into the log only."""
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(record=True) as caught, redirect_stdout(printed):
            warnings.simplefilter('always')
            yield
    finally:
        # afterwards, since a handler may itself write to what is standard output at the moment
        for line in (*printed.getvalue().splitlines(), *(str(one.message) for one in caught)):
            if line.strip():
                logger.debug('nnU-Net: %s', line)
