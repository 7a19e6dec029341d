"""Anatomies: what a slice of chest, abdomen or head holds, and the region map of each.

IPv2 purifies a dark organ: the lung. Abdomen and head have none. What is dark in them is gas in bowel and sinuses,
which no reader looks at, so that purification has no meaning there (docs/anatomy.md).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from harness.imaging.montage import LUNG_WINDOW_HU
from harness.imaging.regions import Code, Region, dilate, erode
from harness.imaging.segment import Image, Mask, blur, calibrated, close, components, segment, without_small

Anatomy = Literal["chest", "abdomen", "head"]


class Recipe(NamedTuple):
    """What is known of an anatomy before any slice is seen."""

    regions: tuple[Region, ...]
    """The scoring regions that its region maps can hold."""
    dark_organ: str | None
    """What purification takes from the low-dose slice; None where there is nothing to purify."""
    reading_hu: tuple[float, float]
    """The window that its readers look through, for pictures."""


_ANY: tuple[Region, ...] = ("whole", "background", "body", "table", "boundary")
_TISSUES: tuple[Region, ...] = ("gas", "soft", "fat", "bone")
ANATOMIES: dict[Anatomy, Recipe] = {
    "chest": Recipe((*_ANY, "lung", "nodules"), "lung", LUNG_WINDOW_HU),
    "abdomen": Recipe((*_ANY, *_TISSUES), None, (-160.0, 240.0)),
    "head": Recipe((*_ANY, *_TISSUES, "brain"), None, (-20.0, 100.0)),
}

FAT_HU = (-250.0, -30.0)
CORTEX_HU = 300.0
BONE_HU = 150.0
"""Bone within `NEAR_MM` of cortex. Enhanced vessels and kidneys are as dense, and farther from it."""
NEAR_MM = 6.0
MARROW_HU, MARROW_MM2 = 60.0, 3000.0
"""Marrow in a ring of cortex, and the largest that a ring may hold: a vertebra, the head of a femur."""
BRAIN_HU = (-30.0, 120.0)
SKULL_GAP_MM = 10.0
"""Widest gap in the skull (a suture, a foramen, the edge of a thin bone) that is closed to find what lies inside."""
BRAIN_MM2 = 500.0
LUNG_BASE_HU = (-930.0, -500.0)
LUNG_BASE_MM2 = 500.0


def region_map(
    image: NDArray[np.uint8], anatomy: Anatomy, *, window_hu: tuple[float, float] | None, pixel_mm: float | None
) -> NDArray[np.uint8]:
    """Region map (uint8, codes of `harness.imaging.regions`) of a slice (uint8, height x width) of that anatomy.

    The other arguments are those of `segment`, which finds patient, table and air in all of them, and is the whole
    recipe of the chest. In abdomen and head the patient is divided by thresholds in HU, on a slice smoothed by 1 mm:
    gas, bone (dense, and near cortex), fat, and soft tissue. In the head the soft tissue that the skull encloses is
    brain, with its fluid. Lung that shows above the diaphragm keeps the code of lung.
    """
    codes = segment(image, window_hu=window_hu, pixel_mm=pixel_mm)
    if anatomy == "chest":
        return codes
    hu, _, mm = calibrated(image, window_hu, pixel_mm)
    patient = np.isin(codes, (Code.BODY, Code.LUNG, Code.GAS))
    codes[patient] = Code.BODY
    smooth = blur(hu, mm)
    gas, lung = _air_spaces(smooth, patient, mm)
    bone = _bone(smooth, patient, mm)
    codes[patient & (smooth >= FAT_HU[1])] = Code.SOFT
    codes[patient & (smooth >= FAT_HU[0]) & (smooth < FAT_HU[1])] = Code.FAT
    codes[gas] = Code.GAS
    codes[lung] = Code.LUNG
    codes[bone] = Code.BONE
    if anatomy == "head":
        codes[_enclosed_by(bone, smooth, mm) & (codes == Code.SOFT)] = Code.BRAIN
    return codes


def _air_spaces(smooth: Image, patient: Mask, mm: float) -> tuple[Mask, Mask]:
    """Gas, and lung: what is large and less dark than gas."""
    lung = np.zeros(patient.shape, bool)
    low = (smooth < -450) & erode(patient, 2 * mm)
    for part in components(without_small(low, LUNG_BASE_MM2 * mm**2)):
        core = part & erode(part, 2 * mm)
        if core.any() and LUNG_BASE_HU[0] < np.median(smooth[core]) < LUNG_BASE_HU[1]:
            lung |= part
    return low & ~lung, lung


def _bone(smooth: Image, patient: Mask, mm: float) -> Mask:
    """Cortex, what is dense near it, and marrow that it encloses."""
    cortex = without_small(patient & (smooth > CORTEX_HU), 10 * mm**2)
    ring = close(cortex, NEAR_MM / 2 * mm)
    holes = ndi.binary_fill_holes(ring) & ~ring
    marrow = holes & ~without_small(holes, MARROW_MM2 * mm**2) & (smooth > MARROW_HU)
    return patient & (marrow | (dilate(cortex, NEAR_MM * mm) & (smooth > BONE_HU)))


def _enclosed_by(bone: Mask, smooth: Image, mm: float) -> Mask:
    """What the skull encloses: empty below it, where nothing of some size is enclosed."""
    skull = close(bone, SKULL_GAP_MM / 2 * mm)
    inside = ndi.binary_fill_holes(skull) & ~skull & (smooth > BRAIN_HU[0]) & (smooth < BRAIN_HU[1])
    # narrow channels of the skull base are no brain
    opened = dilate(erode(inside, 3 * mm), 3 * mm) & inside
    return without_small(opened, BRAIN_MM2 * mm**2)
