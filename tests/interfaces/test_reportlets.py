"""Report interfaces on an anisotropic LAS image: one file in the working folder, nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from PIL import Image

from mriprep.interfaces.figures import (
    AuditTable,
    BiasFigure,
    CoregistrationFigure,
    CoregistrationTable,
    GuardTable,
    HistogramFigure,
    LesionFigure,
    MaskFigure,
    OverlayFigure,
)
from mriprep.itk import write_linear

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -30], [0, 0, 3, -20], [0, 0, 0, 1]])


@pytest.fixture
def files(make_nifti):
    """Names of an image, a mask and a z-scored image on one LAS grid."""
    volume = np.random.default_rng(5).normal(20, 2, (20, 24, 16)).astype(np.float32)
    mask = np.zeros(volume.shape, bool)
    mask[4:16, 5:20, 3:13] = True
    volume[mask] += 60
    zscored = (volume - volume[mask].mean()) / volume[mask].std()
    return {
        'image': make_nifti('image.nii.gz', volume, AFFINE),
        'mask': make_nifti('mask.nii.gz', mask, AFFINE),
        'zscore': make_nifti('zscore.nii.gz', zscored, AFFINE),
    }


def _cases(files):
    image, mask = files['image'], files['mask']
    yield MaskFigure(in_file=image, in_mask=mask), 'Brain mask'
    yield BiasFigure(in_before=image, in_after=image, in_mask=mask), 'after N4'
    yield (
        OverlayFigure(in_file=image, in_template=image, in_mask=mask, template_name='TPL+3'),
        'TPL+3',
    )
    yield HistogramFigure(in_before=image, in_after=image, in_mask=mask), 'arbitrary units'
    yield (
        HistogramFigure(in_before=image, in_after=image, in_mask=mask, in_zscore=files['zscore']),
        'After z-scoring: mean 0.00, deviation 1.00',
    )
    yield LesionFigure(in_file=image, in_mask=mask, in_lesion=mask), 'Red: lesion, 16.2 ml.'
    yield (
        CoregistrationFigure(in_file=image, in_reference=image, in_mask=mask, file_name='FLAIR'),
        'FLAIR and reference in turns',
    )


@pytest.mark.parametrize('case', range(7))
def test_figure_is_written_into_the_working_folder(files, tmp_path, monkeypatch, case):
    folder = tmp_path / 'node'
    folder.mkdir()
    monkeypatch.chdir(folder)
    interface, told = list(_cases(files))[case]
    report = Path(interface.run(cwd=str(folder)).outputs.out_report)
    assert [path.name for path in folder.iterdir()] == [report.name]
    assert report.suffix == '.svg'
    assert told in report.read_text()


def test_other_grids_are_named(files, make_nifti, tmp_path):
    other = make_nifti('other.nii.gz', np.ones((20, 24, 16), bool), np.diag([-2.0, 1.5, 3, 1]))
    with pytest.raises(ValueError, match=r'image\.nii\.gz and other\.nii\.gz'):
        MaskFigure(in_file=files['image'], in_mask=other).run(cwd=str(tmp_path))


def test_audit_is_told(tmp_path):
    path = tmp_path / 'audit.json'
    path.write_text(json.dumps({'found': ['axes point to LAS'], 'changes': ['to RAS']}))
    report = AuditTable(in_audit=path).run(cwd=str(tmp_path)).outputs.out_report
    assert report.endswith('.html')
    text = Path(report).read_text()
    assert 'LAS' in text
    assert 'to RAS' in text


def test_broken_audit_is_named(tmp_path):
    path = tmp_path / 'audit.json'
    path.write_text('{')
    with pytest.raises(ValueError, match=r'audit\.json: not JSON'):
        AuditTable(in_audit=path).run(cwd=str(tmp_path))


def test_overlay_takes_a_template_on_another_grid(make_nifti, tmp_path):
    rng = np.random.default_rng(5)
    brain = np.zeros((20, 24, 20), bool)
    brain[4:16, 4:20, 4:16] = True
    fine = rng.uniform(50, 100, brain.shape) * brain
    template = make_nifti('template.nii.gz', fine.astype(np.float32), np.diag([1.0, 1, 1, 1]))
    mask = make_nifti('mask.nii.gz', brain, np.diag([1.0, 1, 1, 1]))
    half = make_nifti(
        'half.nii.gz', fine[::2, ::2, ::2].astype(np.float32), np.diag([2.0, 2, 2, 1])
    )
    overlay = OverlayFigure(in_file=half, in_template=template, in_mask=mask)
    report = overlay.run(cwd=str(tmp_path)).outputs.out_report
    assert Path(report).read_text().rstrip().endswith('</svg>')


def test_the_other_contrast_may_lie_on_its_own_grid(files, make_nifti, tmp_path):
    thick = np.random.default_rng(6).uniform(0, 90, (14, 16, 9)).astype(np.float32)
    turned = np.array([[0.0, 3, 0, -12], [3, 0, 0, -30], [0, 0, 6, -22], [0, 0, 0, 1]])
    other = make_nifti('other.nii.gz', thick, turned)
    verdict = tmp_path / 'verdict.json'
    verdict.write_text(json.dumps({
        'status': 'doubtful',
        'checks': [{'name': 'overlap', 'status': 'doubtful', 'words': 'Masks overlap by 0.81.'}],
    }))  # fmt: skip
    drawn = CoregistrationFigure(
        in_file=other,
        in_reference=files['image'],
        in_mask=files['mask'],
        in_verdict=verdict,
        file_name='FLAIR',
        reference_name='T1w (reference)',
    )
    text = Path(drawn.run(cwd=str(tmp_path)).outputs.out_report).read_text()
    for told in ('>FLAIR<', '>T1w (reference)<', 'doubtful: look at it. Masks overlap by 0.81.'):
        assert told in text
    table = CoregistrationTable(in_verdict=verdict).run(cwd=str(tmp_path)).outputs.out_report
    assert Path(table).name == 'coregguard.html'
    assert 'The co-registration is doubtful' in Path(table).read_text()


def test_a_doubt_of_the_contrast_is_told_in_picture_and_table(files, tmp_path):
    verdict = tmp_path / 'verdict.json'
    verdict.write_text(
        json.dumps(
            {'mask_extractor': 'stripped', 'contrast_doubt': 'Fluid is dark, as in a FLAIR.'}
        )
    )
    picture = MaskFigure(in_file=files['image'], in_mask=files['mask'], in_verdict=verdict)
    text = Path(picture.run(cwd=str(tmp_path)).outputs.out_report).read_text()
    assert 'Fluid is dark, as in a FLAIR.' in text
    assert 'Already stripped: taken from the image.' in text
    table = GuardTable(in_verdict=verdict).run(cwd=str(tmp_path)).outputs.out_report
    assert 'Fluid is dark' in Path(table).read_text()


def test_the_transform_brings_the_other_contrast_onto_the_reference(files, make_nifti, tmp_path):
    turn = np.radians(10)
    moved = np.eye(4)
    moved[:3, 3] = 4, -7, 2
    moved[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    volume = np.asarray(nb.load(files['image']).dataobj)
    away = make_nifti('away.nii.gz', volume, moved @ AFFINE)
    write_linear(moved, tmp_path / 'xfm.h5')

    def drawn(**inputs):
        figure = CoregistrationFigure(in_reference=files['image'], in_mask=files['mask'], **inputs)
        text = Path(figure.run(cwd=str(tmp_path)).outputs.out_report).read_text()
        front = text[text.index('mriprep-front"') :]
        packed = re.search(r'base64,([^"]+)', front)[1]
        picture = Image.open(io.BytesIO(base64.b64decode(packed))).convert('L')
        return np.asarray(picture, dtype=float)

    still = drawn(in_file=files['image'])
    back = drawn(in_file=away, in_transform=tmp_path / 'xfm.h5')
    assert np.abs(back - still).mean() < 2
    assert np.abs(drawn(in_file=away) - still).mean() > 10
