"""The two formats of `record.json` hold the same record."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from harness.base.digests import digest_json
from harness.base.errors import UsageError
from harness.base.structs import write_json
from harness.records import encoding
from harness.records.encoding import decode, encode
from harness.records.schema import Record, Result, identity_of, make_record
from harness.records.store import read_record, record_folder
from tests.board_records import FAILURE, failed, observed, scored, value

LEADERBOARD = Path(__file__).resolve().parents[2] / "leaderboard"


def again(record: Record) -> Record:
    return decode(encode(record), Path(record.id) / "record.json")


def uneven() -> Record:
    """Values without replicates, with those of some patients, with tiny and huge numbers."""
    result = scored("tv", 1.0).result
    some = msgspec.structs.replace(value(1.5e-5), without={"p1": 1e-07, "p9": 3e22}, extrapolated=2.5e-300)
    none = msgspec.structs.replace(value(-0.0), low=None, high=None, without={}, higher_is_better=None)
    return make_record(msgspec.structs.replace(result, metrics={"KID": {"whole": some, "lung": none}}), observed())


def with_further() -> Record:
    """Tables of further slices: values with replicates, small ones, and a table of a name that looks like a number."""
    small = msgspec.structs.replace(value(2.5e-5), without={"p1": 1e-06, "p9": 0.0})
    exact = msgspec.structs.replace(value(1.5), higher_is_better=None, without={})
    further = {
        "lesions": {"d' (Hotelling)": {"2 mm, +140 HU": value(1.5), "all": small}, "exact": {"2 mm, +140 HU": exact}},
        "scans": {"random error": {"lung": value(40.0)}},
    }
    return make_record(msgspec.structs.replace(scored("tv", 1.0).result, further=further), observed())


@pytest.mark.parametrize(
    "record",
    [scored("tv", 1.0), failed("broken"), uneven(), with_further()],
    ids=["scored", "failed", "uneven", "further"],
)
def test_a_record_survives_its_encoding(record: Record) -> None:
    assert again(record) == record


def test_further_tables_are_packed_rounded_and_part_of_the_content() -> None:
    record = with_further()
    raw = json.loads(encode(record))
    assert raw["patients"] == ["p1", "p2", "p3", "p9"]
    row = raw["result"]["further"]["lesions"]["d' (Hotelling)"]["all"]
    assert row[0] == 2.5e-05
    assert row[-1] == [1e-06, None, None, 0.0]
    assert record.content != scored("tv", 1.0).content
    assert record.id == scored("tv", 1.0).id
    assert "further" not in json.loads(encode(scored("tv", 1.0)))["result"]
    raw["result"]["further"]["scans"]["random error"]["lung"][0] = 39.0
    with pytest.raises(UsageError, match="damaged or altered"):
        decode(json.dumps(raw).encode(), Path(record.id) / "record.json")
    finer = {"scans": {"random error": {"lung": value(1 / 3)}}}
    rounded = make_record(msgspec.structs.replace(record.result, further=finer), observed())
    assert rounded.result.tables["scans"]["random error"]["lung"].value == 0.3333333


def test_further_tables_take_the_fast_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their small numbers are numbers, not text, which would cost the slow digest; a name of theirs is text."""
    record = with_further()
    monkeypatch.setattr(encoding, "digest_json", _refuse)
    assert encoding._digests_to(msgspec.to_builtins(record.result), str(record.content), encode(record))
    named = {"1e-6": (record.result.further or {})["scans"]}
    other = make_record(msgspec.structs.replace(record.result, further=named), observed())
    escaped = encode(other).replace(b'"1e-6"', b'"1e\\u002d6"')
    for data in (encode(other), escaped):
        with pytest.raises(AssertionError, match="slow"):
            encoding._digests_to(msgspec.to_builtins(other.result), "0" * 64, data)


def _refuse(_: object) -> str:
    raise AssertionError("the slow digest")


def test_committed_records_survive_the_newer_format_and_take_half_the_room() -> None:
    for path in sorted(LEADERBOARD.glob("records/phantom-3/*/*/record.json"))[:4]:
        record = make_record(read_record(path.parent).result, observed())
        data = encode(record)
        assert decode(data, Path(record.id) / "record.json") == record
        assert len(data) < 28_000 < path.stat().st_size


def test_the_older_format_is_read(tmp_path: Path) -> None:
    record = uneven()
    folder = record_folder(tmp_path, record)
    write_json(folder / "record.json", record)
    assert read_record(folder) == record


@pytest.mark.parametrize("name", ["format", "columns", "patients"])
def test_a_file_of_a_newer_or_broken_format_is_refused_by_name(name: str) -> None:
    raw = json.loads(encode(scored("tv", 1.0)))
    raw[name] = 3 if name == "format" else raw[name][:1]
    with pytest.raises(UsageError, match=r"record\.json: damaged"):
        decode(json.dumps(raw).encode(), Path(raw["id"]) / "record.json")


