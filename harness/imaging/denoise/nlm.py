"""Non-local means (Buades et al. 2005; the fast form of Darbon et al. 2008 in scikit-image)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means

from harness.imaging.noise_level import noise_level

STRENGTH = 0.5


def denoise(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Denoise a slice, uint8 (height, width) to the same: 5 x 5 patches, searched 7 pixels far, h = STRENGTH * sigma.

    `sigma` is `noise_level`, measured over the whole body. A slice without noise comes back unchanged. One thread and
    no randomness: equal inputs give equal outputs. docs/weak_denoisers.md compares the strengths.
    """
    return denoise_by(image, strength=STRENGTH)


def denoise_by(image: NDArray[np.uint8], *, strength: float) -> NDArray[np.uint8]:
    """`denoise` with h = `strength` times the noise level."""
    sigma = noise_level(image)
    if sigma == 0:
        return image.copy()
    smooth = denoise_nl_means(
        image.astype(np.float64), patch_size=5, patch_distance=7, h=strength * sigma, fast_mode=True
    )
    grey: NDArray[np.uint8] = np.clip(np.rint(smooth), 0, 255).astype(np.uint8)
    return grey
