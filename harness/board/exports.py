"""Rows for other places: JSON, LaTeX, a badge, and the results of a model card."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from harness.board.lesion_gate import METRICS
from harness.board.ranking import AGAINST, Row, ranking_value, replicates_of
from harness.board.tables import ARROWS, Boards, reference_table
from harness.board.words import (
    AT_LENGTH,
    REFERENCES,
    Place,
    lesion_gate,
    ranking_places,
    ranks_as_first,
    reference_of,
)
from harness.protocol import Protocol
from harness.scoring.lesions import ALL, less_input
from harness.scoring.values import Value
from harness.statistics import distinguishable


# ------------------------------------------------------------------------------------------------ JSON
def as_json(boards: Boards) -> str:
    """Every protocol version with its rows and all their values, as one JSON object of schema 1."""
    found = {"schema": 1, "protocols": [_protocol_json(protocol, rows) for protocol, rows in boards]}
    return json.dumps(found, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _protocol_json(protocol: Protocol, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "name": protocol.name,
        "version": protocol.version,
        "title": protocol.title,
        "digest": protocol.digest,
        "rank_by": msgspec.to_builtins(protocol.rank_by),
        "rows": [_row_json(row) for row in rows],
    }


def _row_json(row: Row) -> dict[str, Any]:
    result = row.record.result
    return {
        "record": row.record.id,
        "content": row.record.content,
        "scored_on": row.record.observed.scorer,
        "isolated": row.record.observed.isolated,
        "slug": result.submission.slug,
        "name": result.submission.name,
        "submission_version": result.submission.version,
        "authors": list(result.submission.authors),
        "status": result.status,
        "standing": row.standing,
        "rank": row.rank,
        "tier": row.tier,
        "reason": row.reason,
        "lesions": row.lesions,
        "values": {
            reference: {
                metric: {region: _value_json(value) for region, value in regions.items()}
                for metric, regions in table.items()
            }
            for reference in REFERENCES
            if (table := reference_table(row, reference)) or reference in ("label", "truth")
        },
    }


def _value_json(value: Value) -> dict[str, Any]:
    fields = ("value", "low", "high", "n", "unit", "higher_is_better")
    return {name: getattr(value, name) for name in fields}


# ------------------------------------------------------------------------------------------------ LaTeX
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


LATEX_ROWS = 40  # ranked rows of a table at most: what a page holds


def latex(boards: Boards) -> str:
    """Booktabs tables of every protocol version that has ranked rows: of the ranking, where it is not by the label
    alone, and of the whole image, against label and truth.

    The best ranked value of a column is bold, and what its paired difference does not tell from the best (Holm over
    the column's pairs, as tiers) carries an equals sign. Descriptive metrics, which have no best, are left out, and so
    are ranked rows beyond the first LATEX_ROWS.
    """
    parts = [r"% Written by `harness board`; needs \usepackage{booktabs}. Edits by hand are lost."]
    for protocol, rows in boards:
        if any(row.standing == "ranked" for row in rows):
            if not ranks_as_first(protocol, rows):
                parts.append(_latex_table(protocol, rows, "ranking", ranking_places(protocol, rows), lesions=True))
            references = ["label", *(["truth"] if any(row.record.result.truth for row in rows) else [])]
            for reference in references:
                places = [Place(one.name, reference, one.name, "whole") for one in protocol.metrics]
                parts.append(_latex_table(protocol, rows, reference, places, lesions=False))
    return "\n\n".join(parts) + "\n"


def _latex_table(protocol: Protocol, rows: Sequence[Row], name: str, places: Sequence[Place], *, lesions: bool) -> str:
    shown = {
        standing: [row for row in rows if row.standing == standing and row.record.result.status == "scored"]
        for standing in ("ranked", "anchor")
    }
    count = len(shown["ranked"])
    shown["ranked"] = shown["ranked"][:LATEX_ROWS]
    cut = f" The first {LATEX_ROWS} of {count} ranked rows." if count > LATEX_ROWS else ""
    everyone = [*shown["ranked"], *shown["anchor"]]
    columns = {place.title: values for place in places if (values := _column(everyone, place))}
    marks = {title: _marks(values, shown["ranked"]) for title, values in columns.items()}
    heads = []
    for title, values in columns.items():
        one = next(iter(values.values()))
        arrow = {"↑": r" $\uparrow$", "↓": r" $\downarrow$", "": ""}[ARROWS[one.higher_is_better]]
        heads.append(_tex(f"{title} ({one.unit})" if one.unit else title) + arrow)
    lesions = lesions and any(row.lesions for row in everyone)
    lines = [
        r"\begin{table}",
        r"\centering\small\setlength{\tabcolsep}{3.5pt}",
        rf"\caption{{{_tex(protocol.title)} (\texttt{{{protocol.identity}}}), {_subject(protocol, name)} "
        r"Bold: best ranked "
        r"value; $^{=}$: not told from it by the paired difference over patients (jackknife, Holm, 5\,\%)."
        rf"{' ' * lesions}{_tex(lesion_gate(protocol)) if lesions else ''}{cut}}}",
        rf"\label{{tab:{protocol.identity}-{name}}}",
        rf"\begin{{tabular}}{{rl{'r' * len(columns)}{'l' * lesions}}}",
        r"\toprule",
        " & ".join(["", "Submission", *heads, *["Lesions"] * lesions]) + r" \\",
    ]
    for group in (shown["ranked"], shown["anchor"]):
        if group:
            lines.append(r"\midrule")
        for row in group:
            submission = row.record.result.submission
            cells = [_latex_cell(columns[one].get(row.record.id), marks[one].get(row.record.id)) for one in columns]
            cells += [_tex(row.lesions) or "--"] * lesions
            lines.append(" & ".join([str(row.rank or ""), _tex(submission.name), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _subject(protocol: Protocol, name: str) -> str:
    """What a table shows, and what ranks the rows."""
    by = protocol.rank_by
    if name == "ranking":
        return f"ranked by {_tex(by.metric)} ({by.region}) against {reference_of(protocol)}."
    return f"whole image against the {name}. Ranked by {_tex(by.metric)} ({by.region}) against {AGAINST[by.reference]}."


def _column(rows: Sequence[Row], place: Place) -> dict[str, Value]:
    """Values of a metric that has a better end, by record id; equal outputs have equal values."""
    found = {row.record.id: place.of(row.compared) for row in rows}
    return {id_: value for id_, value in found.items() if value is not None and value.higher_is_better is not None}


def _marks(values: dict[str, Value], ranked: Sequence[Row]) -> dict[str, str]:
    """`best` and `tied` among the ranked rows of a column, by record id."""
    own = {row.record.id: values[row.record.id] for row in ranked if row.record.id in values}
    if not own:
        return {}
    sign = -1 if next(iter(own.values())).higher_is_better else 1
    best_value = min(sign * value.value for value in own.values())
    best = [id_ for id_, value in own.items() if sign * value.value == best_value]
    marks = dict.fromkeys(best, "best")
    if all(value.without for value in own.values()):
        apart = distinguishable({id_: replicates_of(value) for id_, value in own.items()}, of=best)
        tied = [id_ for id_ in own if id_ not in marks and any(frozenset((id_, one)) not in apart for one in best)]
        marks |= dict.fromkeys(tied, "tied")
    return marks


def _latex_cell(value: Value | None, mark: str | None) -> str:
    if value is None:
        return "--"
    text = f"{value.value:.4g}"
    return {"best": rf"\textbf{{{text}}}", "tied": f"{text}$^{{=}}$"}.get(mark or "", text)


def _tex(text: str) -> str:
    """A stranger's text for LaTeX: one line, every character that means something escaped."""
    line = re.sub(r"[\x00-\x1f\x7f\s]+", " ", text).strip()
    return "".join(LATEX_ESCAPES.get(character, character) for character in line)


# ------------------------------------------------------------------------------------------------ badge
CHARACTER, PADDING, HEIGHT = 6.6, 10, 20  # pixels; a wide mean of Verdana at 11 pixels


def badge(protocol: Protocol, row: Row) -> str:
    """A badge in the style of shields: the protocol version, and the row's rank and value or why it has none.

    It says against what the value is, if not the label, and whether lesions are lost.
    """
    value = ranking_value(row.record, protocol)
    if row.rank is not None and value is not None:
        by = protocol.rank_by
        against = {"label": "", "truth": f" ({by.region}, truth)", "coupled": f" ({by.region}, without truth)"}
        lost = " · loses lesions" if row.loses_lesions else ""
        message = f"rank {row.rank} · {by.metric} {value.value:.4g}{against[by.reference]}{lost}"
        colour = "#2b6a4d"
    else:
        message, colour = ("reference" if row.standing == "anchor" else "not ranked"), "#5c6470"
    left, right = (round(len(text) * CHARACTER + 2 * PADDING) for text in (protocol.identity, message))
    name, message = html.escape(protocol.identity), html.escape(message)
    width = left + right
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" role="img" '
        f'aria-label="{name}: {message}"><title>{name}: {message}</title>'
        f'<clipPath id="r"><rect width="{width}" height="{HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="{HEIGHT}" fill="#40464f"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{colour}"/></g>'
        f'<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{left / 2:g}" y="14">{name}</text><text x="{left + right / 2:g}" y="14">{message}</text></g></svg>\n'
    )


