"""The weak denoiser on a slice whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage as ndi

from harness.imaging.denoise.nlm import denoise, noise_level


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


def test_noise_is_cut_without_bias_and_an_edge_stays() -> None:
    image = _noisy(std=8, clean=60, seed=5)
    image[:, 64:] += 80
    smooth = denoise(image).astype(float)
    left, right = smooth[:, 8:56], smooth[:, 72:120]
    # half the strength of a stationary noise level: at least 15 % of the noise goes, no grey level is added
    assert left.std() < 0.85 * 8
    assert left.mean() == pytest.approx(60, abs=0.5)
    assert right.mean() - left.mean() == pytest.approx(80, abs=0.5)
    assert smooth[:, 65].mean() - smooth[:, 62].mean() == pytest.approx(80, abs=2)


def test_a_slice_without_noise_comes_back() -> None:
    image = np.zeros((40, 50), np.uint8)
    image[10:30, 10:40] = 90
    np.testing.assert_array_equal(denoise(image), image)


@settings(max_examples=20, deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=32)))
def test_output_lies_within_the_input_and_repeats(image: NDArray[np.uint8]) -> None:
    smooth = denoise(image)
    assert smooth.dtype == np.uint8
    assert smooth.shape == image.shape
    assert image.min() <= smooth.min()
    assert smooth.max() <= image.max()
    np.testing.assert_array_equal(denoise(image), smooth)
