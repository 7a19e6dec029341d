import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from harness.errors import ScoringError
from harness.files import canonical_json
from harness.metrics import frechet
from harness.statistics import Interval, jackknife


@given(seed=st.integers(0, 10_000), patients=st.integers(2, 9), slices=st.integers(1, 6))
def test_jackknife_of_a_mean_is_the_t_interval_of_group_means(seed: int, patients: int, slices: int) -> None:
    values = np.random.default_rng(seed).normal(size=(patients, slices))
    flat = values.ravel()
    groups = [f"p{patient}" for patient in range(patients) for _ in range(slices)]
    interval = jackknife(lambda rows: float(flat[rows].mean()), groups)
    means = values.mean(1)
    low, high = stats.t.interval(0.95, patients - 1, means.mean(), stats.sem(means))
    assert interval.value == pytest.approx(flat.mean())
    assert interval.low == pytest.approx(low)
    assert interval.high == pytest.approx(high)
    assert interval.n == len(flat)


def test_order_and_names_of_groups_do_not_matter() -> None:
    flat = np.arange(12.0) ** 2
    groups = list("aabbccddeeff")
    order = np.random.default_rng(0).permutation(12)

    def mean_of(values: NDArray[np.float64]) -> Interval:
        return jackknife(lambda rows: float(values[rows].mean()), [groups[i] for i in order])

    shuffled = mean_of(flat[order])
    straight = jackknife(lambda rows: float(flat[rows].mean()), [f"patient {name}" for name in groups])
    assert shuffled.low == pytest.approx(straight.low)
    assert shuffled.high == pytest.approx(straight.high)


def test_one_group_has_no_bounds() -> None:
    interval = jackknife(lambda rows: float(len(rows)), ["only"] * 5)
    assert interval == Interval(value=5.0, low=None, high=None, n=5)
    assert canonical_json(interval) == b'{"high":null,"low":null,"n":5,"value":5.0}'


def test_no_bounds_where_the_rest_is_too_small_for_the_statistic() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 3, 4))
    interval = jackknife(lambda rows: frechet.distance(x[rows], y[rows]), ["a", "a", "b"])
    assert interval.low is None
    assert interval.high is None
    assert interval.value == frechet.distance(x, y)


def test_value_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ScoringError, match="all 2 images is nan"):
        jackknife(lambda _: float("nan"), ["a", "b"])


def test_interval_of_fid_covers_its_own_expectation() -> None:
    # Conditional on n the target is the mean FID of such samples. Measured: 393 of 400, 57 of these 60.
    def sample(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
        rng = np.random.default_rng(seed)
        patient = np.repeat(rng.normal(0, 0.3, size=(8, 1, 6)), 6, axis=1)
        x = (patient + rng.normal(size=(8, 6, 6))).reshape(48, 6)
        return 1.3 * x + 0.4, x[:, ::-1] + rng.normal(0, 0.2, size=(48, 6)), [str(i // 6) for i in range(48)]

    def interval(seed: int) -> Interval:
        x, y, groups = sample(seed)
        return jackknife(lambda rows: frechet.distance(x[rows], y[rows]), groups)

    target = np.mean([frechet.distance(*sample(seed)[:2]) for seed in range(1000, 1400)])
    covered = 0
    for seed in range(60):
        found = interval(seed)
        assert found.low is not None
        assert found.high is not None
        covered += bool(found.low <= target <= found.high)
    assert covered >= 54
