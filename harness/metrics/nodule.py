"""Nodules as they are measured in HU: area relative to the reference's (ideal: 1) and mean error (ideal: 0 HU).

A pixel is nodule where it is above the midpoint between nodule and surrounding lung, as diameters are measured at half
maximum. The midpoint is the reference's in both images: a nodule that is erased or faded loses its area, one that has
grown has more than 1. Both images are smoothed by one pixel first, or noise around a nodule would count as nodule;
strong noise still adds some area. Whole pixels are counted: one small nodule's area is coarse, many average out. The
bias is that of the same pixels in both images, those of the reference's nodule; blur lowers it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.imaging.regions import dilate
from harness.metrics._images import PAIRS, check, once_per_slice
from harness.metrics._metric import HU, ImageMetric, Mask
from harness.metrics._nodules import GAP, lung_around, smoothed

_FEWEST = 20  # pixels, as of `recovered_contrast`


class _Nodules(NamedTuple):
    """Where nodules may be, what is nodule in the reference, and the midpoint to the lung around them in HU."""

    near: Mask
    inside: Mask
    midpoint: float


@once_per_slice(PAIRS)
def _nodules(reference: HU, mask: Mask) -> _Nodules | None:
    """The nodules of a reference; None where they have fewer than 20 pixels, no lung around them, or no contrast."""
    lung = lung_around(reference, mask)
    if lung is None or min(np.count_nonzero(lung), np.count_nonzero(mask)) < _FEWEST:
        return None
    smooth = smoothed(reference)
    plateau = smooth[mask][smooth[mask] >= np.median(smooth[mask])]  # the edge's pixels would lower the midpoint
    top, bottom = float(plateau.mean(dtype=np.float64)), float(smooth[lung].mean(dtype=np.float64))
    if top <= bottom:
        return None
    midpoint, near = (top + bottom) / 2, dilate(mask, GAP)
    return _Nodules(near, near & (smooth > midpoint), midpoint)


def area(image: HU, reference: HU, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """Area of the nodules, bool `mask` (h, w), in `image` (h, w) over that in `reference`, both in HU.

    None where there is no nodule to measure. ScoringError for different sizes or an empty mask.
    """
    del data_range, pixel_mm  # every image metric takes them; a ratio of areas needs neither
    check(image, reference, mask)
    found = _nodules(reference, mask)
    if found is None:
        return None
    own = np.count_nonzero(found.near & (smoothed(image) > found.midpoint))
    return float(own / np.count_nonzero(found.inside))


def bias(image: HU, reference: HU, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float | None:
    """Mean error in HU over the reference's pixels of nodule. None and ScoringError as `area`."""
    del data_range, pixel_mm  # every image metric takes them; this one needs neither
    check(image, reference, mask)
    found = _nodules(reference, mask)
    return None if found is None else float(np.mean(image[found.inside] - reference[found.inside]))


METRICS = {
    "area": ImageMetric(
        value=area,
        unit="",
        higher_is_better=None,
        regions=("nodules",),
        in_hu=True,
        implementation="area above the reference's midpoint of nodule and lung, relative to the reference's, own code",
    ),
    "bias": ImageMetric(
        value=bias,
        unit="HU",
        higher_is_better=None,
        regions=("nodules",),
        in_hu=True,
        implementation="mean signed error above the reference's midpoint of nodule and lung, own code",
    ),
}
