"""Contrast of the vessels in the lung, relative to the reference's: 1 is ideal, below it they are blurred or faded.

Vessels are the pixels that stand out from the lung around them in the smoothed reference, the same in both images:
noise that the image alone has leaves the ratio at 1 on average, however strong. Whatever else stands out counts as
vessel: nodules, walls of bronchi, fissures. Above 1 vessels are exaggerated.
A reference with noise of its own is picked at its bright spots: images that do not share that noise, the truth among
them, fall short of 1, the more the noisier it is.
"""

from __future__ import annotations

import cv2
import numpy as np

from harness.imaging.regions import dilate
from harness.metrics._images import recovered_contrast, within
from harness.metrics._metric import Image, ImageMetric, Mask

_SMOOTHED = 1.0  # standard deviation in pixels: about a small vessel's
_SURROUNDINGS = 21  # side in pixels of the square whose median passes over vessels
_STANDS_OUT = 0.1  # of the data range: a quarter of what a full vessel has in a window of 2200 HU
_NEAR = 8  # pixels from a vessel at which the lung around it ends


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """Mean contrast of vessels in uint8 `image` (h, w) within bool `mask` (h, w), over the contrast in `reference`.

    None where fewer than 20 pixels are vessel, or lung near one. ScoringError for different sizes or an empty mask.
    """
    del pixel_mm  # part of every image metric's signature; what is too thin for a pixel has no contrast
    _, inside = within(image, reference, mask)
    # What is not lung must neither raise the surroundings nor leak into the smoothed lung.
    lung = np.where(mask, reference, np.uint8(np.median(inside)))
    smooth = cv2.GaussianBlur(lung.astype(np.float32), (0, 0), _SMOOTHED, borderType=cv2.BORDER_REPLICATE)
    structure = smooth - cv2.medianBlur(lung, _SURROUNDINGS)
    vessels = mask & (structure > _STANDS_OUT * data_range)
    plain = mask & ~dilate(structure > _STANDS_OUT * data_range / 2, 2)
    return recovered_contrast(image, reference, vessels, plain & dilate(vessels, _NEAR))


METRIC = ImageMetric(
    value=value,
    unit="",
    higher_is_better=None,
    regions=("lung",),
    implementation="contrast of what stands out from the lung of the reference, relative to the reference's, own code",
)
