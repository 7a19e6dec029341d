"""Non-local means (Buades et al. 2005; the fast form of Darbon et al. 2008 in scikit-image)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means

_STRENGTH = 0.5


def denoise(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Denoise a slice (uint8, height x width) with 5x5 patches searched 7 pixels far, h = 0.5 sigma.

    `sigma` is `noise_level`, measured over the whole body; it is 1.2 to 1.4 times the noise of the lung, so that h
    is about 0.65 of the latter. Measured inside the lung of 16 slices of the protocol `phantom` (2 % dose, noise
    std 10-17 grey) against the noise-free aligned slice, mean (range):

    | h / sigma | noise cut in vessel-free lung | bias, grey | vessel contrast | corr(residual, structure) |
    |---|---|---|---|---|
    | 0.40 | 32 % (28-34) |  0.05 (-0.2 to 0.6) | 0.994 (0.977-1.008) | -0.05 |
    | 0.45 | 40 % (36-43) | -0.02 (-0.3 to 0.5) | 0.990 (0.967-1.005) | -0.07 |
    | 0.50 | 47 % (42-50) | -0.08 (-0.3 to 0.4) | 0.984 (0.952-1.001) | -0.10 |
    | 0.55 | 52 % (48-55) | -0.14 (-0.4 to 0.3) | 0.976 (0.934-0.994) | -0.13 |

    0.5 is the weakest that cuts the noise of every slice by 40 %; its bias stays below half a grey level, its vessels
    lose 1.6 % of their contrast, and what remains correlates by -0.1 with the anatomy: it smooths a little.
    A slice without noise comes back as it is. One thread, no randomness: equal input, equal output.
    """
    sigma = noise_level(image)
    if sigma == 0:
        return image.copy()
    smooth = denoise_nl_means(
        image.astype(np.float64), patch_size=5, patch_distance=7, h=_STRENGTH * sigma, fast_mode=True
    )
    grey: NDArray[np.uint8] = np.clip(np.rint(smooth), 0, 255).astype(np.uint8)
    return grey


def noise_level(image: NDArray[np.uint8]) -> float:
    """Standard deviation of a slice's noise (uint8, height x width) finer than 2 pixels, in grey levels.

    Median absolute deviation of what a Gaussian of 2 pixels takes away, where few pixels are clipped: air
    cut off at grey 0 (half of its noise is gone) would pull the median down. It holds about 85 % of the
    amplitude of a sharp kernel's noise; a wavelet's finest band holds less than half of it. 0 where every
    part of the slice is clipped.
    """
    pixels = image.astype(np.float32)
    detail = pixels - cv2.GaussianBlur(pixels, (0, 0), 2.0)
    clipped = ((image == 0) | (image == 255)).astype(np.float32)
    usable = np.asarray(cv2.blur(clipped, (15, 15))) < 0.25
    if not usable.any():
        return 0.0
    values = detail[usable]
    return float(np.median(np.abs(values - np.median(values))) / 0.6745)  # MAD of a unit normal: 0.6745
