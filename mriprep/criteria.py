"""What the guard of the brain mask asks of a number: the checks, their ranges and their words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

Range = tuple[float | None, float | None]

LEAST_POINTS = 200  # of a surface that can be compared


class Status(StrEnum):
    """Whether a mask is believed."""

    ACCEPT = 'accept'
    DOUBTFUL = 'doubtful'
    REFUSED = 'refused'


RANK = {Status.ACCEPT: 0, Status.DOUBTFUL: 1, Status.REFUSED: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One number of a mask beside the ranges that it is judged by."""

    name: str
    value: float | None  # None: it could not be measured, which is held against nothing
    unit: str
    accept: Range
    believe: Range
    status: Status
    words: str  # what is seen and what it may mean; empty when accepted
    reason: str  # why the ranges are what they are

    def record(self) -> dict[str, object]:
        """Describe the check for JSON."""
        return {
            'name': self.name,
            'value': None if self.value is None else round(self.value, 4),
            'unit': self.unit,
            'accept': list(self.accept),
            'believe': list(self.believe),
            'status': self.status.value,
            'words': self.words,
            'reason': self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A check before it has a value."""

    name: str
    unit: str = ''
    accept: Range
    believe: Range
    low: str = ''  # words for a value below the range, where {} is the value
    high: str = ''
    reason: str

    def judged(self, value: float | None) -> Check:
        """Compare a value with the ranges."""
        status = _status(value, self.accept, self.believe)
        words = ''
        if status is not Status.ACCEPT and value is not None:
            below = self.accept[0] is not None and not value >= self.accept[0]
            words = (self.low if below else self.high).format(value)
        return Check(
            name=self.name,
            value=value,
            unit=self.unit,
            accept=self.accept,
            believe=self.believe,
            status=status,
            words=words,
            reason=self.reason,
        )


def _status(value: float | None, accept: Range, believe: Range) -> Status:
    if value is None:
        return Status.ACCEPT
    if _within(value, accept):
        return Status.ACCEPT
    return Status.DOUBTFUL if _within(value, believe) else Status.REFUSED


def _within(value: float, limits: Range) -> bool:
    low, high = limits
    above = low is None or value >= low
    below = high is None or value <= high
    return not math.isnan(value) and above and below


RULES: tuple[Rule, ...] = (
    Rule(
        name='surface',
        unit='points',
        accept=(LEAST_POINTS, None),
        believe=(LEAST_POINTS, None),
        low='The mask has hardly any surface within the image: it is tiny, or fills the image.',
        reason='fewer can not be compared with a template',
    ),
    Rule(
        name='largest_before_cleaning',
        unit='share',
        accept=(0.98, None),
        believe=(0.80, None),
        low='Only {:.0%} of what the extractor found hangs together: it was not sure of the brain.',
        reason='good masks have 0.999 and more',
    ),
    Rule(
        name='filled_before_cleaning',
        unit='share',
        accept=(None, 0.01),
        believe=(None, 0.15),
        high='{:.1%} of the mask were holes: the extractor may have missed a lesion or ventricles.',
        reason='good masks have 0.001 and less',
    ),
    Rule(
        name='largest_piece',
        unit='share',
        accept=(0.99, None),
        believe=(0.90, None),
        low='Only {:.0%} of the mask hangs together: parts of it are not brain, or a part is cut off.',
        reason='a brain is one piece',
    ),
    Rule(
        name='holes',
        unit='ml',
        accept=(None, 3.0),
        believe=(None, 60.0),
        high='The mask has holes of {:.0f} ml: a lesion or ventricles may have been left out.',
        reason='a brain has no holes; good masks have 0.2 ml and less, ventricles 20 to 60 ml',
    ),
    Rule(
        name='roughness',
        unit='ratio to a ball',
        accept=(1.0, 1.6),
        believe=(0.9, 2.5),
        low='The surface is {:.2f} of that of a ball of its volume: it has the flat sides of a box.',
        high='The surface is {:.1f} times that of a ball of its volume: it is ragged.',
        reason='good masks have 1.11 to 1.33, the highest where sulci are left out',
    ),
    Rule(
        name='cut_by_image',
        unit='share',
        accept=(None, 0.30),
        believe=(None, 0.65),
        high='The edge of the image cuts the mask across {:.0%} of its largest section: '
        'a good part of the brain was not scanned, or the mask is too large.',
        reason='a head cut through the cerebellum has 0.18; half a section and more is half a brain',
    ),
    Rule(
        name='template_scale',
        unit='ratio',
        accept=(0.90, 1.75),
        believe=(0.82, 2.00),
        low='The template had to shrink to {:.2f} of its size: the mask holds more than a brain.',
        high='The template fits a brain {:.2f} times smaller than its own: parts may be missing.',
        reason='adults have 1.02 to 1.21; a newborn would have 1.7',
    ),
    Rule(
        name='template_stretch',
        unit='ratio',
        accept=(None, 1.25),
        believe=(None, 1.50),
        high='The template had to be stretched {:.2f} times more one way than another: '
        'the mask has not the shape of a brain, or voxel sizes are wrong.',
        reason='good masks have 1.05 to 1.16; skulls grown askew reach 1.3',
    ),
    Rule(
        name='template_turn',
        unit='degrees',
        accept=(None, 35.0),
        believe=(None, 75.0),
        high='The head lies {:.0f} degrees from upright: its orientation in the header may be wrong.',
        reason='heads lie within 20 degrees; a quarter turn is a wrong header',
    ),
    Rule(
        name='template_dice',
        unit='Dice',
        accept=(0.945, None),
        believe=(0.89, None),
        low="The mask overlaps with the template's brain by {:.2f} only: it has another shape.",
        reason='good masks have 0.958 to 0.975; brains without a part have 0.80 to 0.95',
    ),
    Rule(
        name='template_distance',
        unit='mm',
        accept=(None, 5.0),
        believe=(None, 12.0),
        high="The mask's surface lies up to {:.0f} mm from the template's: "
        'part of it is not the border of a brain.',
        reason='good masks have 2.4 to 4.2 mm, and 6 mm where one bulges',
    ),
    Rule(
        name='protrusion',
        unit='ml',
        accept=(None, 2.0),
        believe=(None, 25.0),
        high='{:.0f} ml bulge out of the shape of a brain: eyes, neck or scalp may be in the mask.',
        reason='good masks have 0.6 ml and less; two eyes show 3 ml and more',
    ),
    Rule(
        name='deficit',
        unit='ml',
        accept=(None, 4.0),
        believe=(None, 30.0),
        high='{:.0f} ml of the shape of a brain are not in the mask: a lobe or the cerebellum may '
        'be missing.',
        reason='good masks have 0.7 ml and less; a temporal lobe is 32 ml and more',
    ),
    Rule(
        name='symmetry',
        unit='Dice',
        accept=(0.94, None),
        believe=(0.85, None),
        low='Left and right of the mask overlap by {:.2f} only: one side lacks or has too much.',
        reason='good masks have 0.955 to 0.981',
    ),
    Rule(
        name='tissue',
        unit='share',
        accept=(0.035, None),
        believe=(0.02, None),
        low="Beyond shading and depth the template's tissue explains {:.1%} of the contrast in the "
        'mask: it may not be a brain.',
        reason='good masks have 0.043 (tumour, FLAIR) to 0.35; fruit and bottles have 0.04 and less, '
        'most of them less than 0.02',
    ),
    Rule(
        name='tissue_advantage',
        unit='share',
        accept=(0.015, None),
        believe=(-0.02, None),
        low='Turned front to back or upside down the tissue of the template fits as well '
        '({:+.3f}): the mask may lie the wrong way round in the image.',
        reason='good masks have 0.020 and more; turned heads, and fruit, have 0.01 and less, down to '
        '-0.35',
    ),
    Rule(
        name='edge_offset',
        unit='mm',
        accept=(-1.5, 1.9),
        believe=(-3.8, 4.2),
        low='The edge of the brain lies {:.1f} mm from the border, within the mask: '
        'the mask is too large.',
        high='The edge of the brain lies {:.1f} mm from the border, outside the mask: '
        'the mask is too small.',
        reason='good masks have -0.7 to 0.7 mm, and 1.1 mm less where white matter is brightest; '
        '3 mm of erosion or dilation move it by 2.5 mm',
    ),
    Rule(
        name='edge_shift',
        unit='mm',
        accept=(None, 3.2),
        believe=(None, 8.0),
        high='The edges of the brain lie as if the mask were {:.0f} mm out of place.',
        reason='good masks have 0.1 to 2.9 mm, the highest where the image is cut',
    ),
    Rule(
        name='edge_disagreement',
        unit='mm',
        accept=(None, 2.5),
        believe=(None, 8.0),
        high='The edges of the brain lie up to {:.0f} mm off the border of the mask, '
        'here inside and there outside.',
        reason='good masks have 0.2 to 2.2 mm',
    ),
    Rule(
        name='edge_seen',
        unit='share',
        accept=(0.70, None),
        believe=(0.35, None),
        low='Only {:.0%} of the border shows an edge in the image.',
        reason='good masks have 0.89 and more',
    ),
    Rule(
        name='doubts',
        unit='checks',
        accept=(None, 4.0),
        believe=(None, 4.0),
        high='{:.0f} checks doubt the mask at once.',
        reason='good masks raise no doubt, flawed ones one or two',
    ),
)
