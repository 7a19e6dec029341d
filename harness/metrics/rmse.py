"""Root mean square error over a region, in grey levels."""

from __future__ import annotations

import math

from harness.imaging.hounsfield import Image
from harness.metrics._images import errors
from harness.metrics._metric import ImageMetric, Mask


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float:
    """sqrt(mean((image - reference)^2)) of (h, w) images over bool `mask` (h, w), in grey levels.

    ScoringError for different sizes or an empty mask.
    """
    del data_range, pixel_mm  # every image metric takes them; this one needs neither
    return math.sqrt(errors(image, reference, mask).mean_square)


METRIC = ImageMetric(
    value=value,
    unit="grey",
    higher_is_better=False,
    implementation="root mean square error in float64, own code",
)
