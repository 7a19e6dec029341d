"""Attenuation, photons, and how a detector counts them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MU_WATER = 0.0195
"""Attenuation of water in 1/mm at about 70 keV, the effective energy of a 120 kVp beam."""


def hu_to_mu(hu: NDArray[np.floating]) -> NDArray[np.float32]:
    """Hounsfield units -> linear attenuation in 1/mm, float32; nothing attenuates less than vacuum (-1000 HU)."""
    relative = np.asarray(hu, np.float32) * np.float32(1e-3) + np.float32(1)
    mu: NDArray[np.float32] = np.maximum(relative, np.float32(0)) * np.float32(MU_WATER)
    return mu


def mu_to_hu(mu: NDArray[np.floating]) -> NDArray[np.float32]:
    """Linear attenuation in 1/mm -> Hounsfield units, float32, not clipped."""
    return (np.asarray(mu, np.float32) / np.float32(MU_WATER) - np.float32(1)) * np.float32(1000)


def bowtie(channels: int, *, pixel_mm: float) -> NDArray[np.float32]:
    """Relative intensity behind the bowtie filter, (channels,): 1 in the middle, e^-1.2 from 170 mm outwards."""
    s = (np.arange(channels) - (channels - 1) / 2) * pixel_mm
    intensity: NDArray[np.float32] = np.exp(-1.2 * (1 - np.sqrt(np.clip(1 - (s / 170) ** 2, 0, 1)))).astype(np.float32)
    return intensity


def detect(
    line_integrals: NDArray[np.float32],
    *,
    photons: float,
    pixel_mm: float,
    electronic: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Line integrals as a detector measures them: (views, n) -> (views, n), noisy.

    `photons` per ray before the patient and behind the bowtie's middle; Poisson counts plus normal electronic noise of
    `electronic` photons standard deviation. Counts below 1 are set to 1 before the logarithm.
    """
    unattenuated = photons * bowtie(line_integrals.shape[1], pixel_mm=pixel_mm).astype(np.float64)
    counts = rng.poisson(unattenuated * np.exp(-line_integrals.astype(np.float64))).astype(np.float64)
    counts += rng.normal(0.0, electronic, counts.shape)
    measured: NDArray[np.float32] = -np.log(np.maximum(counts, 1.0) / unattenuated).astype(np.float32)
    return measured
