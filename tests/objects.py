"""What a scanner may also look at: fruit, bottles, phantoms, bodies; and heads gone wrong.

Each function returns an `Image` of RAS axes. Objects are painted on a coarse grid with partial
volumes, shaded by a coil and made noisy (Rician); equal calls give equal images. Brightness is
that of T1w, roughly, and arbitrary; lengths are mm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FAT, MUSCLE, MARROW, BONE, WATER, FLESH = 250.0, 105.0, 170.0, 18.0, 60.0, 140.0


class Image(NamedTuple):
    """A volume of float32 and its affine, voxel indices to RAS mm."""

    volume: np.ndarray
    affine: np.ndarray


class Canvas:
    """An empty image to paint solids into, the later over the earlier; its middle is at 0."""

    def __init__(self, size_mm: tuple[float, float, float], voxel_mm: float = 3.0) -> None:
        shape = [round(side / voxel_mm) for side in size_mm]
        first = [-(n - 1) / 2 * voxel_mm for n in shape]
        self.affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
        self.affine[:3, 3] = first
        self.voxel_mm = voxel_mm
        self.volume = np.zeros(shape, np.float32)
        grid = np.ogrid[tuple(slice(n) for n in shape)]
        self.x, self.y, self.z = (
            axis.astype(np.float32) * voxel_mm + start
            for axis, start in zip(grid, first, strict=True)
        )

    def paint(self, level: float | np.ndarray, depth_mm: np.ndarray) -> None:
        """Give a level to what lies beneath a surface, and a share of it to voxels across it."""
        share = np.clip(depth_mm / self.voxel_mm + 0.5, 0, 1)
        self.volume += (share * (level - self.volume)).astype(np.float32)

    def ellipsoid(
        self, radii: tuple[float, float, float], at: tuple[float, float, float] = (0, 0, 0)
    ) -> np.ndarray:
        """Depth beneath an ellipsoid's surface; an infinite radius makes a tube."""
        parts = [
            ((axis - start) / radius) ** 2
            for axis, start, radius in zip((self.x, self.y, self.z), at, radii, strict=True)
        ]
        return (1 - np.sqrt(sum(parts))) * min(radii)

    def between(self, axis: np.ndarray, low: float, high: float) -> np.ndarray:
        """Depth within a slab."""
        return np.minimum(axis - low, high - axis)

    def image(self, seed: int, *, noise: float = 4.0, bias: float = 0.3) -> Image:
        """Shade and add noise; `bias` is the largest departure of the shading's logarithm."""
        rng = np.random.default_rng(seed)
        field = sum(
            np.cos(2 * np.pi * (axis / rng.uniform(300, 500) + rng.uniform()))
            for axis in (self.x, self.y, self.z)
        )
        field = np.exp(bias / 3 * field)
        return Image(rician(self.volume * field, noise, rng), self.affine)


