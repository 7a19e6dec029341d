"""Rows -> `leaderboard/README.md` and `leaderboard/leaderboard.csv`."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from harness.board.ranking import Row
from harness.imaging.regions import Region
from harness.protocol import FolderData, Protocol
from harness.records.agreement import processor_of
from harness.records.schema import Record
from harness.scoring.values import Table

MISSING = "–"
ARROWS = {True: "↑", False: "↓", None: ""}
Boards = Sequence[tuple[Protocol, Sequence[Row]]]


# ------------------------------------------------------------------------------------------------ markdown
def markdown(boards: Boards, strips: Mapping[str, str]) -> str:
    """The board as markdown: each protocol's whole image against label and truth, its newest version's regions folded
    below. `strips` has the address of the picture of each record id, "" for none."""
    parts = [
        "# Leaderboard",
        "`harness board` writes this file from the records in `records/`; do not edit it. The same command makes the "
        "site, with a page for each record (open `index.html` in this folder), and `leaderboard.csv`, `.json`, `.tex`.",
    ]
    names: set[str] = set()
    for protocol, rows in boards:
        parts.append(_protocol_section(protocol, rows, strips, newest=protocol.name not in names))
        names.add(protocol.name)
    if not boards:
        parts.append("No records yet: `harness run submissions/tv` makes one.")
    return "\n\n".join(parts) + "\n"


def _protocol_section(protocol: Protocol, rows: Sequence[Row], strips: Mapping[str, str], *, newest: bool) -> str:
    purify = protocol.purify
    parts = [
        f"## {_text(protocol.title)} (`{protocol.identity}`)",
        _text(protocol.description),
        f"Ranked by **{protocol.rank_by.metric}** ({protocol.rank_by.region}) against the purified label "
        f"({purify.strategy}, {purify.variant} variant, weak denoiser {purify.weak_denoiser}). "
        "In brackets: 95 % interval over patients (jackknife), conditional on this test set. "
        "↓ lower is better, ↑ higher is better, no arrow: descriptive. Submissions in one tier cannot be told apart "
        "from the first of the tier by their paired difference (jackknife over patients, Holm over all pairs, 5 %).",
        *_processor_note(rows),
        *_secret_note(protocol),
        *_extractor_notes(rows),
    ]
    references = [("label", "the label")]
    if any(row.record.result.truth for row in rows):
        references.append(("truth", "the truth"))
    if any(strips[row.record.id] for row in rows):
        of_truth = ", truth" if len(references) > 1 else ""
        parts.append(f"The pictures show the same piece of lung in every row: noisy input, output, label{of_truth}.")
    for reference, title in references:
        shown = strips if reference == "label" else {}
        parts += [f"### Whole image against {title}", _table(protocol, rows, reference, "whole", shown)]
    for region in protocol.regions:
        if region != "whole" and newest:
            tables = [f"Against {title}\n\n{_table(protocol, rows, name, region, {})}" for name, title in references]
            parts.append(f"<details><summary>Region: {region}</summary>\n\n" + "\n\n".join(tables) + "\n\n</details>")
    unranked = [row for row in rows if row.standing == "unranked"]
    if unranked:
        named = [(row.record.result.submission, row.reason) for row in unranked]
        lines = [f"* {_text(one.name)} (`{one.slug}`): {_text(reason)}" for one, reason in named]
        parts += ["### Not ranked", "\n".join(lines)]
    return "\n\n".join(part for part in parts if part)


def processors(rows: Sequence[Row]) -> list[str]:
    """The processors that the rows' values were computed on; with their shares of the rows where there are several."""
    scored = [row.record.observed for row in rows if row.record.result.status == "scored"]
    counts = Counter(processor_of(one.scorer) for one in scored)
    if len(counts) < 2:
        return list(counts)
    return [f"{name} ({count} of {len(scored)} rows)" for name, count in counts.most_common()]


def _processor_note(rows: Sequence[Row]) -> list[str]:
    found = processors(rows)
    return [_text(f"Scored on: {'; '.join(found)}.")] if found else []


def _secret_note(protocol: Protocol) -> list[str]:
    if isinstance(protocol.data, FolderData) or isinstance(protocol.data.seed, int):
        return []
    return [
        f"The seed of the data is secret until `records/{protocol.identity}/disclosed.json` appears. "
        f"Its published commitment: `{protocol.data.seed}`."
    ]


def _extractor_notes(rows: Sequence[Row]) -> list[str]:
    notes = {facts.note for row in rows for facts in row.record.result.extractors.values()}
    return ["\n".join(f"* {_text(note)}" for note in sorted(notes))] if notes else []


