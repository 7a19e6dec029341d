import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ortho_group

from harness.base.errors import ScoringError
from harness.metrics.frechet import distance, extrapolated

Rows = NDArray[np.float64]


def features(seed: int, n: int, d: int, shift: float = 0.0) -> Rows:
    rng = np.random.default_rng(seed)
    rows: Rows = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d) + shift
    return rows


def exactly(n: int, mean: Rows, covariance: Rows, seed: int) -> Rows:
    """n rows whose sample mean and unbiased sample covariance are the given ones."""
    rows = np.random.default_rng(seed).normal(size=(n, len(mean)))
    rows -= rows.mean(0)
    white = rows @ np.linalg.inv(np.linalg.cholesky(rows.T @ rows / (n - 1))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_one_dimension_in_closed_form() -> None:
    # |m1 - m2|^2 + (s1 - s2)^2 for N(1, 2^2) and N(4, 6^2)
    x = exactly(20, np.array([1.0]), np.array([[4.0]]), 0)
    y = exactly(30, np.array([4.0]), np.array([[36.0]]), 1)
    assert distance(x, y) == pytest.approx(9 + 16, rel=1e-12)


def test_commuting_covariances_in_closed_form() -> None:
    # sum over axes of (m1 - m2)^2 + (sqrt a - sqrt b)^2 in a common eigenbasis
    basis = ortho_group.rvs(3, random_state=0)
    a, b = np.array([1.0, 4.0, 9.0]), np.array([16.0, 4.0, 0.25])
    mean = np.array([1.0, -2.0, 0.5])
    x = exactly(40, mean, basis @ np.diag(a) @ basis.T, 2)
    y = exactly(50, 0 * mean, basis @ np.diag(b) @ basis.T, 3)
    expected = (mean**2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert distance(x, y) == pytest.approx(expected, rel=1e-10)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("n", "m", "d"), [(60, 60, 8), (200, 90, 16), (33, 400, 32)])
def test_equals_clean_fid(n: int, m: int, d: int) -> None:
    from cleanfid.fid import frechet_distance

    x, y = features(0, n, d), features(1, m, d, 0.3)
    theirs = frechet_distance(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))
    assert distance(x, y) == pytest.approx(float(theirs), rel=1e-4)


def test_equals_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Given(torch.nn.Module):
        """Takes features for images, so that only the distance is compared."""

        num_features = 24

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    x, y = features(2, 150, 24), features(3, 130, 24, 0.2)
    metric = FrechetInceptionDistance(feature=Given()).set_dtype(torch.float64)
    metric.update(torch.from_numpy(x), real=False)
    metric.update(torch.from_numpy(y), real=True)
    assert distance(x, y) == pytest.approx(float(metric.compute()), rel=1e-4)


def test_equals_torch_fidelity() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    x, y = features(4, 90, 20), features(5, 90, 20, 0.2)
    statistics = [fid_features_to_statistics(torch.from_numpy(rows)) for rows in (x, y)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)
    assert distance(x, y) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)


@pytest.mark.parametrize(("n", "m", "d"), [(5, 7, 30), (2, 2, 10), (5, 60, 30), (60, 5, 30)])
def test_fewer_images_than_dimensions(n: int, m: int, d: int) -> None:
    # the textbook form: tr sqrt(S1 S2) = sum of roots of the eigenvalues of sqrt(S1) S2 sqrt(S1)
    x, y = features(6, n, d), features(7, m, d, 0.5)
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(s1)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    trace = np.sqrt(np.linalg.eigvalsh(root @ s2 @ root).clip(0)).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * trace
    assert distance(x, y) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rank", [1, 5, 19])
def test_more_images_than_dimensions_that_vary(rank: int) -> None:
    # n > d and covariances without full rank: the distance within the subspace, where they have it, by the QR route
    x, y = features(8, 80, rank), features(9, 90, rank, 0.5)
    into = np.linalg.qr(np.random.default_rng(10).normal(size=(20, rank))).Q.T
    assert distance(x @ into, y @ into) == pytest.approx(distance(x, y), rel=1e-6)
    assert distance(x @ into, x @ into) == pytest.approx(0, abs=1e-9)
    wide = np.pad(x, ((0, 0), (0, 100))), np.pad(y, ((0, 0), (0, 100)))  # n < d: no covariance is made at all
    assert distance(*wide) == pytest.approx(distance(x, y), rel=1e-9)


def test_constant_images() -> None:
    # no spread on a side: |m1 - m2|^2 + tr(S), by hand; n = 2
    assert distance(np.full((2, 3), 1.0), np.full((2, 3), 3.0)) == 12.0
    assert distance(np.full((5, 3), 7.0), np.full((2, 3), 7.0)) == 0.0
    assert distance(np.zeros((4, 1)), np.array([[1.0], [3.0]])) == pytest.approx(4 + 2)


