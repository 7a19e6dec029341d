"""Records on disk -> tables and site on disk.

`README.md` is part of version control, all else that is written here is not: whoever has the records makes it anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from harness.base.digests import digest_file
from harness.base.errors import UsageError
from harness.base.files import in_turn, write_bytes
from harness.base.structs import Strict, canonical_json
from harness.base.text import first_few
from harness.board import exports, made_of, tables
from harness.board.ranking import Row, rank
from harness.board.site import Page, site_pages
from harness.board.site.shelf import shelf_of
from harness.protocol import Protocol
from harness.records.attachments import open_store
from harness.records.observe import latest
from harness.records.schema import Record
from harness.records.signing import SIGNERS, read_signature, read_signers
from harness.records.store import read_protocol, read_records, record_folder
from harness.records.withdrawal import read_withdrawals

SITE = "site"
TABLE = "README.md"
STATE = f"{SITE}/.pages.json"
LOCK = ".board.lock"
ENTRANCE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Leaderboard</title><link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url=site/index.html"></head>
<body><a href="site/index.html">Leaderboard</a></body></html>
"""
"""`index.html` of the leaderboard's folder, which is the root that a web server is given: pages show `records/`."""

IGNORED = """# `harness board` builds these from the records
/index.html
/leaderboard.csv
/leaderboard.json
/leaderboard.tex
/site/
/.board.lock
# features and pictures: see `harness store`
/attachments/
"""
"""`.gitignore` of a leaderboard that has none."""


class Written(Strict, frozen=True, kw_only=True):
    """What `write_board` did: every file of the board, those that it rendered anew, and what it removed."""

    files: tuple[Path, ...]
    rendered: tuple[Path, ...]
    removed: tuple[Path, ...]


class _Known(Strict, frozen=True, kw_only=True):
    """What a page was made of when it was last written, and the SHA-256 of its bytes."""

    made_of: str
    sha256: str


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
        (protocol, [_with_signer(row, leaderboard, signers) for row in rank(group, protocol, reasons, now=latest())])
        for protocol, group in boards
    ]


def _with_signer(row: Row, leaderboard: Path, signers: Mapping[str, str] | None) -> Row:
    if signers is None:
        return row
    signature = read_signature(record_folder(leaderboard, row.record))
    return msgspec.structs.replace(row, signed_by=signers.get(signature.key, "") if signature else "")


def _pages(leaderboard: Path, records: Sequence[Record], root: Path) -> dict[str, Page]:
    """What `harness board` writes: file below `root` -> page."""
    boards = _rank(leaderboard, records)
    shelf = shelf_of(leaderboard, root)
    strips = {row.record.id: shelf.strip(protocol, row.record) for protocol, rows in boards for row in rows}
    every = made_of.digest([[made_of.of_board(protocol, rows) for protocol, rows in boards], strips])
    pages = {
        TABLE: Page(every, lambda: tables.markdown(boards, strips)),
        "leaderboard.csv": Page(every, lambda: tables.csv(boards)),
        "leaderboard.json": Page(every, lambda: exports.as_json(boards)),
        "leaderboard.tex": Page(every, lambda: exports.latex(boards)),
        "index.html": Page("", lambda: ENTRANCE),
    }
    site = site_pages(leaderboard, boards, records, shelf, open_store(leaderboard).read)
    return pages | {f"{SITE}/{name}": page for name, page in site.items()}


def render(leaderboard: Path) -> dict[Path, str]:
    """Every file that `harness board` writes -> its text. The same records give the same bytes."""
    pages = _pages(leaderboard, list(read_records(leaderboard)), leaderboard)
    return {leaderboard / name: page.text() for name, page in pages.items()}


