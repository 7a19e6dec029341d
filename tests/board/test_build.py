from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
import pytest

from harness.board.build import check_board, rank_all, write_board
from harness.errors import UsageError
from harness.record import Record, keep_protocol, write_record
from tests.board_records import PROTOCOL, failed, scored


def leaderboard(path: Path, *records: Record) -> Path:
    keep_protocol(path, PROTOCOL)
    for record in records:
        write_record(path, record, {})
    return path


def test_empty_leaderboard_says_how_to_fill_it(tmp_path: Path) -> None:
    write_board(tmp_path)
    assert "harness run" in (tmp_path / "README.md").read_text()


def test_tables_show_every_row_once_and_twice_give_the_same_bytes(tmp_path: Path) -> None:
    leaderboard(tmp_path, scored("tv", 1.5), scored("identity", 3.0, anchor=True), failed("broken"))
    write_board(tmp_path)
    first = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
    text = (tmp_path / "README.md").read_text()
    assert "| 1 | TV 1 | 1.5<br>" in text
    assert "| ref |  | IDENTITY 1 |" in text
    assert "BROKEN (`broken`): failed at stage run" in text
    assert "random weights" in text
    assert "Against the truth" in text.replace("against", "Against")
    write_board(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == first
    check_board(tmp_path)


def test_csv_holds_every_value(tmp_path: Path) -> None:
    leaderboard(tmp_path, scored("tv", 1.5), failed("broken"))
    write_board(tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text())))
    label = {(row["metric"], row["region"]): float(row["value"]) for row in rows if row["reference"] == "label"}
    assert label == {("KID", "whole"): 1.5, ("KID", "lung"): 0.75, ("SSIM", "whole"): 0.5}
    assert [row["standing"] for row in rows if row["slug"] == "broken"] == ["unranked"]
    assert {row["rank"] for row in rows if row["slug"] == "tv"} == {"1"}


def test_names_of_strangers_are_harmless(tmp_path: Path) -> None:
    hostile = "=cmd()|<script>alert(1)</script>\n| [x](javascript:y) `z`"
    leaderboard(tmp_path, scored("evil", 1.0, name=hostile), scored("tv", 2.0))
    write_board(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "<script>" not in text
    assert "[x](" not in text
    lines = [line for line in text.splitlines() if "alert" in line]
    assert lines
    assert all(line.replace("\\|", "").count("|") == text.splitlines()[_header(text)].count("|") for line in lines[:1])
    rows = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text())))
    assert {row["name"][:2] for row in rows if row["slug"] == "evil"} == {"'="}


def _header(text: str) -> int:
    return next(index for index, line in enumerate(text.splitlines()) if line.startswith("|  | tier | Submission"))


def test_check_names_what_is_stale(tmp_path: Path) -> None:
    leaderboard(tmp_path, scored("tv", 1.5))
    write_board(tmp_path)
    write_record(tmp_path, scored("median", 2.5), {})
    with pytest.raises(UsageError, match=r"README\.md.*leaderboard\.csv"):
        check_board(tmp_path)


def test_versions_of_a_protocol_have_tables_of_their_own(tmp_path: Path) -> None:
    leaderboard(tmp_path, scored("tv", 1.5))
    newer = msgspec.structs.replace(PROTOCOL, version=PROTOCOL.version + 1)
    keep_protocol(tmp_path, newer)
    write_record(tmp_path, scored("tv", 1.0, protocol=newer), {})
    assert [(protocol.version, len(rows)) for protocol, rows in rank_all(tmp_path)] == [
        (newer.version, 1),
        (PROTOCOL.version, 1),
    ]
