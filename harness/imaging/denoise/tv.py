"""Total variation (Rudin, Osher & Fatemi 1992) by Chambolle's projection (J Math Imaging Vis 20 (2004))."""

from __future__ import annotations

import numpy as np
from skimage.restoration import denoise_tv_chambolle

from harness.imaging.hounsfield import Image, whole_levels
from harness.imaging.noise_level import noise_level

STRENGTH = 0.5
"""Removes about as much noise as the middle of what a label may lose (`harness.labels.acceptance_gates`)."""


def denoise(image: Image) -> Image:
    """Denoise a slice, uint8 or uint16 (height, width) to the same, with the weight STRENGTH * sigma.

    `sigma` is `noise_level`, measured over the whole body. At every strength it flattens vessels and brightens the dark
    lung. A slice without noise comes back unchanged. One thread and no randomness: equal inputs give equal outputs.
    docs/weak_denoisers.md compares the strengths.
    """
    return denoise_by(image, strength=STRENGTH)


def denoise_by(image: Image, *, strength: float) -> Image:
    """`denoise` with the weight `strength` times the noise level."""
    sigma = noise_level(image)
    if sigma == 0:
        return image.copy()
    smooth = denoise_tv_chambolle(image.astype(np.float64), weight=strength * sigma, eps=1e-4, max_num_iter=200)
    return whole_levels(smooth, image.dtype)
