"""Non-local means (Buades et al. 2005; the fast form of Darbon et al. 2008 in scikit-image)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means

_STRENGTH = 0.5


def denoise(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Denoise a slice (uint8, height x width) with 5x5 patches searched 7 pixels far, h = 0.5 sigma.

    `sigma` is `noise_level`, measured over the whole body; it is about 1.3 times the noise of the lung, so that h is
    0.65 of the latter. The strength was chosen on 18 slices of an earlier phantom and then measured on this one
    (seed 2602, 6 patients, 512 x 512, 2 % dose, against the noise-free aligned slice; mean and range over slices).

    Relative heights 0.15 to 0.6, 24 slices, noise std 9-17 grey:

    | h / sigma | noise cut in vessel-free lung | bias, grey | vessel contrast | corr(residual, structure) |
    |---|---|---|---|---|
    | 0.40 | 32 % (25-36) |  0.02 (-0.4 to 0.7) | 0.995 (0.971-1.012) | -0.05 |
    | 0.45 | 40 % (33-44) | -0.06 (-0.5 to 0.6) | 0.990 (0.960-1.011) | -0.07 |
    | 0.50 | 47 % (41-50) | -0.14 (-0.5 to 0.4) | 0.982 (0.937-1.009) | -0.11 |
    | 0.55 | 52 % (47-55) | -0.21 (-0.6 to 0.4) | 0.972 (0.906-1.005) | -0.14 |

    Near the diaphragm (0.8; 5 slices with enough lung, noise std 19-23 grey) it is worse: at 0.5 the cut is 46 %
    (39-52), the bias 1.1 (-0.2 to 1.9; the clipped input's own is 0.6 to 3.0), and the few vessels there (2 to 119
    pixels a slice) keep half their contrast. Weaker values help little: 0.40 keeps 68 %.
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
