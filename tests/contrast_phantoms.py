"""Phantoms of one head in several contrasts, sessions and runs, and where their truth lies.

The template's head is symmetric, so that it is deformed once. All scans of the result have one
size and no further deformation: the way from one scan to another is rigid and known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
from runs import quick

from mriprep.contrasts import Contrast
from mriprep.head_model import CE_T1W, FLAIR, T1W, T2W, Head
from mriprep.phantom import (
    Phantom,
    Scan,
    head_pose,
    image_bytes,
    load_head,
    make_phantom,
    write_bids,
)
from mriprep.templates import Template

TISSUES = {
    Contrast.T1W: T1W,
    Contrast.CE_T1W: CE_T1W,
    Contrast.T2W: T2W,
    Contrast.FLAIR: FLAIR,
}
PLAIN = Scan(seed=11, voxel_size_mm=(4, 4, 4), warp_mm=0, bias=0.15)
# thick slices in a box of its own, the head turned by 8 degrees about one axis and moved by 6 mm
THICK = replace(
    PLAIN,
    seed=12,
    bias=0.05,
    voxel_size_mm=(3, 3, 6),
    field_of_view_mm=(180, 225, 216),
    tilt_deg=(12.0, -6.0, 5.0),
    shift_mm=(7.0, -2.0, 10.0),
    oblique_deg=(9.0, -5.0, 3.0),
)
SAGITTAL = replace(
    PLAIN,
    seed=13,
    axes='PSR',
    voxel_size_mm=(3, 3, 5),
    field_of_view_mm=(231, 225, 190),
    tilt_deg=(1.0, -4.0, 9.0),
    shift_mm=(1.0, -9.0, 5.0),
    oblique_deg=(-6.0, 2.0, 8.0),
)
AGENT = replace(PLAIN, seed=14, axes='LAS', tilt_deg=(5.0, -6.0, 6.0), shift_mm=(4.0, -5.0, 8.0))


# the deformation; another seed is another person
PERSON = Scan(
    seed=21,
    voxel_size_mm=(3, 3, 3),
    field_of_view_mm=(210, 255, 255),
    tilt_deg=(0, 0, 0),
    shift_mm=(0, 0, 0),
    scale=(1, 1, 1),
    oblique_deg=(0, 0, 0),
    warp_mm=3,
    bias=0,
    noise=0,
)


def head_in(contrast: Contrast, template: Template, person: Scan = PERSON) -> Head:
    """A head, near template space with voxels of 3 mm; made once in a test session."""
    if (contrast, None) not in _HEADS:
        _HEADS[contrast, None] = load_head(template, step=3, tissues=TISSUES[contrast])
    if (contrast, person) not in _HEADS:
        deformed = make_phantom(_HEADS[contrast, None], person)
        _HEADS[contrast, person] = Head(
            volume=deformed.volume.astype(np.float32) / 4,
            brain_mask=deformed.brain_mask,
            affine=deformed.affine,
            marker_mm=tuple(deformed.marker_mm),
        )
    return _HEADS[contrast, person]


_HEADS: dict[tuple[Contrast, Scan | None], Head] = {}


def scanner(template: Template, person: Scan = PERSON) -> Callable[[Contrast, Scan], Phantom]:
    """Function that scans a head in a contrast."""
    return lambda contrast, scan: make_phantom(head_in(contrast, template, person), scan)


def between(one: Scan, other: Scan) -> np.ndarray:
    """Rigid (4, 4) matrix that takes RAS mm of one scan of a head to RAS mm of another."""
    return head_pose(other) @ np.linalg.inv(head_pose(one))


def write_images(root: Path, images: Mapping[str, Phantom]) -> None:
    """Write a raw data set: phantoms by the stem of their files, ``sub-01_ses-a_T1w``."""
    subjects = dict.fromkeys(stem.split('_')[0].removeprefix('sub-') for stem in images)
    write_bids(root, {})
    rows = ''.join(f'sub-{label}\tn/a\tn/a\n' for label in subjects)
    (root / 'participants.tsv').write_text(f'participant_id\tage\tsex\n{rows}')
    for stem, phantom in images.items():
        path = raw_path(root, stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(phantom.volume, phantom.affine))


def folder_of(stem: str) -> str:
    """Folder of an image, from the stem of its name."""
    words = [word for word in stem.split('_') if word.startswith(('sub-', 'ses-'))]
    return '/'.join((*words, 'anat'))


def raw_path(root: Path, stem: str, extension: str = '.nii.gz') -> Path:
    """File of an image or of what belongs to it, from the stem of its name."""
    return root / folder_of(stem) / f'{stem}{extension}'


def write_given(root: Path, files: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Write a derivative data set of images and masks, each an array and an affine."""
    root.mkdir(parents=True, exist_ok=True)
    description = {'Name': 'given', 'BIDSVersion': '1.10.0', 'DatasetType': 'derivative'}
    (root / 'dataset_description.json').write_text(json.dumps(description))
    for stem, (array, affine) in files.items():
        data = array.astype(np.uint8) if array.dtype == bool else array
        path = raw_path(root, stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(data, affine))


def coarse(folder: Path) -> list[str]:
    """Options of a quick run whose registration to templates is quick too."""
    words = quick(folder)
    with Path(words[1]).open('a', encoding='utf-8') as stream:
        stream.write('\n[registration]\nvoxel_mm = 4.0\n')
    return words


def brain_points(phantom: Phantom, every: int = 37) -> np.ndarray:
    """Places in the brain of a scan; (N, 3) RAS mm."""
    return nb.affines.apply_affine(phantom.affine, np.argwhere(phantom.brain_mask)[::every])


def distance_mm(found: np.ndarray, truth: np.ndarray, points: np.ndarray) -> float:
    """Mean distance between where two (4, 4) matrices take the same points."""
    apart = [nb.affines.apply_affine(matrix, points) for matrix in (found, truth)]
    return float(np.linalg.norm(apart[0] - apart[1], axis=1).mean())


def as_ras(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """An array as the derivatives hold it, with RAS axes."""
    data = array.astype(np.uint8) if array.dtype == bool else array
    image = nb.as_closest_canonical(nb.Nifti1Image(data, affine))
    return np.asarray(image.dataobj).astype(array.dtype)


def bright_spot_mm(image: nb.Nifti1Image, near: np.ndarray, radius_mm: float = 15) -> np.ndarray:
    """Middle of what is brightest around a place: the capsule; RAS mm."""
    volume = image.get_fdata()
    places = nb.affines.apply_affine(image.affine, np.argwhere(np.ones(volume.shape, bool)))
    around = np.linalg.norm(places - near, axis=1) < radius_mm
    values = volume.ravel()[around]
    weights = np.clip(values - 0.6 * values.max(), 0, None)
    return weights @ places[around] / weights.sum()


def correlation(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    """Pearson's correlation of two volumes in the voxels of a mask."""
    return float(np.corrcoef(one[where], other[where])[0, 1])