# ------------------------------------------------------------------------------------------------ model card
def model_card(protocol: Protocol, row: Row) -> str:
    """The `model-index` of a Hugging Face model card: the values that rank a scored row, where not by the label alone,
    its d' less the noisy input's, and its whole image against label and truth."""
    result = row.record.result
    places = [
        *([] if ranks_as_first(protocol, [row]) else ranking_places(protocol, [row])),
        *(Place(less_input(one), "lesions", less_input(one), ALL) for one in METRICS.values()),
        *(
            Place(metric, reference, metric, "whole")
            for reference in ("label", "truth")
            for metric in sorted(reference_table(row, reference))
        ),
    ]
    metrics = [
        {
            "type": re.sub(r"[^a-z0-9]+", "-", place.metric.lower()).strip("-"),
            "name": f"{place.title} ({_where(place)})",
            "value": value.value,
            "args": {
                "reference": place.reference,
                "low": value.low,
                "high": value.high,
                "n": value.n,
                "unit": value.unit,
            },
        }
        for place in dict.fromkeys(places)
        if (value := place.of(row.record))
    ]
    entry = {
        "name": result.submission.name,
        "results": [
            {
                "task": {"type": "image-to-image", "name": "Ultra-low-dose lung CT denoising"},
                "dataset": {"type": protocol.identity, "name": protocol.title, "revision": result.data},
                "metrics": metrics,
            }
        ],
    }
    # thousands of lines: by PyYAML's safe dumper they take a hundred times as long
    return "model-index:\n" + "\n".join(_yaml_item(entry)) + "\n"


