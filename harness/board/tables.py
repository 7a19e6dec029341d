"""Rows -> `leaderboard/README.md` and `leaderboard/leaderboard.csv`."""

from __future__ import annotations

import csv as csv_module
import html
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, compress

from harness.base.text import visible
from harness.board.ranking import Row
from harness.board.words import (
    REFERENCES,
    conditions,
    lesion_gate,
    names_in,
    organ,
    ranking_places,
    ranks_as_first,
    reference_of,
    split_lesions,
    table_of,
    tables_of,
)
from harness.protocol import PhantomData, Protocol
from harness.records.agreement import processor_of
from harness.scoring.lesions import ALL
from harness.scoring.values import Table, Value

MISSING = "–"
ARROWS = {True: "↑", False: "↓", None: ""}
Boards = Sequence[tuple[Protocol, Sequence[Row]]]


# ------------------------------------------------------------------------------------------------ markdown
def markdown(boards: Boards, strips: Mapping[str, str]) -> str:
    """The board as markdown: each protocol's ranking and its whole image against label and truth, its newest version's
    regions and lesions folded below. `strips` has the address of the picture of each record id, "" for none."""
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
    parts = [
        f"## {_text(protocol.title)} (`{protocol.identity}`)",
        _text(protocol.description),
        f"Ranked by **{protocol.rank_by.metric}** ({protocol.rank_by.region}) against {_reference(protocol)}. "
        "In brackets: 95 % interval over patients (jackknife), conditional on this test set. "
        "↓ lower is better, ↑ higher is better, no arrow: descriptive. Submissions in one tier cannot be told apart "
        "from the first of the tier by their paired difference (jackknife over patients, Holm over all pairs, 5 %).",
        lesion_gate(protocol),
        *_processor_note(rows),
        *_secret_note(protocol),
        *_extractor_notes(rows),
    ]
    has_truth = any(row.record.result.truth for row in rows)
    if any(strips[row.record.id] for row in rows):
        of_truth = ", truth" if has_truth else ""
        piece = organ(protocol)
        parts.append(f"The pictures show the same piece of {piece} in every row: noisy input, output, label{of_truth}.")
    first = ranks_as_first(protocol, rows)
    if not first:
        parts += ["### Ranking", _ranking(protocol, rows, strips)]
    purified = protocol.purify.purifies
    titles = {
        "label": "Whole image against the label"
        if first or not purified
        else "The paper's protocol: against the purified label",
        "truth": "Whole image against the truth",
    }
    for reference in ("label", *["truth"] * has_truth):
        shown = strips if first and reference == "label" else {}
        parts += [f"### {titles[reference]}", _table(protocol, rows, reference, "whole", shown)]
    if newest:
        parts += _folded(protocol, rows)
    unranked = [row for row in rows if row.standing == "unranked"]
    if unranked:
        named = [(row.record.result.submission, row.reason) for row in unranked]
        lines = [f"* {_text(one.name)} (`{one.slug}`): {_text(reason)}" for one, reason in named]
        parts += ["### Not ranked", "\n".join(lines)]
    return "\n\n".join(part for part in parts if part)


def _reference(protocol: Protocol) -> str:
    purify = protocol.purify
    recipe = f" ({purify.strategy}, {purify.variant} variant, weak denoiser {purify.weak_denoiser})"
    purified = protocol.rank_by.reference == "label" and purify.purifies
    return reference_of(protocol) + (recipe if purified else "")


def _folded(protocol: Protocol, rows: Sequence[Row]) -> list[str]:
    """The tables of every region, and of every lesion, each behind a heading that opens it."""
    titles = {
        "label": "Against the label",
        "truth": "Against the truth",
        "coupled": "Error without truth",
        "scans": "Systematic and random error, from several low-dose scans of a plane",
    }
    found = []
    there = [one for one in titles if one in tables_of(rows)]
    for region in protocol.regions:
        names = [name for name in there if region != "whole" or name not in ("label", "truth")]
        tables = [f"{titles[name]}\n\n{_table(protocol, rows, name, region, {})}" for name in names]
        if tables:
            found.append(_details(f"Region: {region}", tables))
    listed = [name for row in rows for name in conditions(protocol, table_of(row.record, "lesions"))]
    for name in dict.fromkeys(listed):
        title = "mean over all" if name == ALL else name
        found.append(_details(f"Lesions: {title}", [_table(protocol, rows, "lesions", name, {})]))
    return found


def _details(title: str, parts: Sequence[str]) -> str:
    return f"<details><summary>{_text(title)}</summary>\n\n" + "\n\n".join(parts) + "\n\n</details>"


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
    if not isinstance(protocol.data, PhantomData) or isinstance(protocol.data.seed, int):
        return []
    return [
        f"The seed of the data is secret until `records/{protocol.identity}/disclosed.json` appears. "
        f"Its published commitment: `{protocol.data.seed}`."
    ]


def _extractor_notes(rows: Sequence[Row]) -> list[str]:
    notes = {facts.note for row in rows for facts in row.record.result.extractors.values()}
    return ["\n".join(f"* {_text(note)}" for note in sorted(notes))] if notes else []


def _ranking(protocol: Protocol, rows: Sequence[Row], strips: Mapping[str, str]) -> str:
    """The table of a board that says why each row stands where it does: the value that ranks it, and its lesions."""
    scored = [row for row in rows if row.record.result.status == "scored"]
    places = ranking_places(protocol, scored)
    heads = []
    for place in places:
        example = next(value for row in reversed(scored) if (value := place.of(row.record)))
        heads.append(_head(place.title, example))
    shown = [{place.title: {"": value} for place in places if (value := place.of(row.record))} for row in scored]
    lesions = [_lesions(row.lesions) for row in scored] if any(row.lesions for row in scored) else []
    return _lines(scored, strips, [place.title for place in places], heads, shown, "", lesions, organ(protocol))


