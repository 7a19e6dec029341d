import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from harness.base.errors import ScoringError
from harness.base.structs import canonical_json
from harness.metrics import frechet, kernel, kernel_paired
from harness.statistics import (
    Interval,
    Replicates,
    distinguishable,
    interval,
    jackknife,
    paired_difference,
    replicates,
    tiers,
)

Rows = NDArray[np.float64]


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


def test_replicates_leave_one_patient_out() -> None:
    flat = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    found = replicates(lambda rows: float(flat[rows].sum()), ["b", "a", "b", "c", "a"])
    assert found == Replicates(value=31.0, n=5, without={"a": 13.0, "b": 26.0, "c": 23.0})
    assert canonical_json(found) == b'{"n":5,"value":31.0,"without":{"a":13.0,"b":26.0,"c":23.0}}'


def test_replicate_that_is_not_finite_takes_the_bounds() -> None:
    assert replicates(lambda rows: float(len(rows)) if 0 in rows else float("nan"), ["a", "b"]).without == {}


# ------------------------------------------------------------------------------------------------ paired differences
def of_mean(values: Rows, groups: list[str]) -> Replicates:
    return replicates(lambda rows: float(values[rows].mean()), groups)


@given(seed=st.integers(0, 10_000), patients=st.integers(2, 9), slices=st.integers(1, 6))
def test_paired_difference_of_means_is_the_paired_t_test(seed: int, patients: int, slices: int) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, patients, slices))
    groups = [f"p{patient}" for patient in range(patients) for _ in range(slices)]
    found = paired_difference(of_mean(first.ravel(), groups), of_mean(second.ravel(), groups))
    expected = stats.ttest_rel(first.mean(1), second.mean(1))
    bounds = expected.confidence_interval(0.95)
    assert found.value == pytest.approx((first - second).mean())
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.low == pytest.approx(bounds.low)
    assert found.high == pytest.approx(bounds.high)
    assert found.n == patients * slices


@given(seed=st.integers(0, 10_000))
def test_paired_difference_is_the_jackknife_of_the_difference(seed: int) -> None:
    y, a, b = np.random.default_rng(seed).normal(size=(3, 12, 4))
    groups = list("aabbbccccddd")
    one, two = (of_distance(frechet.distance, x, y, groups) for x in (a, b))
    straight = jackknife(lambda rows: frechet.distance(a[rows], y[rows]) - frechet.distance(b[rows], y[rows]), groups)
    found, back = paired_difference(one, two), paired_difference(two, one)
    assert found.n == 12
    assert found.value == pytest.approx(straight.value)
    assert found.low == pytest.approx(straight.low)
    assert found.high == pytest.approx(straight.high)
    assert found.low is not None
    assert found.high is not None
    assert back.value == -found.value
    assert back.low == pytest.approx(-found.high)
    assert back.high == pytest.approx(-found.low)
    assert back.p == pytest.approx(found.p)
    # the interval is without 0 exactly where p is below 5 %
    assert found.p is not None
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05)


