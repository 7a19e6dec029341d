"""Ribs with their cartilage, sternum, spine, scapulae and the shoulder girdle."""

from __future__ import annotations

import math

import numpy as np

from harness.imaging.portable import cosines, power, sin
from harness.phantom.section import Section
from harness.phantom.shapes import OUTSIDE, ellipse, ramp


def paint_bones(section: Section) -> None:
    """Paint the skeleton over the soft tissue."""
    _paint_ribs(section)
    _paint_sternum(section)
    _paint_spine(section)
    _paint_shoulder_girdle(section)


def _paint_ribs(section: Section) -> None:
    a = section.patient.anatomy
    from_spine = np.float32(np.pi) - np.abs(section.angle)
    off_axis = section.chest - np.float32(5.2)  # distance from the middle of the rib cage's wall
    bone, cartilage = np.full_like(section.hu, OUTSIDE), np.full_like(section.hu, OUTSIDE)
    ring = np.abs(off_axis) < 8
    angle, off_axis = from_spine[ring], off_axis[ring]
    descent = np.float32(a.rib_slope * 1.25 / 1.9) * (1 - cosines(angle * 0.92)).astype(np.float32)
    in_ring_bone, in_ring_cartilage = bone[ring], cartilage[ring]
    for rib in range(12):
        middle = np.float32(a.rib_start + rib * a.rib_pitch) + descent * np.float32(0.75 + 0.055 * rib)
        # Ribs slope, so the section cuts them obliquely: 0.62 turns height into about a distance.
        away = np.sqrt(off_axis**2 + ((np.float32(section.z) - middle) * np.float32(0.62)) ** 2)
        end = 2.45 if rib < 8 else 2.2 - 0.25 * (rib - 7)
        osseous = (angle > 0.28) & (angle < end)
        in_ring_bone = np.where(osseous, np.minimum(in_ring_bone, away - np.float32(4.1)), in_ring_bone)
        if rib < 8:
            costal = (angle >= end) & (angle < 3.05)
            in_ring_cartilage = np.where(
                costal, np.minimum(in_ring_cartilage, away - np.float32(4.2)), in_ring_cartilage
            )
    bone[ring], cartilage[ring] = in_ring_bone, in_ring_cartilage
    section.fill(cartilage, 110, fine=15)
    section.shell(bone, thickness=1.35, cortex=780, marrow=210, fine=60, coarse=70)


def _paint_sternum(section: Section) -> None:
    if 0.18 < section.t < 0.72:
        half_width = 17 * section.patient.anatomy.size + 5 * sin(6 * section.t)
        depth = np.abs(section.chest - np.float32(6)) - np.float32(5)
        plate = np.maximum(np.abs(section.x) - np.float32(half_width), depth)
        plate = np.where(section.y < 0, plate + np.float32(0.8) * section.coarse, OUTSIDE)
        section.shell(plate, thickness=1.2, cortex=420, marrow=120, fine=40, coarse=50)


def _paint_spine(section: Section) -> None:
    a, s = section.patient.anatomy, section.patient.anatomy.size
    x, y, back = section.x, section.y, 0.62 * a.half_depth
    level = (section.z % 25.0) / 25.0  # within one vertebra
    vertebra = ellipse(x, y, (0, back - 6 * s), (19 * s, 15.5 * s), square=0.6)
    if level < 0.2:
        section.fill(vertebra + np.float32(0.5), 95, fine=6)  # the disc
    else:
        section.shell(vertebra, thickness=1.6, cortex=520, marrow=190, fine=60, coarse=50)
    for side in (-1, 1):
        pedicle = ellipse(x, y, (side * 11 * s, back + 12 * s), (4.3, 8), turn=side * 0.2)
        lamina = ellipse(x, y, (side * 8 * s, back + 22 * s), (11, 4.2), turn=side * 0.55)
        section.shell(pedicle, thickness=1.4, cortex=640, marrow=260)
        section.shell(lamina, thickness=1.5, cortex=700, marrow=300)
        if level > 0.35:
            process = ellipse(x, y, (side * 24 * s, back + 17 * s), (15, 4.6), turn=-side * 0.25)
            section.shell(process, thickness=1.4, cortex=600, marrow=230)
    spinous = ellipse(x, y, (0, back + 29 * s), (3.8, 10 * s))
    section.shell(spinous, thickness=1.5, cortex=620, marrow=250)
    section.fill(ellipse(x, y, (0, back + 15 * s), (8.5 * s, 7.5 * s)), 10, fine=4)  # canal
    section.fill(ellipse(x, y, (0, back + 15 * s), (5.5, 4.5)), 38)  # cord


def _paint_shoulder_girdle(section: Section) -> None:
    a, s, t = section.patient.anatomy, section.patient.anatomy.size, section.t
    if 0.03 < t < 0.60:
        span = 0.36 * power(sin(math.pi * (t - 0.03) / 0.57), 0.6)
        for side in (-1, 1):
            beyond = (np.abs(np.float32(side) * section.angle - np.float32(2.22)) - np.float32(span)) * np.float32(110)
            muscle = np.abs(section.chest - np.float32(8 + 0.4 * a.muscle)) - np.float32(4)
            section.fill(np.maximum(muscle, beyond), 54, fine=6, opacity=0.7)
            blade = np.abs(section.chest - np.float32(15 + 0.6 * a.muscle)) - np.float32(2.1) - section.coarse / 2
            blade = np.maximum(np.maximum(blade, beyond), section.body + np.float32(0.4 * a.fat + 4))
            section.shell(blade, thickness=1.1, cortex=620, marrow=230, fine=60)
    shoulder = ramp(0.22, 0.02, t)
    if shoulder > 0.15:
        for side in (-1, 1):
            head = ellipse(
                section.x, section.y, (side * 0.90 * a.half_width, -6), (22 * s * shoulder, 21 * s * shoulder)
            )
            section.shell(head, thickness=2.2, cortex=820, marrow=240, fine=40, coarse=60)
