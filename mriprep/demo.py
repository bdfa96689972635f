"""Heads with known truth go through the main job; what comes out is measured against the truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriprep import __version__
from mriprep.files import write_json, write_text
from mriprep.itk import read_linear
from mriprep.settings import EMBEDDED_SPACE
from mriprep.truth import (
    bias_correlation,
    brightness_ratio,
    dice,
    linear_error_mm,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mriprep.phantom import Phantom

SUBJECTS = ('01', '02')


class Quantity(StrEnum):
    """What is compared with the truth."""

    DICE = 'brain mask: Dice'
    BIAS = 'bias field: correlation of logarithms'
    LINEAR = 'affine to the template: mean error in mm'
    LEFT_NATIVE = 'capsule left over right, native'
    LEFT_TEMPLATE = 'capsule left over right, template'


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Where a value stops being good enough."""

    bound: float
    largest: bool = False  # whether `bound` is the largest good value, not the smallest

    def holds(self, value: float) -> bool:
        """Tell whether a value is good enough; NaN never is."""
        return value <= self.bound if self.largest else value >= self.bound

    def __str__(self) -> str:
        return f'{"≤" if self.largest else "≥"} {self.bound:g}'


LIMITS: Mapping[Quantity, Limit] = {
    Quantity.DICE: Limit(bound=0.95),
    Quantity.BIAS: Limit(bound=0.95),
    Quantity.LINEAR: Limit(bound=1.0, largest=True),
    Quantity.LEFT_NATIVE: Limit(bound=1.2),
    Quantity.LEFT_TEMPLATE: Limit(bound=1.2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One comparison with the truth."""

    subject: str
    quantity: Quantity
    value: float | None  # None: there was nothing to measure
    problem: str = ''  # why there was nothing

    @property
    def passed(self) -> bool:
        """Whether there is a value and it is good enough."""
        return self.value is not None and LIMITS[self.quantity].holds(self.value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What is known of one subject; `Phantom` says what each is."""

    linear: NDArray[np.float64]
    marker_mm: NDArray[np.float64]
    mirror_mm: NDArray[np.float64]


def build(out: Path) -> None:
    """Write the data set of two phantoms and their truth, unless an earlier demo did.

    Parameters
    ----------
    out : Path
        Gets ``bids/``, ``truth/`` and ``work/templates/``.
    """
    from mriprep.phantom import ISOTROPIC, LEFT_HANDED, load_head, make_phantom, write_bids
    from mriprep.templates import find_template

    truth = out / 'truth'
    done = truth / 'built.json'
    if done.is_file() and json.loads(done.read_text()) == {'mriprep': __version__}:
        return
    truth.mkdir(parents=True, exist_ok=True)
    head = load_head(find_template(EMBEDDED_SPACE, out / 'work' / 'templates', offline=True))
    phantoms: dict[str, Phantom] = {}
    for label, scan in zip(SUBJECTS, (ISOTROPIC, LEFT_HANDED), strict=True):
        phantoms[label] = make_phantom(head, scan)
        write_truth(truth, label, phantoms[label])
    write_bids(out / 'bids', phantoms)
    write_json({'mriprep': __version__}, done)


def write_truth(folder: Path, label: str, phantom: Phantom) -> None:
    """Write what is known of one subject: two images and a JSON file."""
    from mriprep.images import write_image

    mask, bias = (folder / f'sub-{label}_{name}.nii.gz' for name in ('mask', 'bias'))
    write_image(phantom.brain_mask, phantom.affine, mask, dtype='uint8', space_code=1)
    write_image(phantom.bias, phantom.affine, bias, dtype='float32', space_code=1)
    known = {
        'linear': phantom.linear.tolist(),
        'marker_mm': phantom.marker_mm.tolist(),
        'mirror_mm': phantom.mirror_mm.tolist(),
    }
    write_json(known, folder / f'sub-{label}.json')


def read_truth(path: Path) -> Truth:
    """Read what `write_truth` wrote of one subject."""
    import numpy as np

    known = json.loads(path.read_text())
    return Truth(**{name: np.array(known[name]) for name in ('linear', 'marker_mm', 'mirror_mm')})


def compare(out: Path) -> list[Check]:
    """Measure all derivatives of a demo against the truth; what can't be read fails."""
    return [check for label in SUBJECTS for check in compare_subject(out, label)]


def compare_subject(out: Path, label: str) -> list[Check]:
    """Measure the derivatives of one subject against the truth.

    Parameters
    ----------
    out : Path
        Folder of the demo; ``bids``, ``derivatives`` and ``truth`` are read.
    label : str
        The subject, without ``sub-``.

    Returns
    -------
    list of Check
        One for each quantity.
    """
    measures = {
        Quantity.DICE: _measure_mask,
        Quantity.BIAS: _measure_bias,
        Quantity.LINEAR: _measure_linear,
        Quantity.LEFT_NATIVE: _measure_left_native,
        Quantity.LEFT_TEMPLATE: _measure_left_template,
    }
    checks = []
    for quantity, measure in measures.items():
        value, problem = None, ''
        try:
            value = measure(out, label)
        except (ValueError, OSError, KeyError) as error:  # ImageError is a ValueError
            problem = ' '.join(str(error).split())
        checks.append(Check(subject=label, quantity=quantity, value=value, problem=problem))
    return checks


def _derivative(out: Path, label: str, name: str) -> Path:
    return out / 'derivatives' / f'sub-{label}' / 'anat' / f'sub-{label}_{name}'


def _load_ras(path: Path) -> Any:
    """Load an image with its axes in RAS order, as the native derivatives are."""
    import nibabel as nb

    from mriprep.images import load

    as_ras: Any = nb.as_closest_canonical
    return as_ras(load(path))


def _truth_mask(out: Path, label: str) -> Any:
    return _load_ras(out / 'truth' / f'sub-{label}_mask.nii.gz')


def _measure_mask(out: Path, label: str) -> float:
    import numpy as np

    from mriprep.images import load, same_grid

    truth = _truth_mask(out, label)
    found: Any = load(_derivative(out, label, 'desc-brain_mask.nii.gz'))
    same_grid(found, truth)
    return dice(np.asarray(found.dataobj) > 0.5, np.asarray(truth.dataobj) > 0.5)


def _measure_bias(out: Path, label: str) -> float:
    import numpy as np

    from mriprep.images import load, same_grid

    corrected: Any = load(_derivative(out, label, 'desc-preproc_T1w.nii.gz'))
    raw = _load_ras(out / 'bids' / f'sub-{label}' / 'anat' / f'sub-{label}_T1w.nii.gz')
    same_grid(corrected, raw)
    bias = _load_ras(out / 'truth' / f'sub-{label}_bias.nii.gz')
    before, after, field = (im.get_fdata(dtype=np.float32) for im in (raw, corrected, bias))
    brain = np.asarray(_truth_mask(out, label).dataobj) > 0.5
    return bias_correlation(before, after, field, brain)


def _measure_linear(out: Path, label: str) -> float:
    import numpy as np

    truth = read_truth(out / 'truth' / f'sub-{label}.json')
    # resampling to the template takes template points to the scanner, as the truth does
    found = read_linear(
        _derivative(out, label, f'from-T1w_to-{EMBEDDED_SPACE.label}_mode-image_xfm.h5')
    )
    mask = _truth_mask(out, label)
    voxels = np.argwhere(np.asarray(mask.dataobj) > 0.5)[::101]
    to_template = np.linalg.inv(truth.linear) @ mask.affine
    points = voxels @ to_template[:3, :3].T + to_template[:3, 3]
    return linear_error_mm(found, truth.linear, points)


def _measure_left_native(out: Path, label: str) -> float:
    import numpy as np

    from mriprep.images import load

    truth = read_truth(out / 'truth' / f'sub-{label}.json')
    image: Any = load(_derivative(out, label, 'desc-preproc_T1w.nii.gz'))
    volume = image.get_fdata(dtype=np.float32)
    return brightness_ratio(volume, image.affine, truth.marker_mm, truth.mirror_mm)


def _measure_left_template(out: Path, label: str) -> float:
    import numpy as np

    from mriprep.images import load

    truth = read_truth(out / 'truth' / f'sub-{label}.json')
    name = f'space-{EMBEDDED_SPACE.label}_res-{EMBEDDED_SPACE.resolution}_desc-preproc_T1w.nii.gz'
    image: Any = load(_derivative(out, label, name))
    back = np.linalg.inv(truth.linear)
    left, right = ((back @ [*place, 1])[:3] for place in (truth.marker_mm, truth.mirror_mm))
    return brightness_ratio(image.get_fdata(dtype=np.float32), image.affine, left, right)


def write_checks(checks: Iterable[Check], path: Path) -> None:
    """Write the comparison as a table of tab-separated values."""
    rows = ['subject\tquantity\tvalue\tlimit\tpassed\tproblem']
    for check in checks:
        value = 'n/a' if check.value is None else f'{check.value:.4f}'
        passed = 'true' if check.passed else 'false'
        limit = LIMITS[check.quantity]
        rows.append(
            f'sub-{check.subject}\t{check.quantity}\t{value}\t{limit}\t{passed}\t'
            f'{check.problem or "n/a"}'
        )
    write_text('\n'.join(rows) + '\n', path)


def print_checks(checks: Iterable[Check]) -> None:
    """Print the comparison as a table for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title='Against the truth')
    for column in ('subject', 'quantity', 'value', 'limit', ''):
        table.add_column(column, justify='right' if column == 'value' else 'left')
    problems = []
    for check in checks:
        value = '–' if check.value is None else f'{check.value:.3f}'
        verdict = '[green]pass[/]' if check.passed else '[red]FAIL[/]'
        limit = str(LIMITS[check.quantity])
        table.add_row(f'sub-{check.subject}', str(check.quantity), value, limit, verdict)
        if check.problem:
            problems.append(f'sub-{check.subject}, {check.quantity}: {check.problem}')
    console = Console()
    console.print(table)
    for problem in problems:
        console.print(problem, highlight=False, markup=False, soft_wrap=True)


def run_demo(
    out: Path, main_job: Callable[[Sequence[str]], int], options: Iterable[str] = ()
) -> int:
    """Build the phantoms, run the main job on them, compare, print.

    Parameters
    ----------
    out : Path
        Folder for everything.
    main_job : callable
        Takes the words of the command line, returns the exit code.
    options : iterable of str
        More options of the main job.

    Returns
    -------
    int
        0 if every check passes, 1 if one fails, the main job's code if it did not start or was
        interrupted.
    """
    print(f'building two heads with known truth in {out / "bids"}', flush=True)
    build(out)
    words = [str(out / 'bids'), str(out / 'derivatives'), 'participant', '-w', str(out / 'work')]
    code = main_job([*words, *options])
    if code > 1:
        return code
    checks = compare(out)
    write_checks(checks, out / 'truth' / 'checks.tsv')
    print_checks(checks)
    return int(code != 0 or not all(check.passed for check in checks))
