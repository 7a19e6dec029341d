"""Structural similarity averaged over a region.

Wang et al., "Image quality assessment", IEEE TIP 13 (2004): Gaussian window of sigma 1.5, K1 0.01, K2 0.03, population
covariances. The map is averaged over those pixels of the region whose window lies within the image, as by Wang and
scikit-image: packages differ in how they extend an image beyond its border.
"""

from __future__ import annotations

import numpy as np

from harness.base.errors import ScoringError
from harness.imaging.hounsfield import Image
from harness.metrics._images import IMAGES, PAIRS, Map, Seen, check, gaussian, moments, once_per_slice, seen, similarity
from harness.metrics._metric import ImageMetric, Mask

WINDOW = 11
_SIGMA = 1.5


@once_per_slice(IMAGES)
def _seen(image: Image) -> Seen:
    return seen(image.astype(np.float64), gaussian(WINDOW, _SIGMA))


@once_per_slice(PAIRS)
def _similarity(image: Image, reference: Image, data_range: float) -> Map:
    """The map where the window lies within the image, (h - 10, w - 10)."""
    found = similarity(moments(_seen(image), _seen(reference)), data_range)
    return np.minimum(found, 1)  # which rounding may pass


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """Mean of the SSIM map of (h, w) images over bool `mask` (h, w); 1 for equal images, never more.

    None where the mask has only pixels within 5 of the border. ScoringError for different sizes, an empty mask, or
    images smaller than the window of 11 pixels.
    """
    del pixel_mm  # every image metric takes it; the window is in pixels
    check(image, reference, mask)
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