def test_the_fast_digest_is_a_guess_that_the_slow_one_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fast encoder writes differently costs time, and neither refuses nor accepts another result."""
    record = uneven()
    raw = msgspec.to_builtins(record.result)
    assert digest_json(raw) == record.content
    monkeypatch.setattr(encoding, "digest_bytes", lambda *_: "0" * 64)
    assert again(record) == record
    altered = json.loads(encode(record))
    altered["result"]["seed"] += 1
    with pytest.raises(UsageError, match="damaged or altered"):
        decode(json.dumps(altered).encode(), Path(record.id) / "record.json")


def test_the_fast_digest_reads_numbers_alone(tmp_path: Path) -> None:
    """A text that looks like a small number is no number: altered, it is found out."""
    result = scored("tv", 1.0).result
    true, forged = (
        make_record(
            msgspec.structs.replace(result, submission=msgspec.structs.replace(result.submission, name=name)),
            observed(),
        )
        for name in ("scale 1e-05, v e-5]", "scale 0.00001, v e-05]")
    )
    assert true.content != forged.content
    path = tmp_path / true.id / "record.json"
    with pytest.raises(UsageError, match="damaged or altered"):
        decode(encode(msgspec.structs.replace(true, result=forged.result)), path)
    assert decode(encode(true), path) == true


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "x",
        {"schema": 1},
        {"schema": []},
        {"schema": 4},
        {"metrics": [], "truth": 3},
        {"metrics": {"a": {"b": 1}}},
        {"metrics": {}, "truth": None, "further": []},
        {"metrics": {}, "truth": None, "further": {"lesions": [1]}},
    ],
)
def test_what_is_no_result_is_refused_by_name(tmp_path: Path, result: object) -> None:
    with pytest.raises(UsageError, match=r"record\.json"):
        decode(json.dumps({"id": tmp_path.name, "result": result, "observed": {}}).encode(), tmp_path / "record.json")


def test_no_depth_of_nesting_ends_in_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"record\.json: damaged"):
        decode(b'{"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}", tmp_path / "record.json")


@pytest.mark.parametrize("result", [{"schema": 1}, {"schema": 1, "metrics": {"a": {"b": 1}}, "truth": None}])
def test_an_older_result_that_digests_as_its_id_says_and_is_none_is_refused_by_name(result: dict[str, object]) -> None:
    said = digest_json(result)[:16]
    raw = {"id": said, "result": result, "observed": {}}
    with pytest.raises(UsageError, match=r"record\.json: no result of schema 1"):
        decode(json.dumps(raw).encode(), Path(said) / "record.json")


def forged(**parts: object) -> tuple[bytes, Path]:
    """A record with other parts of its result, whose id and content were computed anew."""
    record = scored("tv", 1.0)
    raw = msgspec.to_builtins(record)
    raw["result"] |= parts
    raw["content"] = digest_json(raw["result"])
    said = identity_of(msgspec.convert(raw["result"] | {"schema": 4}, Result))
    return json.dumps(raw | {"id": said}).encode(), Path(said) / "record.json"


@pytest.mark.parametrize("schema", [1.0, 3.0, True, None, "4", 3, 5], ids=str)
def test_no_record_passes_for_one_of_another_schema(schema: object) -> None:
    """3.0 and true equal numbers of older schemas, whose records have no content."""
    with pytest.raises(UsageError, match=r"record\.json: "):
        decode(*forged(schema=schema))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"status": "failed"}, "its status is failed: expected a failure, found none"),
        ({"status": "invalid"}, "its status is invalid: expected a failure, found none"),
        (
            {"failure": msgspec.to_builtins(FAILURE)},
            "its status is scored: expected no failure, found one at stage 'run'",
        ),
        ({"metrics": {"KID": {}}}, "a metric has no value of any region"),
        (
            {"status": "failed", "outputs": None, "failure": msgspec.to_builtins(FAILURE) | {"exit_status": 0}},
            r"failure: expected .*, found \('run', 'container', 0, 'submission'\)",
        ),
        (
            {"status": "failed", "outputs": None, "failure": msgspec.to_builtins(FAILURE) | {"party": "usage"}},
            "failure: expected",
        ),
        ({"outputs": None}, "its status is scored: expected a digest of outputs, found none"),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(parts: dict[str, object], said: str) -> None:
    """A failed record with values and no failure would be a second row of its submission."""
    with pytest.raises(UsageError, match=said) as caught:
        decode(*forged(**parts))
    assert caught.value.fix == "no harness wrote this record: remove its folder"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peak_memory_bytes": 10**400}, "numbers below 2\\^63"),
        ({"repeat": {"runs": 10**400, "differing_slices": 0, "largest_difference": 0}}, "numbers below 2\\^63"),
        ({"date": "\u0662\u0660\u0662\u0664-01-01T00:00:00Z"}, "date: expected"),
    ],
    ids=["memory", "repeat", "date"],
)
def test_circumstances_that_no_board_can_show_are_refused(changes: dict[str, object], said: str) -> None:
    record = scored("tv", 1.0)
    raw = json.loads(encode(record))
    raw["observed"] |= changes
    with pytest.raises(UsageError, match=said):
        decode(json.dumps(raw).encode(), Path(record.id) / "record.json")


def test_a_further_table_never_stands_for_another(tmp_path: Path) -> None:
    record = scored("a", 1.0)
    table = record.result.metrics
    forged = make_record(msgspec.structs.replace(record.result, further={"truth": table}), record.observed)
    path = tmp_path / forged.id / "record.json"
    with pytest.raises(UsageError, match=r"further tables: expected lesions, scans, coupled, found 'truth'"):
        decode(encode(forged), path)
