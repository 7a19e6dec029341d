"""Frechet distance between Gaussians fitted to two feature sets (FID with Inception features, CLIP-FID with CLIP's).

    d^2 = |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))

Heusel et al., "GANs trained by a two time-scale update rule", arXiv 1706.08500, eq. 6; means and unbiased covariances
in float64 as in clean-fid (Parmar et al., arXiv 2104.11222).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import svdvals
from scipy.linalg.lapack import dpstrf

from harness.base.errors import ScoringError
from harness.metrics._features import pair
from harness.metrics._metric import DistributionMetric

_POINTS = 10
_BLOCK = 2048  # rows centred at a time


def _factor(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (d,) and a factor X (at most d rows) of the unbiased covariance S = X^T X.

    With more rows than columns it comes from Cholesky's decomposition with pivots, which accepts covariances without
    full rank (LAPACK's pstrf) and is much faster than the rows' QR decomposition.
    """
    mean = rows.mean(axis=0)
    count, columns = rows.shape
    if count <= columns:
        return mean, (rows - mean) / np.sqrt(count - 1)
    covariance = np.zeros((columns, columns))
    for start in range(0, count, _BLOCK):
        block = rows[start : start + _BLOCK] - mean
        covariance += block.T @ block
    covariance /= count - 1
    upper, pivots, rank, _ = dpstrf(covariance.T, overwrite_a=True)  # symmetric, and as LAPACK stores it
    factor = np.zeros((rank, columns))
    factor[:, pivots - 1] = np.triu(upper)[:rank]
    return mean, factor


def distance(x: ArrayLike, y: ArrayLike) -> float:
    """Frechet distance of features (n, d) and (m, d); exact for n < d (rank-deficient covariances) and n >= d alike.

    With S1 = X^T X and S2 = Y^T Y the eigenvalues of S1 S2 are the squared singular values of X Y^T, so the trace of
    the root is the sum of singular values of a matrix no larger than the sample. This needs no regularisation and no
    matrix root: `scipy.linalg.sqrtm` is slow and returns nonsense for singular products.
    ScoringError for fewer than two images on a side, different d, or values that are not finite.
    """
    left, right = pair(x, y)
    (mean_x, factor_x), (mean_y, factor_y) = _factor(left), _factor(right)
    trace_of_root = svdvals(factor_x @ factor_y.T, overwrite_a=True, check_finite=False).sum()
    squared = np.sum((mean_x - mean_y) ** 2) + np.sum(factor_x**2) + np.sum(factor_y**2) - 2 * trace_of_root
    return max(float(squared), 0.0)  # rounding leaves about -1e-12 of the traces for equal sets


def extrapolated(
    x: ArrayLike, y: ArrayLike, *, groups: Sequence[str] | None, rng: np.random.Generator, least: float = 4.0
) -> float | None:
    """Frechet distance of features (n, d) and (n, d), whose rows i show the same slice, at infinitely many units.

    The bias of the distance is linear in 1 / n where n is well above d (Chong & Forsyth, "Effectively unbiased FID and
    Inception score", CVPR 2020). A straight line over 1 / size through the distances of 10 random parts, from half to
    all of the sample, drawn without replacement and the same on both sides, is extended to 0. It is unbiased, so it may
    be below zero.

    A unit is a patient (`groups[i]` is that of row i), or a row where `groups` is None because rows are independent.
    Patients count because more slices of the same patients do not remove the bias of few patients. None below
    `least` * d units: distances of parts with fewer than 2 d units do not lie on a line, least of all with n < d; from
    4 d on the remaining bias is small against the spread (`benchmarks/intervals.py`).
    ScoringError as `distance`, and for different n.
    """
    left, right = pair(x, y)
    counts = [len(left), len(right), len(left if groups is None else groups)]
    if len(set(counts)) > 1:
        raise ScoringError(
            f"an extrapolation needs equally many rows, found {counts[0]} and {counts[1]}, with {counts[2]} patients"
        )
    labels = np.arange(len(left)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    units = int(labels.max()) + 1
    if units < least * left.shape[1]:
        return None
    sizes = np.linspace(units / 2, units, _POINTS).round().astype(int)
    distances = []
    for size in sizes:
        chosen = np.isin(labels, rng.choice(units, size, replace=False))
        distances.append(distance(left[chosen], right[chosen]))
    return float(np.polynomial.Polynomial.fit(1 / sizes, distances, 1).convert().coef[0])


METRIC = DistributionMetric(
    distance=distance,
    extrapolated=extrapolated,
    higher_is_better=False,
    implementation="Frechet distance, unbiased covariances in float64, own code, equal to clean-fid's",
)
