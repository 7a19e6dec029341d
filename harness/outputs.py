"""Outputs: untrusted bytes -> verified images. Everything is checked by our own code before a decoder sees it."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.errors import OutputQuotaError, OutputsError, UsageError
from harness.files import Strict
from harness.sandbox import Quota, largest_png

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NAMED_AT_MOST = 5  # examples of one kind in a message
FIX = (
    "write one 8-bit single-channel PNG of the input's size and name per case to $HARNESS_OUTPUT, as "
    "submissions/template does: np.uint8(np.clip(clean, 0, 255).round()), saved under case['file']"
)


class Rejected(Exception):
    """Why one file is not an acceptable slice; the text completes the sentence `<name>: ...`."""


# -------------------------------------------------------------------------------- one PNG
class Header(Strict, frozen=True, kw_only=True):
    """The fields of IHDR that are not fixed."""

    height: int
    width: int
    channels: int


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of each chunk of a PNG up to IEND; Rejected for what does not hold together."""
    if not data.startswith(SIGNATURE):
        raise Rejected("is not a PNG file")
    at = len(SIGNATURE)
    while True:
        if at + 12 > len(data):
            raise Rejected("is a truncated PNG")
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            raise Rejected("is a truncated PNG")
        kind, content = data[at + 4 : at + 8], data[at + 8 : end - 4]
        if zlib.crc32(kind + content) != struct.unpack_from(">I", data, end - 4)[0]:
            raise Rejected(f"is a damaged PNG (check sum of chunk {kind!r})")
        yield kind, content
        at = end
        if kind == b"IEND":
            if at != len(data):
                raise Rejected(f"is a PNG with {len(data) - at} bytes after its end")
            return


def _header(content: bytes, *, height: int, width: int) -> Header:
    if len(content) != 13:
        raise Rejected("is a damaged PNG (length of its header)")
    found_width, found_height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", content)
    if (found_height, found_width) != (height, width):
        raise Rejected(f"has {found_height} x {found_width} pixels (height x width), expected {height} x {width}")
    if depth != 8:
        raise Rejected(f"has {depth} bits per channel, expected 8: keep the grey scale of the input, 0 to 255")
    channels = {0: 1, 2: 3}.get(colour)
    if channels is None:
        kind = {3: "a palette", 4: "an alpha channel", 6: "an alpha channel"}.get(colour, f"colour type {colour}")
        raise Rejected(f"has {kind}, expected one grey channel")
    if (compression, filtering) != (0, 0):
        raise Rejected("is a damaged PNG (unknown compression or filter)")
    if interlace != 0:
        raise Rejected("is interlaced, expected a plain PNG")
    return Header(height=height, width=width, channels=channels)


def read_png(data: bytes, *, height: int, width: int) -> NDArray[np.uint8]:
    """Read an untrusted 8-bit grey PNG (or one of three equal channels) of exactly the given size.

    Returns uint8 (height, width). Memory is bounded by the size: the header is read first, and not more than the
    bytes of that many pixels are ever inflated. Raises Rejected.
    """
    header = None
    packed = bytearray()
    closed = False  # image data must be one run of chunks
    for number, (kind, content) in enumerate(_chunks(data)):
        if (number == 0) != (kind == b"IHDR"):
            raise Rejected("is a damaged PNG (order of its chunks)")
        if kind == b"IHDR":
            header = _header(content, height=height, width=width)
        elif kind == b"IDAT":
            if closed:
                raise Rejected("is a damaged PNG (order of its chunks)")
            packed += content
        elif kind in (b"acTL", b"fcTL", b"fdAT"):
            raise Rejected("is animated, expected one image")
        elif kind == b"tRNS":
            raise Rejected("has transparent pixels, expected one grey channel")
        elif kind[:1].isupper() and kind not in (b"PLTE", b"IEND"):
            raise Rejected(f"is a PNG with an unknown chunk {kind!r}")
        closed = closed or (kind != b"IDAT" and bool(packed))
    assert header is not None  # the first chunk is IHDR

    expected = header.height * (1 + header.channels * header.width)
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(bytes(packed), expected + 1)
    except zlib.error as error:
        raise Rejected(f"is a damaged PNG ({error})") from None
    if len(raw) != expected or not inflater.eof:
        raise Rejected("is a damaged PNG (its data do not fill its size exactly)")
    if max(raw[:: 1 + header.channels * header.width]) > 4:
        raise Rejected("is a damaged PNG (unknown row filter)")

    # The decoder sees a PNG of our own making: header, pixels, end. Profiles, texts and palettes never reach it.
    colour = 0 if header.channels == 1 else 2
    clean = io.BytesIO()
    clean.write(SIGNATURE)
    ihdr = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    for kind, content in ((b"IHDR", ihdr), (b"IDAT", bytes(packed)), (b"IEND", b"")):
        clean.write(struct.pack(">I", len(content)) + kind + content)
        clean.write(struct.pack(">I", zlib.crc32(kind + content)))
    with Image.open(clean, formats=["PNG"]) as image:
        pixels = np.asarray(image)
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise Rejected("is in colour, expected one grey channel (or three equal ones)")
        pixels = pixels[..., 0]
    return np.array(pixels, dtype=np.uint8)


