"""Where the organs end: signed distances of body, chest wall, mediastinum, great vessels, airways and lungs.

All take the person, points (x, y) in the patient's frame (float32 arrays), the height z in mm and the breath.
"""

from __future__ import annotations

import math

import numpy as np

from harness.imaging.portable import sin
from harness.phantom.anatomy import Anatomy, Breath
from harness.phantom.shapes import Array, ellipse, join, ramp

GREAT_VESSELS = ("descending aorta", "aortic arch", "ascending aorta", "superior vena cava", "pulmonary trunk")
NECK_VESSELS = ("right carotid", "left carotid", "left subclavian artery", "right brachiocephalic vein")
AIRWAYS = ("trachea", "right bronchus", "left bronchus")


def body_outline(a: Anatomy, x: Array, y: Array, z: float, breath: Breath) -> Array:
    """The skin."""
    t, s = z / a.lung_height, a.size
    shoulder = ramp(0.22, 0.02, t)
    squeeze = (1 - breath.depth_scale) * 0.9 * ramp(-0.1, 0.5, t)
    width, depth = a.half_width * (1 + 0.14 * shoulder), a.half_depth * (1 - 0.12 * shoulder) * (1 - squeeze / 2)
    corners = min(a.corners + 0.1 * shoulder, 0.9)
    body = ellipse(x, y, (0, squeeze * a.half_depth / 2 + 4 * shoulder), (width, depth), square=corners)
    for side in (-1, 1):
        if swell := breast(a, t):
            centre, radii = (side * 80 * s, -0.78 * a.half_depth), (58 * s * swell + 1, 34 * s * swell + 1)
            body = join(body, ellipse(x, y, centre, radii, turn=side * 0.25), 22)
        if shoulder > 0:  # the root of the raised arm
            arm = ellipse(x, y, (side * 0.82 * a.half_width, -8), (38, 46 * shoulder + 10))
            body = join(body, arm, 25)
    return body


def breast(a: Anatomy, t: float) -> float:
    """How far the breast swells at relative height t, 0 to 1."""
    return sin(math.pi * (t - 0.30) / 0.55) if a.female and 0.30 < t < 0.85 else 0.0


def chest_wall(a: Anatomy, x: Array, y: Array, z: float, breath: Breath) -> Array:
    """The inner surface of the rib cage, the parietal pleura."""
    t = z / a.lung_height
    depth_scale = 1 - (1 - breath.depth_scale) * ramp(-0.1, 0.5, t)
    width_scale = 1 - (1 - breath.width_scale) * ramp(0, 0.5, t)
    # From the apex the cage widens like an ellipsoid, to its widest place at t = 0.62.
    widening = 0.16 + 0.84 * math.sqrt(max(1 - ((0.62 - min(t, 0.62)) / 0.66) ** 2, 0.02))
    half_width = (a.half_width - a.fat - a.muscle - 9) * widening * width_scale
    half_depth = (a.half_depth - 0.8 * a.fat - a.muscle - 8) * (0.30 + 0.70 * widening) * depth_scale
    middle = -1 + (1 - depth_scale) * a.half_depth * 0.8 + (1 - widening) * 14
    apart = 0.40 * half_width
    cage = join(
        ellipse(x, y, (-apart, middle), (half_width - apart, half_depth), square=0.33, turn=-0.06),
        ellipse(x, y, (apart, middle), (half_width - apart, half_depth), square=0.33, turn=0.06),
        14,
    )
    front = ellipse(x, y, (0, middle - 0.1 * half_depth), (0.86 * half_width, 0.84 * half_depth), square=0.48)
    return join(cage, front, 16)


