"""Encoding: a record as the bytes of `record.json` and back, with its digest.

The first format is the record as it is, indented. The second says each name once: a value is a list whose fields the
file's `columns` name, its last one the values without each of the file's `patients` (null for a patient who is not
there, `[]` where the value has none). Both hold the same result, which has the same digest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.base.digests import digest_bytes, digest_json
from harness.base.errors import SubmissionError, UsageError, kinds_of
from harness.base.structs import canonical_json
from harness.base.text import shortened
from harness.records.schema import ID_DIGITS, Failure, Observed, Record, Result, identity_of
from harness.records.upgrades import UPGRADES, upgraded

FORMAT = 2

NAME = r"[a-z0-9][a-z0-9-]{0,99}"

SLUG = r"[a-z0-9][a-z0-9_-]{0,99}"

FILE = r"[a-z0-9][a-z0-9-]{0,63}(\.[a-z0-9]{1,8}){1,2}"

DIGEST = r"[0-9a-f]{64}"

COMMIT = r"[0-9a-f]{1,64}"

DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"

ALIEN = "no harness wrote this record: remove its folder"

FAILURES = frozenset((one.stage, one.code, one.exit_code, one.party) for one in kinds_of(SubmissionError))

FURTHER = ("lesions", "scans", "coupled")
"""The tables that a record may hold beside those against label and truth."""

TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
"""A text in JSON."""

SMALL_NUMBER = re.compile(rb"0\.0000|e-\d|\\u00")
"""In a text: what looks like a small number, or may once the text's escapes are undone."""

COLUMNS = ("value", "low", "high", "n", "higher_is_better", "unit", "extrapolated", "without")


def encode(record: Record) -> bytes:
    """The bytes of `record.json`. ValueError for NaN, and for a record of an older schema, which stays as written."""
    if record.content is None:
        raise ValueError(f"record {record.id} is of an older schema: its id is that of other bytes")
    raw = msgspec.to_builtins(record)
    tables = _tables(raw["result"])
    patients = sorted({patient for table in tables for value in _values(table) for patient in value["without"]})

    def packed(value: dict[str, Any]) -> list[Any]:
        without = [value["without"].get(patient) for patient in patients] if value["without"] else []
        return [*(value[name] for name in COLUMNS[:-1]), without]

    for table in tables:
        _replace(table, packed)
    return canonical_json(raw | {"format": FORMAT, "columns": COLUMNS, "patients": patients}) + b"\n"


def decode(data: bytes, path: Path) -> Record:
    """The record in the bytes of `path`, its id and content verified; an older schema is brought up to date in memory.

    The digest is of the result as it was written: the record's `content`, or the id of an older schema. UsageError
    names what is wrong.
    """
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
        if "format" in raw:
            _unpack(raw)
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{path}: damaged: {error}", fix="restore it from version control, or remove the folder"
        ) from error
    result, said, content = raw.get("result"), raw.get("id"), raw.get("content")
    schema = result.get("schema") if isinstance(result, dict) else None
    if type(schema) is not int:  # 3.0 and true equal numbers of schemas, but no harness wrote them
        raise UsageError(
            f"{path}: schema of its result: expected a whole number, found {str(schema)[:80]!a}", fix=ALIEN
        )
    older = schema in UPGRADES
    name, expected, digits = ("id", said, ID_DIGITS) if older else ("content", content, 64)
    if (older and content is not None) or len(str(expected)) != digits or not _digests_to(result, str(expected), data):
        raise _altered(path, f"its result digests to {digest_json(result)[:digits]}, its {name} says {expected}")
    try:
        record = msgspec.convert(upgraded(raw), Record)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}", fix="it was written by a newer harness, or not by the harness") from error
    except (LookupError, TypeError, AttributeError) as error:  # digests as its id says, but is no result
        raise UsageError(f"{path}: no result of schema {schema}: {error!r}", fix=ALIEN) from error
    identity = said if older else identity_of(record.result)
    if said != identity or path.parent.name != identity:
        what = f"what went in and what came out digest to {identity}"
        raise _altered(path, f"{what}, its id says {said}, its folder {path.parent.name}")
    check_names(record, path)
    _check_status(record.result, path)
    return record


def _altered(path: Path, how: str) -> UsageError:
    fix = "restore it from version control, or remove the folder"
    return UsageError(f"{path}: damaged or altered: {how}", fix=fix)


def check_names(record: Record, path: Path) -> None:
    """Refuse what is part of a path and would lead out of its folder: a record may be a stranger's. `path` is its
    file."""
    names = {"protocol": (record.result.protocol.name, NAME), "slug": (record.result.submission.slug, SLUG)}
    _expect_names(names, path)
    check_observed(record.observed, path)


