"""What a leaderboard costs in version control: in all, and for each new row."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec

from benchmarks.board import fill
from harness.board.build import write_board
from harness.records.attachments import open_store
from harness.records.schema import make_record
from harness.records.store import read_records, record_folder, write_record
from harness.scoring.attachment_names import FEATURES, SMALL
from tests.board_records import observed

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 12_000_000  # of ten protocol versions with 163 rows
MAX_ROW_BYTES = 60_000


def tracked(leaderboard: Path) -> dict[str, int]:
    """The files that git would keep of a leaderboard's folder, with their sizes."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(leaderboard), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    git("add", "--all")
    return {name: (leaderboard / name).stat().st_size for name in git("ls-files", "-z").split("\0") if name}


def test_a_new_row_of_phantom_3_adds_60_kb_at_most(tmp_path: Path) -> None:
    """Record, tables and whatever else is tracked; the row is made of committed numbers and pictures."""
    board = tmp_path / "leaderboard"
    shutil.copytree(ROOT / "leaderboard", board, ignore=shutil.ignore_patterns("site", "attachments"))
    write_board(board)
    before = tracked(board)
    assert sum(before.values()) < MAX_BYTES
    fill(board, 1)
    record = next(one for one in read_records(board) if one.result.submission.slug == "made-up-0000")
    write_board(board)
    after = tracked(board)
    assert sum(after.values()) - sum(before.values()) < MAX_ROW_BYTES
    folder = record_folder(board, record).relative_to(board)
    added = {Path(name).relative_to(folder).as_posix() for name in after.keys() - before.keys()}
    assert added == {"record.json", *record.observed.files}, "a new row adds its own files only"
    assert {name for name in before if before[name] != after[name]} == {"README.md"}


def test_a_new_leaderboard_ignores_what_can_be_built(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    result = msgspec.structs.replace(next(iter(read_records(tmp_path))).result, outputs="others")
    folder, _ = write_record(tmp_path, make_record(result, observed()), {FEATURES: b"features"})
    shutil.rmtree(folder)
    write_board(tmp_path)
    assert {name for name in tracked(tmp_path) if not name.startswith("records/")} == {".gitignore", "README.md"}
    assert (tmp_path / ".gitignore").read_text() == (ROOT / "leaderboard" / ".gitignore").read_text()


def test_features_and_pictures_are_not_tracked(tmp_path: Path) -> None:
    board = tmp_path / "leaderboard"
    shutil.copytree(ROOT / "leaderboard", board, ignore=shutil.ignore_patterns("site", "attachments"))
    before = tracked(board)
    record = next(one for one in read_records(board) if one.observed.files)
    submission = msgspec.structs.replace(record.result.submission, slug="another")
    record = make_record(msgspec.structs.replace(record.result, submission=submission), record.observed)
    shutil.rmtree(record_folder(board, record), ignore_errors=True)
    write_record(board, record, {FEATURES: bytes(700_000), "worst-input.webp": bytes(60_000)})
    assert sum(path.stat().st_size for path in open_store(board).folder.iterdir()) == 760_000
    assert sum(tracked(board).values()) - sum(before.values()) < MAX_ROW_BYTES


def test_the_committed_records_hold_small_files_only() -> None:
    beside = {"record.json", "signature.json", "withdrawn.json", *SMALL}
    for path in (ROOT / "leaderboard").glob("records/*/*/*/*"):
        assert path.name in beside, path
