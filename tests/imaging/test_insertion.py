"""Noise-only insertion, against scans simulated from the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.imaging.insertion import Scanner, insert_noise, line_integrals, noise_image, scan_noise
from harness.imaging.regions import erode

WINDOW = (-1024.0, 1200.0)
HU_PER_GREY = (WINDOW[1] - WINDOW[0]) / 255
SIZE, MM = 96, 3.5
SCANNER = Scanner(photons=1e5, electronic=4.0, kernel="hann")


def ellipse(shape: tuple[int, int], centre: tuple[float, float], axes: tuple[float, float]) -> NDArray[np.bool_]:
    """Pixels inside an ellipse; centre and axes (rows, columns) in units of half the height."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    half = shape[0] / 2
    y, x = (rows + 0.5 - shape[0] / 2) / half - centre[0], (columns + 0.5 - shape[1] / 2) / half - centre[1]
    inside: NDArray[np.bool_] = (y / axes[0]) ** 2 + (x / axes[1]) ** 2 < 1
    return inside


def chest(shape: tuple[int, int] = (SIZE, SIZE)) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.bool_]]]:
    """A body with two lungs, in air at -900 HU so that no noise is clipped; and its regions."""
    body = ellipse(shape, (0, 0), (0.6, 0.8))
    lungs = ellipse(shape, (0, -0.35), (0.4, 0.22)) | ellipse(shape, (0, 0.35), (0.4, 0.22))
    hu = np.where(lungs, -600.0, np.where(body, 40.0, -900.0))
    grey = np.rint((hu - WINDOW[0]) / HU_PER_GREY).astype(np.uint8)
    return grey, {"lung": erode(lungs, 3), "body": erode(body & ~lungs, 3)}


