"""The noise estimate that weak denoisers take their strength from."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage as ndi

from harness.imaging.noise_level import noise_level


def _noisy(*, std: float, clean: float, seed: int) -> NDArray[np.uint8]:
    """Flat grey with noise that is correlated as reconstructed CT noise is (Gaussian, 0.7 pixels)."""
    noise = ndi.gaussian_filter(np.random.default_rng(seed).standard_normal((128, 128)), 0.7)
    grey: NDArray[np.uint8] = np.clip(np.rint(clean + noise / noise.std() * std), 0, 255).astype(np.uint8)
    return grey


@pytest.mark.parametrize("std", [3.0, 8.0, 15.0])
def test_noise_level_finds_correlated_noise(std: float) -> None:
    # Noise blurred by s = 0.7 minus its blur by t = 2 pixels keeps, by Parseval with Gaussian spectra,
    # 1 - 2 s²/(s² + t²/2) + s²/(s² + t²) = 0.716 of its power; 4 % is the sampling error of 128 x 128 pixels.
    expected = std * np.sqrt(1 - 2 * 0.49 / (0.49 + 2) + 0.49 / (0.49 + 4))
    assert noise_level(_noisy(std=std, clean=100, seed=1)) == pytest.approx(expected, rel=0.04)


def test_noise_level_ignores_clipped_air() -> None:
    image = _noisy(std=12, clean=100, seed=2)
    beside_air = np.hstack([image, _noisy(std=12, clean=0, seed=3), _noisy(std=12, clean=0, seed=4)])
    assert noise_level(beside_air) == pytest.approx(noise_level(image), rel=0.1)


def test_a_slice_that_is_clipped_everywhere_has_none() -> None:
    assert noise_level(np.full((32, 32), 255, np.uint8)) == 0
