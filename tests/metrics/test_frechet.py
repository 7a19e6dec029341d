import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ortho_group

from harness.errors import ScoringError
from harness.metrics.frechet import distance

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
