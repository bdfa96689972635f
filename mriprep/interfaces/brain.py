"""Brain extraction and masks."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class _DeepBetInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='T1w head, RAS axes')
    threshold = traits.Range(0.0, 1.0, value=0.5, usedefault=True, desc='probability of brain')
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='processors')


class _DeepBetOutputSpec(TraitedSpec):
    out_mask = File(desc='brain mask, uint8, on the grid of in_file')
    metadata = traits.Dict(desc='what made the mask, for its sidecar')


class DeepBet(SimpleInterface):
    """Find the brain in a T1w image with deepbet."""

    input_spec = _DeepBetInputSpec
    output_spec = _DeepBetOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.extractors import deepbet
        from mriprep.images import load, write_image
        from mriprep.masks import binarize_brain

        image = load(self.inputs.in_file)
        probability = deepbet.brain_probability(
            image.get_fdata(dtype=np.float32), n_threads=self.inputs.num_threads
        )
        mask = binarize_brain(probability, self.inputs.threshold)
        out_mask = Path(runtime.cwd) / 'mask.nii'
        write_image(mask, image.affine, out_mask, dtype='uint8', space_code=1)
        volume_ml = float(mask.sum() * np.abs(np.linalg.det(image.affine[:3, :3])) / 1000)
        self._results['out_mask'] = str(out_mask)
        self._results['metadata'] = {
            'WeightsSHA256': deepbet.weights_checksum(),
            'VolumeMl': round(volume_ml, 1),
        }
        return runtime


class _ApplyMaskInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='image')
    in_mask = File(exists=True, mandatory=True, desc='mask on the same grid')


class _OutFileOutputSpec(TraitedSpec):
    out_file = File(desc='image, uncompressed')


class ApplyMask(SimpleInterface):
    """Set an image to zero outside a mask."""

    input_spec = _ApplyMaskInputSpec
    output_spec = _OutFileOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.images import load, load_mask_on, write_like
        from mriprep.intensity import apply_mask

        image = load(self.inputs.in_file)
        out_file = Path(runtime.cwd) / 'masked.nii'
        mask = load_mask_on(image, self.inputs.in_mask)
        write_like(image, apply_mask(image.get_fdata(dtype=np.float32), mask), out_file)
        self._results['out_file'] = str(out_file)
        return runtime


class _ZScoreOutputSpec(_OutFileOutputSpec):
    metadata = traits.Dict(desc='statistics that undo the scaling')


class ZScore(SimpleInterface):
    """Standardize an image by its brain intensities."""

    input_spec = _ApplyMaskInputSpec
    output_spec = _ZScoreOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.images import load, load_mask_on, write_like
        from mriprep.intensity import zscore, zscore_parameters

        image = load(self.inputs.in_file)
        volume = image.get_fdata(dtype=np.float32)
        parameters = zscore_parameters(volume, load_mask_on(image, self.inputs.in_mask))
        out_file = Path(runtime.cwd) / 'zscore.nii'
        write_like(image, zscore(volume, parameters), out_file)
        self._results['out_file'] = str(out_file)
        self._results['metadata'] = {
            'NormalizationMean': parameters.mean,
            'NormalizationStandardDeviation': parameters.deviation,
            'NormalizationVoxels': parameters.n_voxels,
        }
        return runtime