def check_observed(observed: Observed, path: Path) -> None:
    """Refuse circumstances of which a part of a path, of a command or of an order is none."""
    names = {
        "date": (observed.date, DATE),
        "commit": (observed.commit or "0" * 40, COMMIT),
        **{f"file {number}": (name, FILE) for number, name in enumerate(observed.files)},
        **{f"digest of file {number}": (one, DIGEST) for number, one in enumerate(observed.files.values())},
    }
    _expect_names(names, path)
    if any(abs(number) >= 2**63 for number in _numbers(msgspec.to_builtins(observed))):
        raise UsageError(f"{path}: circumstances: expected numbers below 2^63, found a larger one", fix=ALIEN)


def check_failure(failure: Failure, path: Path) -> None:
    """Refuse a failure that no submission can have: its exit status becomes that of a command."""
    found = (failure.stage, failure.code, failure.exit_status, failure.party)
    if found not in FAILURES:
        raise UsageError(
            f"{path}: failure: expected stage, code, exit status and party of a submission's error, found "
            f"{shortened(ascii(found), 200)}",
            fix=ALIEN,
        )


def _numbers(value: Any) -> Iterator[float]:
    """Every number in plain data."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)


def _expect_names(names: Mapping[str, tuple[str, str]], path: Path) -> None:
    for what, (name, pattern) in names.items():
        if not re.fullmatch(pattern, name):
            raise UsageError(
                f"{path}: {what}: expected {pattern}, found {name[:80]!a}",
                fix=ALIEN,
            )


def _check_status(result: Result, path: Path) -> None:
    """Refuse a result whose parts contradict each other: it would rank as what it is not."""
    if (result.status == "scored") != (result.failure is None):
        found = "none" if result.failure is None else f"one at stage {result.failure.stage[:80]!a}"
        expected = "no failure" if result.status == "scored" else "a failure"
        raise UsageError(f"{path}: its status is {result.status}: expected {expected}, found {found}", fix=ALIEN)
    if result.failure is not None:
        check_failure(result.failure, path)
    if not all(regions for table in result.tables.values() for regions in table.values()):
        raise UsageError(f"{path}: a metric has no value of any region", fix=ALIEN)
    alien = sorted((result.further or {}).keys() - FURTHER)
    if alien:  # tables of another name would stand for those against label or truth
        raise UsageError(f"{path}: further tables: expected {', '.join(FURTHER)}, found {alien[0][:80]!a}", fix=ALIEN)
    if result.status == "scored" and result.outputs is None:
        raise UsageError(f"{path}: its status is scored: expected a digest of outputs, found none", fix=ALIEN)


def _unpack(raw: dict[str, Any]) -> None:
    """Bring the second format into the first, in place."""
    if raw.pop("format") != FORMAT:
        raise ValueError(f"its format is none of 1 to {FORMAT}; a newer harness reads it")
    columns, patients = raw.pop("columns"), raw.pop("patients")

    def unpacked(row: list[Any]) -> dict[str, Any]:
        value = dict(zip(columns, row, strict=True))
        without = value["without"]
        found = dict(zip(patients, without, strict=True)) if without else {}
        value["without"] = {name: one for name, one in found.items() if one is not None} if None in without else found
        return value

    for table in _tables(raw["result"]):
        _replace(table, unpacked)


def _digests_to(result: Any, expected: str, data: bytes) -> bool:
    """Whether the digest of a result's canonical JSON begins as expected, by the fast encoder where that can write the
    same bytes.

    It differs in small numbers alone: 0.00001 for 1e-05, and 1e-6 for 1e-06. These are put right where no text of
    its file, `data`, looks like one; else the slow encoder decides.
    """
    if not _has_such_text(data):
        fast = msgspec.json.encode(result, order="sorted")
        if b"0.0000" in fast:
            fast = re.sub(rb"(?<!\d)0\.0000([1-9])(\d*)", _exponent, fast)
        if b"e-" in fast:
            fast = re.sub(rb"e-(\d)(?=[,\]}])", rb"e-0\1", fast)
        if digest_bytes(fast).startswith(expected):
            return True
    return digest_json(result).startswith(expected)


def _exponent(found: re.Match[bytes]) -> bytes:
    first, others = found.groups()
    return first + (b"." + others if others else b"") + b"e-05"


def _has_such_text(data: bytes) -> bool:
    """Whether a name, unit or other text in a file holds what is a small number elsewhere, or may hold it."""
    return any(SMALL_NUMBER.search(text) for text in TEXT.findall(data))


def _tables(result: dict[str, Any]) -> list[dict[str, dict[str, Any]]]:
    return [table for table in (result["metrics"], result["truth"], *result.get("further", {}).values()) if table]


def _values(table: dict[str, dict[str, Any]]) -> list[Any]:
    return [value for regions in table.values() for value in regions.values()]


def _replace(table: dict[str, dict[str, Any]], change: Callable[[Any], Any]) -> None:
    for regions in table.values():
        for region, value in regions.items():
            regions[region] = change(value)
