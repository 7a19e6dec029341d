"""Mean signed error of one tissue in HU: 0 is ideal, above 0 the image reads too high.

A tissue is where the reference lies in its range of HU: smoothed by a median of 5 x 5 pixels, so that a normal-dose
scan's noise does not choose, and more than 2 pixels from anything else, so that partial volume does not decide. A blur
by one pixel then moves a wide tissue by less than 2 HU; thin bone still reads too low.
HU alone tell no unenhanced blood from muscle, with which it is counted, nor the marrow of bone from enhanced blood.
The reference must be aligned with the image: against a label of another breath, edges of ribs and diaphragm show.
The error in air is that of the noise, too, where the window cuts it off.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from harness.imaging.regions import Region, erode
from harness.metrics._images import check
from harness.metrics._metric import HU, ImageMetric, Mask

_MEDIAN = 5  # pixels
_MARGIN = 2  # pixels, as of the regions of tissue
_FEWEST = 20  # pixels

# HU from, to. Fat and muscle as in body composition (-190 to -30, -29 to 150), less what is a mixture of the two.
_TISSUES: dict[str, tuple[float, float, tuple[Region, ...]]] = {
    "air": (-1100, -950, ("whole", "background")),
    "lung": (-950, -600, ("lung",)),
    "fat": (-150, -50, ("whole", "body")),
    "muscle": (10, 100, ("whole", "body")),
    "blood": (150, 350, ("whole", "body")),
    "bone": (350, 3072, ("whole", "body")),
}


def value(
    image: HU, reference: HU, mask: Mask, *, data_range: float, pixel_mm: float | None, low: float, high: float
) -> float | None:
    """mean(image - reference) of (h, w) images in HU over the tissue between `low` and `high` in bool `mask` (h, w).

    None where the reference shows fewer than 20 pixels of it. ScoringError for different sizes or an empty mask.
    """
    del data_range, pixel_mm  # every image metric takes them; this one needs neither
    check(image, reference, mask)
    smooth = cv2.medianBlur(reference.astype(np.float32), _MEDIAN)
    tissue = mask & erode((smooth >= low) & (smooth < high), _MARGIN)
    if np.count_nonzero(tissue) < _FEWEST:
        return None
    return float(np.mean(image[tissue] - reference[tissue]))


METRICS = {
    tissue: ImageMetric(
        value=partial(value, low=low, high=high),
        unit="HU",
        higher_is_better=None,
        regions=regions,
        in_hu=True,
        implementation=f"mean signed error where the reference has {low} to {high} HU, eroded by 2 pixels, own code",
    )
    for tissue, (low, high, regions) in _TISSUES.items()
}