def check_grey_levels(pixels: NDArray[np.uint8]) -> None:
    """Refuse slices (uint8, height x width) that no denoiser of an 8-bit slice means to write; Rejected says why."""
    low, high = int(pixels.min()), int(pixels.max())
    if low == high:
        raise Rejected(f"is constant (every pixel is {low})")
    if high <= 1:
        raise Rejected("holds only 0 and 1: it was saved on a scale of [0, 1], multiply by 255 before rounding")


# -------------------------------------------------------------------------------- the tar
class _Bounded(io.RawIOBase):
    """A byte iterator as a file that refuses to deliver more than `limit` bytes."""

    def __init__(self, chunks: Iterable[bytes], limit: int) -> None:
        self.chunks = iter(chunks)
        self.left = limit
        self.rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self.rest:
            chunk = next(self.chunks, None)
            if chunk is None:
                return 0
            self.left -= len(chunk)
            if self.left < 0:
                raise OutputQuotaError("/output streams more bytes than its quota holds", fix=FIX)
            self.rest = chunk
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        return count


def read_outputs(
    tar: Iterable[bytes], *, sizes: Mapping[str, tuple[int, int]], quota: Quota
) -> dict[str, NDArray[np.uint8]]:
    """Read and check a submission's outputs from the tar stream of its /output.

    `sizes` gives (height, width) of each case by the name that the container knows. Returns uint8 (height, width)
    by that name, every case present. OutputsError lists everything that is missing, superfluous or wrong;
    OutputQuotaError for files larger than the quota (sparse ones).
    """
    read: dict[str, Future[NDArray[np.uint8]]] = {}
    wrong: dict[str, str] = {}
    stray: list[str] = []
    # inflating and decoding take longer than the stream; so many files at most wait for it in memory
    cores = os.cpu_count() or 1
    room = threading.BoundedSemaphore(2 * cores)
    # 4 kB a member for its headers
    limit = quota.bytes + quota.inodes * 4096 + 2**20
    try:
        with (
            ThreadPoolExecutor(cores) as pool,
            tarfile.open(fileobj=io.BufferedReader(_Bounded(tar, limit)), mode="r|") as members,
        ):
            for member in members:
                name = member.name.removeprefix("./")
                if name in ("", ".") and member.isdir():
                    continue
                if member.size > quota.bytes:
                    raise OutputQuotaError(
                        f"{name!r} claims {member.size} bytes, all of /output may hold {quota.bytes}", fix=FIX
                    )
                case = name.removesuffix(".png")
                if case not in sizes or not name.endswith(".png"):
                    stray.append(_shown(name) + ("" if member.isreg() else f" ({_kind(member)})"))
                    continue
                try:
                    data = _member_bytes(members, member, size=sizes[case])
                except Rejected as error:
                    wrong[case] = str(error)
                    continue
                room.acquire()
                read[case] = pool.submit(_read_slice, data, size=sizes[case])
                read[case].add_done_callback(lambda _: room.release())
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise OutputsError(f"/output cannot be read: {error}", fix=FIX) from error
    found: dict[str, NDArray[np.uint8]] = {}
    for case, pixels in read.items():
        try:
            found[case] = pixels.result()
        except Rejected as error:
            wrong[case] = str(error)
    return _complete(found, wrong=wrong, stray=stray, sizes=sizes)


