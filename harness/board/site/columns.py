"""Columns of a board's table: which values, on which scale their intervals are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from harness.base.structs import Strict
from harness.board.lesion_gate import lesions_of
from harness.board.ranking import Row
from harness.board.tables import ARROWS, reference_table
from harness.board.words import COMPARED, compared_against, split_lesions
from harness.protocol import Protocol
from harness.scoring.values import Value

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Column(Strict, frozen=True, kw_only=True):
    """One metric, region and reference over all rows.

    `low` to `high` is what the small bars span: the ranked rows, where there are several; reference rows may lie
    beside it (a blurred image's distance would make all others look alike).
    """

    name: str
    region: str
    reference: str
    unit: str
    higher_is_better: bool | None
    low: float
    high: float


class Cell(Strict, frozen=True, kw_only=True):
    """A value as a table shows it; `left`, `at`, `right` place interval and value on the column's bar, in percent."""

    value: float
    text: str
    interval: str
    beside: bool = False  # the value lies beside the column's scale
    left: int | None = None
    at: int | None = None
    right: int | None = None


def number(value: float, digits: int = 4) -> str:
    """A value to `digits` significant digits, trailing zeros kept so that columns line up; typographic signs."""
    text = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:#.{digits}g}".removesuffix(".")
    mantissa, _, exponent = text.partition("e")
    if exponent:
        mantissa += f"×{power_of_ten(int(exponent))}"
    return mantissa.replace("-", "−")


def power_of_ten(exponent: int) -> str:
    """10 with a raised exponent."""
    return "10" + str(exponent).translate(SUPERSCRIPTS)


def bounds(value: Value) -> str:
    """`[low, high]`, empty where there is no interval."""
    return "" if value.low is None or value.high is None else f"[{number(value.low, 3)}, {number(value.high, 3)}]"


def arrow(higher_is_better: bool | None) -> str:
    """Which end is better, in one sign; empty for descriptive metrics."""
    return ARROWS[higher_is_better]


def of_board(protocol: Protocol, rows: Sequence[Row], region: str, reference: str = "label") -> list[Column]:
    """The columns that have any value: the metric that ranks first, descriptive ones last, others as the protocol
    lists them."""
    found = []
    tables = [(row.standing == "ranked", reference_table(row, reference)) for row in rows]
    for metric in protocol.metrics:
        there = [(ranks, value) for ranks, table in tables if (value := table.get(metric.name, {}).get(region))]
        values = [value for _, value in there]
        if values:
            ranked = [value for ranks, value in there if ranks]
            spanned = ranked if len(ranked) > 1 else values
            ends = [end for value in spanned for end in (value.value, value.low, value.high) if end is not None]
            found.append(
                Column(
                    name=metric.name,
                    region=region,
                    reference=reference,
                    unit=values[0].unit,
                    higher_is_better=values[0].higher_is_better,
                    low=min(ends),
                    high=max(ends),
                )
            )
    return _in_order(protocol, found)


def _in_order(protocol: Protocol, found: Sequence[Column]) -> list[Column]:
    return sorted(found, key=lambda one: (one.name != protocol.rank_by.metric, one.higher_is_better is None))


def of_ranking(protocol: Protocol, rows: Sequence[Row]) -> list[Column]:
    """The columns of the region and the reference that rank, without descriptive ones."""
    by = protocol.rank_by
    return [one for one in of_board(protocol, rows, by.region, by.reference) if one.higher_is_better is not None]


def of_every_metric(protocol: Protocol, rows: Sequence[Row]) -> list[Column]:
    """The columns of the region and the reference that rank, and empty ones for metrics that only others have.

    Those are filled by the page's script when another region or reference is chosen.
    """
    by = protocol.rank_by
    anywhere = {
        one.name: one
        for reference in COMPARED
        for region in protocol.regions
        for one in of_board(protocol, rows, region, reference)
    }
    here = {one.name: one for one in of_board(protocol, rows, by.region, by.reference)}
    named = [metric.name for metric in protocol.metrics if metric.name in anywhere]
    found = [
        here.get(name) or msgspec.structs.replace(anywhere[name], region=by.region, reference=by.reference)
        for name in named
    ]
    return _in_order(protocol, found)


class Lesions(Strict, frozen=True, kw_only=True):
    """What a row says of lesions: the verdict, its numbers, and the difference that rows are sorted by."""

    verdict: str
    numbers: str
    value: float | None


def lesions(protocol: Protocol, row: Row) -> Lesions | None:
    """What a row says of lesions; None where they were not measured."""
    if not row.lesions:
        return None
    verdict, numbers = split_lesions(row.lesions)
    found = lesions_of(row.compared, protocol)
    return Lesions(
        verdict=verdict, numbers=numbers.replace("-", "−"), value=None if found is None else found.difference.value
    )


def cell(row: Row, column: Column) -> Cell | None:
    """What a row shows in a column; None where it has no value."""
    value = reference_table(row, column.reference).get(column.name, {}).get(column.region)
    if value is None:
        return None
    if value.low is None or value.high is None or column.high == column.low:
        return Cell(value=value.value, text=number(value.value), interval=bounds(value))
    left, at, right = (
        round(100 * min(1, max(0, (end - column.low) / (column.high - column.low))))
        for end in (value.low, value.value, value.high)
    )
    return Cell(
        value=value.value,
        text=number(value.value),
        interval=bounds(value),
        beside=not column.low <= value.value <= column.high,
        left=left,
        at=at,
        right=right,
    )


def switch(protocol: Protocol, rows: Sequence[Row]) -> dict[str, Any]:
    """All regions and references of a board, for the page's script: every value as [value, low, high], null for none.

    By reference (the one that ranks comes first), region and metric a list over the scored rows, in the order of the
    table.
    """
    scored = [row for row in rows if row.record.result.status == "scored"]
    values: dict[str, Any] = {}
    for reference in compared_against(protocol, rows):
        for region in protocol.regions:
            found = {
                column.name: [_triple(row, column) for row in scored]
                for column in of_board(protocol, scored, region, reference)
            }
            if found:
                values.setdefault(reference, {})[region] = found
    return values


def _triple(row: Row, column: Column) -> list[float] | None:
    value = reference_table(row, column.reference).get(column.name, {}).get(column.region)
    if value is None:
        return None
    return [end for end in (value.value, value.low, value.high) if end is not None]
