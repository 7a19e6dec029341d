import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from harness.metrics.nps_frequency import radial_spectrum, value

SIZE = 256


def white(seed: int, sigma: float = 8.0, size: int = SIZE) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, sigma, (size, size))


def everywhere(size: int = SIZE) -> NDArray[np.bool_]:
    return np.ones((size, size), bool)


def disk(radius: float, size: int = SIZE) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:size, :size]
    inside: NDArray[np.bool_] = np.hypot(rows - size / 2, columns - size / 2) < radius
    return inside


def spectrum(
    image: NDArray[np.float64], mask: NDArray[np.bool_], pixel_mm: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = radial_spectrum(image, mask, pixel_mm=pixel_mm)
    assert found is not None
    return found


def mean_frequency(image: NDArray[np.float64], mask: NDArray[np.bool_], pixel_mm: float | None = None) -> float:
    """Of a residual, which `value` gets as the difference of two 8-bit images."""
    reference = np.full(image.shape, 128, np.uint8)
    grey = np.clip(np.rint(image + 128), 0, 255).astype(np.uint8)
    found = value(grey, reference, mask, data_range=255, pixel_mm=pixel_mm)
    assert found is not None
    return found


@pytest.mark.parametrize("mask", [everywhere(), disk(60), disk(25)], ids=["square", "disk", "small disk"])
def test_white_noise_is_flat_at_its_variance(mask: NDArray[np.bool_]) -> None:
    spectra = [spectrum(white(seed), mask, pixel_mm=0.7) for seed in range(12)]
    frequencies, power = spectra[0][0], np.mean([power for _, power in spectra], axis=0)
    np.testing.assert_allclose(frequencies, np.arange(2, 33) / 64 / 0.7)
    # variance x pixel area; the lowest rings hold a dozen samples a patch, and detrending takes a tenth of the first
    np.testing.assert_allclose(power[:3], 64 * 0.49, rtol=0.4)
    np.testing.assert_allclose(power[3:], 64 * 0.49, rtol=0.2)
    assert power.mean() == pytest.approx(64 * 0.49, rel=0.03)
    # of a flat spectrum at 2/64 ... 32/64: 17/64
    assert np.mean([mean_frequency(white(seed), mask) for seed in range(12)]) == pytest.approx(17 / 64, abs=0.005)


@pytest.mark.parametrize("blur", [0.8, 1.5])
def test_blurred_noise_has_the_filters_spectrum(blur: float) -> None:
    # |transfer function|^2 of a Gaussian: exp(-4 pi^2 blur^2 f^2)
    images = [gaussian_filter(white(seed, 60), blur, mode="wrap") for seed in range(4)]
    frequencies, power = spectrum(images[0], everywhere())
    power = np.mean([spectrum(image, everywhere())[1] for image in images], axis=0)
    expected = 3600 * np.exp(-4 * np.pi**2 * blur**2 * frequencies**2)
    strong = expected > 36
    np.testing.assert_allclose(power[strong], expected[strong], rtol=0.15)
    found = np.mean([mean_frequency(image, everywhere()) for image in images])
    assert found == pytest.approx((frequencies * expected).sum() / expected.sum(), rel=0.03)


def test_a_wave_is_found_at_its_frequency() -> None:
    columns = np.arange(SIZE)
    for cycles in (6, 12, 24):  # in 64 pixels
        wave = np.tile(40 * np.sin(2 * np.pi * cycles / 64 * columns), (SIZE, 1))
        frequencies, power = spectrum(wave, everywhere())
        assert frequencies[power.argmax()] == cycles / 64
        assert mean_frequency(wave, everywhere(), pixel_mm=0.5) == pytest.approx(cycles / 64 / 0.5, rel=0.03)


@given(seed=st.integers(0, 1000), factor=st.floats(0.1, 10), pixel_mm=st.floats(0.2, 2))
@settings(max_examples=20)
def test_laws(seed: int, factor: float, pixel_mm: float) -> None:
    size, mask = 128, disk(45, 128)
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(white(seed, 20, size), 0.7)
    frequencies, power = spectrum(noise, mask)
    slope = rng.normal(0, 0.3, 2) @ np.indices((size, size)).reshape(2, -1)
    sloping = noise + rng.normal(0, 50) + slope.reshape(size, size)
    np.testing.assert_allclose(spectrum(sloping, mask)[1], power, rtol=1e-2, atol=1e-3 * power.max())
    np.testing.assert_allclose(spectrum(factor * noise, mask)[1], factor**2 * power, rtol=1e-4)
    elsewhere = np.where(mask, noise, 200)
    np.testing.assert_array_equal(spectrum(elsewhere, mask)[1], power)
    in_mm, powers = spectrum(noise, mask, pixel_mm)
    np.testing.assert_allclose(in_mm * pixel_mm, frequencies, rtol=1e-12)
    np.testing.assert_allclose(powers, power * pixel_mm**2, rtol=1e-12)
    per_pixel = mean_frequency(noise, mask)
    assert 1 / 32 <= per_pixel <= 0.5
    assert mean_frequency(noise, mask, pixel_mm) == pytest.approx(per_pixel / pixel_mm, rel=1e-12)
    assert mean_frequency(gaussian_filter(noise, 1), mask) < per_pixel


def test_none_where_nothing_differs_or_no_patch_fits() -> None:
    flat = np.full((SIZE, SIZE), 90, np.uint8)
    ramp = np.tile(np.arange(SIZE) // 2, (SIZE, 1)).astype(np.uint8)
    noisy = (100 + white(0)).astype(np.uint8)
    mask = everywhere()
    facts = {"data_range": 255.0, "pixel_mm": 0.7}
    assert value(ramp, ramp, mask, **facts) is None
    assert value(ramp + np.uint8(7), ramp, mask, **facts) is None
    assert value(noisy, flat, mask, **facts) is not None
    assert value(noisy, flat, disk(8), **facts) is None
    assert radial_spectrum(white(0, size=63), everywhere(63), pixel_mm=0.7) is None