def read_folder(folder: Path, *, sizes: Mapping[str, tuple[int, int]]) -> dict[str, NDArray[np.uint8]]:
    """Read and check outputs that lie in a folder as `<case>.png`, as strictly as a container's.

    Returns uint8 (height, width) by case. UsageError where there is no such folder; OutputsError as `read_outputs`.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", fix="name the folder that holds one <case>.png per case")
    found: dict[str, NDArray[np.uint8]] = {}
    wrong: dict[str, str] = {}
    stray: list[str] = []
    for path in sorted(folder.iterdir()):
        case = path.name.removesuffix(".png")
        if case not in sizes or path.suffix != ".png":
            stray.append(_shown(path.name))
            continue
        try:
            if path.is_symlink() or not path.is_file():
                raise Rejected("is no regular file")
            _check_length(path.stat().st_size, size=sizes[case])
            found[case] = _read_slice(path.read_bytes(), size=sizes[case])
        except Rejected as error:
            wrong[case] = str(error)
    return _complete(found, wrong=wrong, stray=stray, sizes=sizes)


def _complete(
    found: dict[str, NDArray[np.uint8]],
    *,
    wrong: dict[str, str],
    stray: list[str],
    sizes: Mapping[str, tuple[int, int]],
) -> dict[str, NDArray[np.uint8]]:
    """What was found, in the order of `sizes`; OutputsError unless it is every case and nothing else.

    `wrong` is why by case."""
    missing = [f"{case}.png" for case in sizes if case not in found and case not in wrong]
    if missing or wrong or stray:
        raise _complaint(missing=missing, wrong=wrong, stray=stray, total=len(sizes))
    return {case: found[case] for case in sizes}


def _check_length(length: int, *, size: tuple[int, int]) -> None:
    height, width = size
    if length > largest_png(height, width):
        raise Rejected(f"has {length} bytes, a PNG of that size needs at most {largest_png(height, width)}")


def _read_slice(data: bytes, *, size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image of `size` from a file that is not too long."""
    height, width = size
    pixels = read_png(data, height=height, width=width)
    check_grey_levels(pixels)
    return pixels


def _member_bytes(members: tarfile.TarFile, member: tarfile.TarInfo, *, size: tuple[int, int]) -> bytes:
    if not member.isreg():
        raise Rejected(f"is a {_kind(member)}, expected a regular file")
    _check_length(member.size, size=size)
    file = members.extractfile(member)
    assert file is not None  # a regular file
    return file.read()


def _kind(member: tarfile.TarInfo) -> str:
    if member.isdir():
        return "folder"
    if member.issym():
        return "symbolic link"
    if member.islnk():
        return "hard link"
    return "FIFO" if member.isfifo() else "special file"


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 60 else name[:57] + "...")


def _complaint(*, missing: list[str], wrong: dict[str, str], stray: list[str], total: int) -> OutputsError:
    lines = []
    for what, count, items in (
        ("missing", len(missing), missing),
        ("wrong", len(wrong), _by_reason(wrong)),
        ("not expected", len(stray), stray),
    ):
        if count:
            lines.append(f"{count} {what}: {_some(items, '; ')}")
    if len(missing) == total and not wrong and not stray:
        lines = [f"/output is empty, expected {total} files"]
    return OutputsError(f"outputs of {total} cases: " + ". ".join(lines), fix=FIX)


def _by_reason(wrong: dict[str, str]) -> list[str]:
    """One clause a reason: most often every file has the same, which is said once."""
    clauses = []
    for reason in dict.fromkeys(wrong.values()):
        first, *others = [f"{case}.png" for case, why in wrong.items() if why == reason]
        clauses.append(f"{first} {reason}" + (f" (so it is with {_some(others, ', ')})" if others else ""))
    return clauses


def _some(items: list[str], separator: str) -> str:
    more = f", and {len(items) - NAMED_AT_MOST} more" if len(items) > NAMED_AT_MOST else ""
    return separator.join(items[:NAMED_AT_MOST]) + more
