"""Where contrasts meet: masks chosen between two, transforms joined, what was measured gathered."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiPath,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class _WeighMasksInputSpec(BaseInterfaceInputSpec):
    in_own = File(exists=True, desc='brain mask that was found in the image')
    in_probability = File(exists=True, desc='probability of brain that it comes from')
    in_verdict = File(exists=True, desc='JSON: what the guard says of it')
    own_metadata = traits.Dict(desc='what made it')
    in_carried = File(exists=True, mandatory=True, desc="the reference's mask, on the same grid")
    in_registered = File(exists=True, desc='JSON: what the guard says of the co-registration')
    # part of the identity: a refusal is remembered as a result, not as a failure
    force = traits.Bool(False, usedefault=True, desc='go on with what is refused')


class _WeighMasksOutputSpec(TraitedSpec):
    out_mask = File(desc='the mask that is believed more')
    out_probability = File(desc='probability of brain, if that is the own mask')
    out_rival = File(desc='the own mask, where it is not')
    out_metrics = File(desc='JSON: what was measured of the image, for desc-iqms')
    metadata = traits.Dict(desc='what made the mask')
    refusal = traits.Str(desc='why neither is believed; empty where one is')


class WeighMasks(SimpleInterface):
    """Prefer the mask that was found in an image, or that of the reference.

    What is refused is an output too, so that it can be shown; `ChooseMask` stops it.
    """

    input_spec = _WeighMasksInputSpec
    output_spec = _WeighMasksOutputSpec

    def _run_interface(self, runtime):
        import json

        from nipype.interfaces.base import isdefined

        from mriprep.extractors.verdicts import choose_mask
        from mriprep.files import write_json

        def read(name):
            return json.loads(Path(name).read_text(encoding='utf-8')) if isdefined(name) else None

        seen = read(self.inputs.in_verdict), read(self.inputs.in_registered)
        self._results['refusal'] = ''
        try:
            chosen = choose_mask(*seen, force=self.inputs.force)
        except ValueError as exc:
            self._results['refusal'] = str(exc)
            chosen = choose_mask(*seen, force=True)
        own = self.inputs.own_metadata if isdefined(self.inputs.own_metadata) else {}
        if chosen.own:
            self._results['out_mask'] = self.inputs.in_own
            if isdefined(self.inputs.in_probability):
                self._results['out_probability'] = self.inputs.in_probability
            self._results['metadata'] = own
        else:
            self._results['out_mask'] = self.inputs.in_carried
            if isdefined(self.inputs.in_own):
                self._results['out_rival'] = self.inputs.in_own
            self._results['metadata'] = {'Extractor': 'reference', 'Remarks': [chosen.reason]}
        out_metrics = Path(runtime.cwd) / 'metrics.json'
        write_json(chosen.record, out_metrics)
        self._results['out_metrics'] = str(out_metrics)
        return runtime


class _ChooseMaskInputSpec(BaseInterfaceInputSpec):
    in_mask = File(exists=True, mandatory=True, desc='brain mask')
    in_probability = File(exists=True, desc='probability of brain')
    metadata = traits.Dict(desc='what made the mask')
    refusal = traits.Str(mandatory=True, desc='why it is not believed; empty where it is')


class _ChooseMaskOutputSpec(TraitedSpec):
    out_mask = File(desc='the mask')
    out_probability = File(desc='the probability')
    metadata = traits.Dict(desc='what made the mask')


class ChooseMask(SimpleInterface):
    """Hand on the mask that `WeighMasks` prefers, unless it is refused."""

    input_spec = _ChooseMaskInputSpec
    output_spec = _ChooseMaskOutputSpec

    def _run_interface(self, runtime):
        from nipype.interfaces.base import isdefined

        if self.inputs.refusal:
            raise ValueError(self.inputs.refusal)
        for name, value in (
            ('out_mask', self.inputs.in_mask),
            ('out_probability', self.inputs.in_probability),
            ('metadata', self.inputs.metadata),
        ):
            if isdefined(value):
                self._results[name] = value
        return runtime


class _JoinInputSpec(BaseInterfaceInputSpec):
    in_files = InputMultiPath(
        File(exists=True), mandatory=True, desc='ITK transforms, in the order that a point passes'
    )


class _JoinOutputSpec(TraitedSpec):
    out_file = File(desc='composite ITK transform, .h5')


class JoinTransforms(SimpleInterface):
    """Write several transforms as one, so that one interpolation goes through all of them."""

    input_spec = _JoinInputSpec
    output_spec = _JoinOutputSpec

    def _run_interface(self, runtime):
        from mriprep.transforms import join_transforms

        out_file = Path(runtime.cwd) / 'joined.h5'
        join_transforms([Path(name) for name in self.inputs.in_files], out_file)
        self._results['out_file'] = str(out_file)
        return runtime


class _TakeLinearInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='linear ITK transform of another tool')


class _TakeLinearOutputSpec(TraitedSpec):
    out_file = File(desc='the same as text')


class TakeLinear(SimpleInterface):
    """Write a linear transform that the user has, .txt or .h5, as text."""

    input_spec = _TakeLinearInputSpec
    output_spec = _TakeLinearOutputSpec

    def _run_interface(self, runtime):
        from mriprep.itk import write_linear_text
        from mriprep.transforms import linear_matrix

        path = Path(self.inputs.in_file)
        try:
            matrix = linear_matrix(path)
        except ValueError as exc:
            raise ValueError(
                f'{path.name}: {exc}; give a linear transform between contrasts'
            ) from None
        out_file = Path(runtime.cwd) / 'linear.txt'
        write_linear_text(matrix, out_file)
        self._results['out_file'] = str(out_file)
        return runtime


class _TakeGivenInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='image or mask of another tool')
    in_like = File(exists=True, mandatory=True, desc='image whose voxels it must have, RAS axes')
    is_mask = traits.Bool(False, usedefault=True, desc='whether it is a mask')


class _TakeGivenOutputSpec(TraitedSpec):
    out_file = File(desc='the same with RAS axes')
    metadata = traits.Dict(desc='what was measured, for the sidecar')


class TakeGiven(SimpleInterface):
    """Bring a file that the user has onto the axes of the image that it belongs to."""

    input_spec = _TakeGivenInputSpec
    output_spec = _TakeGivenOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.images import load, load_given, write_like

        like = load(self.inputs.in_like)
        volume = load_given(like, self.inputs.in_file)
        out_file = Path(runtime.cwd) / 'given.nii'
        if self.inputs.is_mask:
            volume = (volume > 0.5).astype(np.uint8)
            voxel_ml = abs(float(np.linalg.det(like.affine[:3, :3]))) / 1000
            self._results['metadata'] = {'VolumeMl': round(float(volume.sum()) * voxel_ml, 3)}
        write_like(like, volume, out_file)
        self._results['out_file'] = str(out_file)
        return runtime


class _VolumeInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='mask')


class _VolumeOutputSpec(TraitedSpec):
    metadata = traits.Dict(desc='its volume, for the sidecar')


class MaskVolume(SimpleInterface):
    """Measure the volume of a mask."""

    input_spec = _VolumeInputSpec
    output_spec = _VolumeOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.images import load

        mask = load(self.inputs.in_file)
        voxel_ml = abs(float(np.linalg.det(mask.affine[:3, :3]))) / 1000
        voxels = np.count_nonzero(np.asanyarray(mask.dataobj))
        self._results['metadata'] = {'VolumeMl': round(voxels * voxel_ml, 3)}
        return runtime