def test_pairing_finds_what_single_intervals_hide() -> None:
    # Slices differ by far more than submissions do, but alike for both.
    rng = np.random.default_rng(3)
    difficulty = np.repeat(rng.normal(20, 5, size=8), 6)
    groups = [str(i // 6) for i in range(48)]
    first = of_mean(difficulty + rng.normal(0, 0.1, size=48), groups)
    second = of_mean(difficulty + 0.3 + rng.normal(0, 0.1, size=48), groups)
    one, two = interval(first), interval(second)
    assert one.high is not None
    assert two.low is not None
    assert one.high > two.low
    found = paired_difference(first, second)
    assert found.high is not None
    assert found.high < 0


def test_difference_of_a_submission_with_itself() -> None:
    one = of_mean(np.arange(8.0) ** 2, list("aabbccdd"))
    found = paired_difference(one, one)
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    shifted = Replicates(value=one.value + 1, n=8, without={name: value + 1 for name, value in one.without.items()})
    assert paired_difference(shifted, one).p == 0.0


def test_no_difference_without_replicates() -> None:
    one = Replicates(value=2.0, n=4, without={})
    other = Replicates(value=1.5, n=4, without={"a": 1.0, "b": 2.0})
    found = paired_difference(one, other)
    assert (found.value, found.low, found.high, found.p) == (0.5, None, None, None)


@pytest.mark.parametrize(
    "other",
    [
        Replicates(value=1.0, n=5, without={"a": 1.0, "b": 2.0}),
        Replicates(value=1.0, n=4, without={"a": 1.0, "c": 2.0}),
        Replicates(value=1.0, n=4, without={"a": 1.0, "b": 2.0, "c": 1.0}),
    ],
)
def test_differences_of_other_images_are_refused(other: Replicates) -> None:
    with pytest.raises(ScoringError, match="needs the same images: 4 of patients a, b, and"):
        paired_difference(Replicates(value=1.0, n=4, without={"a": 1.0, "b": 2.0}), other)


# ------------------------------------------------------------------------------------------------ tiers
def with_p(p: float, patients: int = 8) -> dict[str, float]:
    """Replicates whose difference from zeros with value 1 has this p."""
    t = stats.t.isf(p / 2, patients - 1)
    parts = np.random.default_rng(0).normal(size=patients)
    parts = (parts - parts.mean()) / np.sqrt((patients - 1) / patients * ((parts - parts.mean()) ** 2).sum()) / t
    return {str(index): 1 + float(part) for index, part in enumerate(parts)}


def test_holm_by_hand() -> None:
    # Two submissions: one comparison at 5 %. Three: the smallest p at 5 % / 3, the next at 5 % / 2.
    zero = Replicates(value=0.0, n=8, without={str(index): 0.0 for index in range(8)})

    def one(p: float) -> Replicates:
        return Replicates(value=1.0, n=8, without=with_p(p))

    found = paired_difference(one(0.03), zero)
    assert found.p == pytest.approx(0.03)
    pair = frozenset(("zero", "one"))
    assert distinguishable({"zero": zero, "one": one(0.049)}) == {pair}
    assert distinguishable({"zero": zero, "one": one(0.051)}) == frozenset()
    # "same" is "one" again: p of 0.03 twice and 1; 0.03 > 0.05 / 3
    assert distinguishable({"zero": zero, "one": one(0.03), "same": one(0.03)}) == frozenset()
    # 0.01 <= 0.05 / 3, then 0.01 <= 0.05 / 2, then 1
    assert distinguishable({"zero": zero, "one": one(0.01), "same": one(0.01)}) == {
        pair,
        frozenset(("zero", "same")),
    }
    assert distinguishable({"zero": zero}) == frozenset()


def test_what_has_no_bounds_is_not_distinguished() -> None:
    results = {name: Replicates(value=value, n=4, without={}) for name, value in (("a", 1.0), ("b", 900.0))}
    assert distinguishable(results) == frozenset()


def test_tiers_by_hand() -> None:
    apart = {frozenset(pair) for pair in ("ac", "ad", "ce")}
    # b and c are tied, but c is not tied with b's leader a: it leads. e is tied with a, but no longer in reach.
    ranks = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
    assert tiers(ranks, lambda one, two: frozenset((one, two)) not in apart) == [["a", "b"], ["c", "d"], ["e"]]


def test_equal_ranks_stay_together() -> None:
    ranks = {"z": 1, "a": 2, "m": 2}
    assert tiers(ranks, lambda *_: False) == [["z"], ["a", "m"]]
    assert tiers(ranks, lambda one, two: {one, two} == {"z", "m"}) == [["z", "a", "m"]]
    # m is no less a leader for its name
    ranks = {"a": 1, "m": 1, "z": 3}
    assert tiers(ranks, lambda one, two: {one, two} == {"z", "m"}) == [["a", "m", "z"]]


@given(data=st.data(), names=st.lists(st.text("abcdef", min_size=1), unique=True, max_size=8))
def test_laws_of_tiers(data: st.DataObject, names: list[str]) -> None:
    ranks = {name: data.draw(st.integers(1, 5)) for name in names}
    apart = {
        frozenset((one, two))
        for one in names
        for two in names
        if one != two and data.draw(st.booleans(), f"{one} {two}")
    }

    def tied(one: str, two: str) -> bool:
        return frozenset((one, two)) not in apart

    found = tiers(ranks, tied)
    flat = [name for tier in found for name in tier]
    assert sorted(flat) == sorted(names)
    assert [ranks[name] for name in flat] == sorted(ranks.values())
    assert len({ranks[tier[0]] for tier in found}) == len(found)
    shuffled = {name: ranks[name] for name in data.draw(st.permutations(names))}
    assert tiers(shuffled, tied) == found
    for tier in found:
        leaders = [name for name in tier if ranks[name] == ranks[tier[0]]]
        for rank in {ranks[name] for name in tier} - {ranks[tier[0]]}:
            assert any(tied(leader, name) for leader in leaders for name in tier if ranks[name] == rank)
    for above, below in itertools.pairwise(found):
        leaders = [name for name in above if ranks[name] == ranks[above[0]]]
        next_ones = [name for name in below if ranks[name] == ranks[below[0]]]
        assert not any(tied(leader, name) for leader in leaders for name in next_ones)


@given(ranks=st.dictionaries(st.text("abcdef", min_size=1), st.integers(1, 5), min_size=1))
def test_all_tied_and_none_tied(ranks: dict[str, int]) -> None:
    assert len(tiers(ranks, lambda *_: True)) == 1
    assert [len(tier) for tier in tiers(ranks, lambda *_: False)] == [
        list(ranks.values()).count(rank) for rank in sorted(set(ranks.values()))
    ]


# ------------------------------------------------------------------------------------------------ coverage
# Small versions of `benchmarks/intervals.py intervals`, with generous bounds. Intervals are conditional on n:
# the target is the mean of the statistic of samples of the same size.
Distance = Callable[[Rows, Rows], float]
DISTANCES: dict[str, Distance] = {
    "frechet": frechet.distance,
    "kernel": kernel.distance,
    "kernel_paired": kernel_paired.distance,
}


def of_distance(distance: Distance, x: Rows, y: Rows, groups: list[str]) -> Replicates:
    return replicates(lambda rows: distance(x[rows], y[rows]), groups)


def submissions(seed: int, patients: int) -> tuple[Rows, Rows, Rows, list[str]]:
    """Labels of 6 slices a patient in 8 dimensions, and two submissions made from them, the second a little worse."""
    rng = np.random.default_rng(seed)

    def noise() -> Rows:
        found: Rows = (0.7 * rng.normal(size=(patients, 1, 8)) + 0.7 * rng.normal(size=(patients, 6, 8))).reshape(-1, 8)
        return found

    anatomy, common = noise(), 0.3 * noise()
    first = 0.9 * anatomy + common + 0.3 * noise() + 0.4
    second = 0.85 * anatomy + common + 0.3 * noise() + 0.45
    return 3 + anatomy, 3 + first, 3 + second, [str(index // 6) for index in range(6 * patients)]


@pytest.mark.parametrize("patients", [6, 8, 12])
def test_intervals_and_paired_differences_cover(patients: int) -> None:
    repetitions = 80
    full: dict[str, list[float]] = {}
    for seed in range(1000, 1300):
        y, a, b, _ = submissions(seed, patients)
        for name, distance in DISTANCES.items():
            values = distance(a, y), distance(b, y)
            full.setdefault(name, []).append(values[0])
            full.setdefault(f"{name} difference", []).append(values[0] - values[1])
    covered = dict.fromkeys(full, 0)
    for seed in range(repetitions):
        y, a, b, groups = submissions(seed, patients)
        for name, distance in DISTANCES.items():
            of = [of_distance(distance, x, y, groups) for x in (a, b)]
            for what, found in ((name, interval(of[0])), (f"{name} difference", paired_difference(*of))):
                assert found.low is not None
                assert found.high is not None
                covered[what] += bool(found.low <= np.mean(full[what]) <= found.high)
    # measured: 73 to 80 of 80
    assert min(covered.values()) >= 0.84 * repetitions, covered


def test_percentile_bootstrap_of_fid_does_not_cover_where_the_jackknife_does() -> None:
    # A patient drawn twice makes both sets smaller than they are, and FID larger. Outputs near the labels, n > d.
    def close(seed: int) -> tuple[Rows, Rows]:
        rng = np.random.default_rng(seed)
        x, own = (rng.normal(size=(2, 12, 1, 60)) + rng.normal(size=(2, 12, 6, 60))).reshape(2, 72, 60)
        return x, 0.9 * x + 0.4 * own

    target = np.mean([frechet.distance(*close(seed)) for seed in range(1000, 1200)])
    groups = [str(row // 6) for row in range(72)]
    repetitions, of_bootstrap, of_jackknife = 30, 0, 0
    for seed in range(repetitions):
        x, y = close(seed)
        rng = np.random.default_rng(seed)
        draws = [(6 * rng.integers(0, 12, size=(12, 1)) + np.arange(6)).ravel() for _ in range(40)]
        low, high = np.percentile([frechet.distance(x[rows], y[rows]) for rows in draws], [2.5, 97.5])
        of_bootstrap += bool(low <= target <= high)
        found = interval(of_distance(frechet.distance, x, y, groups))
        assert found.low is not None
        assert found.high is not None
        of_jackknife += bool(found.low <= target <= found.high)
    # measured: 0 and 28 of 30
    assert of_bootstrap <= 3
    assert of_jackknife >= 24


def test_many_pairs_at_once_are_told_apart_as_one_by_one() -> None:
    """`distinguishable` computes all pairs as arrays; Holm by hand over `paired_difference` gives the same."""
    rng = np.random.default_rng(3)
    patients = [f"p{index}" for index in range(6)]
    results = {
        f"s{number}": Replicates(
            value=float(level), n=12, without=dict(zip(patients, level + rng.normal(0, 0.02, 6), strict=True))
        )
        for number, level in enumerate(rng.normal(0, 0.1, 14))
    }
    results["equal"] = results["s0"]
    pairs = list(itertools.combinations(results, 2))
    by_p = sorted((paired_difference(results[one], results[other]).p or 0.0, (one, other)) for one, other in pairs)
    expected = []
    for done, (p, pair) in enumerate(by_p):
        if p > 0.05 / (len(pairs) - done):
            break
        expected.append(frozenset(pair))
    assert 5 < len(expected) < len(pairs) - 5
    assert distinguishable(results) == frozenset(expected)
    assert distinguishable(results, of={"s1", "s2"}) == {pair for pair in expected if pair & {"s1", "s2"}}
