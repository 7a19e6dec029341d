"""What somebody meets on the first day: slugs for folders, dry runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.base.errors import UsageError
from harness.cli._common import record_folder
from harness.dataset.fingerprints import write_fingerprints
from harness.protocol import load_protocol
from harness.records.store import keep_protocol, write_record
from harness.submission.manifest import load_submission
from harness.submission.overlap import shared_with_official
from tests.board_records import PROTOCOL, scored
from tests.command import harness
from tests.small import small_protocol


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    board = tmp_path / "lb"
    done = harness("run", "tv", "median", "--dry-run", "--json", "--leaderboard", str(board), DOCKER_HOST="unix:///no")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["submission"], row["weights"]) for row in rows] == [("tv", "none"), ("median", "none")]
    assert rows[0]["records"] == str(board / "records" / "phantom-5" / "tv")
    assert not board.exists()
    refused = harness("run", "no-such", "--dry-run")
    assert refused.returncode == 2
    assert "no-such" in refused.stderr


def test_a_missing_folder_is_named_before_anything_runs(tmp_path: Path) -> None:
    cache, board = str(tmp_path / "cache"), str(tmp_path / "lb")
    done = harness("run", "tv", "nowhere", "--leaderboard", board, HARNESS_CACHE=cache, DOCKER_HOST="unix:///no")
    assert done.returncode == 2
    assert "error: no such folder: nowhere; nothing was run" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    cache, below = str(tmp_path / "cache"), "/dev/null/x"
    for arguments in (
        ("labels", "-o", below),
        ("pairs", "-o", below),
        ("noise", "-o", f"{below}/noise.yaml"),
        ("run", "tv", "--leaderboard", below),
        ("new", "mine", "--into", below),
    ):
        done = harness(*arguments, HARNESS_CACHE=cache)
        assert (done.returncode, "found the file /dev/null" in done.stderr) == (2, True), (arguments, done.stderr)
    assert not Path(cache).exists()


def test_a_name_that_cannot_be_seen_is_said_of_the_folder_to_come(tmp_path: Path) -> None:
    done = harness("new", "mine", "--name", "\u200b", "--into", str(tmp_path))
    assert done.returncode == 2
    assert f"error: {tmp_path / 'mine' / 'submission.yaml'}: name: nothing of" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_id_and_a_slug_name_a_record(tmp_path: Path) -> None:
    keep_protocol(tmp_path, PROTOCOL)
    records = [scored("tv", 1.0), scored("median", 1.0), scored("median", 2.0)]
    folders = [write_record(tmp_path, record, {})[0] for record in records]
    assert record_folder(Path("tv"), tmp_path) == folders[0]
    assert record_folder(Path(records[0].id[:9]), tmp_path) == folders[0]
    with pytest.raises(UsageError) as caught:
        record_folder(Path("median"), tmp_path)
    assert all(f"{record.id} ({PROTOCOL.identity})" in caught.value.message for record in records[1:])


def test_pairs_of_any_strategy_are_written(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(small_protocol("patients: 1, slices: 2, size: 128"))
    (tmp_path / "noise.yaml").write_text("dose: 0.1\nscanner: {photons: 2.0e+5, electronic: 4, kernel: [1, 0.5, 0]}\n")
    arguments = ["pairs", "-p", str(tmp_path / "small.yaml"), "--strategy", "an", "--variant", "corrected"]
    cache, out = str(tmp_path / "cache"), str(tmp_path / "out")
    refused = harness(*arguments, "-o", out, HARNESS_CACHE=cache)
    assert refused.returncode == 2
    assert "phantom-mini is a test set" in refused.stderr
    assert "harness pairs -p phantom-mini-train" in refused.stderr
    arguments.append("--from-test-set")
    refused = harness(*arguments, "-o", out, HARNESS_CACHE=cache)
    assert refused.returncode == 2
    assert "purify.noise" in refused.stderr
    given = ("--noise", str(tmp_path / "noise.yaml"), "-o", str(tmp_path / "out"))
    done = harness(*arguments, *given, HARNESS_CACHE=cache)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"lq_bar", "gt", "manifest.json", "trained_on.txt"}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["purify"]["strategy"] == "an"
    assert manifest["purify"]["noise"]["scanner"]["kernel"] == [1, 0.5, 0]


def test_nothing_is_scored_on_a_training_set(tmp_path: Path) -> None:
    scored_there = harness("score", str(tmp_path), "-p", "phantom-mini-train")
    assert scored_there.returncode == 2
    assert "phantom-mini-train is a training set" in scored_there.stderr
    assert "-p phantom-mini\n" in scored_there.stderr


def test_training_on_an_official_test_set_is_known_without_its_data(tmp_path: Path) -> None:
    new = harness("new", "mine", "--into", str(tmp_path))
    assert new.returncode == 0
    folder = tmp_path / "mine"
    official = load_protocol("phantom-mini").official
    assert official is not None
    write_fingerprints(folder / "trained_on.txt", ["0" * 64, official.slices[0].lq, official.slices[1].gt])
    with (folder / "submission.yaml").open("a") as manifest:
        manifest.write("trained_on: trained_on.txt\n")
    assert shared_with_official(load_submission(folder)) == {"phantom-mini": 2}


def test_a_metric_that_is_asked_for_and_left_out_is_a_slip(tmp_path: Path) -> None:
    done = harness("score", str(tmp_path), "-p", "phantom-mini", "--only", "SSIM", "--skip", "SSIM")
    assert done.returncode == 2
    assert "error: SSIM: asked for and left out" in done.stderr
