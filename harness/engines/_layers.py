"""Layers of image archives: unpacked here, under a bound, and refused where two programs could read them differently.

An engine unpacks a layer as root. So it gets the bytes that were unpacked and walked through here, not the stranger's
compressed ones, and in them nothing on whose length readers disagree: sparse files in any dialect, numbers that are not
plainly octal, lengths in PAX records, headers that carry data of which some readers know nothing, a second archive
behind the end of the first.
"""

from __future__ import annotations

import hashlib
import re
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from harness.base.errors import BuildError, ImagePolicyError
from harness.sandbox import MAX_IMAGE_BYTES, PAGE

BLOCK, CHUNK = 512, 2**16
MAX_HEADER_BYTES = 2**20  # of a long name, or of the PAX records of one file
GZIP = b"\x1f\x8b"
PACKED = re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # what an engine unpacks again
NUMBER = re.compile(rb" *([0-7]*)[ \0]*")
FILE, WITHOUT_DATA, LONG_NAMES, PAX = b"0", b"123456", b"LK", b"xg"
LENGTH_KEYS = re.compile(rb" (size|GNU\.sparse[^=]*|SCHILY\.realsize)=")


class Unreadable(ValueError):
    """A layer that is damaged, or that two programs could read differently."""


class Layer(NamedTuple):
    """What a layer amounts to: bytes of its tar, bytes on disk (each member at least a page), SHA-256 of the tar."""

    bytes: int
    disk_bytes: int
    sha256: str


def unpacked(layer: IO[bytes]) -> Iterator[bytes]:
    """The tar in a layer, which is plain or packed by gzip, in pieces of at most CHUNK bytes; some may be empty."""
    start = layer.read(len(GZIP))
    layer.seek(0)
    if start == GZIP:
        return _gunzipped(layer)
    return iter(lambda: layer.read(CHUNK), b"")


def _gunzipped(file: IO[bytes]) -> Iterator[bytes]:
    """All members of a gzip file."""
    data = file.read(CHUNK)
    while data:
        inflater = zlib.decompressobj(wbits=31)
        while not inflater.eof:
            piece = inflater.decompress(data, CHUNK)
            data = inflater.unconsumed_tail
            if not piece and not data and not inflater.eof:
                data = file.read(CHUNK)
                if not data:
                    raise Unreadable("a layer is cut off")
            yield piece
        data = inflater.unused_data or file.read(CHUNK)


def measured(layer: IO[bytes], *, room: int, until: float) -> Layer:
    """Walk through a layer to its end, which takes time in proportion to its bytes and little memory.

    Unreadable; ImagePolicyError if it takes more than `room` bytes on disk or as a tar; BuildError if the monotonic
    clock reaches `until`.
    """
    tar = _Tar(unpacked(layer), room=room, until=until)
    header = tar.take(BLOCK)
    if PACKED.match(header):
        raise Unreadable("a layer is packed by something else than gzip, or twice")
    while header.strip(b"\0"):
        kind, size = _member(header)
        if kind in LONG_NAMES or kind in PAX:
            if size > MAX_HEADER_BYTES:
                raise Unreadable(f"a file's header has {size} bytes")
            if LENGTH_KEYS.search(tar.take(size)) and kind in PAX:
                raise ImagePolicyError(
                    "a file of the image has holes, or more than 8 GiB", fix="write it without holes, in parts"
                )
        else:
            tar.count(max(size, PAGE))
            tar.skip(size)
        tar.skip(-size % BLOCK)
        header = tar.take(BLOCK)
    tar.end()
    return Layer(tar.size, tar.disk, tar.digest.hexdigest())


def _member(header: bytes) -> tuple[bytes, int]:
    """(type, bytes that follow) of a member."""
    if _number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
        raise Unreadable("a layer is damaged (a checksum in it), or no tar")
    kind = header[156:157]
    # above 8 GiB in binary, of which the first byte says that it is positive
    size = int.from_bytes(header[125:136]) if header[124] == 0x80 else _number(header[124:136])
    if kind == b"S":
        raise ImagePolicyError("a file of the image has holes", fix="write it without holes")
    if kind not in FILE + WITHOUT_DATA + LONG_NAMES + PAX or (size and kind in WITHOUT_DATA):
        raise Unreadable(f"a layer has a member of type {kind!r} with {size} bytes")
    return kind, size


def _number(field: bytes) -> int:
    found = NUMBER.fullmatch(field)
    if found is None:
        raise Unreadable(f"a layer has the number {field!r}")
    return int(found[1] or b"0", 8)


class _Tar:
    """Pieces of bytes as one stream, which counts and hashes them."""

    def __init__(self, pieces: Iterable[bytes], *, room: int, until: float) -> None:
        self.pieces = iter(pieces)
        self.room = room
        self.until = until
        self.digest = hashlib.sha256()
        self.size = self.disk = 0
        self.rest = memoryview(b"")

    def count(self, on_disk: int) -> None:
        self.disk += on_disk
        if max(self.disk, self.size) > self.room:
            raise ImagePolicyError(
                f"the layers of the image have more than {MAX_IMAGE_BYTES / 1e9:g} GB",
                fix="leave out what it does not need, and declare weights in submission.yaml",
            )

    def take(self, count: int) -> bytes:
        """The next `count` bytes; nothing at the end of the stream."""
        parts: list[bytes] = []
        while count:
            if not self.rest and not self._more():
                if parts:
                    raise Unreadable("a layer is cut off")
                return b""
            parts.append(bytes(self.rest[:count]))
            self.rest = self.rest[count:]
            count -= len(parts[-1])
        return b"".join(parts)

    def skip(self, count: int) -> None:
        while count:
            if not self.rest and not self._more():
                raise Unreadable("a layer is cut off")
            passed = min(count, len(self.rest))
            self.rest = self.rest[passed:]
            count -= passed

    def end(self) -> None:
        """Read the rest, which is zeros."""
        while self.rest or self._more():
            if bytes(self.rest).strip(b"\0"):
                raise Unreadable("a layer goes on behind its end")
            self.rest = memoryview(b"")

    def _more(self) -> bool:
        """Fetch the next piece; False at the end of the stream."""
        for piece in self.pieces:
            if time.monotonic() > self.until:
                raise BuildError("the layers of the image take too long to read", fix="pack them as docker save does")
            if not piece:
                continue
            self.size += len(piece)
            self.count(0)
            self.digest.update(piece)
            self.rest = memoryview(piece)
            return True
        return False
