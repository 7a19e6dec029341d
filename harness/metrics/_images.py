"""What every image metric asks of its arguments, and the names of its constants' types."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScoringError

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Unit = Literal["grey", "1/mm", ""]
Regions = tuple[str, ...] | None


def within(image: Image, reference: Image, mask: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grey values of both images inside the mask as float64 vectors.

    ScoringError unless all three are (h, w) of one size and the mask holds a pixel.
    """
    if image.ndim != 2 or not image.shape == reference.shape == mask.shape:
        raise ScoringError(
            "image, reference and mask must be (h, w) of one size, "
            f"found {image.shape}, {reference.shape} and {mask.shape}"
        )
    if not mask.any():
        raise ScoringError("the region is empty in this slice", fix="leave the slice out for this region")
    return image[mask].astype(np.float64), reference[mask].astype(np.float64)
