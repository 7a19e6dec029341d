"""A metric's value with its interval, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping

from harness.base.structs import Strict
from harness.statistics import Interval, Replicates


class Value(Strict, frozen=True, kw_only=True):
    """A metric's value over `n` slices with its 95 % interval over patients; no bounds below two patients.

    `higher_is_better` is null for a descriptive metric. `without` holds the value without each patient in turn, from
    which intervals of the difference between two submissions follow. `extrapolated` is the value at infinitely many
    patients, for metrics that are biased at few (FID); null where n does not allow it.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    higher_is_better: bool | None
    unit: str
    without: dict[str, float]
    extrapolated: float | None = None


Table = dict[str, dict[str, Value]]  # metric -> region -> value


def tables_of(label: Table, truth: Table | None, further: Mapping[str, Table]) -> dict[str, Table]:
    """Every table by its name: `label`, `truth` where it is known, and the further ones."""
    return {"label": label} | ({} if truth is None else {"truth": truth}) | dict(further)


def value_of(
    of: Replicates,
    bounds: Interval,
    *,
    higher_is_better: bool | None,
    unit: str,
    extrapolated: float | None = None,
) -> Value:
    """The value of a statistic with its replicates and its interval."""
    return Value(
        value=of.value,
        low=bounds.low,
        high=bounds.high,
        n=of.n,
        higher_is_better=higher_is_better,
        unit=unit,
        without=of.without,
        extrapolated=extrapolated,
    )