def _lesions(words: str) -> str:
    verdict, numbers = split_lesions(words)
    return f"{verdict}<br><sub>{numbers}</sub>" if numbers else verdict or MISSING


def _table(protocol: Protocol, rows: Sequence[Row], reference: str, region: str, strips: Mapping[str, str]) -> str:
    scored = [row for row in rows if row.record.result.status == "scored"]
    tables = [reference_table(row, reference) for row in scored]
    examples = {
        name: value
        for name in names_in(protocol, reference)
        for table in reversed(tables)
        if (value := table.get(name, {}).get(region))
    }
    if not examples:
        return "No values."
    names = list(examples)
    if not ranks_as_first(protocol, rows):
        names.sort(key=lambda name: examples[name].higher_is_better is None)
    return _lines(
        scored, strips, names, [_head(name, examples[name]) for name in names], tables, region, [], organ(protocol)
    )


def _head(name: str, value: Value) -> str:
    return " ".join(filter(None, (_text(name), _text(value.unit), ARROWS[value.higher_is_better])))


def _lines(
    scored: Sequence[Row],
    strips: Mapping[str, str],
    names: Sequence[str],
    heads: Sequence[str],
    tables: Sequence[Table],
    region: str,
    lesions: Sequence[str],
    pictured_organ: str,
) -> str:
    """Scored rows with the metrics `names`, under `heads`, of one region of their `tables`; `lesions` are cells."""
    signed = any(row.signed_by is not None for row in scored)
    pictured = any(strips.get(row.record.id) for row in scored)
    gated = bool(lesions)
    titles = [
        "",
        "tier",
        "Submission",
        *[pictured_organ] * pictured,
        *heads[:gated],
        *["lesions"] * gated,
        *heads[gated:],
    ]
    titles += ["n", *["signed by"] * signed]
    right = ["--:"] * (len(names) - gated + 1)
    kinds = ["--:", "--:", *[":--"] * (1 + pictured), *["--:", ":--"] * gated, *right, *[":--"] * signed]
    lines = ["| " + " | ".join(titles) + " |", "|" + "|".join(kinds) + "|"]
    for at, (row, table) in enumerate(zip(scored, tables, strict=True)):
        submission = row.record.result.submission
        place = str(row.rank) if row.rank is not None else {"anchor": "ref", "unranked": MISSING}[row.standing]
        trusted = "" if row.record.observed.isolated else "<br><sub>trusted, not isolated</sub>"
        cells = [place, str(row.tier or ""), f"{_text(submission.name)} {_text(submission.version)}{trusted}"]
        if pictured:
            strip = strips.get(row.record.id)
            cells.append(
                f'<img src="{strip}" height="96" alt="{pictured_organ} of {row.record.id}">' if strip else MISSING
            )
        values = [_cell(table, name, region) for name in names]
        cells += [*values[:gated], *lesions[at : at + gated], *values[gated:]]
        cells.append(str(max((one.n for name in names if (one := table.get(name, {}).get(region))), default=0)))
        cells += [_text(row.signed_by or MISSING)] * signed
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def reference_table(row: Row, reference: str) -> Table:
    """The values of a row in one of the tables `REFERENCES`; empty where it has none."""
    return table_of(row.record, reference)


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
    """The board as CSV in long form: a line a submission, reference, metric and region; failed ones take one line.

    For lesions the region is a condition, the metric an observer's d'.
    """
    signed = any(row.signed_by is not None for _, rows in boards for row in rows)
    lesions = any(row.lesions for _, rows in boards for row in rows)
    trusted = any(not row.record.observed.isolated for _, rows in boards for row in rows)
    shown = [True] * len(CSV_COLUMNS) + [signed, lesions, trusted]
    lines = (line for protocol, rows in boards for row in rows for line in _csv_lines(protocol, row))
    text = io.StringIO()
    writer = csv_module.writer(text, lineterminator="\n")
    head: list[object] = [*CSV_COLUMNS, "signed_by", "lesions", "isolated"]
    writer.writerows(compress(line, shown) for line in chain([head], lines))
    return text.getvalue()


def _csv_lines(protocol: Protocol, row: Row) -> Iterator[list[object]]:
    """A row's lines, with one cell for each of `CSV_COLUMNS` and, last, who signed it, its lesions, and whether it
    was isolated."""
    submission = row.record.result.submission
    before = [
        protocol.name,
        protocol.version,
        submission.slug,
        _csv_text(submission.name),
        _csv_text(submission.version),
        row.standing,
        row.rank,
        row.tier,
        _csv_text(row.reason),
    ]
    signed_by = _csv_text(row.signed_by) if row.signed_by else ""
    behind = [row.record.id, signed_by, row.lesions, row.record.observed.isolated]
    tables = [
        (reference, metric, regions)
        for reference in REFERENCES
        for metric, regions in sorted(reference_table(row, reference).items())
    ]
    for reference, metric, regions in tables:
        for region, one in sorted(regions.items()):
            values = [one.value, one.low, one.high, one.n, one.unit, one.higher_is_better]
            yield [*before, reference, metric, region, *values, *behind]
    if not tables:
        yield [*before, *[""] * 9, *behind]


def _csv_text(text: str) -> str:
    """A stranger's text for a spreadsheet: what would be read as a formula is quoted."""
    line = re.sub(r"[\x00-\x1f\x7f\s]+", " ", visible(text)).strip()  # what hides in front of a formula is not written
    return f"'{line}" if line[:1] in "=+-@" else line
