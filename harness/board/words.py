"""What ranks a board, against what, and what its lesion gate means: the same words in every table, page and export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.board.lesion_gate import SURE
from harness.board.ranking import AGAINST, Row
from harness.imaging.anatomy import ANATOMIES
from harness.protocol import Protocol
from harness.records.schema import Record
from harness.scoring.coupled import METRIC
from harness.scoring.lesions import ALL, EXACT, EYE, HOTELLING, less_input
from harness.scoring.scans import RANDOM, SYSTEMATIC
from harness.scoring.values import Table, Value

COMPARED = ("label", "truth", "coupled")
"""References whose tables are metric -> region; submissions are compared in these."""

REFERENCES = (*COMPARED, "scans", "lesions")
"""Every table that a record may hold; `lesions` is observer -> condition, `scans` part of the error -> region."""

AT_LENGTH = {
    "label": "the purified label",
    "truth": "the noise-free truth",
    "coupled": "the slice's own kept noise, without truth",
}


def reference_of(protocol: Protocol) -> str:
    """What a board's ranking is against, in words."""
    reference = protocol.rank_by.reference
    unpurified = reference == "label" and not protocol.purify.purifies
    return "the normal-dose slice" if unpurified else AT_LENGTH[reference]


def organ(protocol: Protocol) -> str:
    """What a board's pictures show a piece of."""
    return ANATOMIES[protocol.anatomy].dark_organ or protocol.anatomy


class Place(NamedTuple):
    """A value of a record: what a table calls it, and the table, metric and region that it lies in."""

    title: str
    reference: str
    metric: str
    region: str

    def of(self, record: Record) -> Value | None:
        """A record's value there, if it has one."""
        return table_of(record, self.reference).get(self.metric, {}).get(self.region)


def table_of(record: Record, reference: str) -> Table:
    """The values of a record in one of the tables `REFERENCES`; empty where it has none."""
    return record.result.table(reference)


def names_in(protocol: Protocol, reference: str) -> list[str]:
    """The metrics of a table in the order that they are shown in."""
    if reference == "scans":
        return [SYSTEMATIC, RANDOM]
    if reference == "lesions":
        return [HOTELLING, less_input(HOTELLING), EXACT, EYE, less_input(EYE)]
    return [metric.name for metric in protocol.metrics]


def tables_of(rows: Sequence[Row]) -> list[str]:
    """Those of the tables `REFERENCES` that any row has, and always `label`."""
    return [one for one in REFERENCES if one == "label" or any(table_of(row.record, one) for row in rows)]


def compared_against(protocol: Protocol, rows: Sequence[Row]) -> list[str]:
    """The references that rows can be compared in; the one that ranks comes first."""
    found = [one for one in tables_of(rows) if one in COMPARED]
    return sorted(found, key=lambda one: one != protocol.rank_by.reference)


def ranks_as_first(protocol: Protocol, rows: Sequence[Row]) -> bool:
    """Whether a board is of the first kind: ranked against the label, with no table of further slices."""
    return protocol.rank_by.reference == "label" and set(tables_of(rows)) <= {"label", "truth"}


# ------------------------------------------------------------------------------------------------ the ranking
def ranked_by(protocol: Protocol) -> str:
    """`RMSE, lung, against the truth`; for the label, which needs no mention in a line, `KID, whole`."""
    by = protocol.rank_by
    return f"{by.metric}, {by.region}" + ("" if by.reference == "label" else f", against {AGAINST[by.reference]}")


def ranking_places(protocol: Protocol, rows: Sequence[Row]) -> list[Place]:
    """What a table of the ranking shows: the value that ranks and, where any row has them, the systematic error, the
    random error and the error without truth of the same region."""
    by = protocol.rank_by
    places = [
        Place(by.metric, by.reference, by.metric, by.region),
        Place(SYSTEMATIC, "scans", SYSTEMATIC, by.region),
        Place(RANDOM, "scans", RANDOM, by.region),
        Place("error without truth", "coupled", METRIC, by.region),
    ]
    if by.reference == "coupled":
        del places[-1]
    return [place for place in places if any(place.of(row.record) for row in rows)]


# ------------------------------------------------------------------------------------------------ lesions
def lesion_gate(protocol: Protocol) -> str:
    """The lesion gate in two sentences; empty where the protocol has none."""
    gate = protocol.lesion_gate
    if gate is None:
        return ""
    observer = {"hotelling": "channelized Hotelling observer", "eye": "observer with eye filter"}[gate.observer]
    rule = "the 95 % interval of the paired difference lies below zero"
    if gate.margin:
        rule = (
            f"the 95 % interval of the paired difference lies beyond {100 * gate.margin:g} % of the noisy input's d', "
            f"or the difference itself beyond {100 * SURE * gate.margin:g} %"
        )
    return (
        f"Lesion gate: a submission that loses lesions ranks below all others. It loses them if the {observer} "
        f"sees the planted lesions worse in its outputs than in the noisy input, averaged over the conditions: {rule}."
    )


def split_lesions(words: str) -> tuple[str, str]:
    """`keeps lesions (d' -0.03, -0.08 to 0.02)` -> the verdict, and the numbers without their brackets."""
    verdict, _, numbers = words.partition(" (")
    return verdict, numbers.removesuffix(")")


def conditions(protocol: Protocol, table: Table) -> list[str]:
    """The conditions that a table of lesions has values for, as the protocol lists them, the mean over them last."""
    lesions = getattr(protocol.data, "lesions", None) or ()
    listed = [str(one) for one in lesions.conditions] if lesions else []
    there = {name for values in table.values() for name in values}
    rest = sorted(there - set(listed) - {ALL})
    return [name for name in (*listed, *rest, ALL) if name in there]