def write_board(leaderboard: Path, root: Path | None = None, *, tidy: bool = False) -> Written:
    """Bring tables and site up to date with the records, into `root` (the leaderboard's own folder).

    Only pages are rendered whose contents changed. One process at a time writes; with `tidy` what else lies in the
    site's folder is removed, but never the pages of a record that was written meanwhile.
    """
    root = root or leaderboard
    with in_turn(root / LOCK):
        if root == leaderboard and not (root / ".gitignore").exists():
            write_bytes(root / ".gitignore", IGNORED.encode())
        records = list(read_records(leaderboard))
        pages = _pages(leaderboard, records, root)
        before = _read_state(root)
        state: dict[str, _Known] = {}
        rendered = []
        for name, page in pages.items():
            path, known = root / name, before.get(name)
            if known is not None and known.made_of == page.made_of and _digest(path) == known.sha256:
                state[name] = known
                continue
            data = page.text().encode()
            sha256 = hashlib.sha256(data).hexdigest()
            if page.made_of:
                state[name] = _Known(made_of=page.made_of, sha256=sha256)
                rendered.append(path)
            if _digest(path) != sha256:
                write_bytes(path, data)
        write_bytes(root / STATE, canonical_json(state))
        removed = _leftovers(leaderboard, root, pages, records) if tidy else []
        for path in removed:
            path.unlink()
    return Written(files=tuple(root / name for name in pages), rendered=tuple(rendered), removed=tuple(removed))


def check_board(leaderboard: Path) -> None:
    """UsageError naming the files that differ from what the records give.

    The table alone where no site was made, as in a fresh clone.
    """
    records = list(read_records(leaderboard))
    pages = _pages(leaderboard, records, leaderboard)
    made = (leaderboard / SITE).is_dir()
    shown = [name for name in pages if made or name == TABLE]
    stale = [leaderboard / name for name in shown if _text(leaderboard / name) != pages[name].text()]
    stale += _leftovers(leaderboard, leaderboard, pages, records)
    if stale:
        offenders = ", ".join(first_few([str(path) for path in stale]))
        raise UsageError(f"stale: {offenders} differ from what the records give", fix="harness board")


def _leftovers(leaderboard: Path, root: Path, pages: Collection[str], records: Sequence[Record]) -> list[Path]:
    """What lies in the site's folder and is no page of ours, nor of a record that somebody wrote meanwhile."""
    read = {record_folder(leaderboard, record) for record in records}
    theirs: list[str] = []
    for folder in {path.parent for path in leaderboard.glob("records/*/*/*/record.json")} - read:
        protocol, slug = f"{SITE}/{folder.parts[-3]}", folder.parts[-2]
        theirs += [f"{protocol}/{slug}/", f"{protocol}/compare/{folder.name}.js"]
        theirs += [f"{protocol}/index.html", f"{protocol}/compare.html"]
    there = {path.relative_to(root).as_posix(): path for path in (root / SITE).rglob("*") if path.is_file()}
    return [
        path
        for name, path in sorted(there.items())
        if name not in pages and not path.name.startswith(".") and not name.startswith(tuple(theirs))
    ]


def _read_state(root: Path) -> dict[str, _Known]:
    """What is known of the pages in a folder; nothing where that is damaged, so that all are rendered anew."""
    try:
        return msgspec.json.decode((root / STATE).read_bytes(), type=dict[str, _Known])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}


def _digest(path: Path) -> str | None:
    try:
        return digest_file(path)
    except FileNotFoundError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def check_signed(leaderboard: Path) -> None:
    """UsageError naming the ranked records that nobody signed whose signature counts (`signers.yaml`)."""
    if read_signers(leaderboard) is None:
        raise UsageError(
            f"{leaderboard / SIGNERS}: no such file, so no signature counts",
            fix="write it: signers: [{name: ..., key: <as `harness sign` prints it>}]",
        )
    rows = [row for _, rows in rank_all(leaderboard) for row in rows if row.standing == "ranked" and not row.signed_by]
    if rows:
        unsigned = "\n  ".join(_unsigned(record_folder(leaderboard, row.record)) for row in rows)
        raise UsageError(
            f"{len(rows)} ranked records are not signed by anybody in {leaderboard / SIGNERS}:\n  {unsigned}",
            fix="harness sign RECORD..., or run them again with HARNESS_SIGNING_KEY",
        )


def _unsigned(folder: Path) -> str:
    signature = read_signature(folder)
    return f"{folder}: {f'signed by the unknown key {signature.key}' if signature else 'not signed'}"


def _identity(record: Record) -> tuple[str, int]:
    return record.result.protocol.name, -record.result.protocol.version
