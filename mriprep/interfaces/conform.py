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
    in_file = File(exists=True, mandatory=True, desc='scan, NIfTI, any orientation')
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
        import numpy as np

        from mriprep.files import write_json
        from mriprep.geometry import GeometryError, conform
        from mriprep.heads import why_not_a_head
        from mriprep.images import load, write_image

        in_file = Path(self.inputs.in_file)
        image = load(in_file)
        facts = _header_facts(image)
        try:
            if (kind := image.get_data_dtype()).kind not in 'iuf':
                raise GeometryError(
                    f'voxels hold {kind}, not one real number each; '
                    'store magnitudes as integers or floats'
                )
            conformed = conform(np.asanyarray(image.dataobj, dtype=np.float32), facts)
            if self.inputs.check_head and (
                reason := why_not_a_head(conformed.volume, conformed.affine)
            ):
                raise GeometryError(reason)
        except GeometryError as error:
            raise ValueError(f'{in_file.name}: {error}') from None

        out_file = Path(runtime.cwd) / 'conformed.nii'
        write_image(
            conformed.volume, conformed.affine, out_file, dtype='float32', space_code=_SCANNER
        )
        out_audit = Path(runtime.cwd) / 'audit.json'
        write_json(_audit_record(conformed.audit, facts), out_audit)
        self._results['out_file'] = str(out_file)
        self._results['out_audit'] = str(out_audit)
        self._results['metadata'] = {
            'HeaderChanges': list(conformed.audit.changes),
            'HeaderWarnings': list(conformed.audit.warnings),
        }
        return runtime


def _header_facts(image):
    """Read what the audit needs from a nibabel image."""
    from nibabel.spatialimages import HeaderDataError

    from mriprep.geometry import HeaderFacts

    header = image.header
    try:
        qform = header.get_qform()
    except (ValueError, HeaderDataError):  # no unit quaternion
        qform = None
    return HeaderFacts(
        shape=image.shape,
        zooms=tuple(float(zoom) for zoom in header.get_zooms()[:3]),
        qform=qform,
        qform_code=int(header['qform_code']),
        sform=header.get_sform(),
        sform_code=int(header['sform_code']),
        dtype=str(image.get_data_dtype().newbyteorder('=')),
        slope=float(image.dataobj.slope),  # nibabel blanks those of the header
        intercept=float(image.dataobj.inter),
        unit=header.get_xyzt_units()[0],
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
