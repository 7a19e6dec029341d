"""Contrast of the vessels in the lung, relative to the reference's: 1 is ideal, below 1 they are blurred or faded.

Vessels are the pixels that stand out from the lung around them in the smoothed reference; the same pixels are used in
both images, so noise in the image alone leaves the ratio at 1 on average, however strong. Anything else that stands out
counts as vessel too: nodules, bronchial walls, fissures. Above 1 vessels are exaggerated.
If the reference itself is noisy, its bright noise is selected as well: images without that noise, even the truth, then
stay below 1, the more so the noisier the reference.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.imaging.hounsfield import Image
from harness.imaging.regions import dilate
from harness.metrics._images import recovered_contrast, within
from harness.metrics._metric import ImageMetric, Mask

_SMOOTHED = 1.0  # standard deviation in pixels: about a small vessel's
_SURROUNDINGS = 21  # side in pixels of the square whose median ignores vessels
_STANDS_OUT = 0.1  # of the data range: a quarter of what a full vessel has in a window of 2200 HU
_NEAR = 8  # pixels from a vessel at which the lung around it ends


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """Mean contrast of vessels in `image` (h, w) within bool `mask` (h, w), over the contrast in `reference`.

    None where fewer than 20 pixels are vessel, or lung near one. ScoringError for different sizes or an empty mask.
    """
    del pixel_mm  # every image metric takes it; the sizes are in pixels
    _, inside = within(image, reference, mask)
    # Pixels outside the lung must neither raise the surroundings nor leak into the smoothed lung.
    lung = np.where(mask, reference, reference.dtype.type(np.median(inside)))
    smooth = cv2.GaussianBlur(lung.astype(np.float32), (0, 0), _SMOOTHED, borderType=cv2.BORDER_REPLICATE)
    structure = smooth - _surroundings(lung, data_range)
    vessels = mask & (structure > _STANDS_OUT * data_range)
    plain = mask & ~dilate(structure > _STANDS_OUT * data_range / 2, 2)
    return recovered_contrast(image, reference, vessels, plain & dilate(vessels, _NEAR))


def _surroundings(lung: Image, data_range: float) -> NDArray[np.number[Any]]:
    """The median around each pixel. OpenCV's takes 8 bits at this size: of a slice of 16, 255 steps over the data range
    are kept, from well below the lung on, a twentieth of what must stand out."""
    if lung.dtype == np.uint8:
        return np.asarray(cv2.medianBlur(lung, _SURROUNDINGS))
    low, step = np.floor(np.median(lung) - data_range / 4), data_range / 255
    coarse = np.clip(np.rint((lung - low) / step), 0, 255).astype(np.uint8)
    return np.asarray(low + step * cv2.medianBlur(coarse, _SURROUNDINGS))


METRIC = ImageMetric(
    value=value,
    unit="",
    higher_is_better=None,
    regions=("lung",),
    implementation="contrast of what stands out from the lung of the reference, relative to the reference's, own code",
)
