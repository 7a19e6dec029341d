"""Visual information fidelity: how much of the reference's information the image still has.

Sheikh & Bovik, "Image information and visual quality", IEEE TIP 15 (2006), in the pixel domain (VIF-P): four scales of
Gaussian windows instead of the paper's wavelets; the variance of the visual noise is 2 at a data range of 255. What is
computed is torchmetrics' (which is piq's and sewar's). 1 for equal images; above 1 the image has more contrast than the
reference.
"""

from __future__ import annotations

import numpy as np

from harness.base.errors import ScoringError
from harness.imaging.hounsfield import Image
from harness.metrics._images import IMAGES, Map, Seen, check, gaussian, moments, once_per_slice, seen, windowed
from harness.metrics._metric import ImageMetric, Mask

_SMALLEST = 41  # pixels that the fourth scale's window needs
_WINDOWS = (17, 9, 5, 3)  # pixels; their standard deviation is a fifth of that
_VISUAL_NOISE = 2.0 / 255**2
_NOTHING = 1e-10  # a variance that only rounding makes
_LEAST = 1e-3  # log10 of a window's information, on average; slices have 0.6 to 1.7


def value(image: Image, reference: Image, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """VIF of `image` (h, w) against `reference`; pixels outside bool `mask` (h, w) count as equal.

    None where the reference holds no information to speak of: constant, or but for a few pixels.
    ScoringError for different sizes, an empty mask, or images smaller than 41 pixels.
    """
    del pixel_mm  # every image metric takes it; the scales are in pixels
    check(image, reference, mask)
    if min(image.shape) < _SMALLEST:
        raise ScoringError(f"VIF needs images of at least {_SMALLEST} x {_SMALLEST} pixels, found {image.shape}")
    kept = there = 0.0
    windows = 0
    own = np.where(mask, image, reference)
    for scale in zip(_scales(own), _scales(reference), strict=True):
        information = _information(*scale, _VISUAL_NOISE * data_range**2)
        kept += information[0]
        there += information[1]
        windows += scale[1].mean.size
    return kept / there if there > _LEAST * windows else None


@once_per_slice(IMAGES)
def _scales(image: Image) -> list[Seen]:
    """The image at its scales, each half as wide as the one before."""
    scales: list[Seen] = []
    for width in _WINDOWS:
        kernel = gaussian(width, width / 5)
        smaller = np.ascontiguousarray(windowed(scales[-1].image, kernel)[::2, ::2]) if scales else image
        scales.append(seen(smaller.astype(np.float64), kernel))
    return scales


def _information(image: Seen, reference: Seen, noise: float) -> tuple[float, float]:
    """What the image has of the reference's information, and what there is, in all windows: log10 as in the paper's
    model, an image being its reference times a gain, plus noise."""
    found = moments(image, reference)
    known = (found.reference_variance >= _NOTHING) & (found.variance >= _NOTHING) & (found.covariance > 0)
    gain = np.where(known, found.covariance / (found.reference_variance + _NOTHING), 0)
    variance = np.where(found.reference_variance >= _NOTHING, found.reference_variance, 0)
    added = np.maximum(found.variance - gain * found.covariance, _NOTHING)
    return _logs(1 + gain**2 * variance / (added + noise)), _logs(1 + variance / noise)


def _logs(values: Map) -> float:
    """The sum of log10 of values from 1 to 10^19: of products of 16, since a logarithm takes as long as all of these
    multiplications."""
    flat = values.ravel()
    whole = flat.size // 16 * 16
    products = flat[:whole].reshape(16, -1).prod(axis=0)
    return float(np.log10(products).sum() + np.log10(flat[whole:]).sum())


METRIC = ImageMetric(
    value=value,
    unit="",
    higher_is_better=True,
    regions=("whole",),
    smallest=_SMALLEST,
    implementation="pixel-domain VIF (Sheikh & Bovik 2006), visual noise 2, own code in float64",
)
