"""What a session will cost, from the sizes of its grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mriprep.listing import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mriprep.planned import SessionPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Rough price of one session on one processor pair; from benchmarks/README.md."""

    seconds: float
    memory_gb: float
    disk_mb: float


def estimate(plan: SessionPlan) -> Estimate:
    """Price a session; constants measured on two processors."""
    sizes = {image.contrast: _megavoxels(image.image.shape) for image in plan.images}
    native = sum(sizes.values())
    megavoxels = 0.0
    for item in plan.derivatives:
        if not item.path.name.endswith('.nii.gz'):
            continue
        if item.template is not None:
            grid = item.template.output_grid(plan.reference.zooms_mm)
            megavoxels += _megavoxels(grid.shape)
        elif item.place is Place.REFERENCE:
            megavoxels += sizes[plan.main.contrast]
        else:
            megavoxels += sizes[item.contrast]
    finding = sum(image.extraction.seconds for image in plan.images if image.extraction)
    memory = [
        image.extraction.first.memory_gb for image in plan.images if image.extraction is not None
    ]
    averaged = sum(len(image.choice.averaged) for image in plan.images)
    own = sum(image.to_reference is None for image in plan.others)
    return Estimate(
        seconds=6
        + finding
        + 0.35 * native
        + 3 * len(plan.registrations)
        + 6 * own
        + 5 * averaged
        + (8 if plan.through_individual else 0)
        + 0.08 * megavoxels,
        memory_gb=max([1.1, *memory]) + 0.02 * max(sizes.values()),
        disk_mb=1.5 * megavoxels,
    )


def _megavoxels(shape: Sequence[int]) -> float:
    out = 1e-6
    for size in shape[:3]:
        out *= size
    return out
