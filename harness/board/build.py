"""Records on disk -> tables on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from harness.board import tables
from harness.board.ranking import Row, rank
from harness.errors import UsageError
from harness.files import write_text
from harness.protocol import Protocol
from harness.record import Record, read_protocol, read_records, record_folder
from harness.signing import SIGNERS, read_signature, read_signers


def rank_all(leaderboard: Path) -> list[tuple[Protocol, Sequence[Row]]]:
    """Every protocol version that has records, newest version first, with its rows.

    UsageError for a damaged record.
    """
    signers = read_signers(leaderboard)
    records = sorted(read_records(leaderboard), key=_identity)
    boards = [
        (read_protocol(leaderboard, name, -version), list(group))
        for (name, version), group in groupby(records, key=_identity)
    ]
    return [
        (protocol, [_with_signer(row, leaderboard, signers) for row in rank(group, protocol)])
        for protocol, group in boards
    ]


def _with_signer(row: Row, leaderboard: Path, signers: Mapping[str, str] | None) -> Row:
    if signers is None:
        return row
    signature = read_signature(record_folder(leaderboard, row.record))
    return msgspec.structs.replace(row, signed_by=signers.get(signature.key, "") if signature else "")


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


def check_signed(leaderboard: Path) -> None:
    """UsageError naming the ranked records that nobody signed whose signature counts (`signers.yaml`)."""
    if read_signers(leaderboard) is None:
        raise UsageError(
            f"{leaderboard / SIGNERS}: no such file, so no signature counts",
            fix="write it: signers: [{name: ..., key: <as `harness sign` prints it>}]",
        )
    rows = [row for _, rows in rank_all(leaderboard) for row in rows if row.standing == "ranked" and not row.signed_by]
    if rows:
        named = "\n  ".join(_unsigned(record_folder(leaderboard, row.record)) for row in rows)
        raise UsageError(
            f"{len(rows)} ranked records are not signed by anybody in {leaderboard / SIGNERS}:\n  {named}",
            fix="harness sign RECORD..., or run them again with HARNESS_SIGNING_KEY",
        )


def _unsigned(folder: Path) -> str:
    signature = read_signature(folder)
    return f"{folder}: {f'signed by the unknown key {signature.key}' if signature else 'not signed'}"


def _identity(record: Record) -> tuple[str, int]:
    return record.result.protocol.name, -record.result.protocol.version
