"""What a record's page says of further slices: lesions by observer and condition, bias, noise, error without truth."""

from __future__ import annotations

from harness.base.structs import Strict
from harness.board.lesion_gate import METRICS
from harness.board.words import conditions, table_of
from harness.observer.detection import verdict
from harness.protocol import Protocol
from harness.records.schema import Record
from harness.scoring.lesions import ALL, EXACT, EYE, HOTELLING, less_input
from harness.scoring.values import Table, Value

TITLES = {
    HOTELLING: "Channelized Hotelling observer: knows lesion and noise",
    EYE: "Non-prewhitening observer with eye filter: nearer to a reader",
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
    observers = tuple(_observer(protocol, table, name) for name in METRICS.values() if name in table)
    exact = any(line.exact for one in observers for line in one.lines)
    return Lesions(observers=observers, exact=exact) if observers else None


def _observer(protocol: Protocol, table: Table, name: str) -> Observer:
    exact = table.get(EXACT, {}) if name == HOTELLING else {}
    differences = table.get(less_input(name), {})
    lines = tuple(
        Line(
            condition="mean over all" if condition == ALL else condition,
            value=table[name][condition],
            exact=exact.get(condition),
            difference=differences.get(condition),
            words="" if condition == ALL else words_of(differences.get(condition)),
        )
        for condition in conditions(protocol, {name: table[name]})
    )
    return Observer(title=TITLES[name], lines=lines)


def words_of(difference: Value | None) -> str:
    """What an interval of a difference from the noisy input's d' says; empty where there is none."""
    return "" if difference is None or difference.low is None else verdict(difference)