def rician(clean: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Magnitude of a signal with Gaussian noise in both channels."""
    real, imaginary = rng.standard_normal((2, *clean.shape), dtype=np.float32) * np.float32(noise)
    return np.hypot(clean.astype(np.float32) + real, imaginary)


def _box(shape: tuple[int, int, int] = (80, 96, 80), voxel_mm: float = 2.5) -> np.ndarray:
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = -voxel_mm / 2 * (np.array(shape) - 1)
    return affine


# nothing in the scanner, or nothing that a scanner makes


def noise() -> Image:
    """An empty scanner."""
    rng = np.random.default_rng(1)
    return Image(rician(np.zeros((80, 96, 80)), 20, rng), _box())


def smoothed_noise() -> Image:
    """Noise that a scanner's filter or an interpolation has smoothed."""
    from scipy import ndimage

    return Image(ndimage.gaussian_filter(noise().volume, 1.2), _box())


def specks() -> Image:
    """A blank with a few bright voxels."""
    rng = np.random.default_rng(2)
    volume = np.zeros((80, 96, 80), np.float32)
    volume.reshape(-1)[rng.choice(volume.size, 40, replace=False)] = 1000
    return Image(volume, _box())


def mostly_zero() -> Image:
    """Nine of ten voxels are zero, the others noise."""
    rng = np.random.default_rng(3)
    volume = noise().volume
    return Image(np.where(rng.random(volume.shape) < 0.9, np.float32(0), volume), _box())


def gradient() -> Image:
    """A smooth ramp from corner to corner."""
    i, j, k = np.ogrid[:80, :96, :80]
    return Image((i + j + k).astype(np.float32), _box())


def checkerboard() -> Image:
    """Cubes of 20 mm, black and white."""
    i, j, k = np.ogrid[:80, :96, :80]
    return Image(100 * ((i // 8 + j // 8 + k // 8) % 2).astype(np.float32), _box())


def box_of_ones() -> Image:
    """A cube of one brightness in a blank."""
    volume = np.zeros((80, 96, 80), np.float32)
    volume[14:66, 14:80, 14:66] = 100
    return Image(volume, _box())


# fruit


def orange() -> Image:
    """80 mm wide: peel, pith, ten segments with walls, core."""
    c = Canvas((120, 120, 120), 2.0)
    c.paint(110, c.ellipsoid((40, 40, 38)))
    c.paint(40, c.ellipsoid((37, 37, 35)))
    segments = np.minimum(c.ellipsoid((33, 33, 31)), _from_walls(c, 10) - 0.8)
    c.paint(180, np.minimum(segments, np.hypot(c.x, c.y) - 4))
    return c.image(11)


def _from_walls(c: Canvas, count: int) -> np.ndarray:
    """Distance from the nearest of some walls around the long axis."""
    angle = np.arctan2(c.y, c.x) % (2 * np.pi / count)
    return np.hypot(c.x, c.y) * np.sin(np.minimum(angle, 2 * np.pi / count - angle))


def kiwi() -> Image:
    """50 x 50 x 66 mm: skin, flesh with rays, a ring of seeds, a bright core."""
    c = Canvas((90, 90, 100), 2.0)
    c.paint(60, c.ellipsoid((25, 25, 33)))
    rays = 150 + 20 * np.cos(30 * np.arctan2(c.y, c.x)) + 0 * c.z
    c.paint(rays, c.ellipsoid((23.5, 23.5, 31.5)))
    seeds = np.minimum(c.ellipsoid((13, 13, 22)), -c.ellipsoid((8, 8, 15)))
    c.paint(20, np.minimum(seeds, _from_walls(c, 24) * -1 + 0.9))
    c.paint(200, c.ellipsoid((6, 6, 16)))
    return c.image(12)


def pineapple() -> Image:
    """150 x 150 x 200 mm: scales, flesh with rays, a tough core, leaves."""
    c = Canvas((230, 230, 260))
    angle, radius = np.arctan2(c.y, c.x), np.hypot(c.x, c.y)
    scales = 3 * np.cos(9 * angle + c.z / 9) * np.cos(9 * angle - c.z / 9)
    c.paint(70, c.ellipsoid((75, 75, 100)) + scales)
    flesh = 160 + 25 * np.cos(40 * angle) * np.sin(c.z / 4)
    c.paint(flesh, c.ellipsoid((68, 68, 92)) + scales)
    c.paint(110, np.minimum(15 - radius, c.ellipsoid((68, 68, 90))))
    crown = c.between(c.z, 90, 120)
    c.paint(90, np.minimum(crown, np.minimum(30 - radius, 4 * np.cos(12 * angle + c.z / 5))))
    return c.image(13)


def melon() -> Image:
    """A ball of 180 mm: rind, flesh, a wet hollow with rows of seeds."""
    c = Canvas((230, 230, 230))
    c.paint(60, c.ellipsoid((90, 90, 92)))
    c.paint(150, c.ellipsoid((84, 84, 86)))
    c.paint(80, c.ellipsoid((42, 42, 52)))
    rng = np.random.default_rng(4)
    for direction in rng.standard_normal((60, 3)):
        at = direction / np.linalg.norm(direction) * rng.uniform(25, 40)
        c.paint(220, c.ellipsoid((4, 4, 6), tuple(at)))
    return c.image(14)


def watermelon() -> Image:
    """170 x 170 x 220 mm: a pale rind and wet flesh with dark seeds."""
    c = Canvas((230, 230, 280))
    c.paint(90, c.ellipsoid((85, 85, 110)))
    c.paint(170, c.ellipsoid((74, 74, 99)))
    rng = np.random.default_rng(5)
    for direction in rng.standard_normal((150, 3)):
        at = direction / np.linalg.norm(direction) * rng.uniform(30, 60)
        c.paint(30, c.ellipsoid((4, 4, 4), tuple(at)))
    return c.image(15)


# things that stand in for a head when a scanner is tried


def water_ball(bias: float = 0.6, noise: float = 4.0) -> Image:
    """A ball of water of the size of a head."""
    c = Canvas((230, 230, 230))
    c.paint(200, c.ellipsoid((85, 85, 85)))
    return c.image(21, bias=bias, noise=noise)


def bottle() -> Image:
    """A bottle of water, lying along the bore, 120 mm wide, with an air bubble."""
    c = Canvas((180, 180, 300))
    radius = np.hypot(c.x, c.y)
    c.paint(200, np.minimum(60 - radius, c.between(c.z, -110, 70)))
    c.paint(200, np.minimum(60 - radius - 0.8 * (c.z - 70), c.between(c.z, 69, 120)))
    c.paint(0, np.minimum(np.minimum(57 - radius, c.between(c.z, -108, 70)), c.y - 48))
    return c.image(22, bias=0.6)


def grid_phantom() -> Image:
    """A cylinder as quality assurance uses it: 190 x 148 mm of water, grid, wedges, holes."""
    c = Canvas((230, 230, 200), 2.5)
    radius = np.hypot(c.x, c.y)
    c.paint(180, np.minimum(95 - radius, c.between(c.z, -74, 74)))
    for offset in range(-80, 81, 16):
        for axis in (c.x, c.y):
            wall = np.minimum(2 - np.abs(axis - offset), c.between(c.z, -8, 8))
            c.paint(10, np.minimum(wall, 85 - radius))
    slot = np.minimum(c.between(c.x, -70, 70), np.minimum(6 - np.abs(c.y - 20), 80 - radius))
    c.paint(10, np.minimum(slot, c.between(c.z, -70, -50)))
    for index in range(10):
        turn = 2 * np.pi * index / 10
        ball = (45 * np.cos(turn), 45 * np.sin(turn), 40)
        c.paint(20 + 20 * index, c.ellipsoid((10, 10, 10), ball))
    return c.image(23)


# other parts of a body


def abdomen() -> Image:
    """350 x 250 mm across, 300 mm long: fat, muscle, spine, liver, kidneys, bowel with gas."""
    c = Canvas((400, 300, 300), 4.0)
    inf = float('inf')
    c.paint(FAT, c.ellipsoid((175, 125, inf)))
    c.paint(MUSCLE, c.ellipsoid((152, 103, inf)))
    c.paint(FAT, c.ellipsoid((138, 88, inf), (0, 4, 0)))
    rng = np.random.default_rng(6)
    for place in rng.uniform((-90, -10, -150), (90, 60, 40), (60, 3)):
        c.paint(rng.choice([0, 80, 110, 130]), c.ellipsoid((16, 14, 22), tuple(place)))
    c.paint(
        FLESH, np.minimum(c.ellipsoid((85, 75, 90), (60, 10, 90)), c.ellipsoid((135, 86, inf)))
    )
    c.paint(FLESH - 25, c.ellipsoid((30, 40, 60), (-95, -20, 100)))
    for side in (-65, 65):
        c.paint(120, c.ellipsoid((27, 24, 55), (side, -45, 0)))
        c.paint(FAT, c.ellipsoid((8, 10, 25), (side * 0.8, -40, 0)))
    c.paint(MUSCLE, c.ellipsoid((55, 30, inf), (0, -72, 0)))
    _spine(c, y=-50, radius=24, pitch=36)
    c.paint(15, c.ellipsoid((10, 10, inf), (6, -14, 0)))
    return c.image(31)


def _spine(c: Canvas, *, y: float, radius: float, pitch: float) -> None:
    """Vertebrae with discs between, and the cord in its fluid behind."""
    along = np.abs((c.z + pitch / 2) % pitch - pitch / 2)
    column = radius - np.hypot(c.x, 1.3 * (c.y - y))
    c.paint(BONE, column)
    c.paint(MARROW, np.minimum(column - 2, along - pitch * 0.14 - 1.5))
    c.paint(75, np.minimum(column - 2, pitch * 0.14 - along))
    behind = y - radius / 1.3 - 8
    c.paint(BONE, 13 - np.hypot(c.x, c.y - behind) + 0 * c.z)
    c.paint(35, 9 - np.hypot(c.x, c.y - behind) + 0 * c.z)
    c.paint(140, 5 - np.hypot(c.x, c.y - behind) + 0 * c.z)


def thigh() -> Image:
    """A thigh of 180 mm across: fat, muscles with fat between, bone with marrow."""
    c = Canvas((230, 230, 280))
    inf = float('inf')
    c.paint(FAT, c.ellipsoid((90, 85, inf)))
    c.paint(MUSCLE, c.ellipsoid((74, 70, inf)))
    c.paint(FAT, np.minimum(c.ellipsoid((74, 70, inf)), 1.2 - _from_walls(c, 7)))
    c.paint(BONE, c.ellipsoid((17, 17, inf), (8, 6, 0)))
    c.paint(FAT, c.ellipsoid((10, 10, inf), (8, 6, 0)))
    return c.image(32)


def knee() -> Image:
    """A knee: thigh bone above shin bone, kneecap, joint fluid, muscles, fat."""
    c = Canvas((180, 190, 200), 2.5)
    inf = float('inf')
    c.paint(FAT, c.ellipsoid((62, 68, inf)))
    c.paint(MUSCLE, c.ellipsoid((50, 30, inf), (0, -28, 0)))
    for depth, level in ((0, BONE), (3, 0.8 * FAT)):
        shaft = np.minimum(17 - np.hypot(c.x, c.y), c.between(c.z, 20, 200))
        c.paint(level, shaft - depth)
        for side in (-20, 20):
            c.paint(level, c.ellipsoid((21, 28, 28), (side, 0, 26)) - depth)
        c.paint(level, np.minimum(c.ellipsoid((40, 28, inf)), c.between(c.z, -32, -4)) - depth)
        below = np.minimum(20 - np.hypot(c.x, c.y - 4), c.between(c.z, -200, -30))
        c.paint(level, below - depth)
        c.paint(level, c.ellipsoid((20, 10, 22), (0, 50, 30)) - depth)
    return c.image(33)


def neck() -> Image:
    """A neck of 120 mm across above shoulders: spine, cord, windpipe, muscles, fat."""
    c = Canvas((340, 230, 240))
    wide = np.clip((-20 - c.z) / 60, 0, 1) ** 2
    across, deep = 60 + 100 * wide, 58 + 30 * wide
    radius = np.sqrt((c.x / across) ** 2 + (c.y / deep) ** 2)
    c.paint(FAT, (1 - radius) * deep)
    c.paint(MUSCLE, (1 - radius) * deep - 10)
    for x, y, size in ((-30, 20, 12), (30, 20, 12), (-22, -35, 18), (22, -35, 18)):
        c.paint(FAT, (size + 2) - np.hypot(c.x - x, c.y - y) + 0 * c.z)
        c.paint(MUSCLE, size - np.hypot(c.x - x, c.y - y) + 0 * c.z)
    _spine(c, y=0, radius=14, pitch=20)
    c.paint(0, 10 - np.hypot(c.x, c.y - 36) + 0 * c.z)
    return c.image(34)


def spine() -> Image:
    """A back seen by a surface coil in sagittal slices: bright behind, dark in front."""
    c = Canvas((66, 240, 320))
    c.paint(FAT, 80 + c.y + 0 * (c.x + c.z))
    c.paint(MUSCLE, 60 + c.y + 0 * (c.x + c.z))
    _spine(c, y=0, radius=22, pitch=34)
    c.paint(90, c.y - 25 + 0 * (c.x + c.z))
    c.volume *= np.exp(-np.clip(c.y + 80, 0, None) / 60)
    return c.image(35)


# heads, gone wrong; each takes the image of a whole head, RAS


def low_half(head: Image, top_mm: float = 110.0) -> Image:
    """Face and neck: what is left when the field of view ends so far beneath the crown."""
    zoom = np.linalg.norm(head.affine[:3, 2])
    inside = head.volume > 0.2 * np.percentile(head.volume, 99)
    shares = inside.mean(axis=(0, 1))
    crown = int(np.flatnonzero(shares > 0.02)[-1])
    return Image(head.volume[:, :, : max(1, round(crown - top_mm / zoom))], head.affine)


def slab(head: Image, thick_mm: float = 64.0) -> Image:
    """What axial slices through the middle of the brain show."""
    low = low_half(head, 55.0).volume
    count = round(thick_mm / np.linalg.norm(head.affine[:3, 2]))
    return Image(low[:, :, -count:], head.affine)


def three_slices(head: Image) -> Image:
    """A localizer: three thick slices."""
    middle = head.volume.shape[2] // 2
    affine = head.affine @ np.diag([1, 1, 10 / np.linalg.norm(head.affine[:3, 2]), 1])
    return Image(head.volume[:, :, middle - 6 : middle + 6 : 4], affine)


def rescaled(head: Image, factor: float) -> Image:
    """A head whose voxel size is wrong by a factor."""
    return Image(head.volume, head.affine @ np.diag([factor, factor, factor, 1]))


def flipped(head: Image, *axes: int) -> Image:
    """A head mirrored along voxel axes, while the header says that it is not."""
    return Image(np.ascontiguousarray(np.flip(head.volume, axes)), head.affine)


def rolled(head: Image, *, to: tuple[int, int, int]) -> Image:
    """A head whose axes are exchanged, while the header says that they are RAS."""
    sizes = np.linalg.norm(head.affine[:3, :3], axis=0)[list(to)]
    affine = np.diag([*sizes, 1.0])
    return Image(np.ascontiguousarray(head.volume.transpose(to)), affine)


def in_noise(head: Image) -> Image:
    """A head in whose air noise is as bright as grey matter, as in MP2RAGE."""
    from scipy import ndimage

    top = np.percentile(head.volume, 99.5)
    air = ~ndimage.binary_fill_holes(head.volume > 0.15 * top)
    rng = np.random.default_rng(7)
    noise = rng.random(head.volume.shape, dtype=np.float32) * np.float32(top)
    return Image(np.where(air, noise, head.volume), head.affine)


def standardized(head: Image) -> Image:
    """A head whose brightness has mean 0 and deviation 1; air is negative."""
    return Image((head.volume - head.volume.mean()) / head.volume.std(), head.affine)


def rounded(head: Image, levels: int) -> Image:
    """A head of few levels of brightness."""
    top = np.percentile(head.volume, 99.5)
    return Image(np.clip(np.round(head.volume / top * levels), 0, levels), head.affine)


OBJECTS: dict[str, Callable[..., Image]] = {
    make.__name__: make
    for make in (
        noise, smoothed_noise, specks, mostly_zero, gradient, checkerboard, box_of_ones,
        orange, kiwi, pineapple, melon, watermelon,
        water_ball, bottle, grid_phantom,
        abdomen, thigh, knee, neck, spine,
    )
}  # fmt: skip
