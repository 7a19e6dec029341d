"""What a page says beside the values: slices, spectra, costs, commands, how far a metric can be trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.base.structs import Strict, read_json
from harness.board.ranking import Row, comparable
from harness.board.tables import reference_table
from harness.dataset.secret import DISCLOSED
from harness.protocol import PhantomData, Protocol
from harness.records.schema import Record
from harness.records.slice_table import read_slices
from harness.records.store import record_folder
from harness.scoring.attachment_names import PICTURES, SPECTRA
from harness.scoring.per_slice import SliceValue, Spectra
from harness.scoring.pictures import Pictures, Role, choose

FEWEST_ROWS = 5  # below, a rank correlation says nothing
TRUTH = "anchor-truth"
NAMED = {
    "date",
    "harness",
    "commit",
    "dirty",
    "machine",
    "engine",
    "image",
    "limits",
    "lowered",
    "log",
    "files",
    "about",
    "scored_on",
    "build",
    "repeat",
}
"""Fields of `Observed` that a page shows in a place of their own; every other one is a cost."""
UNITS = {"_s": ("s", 1.0), "_bytes": ("MB", 1e-6), "_gb": ("GB", 1.0)}
WORDS = {
    "build": "building the image",
    "run": "running it",
    "seconds per slice": "per slice",
    "first output": "first output after",
}

Curves = Spectra


class Cost(Strict, frozen=True, kw_only=True):
    """Time, memory or whatever else a run was observed to take."""

    name: str
    text: str


# ------------------------------------------------------------------------------------------------ of a record
def record_url(record: Record) -> str:
    """A record's page below the site's folder."""
    facts = record.result.protocol
    return f"{facts.name}-{facts.version}/{record.result.submission.slug}/{record.id}.html"


def pictures(leaderboard: Path, protocol: Protocol, record: Record) -> Pictures | None:
    """A record's pictures; None where it has none or the protocol, as it stands now, publishes none."""
    if not protocol.publish.images or PICTURES not in record.observed.files:
        return None
    return read_json(record_folder(leaderboard, record) / PICTURES, Pictures)


def gate_slices(leaderboard: Path, record: Record) -> list[SliceValue]:
    """The gate's error of every slice; none where the record has no gate or keeps no slices."""
    gate = record.result.gate
    if gate is None:
        return []
    return read_slices(record, record_folder(leaderboard, record), (gate.reference, gate.metric, gate.region))


def extremes(leaderboard: Path, record: Record) -> list[tuple[Role, SliceValue]]:
    """The slices that pictures are made of (`harness.scoring.pictures.choose`), for records that have no pictures."""
    gate = record.result.gate
    if gate is None:
        return []
    return choose(gate_slices(leaderboard, record), (gate.reference, gate.metric, gate.region))


def gate_unit(record: Record) -> str:
    """The unit of the error that slices are chosen by."""
    gate, result = record.result.gate, record.result
    if gate is None:
        return ""
    table = (result.truth or {}) if gate.reference == "truth" else result.metrics
    value = table.get(gate.metric, {}).get(gate.region)
    return "" if value is None else value.unit


def spectra(leaderboard: Path, record: Record | None) -> Curves:
    """A record's noise power spectra, empty where it keeps none."""
    if record is None or SPECTRA not in record.observed.files:
        return {}
    return read_json(record_folder(leaderboard, record) / SPECTRA, Spectra)


def costs(record: Record) -> list[Cost]:
    """Every number that was observed of a run, by its name: fields that newer harnesses add are shown as they are."""
    observed: dict[str, Any] = msgspec.to_builtins(record.observed)
    flat = {name: value for name, value in observed.items() if name not in NAMED}
    found = []
    for name, value in _flattened(flat):
        suffix = next((one for one in UNITS if name.endswith(one)), "")
        unit, factor = UNITS.get(suffix, ("s" if name.startswith("seconds") else "", 1.0))
        words = name.removesuffix(suffix).replace("_", " ").strip()
        words = WORDS.get(words, words)
        text = f"{value * factor:.3g} {unit}".strip() if isinstance(value, int | float) else str(value)
        found.append(Cost(name=words, text=text))
    return found


def _flattened(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flattened(value)
        elif value is not None and value != "" and value != []:
            found.append((name, value))
    return found


def commands(protocol: Protocol, record: Record) -> list[str]:
    """What repeats a record, in the repository that it was made in; nothing where `unrepeatable` says why."""
    observed, submission = record.observed, record.result.submission
    lines = [f"git checkout {observed.commit}"] if observed.commit and not observed.dirty else []
    if submission.anchor and observed.image is None:
        return [*lines, f"harness anchors -p {protocol.name} --leaderboard again"]
    return [*lines, f"harness run submissions/{submission.slug} -p {protocol.name} --leaderboard again"]


def unrepeatable(leaderboard: Path, protocol: Protocol, record: Record) -> str:
    """Why no command repeats a record for whoever reads its page; "" where one does."""
    if record.result.self_reported:
        return "The outputs were handed in: nobody but their author can make them again."
    if not isinstance(protocol.data, PhantomData):
        return f"The slices are not public: only who has them ({protocol.data.path}) can run it again."
    secret = isinstance(protocol.data.seed, str)
    if secret and not (leaderboard / "records" / protocol.identity / DISCLOSED).is_file():
        return "The test set's seed is secret: it can be run again once the organiser has disclosed it."
    return ""


def plain(value: Any) -> list[tuple[str, str]]:
    """A protocol's section as names and texts, nested ones with dots."""
    return [(name, _plain_text(one)) for name, one in _dotted(msgspec.to_builtins(value))]


def _dotted(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _dotted(value, f"{before}{name}.")
        elif value is not None:
            found.append((f"{before}{name}", value))
    return found


def _plain_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        mappings = any(isinstance(one, Mapping) for one in value)
        return ("; " if mappings else ", ").join(map(_plain_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain_text(one)}" for name, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def web_address(text: str) -> str:
    """A stranger's text where it is the address of a page, which may be linked; else empty."""
    return text if re.fullmatch(r"https?://[^\s<>\"']{1,500}", text) else ""


# ------------------------------------------------------------------------------------------------ of a protocol
def validity(protocol: Protocol, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Kendall's tau-b, metric -> region: how a metric against the label, or the error without truth, orders a board's
    rows, and how the gate's error against the truth orders them in the same region.

    Over all rows that can be compared but the truth itself; empty where no truth is known. Descriptive metrics are
    left out.
    """
    from scipy.stats import kendalltau  # takes half a second to load, and most of the time no page needs it

    known = [row for row in comparable(rows, protocol) if row.record.result.truth]
    scored = [row for row in known if row.record.result.submission.slug != TRUTH]
    found: dict[str, dict[str, float]] = {}
    asked = [(metric.name, "label", metric.name) for metric in protocol.metrics]
    asked += [(f"{metric.name} without truth", "coupled", metric.name) for metric in protocol.metrics]
    for title, reference, name in asked:
        for region in protocol.regions:
            pairs = []
            for row in scored:
                own = reference_table(row, reference).get(name, {}).get(region)
                true = reference_table(row, "truth").get(protocol.gate.metric, {}).get(region)
                if own is not None and true is not None and own.higher_is_better is not None:
                    pairs.append((-own.value if own.higher_is_better else own.value, true.value))
            if len(pairs) >= FEWEST_ROWS:
                tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
                if tau == tau:  # not a number where all rows are equal
                    found.setdefault(title, {})[region] = tau
    return found
