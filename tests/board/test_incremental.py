"""A board is brought up to date by what changed, and is then the same as one made from nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.board import build
from harness.board.build import check_board, write_board
from harness.records.schema import Record
from harness.records.store import keep_protocol, read_records, record_folder, write_record
from harness.records.withdrawal import read_withdrawals, withdraw
from tests.board.site.board import attachments
from tests.board.site.board import leaderboard as make_leaderboard
from tests.board_records import PROTOCOL, scored


@pytest.fixture
def board(tmp_path: Path) -> tuple[Path, dict[str, Record]]:
    records = make_leaderboard(tmp_path)
    write_board(tmp_path / "leaderboard")
    return tmp_path / "leaderboard", records


def names(paths: tuple[Path, ...], board: Path) -> set[str]:
    """The pages of records among those of a protocol: tables and lists of rows follow from every row."""
    site = board / "site" / PROTOCOL.identity
    return {path.relative_to(site).as_posix() for path in paths if path.parent != site and site in path.parents}


def assert_as_made_from_nothing(board: Path) -> None:
    write_board(board, tidy=True)
    check_board(board)  # renders every page anew
    kept = {path: path.read_bytes() for path in build.write_board(board).files}
    shutil.rmtree(board / "site")
    write_board(board)
    assert {path: path.read_bytes() for path in kept} == kept


def test_nothing_new_renders_nothing(board: tuple[Path, dict[str, Record]]) -> None:
    assert write_board(board[0]).rendered == ()


def test_a_new_row_renders_its_own_pages_only(board: tuple[Path, dict[str, Record]], tmp_path: Path) -> None:
    last = scored("last", 8.0)
    write_record(board[0], last, attachments(tmp_path / "last", 2.0))
    own = {f"last/{last.id}.html", f"compare/{last.id}.js", "last/model-card.yaml"}
    assert names(write_board(board[0]).rendered, board[0]) == own
    assert_as_made_from_nothing(board[0])


def test_a_new_best_row_shifts_ranks_without_touching_the_pages_behind_it(
    board: tuple[Path, dict[str, Record]],
) -> None:
    best = scored("best", 0.1)
    write_record(board[0], best, {})
    own = {f"best/{best.id}.html", f"compare/{best.id}.js", "best/model-card.yaml"}
    assert names(write_board(board[0]).rendered, board[0]) == own
    site = board[0] / "site" / PROTOCOL.identity
    assert f'"{board[1]["first"].id}":[2,' in (site / "standings.js").read_text()
    assert "rank 2" in (site / "alpha" / "badge.svg").read_text()
    assert_as_made_from_nothing(board[0])


def test_what_a_page_depends_on_renders_it_again(board: tuple[Path, dict[str, Record]]) -> None:
    root, records = board
    page = f"alpha/{records['first'].id}.html"
    changes: dict[str, Callable[[], object]] = {
        "a newer record of the submission": lambda: write_record(
            root, scored("alpha", 0.9, date="2026-01-02T00:00:00Z"), {}
        ),
        "a withdrawal": lambda: withdraw(record_folder(root, records["first"]), "wrong data"),
        "a protocol's words": lambda: keep_protocol(root, msgspec.structs.replace(PROTOCOL, title="Other")),
        "its attachments": lambda: shutil.rmtree(root / "attachments"),
    }
    for change, make in changes.items():
        make()
        assert page in names(write_board(root).rendered, root), change
        assert write_board(root).rendered == (), change
    assert_as_made_from_nothing(root)


@pytest.mark.parametrize("damage", ["altered", "removed", "state"])
def test_a_damaged_page_is_made_again(board: tuple[Path, dict[str, Record]], damage: str) -> None:
    root, records = board
    page = root / "site" / PROTOCOL.identity / "alpha" / f"{records['first'].id}.html"
    before = page.read_bytes()
    if damage == "state":
        (root / build.STATE).write_text("{")
    elif damage == "removed":
        page.unlink()
    else:
        page.write_text("altered")
    assert page in write_board(root).rendered
    assert page.read_bytes() == before


def test_pages_of_a_run_beside_are_not_removed(
    board: tuple[Path, dict[str, Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine writes a record and its pages after this one read the records."""
    root, _ = board
    fresh = scored("fresh", 0.5)
    page = root / "site" / PROTOCOL.identity / "fresh" / f"{fresh.id}.html"
    script = root / "site" / PROTOCOL.identity / "compare" / f"{fresh.id}.js"
    stale = root / "site" / PROTOCOL.identity / "gone" / "0123456789abcdef.html"
    found = list(read_records(root))

    def read_then_another_writes(_leaderboard: Path) -> list[Record]:
        write_record(root, fresh, {})
        for path in (page, script, stale):
            path.parent.mkdir(exist_ok=True)
            path.write_text("written meanwhile")
        return found

    monkeypatch.setattr(build, "read_records", read_then_another_writes)
    assert write_board(root, tidy=True).removed == (stale,)
    assert page.is_file()
    assert script.is_file()


EDITS = ("add", "withdraw", "damage", "remove", "attachments", "words")


@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 50)), min_size=1, max_size=4))
def test_whatever_changed_a_board_is_as_made_from_nothing(edits: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_leaderboard(Path(folder))
        root = Path(folder) / "leaderboard"
        write_board(root)
        for number, (edit, at) in enumerate(edits):
            change(root, edit, at, number)
            write_board(root, tidy=True)
        found = tree(root)
        shutil.rmtree(root / "site")
        for name in ("README.md", "leaderboard.csv", "leaderboard.json", "leaderboard.tex", "index.html"):
            (root / name).unlink()
        write_board(root)
        assert found == tree(root)


def change(root: Path, edit: str, at: int, number: int) -> None:
    """One edit of a leaderboard: `at` says of which record or page, `number` which of the edits it is."""
    pages = [path for path in sorted(root.glob("site/**/*")) if path.is_file()] + [root / "README.md"]
    known = read_withdrawals(root)
    records = [one for one in read_records(root) if one.id not in known]
    if edit == "add":
        write_record(root, scored(f"new-{number}", 0.3 + at / 10), {})
    elif edit == "withdraw":
        withdraw(record_folder(root, records[at % len(records)]), "wrong data")
    elif edit == "damage":
        pages[at % len(pages)].write_text("damaged")
    elif edit == "remove":
        pages[at % len(pages)].unlink()
    elif edit == "attachments":
        shutil.rmtree(root / "attachments", ignore_errors=True)
    else:
        keep_protocol(root, msgspec.structs.replace(PROTOCOL, title=f"Title {number}"))


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
