"""What a record's page says of further slices: lesions by observer and condition, bias, noise, error without truth."""

from __future__ import annotations

from harness.base.structs import Strict
from harness.board.words import EXACT, LESS_INPUT, OVERALL, conditions, table_of
from harness.protocol import Protocol
from harness.records.schema import Record
from harness.scoring.score import Table, Value

TITLES = {
    "Hotelling": "Channelized Hotelling observer: knows lesion and noise",
    "eye": "Non-prewhitening observer with eye filter: nearer to a reader",
}


class Line(Strict, frozen=True, kw_only=True):
    """An observer's d' of one condition, its exact interval and its difference from the noisy input's, if known."""

    condition: str
    value: Value
    exact: Value | None
    difference: Value | None
    words: str


class Observer(Strict, frozen=True, kw_only=True):
    title: str
    lines: tuple[Line, ...]


class Lesions(Strict, frozen=True, kw_only=True):
    """Observers with their lines; `exact` if any of these has an exact interval."""

    observers: tuple[Observer, ...]
    exact: bool


class Further(Strict, frozen=True, kw_only=True):
    """A record's tables of further slices; empty or None where it has none."""

    lesions: Lesions | None
    scans: Table
    coupled: Table


def of_record(protocol: Protocol, record: Record) -> Further:
    """What a record's page shows of its further slices."""
    return Further(
        lesions=_lesions(protocol, table_of(record, "lesions")),
        scans=table_of(record, "scans"),
        coupled=table_of(record, "coupled"),
    )


def _lesions(protocol: Protocol, table: Table) -> Lesions | None:
    names = sorted(name for name in table if not name.endswith((LESS_INPUT, EXACT)))
    observers = tuple(_observer(protocol, table, name) for name in names)
    exact = any(line.exact for one in observers for line in one.lines)
    return Lesions(observers=observers, exact=exact) if observers else None


def _observer(protocol: Protocol, table: Table, name: str) -> Observer:
    exact = table.get(name.removesuffix(")") + EXACT, {})
    differences = table.get(name + LESS_INPUT, {})
    lines = tuple(
        Line(
            condition="mean over all" if condition == OVERALL else condition,
            value=table[name][condition],
            exact=exact.get(condition),
            difference=differences.get(condition),
            words=words_of(differences.get(condition)),
        )
        for condition in conditions(protocol, {name: table[name]})
    )
    own = name.removeprefix("d' (").removesuffix(")")
    return Observer(title=TITLES.get(own, own), lines=lines)


def words_of(difference: Value | None) -> str:
    """What an interval of a difference from the noisy input's d' says, as `harness.observer` says it."""
    if difference is None or difference.low is None or difference.high is None:
        return ""
    if difference.high < 0:
        return "loses lesions"
    return "shows lesions better" if difference.low > 0 else "no difference seen"
