"""The lesion gate: whether a record still shows the lesions that the noisy input shows."""

from __future__ import annotations

from harness.base.structs import Strict
from harness.observer.detection import Verdict, verdict
from harness.protocol import LesionGate, Protocol
from harness.records.schema import Record
from harness.scoring.lesions import ALL, EYE, HOTELLING, less_input
from harness.scoring.values import Value

METRICS = {"hotelling": HOTELLING, "eye": EYE}
SURE = 2.0
"""Margins of loss that bar a record even if its interval does not show them."""


class Lesions(Strict, frozen=True, kw_only=True):
    """What a record does to lesions, by the mean d' of all conditions less the noisy input's: one test, so nothing is
    to be corrected for the number of conditions."""

    said: Verdict
    difference: Value
    margin: float  # of d', what may be lost

    def __str__(self) -> str:
        found = self.difference
        if found.low is None or found.high is None:
            return f"no verdict on lesions (d' {_signed(found.value)}, no interval)"
        words: str = self.said
        if self.said == "no difference seen":
            kept = "keeps lesions" if found.low >= -self.margin else "no loss of lesions shown"
            words = "some loss of lesions, not surely beyond the margin" if found.high < 0 else kept
        return f"{words} (d' {_signed(found.value)}, {_plain(found.low)} to {_plain(found.high)})"


def lesions_of(record: Record, protocol: Protocol) -> Lesions | None:
    """What a record does to lesions, by the protocol's lesion gate or, where it has none, by that of no margin; None
    where it was not measured.

    It loses them if the interval of the difference lies below minus the margin, a share of the noisy input's d', or,
    whatever the interval, which an output can widen by treating patients unlike, if the difference itself lies below
    minus SURE times the margin. It shows them better if the interval lies above 0.
    """
    gate = protocol.lesion_gate or LesionGate()
    metric = METRICS[gate.observer]
    table = record.result.table("lesions")
    own, difference = (table.get(name, {}).get(ALL) for name in (metric, less_input(metric)))
    if own is None or difference is None:
        return None
    margin = gate.margin * (own.value - difference.value)
    hidden = margin > 0 and difference.value < -SURE * margin
    said = "loses lesions" if hidden else verdict(difference, margin=margin)
    return Lesions(said=said, difference=difference, margin=margin)


def unjudged(record: Record, protocol: Protocol) -> str:
    """Why the protocol's lesion gate cannot judge a record; "" where it can, and where there is no gate."""
    if protocol.lesion_gate is None:
        return ""
    found = lesions_of(record, protocol)
    if found is None:
        return "lesion gate: it has no outputs of the slices with lesions: run it again"
    if found.difference.high is None:
        return "lesion gate: d' has no interval: the test set has lesions in too few patients"
    return ""


def _signed(number: float) -> str:
    return f"+{_plain(number)}" if number >= 0.005 else _plain(number)


def _plain(number: float) -> str:
    return "0.00" if abs(number) < 0.005 else f"{number:.2f}"
