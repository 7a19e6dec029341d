"""Records on disk -> tables on disk."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from harness.board import tables
from harness.board.ranking import Row, rank
from harness.errors import UsageError
from harness.files import write_text
from harness.protocol import Protocol
from harness.record import Record, read_protocol, read_records


def rank_all(leaderboard: Path) -> list[tuple[Protocol, Sequence[Row]]]:
    """Every protocol version that has records, newest version first, with its rows.

    UsageError for a damaged record.
    """
    records = sorted(read_records(leaderboard), key=_identity)
    boards = [
        (read_protocol(leaderboard, name, -version), list(group))
        for (name, version), group in groupby(records, key=_identity)
    ]
    return [(protocol, rank(group, protocol)) for protocol, group in boards]


def render(leaderboard: Path) -> dict[Path, str]:
    """What `harness board` writes: file -> text. The same records give the same bytes."""
    boards = rank_all(leaderboard)
    return {
        leaderboard / "README.md": tables.markdown(boards),
        leaderboard / "leaderboard.csv": tables.csv(boards),
    }


def write_board(leaderboard: Path) -> list[Path]:
    """Rebuild the tables from the records; returns the files written."""
    files = render(leaderboard)
    for path, text in files.items():
        write_text(path, text)
    return list(files)


def check_board(leaderboard: Path) -> None:
    """UsageError naming the files that differ from what the records give."""
    stale = [str(path) for path, text in render(leaderboard).items() if not path.is_file() or path.read_text() != text]
    if stale:
        raise UsageError(f"stale: {', '.join(stale)} differ from what the records give", fix="harness board")


def _identity(record: Record) -> tuple[str, int]:
    return record.result.protocol.name, -record.result.protocol.version
