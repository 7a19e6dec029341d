"""Inside the lungs: aerated tissue with its textures and diseases, fissures, vessels and bronchi."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.phantom.anatomy import Nodule
from harness.phantom.section import Section
from harness.phantom.shapes import Array
from harness.phantom.surfaces import material_height
from harness.phantom.vessels import draw_tubes

SLAB_MM = 2.5
"""Thickness of the slab over which vessels and bronchi are averaged."""


class Inside(NamedTuple):
    """Inside the lungs: the share of each pixel that is bronchial air, and the share that a nodule fills."""

    bronchial_air: Array
    nodules: Array


def paint_lungs(section: Section) -> Inside:
    """Paint both lungs; return where bronchi and nodules are."""
    inside = Inside(np.zeros_like(section.hu), np.zeros_like(section.hu))
    box = section.box(section.lungs)
    if box is None:
        return inside
    a = section.patient.anatomy
    # The tissue in this plane depends on the breath: it moves with the diaphragm.
    z = material_height(a, section.z, section.breath)
    vessels, walls, air = _trees(section, z)
    air = air[box] * section.cover(section.lungs[box])

    nodules = [(nodule, _nodule(section, nodule, z, box)) for nodule in a.nodules]
    tissue = _tissue(section, z, box, nodules)
    vessel_hu = np.float32(0.8 * a.blood_hu if a.contrast else 45)
    tissue += (vessel_hu - tissue) * vessels[box]
    tissue += (np.float32(-120) - tissue) * (np.float32(0.85) * walls[box])
    tissue += (np.float32(-975) - tissue) * air
    section.hu[box] += (tissue - section.hu[box]) * section.cover(section.lungs[box])
    section.fill(np.abs(section.lungs + np.float32(0.2)) - np.float32(0.35), 20, opacity=0.35)  # pleura
    inside.bronchial_air[box] = air
    for _, share in nodules:
        inside.nodules[box] = np.maximum(inside.nodules[box], share)
    return inside


def _nodule(section: Section, nodule: Nodule, z: float, box: tuple[slice, slice]) -> Array:
    """Share of each pixel that a nodule fills: a ball whose surface the coarse texture dents."""
    away = _distance(section.x[box] - nodule.x, section.y[box] - nodule.y, z - nodule.z)
    return section.cover(away + np.float32(0.8) * section.coarse[box] - np.float32(nodule.radius))


def _tissue(section: Section, z: float, box: tuple[slice, slice], nodules: list[tuple[Nodule, Array]]) -> Array:
    """Density of the parenchyma without vessels, in HU: it increases towards the back, on which the patient lies.

    `nodules` holds each nodule with the share of each pixel of the box that it fills.
    """
    patient, a = section.patient, section.patient.anatomy
    x, y = section.x[box], section.y[box]
    blotch = patient.coarse(x, y, z, 4)
    tissue: Array = np.float32(a.lung_hu + 30 * section.breath.exhaled) + np.float32(a.gravity_hu / a.half_depth) * y
    tissue += np.float32(16) * patient.fine(x, y, z, 1.3) + np.float32(14) * patient.coarse(x, y, z, 2.6)
    if a.emphysema:
        holes = np.clip(blotch - np.float32(1.5 - a.emphysema), 0, 0.35) * np.float32(0.9 / 0.35)
        tissue += (np.float32(-970) - tissue) * holes
    for haze in a.opacities:
        away = _distance(x - haze.x, y - haze.y, z - haze.z) / np.float32(haze.radius)
        tissue += np.float32(280) * np.clip(np.float32(1.1) - away - np.float32(0.35) * blotch, 0, 1)
    for nodule, share in nodules:
        tissue += (np.float32(nodule.hu) - tissue) * share
    slope = y * np.float32(0.8) - np.float32((z - 0.55 * a.lung_height) * 0.62)
    fissure = np.abs(slope + np.float32(6) * patient.coarse(x + np.float32(90), y, z, 9)) - np.float32(0.45)
    tissue += (np.float32(-650) - tissue) * (np.float32(0.55) * section.cover(fissure))
    return tissue


def _distance(x: Array, y: Array, z: float) -> Array:
    return np.sqrt(x * x + y * y + np.float32(z * z)).astype(np.float32)


def _trees(section: Section, z: float) -> tuple[Array, Array, Array]:
    """Shares of each pixel filled by vessels, by bronchial walls and by bronchial air, for lung tissue at height z."""
    patient = section.patient
    arteries, veins = (_in_slab(tree, z) for tree in (patient.arteries, patient.veins))
    # A bronchus runs beside each artery of more than 1 mm radius, a little narrower than it.
    bronchi = arteries[arteries[:, 6] > 1.0].copy()
    bronchi[:, [6, 7]] = 0.8 * np.minimum(bronchi[:, [6, 7]], 5)
    beside = bronchi[:, 6].copy()
    for end in (0, 3):
        bronchi[:, end] += 2.0 * beside
        bronchi[:, end + 1] -= 1.0 * beside
    outside = bronchi.copy()
    outside[:, [6, 7]] += 0.35 + 0.15 * bronchi[:, [6, 7]]

    def draw(tubes: Array) -> Array:
        return draw_tubes(
            _in_scanner(section, tubes), z=z, thickness=SLAB_MM, size=len(section.hu), pixel_mm=section.pixel_mm
        )

    air = draw(bronchi)
    return draw(np.concatenate([arteries, veins])), np.maximum(draw(outside) - air, 0), air


def _in_slab(tree: Array, z: float) -> Array:
    reach = np.maximum(tree[:, 6], tree[:, 7]) + np.float32(SLAB_MM)
    near = (np.minimum(tree[:, 2], tree[:, 5]) < z + reach) & (np.maximum(tree[:, 2], tree[:, 5]) > z - reach)
    return tree[near]


def _in_scanner(section: Section, tubes: Array) -> Array:
    """Move tubes from full inspiration to their place in this breath, in scanner coordinates."""
    patient, breath = section.patient, section.breath
    moved = tubes.copy()
    for end in (0, 3):
        x = tubes[:, end : end + 1] * np.float32(breath.width_scale)
        y = tubes[:, end + 1 : end + 2] * np.float32(breath.depth_scale)
        # A point of the section shows the anatomy at that point plus its warp: two steps invert this.
        warp_x, warp_y = patient.warp(x, y, section.z)
        warp_x, warp_y = patient.warp(x - warp_x, y - warp_y, section.z)
        x, y = patient.to_scanner(x - warp_x, y - warp_y, breath)
        moved[:, end : end + 1], moved[:, end + 1 : end + 2] = x, y
    return moved
