"""Intervals, paired differences and tie tiers for small, grouped samples: several slices of each of a few patients.

Everything is conditional on n: a statistic of n images is compared with the same statistic of as many others. A
statistic that is biased at small n (the Frechet distance) stays biased, equally for every submission.
`benchmarks/intervals.py` measures how often the intervals cover (docs/statistics.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from harness.base.errors import ScoringError
from harness.base.structs import Strict

LEVEL = 0.95

Statistic = Callable[[NDArray[np.intp]], float]


class Interval(Strict, frozen=True, kw_only=True):
    """A value of `n` images with its 95 % interval, conditional on n; bounds are None where they cannot be computed."""

    value: float
    low: float | None
    high: float | None
    n: int


class Difference(Interval, frozen=True, kw_only=True):
    """First minus second, with the two-sided p of equal expectations at this n; None where there are no bounds."""

    p: float | None


class Replicates(Strict, frozen=True, kw_only=True):
    """A statistic of all `n` images, and without each patient in turn.

    Intervals and paired differences are computed from these few numbers, so that a record which holds them can be
    compared with any later one on the same images, without features or images. `without` is empty for a single patient,
    and where the images left without some patient are too few.
    """

    value: float
    n: int
    without: dict[str, float]


def replicates(statistic: Statistic, groups: Sequence[str]) -> Replicates:
    """Delete one group after the other; `statistic` takes image indices, `groups[i]` is the patient of image i.

    ScoringError if the statistic of all images is not finite. `without` is empty where the statistic raises
    ScoringError for a part, or is not finite there.
    """
    labels = np.asarray(groups)
    everything = np.arange(len(labels))
    value = float(statistic(everything))
    if not np.isfinite(value):
        raise ScoringError(f"the statistic of all {len(labels)} images is {value}")
    names = np.unique(labels)
    without: dict[str, float] = {}
    if len(names) > 1:
        try:
            without = {str(name): float(statistic(everything[labels != name])) for name in names}
        except ScoringError:
            without = {}
    if not np.isfinite(list(without.values())).all():
        without = {}
    return Replicates(value=value, n=len(labels), without=without)


def interval(of: Replicates) -> Interval:
    """Delete-one-group jackknife interval, conditional on n.

    se^2 = (G - 1) / G * sum over groups g of (t_without_g - mean t)^2, interval t +- t_quantile(G - 1) * se
    (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 11, with Student's quantile for few groups).

    Patients, not slices, are left out because slices of a patient are alike. A percentile bootstrap is not valid for
    the Frechet distance: repeated images inflate every replicate above the value itself. docs/statistics.md says how
    often these intervals cover. Bounds are None for fewer than two groups or without replicates.
    """
    error = _error(of.without.values())
    if error is None:
        return Interval(value=of.value, low=None, high=None, n=of.n)
    half = float(stdtrit(len(of.without) - 1, 0.5 + LEVEL / 2)) * error
    return Interval(value=of.value, low=of.value - half, high=of.value + half, n=of.n)


def jackknife(statistic: Statistic, groups: Sequence[str]) -> Interval:
    """`interval` of the `replicates` of a statistic, conditional on n."""
    return interval(replicates(statistic, groups))


def paired_difference(first: Replicates, second: Replicates) -> Difference:
    """Difference of one statistic of two submissions on the same images and reference, conditional on n.

    The jackknife of the difference: the same patients are deleted from both, so that a patient's common effect on both
    cancels. Never judge two submissions by whether their own intervals overlap. ScoringError where the number of images
    or the patients differ.
    """
    if first.n != second.n or (first.without and second.without and set(first.without) != set(second.without)):
        raise ScoringError(
            f"a paired difference needs the same images: {first.n} of patients {_names(first)}, "
            f"and {second.n} of patients {_names(second)}"
        )
    common = sorted(set(first.without) & set(second.without))
    value = first.value - second.value
    without = {name: first.without[name] - second.without[name] for name in common}
    bounds = interval(Replicates(value=value, n=first.n, without=without))
    return Difference(value=value, low=bounds.low, high=bounds.high, n=first.n, p=_p(value, without.values()))


def distinguishable(
    results: Mapping[str, Replicates], *, of: Collection[str] | None = None
) -> frozenset[frozenset[str]]:
    """The pairs of names whose paired difference is significant among all pairs at once (Holm).

    Holm (Scand. J. Statist. 6 (1979) 65-70) over every pair: the chance of telling apart any two submissions that are
    equal in expectation stays at 5 %, however many submissions there are and however the tests depend on each other.
    Without it the best of several equal ones would differ from the worst much more often, because the same data chose
    them as best and worst (docs/statistics.md). The price: with few patients only clear differences count, and a new
    submission may merge the tiers of others. With `of` only the pairs that hold one of these names are returned; the
    correction is still over all. ScoringError as `paired_difference`.
    """
    names = list(results)
    first, second = np.triu_indices(len(names), k=1)
    p = _paired_ps(results, names, first, second)
    order = np.argsort(p, kind="stable")  # those without bounds, nan, come last
    bounds = (1 - LEVEL) / (len(p) - np.arange(len(p)))
    passed = p[order] <= bounds
    apart = order[: len(p) if passed.all() else int(np.argmin(passed))]
    if of is not None:
        wanted = np.array([name in of for name in names], dtype=bool)
        apart = apart[wanted[first[apart]] | wanted[second[apart]]]
    pairs = zip(first[apart].tolist(), second[apart].tolist(), strict=True)
    return frozenset(frozenset((names[one], names[other])) for one, other in pairs)


def _paired_ps(
    results: Mapping[str, Replicates], names: Sequence[str], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float64]:
    """The p of `paired_difference` of every pair, nan where it has none; at once where all have the same patients."""
    patients = [sorted(results[name].without) for name in names]
    same = all(
        one == patients[0] and results[name].n == results[names[0]].n for name, one in zip(names, patients, strict=True)
    )
    if not names or not same or len(patients[0]) < 2:
        found = [paired_difference(results[names[i]], results[names[j]]).p for i, j in zip(first, second, strict=True)]
        return np.array([np.nan if p is None else p for p in found], dtype=np.float64)
    values = np.array([results[name].value for name in names])
    without = np.array([[results[name].without[patient] for patient in patients[0]] for name in names])
    value, parts, count = values[first] - values[second], without[first] - without[second], len(patients[0])
    error = np.sqrt((count - 1) / count * np.sum((parts - parts.mean(axis=1, keepdims=True)) ** 2, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(count - 1, -np.abs(value) / error)
    return np.where(error == 0, np.where(value == 0, 1.0, 0.0), p)


def tiers(ranks: Mapping[str, int], tied: Callable[[str, str], bool]) -> list[list[str]]:
    """Names in tiers, best first.

    The best name left leads a tier, which continues down the ranks as long as names are `tied(leader, name)`; the first
    that is not leads the next tier. Names of equal rank stay together, in alphabetical order: they lead a tier
    together, or join one if any of them is tied with any of its leaders. Only the leaders of tiers are claimed to
    differ: the last of one tier and the first of the next may well be tied.
    """
    by_rank = groupby(sorted(ranks, key=lambda name: (ranks[name], name)), key=lambda name: ranks[name])
    found: list[list[str]] = []
    leaders: list[str] = []
    for level in (list(names) for _, names in by_rank):
        if found and any(tied(leader, name) for leader in leaders for name in level):
            found[-1].extend(level)
        else:
            leaders = level
            found.append([*level])
    return found


def _error(without: Collection[float]) -> float | None:
    """Jackknife standard error; None for fewer than two groups."""
    if len(without) < 2:
        return None
    parts = np.array(list(without), dtype=np.float64)
    return float(np.sqrt((len(parts) - 1) / len(parts) * np.sum((parts - parts.mean()) ** 2)))


def _p(value: float, without: Collection[float]) -> float | None:
    """Two-sided p of a zero expectation, by Student's distribution, as for `interval`."""
    error = _error(without)
    if error is None:
        return None
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stdtr(len(without) - 1, -abs(value) / error))


def _names(of: Replicates) -> str:
    return ", ".join(sorted(of.without)) or "(too few to tell)"
