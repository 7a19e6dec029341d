"""Root mean square error over a region, in grey levels."""

from __future__ import annotations

from typing import Literal

import numpy as np

from harness.metrics._images import Image, Mask, Regions, Unit, within

KIND: Literal["image"] = "image"
HIGHER_IS_BETTER: bool | None = False
UNIT: Unit = "grey"
REGIONS: Regions = None
IMPLEMENTATION = "root mean square error in float64, own code"


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float:
    """sqrt(mean((image - reference)^2)) of uint8 (h, w) over bool `mask` (h, w), in grey levels.

    ScoringError for different sizes or an empty mask.
    """
    del data_range, pixel_mm  # part of every image metric's signature; an error in grey levels has no use for them
    a, b = within(image, reference, mask)
    return float(np.sqrt(np.mean((a - b) ** 2)))
