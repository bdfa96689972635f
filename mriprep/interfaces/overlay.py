"""Whether what was resampled lies where its saved transform says."""

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


class _OverlayInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='source, on its own grid')
    in_mask = File(exists=True, mandatory=True, desc='brain mask on that grid')
    in_output = File(exists=True, mandatory=True, desc='the source, resampled')
    in_transform = InputMultiPath(
        File(exists=True), mandatory=True,
        desc='what takes points of the source to the output, as ITK files (.h5, .txt), the first '
        'first: for an output in template space, the saved transform from the template',
    )  # fmt: skip
    invert = traits.List(
        traits.Bool(), desc='which of the transforms are taken backwards; linear ones only'
    )


class _OverlayOutputSpec(TraitedSpec):
    correlation = traits.Float(desc='of brain voxels with the output; 1 is perfect')
    metadata = traits.Dict(desc='for the sidecar')
    out_verdict = File(desc='JSON: status, checks and reasons, as of other guards')


class OverlayCheck(SimpleInterface):
    """Correlate the brain of an image with an output, through the transform that was saved.

    A transform of the wrong direction, a mirrored image, or an output of another head is seen.
    """

    input_spec = _OverlayInputSpec
    output_spec = _OverlayOutputSpec

    def _run_interface(self, runtime):
        import numpy as np
        from nipype.interfaces.base import isdefined

        from mriprep.files import write_json
        from mriprep.images import load, load_mask_on
        from mriprep.overlay import RULE, correlation, point_map

        image, output = load(self.inputs.in_file), load(self.inputs.in_output)
        found = correlation(
            image.get_fdata(dtype=np.float32),
            image.affine,
            load_mask_on(image, self.inputs.in_mask),
            output.get_fdata(dtype=np.float32),
            output.affine,
            point_map(
                *map(Path, self.inputs.in_transform),
                invert=self.inputs.invert if isdefined(self.inputs.invert) else (),
            ),
        )
        check = RULE.judged(found)
        out_verdict = Path(runtime.cwd) / 'overlay.json'
        verdict = {
            'status': check.status.value,
            'checks': [check.record()],
            'reasons': [check.words] if check.words else [],
        }
        write_json(verdict, out_verdict)
        self._results['correlation'] = found
        told = {'OverlayDoubt': check.words} if check.words else {}
        self._results['metadata'] = {'OverlayCorrelation': round(found, 4), **told}
        self._results['out_verdict'] = str(out_verdict)
        return runtime
