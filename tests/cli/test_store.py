"""`harness store` as a user types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.base.errors import UsageError
from harness.cli import cli
from harness.records.schema import Record
from harness.records.store import keep_protocol, write_record
from harness.scoring.attachment_names import FEATURES, SLICES
from tests.board_records import PROTOCOL, scored


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, Record]]:
    for name in ("HARNESS_STORE", "HARNESS_STORE_READ"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "leaderboard"
    keep_protocol(root, PROTOCOL)
    records = {slug: scored(slug, 1.0) for slug in ("tv", "nlm")}
    for slug, record in records.items():
        write_record(root, record, {FEATURES: slug.encode(), "worst-input.webp": b"shared", SLICES: b"rows"})
    return root, records


def store(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["store", *arguments, "--leaderboard", str(root)], catch_exceptions=True)


def counts(done: Result) -> dict[str, Any]:
    assert done.exception is None, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_list_says_how_much_is_here(board: tuple[Path, dict[str, Record]]) -> None:
    root, records = board
    rows = json.loads(store(root, "list", "--json").stdout)
    assert {(row["slug"], row["attachments"], row["here"]) for row in rows} == {("tv", 2, 2), ("nlm", 2, 2)}
    shutil.rmtree(root / "attachments")
    (row,) = json.loads(store(root, "list", records["tv"].id, "--json").stdout)
    assert (row["record"], row["here"]) == (records["tv"].id, 0)
    assert "attachments" in store(root, "list").stdout


def test_push_and_pull_bring_a_store_from_one_machine_to_another(
    board: tuple[Path, dict[str, Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, records = board
    there = str(tmp_path / "there")
    assert counts(store(root, "push", "--to", there, "--json")) == {"sent": 3, "there already": 0, "not here": 0}
    assert counts(store(root, "push", "--to", there, "--json"))["there already"] == 3
    shutil.rmtree(root / "attachments")
    assert counts(store(root, "push", "--to", there, "--json"))["not here"] == 3
    failed = store(root, "pull")
    assert isinstance(failed.exception, UsageError)
    assert "3 attachments cannot be fetched" in failed.exception.message
    assert "make it again: harness run submissions/nlm -p phantom-mini, then" in failed.exception.fix
    monkeypatch.setenv("HARNESS_STORE_READ", there)
    pulled = {"fetched": 2, "moved": 0, "missing": 0}
    assert counts(store(root, "pull", records["tv"].id, "--json")) == pulled
    assert counts(store(root, "pull", "--json")) == {"fetched": 1, "moved": 0, "missing": 0}
    assert counts(store(root, "check", "--json")) == {"sound": 3, "not here": 0, "damaged": 0}


def test_check_names_what_is_damaged(board: tuple[Path, dict[str, Record]]) -> None:
    root, _ = board
    damaged = next((root / "attachments").glob("*.webp"))
    damaged.write_bytes(b"another")
    done = store(root, "check")
    assert isinstance(done.exception, UsageError)
    assert str(damaged) in done.exception.message
    damaged.unlink()
    assert counts(store(root, "check", "--json")) == {"sound": 2, "not here": 1, "damaged": 0}


def test_a_record_is_named_by_the_beginning_of_its_id(board: tuple[Path, dict[str, Record]]) -> None:
    root, records = board
    (row,) = json.loads(store(root, "list", records["tv"].id[:8], "--json").stdout)
    assert row["record"] == records["tv"].id
    unknown = store(root, "list", "no-such").exception
    assert isinstance(unknown, UsageError)
    assert "no record with the id, slug or folder no-such" in unknown.message
    assert f"harness list records --leaderboard {root}" in unknown.fix
    first = records["tv"].id
    twin = root / "records" / "phantom-mini-5" / "tv" / (first[:8] + "0" * (len(first) - 8))
    shutil.copytree(root / "records" / "phantom-mini-5" / "tv" / first, twin)
    several = store(root, "list", first[:8]).exception
    assert isinstance(several, UsageError)
    assert "several records" in several.message
    assert first in several.message


def test_one_attachment_is_no_plural(board: tuple[Path, dict[str, Record]]) -> None:
    root, _ = board
    next((root / "attachments").glob("*.webp")).unlink()
    failed = store(root, "pull").exception
    assert isinstance(failed, UsageError)
    assert failed.message.startswith("1 attachment cannot be fetched")
