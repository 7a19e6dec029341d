"""Residual noise of the image itself within a region, in grey levels. Descriptive: a low value alone is not good.

A flattened image has the lowest value; the ideal is the reference's own. Estimated by sigma-clipping from the diagonal
details of the Haar wavelet, which are nearly blind to smooth anatomy (Donoho & Johnstone, Biometrika 81 (1994)). CT
noise is correlated from pixel to pixel, so this is its strength near the Nyquist frequency, not its variance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.imaging.hounsfield import Image
from harness.metrics._images import IMAGES, MASKS, check, once_per_slice
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
    check(image, reference, mask)
    del data_range, pixel_mm  # every image metric takes them; this one needs neither
    return _deviation(image, mask)


@once_per_slice(MASKS)
def _deviation(image: Image, mask: Mask) -> float:
    """By the counts of the details' magnitudes, which are whole halves: sums are exact."""
    counts = np.bincount(_doubled(image)[mask[:-1, :-1] & mask[:-1, 1:] & mask[1:, :-1] & mask[1:, 1:]])
    below, magnitudes = np.cumsum(counts), np.arange(len(counts)) / 2
    if not len(counts):
        return 0.0
    size = below[-1]
    middle = np.searchsorted(below, [(size - 1) // 2, size // 2], side="right")
    deviation = _MAD_TO_STD * max(float(magnitudes[middle].mean()), 0.5)
    for _ in range(_ROUNDS):
        kept = magnitudes <= _CLIP * deviation
        deviation = float(np.sqrt((counts * magnitudes**2)[kept].sum() / counts[kept].sum())) / _CLIPPED_STD
    return deviation


@once_per_slice(IMAGES)
def _doubled(image: Image) -> NDArray[np.int32]:
    """Twice the magnitudes of the details of all 2 x 2 blocks, (h - 1, w - 1)."""
    x = image.astype(np.int32)
    doubled: NDArray[np.int32] = np.abs(x[:-1, :-1] - x[:-1, 1:] - x[1:, :-1] + x[1:, 1:])
    return doubled


METRIC = ImageMetric(
    value=value,
    unit="grey",
    higher_is_better=None,
    implementation="sigma-clipped deviation of diagonal Haar details, own code",
)
