from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.base.errors import ScoringError
from harness.metrics import kernel, kernel_paired

Rows = NDArray[np.float64]


def features(seed: int, n: int, d: int, shift: float = 0.0) -> Rows:
    return np.random.default_rng(seed).normal(shift, 1.0, size=(n, d))


def test_two_images_by_hand() -> None:
    # d = 1, x = (0, 1), y = (1, 2), k(a, b) = (ab + 1)^3: within x 1, within y 27, across mean(1, 1, 8, 27)
    x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert kernel.distance(x, y) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4, rel=1e-15)
    # without the pairs (0, 1) and (1, 2): across mean(k(0, 2), k(1, 1)) = mean(1, 8)
    assert kernel.paired(x, y) == pytest.approx(1 + 27 - (1 + 8), rel=1e-15)


@pytest.mark.parametrize(("n", "d"), [(2, 5), (48, 2048), (120, 32)])
def test_distance_is_clean_fids_for_equal_sets(n: int, d: int) -> None:
    from cleanfid.fid import kernel_distance

    x, y = features(0, n, d), features(1, n, d, 0.2)
    assert kernel.distance(x, y) == pytest.approx(kernel_distance(x, y, num_subsets=3), rel=1e-9)


@pytest.mark.parametrize(("n", "m", "size"), [(60, 45, 1000), (80, 80, 20)])
def test_subsets_are_clean_fids(n: int, m: int, size: int) -> None:
    from cleanfid.fid import kernel_distance

    x, y = features(2, n, 16), features(3, m, 16, 0.3)
    np.random.seed(11)
    theirs = kernel_distance(x, y, num_subsets=20, max_subset_size=size)
    assert kernel.subsets(x, y, seed=11, subsets=20, size=size) == pytest.approx(theirs, rel=1e-9)


def test_subsets_tend_to_the_distance() -> None:
    x, y = features(4, 90, 8), features(5, 70, 8, 0.5)
    assert kernel.subsets(x, y, seed=0, subsets=400, size=60) == pytest.approx(kernel.distance(x, y), rel=0.02)


def test_equals_torch_fidelity() -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric

    x, y = features(6, 64, 32), features(7, 64, 32, 0.2)
    theirs = kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=2, kid_subset_size=64, verbose=False
    )
    assert kernel.distance(x, y) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)


@pytest.mark.parametrize("d", [1, 3])
def test_unbiased_for_gaussians_of_known_distance(d: int) -> None:
    # k = ((a.b) / d + 1)^3 with independent coordinates: by the multinomial theorem the squared distance is the
    # sum over exponents e of c(e) (E x^e - E y^e)^2 with c(e) = 6 / (e1! .. ed! e0!) / d^|e|, |e| <= 3, e0 = 3 - |e|.
    def moment(mean: float, std: float, power: int) -> float:
        return (1.0, mean, mean**2 + std**2, mean**3 + 3 * mean * std**2)[power]

    factorial = (1, 1, 2, 6)
    expected = 0.0
    for exponents in np.ndindex(*[4] * d):
        degree = sum(exponents)
        if degree <= 3:
            weight = 6 / np.prod([factorial[e] for e in (*exponents, 3 - degree)]) / d**degree
            of_x, of_y = (np.prod([moment(*law, e) for e in exponents]) for law in ((0.3, 0.5), (0.6, 0.8)))
            expected += weight * (of_x - of_y) ** 2
    rng = np.random.default_rng(0)
    found, paired = [], []
    for _ in range(3000):
        x, y = rng.normal(0.3, 0.5, size=(9, d)), rng.normal(0.6, 0.8, size=(7, d))
        found.append(kernel.distance(x, y))
        paired.append(kernel.paired(x[:7], y))
    for values in (found, paired):
        assert abs(np.mean(values) - expected) < 4 * np.std(values) / np.sqrt(len(values))
        assert expected > 20 * np.std(values) / np.sqrt(len(values))  # or the line above could not fail


def test_mean_over_all_parts_is_the_whole() -> None:
    # What makes a U-statistic: no term is counted more or less often.
    x, y = features(10, 5, 4), features(11, 5, 4, 0.3)
    parts = [list(part) for part in combinations(range(5), 3)]
    distances = [kernel.distance(x[one], y[other]) for one in parts for other in parts]
    assert np.mean(distances) == pytest.approx(kernel.distance(x, y), rel=1e-9)
    assert np.mean([kernel.paired(x[one], y[one]) for one in parts]) == pytest.approx(kernel.paired(x, y), rel=1e-9)


def test_constant_images() -> None:
    # (c^2 + 1)^3 for c = 1, 2 and across: 8 + 125 - 2 * 27, with n = 2; by hand
    x, y = np.full((2, 3), 1.0), np.full((2, 3), 2.0)
    for function in (kernel.distance, kernel.paired):
        assert function(x, y) == pytest.approx(8 + 125 - 54, rel=1e-15)
        assert function(x, x) == 0.0


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features(8, 23, 6), features(9, 17, 6)
    whole = kernel.distance(x, y)
    monkeypatch.setattr(kernel, "_BLOCK", 5)
    assert kernel.distance(x, y) == pytest.approx(whole, rel=1e-12)


@given(seed=st.integers(0, 10_000), n=st.integers(2, 10), m=st.integers(2, 10), d=st.integers(1, 12))
def test_laws(seed: int, n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = features(seed, n, d), features(seed + 1, m, d, 1.0)
    value = kernel.distance(x, y)
    assert kernel.distance(y, x) == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert kernel.distance(rng.permutation(x), rng.permutation(y)) == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert kernel.paired(x, x) == pytest.approx(0, abs=1e-9)
    # the pairs' own terms are the largest of a set with itself, so that the unpaired estimator is at most 0
    assert kernel.distance(x, x) <= 1e-9


@given(seed=st.integers(0, 10_000), n=st.integers(2, 10), d=st.integers(1, 12))
def test_laws_of_the_paired_distance(seed: int, n: int, d: int) -> None:
    x, y = features(seed, n, d), features(seed + 1, n, d, 1.0)
    value = kernel_paired.distance(x, y)
    assert value == kernel.paired(x, y)
    assert kernel_paired.distance(y, x) == pytest.approx(value, rel=1e-9, abs=1e-9)
    order = np.random.default_rng(seed).permutation(n)
    assert kernel_paired.distance(x[order], y[order]) == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_paired_distance_of_near_labels_is_not_drawn_below_zero() -> None:
    # Outputs are labels with a little noise: clean-fid's estimator goes far below what is there.
    x = features(0, 40, 16)
    y = x + features(1, 40, 16) * 0.05
    assert kernel.distance(x, y) < -0.02
    assert abs(kernel.paired(x, y)) < 0.005


def test_refuses() -> None:
    good = features(0, 4, 3)
    for function in (kernel.distance, kernel_paired.distance, lambda x, y: kernel.subsets(x, y, seed=0)):
        with pytest.raises(ScoringError, match="at least 2 images"):
            function(good[:1], good)
        with pytest.raises(ScoringError, match="not finite"):
            function(good, np.full((4, 3), np.nan))
    with pytest.raises(ScoringError, match="found 4 and 3"):
        kernel_paired.distance(good, good[:3])
