"""Peak signal-to-noise ratio over a region, in dB, finite for equal images."""

from __future__ import annotations

import numpy as np

from harness.imaging.hounsfield import Image
from harness.metrics._images import errors
from harness.metrics._metric import ImageMetric, Mask

# Rounding to whole levels alone has this error variance, so slices cannot be known to agree better. It also keeps
# infinity out of records: with data_range 255 the ratio is at most 58.9 dB.
QUANTISATION_MSE = 1.0 / 12.0


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float:
    """10 log10(data_range^2 / max(MSE, 1/12)) of (h, w) images over bool `mask` (h, w), in dB.

    ScoringError for different sizes or an empty mask.
    """
    del pixel_mm  # every image metric takes it; this one does not need it
    error = max(errors(image, reference, mask).mean_square, QUANTISATION_MSE)
    return float(10.0 * np.log10(data_range**2 / error))


METRIC = ImageMetric(
    value=value,
    unit="",
    higher_is_better=True,
    implementation="PSNR in float64, squared error at least 1/12, own code",
)
