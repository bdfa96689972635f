"""A folder as nnU-Net leaves after training: real plans, a small network, weights with known answer."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

STRIDES = ((1, 1, 1), (2, 2, 2))
FILES = ('dataset.json', 'plans.json', 'fold_all/checkpoint_final.pth')


def configuration(
    *,
    spacing=(1.0, 1.0, 1.0),
    patch=(16, 16, 16),
    features=(2, 2),
    strides=STRIDES,
    convolutions=1,
    norm='torch.nn.modules.instancenorm.InstanceNorm3d',
):
    """Configuration of a plain U-Net, axes as nnU-Net orders them."""
    resampling = {
        f'resampling_fn_{kind}{end}': value
        for kind, order in (('data', 3), ('seg', 1), ('probabilities', 1))
        for end, value in (
            ('', 'resample_data_or_seg_to_shape'),
            (
                '_kwargs',
                {'is_seg': kind == 'seg', 'order': order, 'order_z': 0, 'force_separate_z': None},
            ),
        )
    }
    return {
        'data_identifier': 'nnUNetPlans_3d_fullres',
        'preprocessor_name': 'DefaultPreprocessor',
        'batch_size': 2,
        'patch_size': list(patch),
        'median_image_size_in_voxels': list(patch),
        'spacing': list(spacing),
        'normalization_schemes': ['ZScoreNormalization'],
        'use_mask_for_norm': [False],
        **resampling,
        'architecture': {
            'network_class_name': 'dynamic_network_architectures.architectures.unet.PlainConvUNet',
            'arch_kwargs': {
                'n_stages': len(features),
                'features_per_stage': list(features),
                'conv_op': 'torch.nn.modules.conv.Conv3d',
                'kernel_sizes': [[3, 3, 3]] * len(features),
                'strides': [list(stride) for stride in strides],
                'n_conv_per_stage': [convolutions] * len(features),
                'n_conv_per_stage_decoder': [convolutions] * (len(features) - 1),
                'conv_bias': True,
                'norm_op': norm,
                'norm_op_kwargs': {'eps': 1e-05, 'affine': True} if norm else {},
                'dropout_op': None,
                'dropout_op_kwargs': None,
                'nonlin': 'torch.nn.LeakyReLU',
                'nonlin_kwargs': {'inplace': True},
            },
            '_kw_requires_import': ['conv_op', 'norm_op', 'dropout_op', 'nonlin'],
        },
        'batch_dice': False,
    }


def plans(settings, *, transpose=(0, 1, 2)):
    """Plans of a data set with one configuration."""
    statistics = dict.fromkeys(
        ('max', 'mean', 'median', 'min', 'percentile_00_5', 'percentile_99_5', 'std'), 1.0
    )
    return {
        'dataset_name': 'Dataset001_Tiny',
        'plans_name': 'nnUNetPlans',
        'original_median_spacing_after_transp': settings['spacing'],
        'original_median_shape_after_transp': settings['patch_size'],
        'image_reader_writer': 'SimpleITKIO',
        'transpose_forward': list(transpose),
        'transpose_backward': [list(transpose).index(axis) for axis in range(3)],
        'configurations': {'3d_fullres': settings},
        'experiment_planner_used': 'ExperimentPlanner',
        'label_manager': 'LabelManager',
        'foreground_intensity_properties_per_channel': {'0': statistics},
    }


def dataset(labels=None, channels=1):
    """Description of the data set."""
    return {
        'channel_names': {str(channel): f'MRI{channel}' for channel in range(channels)},
        'labels': labels or {'background': 0, 'brain': 1},
        'numTraining': 1,
        'file_ending': '.nii.gz',
        'regions_class_order': [1],
    }


def build(settings, *, channels=1, outputs=2, seed=0):
    """The network of a configuration with random weights."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from torch import nn

    kwargs = dict(settings['architecture']['arch_kwargs'])
    kwargs |= {
        'conv_op': nn.Conv3d,
        'norm_op': nn.InstanceNorm3d if kwargs['norm_op'] else None,
        'nonlin': nn.LeakyReLU,
    }
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return PlainConvUNet(
            input_channels=channels, num_classes=outputs, deep_supervision=False, **kwargs
        )


