"""Intervals for statistics of small, grouped samples: several slices of each of a few patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from harness.errors import ScoringError
from harness.files import Strict

LEVEL = 0.95


class Interval(Strict, frozen=True, kw_only=True):
    """A value of `n` images with the bounds of its 95 % interval, which are None where they cannot be had."""

    value: float
    low: float | None
    high: float | None
    n: int


def jackknife(statistic: Callable[[NDArray[np.intp]], float], groups: Sequence[str]) -> Interval:
    """Delete-one-group jackknife of `statistic`, which takes image indices; `groups[i]` is image i's patient.

    se^2 = (G - 1) / G * sum over groups g of (t_without_g - mean t)^2, interval t +- t_quantile(G - 1) * se
    (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 11, with Student's quantile for few groups).

    Patients, not slices, are left out because slices of a patient are alike. The interval is conditional on n: FID
    and KID of n images are compared with those of as many others, and the bias of FID at small n stays in the value.
    A percentile bootstrap is not valid for FID: repeated images inflate every replicate above the value itself.

    Bounds are None for fewer than two groups, or where the images that remain without a group are too few for the
    statistic (it raises ScoringError). ScoringError if the statistic of all images is not finite.
    """
    labels = np.asarray(groups)
    everything = np.arange(len(labels))
    value = float(statistic(everything))
    if not np.isfinite(value):
        raise ScoringError(f"the statistic of all {len(labels)} images is {value}")
    unbounded = Interval(value=value, low=None, high=None, n=len(labels))
    names = np.unique(labels)
    count = len(names)
    if count < 2:
        return unbounded
    try:
        without = np.array([statistic(everything[labels != name]) for name in names], dtype=np.float64)
    except ScoringError:
        return unbounded
    error = np.sqrt((count - 1) / count * np.sum((without - without.mean()) ** 2))
    half = float(stdtrit(count - 1, 0.5 + LEVEL / 2) * error)
    if not np.isfinite(half):
        return unbounded
    return Interval(value=value, low=value - half, high=value + half, n=len(labels))
