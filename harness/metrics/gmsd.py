"""Gradient magnitude similarity deviation: how unevenly an image's edges differ from the reference's over a region.

Xue et al., "Gradient magnitude similarity deviation: a highly efficient perceptual image quality index", IEEE TIP 23
(2014), arXiv 1308.3052. As in the paper and the authors' program: both images averaged over 2 x 2 pixels and
subsampled by two, Prewitt gradients divided by three with zeros beyond the image, and the constant of
the similarity 170 for a data range of 255 (0.0026 of its square). The deviation is the paper's, over N, where the
authors' program divides by N - 1. A gradient reaches 2 pixels beyond the region.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.imaging.hounsfield import Image
from harness.metrics._images import IMAGES, PAIRS, Map, check, once_per_slice
from harness.metrics._metric import ImageMetric, Mask

_CONSTANT = 170 / 255**2
_PREWITT = np.array([[1, 0, -1]] * 3) / 3


@once_per_slice(PAIRS)
def _similarity(image: Image, reference: Image, data_range: float) -> Map:
    """The map of eq. 4 at half size, (h // 2, w // 2)."""
    a, b = _gradient(image), _gradient(reference)
    constant = _CONSTANT * data_range**2
    similarity: Map = (2 * a * b + constant) / (a**2 + b**2 + constant)
    return similarity


def _corners(image: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """The four pixels of each 2 x 2 block of an image (h, w), each (h // 2, w // 2); an odd last row or column is left
    out."""
    height, width = (side // 2 * 2 for side in image.shape)
    return tuple(image[row:height:2, column:width:2] for row in (0, 1) for column in (0, 1))


@once_per_slice(IMAGES)
def _gradient(image: Image) -> Map:
    a, b, c, d = _corners(image.astype(np.float64))
    grey = (a + b + c + d) / 4
    across, down = (cv2.filter2D(grey, -1, kernel, borderType=cv2.BORDER_CONSTANT) for kernel in (_PREWITT, _PREWITT.T))
    return np.hypot(across, down)


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """Standard deviation of the similarity of (h, w) images over the 2 x 2 blocks in bool `mask` (h, w); 0 if equal.

    None where the mask contains no block. ScoringError for different sizes or an empty mask.
    """
    del pixel_mm  # every image metric takes it; the gradients are in pixels
    check(image, reference, mask)
    blocks = np.logical_and.reduce(_corners(mask))
    if not blocks.any():
        return None
    return float(_similarity(image, reference, data_range)[blocks].std())


METRIC = ImageMetric(
    value=value,
    unit="",
    higher_is_better=False,
    implementation="GMSD (Xue 2014), halved images, constant 170 at a data range of 255, own code",
)
