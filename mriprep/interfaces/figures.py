"""Reportlets: thin Nipype interfaces around `mriprep.figures` and `mriprep.tables`.

Nothing but the report depends on their outputs.
"""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class _ReportletOutputSpec(TraitedSpec):
    out_report = File(exists=True, desc='SVG picture or HTML fragment')


class _MaskFigureInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='3D image, RAS axes')
    in_mask = File(exists=True, mandatory=True, desc='brain mask on the same grid')
    in_rival = File(exists=True, desc='mask that it is compared with')
    in_verdict = File(exists=True, desc='JSON: what the guard says')


class MaskFigure(SimpleInterface):
    """Draw the contour of a brain mask over its image, and that of its rival if there is one."""

    input_spec = _MaskFigureInputSpec
    output_spec = _ReportletOutputSpec

    def _run_interface(self, runtime):
        from nipype.interfaces.base import isdefined

        from mriprep.figures import mask_contour
        from mriprep.tables import verdict_words, warning_words

        names = [self.inputs.in_file]
        if isdefined(self.inputs.in_rival):
            names.append(self.inputs.in_rival)
        volumes, mask, affine = _on_one_grid(names, self.inputs.in_mask)
        rival = volumes[1] > 0.5 if len(volumes) == 2 else None
        verdict = _read_json(self.inputs.in_verdict) if isdefined(self.inputs.in_verdict) else {}
        figure = mask_contour(
            volumes[0],
            affine,
            mask,
            rival=rival,
            remark=verdict_words(verdict),
            warning=warning_words(verdict),
        )
        self._results['out_report'] = _svg(figure, runtime, 'brain')
        return runtime


class _GuardTableInputSpec(BaseInterfaceInputSpec):
    in_verdict = File(exists=True, mandatory=True, desc='JSON: what the guard says')


class GuardTable(SimpleInterface):
    """Tell what the guard of the mask measured, and what it says."""

    input_spec = _GuardTableInputSpec
    output_spec = _ReportletOutputSpec

    def _run_interface(self, runtime):
        from mriprep.tables import guard_html

        verdict = _read_json(self.inputs.in_verdict)
        self._results['out_report'] = _html(guard_html(verdict), runtime, 'guard')
        return runtime


class _CoregistrationTableInputSpec(BaseInterfaceInputSpec):
    in_verdict = File(exists=True, mandatory=True, desc='JSON: status and checks')


class CoregistrationTable(SimpleInterface):
    """Tell what the guard of a co-registration measured, and what it says."""

    input_spec = _CoregistrationTableInputSpec
    output_spec = _ReportletOutputSpec

    def _run_interface(self, runtime):
        from mriprep.tables import checks_html

        html = checks_html(_read_json(self.inputs.in_verdict), 'The co-registration')
        self._results['out_report'] = _html(html, runtime, 'coregguard')
        return runtime


class _BiasFigureInputSpec(BaseInterfaceInputSpec):
    in_before = File(exists=True, mandatory=True, desc='image before N4, RAS axes')
    in_after = File(exists=True, mandatory=True, desc='image after N4, on the same grid')
    in_mask = File(exists=True, mandatory=True, desc='brain mask on the same grid')


class BiasFigure(SimpleInterface):
    """Draw an image before and after N4, and the field."""

    input_spec = _BiasFigureInputSpec
    output_spec = _ReportletOutputSpec

    def _run_interface(self, runtime):
        from mriprep.figures import bias_field

        (before, after), mask, affine = _on_one_grid(
            [self.inputs.in_before, self.inputs.in_after], self.inputs.in_mask
        )
        self._results['out_report'] = _svg(
            bias_field(before, after, mask, affine), runtime, 'bias'
        )
        return runtime


class _OverlayFigureInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='registered image, in template space')
    in_template = File(exists=True, mandatory=True, desc='template, on any grid')
    in_mask = File(exists=True, mandatory=True, desc='brain mask of the template')
    file_name = traits.Str('registered image', usedefault=True, desc='title of the image')
    template_name = traits.Str('template', usedefault=True, desc='title of the template')


class OverlayFigure(SimpleInterface):
    """Draw a registered image and its template, to be shown in turns."""

    input_spec = _OverlayFigureInputSpec
    output_spec = _ReportletOutputSpec

    def _run_interface(self, runtime):
        from mriprep.figures import template_overlay

        subject, affine = _read_ras(self.inputs.in_file)
        template, mask = (
            _onto(name, affine, subject.shape)
            for name in (self.inputs.in_template, self.inputs.in_mask)
        )
        mask = mask > 0.5
        names = (self.inputs.file_name, self.inputs.template_name)
        figure = template_overlay(subject, template, mask, affine, names=names)
        self._results['out_report'] = _svg(figure, runtime, 'registration')
        return runtime


class _CoregistrationFigureInputSpec(BaseInterfaceInputSpec):
    in_file = File(
        exists=True, mandatory=True, desc='other contrast, in the space of the reference; any grid'
    )
    in_transform = File(
        exists=True,
        desc='linear ITK transform that resamples it onto the reference; none: at rest',
    )
    in_reference = File(exists=True, mandatory=True, desc='reference, RAS axes')
    in_mask = File(exists=True, mandatory=True, desc='brain mask on the grid of the reference')
    in_verdict = File(exists=True, desc='JSON: what the guard says')
    file_name = traits.Str('other contrast', usedefault=True, desc='title of the other contrast')
    reference_name = traits.Str('reference', usedefault=True, desc='title of the reference')


