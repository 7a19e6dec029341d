"""Fat, skin, muscles, mediastinum, and the abdomen under the diaphragm."""

from __future__ import annotations

import numpy as np

from harness.imaging.portable import exps
from harness.phantom.section import Section
from harness.phantom.shapes import OUTSIDE, Array, ellipse, ramp
from harness.phantom.surfaces import AIRWAYS, GREAT_VESSELS, NECK_VESSELS, breast


def paint_body_wall(section: Section) -> None:
    """Subcutaneous fat under the skin, glands, and the muscles on the chest wall."""
    a, x, y, t = section.patient.anatomy, section.x, section.y, section.t
    s, body, angle = a.size, section.body, np.abs(section.angle)
    shoulder = ramp(0.22, 0.02, t)
    section.fill(body, 20, fine=5)  # skin
    section.fill(body + np.float32(1.6), -100, fine=4, coarse=6)
    if swell := breast(a, t):
        for side in (-1, 1):
            centre, radii = (side * 84 * s, -0.86 * a.half_depth), (30 * s * swell + 1, 17 * s * swell + 1)
            gland = ellipse(x, y, centre, radii) + np.float32(4) + np.float32(5) * section.coarse
            section.fill(gland, 25, fine=8, opacity=0.8)

    def bulge(middle: float, width: float) -> Array:
        away = ((angle - np.float32(middle)) * np.float32(1 / width)).astype(np.float64)
        share: Array = exps(-(away * away).ravel()).astype(np.float32).reshape(angle.shape)
        return share

    # Pectorals in front, latissimus at the side, trapezius and rhomboids behind.
    pectorals, latissimus, trapezius = bulge(0.75, 0.42), bulge(2.2, 0.5), bulge(2.75, 0.32)
    thickness = 0.55 + (0.9 if t < 0.55 else 0.4) * pectorals + 0.75 * latissimus + 0.8 * trapezius
    thickness = (thickness * np.float32(a.muscle * (1 + 0.7 * shoulder))).astype(np.float32)
    under_skin = body + np.float32(0.35 * a.fat + 1.6)
    muscles = np.maximum(section.chest - thickness - np.float32(9), under_skin)
    section.fill(muscles, 52, fine=7, coarse=4)
    if shoulder > 0.1:
        for side in (-1, 1):
            centre = (side * 0.80 * a.half_width, -2)
            girdle = ellipse(x, y, centre, ((58 * shoulder + 8) * s, (50 * shoulder + 8) * s), square=0.48)
            section.fill(np.maximum(girdle + np.float32(3) * section.coarse, under_skin), 52, fine=8)
            plane = np.abs(ellipse(x, y, centre, (34 * s, 30 * s), turn=side * 0.5) + np.float32(5) * section.coarse)
            section.fill(np.maximum(plane - np.float32(1.2), under_skin), -80, opacity=0.8 * shoulder)
    for side in (-1, 1):
        erector = ellipse(x, y, (side * 30 * s, 0.74 * a.half_depth), (26 * s, 17 * s), square=0.62)
        section.fill(np.maximum(erector, under_skin), 50, fine=7)
    # Fat planes between the layers, patchy, and intercostal fat on the pleura's outside.
    layer = np.abs(section.chest - np.float32(9) - thickness * np.float32(0.5)) - np.float32(0.8)
    layer = np.where((section.coarse > 0.1) & (angle < 2.6), layer, OUTSIDE)
    section.fill(layer, -60, opacity=0.8)


