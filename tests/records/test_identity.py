"""A record's id is what went in and what came out, on any machine; its content is everything that was measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.base.digests import digest_json
from harness.base.errors import UsageError
from harness.records.encoding import encode
from harness.records.schema import Record, Result, identity_of, make_record
from harness.records.store import read_record, record_folder, write_record
from harness.records.upgrades import upgraded
from harness.scoring.score import ExtractorFacts
from harness.scoring.values import Value
from tests.board_records import FAILURE, failed, observed, scored, table

LEADERBOARD = Path(__file__).resolve().parents[2] / "leaderboard"

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


def changed(record: Record, **parts: Any) -> Result:
    return msgspec.structs.replace(record.result, **parts)


@given(st.lists(numbers, min_size=4, max_size=4), st.dictionaries(st.sampled_from("abc"), numbers))
def test_values_are_no_part_of_an_id_and_every_part_of_the_content(
    four: list[float], without: dict[str, float]
) -> None:
    record = scored("tv", 1.0)
    value = Value(
        value=four[0],
        low=four[1],
        high=four[2],
        extrapolated=four[3],
        n=12,
        higher_is_better=False,
        unit="",
        without=without,
    )
    other = make_record(changed(record, metrics={"KID": {"whole": value}}), observed())
    assert other.id == record.id
    assert other.content != record.content


SUBMISSION, PROTOCOL = scored("tv", 1.0).result.submission, scored("tv", 1.0).result.protocol


@pytest.mark.parametrize(
    "part",
    [
        {"protocol": msgspec.structs.replace(PROTOCOL, name="other")},
        {"protocol": msgspec.structs.replace(PROTOCOL, version=99)},
        {"protocol": msgspec.structs.replace(PROTOCOL, digest="other")},
        {"data": "other"},
        {"labels": "other"},
        {"submission": msgspec.structs.replace(SUBMISSION, slug="other")},
        {"submission": msgspec.structs.replace(SUBMISSION, digest="other")},
        {"outputs": "other"},
        {"self_reported": True},
        {"status": "invalid"},
        {"extractors": {"inception-random": ExtractorFacts(weights="other", note="random weights")}},
        {"extractors": {"clip": ExtractorFacts(weights="w", note="random weights")}},
    ],
    ids=lambda part: "-".join(part),
)
def test_whatever_went_in_or_came_out_is_part_of_an_id(part: dict[str, Any]) -> None:
    record = scored("tv", 1.0)
    assert identity_of(changed(record, **part)) != record.id


@pytest.mark.parametrize(
    "part",
    [
        {"device": "cuda"},
        {"implementations": {"KID": "in other words"}},
        {"extractors": {"inception-random": ExtractorFacts(weights="w", note="in other words")}},
        {"notes": ("in other words",)},
        {"submission": msgspec.structs.replace(SUBMISSION, name="In other words")},
    ],
    ids=lambda part: "-".join(part),
)
def test_words_and_circumstances_are_no_part_of_an_id(part: dict[str, Any]) -> None:
    record = scored("tv", 1.0)
    assert identity_of(changed(record, **part)) == record.id
    assert make_record(changed(record, **part), observed()).content != record.content


def test_a_failure_is_where_it_was_and_of_what_kind_whatever_it_says() -> None:
    record = failed("broken")

    def with_failure(**parts: Any) -> str:
        return identity_of(changed(record, failure=msgspec.structs.replace(FAILURE, **parts)))

    assert with_failure(message="in other words", fix="and so on") == record.id
    assert with_failure(stage="build") != record.id
    assert with_failure(code="timeout") != record.id


def test_what_is_altered_in_a_file_is_refused_whichever_digest_was_made_anew(tmp_path: Path) -> None:
    """The content gives away values, the id what they are of."""
    record = scored("tv", 1.0)
    folder, _ = write_record(tmp_path, record, {})
    path = folder / "record.json"
    better = changed(record, metrics=table(0.5))
    others = changed(record, outputs="those of somebody else")
    cases = {
        "its content says": msgspec.structs.replace(record, result=better),
        "went in and what came out": msgspec.structs.replace(record, result=others, content=digest_json(others)),
        "its id says": msgspec.structs.replace(make_record(others, observed())),
    }
    for said, forged in cases.items():
        path.write_bytes(encode(forged))
        with pytest.raises(UsageError, match=f"damaged or altered.*{said}"):
            read_record(folder)
    raw = json.loads(encode(record))
    for altered in ({"content": None}, {"content": record.content and record.content[:16]}, {"content": ""}):
        path.write_text(json.dumps(raw | altered))
        with pytest.raises(UsageError, match="damaged or altered"):
            read_record(folder)


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_an_older_record_keeps_its_id_its_folder_and_its_values(schema: int, tmp_path: Path) -> None:
    """Its id is the digest of its result as it was written, and no digest of ours takes its place."""
    version = {1: "phantom-1", 2: "phantom-2", 3: "phantom-3"}[schema]
    source = next(path.parent for path in sorted(LEADERBOARD.glob(f"records/{version}/tv/*/record.json")))
    folder = tmp_path / "records" / version / "tv" / source.name
    shutil.copytree(source, folder)
    raw = json.loads((folder / "record.json").read_text())
    assert (raw["result"]["schema"], "content" in raw) == (schema, False)
    record = read_record(folder)
    assert (record.id, record.content, record.result.schema) == (source.name, None, 4)
    assert record_folder(tmp_path, record) == folder
    with pytest.raises(ValueError, match="older schema"):
        encode(record)

    raw["content"] = digest_json(raw["result"])
    (folder / "record.json").write_text(json.dumps(raw))
    with pytest.raises(UsageError, match="damaged or altered"):
        read_record(folder)
    del raw["content"]
    raw["result"]["seed"] += 1
    (folder / "record.json").write_text(json.dumps(raw))
    with pytest.raises(UsageError, match=rf"damaged or altered.*its id says {source.name}"):
        read_record(folder)


def test_each_step_of_an_upgrade_leads_to_the_next_schema() -> None:
    value = {"value": 1.0, "low": None, "high": None, "n": 3, "higher_is_better": None}
    raw = {"result": {"schema": 1, "metrics": {"KID": {"whole": value}}, "truth": None}}
    found = upgraded(raw)["result"]
    assert found["schema"] == 4
    assert found["metrics"]["KID"]["whole"] == value | {"unit": "", "without": {}}


def test_the_same_outputs_find_the_record_of_an_older_schema(tmp_path: Path) -> None:
    """Run again, a row of schema 3 is the same result, and not a second row."""
    source = next(path.parent for path in sorted(LEADERBOARD.glob("records/phantom-3/tv/*/record.json")))
    folder = tmp_path / "records" / "phantom-3" / "tv" / source.name
    shutil.copytree(source, folder)
    record = make_record(read_record(folder).result, observed())
    assert record.id != source.name
    assert write_record(tmp_path, record, {}) == (folder, False)
    other = make_record(changed(record, outputs="others"), observed())
    found, new = write_record(tmp_path, other, {})
    assert (found.name, new) == (other.id, True)