def answer_known(network, *, cut=1.0, gain=20.0, shift=(0, 0, 0)):
    """Make a network without normalisation say: brain is where the input exceeds ``cut``.

    Each convolution on the way moves the image by ``shift`` voxels (-1, 0 or 1 along an axis).
    """
    import torch

    tap = tuple(1 - step for step in shift)
    with torch.no_grad():
        for weight in network.state_dict().values():
            weight.zero_()
        first = network.encoder.stages[0]
        last = network.decoder.stages[-1]
        for stage, source in ((first, 0), (last, -1)):
            for index, block in enumerate(
                module for module in stage.modules() if _is_conv(module)
            ):
                skipped = block.weight.shape[1] // 2 if source and index == 0 else 0
                block.weight[0, skipped, *tap] = 1
        head = network.decoder.seg_layers[-1]
        brain = head.weight.shape[0] - 1
        head.weight[brain, 0] = gain
        head.bias[brain] = -gain * cut
    return network


def _is_conv(module):
    import torch

    return isinstance(module, torch.nn.Conv3d)


def checkpoint(weights, settings, *, trainer='nnUNetTrainer', mirrored=(0, 1, 2)):
    """What nnU-Net saves after training, with the NumPy scalars that its log holds."""
    import torch

    return {
        'network_weights': weights,
        'optimizer_state': {'state': {}, 'param_groups': [{'lr': 0.01, 'params': [0]}]},
        'grad_scaler_state': None,
        'logging': {
            'mean_fg_dice': [np.float64(0.5), np.float32(0.75)],
            'dice_per_class_or_region': [[np.float64(0.5)]],
            'train_losses': [np.array(0.25, np.float32)[()]],
            'epoch_start_timestamps': [1.0],
        },
        '_best_ema': np.float64(0.9),
        'current_epoch': 1000,
        'init_args': {
            'plans': plans(settings),
            'configuration': '3d_fullres',
            'fold': 'all',
            'dataset_json': dataset(),
            'unpack_dataset': True,
            'device': torch.device('cpu'),
        },
        'trainer_name': trainer,
        'inference_allowed_mirroring_axes': mirrored,
    }


def write_folder(
    folder: Path,
    *,
    known=None,
    labels=None,
    channels=1,
    outputs=2,
    transpose=(0, 1, 2),
    trainer='nnUNetTrainer',
    fold='all',
    seed=0,
    **kwargs,
) -> Path:
    """Write a trained folder; ``known`` holds the arguments of `answer_known`."""
    import torch

    settings = configuration(**({'norm': None} if known is not None else {}) | kwargs)
    network = build(settings, channels=channels, outputs=outputs, seed=seed)
    if known is not None:
        answer_known(network, **known)
    (folder / f'fold_{fold}').mkdir(parents=True, exist_ok=True)
    described = dataset(labels, channels)
    (folder / 'dataset.json').write_text(json.dumps(described))
    (folder / 'plans.json').write_text(json.dumps(plans(settings, transpose=transpose)))
    saved = checkpoint(network.state_dict(), settings, trainer=trainer)
    torch.save(saved, folder / f'fold_{fold}' / 'checkpoint_final.pth')
    return folder


def box(shape, low, high, *, inside=100.0, outside=10.0):
    """Head with a bright box in it: (volume, whether inside)."""
    inside_box = np.zeros(shape, bool)
    inside_box[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = True
    return np.where(inside_box, inside, outside).astype(np.float32), inside_box


def mirrorings(axes=(0, 1, 2)):
    """Number of passes that averaging over mirrored images takes."""
    return sum(1 for n in range(len(axes) + 1) for _ in itertools.combinations(axes, n))