def paint_mediastinum(section: Section) -> None:
    """Fat, heart, great vessels, airways, oesophagus and lymph nodes inside the chest wall."""
    a, x, y, t, s = section.patient.anatomy, section.x, section.y, section.t, section.patient.anatomy.size
    section.fill(section.chest, -95, fine=7, coarse=8)
    # Strands and small vessels make the fat less even.
    strands = np.abs(section.coarse) - np.float32(0.12)
    section.fill(np.maximum(strands * np.float32(4), section.chest), -40, opacity=0.5)
    if 0.30 < t < 0.58:
        nodes = ellipse(x, y, (-2, 0), (14 * s, 10 * s)) + np.float32(4) * section.coarse
        section.fill(nodes, 40, fine=8, opacity=0.8)
    if t < 0.35:  # thymus bed, between sternum and great vessels
        thymus = ellipse(x, y, (2, -0.45 * a.half_depth), (17 * s, 10 * s)) + np.float32(5) * section.coarse
        section.fill(thymus, -20, fine=8, coarse=25, opacity=0.6)
    vessels = [section.organs[name] for name in (*GREAT_VESSELS, *NECK_VESSELS) if name in section.organs]
    for vessel in vessels:
        section.fill(vessel, 55)
    if "heart" in section.organs:  # before the blood of the vessels that open into it
        _paint_heart(section, section.organs["heart"])
    for vessel in vessels:
        section.fill(vessel + np.float32(1.3), a.blood_hu, fine=4)
    for airway in (section.organs[name] for name in AIRWAYS if name in section.organs):
        section.fill(airway - np.float32(1.6), 30)
        section.fill(airway, -995, fine=3)
    section.fill(section.organs["oesophagus"], 35, fine=4)
    section.fill(section.organs["oesophagus"] + np.float32(4.2), -400, opacity=0.6)


def _paint_heart(section: Section, heart: Array) -> None:
    a, s = section.patient.anatomy, section.patient.anatomy.size
    section.fill(heart - np.float32(3), -80, fine=6, coarse=10)  # epicardial fat
    section.fill(heart, 50, fine=5)
    septum = np.abs(ellipse(section.x, section.y, (70 * s, 20 * s), (64 * s, 64 * s)) + np.float32(2) * section.coarse)
    chambers = np.maximum(heart + np.float32(7 * s) + np.float32(2.5) * section.coarse, np.float32(3.2) - septum)
    section.fill(chambers, a.blood_hu, fine=4)
    groove = np.abs(heart + np.float32(1)) - np.float32(1.4)
    section.fill(groove, -85, opacity=np.clip(section.coarse * np.float32(0.56), 0, 1))


def paint_abdomen(section: Section) -> Array:
    """Liver, stomach, spleen and their fat below the diaphragm; return the share of each pixel that is bowel gas."""
    a, x, y, s = section.patient.anatomy, section.x, section.y, section.patient.anatomy.size
    height = np.float32(section.z) - section.diaphragm
    gas_share = np.zeros_like(section.hu)
    below = np.clip((height - np.float32(2)) * np.float32(0.5), 0, 1) * section.cover(section.chest + np.float32(1.5))
    if not below.any():
        return gas_share
    for name in ("heart", "descending aorta", "oesophagus"):
        if name in section.organs:
            below *= 1 - section.cover(section.organs[name])
    enhanced = 45.0 if a.contrast else 0.0
    liver = ellipse(x, y, (-45 * s, -8), (105 * s, 95 * s), square=0.56)
    stomach = ellipse(x, y, (72 * s, -18), (52 * s, 56 * s), square=0.56)
    spleen = ellipse(x, y, (92 * s, 44), (34 * s, 44 * s), square=0.48, turn=0.4)
    section.fill(section.chest, -100, fine=6, opacity=0.6 * below)
    section.fill(liver, 62 + enhanced, fine=5, opacity=below)
    section.fill(np.maximum(stomach, -liver), 30, fine=8, opacity=below)
    gas = np.maximum(
        np.maximum(stomach + np.float32(7), -liver - np.float32(4)), y + np.float32(22)
    )  # rises, flat below
    section.fill(gas, -990, opacity=below)
    section.fill(np.maximum(spleen, -stomach), 52 + enhanced, fine=5, opacity=below)
    # The muscle itself, where the section grazes it.
    muscle = np.clip(1 - np.abs(height) * np.float32(0.4), 0, 1) * (1 - section.cover(section.mediastinum))
    section.fill(section.chest + np.float32(1.5), 45, opacity=muscle)
    gas_share += section.cover(gas) * below
    return gas_share
