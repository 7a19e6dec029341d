"""The battery: denoisers of different kinds and strengths, to test whether a label ranks them as the truth does.

The first word of a denoiser's name is its family. A weak denoiser is no fair judge of its own family.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.restoration import denoise_bilateral

from harness.imaging.denoise import cnn, nlm, tv
from harness.imaging.noise_level import noise_level

Image = NDArray[np.uint8]


def family(name: str) -> str:
    """The family of a denoiser: `nlm` for the battery's "nlm strong", for a weak denoiser, and for submissions/nlm."""
    return name.rsplit("/", 1)[-1].split()[0]


def _gaussian(image: Image, *, pixels: float) -> Image:
    return _grey(cv2.GaussianBlur(image.astype(np.float32), (0, 0), pixels))


def _median(image: Image, *, side: int) -> Image:
    return np.asarray(cv2.medianBlur(image, side), np.uint8)


def _bilateral(image: Image) -> Image:
    """Tomasi & Manduchi, ICCV 1998: sigma of 2 pixels in space and of 2.5 noise levels in grey."""
    sigma = noise_level(image)
    if sigma == 0:
        return image.copy()
    return _grey(denoise_bilateral(image.astype(np.float64), win_size=9, sigma_color=2.5 * sigma, sigma_spatial=2.0))


def _guided(image: Image) -> Image:
    """He et al., IEEE TPAMI 35 (2013), guided by the slice itself: squares of 7 pixels, epsilon the noise variance."""
    pixels, epsilon = image.astype(np.float64), max(noise_level(image), 1e-3) ** 2

    def mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.blur(x, (7, 7)))

    variance = mean(pixels**2) - mean(pixels) ** 2
    slope = variance / (variance + epsilon)
    return _grey(mean(slope) * pixels + mean((1 - slope) * mean(pixels)))


def _grey(values: object) -> Image:
    grey: Image = np.clip(np.rint(np.asarray(values)), 0, 255).astype(np.uint8)
    return grey


BATTERY: dict[str, Callable[[Image], Image]] = {
    "noisy input": np.copy,
    "gaussian 0.7": partial(_gaussian, pixels=0.7),
    "gaussian 1.2": partial(_gaussian, pixels=1.2),
    "gaussian 2": partial(_gaussian, pixels=2.0),
    "median 3": partial(_median, side=3),
    "median 5": partial(_median, side=5),
    "bilateral": _bilateral,
    "guided": _guided,
    "tv": tv.denoise,
    "tv strong": partial(tv.denoise_by, strength=2 * tv.STRENGTH),
    "nlm": nlm.denoise,
    "nlm strong": partial(nlm.denoise_by, strength=1.6 * nlm.STRENGTH),
    "cnn half": partial(cnn.denoise_by, strength=0.5 * cnn.STRENGTH),
    "cnn": cnn.denoise,
}
"""Name -> denoiser of a slice, uint8 (height, width) to the same."""
