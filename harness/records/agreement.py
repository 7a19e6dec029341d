"""Agreement: how far two values of the same outputs may be apart and still be the same result.

Values are sums of floats, and their last digits follow the order of additions: processor, number of threads, versions
of the libraries. Between threads and instruction sets they differ by 2e-6 of themselves at most, and by 2 % of this
tolerance (docs/reproducing.md, `benchmarks/agreement.py`). It lies far below anything that matters: a thousandth of an
interval moves no claim of the board. Whatever lies beyond comes from other code, weights or libraries, and is no
repetition.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.base.structs import Strict
from harness.base.text import first_few
from harness.records.schema import Record, Result
from harness.scoring.values import Table, Value

RELATIVE = 1e-4  # of the value
OF_WIDTH = 1e-3  # of the width of its interval: for values that are small differences of large sums, as KID
ROUNDING = 1e-9  # of a value that is zero but for rounding, as the distance of equal images

STATED = "within 1e-4 of the value or a thousandth of its interval's width, whichever is larger"

HARDWARE = ("cpu", "cpu_id", "level", "threads")
"""What `Observed.machine` says of the processor; what else differs is named where two machines are compared."""

SHOWN = 5  # disagreements that a message lists

Bounds = tuple[str, float | None, float | None, float]
"""A number of a value: the name of its field, it in two results, and how far these may be apart."""


class Disagreement(Strict, frozen=True, kw_only=True):
    """A number that is not the same in two results; `field` is one of `Value`, None stands for no value."""

    reference: str
    metric: str
    region: str
    field: str
    first: float | None
    second: float | None
    tolerance: float

    def __str__(self) -> str:
        of = "" if self.field == "value" else f", {self.field}"
        first, second = ("none" if one is None else f"{one:.7g}" for one in (self.first, self.second))
        apart = f" (may differ by {self.tolerance:.1g})" if self.tolerance else ""
        table = f"against the {self.reference}" if self.reference in ("label", "truth") else f"of {self.reference}"
        return f"{self.metric}, {self.region}, {table}{of}: {first}, here {second}{apart}"


def tolerance(value: Value) -> float:
    """How far another measurement of a value may be from it, in its unit."""
    width = 0.0 if value.low is None or value.high is None else value.high - value.low
    return max(RELATIVE * abs(value.value), OF_WIDTH * width, ROUNDING)


def disagreements(first: Result, second: Result) -> list[Disagreement]:
    """The numbers of two results of the same identity that are not the same.

    Compared are values, bounds, extrapolations, numbers of slices, and the values without each patient where both
    results have these (schema 1 had none). The gate's verdict follows from a value, and may differ where that is at the
    bound.
    """
    return list(_disagreements(first, second))


def agree(first: Result, second: Result) -> bool:
    """Whether two results have no `disagreements`; the first one decides."""
    return next(_disagreements(first, second), None) is None


def _disagreements(first: Result, second: Result) -> Iterator[Disagreement]:
    one, other = first.tables, second.tables
    for name in dict.fromkeys([*one, *other]):
        yield from of_tables(name, one.get(name, {}), other.get(name, {}))


def of_tables(reference: str, first: Table, second: Table) -> Iterator[Disagreement]:
    """As `disagreements`, of two tables of one name (`Result.tables`)."""
    for metric in dict.fromkeys([*first, *second]):
        one, other = first.get(metric, {}), second.get(metric, {})
        for region in dict.fromkeys([*one, *other]):
            for field, number, another, limit in numbers(one.get(region), other.get(region)):
                if not _same(number, another, limit):
                    yield Disagreement(
                        reference=reference,
                        metric=metric,
                        region=region,
                        field=field,
                        first=number,
                        second=another,
                        tolerance=limit,
                    )


def numbers(first: Value | None, second: Value | None) -> Iterator[Bounds]:
    """The numbers of a value in two results, and how far each pair may be apart."""
    if first is None or second is None:
        one, other = (None if value is None else value.value for value in (first, second))
        yield "value", one, other, 0.0
        return
    limit = max(tolerance(first), tolerance(second))
    yield "n", first.n, second.n, 0.0
    for name in ("value", "low", "high", "extrapolated"):
        yield name, getattr(first, name), getattr(second, name), limit
    if first.without and second.without:
        for patient in sorted(first.without.keys() | second.without.keys()):
            yield f"without {patient}", first.without.get(patient), second.without.get(patient), limit


def _same(first: float | None, second: float | None, limit: float) -> bool:
    if first is None or second is None:
        return first is second
    return abs(first - second) <= limit


def explain(first: Record, second: Record, found: list[Disagreement]) -> str:
    """Where two records of the same identity disagree, and what differs between the machines that scored them."""
    one, other = (
        record.observed.scorer | {"harness": record.observed.harness, "commit": record.observed.commit or "unknown"}
        for record in (first, second)
    )
    names = [
        name for name in dict.fromkeys([*one, *other]) if name not in HARDWARE and one.get(name) != other.get(name)
    ]
    versions = [f"{name} {one.get(name, 'unknown')}, here {other.get(name, 'unknown')}" for name in names]
    ordered = sorted(found, key=lambda one: one.field != "value")  # values before their bounds
    lines = [
        *first_few([str(disagreement) for disagreement in ordered], at_most=SHOWN),
        f"scored on: {processor_of(one)}, here {processor_of(other)}",
        f"versions: {'; '.join(versions) or 'the same'}",
    ]
    return "\n  ".join(lines)


def processor_of(machine: dict[str, str]) -> str:
    """The processor and the threads of `Observed.machine`, in words; older records say less."""
    words = {"threads": "threads: "}
    known = [f"{words.get(name, '')}{machine[name]}" for name in HARDWARE if machine.get(name)]
    return ", ".join(known) or "an unknown processor"
