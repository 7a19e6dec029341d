"""Attenuation, photons, and how a detector counts them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.imaging.draws import Draws
from harness.imaging.portable import exp, exps, log, normal_quantile, poisson_quantile

MU_WATER = 0.0195
"""Attenuation of water in 1/mm at about 70 keV, the effective energy of a 120 kVp beam."""


_SHARES = 64


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
    return exps(-1.2 * (1 - np.sqrt(np.clip(1 - (s / 170) ** 2, 0, 1)))).astype(np.float32)  # type: ignore[no-any-return]


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

    A ray's reading depends on its own line integral and its own two numbers of the stream alone, so that one ray that
    differs changes no other; and it is made of portable functions, so that equal rays read equal on every machine.
    """
    unattenuated = photons * bowtie(line_integrals.shape[1], pixel_mm=pixel_mm).astype(np.float64)
    measured = np.empty(line_integrals.shape, np.float32)
    shares = Draws(rng).shares((*line_integrals.shape, 2))
    _read_out(np.asarray(line_integrals, np.float32), unattenuated, float(electronic), shares, measured)
    return measured


def mean_log_counts(expected: NDArray[np.float64], *, electronic: float) -> NDArray[np.float64]:
    """The mean logarithm of what `detect` counts where it expects so many photons: (n,) to (n,), both float64.

    It is below the logarithm of the mean, by 1 / (2 counts) and more, and above it where most counts are set to 1: a
    starved ray reads too long on average. Averaged over `_SHARES` x `_SHARES` equal shares of the two distributions.
    """
    means = np.empty(len(expected))
    shares = (np.arange(_SHARES) + 0.5) / _SHARES
    _average_logs(np.asarray(expected, np.float64), float(electronic), shares, means)
    return means


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _read_out(
    line_integrals: NDArray[np.float32],
    unattenuated: NDArray[np.float64],
    electronic: float,
    shares: NDArray[np.float64],
    measured: NDArray[np.float32],
) -> None:
    """Counts from the first share of each ray, electronic noise from the second, and the logarithm of their sum."""
    for view in range(measured.shape[0]):
        for channel in range(measured.shape[1]):
            before = unattenuated[channel]
            count = poisson_quantile(before * exp(-np.float64(line_integrals[view, channel])), shares[view, channel, 0])
            if electronic > 0.0:
                count += electronic * normal_quantile(shares[view, channel, 1])
            measured[view, channel] = -log(max(count, 1.0) / before)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _average_logs(
    expected: NDArray[np.float64], electronic: float, shares: NDArray[np.float64], means: NDArray[np.float64]
) -> None:
    for i in range(len(expected)):
        total = 0.0
        for one in shares:
            count = poisson_quantile(expected[i], one)
            for other in shares:
                total += log(max(count + electronic * normal_quantile(other), 1.0))
        means[i] = total / (len(shares) * len(shares))
