"""What somebody meets on the first day: slugs for folders, dry runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.base.errors import UsageError
from harness.cli._common import record_folder
from harness.records.store import keep_protocol, write_record
from tests.board_records import PROTOCOL, scored
from tests.command import harness


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    board = tmp_path / "lb"
    done = harness("run", "tv", "median", "--dry-run", "--json", "--leaderboard", str(board), DOCKER_HOST="unix:///no")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["submission"] for row in rows] == ["tv", "median"]
    assert rows[0]["records"] == str(board / "records" / "phantom-5" / "tv")
    assert not board.exists()
    refused = harness("run", "no-such", "--dry-run")
    assert refused.returncode == 2
    assert "no-such" in refused.stderr


def test_an_id_and_a_slug_name_a_record(tmp_path: Path) -> None:
    keep_protocol(tmp_path, PROTOCOL)
    records = [scored("tv", 1.0), scored("median", 1.0), scored("median", 2.0)]
    folders = [write_record(tmp_path, record, {})[0] for record in records]
    assert record_folder(Path("tv"), tmp_path) == folders[0]
    assert record_folder(Path(records[0].id[:9]), tmp_path) == folders[0]
    with pytest.raises(UsageError) as caught:
        record_folder(Path("median"), tmp_path)
    assert all(f"{record.id} ({PROTOCOL.identity})" in caught.value.message for record in records[1:])
