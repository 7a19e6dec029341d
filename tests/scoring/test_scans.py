"""Systematic and random error: what is known of them where bias and noise are known."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.dataset.cases import Dataset
from harness.scoring.scans import RANDOM, SYSTEMATIC, error_parts, scan_table, scans_of
from harness.scoring.values import Table
from tests.scoring.further_set import HU_PER_GREY, LUNG, NOISE, PATIENTS, PLANES, denoised, inputs, make_set

SCANS = 4
EVERYWHERE = np.ones((24, 24), bool)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_set(tmp_path_factory.mktemp("set"), scans=SCANS)


def table_of(
    dataset: Dataset, outputs: dict[str, Path], *, regions: tuple[str, ...] = ("whole", "lung"), hu: float | None = 10
) -> Table:
    table = scan_table(outputs, dataset, {one.name: Path(str(one.regions)) for one in dataset.cases}, regions, hu)
    assert table is not None
    return table


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 6), bias=st.integers(-40, 40), noise=st.floats(0, 20))
@settings(max_examples=40)
def test_both_parts_together_are_the_mean_squared_error(seed: int, count: int, bias: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 256, EVERYWHERE.shape, np.uint8)
    scans = [truth + float(bias) + rng.normal(0, noise, truth.shape) for _ in range(count)]
    images = [np.clip(np.rint(scan), 0, 255).astype(np.uint8) for scan in scans]
    mask = rng.random(truth.shape) < 0.5
    parts = error_parts(images, truth, mask)
    errors = np.stack(images)[:, mask].astype(float) - truth[mask]
    assert parts.squared_bias + parts.variance == pytest.approx(np.mean(errors**2), rel=1e-12, abs=1e-12)
    assert parts.variance == pytest.approx(errors.var(axis=0, ddof=1).mean(), rel=1e-9, abs=1e-12)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 6), bias=st.integers(-30, 30))
@settings(max_examples=20)
def test_known_bias_and_noise_are_found_without_each_other(seed: int, count: int, bias: int) -> None:
    """Noise of deviation 5 and its rounding, 1/12; six standard errors of each mean over 160 x 160 pixels."""
    rng = np.random.default_rng(seed)
    truth = np.full((160, 160), 120, np.uint8)
    images = [np.rint(truth + float(bias) + rng.normal(0, 5, truth.shape)).astype(np.uint8) for _ in range(count)]
    parts = error_parts(images, truth, np.ones(truth.shape, bool))
    variance = 25 + 1 / 12
    pixels = truth.size
    assert abs(parts.variance - variance) < 6 * variance * np.sqrt(2 / (pixels * (count - 1)))
    error = np.sqrt((4 * bias**2 * variance / count + 2 * variance**2 / (count * (count - 1))) / pixels)
    assert abs(parts.squared_bias - bias**2) < 6 * error


@given(st.permutations(range(4)))
@settings(max_examples=10)
def test_the_order_of_scans_does_not_move_a_bit(order: list[int]) -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, EVERYWHERE.shape, np.uint8) for _ in range(4)]
    truth = rng.integers(0, 256, EVERYWHERE.shape, np.uint8)
    assert error_parts([images[index] for index in order], truth, EVERYWHERE) == error_parts(images, truth, EVERYWHERE)


def test_noise_without_bias_and_bias_without_noise(dataset: Dataset, tmp_path: Path) -> None:
    noisy = table_of(dataset, dict(inputs(dataset)))
    found = noisy[RANDOM]["lung"]
    assert found.value == pytest.approx(HU_PER_GREY * np.sqrt(NOISE**2 + 1 / 12), rel=0.01)
    assert (found.unit, found.n, found.higher_is_better) == ("HU", PATIENTS * PLANES, False)
    assert set(found.without) == {"p1", "p2", "p3", "p4"}
    assert noisy[SYSTEMATIC]["lung"].low == 0  # nothing that could be told from none
    assert noisy[SYSTEMATIC]["lung"].value < 0.05 * found.value

    flat = denoised(dataset, tmp_path, lambda image: np.full_like(image, int(LUNG) + 7))
    in_grey = table_of(dataset, flat, hu=None)
    for region in ("whole", "lung"):
        one, other = in_grey[SYSTEMATIC][region], in_grey[RANDOM][region]
        assert (one.value, one.low, one.high, one.unit) == (7, 7, 7, "grey")
        assert (other.value, other.low, other.high) == (0, 0, 0)


def test_a_denoisers_two_errors_trade_places(dataset: Dataset, tmp_path: Path) -> None:
    """Halfway to a wrong level: half of the noise, half of the distance."""
    halfway = denoised(dataset, tmp_path, lambda image: np.rint(image / 2 + (LUNG + 20) / 2).astype(np.uint8))
    table = table_of(dataset, halfway)
    assert table[SYSTEMATIC]["lung"].value == pytest.approx(10 * HU_PER_GREY, rel=0.01)
    # numpy rounds halves to even, so that rounding adds 1/8 of a grey level squared on average
    assert table[RANDOM]["lung"].value == pytest.approx(HU_PER_GREY * np.sqrt(NOISE**2 / 4 + 1 / 8), rel=0.02)


def test_regions_that_no_plane_shows_have_no_value(dataset: Dataset) -> None:
    table = table_of(dataset, dict(inputs(dataset)), regions=("lung", "nodules"))
    assert {name: list(regions) for name, regions in table.items()} == {SYSTEMATIC: ["lung"], RANDOM: ["lung"]}


def test_no_table_without_scans_without_truth_or_without_outputs(dataset: Dataset) -> None:
    outputs = dict(inputs(dataset))
    assert [len(one.outputs) for one in scans_of(outputs, dataset)] == [SCANS] * (PATIENTS * PLANES)
    unknown = tuple(msgspec.structs.replace(case, truth=None) for case in dataset.cases)
    assert scans_of(outputs, msgspec.structs.replace(dataset, cases=unknown)) == []
    del outputs["p4-s2-again-2"]
    assert scans_of(outputs, dataset) == []
    assert scan_table(outputs, dataset, {}, ("lung",), 10) is None
