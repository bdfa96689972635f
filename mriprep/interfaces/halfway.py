"""The average of several images of one head in their halfway space."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

_SCANNER = 1  # NIfTI code of qform and sform


class _HalfwayInputSpec(BaseInterfaceInputSpec):
    in_files = traits.List(
        File(exists=True), minlen=2, mandatory=True, desc='heads, one contrast, RAS axes'
    )
    in_masks = traits.List(File(exists=True), desc='a brain mask for each, on its grid')
    names = traits.List(traits.Str(), desc='of the members, for the sidecar; else their files')
    force = traits.Bool(False, usedefault=True, desc='go on with an average that is refused')
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='members worked on at once')


class _HalfwayOutputSpec(TraitedSpec):
    out_file = File(desc='average, float32, RAS axes without tilt, uncompressed')
    out_mask = File(desc='brain mask, where half of the members that see a voxel have brain')
    forward = traits.List(File(), desc='ITK transforms, .txt: each member to the halfway grid')
    inverse = traits.List(File(), desc='the ways back')
    out_verdict = File(desc='JSON: whether the average is believed, and each check')
    metadata = traits.Dict(desc='what made the average, for its sidecar')


class HalfwayAverage(SimpleInterface):
    """Average images of one head, in one contrast, where all move by as little as the others."""

    input_spec = _HalfwayInputSpec
    output_spec = _HalfwayOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.files import write_json
        from mriprep.halfway import average, metadata, verdict
        from mriprep.images import write_image
        from mriprep.itk import write_linear_text

        found = average(self._members(), n_threads=self.inputs.num_threads)
        told = verdict(found)
        if told['status'] == 'refused' and not self.inputs.force:
            raise ValueError(
                f'the average of {", ".join(self._names())} is refused: '
                f'{" ".join(told["reasons"])}; look whether all show one head, leave out what does '
                'not, or go on with --force'
            )
        folder = Path(runtime.cwd)
        write = {'affine': found.grid.affine, 'space_code': _SCANNER}
        write_image(found.volume, path=folder / 'average.nii', dtype='float32', **write)
        self._results['out_file'] = str(folder / 'average.nii')
        if found.mask is not None:
            write_image(found.mask, path=folder / 'mask.nii', dtype='uint8', **write)
            self._results['out_mask'] = str(folder / 'mask.nii')
        self._results |= {'forward': [], 'inverse': []}
        for n, matrix in enumerate(found.poses.matrices, start=1):
            for way, values in (('forward', matrix), ('inverse', np.linalg.inv(matrix))):
                path = folder / f'{way}{n}.txt'
                write_linear_text(values, path)
                self._results[way].append(str(path))
        write_json(told, folder / 'verdict.json')
        self._results['out_verdict'] = str(folder / 'verdict.json')
        self._results['metadata'] = metadata(found, self._names())
        return runtime

    def _names(self):
        if isdefined(self.inputs.names):
            return self.inputs.names
        return [Path(path).name for path in self.inputs.in_files]

    def _members(self):
        import numpy as np

        from mriprep.halfway import Member
        from mriprep.images import load, load_mask_on

        paths, n_files = self.inputs.in_files, len(self.inputs.in_files)
        masks = self.inputs.in_masks if isdefined(self.inputs.in_masks) else [None] * n_files
        for what, items in (('masks', masks), ('names', self._names())):
            if len(items) != n_files:
                raise ValueError(f'{n_files} images and {len(items)} {what}; give one for each')
        members = []
        for path, mask in zip(paths, masks, strict=True):
            image = load(path)
            members.append(
                Member(
                    volume=image.get_fdata(dtype=np.float32),
                    affine=image.affine,
                    mask=None if mask is None else load_mask_on(image, mask),
                )
            )
        return members
