"""Boxes, grids and poses: what is registered, and where results are written."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

_EXCLUDED_SHARE = 0.05  # of a voxel


class _CropInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='image')
    in_mask = File(exists=True, mandatory=True, desc='mask on the same grid')
    margin_mm = traits.Float(5.0, usedefault=True, desc='kept around the mask')
    voxel_mm = traits.Float(0.0, usedefault=True, desc='voxel size to go up to; 0: as it is')
    in_excluded = File(exists=True, desc='what a metric must not look at, on the same grid')
    metric_mask = traits.Bool(False, usedefault=True, desc='whether to write where it may look')


class _CropOutputSpec(TraitedSpec):
    out_file = File(desc='the box around the mask, zero outside the mask')
    out_metric_mask = File(desc='the whole box, but for what is excluded')


class CropToMask(SimpleInterface):
    """Cut out the masked part of an image; world coordinates stay."""

    input_spec = _CropInputSpec
    output_spec = _CropOutputSpec

    def _run_interface(self, runtime):
        import numpy as np
        from nipype.interfaces.base import isdefined

        from mriprep.images import load, load_mask_on, write_image
        from mriprep.intensity import apply_mask
        from mriprep.masks import bounding_box
        from mriprep.resampling import coarsen

        image = load(self.inputs.in_file)
        mask = load_mask_on(image, self.inputs.in_mask)
        zooms = image.header.get_zooms()[:3]
        box = bounding_box(mask, [round(self.inputs.margin_mm / zoom) for zoom in zooms])
        brain = apply_mask(image.get_fdata(dtype=np.float32)[box], mask[box])
        corner = image.affine.copy()
        corner[:3, 3] = image.affine[:3] @ [*(part.start for part in box), 1]
        affine = corner
        if self.inputs.voxel_mm > 0:
            brain, affine = coarsen(brain, corner, self.inputs.voxel_mm)
        out_file = Path(runtime.cwd) / 'brain.nii'
        write_image(brain, affine, out_file, dtype='float32', space_code=1)
        self._results['out_file'] = str(out_file)
        if self.inputs.metric_mask:
            out_mask = Path(runtime.cwd) / 'metric_mask.nii'
            seen = np.ones(brain.shape, dtype=np.uint8)
            if isdefined(self.inputs.in_excluded):
                excluded = load_mask_on(image, self.inputs.in_excluded)[box].astype(np.float32)
                if self.inputs.voxel_mm > 0:
                    excluded, _ = coarsen(excluded, corner, self.inputs.voxel_mm)
                # a voxel that holds some of it is left out as well
                seen[excluded > _EXCLUDED_SHARE] = 0
            write_image(seen, affine, out_mask, dtype='uint8', space_code=1)
            self._results['out_metric_mask'] = str(out_mask)
        return runtime


class _NativeGridInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='image whose voxel size is wanted')
    in_target = File(exists=True, mandatory=True, desc='template that gives the field of view')


class _NativeGridOutputSpec(TraitedSpec):
    out_file = File(desc='empty image on the grid')


class NativeGrid(SimpleInterface):
    """Make the grid of ``res-native``: the template's field of view, the image's voxel size."""

    input_spec = _NativeGridInputSpec
    output_spec = _NativeGridOutputSpec

    def _run_interface(self, runtime):
        import nibabel as nb
        import numpy as np

        from mriprep.images import write_image
        from mriprep.templates import grid_for

        zooms = nb.load(self.inputs.in_file).header.get_zooms()[:3]
        target = nb.load(self.inputs.in_target)
        affine, shape = grid_for(target.affine, target.shape, zooms)
        out_file = Path(runtime.cwd) / 'grid.nii'
        empty = np.zeros(shape, dtype=np.uint8)
        write_image(empty, affine, out_file, dtype='uint8', space_code=4)
        self._results['out_file'] = str(out_file)
        return runtime


class _ClosestRigidInputSpec(BaseInterfaceInputSpec):
    in_transform = File(exists=True, mandatory=True, desc='affine transform to the template, .h5')
    in_mask = File(
        exists=True, mandatory=True, desc='brain mask of the template: where it matters'
    )


class _ClosestRigidOutputSpec(TraitedSpec):
    forward = File(desc='rigid transform to the template, .h5')
    inverse = File(desc='the way back')


class ClosestRigid(SimpleInterface):
    """Take from an affine registration what is rigid.

    A rigid transform that maximises mutual information between heads of different size has a
    flat optimum; the closest rigid to the affine one is determined as well as the affine one.
    """

    input_spec = _ClosestRigidInputSpec
    output_spec = _ClosestRigidOutputSpec

    def _run_interface(self, runtime):
        import nibabel as nb
        import numpy as np

        from mriprep.images import load
        from mriprep.itk import closest_rigid, read_linear, write_linear

        mask = load(self.inputs.in_mask)
        indices = np.argwhere(np.asanyarray(mask.dataobj)[::4, ::4, ::4] > 0.5) * 4
        points = nb.affines.apply_affine(mask.affine, indices)
        rigid = closest_rigid(read_linear(Path(self.inputs.in_transform)), points)
        for name, matrix in (('forward', rigid), ('inverse', np.linalg.inv(rigid))):
            path = Path(runtime.cwd) / f'{name}.h5'
            write_linear(matrix, path)
            self._results[name] = str(path)
        return runtime
