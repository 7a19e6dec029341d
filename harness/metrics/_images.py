"""What every image metric requires of its arguments, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ScoringError
from harness.metrics._metric import Image, Mask

Map = NDArray[np.float64]


def within(image: Image, reference: Image, mask: Mask) -> tuple[Map, Map]:
    """Grey values of both images inside the mask, as float64 vectors.

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


def once_per_slice(compute: Callable[[Map, Map, float], Map]) -> Callable[[Image, Image, float], Map]:
    """Cache a quality map of two images and a data range while the regions of their slice are scored.

    Computing the map takes a hundred times as long as averaging it over a region.
    """

    @lru_cache(maxsize=2)  # a slice's label and truth
    def kept(image: bytes, reference: bytes, shape: tuple[int, ...], data_range: float) -> Map:
        a, b = (np.frombuffer(pixels, np.uint8).reshape(shape).astype(np.float64) for pixels in (image, reference))
        return compute(a, b, data_range)

    return lambda image, reference, data_range: kept(image.tobytes(), reference.tobytes(), image.shape, data_range)


def recovered_contrast(image: Image, reference: Image, inside: Mask, around: Mask) -> float | None:
    """Contrast of `inside` against `around` in the image over that in the reference: a ratio of mean differences.

    None where either mask has fewer than 20 pixels (noise would decide their means), or nothing stands out.
    """
    if min(np.count_nonzero(inside), np.count_nonzero(around)) < 20:
        return None
    own, ideal = (float(grey[inside].mean() - grey[around].mean()) for grey in (image, reference))
    return own / ideal if ideal > 0 else None
