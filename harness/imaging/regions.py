"""Regions of an axial slice: the codes of a region map and the scoring regions made of them."""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

Region = Literal[
    "whole", "background", "body", "lung", "table", "boundary", "nodules", "gas", "soft", "fat", "bone", "brain"
]
"""The scoring regions; `shrink` says what each one is, and `harness.imaging.anatomy` which slices have it."""
REGIONS: tuple[Region, ...] = get_args(Region)


class Code(IntEnum):
    """Values of a region map (uint8). `LUNG` is parenchyma with its vessels, `GAS` air inside the body
    that is not lung: trachea, bronchi, bowel; `PADDING` lies outside the scanner's field of view;
    `UNASSIGNED` is where two segmentations disagree. `NODULE`, part of the lung, is only in the phantom's truth.
    The last four are tissues of abdomen and head; `BODY` is there what is in none of them."""

    PADDING = 0
    AIR = 1
    TABLE = 2
    BODY = 3
    LUNG = 4
    GAS = 5
    UNASSIGNED = 6
    NODULE = 7
    SOFT = 8
    FAT = 9
    BONE = 10
    BRAIN = 11


TISSUES = (Code.BODY, Code.SOFT, Code.FAT, Code.BONE, Code.BRAIN)
"""The codes of `body`: everything in the patient but lung and gas."""


def shrink(codes: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
    """Scoring regions of a region map (uint8, height x width) as bool masks of its shape.

    `whole`: everything but the padding. `background`: air, at least 3 pixels from anything else and 5 from the table.
    `body`: chest wall, mediastinum and bone, and `lung`: each at least 2 pixels from anything else. `table`: all of it.
    `boundary`: the rest of `whole`, except gas; there the mixture of two tissues, not the noise, decides a score.
    The last five do not overlap. `nodules` overlap with `lung` and `boundary` and are not eroded: recovered contrast
    is measured over the whole object (NEMA NU 2, hot spheres), and half the pixels of a small nodule are on its edge.
    `gas`, `soft` tissue, `fat`, `bone` and `brain` are those of abdomen and head, at least 2 pixels from anything else;
    all but `gas` are parts of `body`, which is everything in the patient but lung and gas.
    """
    whole, table = codes != Code.PADDING, codes == Code.TABLE
    background = erode(codes == Code.AIR, 3) & ~dilate(table, 2 + 3)
    body = erode(np.isin(codes, TISSUES), 2)
    nodules = codes == Code.NODULE
    lung = erode((codes == Code.LUNG) | nodules, 2)
    return {
        "whole": whole,
        "background": background,
        "body": body,
        "lung": lung,
        "table": table,
        "boundary": whole & ~(background | body | lung | table | (codes == Code.GAS)),
        "nodules": nodules,
        "gas": erode(codes == Code.GAS, 2),
        "soft": erode(codes == Code.SOFT, 2),
        "fat": erode(codes == Code.FAT, 2),
        "bone": erode(codes == Code.BONE, 2),
        "brain": erode(codes == Code.BRAIN, 2),
    }


def consensus(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Region map of what two segmentations of a slice agree on, and the fraction of pixels on which they agree.

    Both are uint8 (height, width). Where they differ the code is `UNASSIGNED`, which counts to `whole` and `boundary`
    but to no tissue; where they differ on the tissue alone it is `BODY`. Pixels that are padding in both are left out
    of the fraction; it is 1 where no other are left.
    """
    agree = one == other
    differ = np.where(np.isin(one, TISSUES) & np.isin(other, TISSUES), np.uint8(Code.BODY), np.uint8(Code.UNASSIGNED))
    seen = ~(agree & (one == Code.PADDING))
    fraction = float(agree[seen].mean()) if seen.any() else 1.0
    return np.where(agree, one, differ), fraction


def field_of_view(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a slice (uint8, height x width) shows anything: a bool mask of its shape.

    That is the inscribed circle of a square image whose corners all have one value, and every pixel of any other.
    """
    height, width = image.shape
    rows, columns = np.ogrid[:height, :width]
    # squares of half pixels are exact, and a square root is rounded in one way; hypot need not be
    distance = np.sqrt((rows - (height - 1) / 2) ** 2 + (columns - (width - 1) / 2) ** 2) / (width / 2)
    corners = image[distance > 1.05]  # a denoiser may have blurred the circle's edge
    if height != width or corners.size == 0 or corners.min() != corners.max():
        return np.ones(image.shape, bool)
    circle: NDArray[np.bool_] = distance <= 1
    return circle


def erode(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Pixels more than `radius` pixels from everything outside the mask; the image's border does not count."""
    eroded: NDArray[np.bool_] = cv2.erode(mask.view(np.uint8), _disk(radius)).view(np.bool_)
    return eroded


def dilate(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Pixels at most `radius` pixels from the mask."""
    dilated: NDArray[np.bool_] = cv2.dilate(mask.view(np.uint8), _disk(radius)).view(np.bool_)
    return dilated


@cache
def _disk(radius: float) -> NDArray[np.uint8]:
    """Pixels at most `radius` pixels from the middle one; for a small radius much faster than a distance transform."""
    reach = np.arange(-int(radius), int(radius) + 1)
    disk: NDArray[np.uint8] = (np.sqrt(reach[:, None] ** 2 + reach**2) <= radius).astype(np.uint8)
    return disk
