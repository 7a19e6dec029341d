from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.base.errors import UsageError
from harness.board.build import check_board, check_signed, rank_all, write_board
from harness.protocol import PhantomData
from harness.records.schema import Record
from harness.records.signing import public_key
from harness.records.store import keep_protocol, write_record
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


def test_names_of_strangers_neither_hide_nor_turn_the_writing_direction(tmp_path: Path) -> None:
    name = "a\u202eb\u2066c\u200bd\u2028e\x1bf\x9bg"
    leaderboard(tmp_path, scored("evil", 1.0, name=name, authors=(name,)), scored("tv", 2.0))
    written = write_board(tmp_path)
    for path in written.files:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066\u200b\u2028\x1b]", path.read_text()), path
        assert not re.search(r"\\u(202e|2066|200b)", path.read_text()), path
    assert "abcd e fg" in (tmp_path / "README.md").read_text()
    check_board(tmp_path)


def test_a_formula_that_hides_is_quoted_too(tmp_path: Path) -> None:
    leaderboard(tmp_path, scored("evil", 1.0, name="\u202e\u200b=cmd()"))
    write_board(tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text())))
    assert {row["name"] for row in rows} == {"'=cmd()"}


def _header(text: str) -> int:
    return next(index for index, line in enumerate(text.splitlines()) if line.startswith("|  | tier | Submission"))


def test_check_names_what_is_stale(tmp_path: Path) -> None:
    leaderboard(tmp_path, scored("tv", 1.5))
    write_board(tmp_path)
    write_record(tmp_path, scored("median", 2.5), {})
    with pytest.raises(UsageError, match=r"README\.md.*leaderboard\.csv"):
        check_board(tmp_path)


def with_signers(path: Path, *keys: Ed25519PrivateKey) -> None:
    lines = [f"  - {{name: Organiser {number}, key: {public_key(key)}}}" for number, key in enumerate(keys)]
    (path / "signers.yaml").write_text("\n".join(["signers:", *lines]) + "\n")


def test_the_board_says_who_signed_where_it_is_said_who_may(tmp_path: Path) -> None:
    ours, theirs = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2))
    leaderboard(tmp_path)
    for slug, kid, key in (("tv", 1.0, ours), ("median", 2.0, theirs), ("nlm", 3.0, None)):
        write_record(tmp_path, scored(slug, kid), {}, key=key)
    write_board(tmp_path)
    assert "signed" not in (tmp_path / "README.md").read_text() + (tmp_path / "leaderboard.csv").read_text()
    with_signers(tmp_path, ours)
    with pytest.raises(UsageError, match="stale"):
        check_board(tmp_path)
    write_board(tmp_path)
    check_board(tmp_path)
    lines = [line for line in (tmp_path / "README.md").read_text().splitlines() if line.startswith("| ")]
    header = next(line for line in lines if "Submission" in line)
    assert header.endswith("| n | signed by |")
    assert all(line.count("|") == header.count("|") for line in lines[:4])
    signers = {line.split("|")[3].split()[0]: line.split("|")[-2].strip() for line in lines[1:4]}
    assert signers == {"TV": "Organiser 0", "MEDIAN": "–", "NLM": "–"}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text())))
    assert {row["slug"]: row["signed_by"] for row in rows} == {"tv": "Organiser 0", "median": "", "nlm": ""}
    pages = {path.parent.name: path.read_text() for path in (tmp_path / "site").glob("*/*/*.html")}
    assert "<dt>signed by</dt><dd>Organiser 0</dd>" in pages["tv"]
    assert "<dt>signed by</dt><dd>nobody whose signature counts</dd>" in pages["median"]


def test_ranked_records_that_nobody_known_signed_are_named(tmp_path: Path) -> None:
    ours, theirs = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2))
    leaderboard(tmp_path)
    with pytest.raises(UsageError, match=r"signers\.yaml: no such file"):
        check_signed(tmp_path)
    with_signers(tmp_path, ours)
    write_record(tmp_path, scored("tv", 1.0), {}, key=ours)
    write_record(tmp_path, scored("identity", 3.0, anchor=True), {})
    write_record(tmp_path, failed("broken"), {})
    check_signed(tmp_path)  # what does not rank needs no signature
    for slug, key in (("median", theirs), ("nlm", None)):
        write_record(tmp_path, scored(slug, 2.0), {}, key=key)
    with pytest.raises(UsageError) as caught:
        check_signed(tmp_path)
    assert "2 ranked records" in caught.value.message
    assert f"signed by the unknown key {public_key(theirs)}" in caught.value.message
    assert f"{scored('nlm', 2.0).id}: not signed" in caught.value.message
    with_signers(tmp_path, ours, theirs)
    with pytest.raises(UsageError, match="1 ranked records"):
        check_signed(tmp_path)


def test_the_board_states_what_a_secret_seed_was_committed_to(tmp_path: Path) -> None:
    leaderboard(tmp_path, scored("tv", 1.0))
    commitment = "sha256:" + "5e" * 32
    hidden = msgspec.structs.replace(PROTOCOL, name="hidden", data=PhantomData(patients=2, slices=1, seed=commitment))
    keep_protocol(tmp_path, hidden)
    write_record(tmp_path, scored("tv", 1.0, protocol=hidden), {})
    write_board(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert text.count("secret") == 1
    assert commitment in text
    assert f"records/{hidden.identity}/disclosed.json" in text


def test_versions_of_a_protocol_have_tables_of_their_own(tmp_path: Path) -> None:
    leaderboard(tmp_path, scored("tv", 1.5))
    newer = msgspec.structs.replace(PROTOCOL, version=PROTOCOL.version + 1)
    keep_protocol(tmp_path, newer)
    write_record(tmp_path, scored("tv", 1.0, protocol=newer), {})
    assert [(protocol.version, len(rows)) for protocol, rows in rank_all(tmp_path)] == [
        (newer.version, 1),
        (PROTOCOL.version, 1),
    ]
