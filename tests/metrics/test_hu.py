"""Metrics in HU: planted errors are found, at 16 and at 8 bits, and what they do not see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from harness import metrics
from harness.base.errors import ScoringError
from harness.imaging.hounsfield import HU16, Window, levels
from harness.imaging.regions import erode
from harness.metrics import ImageMetric, comparisons

HU = NDArray[np.float64]
Mask = NDArray[np.bool_]
SIZE = 128
WINDOW: Window = (-1424.0, 1200.0)
STORED = [pytest.param(HU16, np.uint16, id="16 bits"), pytest.param(WINDOW, np.uint8, id="8 bits")]
TISSUES = {"air": -1000.0, "lung": -850.0, "fat": -100.0, "muscle": 50.0, "blood": 250.0, "bone": 700.0}


def chest() -> tuple[HU, dict[str, Mask]]:
    """Columns of each tissue, 20 pixels wide, blurred as by a scanner; a nodule in the lung; regions."""
    hu = np.repeat(list(TISSUES.values()), SIZE // len(TISSUES) + 1)[:SIZE] * np.ones((SIZE, 1))
    nodule = np.hypot(*np.ogrid[-64:64, -33:95]) < 5
    hu[nodule] = 30
    lung = np.zeros(hu.shape, bool)
    lung[:, 24:42] = True
    whole = np.ones(hu.shape, bool)
    return gaussian_filter(hu, 0.7), {"whole": whole, "lung": lung, "nodules": nodule}


def noisy(hu: HU, sigma: float, seed: int) -> HU:
    return np.asarray(hu + gaussian_filter(np.random.default_rng(seed).normal(0, sigma, hu.shape), 0.5))


def value_of(name: str, image: HU, reference: HU, mask: Mask, window: Window = HU16, dtype: type = np.uint16) -> float:
    """As scoring computes it: from slices as they are stored."""
    metric = metrics.load(name)
    assert isinstance(metric, ImageMetric)
    region = (metric.regions or ("whole",))[0]
    own, target = (levels(hu, window, dtype) for hu in (image, reference))
    (one,) = comparisons({"truth": target}, {name: metric}, {region: mask})
    found = one.measure(own, data_range=255, pixel_mm=0.7, window_hu=window).value
    assert found is not None
    return found


def in_its_region(name: str, masks: dict[str, Mask]) -> Mask:
    metric = metrics.load(name)
    assert isinstance(metric, ImageMetric)
    assert metric.regions is not None
    return masks[metric.regions[0]]


SHIFTED = [*(f"tissue_bias.{tissue}" for tissue in TISSUES), "densitometry.perc15_bias", "nodule.bias"]


@pytest.mark.parametrize("name", SHIFTED)
@pytest.mark.parametrize(("window", "dtype"), STORED)
@given(seed=st.integers(0, 1000), shift=st.sampled_from([-20, 20]))
@settings(max_examples=8)
def test_a_shift_by_20_hu_is_found(name: str, window: Window, dtype: type, seed: int, shift: float) -> None:
    # the reference's own noise also spreads the steps of 8 bits, 10 HU wide
    truth, masks = chest()
    reference = noisy(truth, 15, seed)
    found = value_of(name, reference + shift, reference, in_its_region(name, masks), window, dtype)
    # 8 bits: a percentile moves by whole steps of 10.3 HU
    within = 10.3 if name == "densitometry.perc15_bias" and dtype is np.uint8 else 2
    assert found == pytest.approx(shift, abs=within)


@pytest.mark.parametrize("tissue", list(TISSUES))
@given(seed=st.integers(0, 1000), shift=st.sampled_from([-20, 20]))
@settings(max_examples=8)
def test_of_one_tissue_alone_and_under_noise(tissue: str, seed: int, shift: float) -> None:
    """Noise in the reference does not choose pixels that pull the mean its way; no other tissue's error is seen."""
    truth, masks = chest()
    reference, image = noisy(truth, 40, seed), noisy(truth, 60, seed + 1)
    order = list(TISSUES).index(tissue)
    image[:, 22 * order + 2 : 22 * order + 20] += shift
    for other in TISSUES:
        found = value_of(f"tissue_bias.{other}", image, truth, masks["whole"])
        assert found == pytest.approx(shift if other == tissue else 0, abs=6)  # 60 HU over some 500 correlated pixels
    against_noise = value_of(f"tissue_bias.{tissue}", truth, reference, masks["whole"])
    assert against_noise == pytest.approx(0, abs=6)


def test_blur_moves_no_tissue() -> None:
    truth, masks = chest()
    blurred = gaussian_filter(truth, 1)
    for tissue in TISSUES:
        assert abs(value_of(f"tissue_bias.{tissue}", blurred, truth, masks["whole"])) < 2
    assert value_of("tissue_bias.bone", blurred, truth, masks["whole"]) != 0