def _table(protocol: Protocol, rows: Sequence[Row], reference: str, region: Region, strips: Mapping[str, str]) -> str:
    scored = [row for row in rows if row.record.result.status == "scored"]
    tables = [reference_table(row, reference) for row in scored]
    examples = {
        metric.name: value
        for metric in protocol.metrics
        for table in reversed(tables)
        if (value := table.get(metric.name, {}).get(region))
    }
    if not examples:
        return "No values."
    names = list(examples)
    arrows = [
        " ".join(filter(None, (name, value.unit, ARROWS[value.higher_is_better]))) for name, value in examples.items()
    ]
    signed = any(row.signed_by is not None for row in scored)
    pictured = any(strips.get(row.record.id) for row in scored)
    lines = [
        "| "
        + " | ".join(["", "tier", "Submission", *["lung"] * pictured, *arrows, "n", *["signed by"] * signed])
        + " |",
        "|" + "|".join(["--:", "--:", *[":--"] * (1 + pictured), *["--:"] * (len(names) + 1), *[":--"] * signed]) + "|",
    ]
    for row, table in zip(scored, tables, strict=True):
        submission = row.record.result.submission
        place = str(row.rank) if row.rank is not None else {"anchor": "ref", "unranked": MISSING}[row.standing]
        cells = [place, str(row.tier or ""), f"{_text(submission.name)} {_text(submission.version)}"]
        if pictured:
            strip = strips.get(row.record.id)
            cells.append(f'<img src="{strip}" height="96" alt="lung of {row.record.id}">' if strip else MISSING)
        cells += [_cell(table, name, region) for name in names]
        cells.append(str(max((one.n for name in names if (one := table.get(name, {}).get(region))), default=0)))
        cells += [_text(row.signed_by or MISSING)] * signed
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def reference_table(row: Row, reference: str) -> Table:
    """The values of a row against `label` or `truth`; empty where it has none."""
    return table_of(row.record, reference)


def table_of(record: Record, reference: str) -> Table:
    """The values of a record against `label` or `truth`; empty where it has none."""
    return record.result.metrics if reference == "label" else record.result.truth or {}


def _cell(table: Table, name: str, region: str) -> str:
    value = table.get(name, {}).get(region)
    if value is None:
        return MISSING
    if value.low is None or value.high is None:
        return f"{value.value:.4g}"
    return f"{value.value:.4g}<br><sub>[{value.low:.3g}, {value.high:.3g}]</sub>"


def _text(text: str) -> str:
    """A stranger's text for markdown: one line, HTML escaped, no link, table or emphasis syntax."""
    line = re.sub(r"[\x00-\x1f\x7f\s]+", " ", text).strip()
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", html.escape(line, quote=False))


# ------------------------------------------------------------------------------------------------ CSV
CSV_COLUMNS = (
    "protocol",
    "version",
    "slug",
    "name",
    "submission_version",
    "standing",
    "rank",
    "tier",
    "reason",
    "reference",
    "metric",
    "region",
    "value",
    "low",
    "high",
    "n",
    "unit",
    "higher_is_better",
    "record",
)


def csv(boards: Boards) -> str:
    """The board as CSV in long form: a line a submission, reference, metric and region; failed ones take one line."""
    import pandas

    lines = [line for protocol, rows in boards for row in rows for line in _csv_lines(protocol, row)]
    signed = any(row.signed_by is not None for _, rows in boards for row in rows)
    columns = [*CSV_COLUMNS, *["signed_by"] * signed]
    return str(pandas.DataFrame(lines, columns=columns).to_csv(index=False, lineterminator="\n"))


def _csv_lines(protocol: Protocol, row: Row) -> list[dict[str, object]]:
    submission = row.record.result.submission
    common = {
        "protocol": protocol.name,
        "version": protocol.version,
        "slug": submission.slug,
        "name": _csv_text(submission.name),
        "submission_version": _csv_text(submission.version),
        "standing": row.standing,
        "rank": "" if row.rank is None else row.rank,
        "tier": "" if row.tier is None else row.tier,
        "reason": _csv_text(row.reason),
        "record": row.record.id,
        "signed_by": _csv_text(row.signed_by) if row.signed_by else "",
    }
    lines: list[dict[str, object]] = []
    for reference in ("label", "truth"):
        for metric, regions in sorted(reference_table(row, reference).items()):
            for region, value in sorted(regions.items()):
                lines.append(
                    common
                    | {
                        "reference": reference,
                        "metric": metric,
                        "region": region,
                        "value": value.value,
                        "low": "" if value.low is None else value.low,
                        "high": "" if value.high is None else value.high,
                        "n": value.n,
                        "unit": value.unit,
                        "higher_is_better": "" if value.higher_is_better is None else value.higher_is_better,
                    }
                )
    return lines or [common]


def _csv_text(text: str) -> str:
    """A stranger's text for a spreadsheet: what would be read as a formula is quoted."""
    line = re.sub(r"[\x00-\x1f\x7f\s]+", " ", text).strip()
    return f"'{line}" if line[:1] in "=+-@" else line