def organs(a: Anatomy, x: Array, y: Array, z: float, breath: Breath) -> dict[str, Array]:
    """Heart, great vessels, airways and oesophagus by name, those that this height cuts."""
    height, s = a.lung_height, a.size
    found: dict[str, Array] = {}
    heart_middle = 0.66 * height - 8 * breath.exhaled
    bulge = 1 - ((z - heart_middle) / (62 * s)) ** 2
    if bulge > 0.02:
        scale = s * breath.heart_scale * math.sqrt(bulge)
        found["heart"] = ellipse(x, y, (24 * s, -30 * s), (60 * scale, 45 * scale), turn=0.45)
    carina, arch = 0.40 * height, 0.27 * height
    if z < carina:
        found["trachea"] = ellipse(x, y, (-2, 12 + (z - carina) * 0.06), (8.5 * s, 8 * s), square=0.3)
    elif z < carina + 45:
        below = z - carina
        found["right bronchus"] = ellipse(x, y, (-8 - 0.75 * below, 14 + 0.1 * below), (7.5 * s, 6 * s))
        found["left bronchus"] = ellipse(x, y, (8 + 1.05 * below, 14 + 0.12 * below), (8 * s, 5 * s))
    if z > arch:
        found["descending aorta"] = ellipse(x, y, (27 * s, 44 * s - 0.03 * (z - arch)), (12.5 * s, 12.5 * s))
    if arch - 9 < z < arch + 12:
        found["aortic arch"] = ellipse(x, y, (10 * s, 10 * s), (11 * s, 38 * s), square=0.6, turn=-0.55)
    if arch < z < 0.58 * height:
        found["ascending aorta"] = ellipse(x, y, (-14 * s, -28 * s), (15 * s, 15 * s))
    if z < 0.62 * height:
        found["superior vena cava"] = ellipse(
            x, y, (-34 * s, -22 * s + 0.05 * (0.3 * height - z)), (9 * s, 8 * s), square=0.2
        )
    if 0.40 * height < z < 0.52 * height:
        trunk = ellipse(x, y, (16 * s, -14 * s), (26 * s, 12 * s), square=0.4, turn=-0.35)
        right = ellipse(x, y, (-16 * s, -4 * s), (30 * s, 8 * s), square=0.4, turn=-0.12)
        found["pulmonary trunk"] = join(trunk, right, 8) if 0.44 * height < z < 0.49 * height else trunk
    if z < arch:
        measures = (((-18, -6), 6), ((8, -2), 5), ((20, 8), 5), ((-26, -14), 6.5))
        for name, (centre, radius) in zip(NECK_VESSELS, measures, strict=True):
            found[name] = ellipse(x, y, centre, (radius, radius))
    found["oesophagus"] = ellipse(x, y, (6, 34 * s), (6, 5))
    return found


def mediastinum(
    a: Anatomy, x: Array, y: Array, z: float, breath: Breath, *, contents: dict[str, Array] | None = None
) -> Array:
    """The tissue between the lungs: a smooth hull of heart, great vessels, spine and the fat between them."""
    t, s, depth = z / a.lung_height, a.size, a.half_depth
    contents = organs(a, x, y, z, breath) if contents is None else contents
    # A broad middle compartment, and a thin anterior junction that widens at the thoracic inlet and at the heart.
    middle = (30 - 10 * ramp(0.45, 0.8, t) - 6 * ramp(0.25, 0.0, t)) * s
    junction = (9 + 16 * ramp(0.30, 0.12, t) + 9 * ramp(0.42, 0.60, t)) * s
    hull = ellipse(x, y, (2, 8), (middle, 44 * s), square=0.48)
    hull = join(hull, ellipse(x, y, (3 * s, -0.52 * depth), (0.55 * junction + 3, 0.48 * depth), square=0.48), 12)
    retrosternal = (20 + 10 * ramp(0.3, 0.1, t)) * s
    hull = join(hull, ellipse(x, y, (2 * s, -0.93 * depth), (retrosternal, 16 * s)), 14)
    hull = join(hull, ellipse(x, y, (0, 0.60 * depth), (22 * s, 27 * s), square=0.56), 7)  # vertebral bodies
    hull = join(hull, ellipse(x, y, (0, 0.84 * depth), (31 * s, 17 * s)), 7)
    for name, organ in contents.items():
        if name == "heart":
            hull = join(hull, organ - np.float32(5), 10)
        elif name in GREAT_VESSELS or name.endswith("bronchus"):
            hull = join(hull, organ - np.float32(2), 6)
    return hull


def diaphragm(a: Anatomy, x: Array, y: Array, breath: Breath) -> Array:
    """Height z of the diaphragm above each point: two domes, the right one higher."""
    s = a.size

    def dome(top: float, cx: float, cy: float, rx: float) -> Array:
        r2 = ((x - np.float32(cx)) * np.float32(1 / rx)) ** 2 + ((y - np.float32(cy)) * np.float32(1 / (92 * s))) ** 2
        return np.float32(top) + np.float32(62) * np.clip(r2, np.float32(0), np.float32(1.6))

    right = dome(a.dome_right - breath.lift, -72 * s, -8, 88 * s)
    left = dome(a.dome_left - 0.9 * breath.lift, 76 * s, -2, 86 * s)
    leftness = np.clip(np.float32(0.5) + x * np.float32(1 / 24), np.float32(0), np.float32(1))
    height: Array = right + (left - right) * leftness
    return height


def lungs(chest: Array, middle: Array, floor: Array, z: float) -> Array:
    """Both lungs: inside the chest wall, outside the mediastinum, above the diaphragm (height `floor`).

    The factor 0.55 turns the height above the slanting diaphragm into an approximate distance from it.
    """
    within = np.maximum(chest + np.float32(1), -middle)
    return -join(-within, (floor - np.float32(z)) * np.float32(0.55), 4)


def material_height(a: Anatomy, z: float, breath: Breath) -> float:
    """Where the lung tissue now at height z was at full inspiration: it rises with the diaphragm, least at the apex."""
    share = z / a.dome_right
    return z + breath.lift * ramp(0.05, 1, share) * min(1.0, share)
