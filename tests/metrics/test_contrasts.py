"""Vessel and nodule contrast: the laws they share, and what each takes for its object."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from harness.imaging.regions import dilate, shrink
from harness.metrics import ImageMetric, nodule_contrast, vessel_contrast
from harness.phantom import make_patient, nodule_levels, scan_slice

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
SIZE, LUNG, VESSEL, NODULE = 128, 40, 140, 130
METRICS = [vessel_contrast.METRIC, nodule_contrast.METRIC]


@lru_cache(maxsize=4)
def chest(seed: int = 0) -> tuple[Grey, dict[str, Mask]]:
    """A lung with vessels and one nodule inside a bright wall, slightly blurred as a scanner does; the two regions."""
    rng = np.random.default_rng(seed)
    image = np.full((SIZE, SIZE), LUNG, np.uint8)
    for _ in range(8):
        ends = rng.integers(20, SIZE - 20, (2, 2))
        cv2.line(image, ends[0].tolist(), ends[1].tolist(), VESSEL, int(rng.integers(1, 4)))
    rows, columns = np.ogrid[:SIZE, :SIZE]
    nodule: Mask = np.hypot(rows - 64, columns - 110) < 6
    image[dilate(nodule, 12)] = LUNG
    image[nodule] = NODULE
    lung: Mask = np.hypot(rows - 64, columns - 64) < 56
    image[~lung] = 160
    blurred = np.rint(gaussian_filter(image.astype(float), 0.6)).astype(np.uint8)
    return blurred, {"lung": lung & ~dilate(~lung, 2), "nodules": nodule}


def ratio(metric: ImageMetric, image: Grey, reference: Grey, masks: dict[str, Mask]) -> float:
    assert metric.regions is not None
    (region,) = metric.regions
    found = metric.value(image, reference, masks[region], data_range=255, pixel_mm=None)
    assert isinstance(found, float)
    return found


def blurred(image: Grey, sigma: float) -> Grey:
    return np.rint(gaussian_filter(image.astype(float), sigma)).astype(np.uint8)


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 100), noise=st.integers(0, 10_000), sigma=st.floats(0.5, 9))
@settings(max_examples=20)
def test_noise_of_the_image_cancels(metric: ImageMetric, seed: int, noise: int, sigma: float) -> None:
    # The same pixels in both images: noise and the same noise with its sign turned move the ratio by as much either
    # way, so that noise of a symmetric distribution leaves it at 1 on average. 4 sigma do not reach 0 or 255.
    reference, masks = chest(seed)
    shift = np.rint(np.random.default_rng(noise).normal(0, sigma, reference.shape).clip(-36, 36)).astype(int)
    ratios = [ratio(metric, (reference + turn * shift).astype(np.uint8), reference, masks) for turn in (1, -1)]
    assert np.mean(ratios) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 100))
@settings(max_examples=20)
def test_the_more_blur_the_less_contrast(metric: ImageMetric, seed: int) -> None:
    reference, masks = chest(seed)
    ratios = [ratio(metric, blurred(reference, sigma), reference, masks) for sigma in (0.01, 0.7, 1.4, 2.8)]
    assert ratios[0] == 1
    assert all(more < less for less, more in pairwise(ratios))
    assert ratios[-1] < 0.8


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 100), shift=st.integers(-20, 20))
@settings(max_examples=10)
def test_it_is_the_contrast_and_not_the_brightness(metric: ImageMetric, seed: int, shift: int) -> None:
    reference, masks = chest(seed)
    assert ratio(metric, (reference.astype(int) + shift).astype(np.uint8), reference, masks) == pytest.approx(1)
    halved = (reference // 2 * 2 // 2 + 60).astype(np.uint8)
    assert ratio(metric, halved, reference // 2 * 2, masks) == pytest.approx(0.5)
    assert ratio(metric, reference // 2 * 2, halved, masks) == pytest.approx(2)
    assert ratio(metric, 255 - reference, reference, masks) == pytest.approx(-1)


@pytest.mark.parametrize("metric", METRICS)
def test_the_chest_wall_is_no_part_of_it(metric: ImageMetric) -> None:
    # The nodule lies 4 pixels from the wall, which is near enough to be surroundings, but no lung.
    reference, masks = chest()
    image = np.where(dilate(masks["lung"], 2), reference, 255).astype(np.uint8)
    assert (image != reference).any()
    assert ratio(metric, image, reference, masks) == 1


def test_vessels_beside_a_nodule_are_no_lung_around_it() -> None:
    reference, masks = chest()
    beside = dilate(masks["nodules"], 8) & ~dilate(masks["nodules"], 5)
    reference = np.where(beside & (np.arange(SIZE)[:, None] > 66), VESSEL, reference).astype(np.uint8)
    faded = np.where(reference == VESSEL, LUNG, reference).astype(np.uint8)
    assert ratio(nodule_contrast.METRIC, faded, reference, masks) == pytest.approx(1)


def test_vessels_of_a_noisy_reference_are_its_bright_spots() -> None:
    truth, masks = chest()
    rng = np.random.default_rng(0)
    noisy = [np.rint(truth + rng.normal(0, 20, truth.shape)).clip(0, 255).astype(np.uint8) for _ in range(30)]
    # 0.985 with a standard error of 0.001: even the truth falls short, by little because the choice is made smoothed
    found = np.mean([ratio(vessel_contrast.METRIC, truth, reference, masks) for reference in noisy])
    assert 0.97 < found < 0.995


def test_none_where_there_is_nothing_to_measure() -> None:
    image, masks = chest()
    flat = np.full(image.shape, LUNG, np.uint8)
    spot = np.zeros(image.shape, bool)
    spot[60:64, 108:112] = True  # 16 pixels of a nodule
    everything = np.ones(image.shape, bool)
    for metric, reference, mask in (
        (vessel_contrast, flat, masks["lung"]),
        (nodule_contrast, flat, masks["nodules"]),
        (vessel_contrast, image, spot),
        (nodule_contrast, image, spot),
        (nodule_contrast, image, everything),  # no surroundings
    ):
        assert metric.value(image, reference, mask, data_range=255, pixel_mm=None) is None


def test_on_the_phantom() -> None:
    patient = make_patient(2602, 0)
    (level,) = nodule_levels(patient)
    scanned = scan_slice(patient, level, size=192, dose=0.02)
    masks = shrink(scanned.regions)
    for metric in METRICS:
        assert ratio(metric, scanned.truth, scanned.truth, masks) == 1
        assert ratio(metric, scanned.lq, scanned.truth, masks) == pytest.approx(1, abs=0.05)
        smooth = [ratio(metric, blurred(scanned.lq, sigma), scanned.truth, masks) for sigma in (0.5, 1.0, 2.0)]
        assert smooth[2] < smooth[1] < smooth[0] < 1.01
        assert smooth[2] < 0.75
