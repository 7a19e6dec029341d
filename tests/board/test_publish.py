"""The board with its pictures in one folder, for any static host."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from harness.base.errors import UsageError
from harness.board.build import write_board
from harness.board.publish import publish
from harness.protocol import Publish
from harness.records.attachments import attachments, open_store
from harness.records.schema import Record
from harness.records.store import keep_protocol, read_record, record_folder, write_record
from harness.scoring.attachment_names import FEATURES
from tests.board.site.board import leaderboard as make_leaderboard
from tests.board.site.test_pages import Page
from tests.board_records import PROTOCOL, scored

VIEWER = 'class="viewer"'


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, Record]]:
    monkeypatch.delenv("HARNESS_STORE", raising=False)
    monkeypatch.delenv("HARNESS_STORE_READ", raising=False)
    return tmp_path / "leaderboard", make_leaderboard(tmp_path)


def page(root: Path, record: Record) -> Path:
    return root / "site" / PROTOCOL.identity / record.result.submission.slug / f"{record.id}.html"


def dead_links(root: Path) -> list[str]:
    """Addresses of pages that lead nowhere within the folder."""
    dead = []
    for path in root.rglob("*.html"):
        for _, _, address in Page(path.read_text()).addresses:
            file = address.partition("#")[0]
            if file and "://" not in file and not file.startswith("data:"):
                target = (path.parent / file).resolve()
                if not target.is_file() or not target.is_relative_to(root.resolve()):
                    dead.append(f"{path}: {address}")
    return dead


def test_a_clone_without_a_store_says_what_is_not_here_and_how_to_get_it(
    board: tuple[Path, dict[str, Record]], tmp_path: Path
) -> None:
    root, records = board
    away = tmp_path / "published" / "store"
    shutil.move(root / "attachments", away)
    write_board(root)
    text = page(root, records["first"]).read_text()
    assert VIEWER not in text
    assert f"harness store pull {records['first'].id}" in text
    assert "published nowhere yet" in text
    assert "fetches" not in text, "nothing can be fetched from nowhere"
    assert "strip.webp" in text
    assert dead_links(root) == []
    (root / "store.yaml").write_text(f"schema: 1\nread: [{away}]\n")
    write_board(root)
    assert f"fetches them from <code>{away}</code>" in page(root, records["first"]).read_text()
    store = open_store(root)
    folder = record_folder(root, records["first"])
    for one in attachments(read_record(folder), folder):
        store.get(one)
    write_board(root)
    assert page(root, records["first"]).read_text().count(VIEWER) == 3


def test_the_published_folder_is_whole(board: tuple[Path, dict[str, Record]], tmp_path: Path) -> None:
    root, records = board
    shutil.move(root / "attachments", tmp_path / "store")
    (root / "store.yaml").write_text(f"schema: 1\nread: [{tmp_path / 'store'}]\n")
    done = publish(root, tmp_path / "public")
    assert done.missing == {}
    assert done.attachments == len(list((tmp_path / "public" / "attachments").iterdir())) > 10
    assert page(tmp_path / "public", records["first"]).read_text().count(VIEWER) == 3
    assert dead_links(tmp_path / "public") == []
    assert (tmp_path / "public" / "leaderboard.csv").is_file()
    again = publish(root, tmp_path / "public")
    assert again.board.rendered == ()
    other = tmp_path / "other"
    publish(root, other)
    files = {path.relative_to(other): path.read_bytes() for path in other.rglob("*") if path.is_file()}
    public = tmp_path / "public"
    assert {path.relative_to(public): path.read_bytes() for path in public.rglob("*") if path.is_file()} == files


def test_its_attachments_are_a_location_to_read_from(board: tuple[Path, dict[str, Record]], tmp_path: Path) -> None:
    root, records = board
    publish(root, tmp_path / "public")
    shutil.rmtree(root / "attachments")
    (root / "store.yaml").write_text(f"schema: 1\nread: [{tmp_path / 'public' / 'attachments'}]\n")
    done = publish(root, tmp_path / "other")
    assert done.missing == {}
    assert page(tmp_path / "other", records["second"]).read_text().count(VIEWER) == 3


def test_what_cannot_be_had_is_counted_and_said(board: tuple[Path, dict[str, Record]], tmp_path: Path) -> None:
    root, records = board
    shutil.rmtree(root / "attachments")
    done = publish(root, tmp_path / "public")
    assert done.attachments == 0
    assert "no location to fetch it from is configured" in next(iter(done.missing.values()))
    assert "harness store pull" in page(tmp_path / "public", records["first"]).read_text()
    assert dead_links(tmp_path / "public") == []


def test_no_damaged_picture_is_published(board: tuple[Path, dict[str, Record]], tmp_path: Path) -> None:
    root, _ = board
    damaged = next(path for path in (root / "attachments").iterdir() if path.suffix == ".webp")
    damaged.write_bytes(b"another picture")
    done = publish(root, tmp_path / "public")
    assert list(done.missing) == [damaged.name]
    assert not (tmp_path / "public" / "attachments" / damaged.name).exists()


def test_pictures_that_a_protocol_does_not_publish_stay(board: tuple[Path, dict[str, Record]], tmp_path: Path) -> None:
    root, _ = board
    keep_protocol(root, msgspec.structs.replace(PROTOCOL, publish=Publish(images=False)))
    publish(root, tmp_path / "public", features=True)
    found = {path.suffix for path in (tmp_path / "public").rglob("*") if path.is_file()}
    assert not {".webp", ".png"} & found


def test_other_peoples_folders_are_left_alone(board: tuple[Path, dict[str, Record]], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        publish(board[0], tmp_path / "mine")
    with pytest.raises(UsageError, match="is the leaderboard itself"):
        publish(board[0], board[0])


def test_a_file_is_no_folder_to_publish_to(board: tuple[Path, dict[str, Record]], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="is not a folder") as error:
        publish(board[0], tmp_path / "thesis.tex")
    assert error.value.exit_code == 2
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_features_are_published_on_request(tmp_path: Path) -> None:
    keep_protocol(tmp_path / "board", PROTOCOL)
    write_record(tmp_path / "board", scored("tv", 1.0), {FEATURES: b"features"})
    assert publish(tmp_path / "board", tmp_path / "a").attachments == 0
    assert publish(tmp_path / "board", tmp_path / "b", features=True).attachments == 1
    assert [path.read_bytes() for path in (tmp_path / "b" / "attachments").iterdir()] == [b"features"]


def test_only_what_publish_wrote_is_replaced(board: tuple[Path, dict[str, Record]], tmp_path: Path) -> None:
    root, _ = board
    other = tmp_path / "other"
    shutil.copytree(root, other)
    write_board(other)
    before = sorted(path for path in other.rglob("*") if path.is_file())
    for folder in (other, root / "public", root.parent):
        with pytest.raises(UsageError):
            publish(root, folder)
    assert sorted(path for path in other.rglob("*") if path.is_file()) == before
    publish(root, tmp_path / "public")
    with pytest.raises(UsageError, match="no records to publish"):
        publish(tmp_path / "typo", tmp_path / "public")
    assert (tmp_path / "public" / "records").is_dir()


def test_nothing_but_files_of_records_is_published(board: tuple[Path, dict[str, Record]], tmp_path: Path) -> None:
    root, records = board
    folder, public = record_folder(root, records["first"]), tmp_path / "public"
    (tmp_path / "secret").write_text("TOPSECRET")
    (folder / "notes.html").symlink_to(tmp_path / "secret")
    (folder / "more.html").write_text("TOPSECRET")
    publish(root, public)
    assert not [path for path in public.rglob("*") if path.is_file() and b"TOPSECRET" in path.read_bytes()]
    (folder / "withdrawn.json").symlink_to(root / "records" / PROTOCOL.identity / "protocol.json")
    with pytest.raises(UsageError):
        publish(root, tmp_path / "again")


def test_what_is_not_published_any_more_is_taken_down(board: tuple[Path, dict[str, Record]], tmp_path: Path) -> None:
    root, _ = board
    public = tmp_path / "public"
    write_record(root, scored("other", 3.0), {FEATURES: b"features"})
    publish(root, public, features=True)
    assert list((public / "attachments").glob("*.npz"))
    publish(root, public)
    assert not list((public / "attachments").glob("*.npz"))
    assert list((public / "attachments").glob("*.webp"))
    hidden = msgspec.structs.replace(PROTOCOL, publish=Publish(logs=True, images=False))
    (root / "records" / PROTOCOL.identity / "protocol.json").unlink()
    keep_protocol(root, hidden)
    publish(root, public)
    assert not [path for path in (public / "attachments").rglob("*") if path.is_file()]
