"""Records on disk -> tables and site on disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from harness.base.errors import UsageError
from harness.base.files import write_text
from harness.base.text import first_few
from harness.board import exports, tables
from harness.board.ranking import Row, rank
from harness.board.site import render_site
from harness.protocol import Protocol
from harness.records.schema import Record
from harness.records.signing import SIGNERS, read_signature, read_signers
from harness.records.store import read_protocol, read_records, record_folder
from harness.records.withdrawal import read_withdrawals

SITE = "site"
ENTRANCE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Leaderboard</title><link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url=site/index.html"></head>
<body><a href="site/index.html">Leaderboard</a></body></html>
"""
"""`index.html` of the leaderboard's folder, which is the root that a web server is given: pages show `records/`."""


def rank_all(leaderboard: Path) -> list[tuple[Protocol, Sequence[Row]]]:
    """Every protocol version that has records, newest version first, with its rows.

    UsageError for a damaged record.
    """
    return _rank(leaderboard, list(read_records(leaderboard)))


def _rank(leaderboard: Path, records: Sequence[Record]) -> list[tuple[Protocol, Sequence[Row]]]:
    reasons = {record: withdrawal.reason for record, withdrawal in read_withdrawals(leaderboard).items()}
    boards = [
        (read_protocol(leaderboard, name, -version), list(group))
        for (name, version), group in groupby(sorted(records, key=_identity), key=_identity)
    ]
    signers = read_signers(leaderboard)
    return [
        (protocol, [_with_signer(row, leaderboard, signers) for row in rank(group, protocol, reasons)])
        for protocol, group in boards
    ]


def _with_signer(row: Row, leaderboard: Path, signers: Mapping[str, str] | None) -> Row:
    if signers is None:
        return row
    signature = read_signature(record_folder(leaderboard, row.record))
    return msgspec.structs.replace(row, signed_by=signers.get(signature.key, "") if signature else "")


def render(leaderboard: Path) -> dict[Path, str]:
    """What `harness board` writes: file -> text. The same records give the same bytes."""
    records = list(read_records(leaderboard))
    boards = _rank(leaderboard, records)
    files = {
        "README.md": tables.markdown(boards),
        "leaderboard.csv": tables.csv(boards),
        "leaderboard.json": exports.as_json(boards),
        "leaderboard.tex": exports.latex(boards),
        "index.html": ENTRANCE,
    }
    site = render_site(leaderboard, boards, records)
    files |= {f"{SITE}/{name}": text for name, text in site.items()}
    return {leaderboard / name: text for name, text in files.items()}


def write_board(leaderboard: Path) -> list[Path]:
    """Rebuild tables and site from the records; returns the files written.

    What else lies in the site's folder stays: another run may just have written the pages of its record.
    """
    files = render(leaderboard)
    for path, text in files.items():
        if not path.is_file() or path.read_bytes() != text.encode():
            write_text(path, text)
    return list(files)


def remove_leftovers(leaderboard: Path, written: Sequence[Path]) -> list[Path]:
    """Remove what the site's folder holds beside the files just `written`; returns what was removed."""
    found = _leftovers(leaderboard, written)
    for path in found:
        path.unlink()
    return found


def check_board(leaderboard: Path) -> None:
    """UsageError naming the files that differ from what the records give."""
    files = render(leaderboard)
    stale = [path for path, text in files.items() if not path.is_file() or path.read_bytes() != text.encode()]
    stale += _leftovers(leaderboard, files)
    if stale:
        offenders = ", ".join(first_few([str(path) for path in stale]))
        raise UsageError(f"stale: {offenders} differ from what the records give", fix="harness board")


def _leftovers(leaderboard: Path, files: Collection[Path]) -> list[Path]:
    there = [path for path in (leaderboard / SITE).rglob("*") if path.is_file()]
    return sorted(path for path in there if path not in files and not path.name.startswith("."))


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
