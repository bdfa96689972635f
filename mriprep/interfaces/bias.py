"""Around N4: a shrunk brain to fit the field on, and the field applied to the head."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class _ShrinkInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='whole head')
    in_mask = File(exists=True, mandatory=True, desc='brain mask on the same grid')
    voxel_mm = traits.Float(4.0, usedefault=True, desc='voxel size to come near to')


class _ShrinkOutputSpec(TraitedSpec):
    out_file = File(desc='brain averaged over blocks, zero outside')
    out_mask = File(desc='blocks of which at least half is brain')


class ShrinkForBias(SimpleInterface):
    """Average the brain over blocks, so that N4 has few voxels to fit."""

    input_spec = _ShrinkInputSpec
    output_spec = _ShrinkOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.bias import block_affine, block_mean, shrink_factors
        from mriprep.images import load, load_mask, write_image

        image = load(self.inputs.in_file)
        factors = shrink_factors(image.header.get_zooms()[:3], self.inputs.voxel_mm)
        mean, fraction = block_mean(
            image.get_fdata(dtype=np.float32), load_mask(self.inputs.in_mask), factors
        )
        affine = block_affine(image.affine, factors)
        out_file, out_mask = Path(runtime.cwd) / 'blocks.nii', Path(runtime.cwd) / 'mask.nii'
        write_image(mean, affine, out_file, dtype='float32', space_code=1)
        write_image(fraction >= 0.5, affine, out_mask, dtype='uint8', space_code=1)
        self._results['out_file'] = str(out_file)
        self._results['out_mask'] = str(out_mask)
        return runtime


class _CorrectInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='whole head')
    in_mask = File(exists=True, mandatory=True, desc='brain mask on the same grid')
    in_field = File(exists=True, mandatory=True, desc='bias field on the grid of blocks')
    voxel_mm = traits.Float(4.0, usedefault=True, desc='as in ShrinkForBias')


class _CorrectOutputSpec(TraitedSpec):
    out_file = File(desc='whole head divided by the field')


class CorrectBias(SimpleInterface):
    """Divide a head by a bias field that was fitted on a coarse grid."""

    input_spec = _CorrectInputSpec
    output_spec = _CorrectOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.bias import shrink_factors, spread
        from mriprep.images import load, load_mask, write_like

        image = load(self.inputs.in_file)
        factors = shrink_factors(image.header.get_zooms()[:3], self.inputs.voxel_mm)
        blocks = load(self.inputs.in_field).get_fdata(dtype=np.float32)
        field = spread(np.log(blocks), image.shape, factors)
        # brightness as a whole is not bias: the mean inside the brain stays
        field -= field[load_mask(self.inputs.in_mask)].mean()
        out_file = Path(runtime.cwd) / 'corrected.nii'
        write_like(image, image.get_fdata(dtype=np.float32) * np.exp(-field), out_file)
        self._results['out_file'] = str(out_file)
        return runtime
