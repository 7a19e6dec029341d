from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.base.digests import digest_bytes, digest_folder, digest_json
from harness.base.errors import InfrastructureError, UsageError
from harness.base.files import PART, atomic_file, atomic_folder, folder_content, in_turn, refuse_unwritable, write_bytes
from harness.base.slices import read_grey, write_grey
from harness.base.structs import Strict, canonical_json, expand_variables, read_json, read_yaml, write_json


class Thing(Strict, frozen=True, kw_only=True):
    name: str
    count: int = 1


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_yaml_is_read_into_a_record(tmp_path: Path) -> None:
    assert read_yaml(write(tmp_path / "a.yaml", "name: x\ncount: 3\n"), Thing) == Thing(name="x", count=3)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: x\ncuont: 3\n", "cuont"),
        ("count: 3\n", "name"),
        ("name: 3\n", "name"),
        ("name: &a x\n", "anchors"),
        ("a: &a [x]\nb: *a\n", "anchors"),
        ("name: x\nname: y\n", "twice"),
        ('name: "\\ud83d"\n', "not allowed in text"),
        ("name: x\ncount: .nan\n", "nan"),
        ("name: x\ncount: 2024-13-45\n", "got `str`"),
        ("name: !!python/object/apply:os.system [true]\n", "python"),
        ("name: [\n", "plain YAML"),
        ("- a\n", "object"),
        ("1: x\n", "not text"),
    ],
)
def test_bad_yaml_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        read_yaml(write(tmp_path / "thing.yaml", text), Thing)
    assert "thing.yaml" in caught.value.message


def test_a_character_written_as_two_escapes_is_one(tmp_path: Path) -> None:
    """As JSON writes it, which is YAML, too."""
    assert read_yaml(write(tmp_path / "a.yaml", 'name: "\\ud83d\\ude00 Smile"\n'), Thing).name == "😀 Smile"


def test_large_yaml_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="65536"):
        read_yaml(write(tmp_path / "a.yaml", "name: " + "x" * 70000), Thing)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (lambda path: read_yaml(path, Thing), lambda path: read_json(path, Thing), read_grey):
        with pytest.raises(UsageError, match="gone"):
            read(tmp_path / "gone")


