"""The main job as a script: the same tools in the same order, no Nipype, no checks, no resume.

python benchmarks/handwritten.py T1W.nii.gz OUT_DIR
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nb
import numpy as np

from mriprep.bias import lattice_around, spread
from mriprep.extractors.base import LoadOptions
from mriprep.extractors.deepbet import EXTRACTOR
from mriprep.figures import bias_field, histograms, mask_contour, template_overlay
from mriprep.images import load, write_image
from mriprep.intensity import apply_mask, zscore, zscore_parameters
from mriprep.masks import binarize_brain, bounding_box
from mriprep.report import write_subject_report
from mriprep.resampling import coarsen
from mriprep.settings import EMBEDDED_SPACE, Settings
from mriprep.svg import save_svg
from mriprep.templates import find_template
from mriprep.tools import activate
from mriprep.workflows.template import register_interface


def run(*words: str) -> None:
    """Run a program in silence."""
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def main(t1w: Path, out_dir: Path, threads: int) -> None:
    """Prepare one head."""
    settings = Settings()
    activate(settings.ants)
    os.environ['ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS'] = str(threads)
    work = Path(tempfile.mkdtemp())
    figures = out_dir / 'sub-x' / 'figures'
    figures.mkdir(parents=True)
    template = find_template(EMBEDDED_SPACE, work)

    head = nb.as_closest_canonical(load(t1w))
    affine, raw = head.affine, head.get_fdata(dtype=np.float32)
    probability = EXTRACTOR.load(LoadOptions())(raw, affine, n_threads=threads).values
    mask = binarize_brain(probability, 0.5)

    lattice = lattice_around(mask, head.header.get_zooms()[:3], settings.bias.fit_voxel_mm)
    coarse = lattice.affine(affine)
    write_image(raw[lattice.slices], coarse, work / 'samples.nii', dtype='float32', space_code=1)
    write_image(mask[lattice.slices], coarse, work / 'fit.nii', dtype='uint8', space_code=1)
    iterations = 'x'.join(map(str, settings.bias.iterations))
    run(
        'N4BiasFieldCorrection', '-d', '3', '-s', '1', '-i', str(work / 'samples.nii'),
        '-x', str(work / 'fit.nii'), '-c', f'[{iterations},{settings.bias.convergence}]',
        '-b', f'[{settings.bias.spline_distance_mm}]',
        '-o', f'[{work / "c.nii"},{work / "field.nii"}]',
    )  # fmt: skip
    samples = load(work / 'field.nii').get_fdata(dtype=np.float32)
    field = spread(np.log(samples), lattice, raw.shape)
    preproc = raw * np.exp(field[mask].mean() - field)
    brain = apply_mask(preproc, mask)
    save(out_dir, 'desc-preproc_T1w', preproc, affine)
    save(out_dir, 'desc-brain_mask', mask, affine)
    save(out_dir, 'desc-brain_T1w', brain, affine)
    save(out_dir, 'desc-brain_probseg', np.round(probability, 3), affine)

    crop(brain, mask, affine, work / 'moving.nii')
    target = load(template.t1w)
    target_mask = np.asanyarray(load(template.brain_mask).dataobj) > 0
    crop(target.get_fdata(dtype=np.float32), target_mask, target.affine, work / 'fixed.nii')
    register = register_interface(settings.registration, random_seed=settings.random_seed)
    register.inputs.fixed_image = [str(work / 'fixed.nii')]
    register.inputs.moving_image = [str(work / 'moving.nii')]
    register.inputs.output_transform_prefix = str(work / 'xfm_')
    subprocess.run(register.cmdline, shell=True, check=True, stdout=subprocess.DEVNULL)
    for source, name, kind in (
        ('desc-preproc_T1w', 'head.nii', settings.registration.interpolation.value),
        ('desc-brain_mask', 'mask.nii', 'GenericLabel'),
    ):
        run(
            'antsApplyTransforms', '-d', '3', '--float', '1', '-n', kind,
            '-i', str(out_dir / f'{source}.nii.gz'), '-r', str(template.reference),
            '-t', str(work / 'xfm_Composite.h5'), '-o', str(work / name),
        )  # fmt: skip
    std = load(work / 'head.nii').get_fdata(dtype=np.float32)
    std_mask = np.asanyarray(load(work / 'mask.nii').dataobj) > 0.5
    save(out_dir, 'space-tpl_desc-preproc_T1w', std, target.affine)
    save(out_dir, 'space-tpl_desc-brain_mask', std_mask, target.affine)
    save(out_dir, 'space-tpl_desc-brain_T1w', apply_mask(std, std_mask), target.affine)
    scaled = zscore(std, zscore_parameters(std, std_mask))
    save(out_dir, 'space-tpl_desc-zscore_T1w', scaled, target.affine)

    template_t1w = target.get_fdata(dtype=np.float32)
    for name, figure in (
        ('desc-brain', mask_contour(preproc, affine, mask)),
        ('desc-bias', bias_field(raw, preproc, mask, affine)),
        ('desc-histogram', histograms(raw, preproc, None, mask)),
        (
            'space-tpl_desc-registration',
            template_overlay(std, template_t1w, target_mask, target.affine),
        ),
    ):
        save_svg(figure, figures / f'sub-x_{name}_T1w.svg')
    write_subject_report(
        out_dir, 'x', 'run', summary={}, methods='', errors=[], versions={}, command='', times={}
    )


def save(out_dir: Path, name: str, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a derivative."""
    dtype = 'uint8' if array.dtype == bool else 'float32'
    write_image(array, affine, out_dir / f'{name}.nii.gz', dtype=dtype, space_code=1)


def crop(volume: np.ndarray, mask: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Write the box around a brain."""
    box = bounding_box(mask, 5)
    own = affine.copy()
    own[:3, 3] = affine[:3] @ [*(part.start for part in box), 1]
    brain, own = coarsen(apply_mask(volume[box], mask[box]), own, Settings().registration.voxel_mm)
    write_image(brain, own, path, dtype='float32', space_code=1)


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]), threads=len(os.sched_getaffinity(0)))
