"""Kernel distance: squared maximum mean discrepancy with the cubic polynomial kernel (KID with Inception features).

    k(a, b) = (a.b / d + 1)^3

Binkowski et al., "Demystifying MMD GANs", arXiv 1801.01401; the estimator is the unbiased one and may be negative.

`distance` is the number called KID on a board: the mean over subsets of clean-fid (Parmar et al., arXiv 2104.11222)
in closed form and without random numbers for sets of equal size up to 1000, where every subset is the full set; for
larger or unequal sets it is the limit of that mean.
Outputs and labels of a benchmark are *paired* (output i and label i show the same slice), which the estimator ignores:
the terms k(x_i, y_i) make it too small, below zero for near-perfect outputs. It can still rank submissions; `paired`
leaves these terms out (a metric of its own, `kernel_paired`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.base.errors import ScoringError
from harness.metrics._features import matrix, pair
from harness.metrics._metric import DistributionMetric

_BLOCK = 2048  # rows of a Gram matrix held at a time

Rows = NDArray[np.float64]


def _kernel(a: Rows, b: Rows) -> Rows:
    gram: Rows = (a @ b.T / a.shape[1] + 1.0) ** 3
    return gram


def _sum(a: Rows, b: Rows) -> float:
    return float(sum(_kernel(a[start : start + _BLOCK], b).sum() for start in range(0, len(a), _BLOCK)))


def _diagonal(a: Rows, b: Rows) -> float:
    """Sum of k(a_i, b_i)."""
    return float(((np.einsum("ij,ij->i", a, b) / a.shape[1] + 1.0) ** 3).sum())


def _within(a: Rows) -> float:
    """Mean of k over pairs of different rows; a block beside the diagonal counts for its mirror image too."""
    total = -_diagonal(a, a)
    for start in range(0, len(a), _BLOCK):
        block = a[start : start + _BLOCK]
        total += _sum(block, block) + 2 * _sum(block, a[start + _BLOCK :])
    return total / (len(a) * (len(a) - 1))


def distance(x: ArrayLike, y: ArrayLike) -> float:
    """Unbiased squared MMD of features (n, d) and (m, d) over the full samples, in float64.

    ScoringError for fewer than two images on a side, different d, or values that are not finite.
    """
    left, right = pair(x, y)
    return _within(left) + _within(right) - 2.0 * _sum(left, right) / (len(left) * len(right))


def paired(x: ArrayLike, y: ArrayLike) -> float:
    """Squared MMD of features (n, d) and (n, d) whose rows i show the same slice: cross terms i = i left out.

    Zero for x = y, and not drawn below zero by likeness within pairs (Gretton et al., JMLR 13 (2012), lemma 6,
    the U-statistic). ScoringError as `distance`, and for different n.
    """
    left, right = pair(x, y)
    n = len(left)
    if len(right) != n:
        raise ScoringError(f"paired kernel distance needs equally many rows, found {n} and {len(right)}")
    return _within(left) + _within(right) - 2.0 * (_sum(left, right) - _diagonal(left, right)) / (n * (n - 1))


def subsets(x: ArrayLike, y: ArrayLike, *, seed: int, subsets: int = 100, size: int = 1000) -> float:
    """clean-fid's estimator: mean over `subsets` draws without replacement of min(n, m, size) rows from either side.

    With `numpy.random.seed(seed)` before it, `cleanfid.fid.kernel_distance(x, y)` draws the same subsets.
    """
    left, right = matrix(x, "outputs"), matrix(y, "labels")
    rng = np.random.RandomState(seed)  # clean-fid's own stream, so that the values can be compared
    count = min(len(left), len(right), size)
    total = 0.0
    for _ in range(subsets):
        chosen_right = right[rng.choice(len(right), count, replace=False)]
        chosen_left = left[rng.choice(len(left), count, replace=False)]
        total += distance(chosen_left, chosen_right)
    return total / subsets


METRIC = DistributionMetric(
    distance=distance,
    higher_is_better=False,
    implementation="unbiased squared MMD, cubic polynomial kernel, full samples in float64, own code, "
    "clean-fid's limit",
)
