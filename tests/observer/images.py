"""Regions of interest whose noise has exactly the covariance it should have: closed forms hold without sampling."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PATIENTS = 4


def gaussian(side: int, *, width: float) -> Floats:
    """exp(-pi r^2 / width^2) in the middle of a square, (side, side); its integral is width^2."""
    offsets = np.arange(side) - (side - 1) / 2
    along = np.exp(-math.pi * offsets**2 / width**2)
    both: Floats = along[:, None] * along
    return both


def exact_noise(side: int, *, blur: float = 0.0) -> tuple[Floats, list[str]]:
    """Every unit impulse and its negative, blurred: (2 side^2, side, side), and the patient of each.

    Two classes of them have the mean 0 and the pooled covariance K K', K the periodic blur exp(-pi r^2 / blur^2) of
    integral 1 (the identity for 0): white noise of standard deviation 1, or its blurred form. Both signs belong to one
    patient, so that a patient's mean is 0, too.
    """
    pixels = side * side
    frequencies = np.fft.fftfreq(side)
    transfer = np.exp(-math.pi * blur**2 * (frequencies[:, None] ** 2 + frequencies**2))
    impulses = np.eye(pixels).reshape(pixels, side, side) * math.sqrt((4 * pixels - 2) / 4)
    noise = np.fft.ifft2(np.fft.fft2(impulses) * transfer).real
    names = [f"p{pixel * PATIENTS // pixels}" for pixel in range(pixels)]
    return np.concatenate([noise, -noise]), names + names