@given(seed=st.integers(0, 10_000), n=st.integers(2, 12), m=st.integers(2, 12), d=st.integers(1, 15))
def test_laws(seed: int, n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = features(seed, n, d), features(seed + 1, m, d, 1.0)
    value = distance(x, y)
    scale = 1 + value
    assert value >= 0
    assert distance(x, x) == pytest.approx(0, abs=1e-10 * (1 + np.trace(np.atleast_2d(np.cov(x, rowvar=False)))))
    assert distance(y, x) == pytest.approx(value, abs=1e-9 * scale)
    assert distance(rng.permutation(x), rng.permutation(y)) == pytest.approx(value, abs=1e-9 * scale)
    assert distance(x + 3, y + 3) == pytest.approx(value, abs=1e-9 * scale)
    assert distance(2 * x, 2 * y) == pytest.approx(4 * value, abs=1e-9 * scale)
    padded = [np.hstack([rows, np.zeros((len(rows), 3))]) for rows in (x, y)]
    assert distance(*padded) == pytest.approx(value, abs=1e-9 * scale)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((1, 3)), np.ones((4, 3)), "outputs: expected features of at least 2 images"),
        (np.ones((4, 3)), np.ones((0, 3)), "labels: expected features of at least 2 images"),
        (np.ones((4, 3)), np.ones((4, 2)), "3 and of 2 dimensions"),
        (np.ones(4), np.ones((4, 2)), r"found shape \(4,\)"),
        (np.array([[1.0, 2.0], [np.nan, 0.0]]), np.ones((4, 2)), "1 of 2 images are not finite, first row 1"),
        (np.ones((4, 2)), np.full((2, 2), np.inf), "labels: features of 2 of 2 images are not finite"),
    ],
)
def test_refuses(x: Rows, y: Rows, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        distance(x, y)


# ------------------------------------------------------------------------------------------------ infinite n
def gaussians(seed: int, *, patients: int, slices: int, share: float) -> tuple[Rows, Rows, list[str]]:
    """Pairs of slices in 6 dimensions with N(0, 4) and N(0.2, 1) as distributions, so that the distance is 6.24."""
    rng = np.random.default_rng(seed)
    size, each = (patients, 1, 6), (patients, slices, 6)
    x, own = (
        (np.sqrt(share) * rng.normal(size=size) + np.sqrt(1 - share) * rng.normal(size=each)).reshape(-1, 6)
        for _ in range(2)
    )
    groups = [str(index // slices) for index in range(patients * slices)]
    return 2 * x, 0.6 * x + 0.8 * own + 0.2, groups


@pytest.mark.parametrize("slices", [1, 4])
def test_extrapolation_takes_the_bias_away(slices: int) -> None:
    # At 4 patients per dimension. Where slices of a patient are alike, more of them are no substitute for patients.
    plain: list[float] = []
    over_patients: list[float] = []
    over_slices: list[float] = []
    for seed in range(120):
        x, y, groups = gaussians(seed, patients=24, slices=slices, share=0.9)
        rng = np.random.default_rng(seed)
        plain.append(distance(x, y) - 6.24)
        for errors, of in ((over_patients, groups), (over_slices, None)):
            found = extrapolated(x, y, groups=of, rng=rng)
            assert found is not None
            errors.append(found - 6.24)
    # measured in standard errors of the mean: 7.1 and 6.0 for the plain distance, 1.3 and 0.2 for the extrapolated one
    standard_error = np.std(over_patients) / np.sqrt(len(over_patients))
    assert np.mean(plain) > 5 * standard_error
    assert abs(np.mean(over_patients)) < 3 * standard_error
    if slices > 1:
        assert np.mean(over_slices) > 0.5 * np.mean(plain)


def test_extrapolation_is_none_where_it_would_be_wrong() -> None:
    # 20 images in 40 dimensions of one distribution: the true distance is 0, the parts lie on no line over 1 / n, and
    # more than a third of the bias stays.
    plain, forced = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(2, 20, 40))
        assert extrapolated(x, y, groups=None, rng=rng) is None
        found = extrapolated(x, y, groups=None, rng=rng, least=0)
        assert found is not None
        plain.append(distance(x, y))
        forced.append(found)
    assert np.mean(forced) > np.mean(plain) / 3 > 5


@pytest.mark.parametrize(("patients", "allowed"), [(23, False), (24, True)])
def test_extrapolation_counts_patients_not_slices(patients: int, allowed: bool) -> None:
    x, y, groups = gaussians(0, patients=patients, slices=5, share=0.5)
    assert (extrapolated(x, y, groups=groups, rng=np.random.default_rng(0)) is not None) == allowed
    assert extrapolated(x, y, groups=None, rng=np.random.default_rng(0)) is not None


def test_extrapolation_is_reproducible_and_zero_for_equal_sets() -> None:
    x, y, groups = gaussians(0, patients=30, slices=2, share=0.5)
    values = [extrapolated(x, y, groups=groups, rng=np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert values[0] == values[1] != values[2]
    assert extrapolated(x, x, groups=groups, rng=np.random.default_rng(0)) == pytest.approx(0, abs=1e-9)


def test_extrapolation_refuses_sets_that_are_no_pairs() -> None:
    x, y, groups = gaussians(0, patients=30, slices=2, share=0.5)
    with pytest.raises(ScoringError, match="found 60 and 59"):
        extrapolated(x, y[:-1], groups=groups, rng=np.random.default_rng(0))
    with pytest.raises(ScoringError, match="59 patients"):
        extrapolated(x, y, groups=groups[:-1], rng=np.random.default_rng(0))
