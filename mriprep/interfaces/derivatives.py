"""Write derivatives: whole or not at all, each with its sidecar."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Directory,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class _SaveInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, desc='file to save')
    optional = traits.Bool(False, usedefault=True, desc='whether there may be no file')
    base_directory = Directory(mandatory=True, desc='output folder')
    path = traits.Str(mandatory=True, desc='path below the output folder')
    dtype = traits.Enum(None, 'float32', 'uint8', usedefault=True, desc='voxels; None: a copy')
    space_code = traits.Enum(1, 4, usedefault=True, desc='NIfTI qform and sform code')
    metadata = traits.Dict(desc='sidecar, known before the run')
    measured = traits.Dict(desc='sidecar, known after the step')


class _SaveOutputSpec(TraitedSpec):
    out_file = File(desc='the saved file')


class SaveDerivative(SimpleInterface):
    """Save a file below the output folder under its BIDS name."""

    input_spec = _SaveInputSpec
    output_spec = _SaveOutputSpec
    # the output folder is not Nipype's: a file deleted there must come back
    _always_run = True

    def _run_interface(self, runtime):
        from nipype.interfaces.base import isdefined

        from mriprep.files import copy_whole, write_json
        from mriprep.itk import copy_transform
        from mriprep.naming import sidecar_path

        path = PurePosixPath(self.inputs.path)
        if not isdefined(self.inputs.in_file):
            if self.inputs.optional:
                return runtime
            raise ValueError(f'{path.name}: the step before gave no file; see its log')
        base = Path(self.inputs.base_directory)
        out_file = base / path
        out_file.parent.mkdir(parents=True, exist_ok=True)
        sidecar = {}
        for part in (self.inputs.metadata, self.inputs.measured):
            sidecar |= part if isdefined(part) else {}
        # the sidecar first: an image that stands there is always described
        if sidecar and path.suffix != '.json':
            write_json(sidecar, base / sidecar_path(path))
        if path.suffix == '.h5':
            copy_transform(Path(self.inputs.in_file), out_file)
        elif self.inputs.dtype is None:
            copy_whole(Path(self.inputs.in_file), out_file)
        else:
            self._save_image(out_file)
        self._results['out_file'] = str(out_file)
        return runtime

    def _save_image(self, out_file: Path) -> None:
        import numpy as np

        from mriprep.images import load, write_image

        image = load(self.inputs.in_file)
        write_image(
            np.asanyarray(image.dataobj),
            image.affine,
            out_file,
            dtype=self.inputs.dtype,
            space_code=self.inputs.space_code,
        )


class _StampInputSpec(BaseInterfaceInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, desc='everything that was saved')
    base_directory = Directory(mandatory=True, desc='output folder')
    path = traits.Str(mandatory=True, desc='path of the stamp below the output folder')
    fingerprint = traits.Str(mandatory=True, desc='identity of input, settings and version')


class _StampOutputSpec(TraitedSpec):
    out_file = File(desc='the stamp')


class Stamp(SimpleInterface):
    """Record that a session is finished, with what was written and from what."""

    input_spec = _StampInputSpec
    output_spec = _StampOutputSpec
    _always_run = True

    def _run_interface(self, runtime):
        from mriprep.files import write_json
        from mriprep.naming import sidecar_path

        base = Path(self.inputs.base_directory)
        sizes = {}
        for name in map(Path, self.inputs.in_files):
            sidecar = sidecar_path(name)
            for path in (name, sidecar) if sidecar.exists() else (name,):
                sizes[path.relative_to(base).as_posix()] = path.stat().st_size
        out_file = base / self.inputs.path
        out_file.parent.mkdir(parents=True, exist_ok=True)
        write_json({'Fingerprint': self.inputs.fingerprint, 'Files': sizes}, out_file)
        self._results['out_file'] = str(out_file)
        return runtime
