"""Structural similarity averaged over a region.

Wang et al., "Image quality assessment", IEEE TIP 13 (2004): Gaussian window of sigma 1.5, K1 0.01, K2 0.03, population
covariances; the implementation is torchmetrics'. The map is averaged over those pixels of the region whose window lies
within the image, as by Wang and scikit-image: packages differ in how they extend an image beyond its border.
"""

from __future__ import annotations

import numpy as np

from harness.base.errors import ScoringError
from harness.metrics._images import Map, once_per_slice, within
from harness.metrics._metric import Image, ImageMetric, Mask
from harness.metrics._torchmetrics import structural_similarity_index_measure, tensor

WINDOW = 11


@once_per_slice
def _similarity(image: Map, reference: Map, data_range: float) -> Map:
    _, similarity = structural_similarity_index_measure(
        tensor(image),
        tensor(reference),
        sigma=1.5,  # gives torchmetrics' window of 11 pixels
        data_range=data_range,
        k1=0.01,
        k2=0.03,
        return_full_image=True,
    )
    return similarity[0, 0].numpy().astype(np.float64)


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """Mean of the SSIM map of uint8 (h, w) over bool `mask` (h, w); 1 for equal images.

    None where the mask has only pixels within 5 of the border. ScoringError for different sizes, an empty mask, or
    images smaller than the window of 11 pixels.
    """
    del pixel_mm  # every image metric takes it; the window is in pixels
    within(image, reference, mask)
    if min(image.shape) < WINDOW:
        raise ScoringError(f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, found {image.shape}")
    reach = WINDOW // 2
    inner = (slice(reach, -reach), slice(reach, -reach))
    chosen = _similarity(image, reference, data_range)[inner][mask[inner]]
    return float(chosen.mean()) if chosen.size else None


METRIC = ImageMetric(
    value=value,
    unit="",
    higher_is_better=True,
    uses_torch=True,
    implementation="SSIM (Wang 2004), Gaussian window 11, sigma 1.5, torchmetrics in float32",
)
