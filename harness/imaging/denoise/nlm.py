"""Non-local means (Buades et al. 2005; the fast form of Darbon et al. 2008 in scikit-image)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means

_STRENGTH = 0.5


def denoise(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Denoise a slice (uint8, height x width) with 5x5 patches searched 7 pixels far, h = 0.5 sigma.

    `sigma` is `noise_level`, measured over the whole body; it is about 1.4 times the noise of the lung, so
    that h is 0.7 of the latter. Measured inside the lung of 9 phantom slices at 2 % dose (6 patients, grey
    levels of [-1024, 1200] HU, against the noise-free aligned slice; noise std 10-15 grey):

    | h / sigma | noise cut in vessel-free lung | bias | vessel contrast | corr(residual, structure) |
    |---|---|---|---|---|
    | 0.40 | 35 % (30-40) |  0.02 | 1.002 (0.988-1.009) | -0.03 |
    | 0.45 | 42 % (38-48) | -0.08 | 0.998 (0.978-1.007) | -0.05 |
    | 0.50 | 49 % (44-54) | -0.17 | 0.991 (0.964-1.004) | -0.08 |
    | 0.55 | 54 % (50-59) | -0.25 | 0.982 (0.946-1.000) | -0.11 |

    0.5 is the strongest that keeps the mean vessel contrast within 1 % and every slice's noise cut above 40 %.
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
