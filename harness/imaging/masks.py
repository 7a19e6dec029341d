"""Dark masks of IPv1 and the background removal of IPv2, as their published code computes them.

arXiv 2510.07492 (IPv1), arXiv 2602.19314 (IPv2). The published variant keeps their quirks: masks are summed modulo
256, so a mask weighs 254/255 where both slices are dark, and the background is searched from pixel (0, 0) only.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def dark_mask(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 where a slice (uint8, height x width) is at or below its Otsu threshold, else 0, opened by a 3x3 cross.

    Pixels outside the image do not erode the mask (OpenCV's border rule).
    """
    _, dark = cv2.threshold(image, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    return _grey(cv2.morphologyEx(dark, cv2.MORPH_OPEN, _CROSS))


def common_mask(low_dose: NDArray[np.uint8], normal_dose: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Sum modulo 256 of both slices' dark masks: 0, 255 where one slice is dark, 254 where both are."""
    return dark_mask(low_dose) + dark_mask(normal_dose)  # uint8 addition wraps: 255 + 255 = 254


def remove_background(common: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Clear the 4-connected region of pixel (0, 0) in a common mask (uint8, height x width).

    The region is one of {common > 200}, the dark pixels; where the corner is not dark it is one of the
    others, which clears nothing.
    """
    dark = common > 200
    side = dark if dark[0, 0] else ~dark
    _, components = cv2.connectedComponents(side.astype(np.uint8), connectivity=4)
    return np.where(components == components[0, 0], np.uint8(0), common)


def _grey(image: cv2.typing.MatLike) -> NDArray[np.uint8]:
    return np.asarray(image, dtype=np.uint8)