def test_json_survives_the_disk_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", Thing(name="ä", count=2))
    assert read_json(tmp_path / "a.json", Thing) == Thing(name="ä", count=2)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"value": float("nan")})
    assert not list(tmp_path.glob("*b.json*"))


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5))
def test_digest_ignores_the_order_of_keys(value: dict[str, object]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert digest_json(value) == digest_json(backwards)
    assert canonical_json(value) == canonical_json(backwards)


@given(st.binary(max_size=8), st.binary(min_size=1, max_size=8))
def test_digest_tells_joints_apart(left: bytes, right: bytes) -> None:
    assert digest_bytes(left, right) != digest_bytes(left + right)


def test_folder_digest_sees_all_that_a_build_can_copy(tmp_path: Path) -> None:
    write(tmp_path / "a.py", "1")
    before = digest_folder(tmp_path)
    for cache in ("__pycache__", ".git"):
        (tmp_path / cache).mkdir()
        write(tmp_path / cache / "a", "x")
    assert digest_folder(tmp_path) == before
    write(tmp_path / ".weights", "x")
    assert digest_folder(tmp_path) != before
    (tmp_path / ".weights").unlink()
    (tmp_path / "a.py").chmod(0o755)
    executable = digest_folder(tmp_path)
    write(tmp_path / "a.py", "2")
    assert len({before, executable, digest_folder(tmp_path)}) == 3


def test_a_folder_of_a_stranger_is_bounded_and_its_names_are_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder_content(tmp_path) == []
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    (folder / "empty").mkdir(parents=True)
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to("/")
    (folder / "b").mkdir()
    write(folder / "b" / "c", "1")
    write(folder / "b.c", "1")
    shown = [path.relative_to(folder.name).as_posix() for path in folder_content(tmp_path)]
    assert shown == ["b/c", "b.c", "empty", "link"], "in the order of parts; no FIFO, nothing through the link"
    before = digest_folder(tmp_path)
    (folder / "empty").rmdir()
    assert digest_folder(tmp_path) != before, "a build copies empty folders"
    for name, value in (("MAX_FILES", 3), ("MAX_DEPTH", 2), ("MAX_PATH", 3), ("MAX_FOLDER_BYTES", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(f"harness.base.files.{name}", value)
            with pytest.raises(UsageError, match="within each other"):
                folder_content(tmp_path)


def test_a_folder_may_hold_names_of_any_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in (b"\xff.txt", b"\xfe.txt"):
        (tmp_path / os.fsdecode(name)).touch()
        digests.add(digest_folder(tmp_path))
    assert len(digests) == 2


def test_atomic_file_leaves_nothing_half_written(tmp_path: Path) -> None:
    target = write(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), atomic_file(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_folder_keeps_the_one_that_was_first(tmp_path: Path) -> None:
    target = tmp_path / "set"
    with atomic_folder(target) as mine:
        (mine / "a").write_text("mine")
        with atomic_folder(target) as theirs:
            (theirs / "a").write_text("theirs")
    assert (target / "a").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from harness.base.files import atomic_file, atomic_folder
with atomic_folder(Path(sys.argv[1]) / "set") as part, atomic_file(Path(sys.argv[1]) / "a.txt") as file:
    (part / "half").touch()
    print("half", flush=True)
    sys.stdin.read() if len(sys.argv) > 2 else os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_half_written_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    dead = set(tmp_path.glob(f".*{PART}"))
    assert len(dead) == 2
    mine = tmp_path / ".mine.part"
    mine.touch()
    with subprocess.Popen([*command, "live"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sibling:
        assert sibling.stdout is not None
        assert sibling.stdout.readline() == "half\n"
        living = set(tmp_path.glob(f".*{PART}"))
        assert len(living) == 2
        assert not living & dead, "the sibling swept first"
        write_bytes(tmp_path / "b.txt", b"")
        assert set(tmp_path.glob(f".*{PART}")) == living
        assert sibling.stdin is not None
        sibling.stdin.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.part", "a.txt", "b.txt", "set"]


def test_processes_take_turns_and_a_dead_one_holds_nobody_up(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "a.lock"
    script = (
        "import sys\nfrom pathlib import Path\nfrom harness.base.files import in_turn\n"
        "with in_turn(Path(sys.argv[1])):\n    print('in', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "in\n"
        waited: list[int | None] = []

        def kill_the_holder() -> None:
            waited.append(holder.poll())
            holder.kill()

        with in_turn(lock, waiting=kill_the_holder):
            assert waited == [None]
            assert holder.wait() == -signal.SIGKILL
    assert list(lock.parent.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="mine"), in_turn(lock):
        raise FileNotFoundError("mine")
    assert list(lock.parent.iterdir()) == []


def test_full_disk_is_the_machines_fault(tmp_path: Path) -> None:
    with (
        pytest.raises(InfrastructureError, match=r"cannot write .*a\.txt: No space left"),
        atomic_file(tmp_path / "a.txt") as part,
    ):
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/x", "file/x/y"])
def test_a_place_below_a_file_is_refused_before_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="expected a folder to write into, found the file"):
        refuse_unwritable(tmp_path / place)
    refuse_unwritable(tmp_path / "new" / place)


def test_variables_are_expanded_or_named() -> None:
    assert expand_variables("${A}/x", where="here", environment={"A": "/data"}) == "/data/x"
    with pytest.raises(UsageError, match="ULDCT_DATA"):
        expand_variables("${ULDCT_DATA}", where="here", environment={})
    with pytest.raises(UsageError, match="here"):
        expand_variables("$", where="here", environment={})


def test_grey_png_round_trip_and_three_equal_channels(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    write_grey(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), pixels)
    Image.fromarray(np.stack([pixels] * 3, axis=-1)).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "b.png"), pixels)


def test_other_pngs_are_refused_by_name_and_kind(tmp_path: Path) -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    colour = np.stack([grey, grey, 255 - grey], axis=-1)
    images = {
        "16-bit": Image.fromarray(grey.astype(np.uint16) * 300),
        "colour": Image.fromarray(colour),
        "an alpha channel": Image.fromarray(grey).convert("LA"),
        "a palette": Image.fromarray(grey).convert("P"),
    }
    for kind, image in images.items():
        image.save(tmp_path / "slice.png")
        with pytest.raises(UsageError, match=kind) as caught:
            read_grey(tmp_path / "slice.png")
        assert "slice.png" in caught.value.message
    frames = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    frames[0].save(tmp_path / "slice.png", save_all=True, append_images=frames[1:])
    with pytest.raises(UsageError, match="animated"):
        read_grey(tmp_path / "slice.png")
    whole = (tmp_path / "slice.png").read_bytes()
    for damaged in (b"no picture", whole[: len(whole) // 2]):
        (tmp_path / "slice.png").write_bytes(damaged)
        with pytest.raises(UsageError, match=r"slice\.png"):
            read_grey(tmp_path / "slice.png")
