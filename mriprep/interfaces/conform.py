"""Bring a scan into the form that all further steps expect."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

_SCANNER = 1  # NIfTI code of qform and sform


class _ConformInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='scan, NIfTI or MGH, any orientation')
    check_head = traits.Bool(True, usedefault=True, desc='refuse what can not be a head')


class _ConformOutputSpec(TraitedSpec):
    out_file = File(desc='scan in RAS order, float32, qform equal to sform, uncompressed')
    out_audit = File(desc='JSON: found, changes, warnings, and the original grid')
    metadata = traits.Dict(desc='changes and warnings, for sidecars')


class Conform(SimpleInterface):
    """Audit the header of a scan and reorder it to RAS, without interpolation.

    A scan that can't be used raises a `ValueError` of one plain line:
    ``file name: what is wrong; what to do``.
    """

    input_spec = _ConformInputSpec
    output_spec = _ConformOutputSpec

    def _run_interface(self, runtime):
        from mriprep.files import write_json
        from mriprep.geometry import GeometryError, check_places, conform
        from mriprep.heads import why_not_a_head
        from mriprep.images import load, write_image

        in_file = Path(self.inputs.in_file)
        out_file = Path(runtime.cwd) / 'conformed.nii'
        image = load(in_file)
        facts = _header_facts(image)
        try:
            if (kind := image.get_data_dtype()).kind not in 'iuf':
                raise GeometryError(
                    f'voxels hold {kind}, not one real number each; '
                    'store magnitudes as integers or floats'
                )
            volume = _voxels(image)
            conformed = conform(volume, facts)
            if self.inputs.check_head and (
                reason := why_not_a_head(conformed.volume, conformed.affine)
            ):
                raise GeometryError(reason)
            write_image(
                conformed.volume, conformed.affine, out_file, dtype='float32', space_code=_SCANNER
            )
            # what is on the disk is compared, not what was meant to be written
            check_places(
                volume.reshape(volume.shape[:3]), conformed.audit.affine, *_mapped(out_file)
            )
        except GeometryError as error:
            raise ValueError(f'{in_file.name}: {error}') from None

        out_audit = Path(runtime.cwd) / 'audit.json'
        write_json(_audit_record(conformed.audit, facts), out_audit)
        self._results['out_file'] = str(out_file)
        self._results['out_audit'] = str(out_audit)
        self._results['metadata'] = {
            'HeaderChanges': list(conformed.audit.changes),
            'HeaderWarnings': list(conformed.audit.warnings),
        }
        return runtime


def _voxels(image):
    """Voxels with slope and intercept applied; float64 only where float32 is too small."""
    import numpy as np

    with np.errstate(over='ignore'):
        values = np.asanyarray(image.dataobj, dtype=np.float32)
    return np.asanyarray(image.dataobj, dtype=np.float64) if np.isinf(values).any() else values


def _mapped(path):
    """Voxels of an uncompressed image, not read before they are looked at, and its affine."""
    import nibabel as nb
    import numpy as np

    image = nb.load(path)
    return np.asanyarray(image.dataobj), image.affine


def _header_facts(image):
    """Read what the audit needs from an image."""
    from mriprep.geometry import HeaderFacts
    from mriprep.images import stored_header

    stored, header = stored_header(image), image.header
    return HeaderFacts(
        shape=image.shape,
        zooms=tuple(float(zoom) for zoom in stored['pixdim'][1 : min(image.ndim, 3) + 1]),
        qform=header.get_qform(),
        qform_code=int(stored['qform_code']),
        sform=header.get_sform(),
        sform_code=int(stored['sform_code']),
        dtype=str(image.get_data_dtype().newbyteorder('=')),
        slope=float(getattr(image.dataobj, 'slope', 1)),  # nibabel blanks those of the header
        intercept=float(getattr(image.dataobj, 'inter', 0)),
        unit=header.get_xyzt_units()[0],
        qfac=float(stored['pixdim'][0]),
        quaternion_square=sum(float(stored[f'quatern_{part}']) ** 2 for part in 'bcd'),
    )


def _audit_record(audit, facts):
    """Put an audit into words and numbers that JSON holds."""
    from mriprep.geometry import orientation

    return {
        'found': list(audit.found),
        'changes': list(audit.changes),
        'warnings': list(audit.warnings),
        'original': {
            'shape': [int(n) for n in facts.shape[:3]],
            'affine': audit.affine.tolist(),
            'orientation': orientation(audit.affine),
        },
    }