@pytest.mark.parametrize(("window", "dtype"), STORED)
def test_a_mean_replaced_by_the_standard_deviation_is_found(window: Window, dtype: type) -> None:
    """A public program (eeulig/ldct-benchmark, commit 09b1011, ldctbench/evaluate/utils.py, `denormalize`) adds the
    standard deviation of its data, 502.185, where their mean, 481.454, belongs: +20.7 HU everywhere."""
    mean, deviation = 481.45419786099086, 502.18507379395044
    truth, masks = chest()
    reference = noisy(truth, 15, 0)
    normalised = (reference + 1024 - mean) / deviation
    output = normalised * deviation + deviation - 1024
    for name in SHIFTED[:6]:
        found = value_of(name, output, reference, in_its_region(name, masks), window, dtype)
        assert found == pytest.approx(20.73, abs=2)


@pytest.mark.parametrize(("window", "dtype"), STORED)
@given(seed=st.integers(0, 1000), added=st.sampled_from([-2.0, 2.0]))
@settings(max_examples=8)
def test_two_percent_of_the_lung_below_950_hu_are_found(window: Window, dtype: type, seed: int, added: float) -> None:
    lung = np.zeros((SIZE, SIZE), bool)
    lung[8:-8, 8:-8] = True
    rng = np.random.default_rng(seed)
    reference = np.where(rng.random(lung.shape) < 0.05, -975.0, -850.0)
    image = reference.copy()
    pixels = np.argwhere(lung & (reference == (-850 if added > 0 else -975)))
    chosen = rng.permutation(pixels)[: round(abs(added) / 100 * np.count_nonzero(lung))]
    image[tuple(chosen.T)] = -975 if added > 0 else -850
    assert value_of("densitometry.emphysema_index_bias", image, reference, lung, window, dtype) == pytest.approx(
        added, rel=0.1
    )
    index = value_of("densitometry.emphysema_index", image, reference, lung, window, dtype)
    assert index == pytest.approx(100 * float((image[lung] < -950).mean()), abs=1e-9)


def test_percentile_by_hand() -> None:
    lung = np.ones((1, 101), bool)
    hu = np.arange(-950.0, -849.0)[None]
    assert value_of("densitometry.perc15", hu, hu, lung) == pytest.approx(-935)
    assert value_of("densitometry.perc15_bias", hu - 7, hu, lung) == pytest.approx(-7)


@given(radius=st.floats(9, 14), grown=st.sampled_from([0.8, 0.9, 1.0, 1.1]), seed=st.integers(0, 100))
@settings(max_examples=15)
def test_the_area_of_nodules(radius: float, grown: float, seed: int) -> None:
    # whole pixels are counted: a nodule of 6 pixels can be 11 % off, one of 9 no more than 6 %
    distance = np.hypot(*np.ogrid[-64:64, -64:64])

    def nodule(of: float) -> HU:
        return np.asarray(-850 + 880 * np.clip(of + 0.5 - distance, 0, 1))

    found = value_of("nodule.area", noisy(nodule(radius * grown), 20, seed), nodule(radius), distance < radius)
    assert found == pytest.approx(grown**2, rel=0.1)


def test_an_erased_nodule_has_no_area_and_a_flat_reference_none_to_compare() -> None:
    truth, masks = chest()
    without = np.where(masks["lung"], -850.0, truth)
    assert value_of("nodule.area", without, truth, masks["nodules"]) == 0
    assert value_of("nodule.bias", without, truth, masks["nodules"]) < -700
    for name in ("nodule.area", "nodule.bias"):
        metric = metrics.load(name)
        assert isinstance(metric, ImageMetric)
        for reference, mask in (
            (np.full(truth.shape, -850.0), masks["nodules"]),
            (truth, erode(masks["nodules"], 3)),  # too small
            (truth, np.ones(truth.shape, bool)),  # no surroundings
        ):
            assert metric.value(truth, reference, mask, data_range=2224, pixel_mm=0.7) is None


def test_no_value_of_a_tissue_that_is_not_there_and_none_in_hu_without_a_window() -> None:
    truth, masks = chest()
    metric = metrics.load("tissue_bias.bone")
    assert isinstance(metric, ImageMetric)
    assert metric.value(truth, truth - 400, masks["whole"], data_range=2224, pixel_mm=None) is None
    grey = np.zeros((SIZE, SIZE), np.uint8)
    (one,) = comparisons({"label": grey}, {"bone": metric}, {"body": masks["whole"]})
    with pytest.raises(ScoringError, match="bone is computed in HU"):
        one.measure(grey, data_range=255, pixel_mm=None, window_hu=None)


def test_the_data_range_is_that_of_the_window_in_hu() -> None:
    seen = []

    def value(image: HU, reference: HU, mask: Mask, *, data_range: float, pixel_mm: float | None) -> float:
        del mask, pixel_mm
        seen.append((str(image.dtype), float(reference[0, 0]), round(data_range, 6)))
        return 0.0

    metric = ImageMetric(value=value, unit="HU", higher_is_better=None, implementation="a test's", in_hu=True)
    for window, dtype, width in ((WINDOW, np.uint8, 255.0), (HU16, np.uint16, 2624.0)):
        slice_ = levels(np.full((8, 8), WINDOW[0]), window, dtype)
        for one in comparisons({"label": slice_}, {"x": metric}, {"whole": slice_ >= 0}):
            one.measure(slice_, data_range=width, pixel_mm=None, window_hu=window)
    assert seen == [("float64", WINDOW[0], 2624.0)] * 2
