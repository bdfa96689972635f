"""Around N4: samples of the brain to fit the field on, and the field applied to the head."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class _SampleInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='whole head')
    in_mask = File(exists=True, mandatory=True, desc='brain mask on the same grid')
    voxel_mm = traits.Float(5.0, usedefault=True, desc='distance between samples to come near to')


class _SampleOutputSpec(TraitedSpec):
    out_file = File(desc='samples of the head in the box around the brain')
    out_mask = File(desc='samples of the mask')


class SampleForBias(SimpleInterface):
    """Pick every n-th voxel around the brain, so that N4 has few voxels to fit."""

    input_spec = _SampleInputSpec
    output_spec = _SampleOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.bias import lattice_around
        from mriprep.images import load, load_mask_on, write_image

        image = load(self.inputs.in_file)
        mask = load_mask_on(image, self.inputs.in_mask)
        lattice = lattice_around(mask, image.header.get_zooms()[:3], self.inputs.voxel_mm)
        head = np.asanyarray(image.dataobj)[lattice.slices]
        affine = lattice.affine(image.affine)
        out_file, out_mask = Path(runtime.cwd) / 'samples.nii', Path(runtime.cwd) / 'mask.nii'
        write_image(head, affine, out_file, dtype='float32', space_code=1)
        write_image(mask[lattice.slices], affine, out_mask, dtype='uint8', space_code=1)
        self._results['out_file'] = str(out_file)
        self._results['out_mask'] = str(out_mask)
        return runtime


class _CorrectInputSpec(_SampleInputSpec):
    in_field = File(exists=True, mandatory=True, desc='bias field on the samples')


class _CorrectOutputSpec(TraitedSpec):
    out_file = File(desc='whole head divided by the field')


class CorrectBias(SimpleInterface):
    """Divide a head by a bias field that was fitted on every n-th voxel."""

    input_spec = _CorrectInputSpec
    output_spec = _CorrectOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.bias import lattice_around, take_out
        from mriprep.images import load, load_mask_on, write_like

        image = load(self.inputs.in_file)
        mask = load_mask_on(image, self.inputs.in_mask)
        lattice = lattice_around(mask, image.header.get_zooms()[:3], self.inputs.voxel_mm)
        samples = load(self.inputs.in_field).get_fdata(dtype=np.float32)
        corrected = take_out(np.asanyarray(image.dataobj), samples, lattice, mask)
        out_file = Path(runtime.cwd) / 'corrected.nii'
        write_like(image, corrected, out_file)
        self._results['out_file'] = str(out_file)
        return runtime
