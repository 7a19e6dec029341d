"""Mean signed error over a region, in grey levels: 0 is ideal, above 0 the image is too bright (HU too high).

Errors of opposite sign cancel: read it together with the RMSE.
"""

from __future__ import annotations

from harness.imaging.hounsfield import Image
from harness.metrics._images import errors
from harness.metrics._metric import ImageMetric, Mask


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float:
    """mean(image - reference) of (h, w) images over bool `mask` (h, w), in grey levels.

    ScoringError for different sizes or an empty mask.
    """
    del data_range, pixel_mm  # every image metric takes them; this one needs neither
    return errors(image, reference, mask).mean


METRIC = ImageMetric(
    value=value,
    unit="grey",
    higher_is_better=None,
    implementation="mean signed error in float64, own code",
)
