"""Add Noise as published with IPv2: a normal-dose slice is projected, counted at a lower dose and reconstructed.

arXiv 2602.19314, with the constants of its published code. The slice is stretched to 0..1 on the way in and to 0..255
on the way out, which shifts its grey levels: `insertion` is the corrected variant. Sinograms are those of scikit-image
(`tomography.exact`), so that a seed gives the published image pixel for pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.imaging.tomography import exact

DOSE = 0.015 * 2.5 + 0.1002
"""The published dose: a fraction of 200,000 photons a ray, 13.8 % though the paper speaks of 2 %."""
_ELECTRONIC = 0.05  # standard deviation of the detector's noise, in roots of the expected count
_SCALE = 500  # brings sums over 512 pixels of 0..1 to line integrals of at most about 1


def project(image: NDArray[np.uint8], *, threads: int | None = None) -> NDArray[np.float64]:
    """Line integrals of a slice (uint8, n x n, stretched to 0..1): (n channels, n angles over 180 degrees).

    They depend on neither dose nor seed: one sinogram serves any number of `add_noise` calls. `threads` as in
    `tomography.radon`. ValueError where the slice is not uint8, not square (the published code would shrink it)
    or constant (there it divides by zero).
    """
    if image.dtype != np.uint8:
        raise ValueError("published Add Noise stretches 8-bit slices, and has no scale in HU: use variant: corrected")
    if image.ndim != 2 or image.shape[0] != image.shape[1]:
        raise ValueError(f"published Add Noise takes only square slices, found the shape {image.shape}")
    low, high = image.min(initial=255), image.max(initial=0)
    if low >= high:
        raise ValueError("published Add Noise cannot take a constant slice: it has no grey levels to stretch")
    return exact.radon((image - low) / (high - low), _angles(len(image)), threads=threads) / _SCALE


def add_noise(
    sinogram: NDArray[np.float64],
    *,
    rng: np.random.RandomState,
    dose: float = DOSE,
    threads: int | None = None,
) -> NDArray[np.uint8]:
    """The slice of `project` at `dose`, reconstructed with a Hann filter and stretched to 0..255: uint8 (n, n).

    `rng` is numpy's legacy generator, as published; all Poisson counts are drawn from it first, then the detector's
    normal noise. A ray without counts gets the line integral 0. ValueError where `dose` is not positive, or so small
    that no ray counts anything.
    """
    if not dose > 0:
        raise ValueError(f"expected a dose above 0, found {dose}")
    photons = dose * 200 * 1000  # per ray; the order of the factors decides the last bit
    expected = photons * np.exp(-sinogram)
    counts = rng.poisson(expected) + rng.normal(0, _ELECTRONIC * np.sqrt(expected))
    measured = -np.log(np.where(counts > 0, counts / photons, 1))
    noisy = exact.iradon(_SCALE * measured, _angles(sinogram.shape[1]), filter_name="hann", threads=threads)
    low, high = noisy.min(), noisy.max()
    if not low < high:
        raise ValueError(f"no ray counts anything at dose {dose:g}: nothing to reconstruct")
    grey: NDArray[np.uint8] = ((noisy - low) / (high - low) * 255).astype(np.uint8)
    return grey


def _angles(count: int) -> NDArray[np.float64]:
    return np.linspace(0, 180, count, endpoint=False)