class CoregistrationFigure(SimpleInterface):
    """Draw another contrast and the reference, to be shown in turns."""

    input_spec = _CoregistrationFigureInputSpec
    output_spec = _ReportletOutputSpec

    def _run_interface(self, runtime):
        from nipype.interfaces.base import isdefined

        from mriprep.figures import coregistration_overlay
        from mriprep.tables import warning_words
        from mriprep.transforms import linear_matrix

        (reference,), mask, affine = _on_one_grid([self.inputs.in_reference], self.inputs.in_mask)
        there = None
        if isdefined(self.inputs.in_transform):
            there = linear_matrix(Path(self.inputs.in_transform))
        other = _onto(self.inputs.in_file, affine, mask.shape, there)
        verdict = _read_json(self.inputs.in_verdict) if isdefined(self.inputs.in_verdict) else {}
        figure = coregistration_overlay(
            other,
            reference,
            mask,
            affine,
            names=(self.inputs.file_name, self.inputs.reference_name),
            warning=warning_words(verdict, 'The co-registration'),
        )
        self._results['out_report'] = _svg(figure, runtime, 'coregistration')
        return runtime


class _LesionFigureInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='3D image')
    in_mask = File(exists=True, mandatory=True, desc='brain mask on the same grid')
    in_lesion = File(exists=True, mandatory=True, desc='lesion mask on the same grid')


class LesionFigure(SimpleInterface):
    """Draw the contour of a lesion mask over an image, where the lesion is."""

    input_spec = _LesionFigureInputSpec
    output_spec = _ReportletOutputSpec

    def _run_interface(self, runtime):
        from mriprep.figures import lesion_contour

        (image, lesion), mask, affine = _on_one_grid(
            [self.inputs.in_file, self.inputs.in_lesion], self.inputs.in_mask
        )
        figure = lesion_contour(image, affine, mask, lesion > 0.5)
        self._results['out_report'] = _svg(figure, runtime, 'lesion')
        return runtime


class _HistogramFigureInputSpec(_BiasFigureInputSpec):
    in_zscore = File(exists=True, desc='image after z-scoring, on the same grid')


class HistogramFigure(SimpleInterface):
    """Draw histograms before and after N4 and after z-scoring."""

    input_spec = _HistogramFigureInputSpec
    output_spec = _ReportletOutputSpec

    def _run_interface(self, runtime):
        from nipype.interfaces.base import isdefined

        from mriprep.figures import histograms

        names = [self.inputs.in_before, self.inputs.in_after]
        if isdefined(self.inputs.in_zscore):
            names.append(self.inputs.in_zscore)
        volumes, mask, _ = _on_one_grid(names, self.inputs.in_mask)
        zscored = volumes[2] if len(volumes) == 3 else None
        figure = histograms(volumes[0], volumes[1], zscored, mask)
        self._results['out_report'] = _svg(figure, runtime, 'histogram')
        return runtime


class _AuditTableInputSpec(BaseInterfaceInputSpec):
    in_audit = File(exists=True, mandatory=True, desc='JSON object: found, changes, warnings')


class AuditTable(SimpleInterface):
    """Tell what the header of an image held and what was changed."""

    input_spec = _AuditTableInputSpec
    output_spec = _ReportletOutputSpec

    def _run_interface(self, runtime):
        from mriprep.tables import audit_html

        audit = _read_json(self.inputs.in_audit)
        self._results['out_report'] = _html(audit_html(audit), runtime, 'audit')
        return runtime


def _read_json(name):
    """Read what a step before wrote; raises `ValueError` when it is damaged."""
    import json

    path = Path(name)
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path.name}: not JSON ({error}); run the step before again') from None


def _read_ras(name):
    """Read an image as an (I, J, K) float32 array in RAS order, and its affine."""
    import nibabel as nb
    import numpy as np

    from mriprep.images import load

    image = nb.as_closest_canonical(load(name))
    return np.asarray(image.dataobj, dtype=np.float32), image.affine


def _onto(name, affine, shape, there=None):
    """Read an image and bring it, linearly, onto a grid; ``there`` leads from grid to image, mm."""
    import numpy as np
    from scipy import ndimage

    volume, own = _read_ras(name)
    if there is None:
        if volume.shape == shape and np.allclose(own, affine, atol=1e-3):
            return volume
        there = np.eye(4)
    # 'constant' would drop the outermost slices when they are missed by a rounding error
    return ndimage.affine_transform(
        volume,
        np.linalg.inv(own) @ there @ affine,
        output_shape=shape,
        order=1,
        mode='grid-constant',
    )


def _on_one_grid(names, mask_name):
    """Read images and a mask as (I, J, K) arrays, with the affine of the mask's file.

    Images come in RAS order whatever the files have. Raises `ValueError` when grids differ.
    """
    import numpy as np

    mask, mask_affine = _read_ras(mask_name)
    volumes = []
    for name in names:
        volume, affine = _read_ras(name)
        if volume.shape != mask.shape or not np.allclose(affine, mask_affine, atol=1e-3):
            raise ValueError(
                f'{Path(name).name} and {Path(mask_name).name} lie on different grids '
                f'({volume.shape} and {mask.shape} voxels); resample one of them first'
            )
        volumes.append(volume)
    return volumes, mask > 0.5, mask_affine


def _svg(figure, runtime, name):
    from mriprep.svg import save_svg

    return str(save_svg(figure, Path(runtime.cwd) / f'{name}.svg'))


def _html(text, runtime, name):
    path = Path(runtime.cwd) / f'{name}.html'
    path.write_text(text, encoding='utf-8')
    return str(path)
