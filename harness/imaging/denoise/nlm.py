"""Non-local means (Buades et al. 2005; the fast form of Darbon et al. 2008 in scikit-image)."""

from __future__ import annotations

import numpy as np
from skimage.restoration import denoise_nl_means

from harness.imaging.hounsfield import Image, whole_levels
from harness.imaging.noise_level import noise_level

STRENGTH = 0.5


def denoise(image: Image) -> Image:
    """Denoise a slice, uint8 or uint16 (height, width) to the same: 5 x 5 patches, searched 7 pixels far.

    h is STRENGTH * sigma, `sigma` the `noise_level`, measured over the whole body. A slice without noise comes
    back unchanged. One thread and no randomness: equal inputs give equal outputs. docs/weak_denoisers.md compares
    the strengths.
    """
    return denoise_by(image, strength=STRENGTH)


def denoise_by(image: Image, *, strength: float) -> Image:
    """`denoise` with h = `strength` times the noise level."""
    sigma = noise_level(image)
    if sigma == 0:
        return image.copy()
    smooth = denoise_nl_means(
        image.astype(np.float64), patch_size=5, patch_distance=7, h=strength * sigma, fast_mode=True
    )
    return whole_levels(smooth, image.dtype)
