"""The measures of one person, and how breathing changes them.

Frame, in mm: x to the image's right (the patient's left), y downwards (towards the back), z from the apex of the lungs
towards the feet; x = y = 0 is the middle of the chest. `t` is z as a share of the lungs' height.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from harness.base.structs import Strict
from harness.imaging.draws import Draws

View = Literal["full", "tight", "table-across", "closed-cavity"]
VIEWS: tuple[View, ...] = get_args(View)
"""Fields of view. On all but `full` the published background removal fails: the body crosses the border (`tight`),
the table reaches both borders (`table-across`), the table holds a closed air cavity (`closed-cavity`)."""


class Nodule(Strict, frozen=True, kw_only=True):
    """A solid ball in the lung: where (mm), how big (mm), how dense (HU)."""

    x: float
    y: float
    z: float
    radius: float
    hu: float


class Opacity(Strict, frozen=True, kw_only=True):
    """A ground-glass opacity: a hazy ball in the lung (mm)."""

    x: float
    y: float
    z: float
    radius: float


class Anatomy(Strict, frozen=True, kw_only=True):
    """One person on one table, at full inspiration; lengths in mm, densities in HU."""

    female: bool
    size: float
    half_width: float
    half_depth: float
    corners: float
    fat: float
    muscle: float
    lung_height: float
    dome_right: float
    dome_left: float
    lung_hu: float
    gravity_hu: float
    emphysema: float
    nodules: tuple[Nodule, ...]
    opacities: tuple[Opacity, ...]
    contrast: bool
    blood_hu: float
    rib_slope: float
    rib_start: float
    roll: float
    offset_x: float
    offset_y: float
    table: int
    view: View
    fov_mm: float

    @property
    def rib_pitch(self) -> float:
        return self.lung_height / 10.2


class Breath(Strict, frozen=True, kw_only=True):
    """The state of the body during one scan: how far it has breathed out, the heart's phase, and how it lies."""

    exhaled: float
    """0 = full inspiration, 1 = after a calm breath out, with the domes 22 mm higher."""
    heart_scale: float
    shift_x: float
    shift_y: float
    roll: float

    @property
    def lift(self) -> float:
        """How much higher the diaphragm is than at full inspiration, in mm."""
        return 22 * self.exhaled

    @property
    def depth_scale(self) -> float:
        return 1 - 0.035 * self.exhaled

    @property
    def width_scale(self) -> float:
        return 1 - 0.012 * self.exhaled


INSPIRED = Breath(exhaled=0, heart_scale=1, shift_x=0, shift_y=0, roll=0)
"""Full inspiration in the reference position: the state in which the vessel tree grows."""


def draw_anatomy(rng: np.random.Generator, *, view: View) -> Anatomy:
    """Draw a person; `view` changes the table and the field of view, nothing else.

    Every seed's person depends on the order of the draws: do not change it.
    """

    draws = Draws(rng)
    uniform = draws.uniform

    female = draws.share() < 0.45
    size = uniform(0.92, 1.08) * (0.96 if female else 1.02)
    half_width, half_depth = uniform(152, 172) * size, uniform(106, 122) * size
    lung_height = uniform(235, 275) * size
    dome_right = lung_height - uniform(55, 75)
    contrast = draws.share() < 0.4
    nodules = _draw_nodules(uniform, draws.integer(0, 4), half_width, half_depth, lung_height)
    opacities = tuple(
        Opacity(
            x=(-1.0, 1.0)[draws.integer(0, 2)] * uniform(70, 110),
            y=uniform(-20, 70),
            z=uniform(0.3, 0.75) * lung_height,
            radius=uniform(12, 28),
        )
        for _ in range(draws.integer(1, 4) if draws.share() < 0.35 else 0)
    )
    offset_x, offset_y = uniform(-8, 8), uniform(-14, 4)
    margin = uniform(8, 24)
    reach = half_width * 1.06 + abs(offset_x) + margin
    match view:
        case "tight":
            reach = half_width * (0.84 + 0.002 * margin)
        case "closed-cavity":
            reach = max(reach, half_depth + offset_y + 95)
    return Anatomy(
        female=female,
        size=size,
        half_width=half_width,
        half_depth=half_depth,
        corners=uniform(0.48, 0.66),
        fat=uniform(6, 24) + (6 if female else 0),
        muscle=uniform(9, 15),
        lung_height=lung_height,
        dome_right=dome_right,
        dome_left=dome_right + uniform(8, 18),
        lung_hu=uniform(-885, -835),
        gravity_hu=uniform(25, 70),
        emphysema=uniform(0.2, 1) if draws.share() < 0.3 else 0.0,
        nodules=nodules,
        opacities=opacities,
        contrast=contrast,
        blood_hu=uniform(180, 320) if contrast else uniform(38, 48),
        rib_slope=uniform(60, 85),
        rib_start=uniform(-52, -34),
        roll=uniform(-0.05, 0.05),
        offset_x=offset_x,
        offset_y=offset_y,
        table=draws.integer(0, 3),
        view=view,
        fov_mm=2 * reach,
    )


def _draw_nodules(
    uniform: Callable[[float, float], float], count: int, half_width: float, half_depth: float, lung_height: float
) -> tuple[Nodule, ...]:
    return tuple(
        Nodule(
            x=uniform(-0.55, 0.55) * half_width,
            y=uniform(-0.4, 0.4) * half_depth,
            z=uniform(0.2, 0.75) * lung_height,
            radius=uniform(2.5, 9),
            hu=uniform(-100, 60),
        )
        for _ in range(count)
    )


def draw_breath(rng: np.random.Generator, *, exhaled: tuple[float, float]) -> Breath:
    """Draw the state of one scan; `exhaled` is the range of `Breath.exhaled`."""
    draws = Draws(rng)
    return Breath(
        exhaled=draws.uniform(*exhaled),
        heart_scale=draws.uniform(0.98, 1.02),
        shift_x=draws.normal(0, 1.5),
        shift_y=draws.normal(0, 0.7),
        roll=draws.normal(0, 0.006),
    )
