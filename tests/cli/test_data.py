"""`harness data`, and what other commands say and do on a machine that makes other bytes than the official ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.base.slices import read_grey
from harness.base.structs import read_json
from harness.engines import BASE_IMAGE, Engine
from harness.protocol import OfficialSet
from tests.official_world import GREY_LEVELS, World, make_world, other_labels, other_scanner

ROOT = Path(__file__).resolve().parents[2]
DIFFERS = "1 of 2 slices differ from the official test set of tiny-4"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("official"))


@pytest.fixture
def machine(world: World, tmp_path: Path) -> Iterator[str]:
    """The name of a machine whose scanner differs, with a cache of its own."""
    assert world.tar.is_file()
    with other_scanner():
        yield str(tmp_path / "cache")


def reasons(leaderboard: Path) -> dict[str, tuple[str, str]]:
    """The standing of each row of a leaderboard, and why it does not rank."""
    (table,) = json.loads((leaderboard / "leaderboard.json").read_text())["protocols"]
    return {row["slug"]: (row["standing"], row["reason"]) for row in table["rows"]}


def record_ids(leaderboard: Path) -> set[str]:
    return {path.parent.name for path in leaderboard.glob("records/*/*/*/record.json")}


def test_the_digests_are_written_once_a_slice_a_line(world: World) -> None:
    text = world.digests.read_text()
    assert [line.count('"lq"') for line in text.splitlines() if '"name": "p01' in line] == [1, 1]
    assert [one.name for one in read_json(world.digests, OfficialSet).slices] == ["p01-s01", "p01-s02"]
    again = world.on("official", "data", "digests", "-p", "tiny.yaml")
    assert again.returncode == 0
    assert "already there, the same" in again.stdout
    assert world.digests.read_text() == text
    check = world.on("official", "data", "check", "-p", "tiny.yaml")
    assert check.returncode == 0
    assert "2 slices: this machine makes the official bytes" in check.stdout


def test_another_machine_cannot_change_the_digests_of_a_version(world: World, machine: str) -> None:
    text = world.digests.read_text()
    done = world.on(machine, "data", "digests", "-p", "tiny.yaml")
    assert done.returncode == 2
    assert "p01-s02: lq" in done.stderr
    assert "raise the protocol's version" in done.stderr
    assert world.digests.read_text() == text


def test_a_machine_that_differs_is_told_where_and_what_to_do_and_ranks_after_an_import(
    world: World, machine: str, tmp_path: Path
) -> None:
    anchors = ("anchors", "-p", "tiny.yaml", "--leaderboard")
    before, after, official = (tmp_path / name for name in ("before", "after", "official"))
    done = world.on(machine, *anchors, str(before))
    assert done.returncode == 0, done.stderr
    for words in (DIFFERS, "  p01-s02: lq\n", "fix: harness data import FILE"):
        assert words in done.stderr
    assert "labels differ" not in done.stderr  # the one label that differs does because its slice does
    assert set(reasons(before).values()) == {
        ("unranked", "scored on other data than the official ones: harness data import brings those, then run it again")
    }
    check = world.on(machine, "data", "check", "-p", "tiny.yaml")
    assert (check.returncode, check.stdout) == (50, "")
    assert DIFFERS in check.stderr
    refused = world.on(machine, "data", "export", "-p", "tiny.yaml", "-o", str(tmp_path / "mine.tar"))
    assert refused.returncode == 2
    assert "not the official ones" in refused.stderr
    assert not (tmp_path / "mine.tar").exists()

    assert world.on(machine, "data", "import", str(world.tar), "-p", "tiny.yaml").returncode == 0
    levels = f"p01-s02: lq by up to {GREY_LEVELS} grey levels"
    done = world.on(machine, *anchors, str(after))
    assert done.returncode == 0, done.stderr
    assert "used is the imported official test set of tiny-4" in done.stderr
    assert levels in done.stderr
    assert {standing for standing, _ in reasons(after).values()} == {"anchor"}
    check = world.on(machine, "data", "check", "-p", "tiny.yaml", "--json")
    assert check.returncode == 50
    assert json.loads(check.stdout) == {"p01-s02": {"lq": GREY_LEVELS}}
    assert levels in check.stderr
    # the records are those of the machine that made the official bytes
    assert world.on("official", *anchors, str(official)).returncode == 0
    assert record_ids(after) == record_ids(official) != record_ids(before)


def test_every_command_uses_what_was_imported_without_making_anything(world: World, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert world.on(str(cache), "data", "import", str(world.tar), "-p", "tiny.yaml").returncode == 0
    for command in (
        ("labels", "-p", "tiny.yaml", "-o", str(tmp_path / "labels")),
        ("ci", "inputs", "-p", "tiny.yaml", "-o", str(tmp_path / "inputs")),
        ("pairs", "--from-test-set", "-p", "tiny.yaml", "-o", str(tmp_path / "pairs")),
    ):
        done = world.on(str(cache), *command)
        assert done.returncode == 0, done.stderr
        assert "used is the imported official test set of tiny-4" in done.stderr
    assert not (cache / "data").exists()
    assert world.on("official", "labels", "-p", "tiny.yaml", "-o", str(tmp_path / "made")).returncode == 0
    for kind in ("lq", "gt_bar"):
        for path in (tmp_path / "made" / kind).glob("*.png"):
            assert (read_grey(path) == read_grey(tmp_path / "labels" / kind / path.name)).all()
    assert {path.name for path in (tmp_path / "inputs" / "lq").iterdir()} == {"p01-s01.png", "p01-s02.png"}
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("made", "labels")]
    assert manifests[0]["labels"] == manifests[1]["labels"]
    assert manifests[0]["slices"] == manifests[1]["slices"]  # how well the purification went is measured here, too


def test_a_damaged_import_is_named_not_used_and_repaired_by_importing_again(
    world: World, machine: str, tmp_path: Path
) -> None:
    command = ("ci", "inputs", "-p", "tiny.yaml", "-o")
    assert world.on(machine, "data", "import", str(world.tar), "-p", "tiny.yaml").returncode == 0
    (damaged,) = Path(machine).glob("official/tiny-4-*/gt/p01-s01.png")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = world.on(machine, *command, str(tmp_path / "one"))
    assert done.returncode == 0
    assert "is damaged (p01-s01), and not used: import it again" in done.stderr
    assert f"p01-s02: lq by up to {GREY_LEVELS} grey levels" in done.stderr  # that slice's bytes are still at hand
    assert world.on(machine, "data", "import", str(world.tar), "-p", "tiny.yaml").returncode == 0
    done = world.on(machine, *command, str(tmp_path / "two"))
    assert "damaged" not in done.stderr
    assert "used is the imported" in done.stderr


def test_labels_that_differ_on_the_same_slices_are_told_apart(world: World, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    anchors = ("anchors", "-p", "tiny.yaml", "--leaderboard", str(tmp_path / "lb"))
    with other_labels():
        done = world.on(cache, *anchors)
        assert done.returncode == 0
        assert "2 of 2 labels differ from the official test set of tiny-4" in done.stderr
        assert "slices differ" not in done.stderr
        assert {reason.partition(":")[0] for _, reason in reasons(tmp_path / "lb").values()} == {
            "scored on other labels than the official ones"
        }
        assert world.on(cache, "data", "import", str(world.tar), "-p", "tiny.yaml").returncode == 0
        check = world.on(cache, "data", "check", "-p", "tiny.yaml", "--json")
        assert json.loads(check.stdout) == {"p01-s01": {"label": 1}, "p01-s02": {"label": 1}}
        assert "labels differ" not in world.on(cache, *anchors).stderr
    newest = {standing for standing, _ in reasons(tmp_path / "lb").values()}
    assert newest == {"anchor"}


def test_digests_of_another_text_of_the_protocol_are_refused(world: World, tmp_path: Path) -> None:
    other = World(tmp_path)
    (tmp_path / world.digests.name).write_text(world.digests.read_text())
    path = tmp_path / "tiny.yaml"
    path.write_text(path.read_text().replace("slices: 2", "slices: 1"))
    done = other.on("cache", "data", "check", "-p", "tiny.yaml")
    assert done.returncode == 2
    assert f"{world.digests.name}: holds the digests of another protocol" in done.stderr
    path.write_text(
        path.read_text().replace("slices: 1", "slices: 2").replace("weak_denoiser: cnn", "weak_denoiser: tv")
    )
    assert "another text of tiny-4" in other.on("cache", "data", "check", "-p", "tiny.yaml").stderr


def test_a_protocol_without_digests_is_compared_with_nothing(world: World, machine: str, tmp_path: Path) -> None:
    other = World(tmp_path)
    done = other.on(machine, "ci", "inputs", "-p", "tiny.yaml", "-o", "inputs")
    assert done.returncode == 0
    assert "official" not in done.stderr
    for command in (("check",), ("export", "-o", "x.tar"), ("import", str(world.tar))):
        done = other.on(machine, "data", command[0], "-p", "tiny.yaml", *command[1:])
        assert done.returncode == 2
        assert "tiny-4: has no official test set" in done.stderr
        assert "harness data digests" in done.stderr


@pytest.mark.engine
def test_a_run_on_other_bytes_does_not_rank_and_one_on_the_imported_does(
    engine: Engine, world: World, machine: str, tmp_path: Path
) -> None:
    assert engine.find_image(BASE_IMAGE)
    run = ("run", str(ROOT / "submissions" / "tv"), "-p", "tiny.yaml", "--leaderboard", str(tmp_path / "lb"))
    done = world.on(machine, *run)
    assert done.returncode == 0, done.stderr
    assert DIFFERS in done.stderr
    assert "scored on other data than the official ones" in " ".join(done.stdout.split())
    assert world.on(machine, "data", "import", str(world.tar), "-p", "tiny.yaml").returncode == 0
    done = world.on(machine, *run)
    assert done.returncode == 0, done.stderr
    assert reasons(tmp_path / "lb") == {"tv": ("ranked", "")}
