"""d' as a table: the differences from the noisy input, and outputs that leave the observers no noise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from harness.base.errors import ScoringError
from harness.base.slices import write_grey
from harness.dataset.cases import Dataset
from harness.scoring.lesions import ALL, EXACT, EYE, HOTELLING, lesion_table, less_input
from harness.scoring.values import Table
from harness.statistics import Replicates, interval
from tests.scoring.further_set import (
    LESIONS,
    NOISE,
    PATIENTS,
    PLANES,
    Image,
    anatomy,
    denoised,
    grey,
    inputs,
    make_set,
    sites_of_plane,
)

CONDITIONS = [str(lesion) for lesion in LESIONS]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_set(tmp_path_factory.mktemp("set"), scans=1)


@pytest.fixture(scope="module")
def noisy(dataset: Dataset) -> Table:
    return table_of(dataset, inputs(dataset))


def table_of(dataset: Dataset, outputs: Mapping[str, Path]) -> Table:
    table = lesion_table(outputs, dataset)
    assert table is not None
    return table


def test_the_noisy_input_differs_in_nothing_from_itself(noisy: Table) -> None:
    assert list(noisy) == [HOTELLING, less_input(HOTELLING), EYE, less_input(EYE), EXACT]
    assert (HOTELLING, EYE, EXACT) == ("d' (Hotelling)", "d' (eye)", "d' (Hotelling, exact interval)")
    for metric in (HOTELLING, EYE):
        assert list(noisy[metric]) == [*CONDITIONS, ALL]
        for name, value in noisy[metric].items():
            difference = noisy[less_input(metric)][name]
            assert (difference.value, difference.low, difference.high) == (0, 0, 0)
            assert value.value > 1
            assert value.unit == ""
            assert value.higher_is_better
    of_all = noisy[HOTELLING][ALL]
    assert of_all.value == pytest.approx(np.mean([noisy[HOTELLING][name].value for name in CONDITIONS]))
    assert of_all.n == PATIENTS * PLANES * len(sites_of_plane())
    bounds = interval(Replicates(value=of_all.value, n=of_all.n, without=of_all.without))
    assert (of_all.low, of_all.high) == (bounds.low, bounds.high)
    assert set(of_all.without) == {"p1", "p2", "p3", "p4"}


def test_the_exact_interval_is_descriptive_and_of_single_conditions(noisy: Table) -> None:
    assert list(noisy[EXACT]) == CONDITIONS
    for name, value in noisy[EXACT].items():
        assert value.value == noisy[HOTELLING][name].value
        assert value.low is not None
        assert value.high is not None
        assert value.low < value.value < value.high
        assert value.higher_is_better is None
        assert value.without == {}


def test_a_denoiser_that_flattens_faint_things_loses_lesions(dataset: Dataset, noisy: Table, tmp_path: Path) -> None:
    def flatten(image: Image) -> Image:
        return np.asarray(cv2.medianBlur(image, 7), np.uint8)

    table = table_of(dataset, denoised(dataset, tmp_path, flatten))
    small = table[less_input(HOTELLING)][CONDITIONS[0]]
    assert small.high is not None
    assert small.high < 0
    for metric in (HOTELLING, EYE):
        for name in (*CONDITIONS, ALL):
            found = table[less_input(metric)][name].value
            assert found == pytest.approx(table[metric][name].value - noisy[metric][name].value)


@pytest.mark.parametrize("level", [0, 100])
def test_who_erases_everything_has_lost_all_lesions(dataset: Dataset, noisy: Table, tmp_path: Path, level: int) -> None:
    table = table_of(dataset, denoised(dataset, tmp_path, lambda image: np.full_like(image, level)))
    for metric in (HOTELLING, EYE):
        for name in (*CONDITIONS, ALL):
            assert (table[metric][name].value, table[metric][name].low, table[metric][name].high) == (0, 0, 0)
            difference = table[less_input(metric)][name]
            assert difference.value == pytest.approx(-noisy[metric][name].value)
            assert difference.high is not None
            assert metric == EYE or difference.high < 0  # the eye's own d' is uncertain in four patients
    assert (table[EXACT][CONDITIONS[0]].low, table[EXACT][CONDITIONS[0]].high) == (0, 0)


def test_a_picture_that_does_not_depend_on_the_input_shows_no_lesion(dataset: Dataset, tmp_path: Path) -> None:
    painted = grey(anatomy(lesions=True))
    table = table_of(dataset, denoised(dataset, tmp_path, lambda _: painted))
    assert {value.value for name in (HOTELLING, EYE) for value in table[name].values()} == {0}


def test_lesions_without_any_noise_are_seen_against_what_rounding_makes(dataset: Dataset, tmp_path: Path) -> None:
    """Nothing varies, so that only the rounding of a grey level is left to hide them: finite, with an interval."""
    outputs = {}
    for one in dataset.shown:
        outputs[one.name] = tmp_path / f"{one.name}.png"
        write_grey(outputs[one.name], grey(anatomy(lesions=one.name.endswith("lesions"))))
    table = table_of(dataset, outputs)
    for metric in (HOTELLING, EYE):
        found = table[less_input(metric)][ALL]
        assert found.low is not None
        assert 0 < found.low < found.value < 1000
    own, large = table[HOTELLING][CONDITIONS[1]], table[EXACT][CONDITIONS[1]]
    assert large.low is not None
    assert large.high is not None
    assert large.low < own.value < large.high
    # against white noise of NOISE all directions are alike: no noise at all shows at most so many times more
    noisy = table_of(dataset, inputs(dataset))[HOTELLING][CONDITIONS[1]]
    assert own.value == pytest.approx(noisy.value * NOISE * 12**0.5, rel=0.15)


def test_one_lesion_left_on_black_is_next_to_nothing(dataset: Dataset, tmp_path: Path) -> None:
    """Only one site of all varies: without the rounding no covariance could be inverted."""
    outputs = denoised(dataset, tmp_path, np.zeros_like)
    image = np.zeros((160, 160), np.uint8)
    site = sites_of_plane()[0]
    image[site.row - 1 : site.row + 2, site.column - 1 : site.column + 2] = 9
    write_grey(outputs["p1-s1-lesions"], image)
    table = table_of(dataset, outputs)
    assert table[HOTELLING][CONDITIONS[site.condition]].value < 0.5
    high = table[less_input(HOTELLING)][ALL].high
    assert high is not None
    assert high < 0


def test_no_table_without_lesions_or_without_their_outputs(dataset: Dataset) -> None:
    outputs = dict(inputs(dataset))
    del outputs["p4-s2-lesions"]
    assert lesion_table(outputs, dataset) is None
    assert lesion_table({case.name: Path(case.lq) for case in dataset.cases}, dataset) is None
    bare = msgspec.structs.replace(dataset, further=(), sites={}, lesions=())
    assert lesion_table(inputs(dataset), bare) is None


def test_too_few_sites_are_named_with_what_to_raise(dataset: Dataset) -> None:
    few = msgspec.structs.replace(dataset, sites={"p1-s1": sites_of_plane()[:9]})
    with pytest.raises(
        ScoringError, match=r"lesions of 2 mm, \+150 HU: expected sites in 2 pat.*found 5 in 1, 5 of them"
    ) as it:
        lesion_table(inputs(dataset), few)
    assert "data.lesions.sites" in it.value.fix
    cases = tuple(msgspec.structs.replace(case, pixel_mm=None) for case in dataset.cases)
    with pytest.raises(ScoringError, match="p1-s1: lesions are seen in mm"):
        lesion_table(inputs(dataset), msgspec.structs.replace(dataset, cases=cases))
