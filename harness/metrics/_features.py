"""What every distribution metric requires of its two feature matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.base.errors import ScoringError


def matrix(features: ArrayLike, role: str) -> NDArray[np.float64]:
    """(n, d) features as float64; ScoringError unless n >= 2, d >= 1 and every value is finite."""
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] < 2 or rows.shape[1] < 1:
        raise ScoringError(
            f"{role}: expected features of at least 2 images as (n, d), found shape {rows.shape}",
            fix="score more slices, or leave this metric and region out of the protocol",
        )
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        raise ScoringError(f"{role}: features of {len(bad)} of {len(rows)} images are not finite, first row {bad[0]}")
    return rows


def pair(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both matrices, checked as by `matrix`; ScoringError unless they have the same number of columns."""
    left, right = matrix(x, "outputs"), matrix(y, "labels")
    if left.shape[1] != right.shape[1]:
        raise ScoringError(f"features of {left.shape[1]} and of {right.shape[1]} dimensions cannot be compared")
    return left, right
