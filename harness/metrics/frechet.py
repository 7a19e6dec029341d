"""Frechet distance between Gaussians fitted to two feature sets (FID with Inception features, CLIP-FID with CLIP's).

    d^2 = |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))

Heusel et al., "GANs trained by a two time-scale update rule", arXiv 1706.08500, eq. 6; means and unbiased covariances
in float64 as in clean-fid (Parmar et al., arXiv 2104.11222).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.metrics._features import pair

KIND: Literal["distribution"] = "distribution"
HIGHER_IS_BETTER = False


def _factor(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (d,) and a factor X (at most d rows) of the unbiased covariance S = X^T X."""
    mean = rows.mean(axis=0)
    factor = (rows - mean) / np.sqrt(len(rows) - 1)
    if len(factor) > factor.shape[1]:
        factor = np.linalg.qr(factor).R
    return mean, factor


def distance(x: ArrayLike, y: ArrayLike) -> float:
    """Frechet distance of features (n, d) and (m, d); exact for n < d (rank-deficient covariances) and n >= d alike.

    With S1 = X^T X and S2 = Y^T Y the eigenvalues of S1 S2 are the squared singular values of X Y^T, so the trace of
    the root is the sum of singular values of a matrix no larger than the sample: no matrix root (`scipy.linalg.sqrtm`
    takes seconds at d = 2048 and returns nonsense for singular products), no regularisation.
    ScoringError for fewer than two images on a side, different d, or values that are not finite.
    """
    left, right = pair(x, y)
    (mean_x, factor_x), (mean_y, factor_y) = _factor(left), _factor(right)
    trace_of_root = np.linalg.svd(factor_x @ factor_y.T, compute_uv=False).sum()
    squared = np.sum((mean_x - mean_y) ** 2) + np.sum(factor_x**2) + np.sum(factor_y**2) - 2 * trace_of_root
    return max(float(squared), 0.0)  # rounding leaves about -1e-12 of the traces for equal sets
