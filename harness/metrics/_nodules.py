"""The lung around nodules, which several metrics measure them against."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.imaging.regions import dilate
from harness.metrics._images import IMAGES, once_per_slice
from harness.metrics._metric import Mask

GAP = 2
"""Pixels around a nodule that are still its blurred edge."""

_REACH = 10  # pixels from the nodule at which the lung around it ends
_SMOOTHED = 1.0


@once_per_slice(IMAGES)
def smoothed(image: NDArray[Any]) -> NDArray[np.float32]:
    """An image (h, w) in which a pixel's noise counts less: blurred by a Gaussian of one pixel."""
    return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), _SMOOTHED, borderType=cv2.BORDER_REPLICATE))


def lung_around(reference: NDArray[Any], nodules: Mask) -> Mask | None:
    """The lung around the nodules of a reference (h, w); None where nothing surrounds them.

    Vessels and chest wall beside a nodule are no part of it: pixels that are brighter, in the smoothed reference, than
    a quarter of the way from the darkest quarter of the surroundings to the nodule. All nodules of a slice are one
    object.
    """
    around = dilate(nodules, _REACH) & ~dilate(nodules, GAP)
    if not around.any():
        return None
    smooth, inside = smoothed(reference), reference[nodules].astype(np.float64)
    dark = float(np.percentile(smooth[around], 25))
    lung: Mask = around & (smooth < dark + (inside.mean() - dark) / 4)
    return lung
