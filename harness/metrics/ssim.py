"""Structural similarity averaged over a region.

Wang et al., "Image quality assessment", IEEE TIP 13 (2004): Gaussian window of sigma 1.5, K1 0.01, K2 0.03, population
covariances. The map is averaged over those pixels of the region whose window lies within the image, as by Wang and
scikit-image: packages differ in how they extend an image beyond its border.
"""

from __future__ import annotations

import numpy as np

from harness.base.errors import ScoringError
from harness.imaging.hounsfield import Image
from harness.metrics._images import Map, moments, once_per_slice, within
from harness.metrics._metric import ImageMetric, Mask

WINDOW = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


@once_per_slice
def _similarity(image: Map, reference: Map, data_range: float) -> Map:
    """The map of eq. 13 where the window lies within the image, (h - 10, w - 10)."""
    a, b, a_variance, b_variance, covariance = moments(image, reference, width=WINDOW, sigma=_SIGMA)
    c1, c2 = ((k * data_range) ** 2 for k in (_K1, _K2))
    similarity: Map = (2 * a * b + c1) * (2 * covariance + c2) / ((a**2 + b**2 + c1) * (a_variance + b_variance + c2))
    return np.minimum(similarity, 1)  # which rounding may pass


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """Mean of the SSIM map of (h, w) images over bool `mask` (h, w); 1 for equal images, never more.

    None where the mask has only pixels within 5 of the border. ScoringError for different sizes, an empty mask, or
    images smaller than the window of 11 pixels.
    """
    del pixel_mm  # every image metric takes it; the window is in pixels
    within(image, reference, mask)
    if min(image.shape) < WINDOW:
        raise ScoringError(f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, found {image.shape}")
    reach = WINDOW // 2
    chosen = _similarity(image, reference, data_range)[mask[reach:-reach, reach:-reach]]
    return float(chosen.mean()) if chosen.size else None


METRIC = ImageMetric(
    value=value,
    unit="",
    higher_is_better=True,
    smallest=WINDOW,
    implementation="SSIM (Wang 2004), Gaussian window 11, sigma 1.5, own code in float64",
)
