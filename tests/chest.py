"""Chest slices of a few lines: enough anatomy to tell patients, planes and orientations apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Grey = NDArray[np.uint8]
SIZE = 64


def chest(*, patient: int, slice: int = 1, size: int = SIZE) -> NDArray[np.float64]:
    """A slice through the window -1024 to 1200 HU, (size, size): body, two lungs, heart, spine, table."""
    rng = np.random.default_rng(patient)
    wide, deep, left, right, heart = rng.uniform(0.8, 1.1, 5)
    across, down = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    image = np.zeros((size, size))

    def ellipse(x: float, y: float, a: float, b: float, grey: float) -> None:
        image[((across - x) / a) ** 2 + ((down - y) / b) ** 2 < 1] = grey

    ellipse(0, 0, 0.85 * wide, 0.6 * deep, 118)
    ellipse(-0.4 * wide, -0.05, (0.28 + 0.01 * slice) * left, 0.4 * deep, 25)
    ellipse(0.42 * wide, 0, (0.24 + 0.01 * slice) * right, 0.38 * deep, 25)
    ellipse(0.15, -0.15 * deep, 0.3 * heart, 0.22 * heart, 125)
    ellipse(0, 0.38 * deep, 0.1, 0.12, 170)
    image[(down > 0.75) & (down < 0.8) & (abs(across) < 0.7)] = 60
    return image


def scanned(image: NDArray[np.float64], *, noise: float, seed: int) -> Grey:
    """The slice with noise of a standard deviation of `noise` grey levels, 8 bits."""
    grain = gaussian_filter(np.random.default_rng(seed).normal(size=image.shape), 0.6)
    found: Grey = np.rint(np.clip(image + noise * grain / grain.std(), 0, 255)).astype(np.uint8)
    return found


def chest_pair(*, patient: int, slice: int = 1) -> tuple[Grey, Grey]:
    """Low dose and normal dose of a slice, uint8 (SIZE, SIZE), a breath apart."""
    low, normal = (chest(patient=patient, slice=slice + breath) for breath in (0, 1))
    return scanned(low, noise=12, seed=100 * patient + slice), scanned(normal, noise=3, seed=100 * patient + 50 + slice)
