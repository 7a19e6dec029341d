"""What the page that compares two submissions is given: replicates, per-slice errors, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from harness.board.ranking import Row, comparable
from harness.board.site import facts
from harness.board.tables import reference_table
from harness.protocol import Protocol
from harness.statistics import LEVEL

DIGITS = 6  # of replicates: below what the harness prints of any difference


def data(leaderboard: Path, protocol: Protocol, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Numbers of a board's rows, from which the page makes paired differences as `harness.statistics` does.

    `rows` are those that can be compared. `values[reference][metric][region]` is a list over them: null, or
    [value, n, value without each of `patients`],
    null where a patient is not there. `slices` has the gate's metric of every slice. None where fewer than two rows
    have replicates, without which there are no paired differences.
    """
    shown = comparable(rows, protocol)
    patients = sorted(
        {
            patient
            for row in shown
            for regions in row.record.result.metrics.values()
            for value in regions.values()
            for patient in value.without
        }
    )
    if len(shown) < 2 or not patients:
        return None
    return {
        "rows": [_row(leaderboard, protocol, row) for row in shown],
        "patients": patients,
        # the quantile that `harness.statistics.interval` takes, by the number of patients
        "quantiles": {count: float(stdtrit(count - 1, 0.5 + LEVEL / 2)) for count in range(2, len(patients) + 1)},
        "metrics": _metrics(protocol, shown),
        "values": _values(protocol, shown, patients),
        "slices": _slices(leaderboard, shown),
    }


def _row(leaderboard: Path, protocol: Protocol, row: Row) -> dict[str, Any]:
    record = row.record
    pictures = facts.pictures(leaderboard, protocol, record)
    folder = f"../../records/{protocol.identity}/{record.result.submission.slug}/{record.id}"
    return {
        "id": record.id,
        "name": f"{record.result.submission.name} {record.result.submission.version}",
        "standing": row.standing,
        "page": f"{record.result.submission.slug}/{record.id}.html",
        "window": list(pictures.window_hu) if pictures and pictures.window_hu else None,
        "pictures": {
            one.case: {kind: f"{folder}/{name}" for kind, name in one.files.items()}
            for one in (pictures.slices if pictures else ())
        },
    }


def _metrics(protocol: Protocol, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    found = {}
    for metric in protocol.metrics:
        for row in rows:
            for value in row.record.result.metrics.get(metric.name, {}).values():
                found[metric.name] = {"unit": value.unit, "higher": value.higher_is_better}
    return found


def _values(protocol: Protocol, rows: Sequence[Row], patients: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for reference in ("label", "truth"):
        for metric in protocol.metrics:
            for region in protocol.regions:
                line: list[list[float | int | None] | None] = []
                for row in rows:
                    value = reference_table(row, reference).get(metric.name, {}).get(region)
                    if value is None or not value.without:
                        line.append(None)
                    else:
                        without = [value.without.get(patient) for patient in patients]
                        line.append([_short(value.value), value.n, *(x if x is None else _short(x) for x in without)])
                if any(line):
                    found.setdefault(reference, {}).setdefault(metric.name, {})[region] = line
    return found


def _slices(leaderboard: Path, rows: Sequence[Row]) -> dict[str, Any]:
    gates = [row.record.result.gate for row in rows]
    gate = next((one for one in gates if one is not None), None)
    if gate is None:
        return {}
    kind = (gate.reference, gate.metric, gate.region)
    of_rows = [facts.slice_values(leaderboard, row.record, kind) for row in rows]
    cases = sorted({case for values in of_rows for case in values})
    return {
        "reference": gate.reference,
        "metric": gate.metric,
        "region": gate.region,
        "cases": cases,
        "values": [[_short(values[case][1]) if case in values else None for case in cases] for values in of_rows],
    }


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
