"""Recovered contrast of the phantom's nodules, relative to the reference's: 1 is ideal, below 1 they are blurred.

The mean of the whole nodule minus the mean of the lung around it, divided by the same difference in the reference, as
contrast recovery is measured on the hot spheres of NEMA NU 2. Both images use the same pixels, so noise in the image
alone leaves the ratio at 1 on average. Above 1 nodules are exaggerated.
"""

from __future__ import annotations

import cv2
import numpy as np

from harness.imaging.hounsfield import Image
from harness.imaging.regions import dilate
from harness.metrics._images import recovered_contrast, within
from harness.metrics._metric import ImageMetric, Mask

_GAP, _REACH = 2, 10  # pixels from the nodule between which the lung around it is taken
_SMOOTHED = 1.0


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """Contrast of the nodules, bool `mask` (h, w), in `image` (h, w), over the contrast in `reference`.

    Vessels and chest wall beside a nodule do not count as the lung around it: pixels that are brighter, in the smoothed
    reference, than a quarter of the way from the darkest quarter of the surroundings to the nodule. All nodules of a
    slice are one object. None where the nodules have fewer than 20 pixels or no lung surrounds them.
    ScoringError for different sizes or an empty mask.
    """
    del data_range, pixel_mm  # every image metric takes them; this one needs neither
    _, inside = within(image, reference, mask)
    smooth = cv2.GaussianBlur(reference.astype(np.float32), (0, 0), _SMOOTHED, borderType=cv2.BORDER_REPLICATE)
    around = dilate(mask, _REACH) & ~dilate(mask, _GAP)
    if not around.any():
        return None
    dark = float(np.percentile(smooth[around], 25))
    return recovered_contrast(image, reference, mask, around & (smooth < dark + (inside.mean() - dark) / 4))


METRIC = ImageMetric(
    value=value,
    unit="",
    higher_is_better=None,
    regions=("nodules",),
    implementation="contrast recovery over whole nodules (after NEMA NU 2), relative to the reference's, own code",
)
