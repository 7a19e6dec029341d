"""What every image metric requires of its arguments, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ScoringError
from harness.imaging.hounsfield import Image
from harness.metrics._metric import Mask

Map = NDArray[np.float64]


def within(image: NDArray[Any], reference: NDArray[Any], mask: Mask) -> tuple[Map, Map]:
    """Values of both images inside the mask, as float64 vectors.

    ScoringError unless all three are (h, w) of one size and the mask is not empty.
    """
    if image.ndim != 2 or not image.shape == reference.shape == mask.shape:
        raise ScoringError(
            "image, reference and mask must be (h, w) of one size, "
            f"found {image.shape}, {reference.shape} and {mask.shape}"
        )
    if not mask.any():
        raise ScoringError("the region is empty in this slice", fix="leave the slice out for this region")
    return image[mask].astype(np.float64), reference[mask].astype(np.float64)


Content = tuple[bytes, str, tuple[int, ...]]
"""All of an array, as a key: bytes, type and shape."""


def content(array: NDArray[Any]) -> Content:
    return array.tobytes(), array.dtype.str, array.shape


def as_array(of: Content) -> NDArray[Any]:
    """The array of that content, read-only."""
    pixels, dtype, shape = of
    found: NDArray[Any] = np.frombuffer(pixels, dtype).reshape(shape)
    return found


def once_per_slice(compute: Callable[[Map, Map, float], Map]) -> Callable[[Image, Image, float], Map]:
    """Cache a quality map of two images and a data range while the regions of their slice are scored.

    Computing the map takes a hundred times as long as averaging it over a region.
    """

    @lru_cache(maxsize=2)  # a slice's label and truth
    def kept(image: Content, reference: Content, data_range: float) -> Map:
        return compute(as_array(image).astype(np.float64), as_array(reference).astype(np.float64), data_range)

    return lambda image, reference, data_range: kept(content(image), content(reference), data_range)


class Moments(NamedTuple):
    """Means, variances and covariance of two images in weighted windows, one value for each window."""

    mean: Map
    reference_mean: Map
    variance: Map
    reference_variance: Map
    covariance: Map


def gaussian(width: int, sigma: float) -> Map:
    """The weights (width,) of a Gaussian window, an odd number of pixels wide."""
    reach = width // 2
    kernel: Map = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    return kernel


def windowed(image: Map, kernel: Map) -> Map:
    """Weighted means of an image (h, w) in all windows of `kernel`'s width, an odd number, that lie within it:
    (h - width + 1, w - width + 1)."""
    reach = len(kernel) // 2
    means = np.asarray(cv2.sepFilter2D(image, cv2.CV_64F, kernel, kernel), dtype=np.float64)
    return means[reach:-reach, reach:-reach]


def moments(image: Map, reference: Map, kernel: Map) -> Moments:
    """The moments of two images (h, w) in the windows of `windowed`.

    In float64: a variance is a small difference of large squares, of which float32 loses all in a bright flat window.
    """
    means = [windowed(one, kernel) for one in (image, reference)]
    variances = [
        np.maximum(windowed(one**2, kernel) - mean**2, 0) for one, mean in zip((image, reference), means, strict=True)
    ]
    covariance = windowed(image * reference, kernel) - means[0] * means[1]
    return Moments(means[0], means[1], variances[0], variances[1], covariance)


def similarity(of: Moments, data_range: float) -> Map:
    """The structural similarity in each window: eq. 13 of Wang et al., IEEE TIP 13 (2004), with K1 0.01 and K2 0.03."""
    a, b, a_variance, b_variance, covariance = of
    c1, c2 = ((k * data_range) ** 2 for k in (0.01, 0.03))
    found: Map = (2 * a * b + c1) * (2 * covariance + c2) / ((a**2 + b**2 + c1) * (a_variance + b_variance + c2))
    return found


def recovered_contrast(image: NDArray[Any], reference: NDArray[Any], inside: Mask, around: Mask) -> float | None:
    """Contrast of `inside` against `around` in the image over that in the reference: a ratio of mean differences.

    None where either mask has fewer than 20 pixels (noise would decide their means), or nothing stands out.
    """
    if min(np.count_nonzero(inside), np.count_nonzero(around)) < 20:
        return None
    own, ideal = (float(grey[inside].mean() - grey[around].mean()) for grey in (image, reference))
    return own / ideal if ideal > 0 else None