def paths(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return line_integrals(image, window_hu=WINDOW, pixel_mm=MM)


def inserted(image: NDArray[np.uint8], *, dose: float, seed: int, scanner: Scanner = SCANNER) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return insert_noise(image, window_hu=WINDOW, pixel_mm=MM, scanner=scanner, dose=dose, rng=rng)


# -------------------------------------------------------------------------------- the noise
def test_the_noise_shifts_no_region() -> None:
    image, regions = chest()
    noise = np.stack([inserted(image, dose=0.3, seed=seed).astype(float) - image for seed in range(24)])
    for region in regions.values():
        assert abs(noise[:, region].mean()) < 0.06 * noise[:, region].std()


def test_starved_rays_shift_it_as_they_shift_a_scan() -> None:
    """The mean of -log(counts) is above -log(mean) by 1/(2 counts): a bias that a real scan of the dose has, too."""
    image, regions = chest()
    dose, truth = 0.02, paths(image)
    low = Scanner(photons=SCANNER.photons * dose, electronic=SCANNER.electronic, kernel=SCANNER.kernel)
    made, scanned = np.zeros(image.shape), np.zeros(image.shape)
    for seed in range(48):
        rng = np.random.default_rng(seed)
        made += noise_image(truth, shape=image.shape, pixel_mm=MM, scanner=SCANNER, dose=dose, rng=rng) / 48
        scanned += scan_noise(truth, shape=image.shape, pixel_mm=MM, scanner=low, rng=rng) / 48
    bias = float(scanned[regions["body"]].mean())
    assert bias > 5  # HU
    for region in regions.values():
        assert made[region].mean() == pytest.approx(scanned[region].mean(), abs=0.25 * bias)


@settings(max_examples=8)
@given(dose=st.floats(0.02, 0.8), electronic=st.sampled_from([0.0, 4.0, 12.0]))
def test_a_scan_with_its_missing_noise_has_the_noise_of_the_lower_dose(dose: float, electronic: float) -> None:
    image, regions = chest()
    truth, full = paths(image), Scanner(photons=1e5, electronic=electronic, kernel="hann")
    low = Scanner(photons=full.photons * dose, electronic=electronic, kernel="hann")
    at_low_dose, at_full_and_missing = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        at_low_dose.append(scan_noise(truth, shape=image.shape, pixel_mm=MM, scanner=low, rng=rng))
        own = scan_noise(truth, shape=image.shape, pixel_mm=MM, scanner=full, rng=rng)
        missing = noise_image(truth, shape=image.shape, pixel_mm=MM, scanner=full, dose=dose, rng=rng)
        at_full_and_missing.append(own + missing)
    for region in regions.values():
        spread = [np.stack(made)[:, region].std() for made in (at_full_and_missing, at_low_dose)]
        assert spread[0] / spread[1] == pytest.approx(1, abs=0.08)  # 12 x some 200 independent pixels a region


def test_a_noisy_slice_becomes_like_a_scan_of_the_lower_dose() -> None:
    """The same on 8-bit slices: line integrals come from the noisy slice itself."""
    image, regions = chest()
    dose, truth = 0.1, paths(image)
    low = Scanner(photons=SCANNER.photons * dose, electronic=SCANNER.electronic, kernel=SCANNER.kernel)
    made, scanned = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        own = scan_noise(truth, shape=image.shape, pixel_mm=MM, scanner=SCANNER, rng=rng) / HU_PER_GREY
        normal = np.clip(np.rint(image + own), 0, 255).astype(np.uint8)
        made.append(inserted(normal, dose=dose, seed=100 + seed).astype(float) - image)
        scanned.append(scan_noise(truth, shape=image.shape, pixel_mm=MM, scanner=low, rng=rng) / HU_PER_GREY)
    for region in regions.values():
        ratio = np.stack(made)[:, region].std() / np.stack(scanned)[:, region].std()
        assert ratio == pytest.approx(1, abs=0.08)


def test_noise_is_stronger_where_paths_are_longer() -> None:
    image, _ = chest()
    slim = np.where(ellipse(image.shape, (0, 0), (0.3, 0.4)), image, image[0, 0])
    middle = ellipse(image.shape, (0, 0), (0.2, 0.12))
    noise = [
        noise_image(
            paths(body), shape=image.shape, pixel_mm=MM, scanner=SCANNER, dose=0.1, rng=np.random.default_rng(1)
        )
        for body in (image, slim)
    ]
    assert noise[0][middle].std() > 1.5 * noise[1][middle].std()


# -------------------------------------------------------------------------------- the sinogram
def test_one_sinogram_serves_every_dose_and_generator() -> None:
    image, _ = chest()
    sinogram = paths(image)
    before = sinogram.copy()
    for dose, seed in ((0.5, 1), (0.02, 2)):
        noise = noise_image(
            sinogram, shape=image.shape, pixel_mm=MM, scanner=SCANNER, dose=dose, rng=np.random.default_rng(seed)
        )
        expected = np.clip(np.rint(image + noise * np.float32(1 / HU_PER_GREY)), 0, 255)
        found = inserted(image, dose=dose, seed=seed)
        assert np.abs(found - expected).max() <= 1  # rounding of x.5 in another order of operations
        assert (found == expected).mean() > 0.999
    np.testing.assert_array_equal(sinogram, before)


def test_line_integrals_are_lengths_through_water() -> None:
    disk = np.where(ellipse((128, 128), (0, 0), (0.5, 0.5)), np.uint8(117), np.uint8(0))  # grey 117 is -3.6 HU
    sinogram = line_integrals(disk, window_hu=WINDOW, pixel_mm=2.0)
    assert sinogram.shape == (180, 128)
    expected = 2 * 0.5 * 64 * 2.0 * 0.0195 * 0.9964  # the diameter in mm, times water's attenuation at -3.6 HU
    np.testing.assert_allclose(sinogram[:, 63:65].mean(axis=1), expected, rtol=0.02)


# -------------------------------------------------------------------------------- shapes and fields of view
@pytest.mark.parametrize("shape", [(96, 64), (64, 96), (95, 63)])
def test_slices_that_are_not_square_keep_their_shape(shape: tuple[int, int]) -> None:
    image, _ = chest(shape)
    made = inserted(image, dose=0.1, seed=3)
    assert made.shape == shape
    assert made.dtype == np.uint8
    difference = made.astype(float) - image
    assert abs(difference.mean()) < 0.2 * difference.std()


def test_a_slice_that_fills_its_image_is_noisy_to_the_corners() -> None:
    image, _ = chest()
    image = image.copy()
    image[0, 0] += 9  # corners of one value would make it a round field of view
    assert paths(image).shape[1] >= math.hypot(SIZE, SIZE)
    noise = np.stack([inserted(image, dose=0.02, seed=seed).astype(float) - image for seed in range(6)])
    for corner in (np.s_[:, :8, :8], np.s_[:, :8, -8:], np.s_[:, -8:, :8], np.s_[:, -8:, -8:]):
        assert noise[corner].std() > 1


def test_nothing_changes_outside_a_round_field_of_view() -> None:
    image, _ = chest()
    distance = np.hypot(*(np.indices(image.shape) - (SIZE - 1) / 2)) / (SIZE / 2)
    image = np.where(distance <= 1, image, np.uint8(0))
    made = inserted(image, dose=0.02, seed=4)
    assert (made[distance > 1] == 0).all()
    assert (made[distance < 0.9] != image[distance < 0.9]).mean() > 0.5
    assert paths(image).shape[1] == SIZE


def test_equal_generators_give_equal_slices() -> None:
    image, _ = chest()
    np.testing.assert_array_equal(inserted(image, dose=0.1, seed=5), inserted(image, dose=0.1, seed=5))
    assert (inserted(image, dose=0.1, seed=5) != inserted(image, dose=0.1, seed=6)).any()


@pytest.mark.parametrize("dose", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_doses_that_are_no_fraction_are_refused(dose: float) -> None:
    with pytest.raises(ValueError, match="expected a dose between 0 and 1"):
        inserted(chest()[0], dose=dose, seed=0)
