"""Quality report -> tables of text, for a terminal and for markdown."""

from __future__ import annotations

from collections.abc import Sequence

from harness.base.structs import Strict
from harness.labels.quality_report import AcceptanceVerdict, QualityReport, Ranking
from harness.statistics import Interval


class Table(Strict, frozen=True, kw_only=True):
    """Cells as text, rows beneath `header`."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(found: QualityReport) -> list[Table]:
    """A report as tables: the gates of each label set, then the ranks under each label and its agreement with truth."""
    shown = [
        Table(
            title=f"Gates, {found.slices} slices of {found.patients} patients: mean (range); share of slices "
            "within the bounds",
            header=("gate", "bounds", *(one.weak for one in found.labels)),
            rows=tuple(
                (name, _bounds(gate), *(_verdict(one.gates[name]) for one in found.labels))
                for name, gate in found.labels[0].gates.items()
            ),
        )
    ]
    if found.truth is None:
        return shown
    for key, truth in found.truth.items():
        by = [one.rankings[key] for one in found.labels]
        taus = (
            ("Kendall tau, its own family left out", *(_interval(one.tau) for one in by)),
            ("Kendall tau, all", *(_interval(one.tau_all) for one in by)),
        )
        ranks = sorted(found.denoisers, key=truth.ranks.__getitem__)
        shown.append(
            Table(
                title=f"Ranks of {len(found.denoisers)} denoisers by {key} under each label, and the change from truth",
                header=("denoiser", "truth", *(one.weak for one in found.labels)),
                rows=(
                    *((name, str(truth.ranks[name]), *(_change(one, truth, name) for one in by)) for name in ranks),
                    *((row[0], "", *row[1:]) for row in taus),
                ),
            )
        )
    return shown


def markdown(found: QualityReport) -> str:
    """The tables of a report as markdown."""
    lines: list[str] = []
    for table in tables(found):
        lines += [f"**{table.title}**", "", _row(table.header), _row(["---"] * len(table.header))]
        lines += [*(_row(row) for row in table.rows), ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _bounds(gate: AcceptanceVerdict) -> str:
    if gate.high is None:
        return f"≥ {gate.low:g}"
    return f"{gate.low:g} to {gate.high:g}"


def _verdict(gate: AcceptanceVerdict) -> str:
    if gate.mean is None:
        return gate.reason
    return (
        f"{'pass' if gate.passed else 'FAIL'} {gate.mean:.3f} ({gate.least:.3f} to {gate.most:.3f}); {gate.within:.0%}"
    )


def _interval(tau: Interval | None) -> str:
    if tau is None:
        return ""
    return f"{tau.value:.2f}" + ("" if tau.low is None else f" ({tau.low:.2f} to {tau.high:.2f})")


def _change(label: Ranking, truth: Ranking, name: str) -> str:
    change = label.ranks[name] - truth.ranks[name]
    return f"{label.ranks[name]}" + (f" ({change:+d})" if change else "")
