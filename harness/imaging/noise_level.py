"""How noisy a slice is: every weak denoiser scales its strength by it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.imaging.hounsfield import OFFSET_HU, Image, clipped
from harness.imaging.portable import gaussian_blur

VACUUM_HU = -1024
"""Darker than anything: padding, and noise of air."""

_ROUNDING = 0.289  # 1 / sqrt(12)


def noise_level(image: Image) -> float:
    """Standard deviation of a slice's noise (uint8 or uint16, height x width) finer than 2 pixels, in its levels.

    Median absolute deviation of what a Gaussian of 2 pixels removes, where few pixels are clipped: air cut off at grey
    0, which has lost half of its noise, would pull the median down. This captures about 85 % of the amplitude of a
    sharp kernel's noise; the finest band of a wavelet captures less than half. 0 where every part of the slice is
    clipped, and for noise below that of rounding to grey levels. At 16 bits what is darker than vacuum counts as
    clipped, so that air and padding are left out there, too.
    """
    cut_off = clipped(image) if image.dtype == np.uint8 else image <= OFFSET_HU + VACUUM_HU
    usable = np.asarray(cv2.blur(cut_off.astype(np.float32), (15, 15))) < 0.25
    level = spread(fine_detail(image)[usable])
    return level if level > _ROUNDING else 0.0


def fine_detail(image: Image) -> NDArray[np.float32]:
    """What a Gaussian of 2 pixels removes from a slice, uint8 or uint16 (height, width) to float32 of its shape."""
    pixels = image.astype(np.float32)
    return pixels - gaussian_blur(pixels, 2.0)


def spread(values: NDArray[np.float32]) -> float:
    """Standard deviation by the median absolute deviation, assuming normal noise; 0 for no values."""
    if not values.size:
        return 0.0
    return float(np.median(np.abs(values - np.median(values))) / 0.6745)  # MAD of a unit normal: 0.6745
