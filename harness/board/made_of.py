"""What a page follows from, as a digest: a page is rendered again only where that changed."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from harness.base.digests import digest_folder, digest_json
from harness.base.shipped import PACKAGE
from harness.board.ranking import Row
from harness.protocol import Protocol
from harness.records.schema import Record


@functools.cache
def _code() -> str:
    """Digest of what pages are made by: all of the package, templates included, and the libraries that write text."""
    libraries = [version(name) for name in ("jinja2", "markupsafe", "msgspec", "scipy")]
    return digest_json([digest_folder(PACKAGE), libraries])


def digest(made_of: Any) -> str:
    """SHA-256 (hex) of plain data and structs that a page is made of, and of the code that makes it."""
    return hashlib.sha256(_code().encode() + msgspec.json.encode(made_of)).hexdigest()


def of_record(record: Record) -> list[Any]:
    """A record, by the digest of its result, which was verified when it was read: of older schemas that is the id."""
    return [record.id, record.content, record.observed]


def of_board(protocol: Protocol, rows: Sequence[Row]) -> str:
    """A protocol with its rows, in their order and with all that is said of them."""
    own = [name for name in Row.__struct_fields__ if name not in ("record", "twin")]
    said = [
        [of_record(row.record), row.twin and of_record(row.twin), [getattr(row, name) for name in own]] for row in rows
    ]
    return digest([protocol, said])
