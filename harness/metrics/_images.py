"""What every image metric requires of its arguments, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, ParamSpec, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ScoringError
from harness.metrics._metric import Mask

Map = NDArray[np.float64]
P = ParamSpec("P")
R = TypeVar("R")


def check(image: NDArray[Any], reference: NDArray[Any], mask: Mask) -> None:
    """ScoringError unless all three are (h, w) of one size and the mask is not empty."""
    if image.ndim != 2 or not image.shape == reference.shape == mask.shape:
        raise ScoringError(
            "image, reference and mask must be (h, w) of one size, "
            f"found {image.shape}, {reference.shape} and {mask.shape}"
        )
    if not mask.any():
        raise ScoringError("the region is empty in this slice", fix="leave the slice out for this region")


def within(image: NDArray[Any], reference: NDArray[Any], mask: Mask) -> tuple[Map, Map]:
    """Values of both images inside the mask, as float64 vectors. ScoringError as `check`."""
    check(image, reference, mask)
    return image[mask].astype(np.float64), reference[mask].astype(np.float64)


class Content(NamedTuple):
    """All of an array, as a key."""

    data: bytes
    dtype: str
    shape: tuple[int, ...]


# How many results `once_per_slice` keeps: of an image or of two of them where a slice is compared with its label and
# its truth, and of a region, alone and against both.
IMAGES, PAIRS, MASKS, REGIONS = 3, 2, 16, 32


def once_per_slice(kept: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep the last `kept` results of a function of arrays (h, w), which get it read-only, and of numbers.

    Metrics, references and regions of a slice so share what they have in common. Arguments are told apart by their
    content, which takes a hundredth of the time that a map of their quality takes.
    """

    def decorated(compute: Callable[P, R]) -> Callable[P, R]:
        @lru_cache(maxsize=kept)
        def of_content(*keys: Any) -> R:
            of_keys: Callable[..., R] = compute
            return of_keys(*(_array(key) if isinstance(key, Content) else key for key in keys))

        def of(*arguments: P.args, **_: P.kwargs) -> R:
            return of_content(*(_content(one) if isinstance(one, np.ndarray) else one for one in arguments))

        return of

    return decorated


def _content(array: NDArray[Any]) -> Content:
    return Content(array.tobytes(), array.dtype.str, array.shape)


def _array(of: Content) -> NDArray[Any]:
    found: NDArray[Any] = np.frombuffer(of.data, of.dtype).reshape(of.shape)
    return found


class Errors(NamedTuple):
    """The mean of an image's error over a region, and of its square."""

    mean: float
    mean_square: float


@once_per_slice(REGIONS)
def errors(image: NDArray[Any], reference: NDArray[Any], mask: Mask) -> Errors:
    """The errors of `image` (h, w) over bool `mask` (h, w), in float64. ScoringError as `check`."""
    own, ideal = within(image, reference, mask)
    error = own - ideal
    return Errors(float(np.mean(error)), float(np.mean(error**2)))


class Seen(NamedTuple):
    """An image (h, w) and its means and variances in windows weighted by a kernel, one value for each window."""

    image: Map
    kernel: Map
    mean: Map
    variance: Map


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


def seen(image: Map, kernel: Map) -> Seen:
    """An image (h, w) in the windows of `windowed`.

    In float64: a variance is a small difference of large squares, of which float32 loses all in a bright flat window.
    """
    mean = windowed(image, kernel)
    return Seen(image, kernel, mean, np.maximum(windowed(image**2, kernel) - mean**2, 0))


def moments(image: Seen, reference: Seen) -> Moments:
    """The moments of two images that were seen in the same windows."""
    covariance = windowed(image.image * reference.image, image.kernel) - image.mean * reference.mean
    return Moments(image.mean, reference.mean, image.variance, reference.variance, covariance)


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
