"""Structural similarity averaged over a region.

Wang et al., "Image quality assessment", IEEE TIP 13 (2004): Gaussian window of sigma 1.5, K1 0.01, K2 0.03, population
covariances; the implementation is scikit-image's. Its map is averaged over the region, image border included
(scikit-image's own mean leaves a border of 5 pixels out).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from skimage.metrics import structural_similarity

from harness.errors import ScoringError
from harness.metrics._images import Image, Map, Mask, Regions, Unit, once_per_slice, within

KIND: Literal["image"] = "image"
HIGHER_IS_BETTER: bool | None = True
UNIT: Unit = ""
REGIONS: Regions = None
WINDOW = 11  # scikit-image's for sigma 1.5


@once_per_slice
def _similarity(image: Map, reference: Map, data_range: float) -> Map:
    _, similarity = structural_similarity(
        image,
        reference,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return np.asarray(similarity, dtype=np.float64)


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float:
    """Mean of the SSIM map of uint8 (h, w) over bool `mask` (h, w); 1 for equal images.

    ScoringError for different sizes, an empty mask, or images smaller than the window of 11 pixels.
    """
    del pixel_mm  # part of every image metric's signature; the window is one of pixels
    within(image, reference, mask)
    if min(image.shape) < WINDOW:
        raise ScoringError(f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, found {image.shape}")
    return float(_similarity(image, reference, data_range)[mask].mean())
