"""How papers on low-dose CT measure: slices in HU, cut off at a window of theirs, all pixels, padding included.

A file of `harness/metrics` for each project says its window, its data range and its SSIM.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from harness.imaging.hounsfield import Window
from harness.metrics._images import check, gaussian, moments, seen, similarity
from harness.metrics._metric import HU, ImageMetric, Mask, Unit
from harness.metrics.psnr import QUANTISATION_MSE

Compare = Callable[[HU, HU], float | None]
"""A value of two slices in HU, already cut off."""


def in_window(
    window: Window, compare: Compare, *, unit: Unit, higher_is_better: bool, implementation: str, smallest: int = 1
) -> ImageMetric:
    """The metric that cuts an image and its reference off at `window` in HU and compares all pixels."""
    return ImageMetric(
        value=partial(_value, window=window, compare=compare),
        unit=unit,
        higher_is_better=higher_is_better,
        implementation=f"{implementation}, in HU cut off at {window[0]:g} and {window[1]:g}, all pixels, own code",
        regions=("whole",),
        smallest=smallest,
        in_hu=True,
    )


def _value(
    image: HU,
    reference: HU,
    mask: Mask,
    *,
    data_range: float,
    pixel_mm: float | None,
    window: Window,
    compare: Compare,
) -> float | None:
    del data_range, pixel_mm  # every image metric takes them; a paper has its own data range
    check(image, reference, mask)
    return compare(np.clip(image, *window), np.clip(reference, *window))


def rmse(image: HU, reference: HU) -> float:
    """Root mean square error in HU."""
    return float(np.sqrt(np.mean((image - reference) ** 2)))


def psnr(image: HU, reference: HU, data_range: float) -> float:
    """10 log10(data_range^2 / MSE) in dB.

    Of equal slices it is infinite in the papers; here the MSE is at least that of rounding to whole HU, as scanners do.
    """
    error = max(float(np.mean((image - reference) ** 2)), QUANTISATION_MSE)
    return float(10 * np.log10(data_range**2 / error))


def padded_ssim(image: HU, reference: HU, data_range: float) -> float:
    """SSIM in Gaussian windows of 11 pixels, sigma 1.5, around every pixel, with zeros beyond the image: that of the
    package pytorch-ssim, which many projects took over. It is no function of differences: 0 HU must be where the
    project has 0."""
    a, b = (seen(np.pad(one, 5), gaussian(11, 1.5)) for one in (image, reference))
    return float(similarity(moments(a, b), data_range).mean())
