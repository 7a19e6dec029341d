"""What the page that compares two submissions is given: replicates, per-slice errors, pictures.

The page itself lists the rows. The numbers of each row are a script of its own, which the page loads when the row is
chosen: it stays small however many rows there are, and a new row writes its own numbers only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from harness.board.lesion_gate import METRICS
from harness.board.ranking import Row, comparable, twins
from harness.board.site import facts
from harness.board.words import COMPARED, compared_against, conditions, names_in, table_of
from harness.protocol import Protocol
from harness.records.schema import Record
from harness.statistics import LEVEL

DIGITS = 6  # of replicates: below what the harness prints of any difference


def compared(protocol: Protocol, rows: Sequence[Row]) -> list[Row]:
    """The rows that can be compared; none where fewer than two have replicates, without which there are no paired
    differences."""
    shown = [row for row in comparable(rows, protocol) if _patients(row.record)]
    return shown if len(shown) > 1 else []


def overview(protocol: Protocol, rows: Sequence[Row]) -> dict[str, Any]:
    """The rows that can be compared, of which there must be some, and what their scripts need."""
    shown = compared(protocol, rows)
    twin_of = twins(row.record for row in shown)
    most = max(len(_patients(row.record)) for row in shown)
    return {
        "rows": [_row(row, twin_of) for row in shown],
        # the quantile that `harness.statistics.interval` takes, by the number of patients
        "quantiles": {count: float(stdtrit(count - 1, 0.5 + LEVEL / 2)) for count in range(2, most + 1)},
        "references": compared_against(protocol, shown),
        "metrics": _metrics(protocol, shown),
        "lesions": list(
            dict.fromkeys(name for row in shown for name in conditions(protocol, table_of(row.record, "lesions")))
        ),
        "observers": _observers(shown),
    }


def script(leaderboard: Path, protocol: Protocol, record: Record, files: Mapping[str, str]) -> str:
    """A record's numbers, from which the page makes paired differences as `harness.statistics` does.

    `values[reference][metric][region]` is [value, n, value without each of `patients`], null for a patient who is not
    there. `slices` has the gate's metric of every slice; `files` are the pictures that can be shown.
    """
    patients = _patients(record)
    pictures = facts.pictures(leaderboard, protocol, record)
    gate = record.result.gate
    data = {
        "patients": patients,
        "values": _values(protocol, record, patients),
        "slices": {
            "kind": [gate.metric, gate.region, gate.reference] if gate else [],
            "values": {
                one.case: _short(one.value) for one in facts.gate_slices(leaderboard, record) if one.value is not None
            },
        },
        "window": list(pictures.window_hu) if pictures and pictures.window_hu else None,
        "pictures": {
            one.case: {kind: f"../../{files[name]}" for kind, name in one.files.items()}
            for one in (pictures.slices if pictures else ())
            if all(name in files for name in one.files.values())
        },
    }
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"compared({json.dumps(record.id)},{text});\n"


def _row(row: Row, twin_of: Mapping[str, Record]) -> dict[str, Any]:
    """A row's entry; `twin` is the row whose values stand for its own where the two are compared, if there is one."""
    submission, twin = row.record.result.submission, twin_of.get(row.record.id)
    return ({} if twin is None else {"twin": twin.id}) | {
        "id": row.record.id,
        "name": f"{submission.name} {submission.version}",
        "page": f"{submission.slug}/{row.record.id}.html",
    }


def _patients(record: Record) -> list[str]:
    tables = record.result.metrics.values()
    return sorted({patient for regions in tables for value in regions.values() for patient in value.without})


def _metrics(protocol: Protocol, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    found = {}
    for metric in protocol.metrics:
        for row in rows:
            for reference in COMPARED:
                for value in table_of(row.record, reference).get(metric.name, {}).values():
                    found[metric.name] = {"unit": value.unit, "higher": value.higher_is_better}
    return found


def _observers(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """The d' of each observer, as metrics: differences from the noisy input's add nothing to a paired difference."""
    return {
        name: {"unit": value.unit, "higher": value.higher_is_better}
        for name in METRICS.values()
        for row in rows
        for value in table_of(row.record, "lesions").get(name, {}).values()
    }


def _values(protocol: Protocol, record: Record, patients: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for reference in (*COMPARED, "lesions"):
        table = table_of(record, reference)
        for name in METRICS.values() if reference == "lesions" else names_in(protocol, reference):
            for region, value in table.get(name, {}).items():
                if value.without:
                    without = [value.without.get(patient) for patient in patients]
                    numbers = [_short(value.value), value.n, *(x if x is None else _short(x) for x in without)]
                    found.setdefault(reference, {}).setdefault(name, {})[region] = numbers
    return found


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
