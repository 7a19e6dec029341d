"""The table under the patient, in three makes, fixed to the scanner."""

from __future__ import annotations

import math

import numpy as np

from harness.phantom.anatomy import Anatomy
from harness.phantom.section import Section

FOAM, SKIN = -930, -40


def paint_table(section: Section, a: Anatomy) -> None:
    """Paint the table under the patient; all but the closed one are hollow with open ends."""
    top = a.offset_y + a.half_depth + 6
    if a.view == "closed-cavity":
        _closed(section, a, top)
    elif a.view == "table-across":
        _mattress(section, a, top)
    else:
        (_double_arc, _trapezoid, _cradle)[a.table](section, top)


def _double_arc(section: Section, top: float) -> None:
    x, y = section.scanner_x, section.scanner_y
    from_arc = np.sqrt(x * x + (y - np.float32(top + 6 - 430)) ** 2) - np.float32(430)
    beyond = np.abs(x) - np.float32(215)
    pad = np.maximum(np.abs(from_arc + np.float32(5)) - np.float32(4), np.abs(x) - np.float32(150))
    section.fill(np.maximum(np.abs(from_arc - np.float32(24)) - np.float32(23), beyond), FOAM)
    section.fill(np.maximum(np.abs(from_arc) - np.float32(1.4), beyond), SKIN)
    section.fill(np.maximum(np.abs(from_arc - np.float32(46)) - np.float32(1.4), beyond), SKIN)
    section.fill(pad, FOAM)


def _trapezoid(section: Section, top: float) -> None:
    x, y = section.scanner_x, section.scanner_y
    from_arc = np.sqrt(x * x + (y - np.float32(top + 4 - 620)) ** 2) - np.float32(620)
    beyond = np.abs(x) - np.float32(205)
    hull = np.maximum(np.abs(x) * np.float32(0.62) + (y - np.float32(top + 85)), y - np.float32(top + 46))
    section.fill(np.maximum(hull, -from_arc), FOAM - 30)
    section.fill(np.maximum(np.maximum(np.abs(from_arc) - np.float32(1.5), beyond), hull - np.float32(2)), SKIN + 60)
    # The slanting sides stop short of the top: the ends are open.
    walls = np.maximum(np.abs(hull) - np.float32(1.3), np.float32(9) - from_arc)
    section.fill(np.maximum(walls, beyond), SKIN - 60)


def _cradle(section: Section, top: float) -> None:
    x, y = section.scanner_x, section.scanner_y
    from_arc = np.sqrt(x * x + (y - np.float32(top + 8 - 330)) ** 2) - np.float32(330)
    shell = np.maximum(np.abs(from_arc - np.float32(15)) - np.float32(16), np.abs(x) - np.float32(190))
    section.fill(shell, FOAM - 25)
    section.fill(np.maximum(np.abs(shell) - np.float32(1.3), np.abs(x) - np.float32(180)), SKIN + 60)


def _mattress(section: Section, a: Anatomy, top: float) -> None:
    """A dense mattress that is wider than the field of view."""
    y = section.scanner_y
    sag = section.scanner_x**2 * np.float32(1 / (2 * 900))
    beyond = np.abs(section.scanner_x) - np.float32(0.5 * a.fov_mm + 25)
    depth = y - np.float32(top + 2) + sag
    section.fill(np.maximum(np.abs(depth - np.float32(6)) - np.float32(5), beyond), SKIN - 60)
    section.fill(np.maximum(np.abs(depth - np.float32(12)) - np.float32(1.5), beyond), SKIN + 60)


def _closed(section: Section, a: Anatomy, top: float) -> None:
    """A hollow table with stout walls all round that fits into the circular field of view."""
    depth, corner = 42.0, 14.0
    room = math.sqrt((a.fov_mm / 2 - 6) ** 2 - (top + 4 + depth) ** 2)
    beside = np.abs(section.scanner_x) - np.float32(min(room, 190) - corner)
    above = np.abs(section.scanner_y - np.float32(top + 4 + depth / 2)) - np.float32(depth / 2 - corner)
    round_corner = np.sqrt(np.maximum(beside, 0) ** 2 + np.maximum(above, 0) ** 2)
    box = round_corner + np.minimum(np.maximum(beside, above), 0) - np.float32(corner)
    section.fill(box, -1000)
    section.fill(np.abs(box + np.float32(2)) - np.float32(2), 100)
