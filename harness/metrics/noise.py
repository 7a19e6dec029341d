"""Residual noise of the image itself within a region, in grey levels. Descriptive: a low value alone is not good.

A flattened image has the lowest value; the ideal is the reference's own. Estimated by sigma-clipping from the diagonal
details of the Haar wavelet, which are nearly blind to smooth anatomy (Donoho & Johnstone, Biometrika 81 (1994)). CT
noise is correlated from pixel to pixel, so this is its strength near the Nyquist frequency, not its variance.
"""

from __future__ import annotations

import numpy as np

from harness.imaging.hounsfield import Image
from harness.metrics._images import within
from harness.metrics._metric import ImageMetric, Mask

_MAD_TO_STD = 1.482602218505602  # 1 / the normal distribution's third quartile
_CLIP = 3.0
_ROUNDS = 5
_CLIPPED_STD = 0.9866  # standard deviation of a unit normal cut at +-3: sqrt(1 - 6 phi(3) / (2 Phi(3) - 1))


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float:
    """Noise standard deviation of `image` (h, w) over bool `mask` (h, w), in grey levels.

    The details (a - b - c + d) / 2 of all 2 x 2 blocks in the mask have the standard deviation of white noise. Their
    median absolute deviation only starts the clipping, since whole grey levels move it in steps of 0.74.
    0 where the mask contains no block. ScoringError as the other image metrics.
    """
    within(image, reference, mask)
    del data_range, pixel_mm  # every image metric takes them; this one needs neither
    x = image.astype(np.float64)
    details = (x[:-1, :-1] - x[:-1, 1:] - x[1:, :-1] + x[1:, 1:]) / 2.0
    details = details[mask[:-1, :-1] & mask[:-1, 1:] & mask[1:, :-1] & mask[1:, 1:]]
    if not details.size:
        return 0.0
    deviation = _MAD_TO_STD * max(float(np.median(np.abs(details))), 0.5)
    for _ in range(_ROUNDS):
        kept = details[np.abs(details) <= _CLIP * deviation]
        deviation = float(np.sqrt(np.mean(kept**2))) / _CLIPPED_STD
    return deviation


METRIC = ImageMetric(
    value=value,
    unit="grey",
    higher_is_better=None,
    implementation="sigma-clipped deviation of diagonal Haar details, own code",
)
