"""Co-registration of another contrast to the reference of its session."""

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


class _CoregisterInputSpec(BaseInterfaceInputSpec):
    in_reference = File(exists=True, mandatory=True, desc='head or brain, RAS axes')
    in_reference_mask = File(exists=True, mandatory=True, desc='its brain mask, on the same grid')
    in_file = File(exists=True, mandatory=True, desc='other contrast of the same head, RAS axes')
    in_mask = File(exists=True, desc='its own brain mask, on its grid; may be wrong')


class _CoregisterOutputSpec(TraitedSpec):
    forward = File(desc='ITK transform, .txt, rigid, that resamples in_file onto the reference')
    inverse = File(desc='the way back')
    out_verdict = File(desc='JSON: what the guard says')
    metadata = traits.Dict(desc='what was done, for a sidecar')


class Coregister(SimpleInterface):
    """Register another contrast rigidly to the reference, and judge the pose.

    A pose that is refused is an output too, so that it can be shown.
    """

    input_spec = _CoregisterInputSpec
    output_spec = _CoregisterOutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from mriprep.coregistration import coregister
        from mriprep.files import write_json
        from mriprep.images import load, load_mask_on
        from mriprep.itk import write_linear_text

        reference, moving = load(self.inputs.in_reference), load(self.inputs.in_file)
        own = self.inputs.in_mask
        found = coregister(
            reference.get_fdata(dtype=np.float32),
            reference.affine,
            load_mask_on(reference, self.inputs.in_reference_mask),
            moving.get_fdata(dtype=np.float32),
            moving.affine,
            load_mask_on(moving, own) if isdefined(own) else None,
        )
        for name, matrix in (('forward', found.matrix), ('inverse', np.linalg.inv(found.matrix))):
            path = Path(runtime.cwd) / f'{name}.txt'
            write_linear_text(matrix, path)
            self._results[name] = str(path)
        verdict = Path(runtime.cwd) / 'verdict.json'
        write_json(found.record(), verdict)
        self._results['out_verdict'] = str(verdict)
        self._results['metadata'] = found.metadata()
        return runtime