def _where(place: Place) -> str:
    """Where a value is taken, and against what, in brackets behind its name."""
    if place.reference == "lesions":
        return "mean over all lesions"
    region = "whole image" if place.region == "whole" else place.region
    if place.title != place.metric:
        return region  # the title says against what
    against = {"label": ", against the purified label", "truth": ", against the truth", "scans": ""}
    return region + against.get(place.reference, f", against {AT_LENGTH.get(place.reference, place.reference)}")


def _yaml_item(entry: Mapping[str, Any]) -> list[str]:
    """A mapping as an item of a list in YAML's block style; it holds mappings, lists of mappings, texts and numbers."""
    lines: list[str] = []
    for key, value in entry.items():
        if isinstance(value, list):
            lines += [f"{key}:", *(line for one in value for line in _yaml_item(one))]
        elif isinstance(value, Mapping):
            lines += [f"{key}:", *(f"  {line[2:]}" for line in _yaml_item(value))]
        else:
            lines.append(f"{key}: {_yaml_scalar(value)}")
    return [f"{'  ' if number else '- '}{line}" for number, line in enumerate(lines)]


def _yaml_scalar(value: str | float | None) -> str:
    """A text in double quotes, whose escapes are JSON's; a number as YAML 1.1 reads it: a point before an exponent."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", text)
    # what JSON takes as it is and YAML does not
    return re.sub(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)
