"""Any bytes -> a grey PNG of 8 or 16 bits: our own code checks everything before a decoder sees it.

The one reader of slices, whoever made them: submissions' outputs, organisers' inputs, and our own files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.base.text import counted

Image = NDArray[np.unsignedinteger[Any]]
"""A slice, uint8 or uint16 (height, width)."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MOST_PIXELS = 2**26
"""Of an image whose size nobody states beforehand: 8192 x 8192."""


GREY = "save it as a PNG of one grey channel with 8 bits (mode L), as Pillow writes it"
WINDOWED = f"map all slices to 8 bits through one fixed HU window; {GREY}"
COPY_ANEW = "copy or export it anew: what is there is incomplete or damaged"


class Rejected(Exception):
    """Why one file is not an acceptable slice; the text continues after the file's name. `fix` says what to do."""

    def __init__(self, message: str, *, fix: str = GREY) -> None:
        super().__init__(message)
        self.fix = fix


class Damaged(Rejected):
    """A PNG that is truncated or not as the format has it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, fix=COPY_ANEW)


class Slice(NamedTuple):
    """A verified slice: its pixels, and its file reduced to header, pixels and end."""

    pixels: Image
    png: bytes


def pixels_of(found: Mapping[str, Slice]) -> dict[str, Image]:
    """The pixels of verified slices, by the same names."""
    return {name: one.pixels for name, one in found.items()}


class _Header(NamedTuple):
    """The fields of IHDR that are not fixed."""

    height: int
    width: int
    channels: int
    bits: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, with its filter's."""
        return 1 + self.channels * self.width * self.bits // 8


def stated_size(data: bytes) -> tuple[int, int]:
    """The (height, width) that a PNG states. Rejected if it is none, or larger than `MOST_PIXELS`."""
    kind, content = next(_chunks(data))
    if kind != b"IHDR" or len(content) != 13:
        raise Damaged("is a damaged PNG (no header)")
    width, height = struct.unpack_from(">II", content)
    if not 0 < height * width <= MOST_PIXELS:
        raise Rejected(
            f"has {height} x {width} pixels (height x width), expected 1 to {MOST_PIXELS}", fix="crop or shrink it"
        )
    return height, width


def read_png(data: bytes, *, height: int, width: int, bits: Collection[int] = (8,)) -> Slice:
    """Read an untrusted grey PNG of exactly the given size, of 8 bits (one channel, or three equal ones) or of 16 bits
    (one channel): `bits` says which may be.

    Memory is bounded by the size: the header is read first, and no more bytes are decompressed than that many pixels
    take. Rejected says what is wrong.
    """
    header, packed = _parts(data, height=height, width=width, bits=bits)
    expected = header.height * header.row_bytes
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, expected + 1)
    except zlib.error as error:
        raise Damaged(f"is a damaged PNG ({error})") from None
    if len(raw) != expected or not inflater.eof:
        raise Damaged("is a damaged PNG (it holds more or fewer bytes than its size takes)")
    if max(raw[:: header.row_bytes]) > 4:
        raise Damaged("is a damaged PNG (unknown row filter)")

    # The decoder gets a PNG that we made: header, what we decompressed, end. Profiles, texts and palettes never reach
    # it, and it need not decompress again.
    with Pillow.open(io.BytesIO(_png(header, zlib.compress(raw, 0))), formats=["PNG"]) as image:
        pixels = np.asarray(image)
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise Rejected("is in colour, expected one grey channel (or three equal ones)")
        pixels = pixels[..., 0]
    own = np.uint8 if header.bits == 8 else np.uint16
    return Slice(np.array(pixels, dtype=own), _png(header, packed[: len(packed) - len(inflater.unused_data)]))


def _parts(data: bytes, *, height: int, width: int, bits: Collection[int]) -> tuple[_Header, bytes]:
    """Header and compressed pixels of a PNG; Rejected if its chunks are out of order or not allowed."""
    header = None
    packed = bytearray()
    closed = False  # image data must be one run of chunks
    for number, (kind, content) in enumerate(_chunks(data)):
        if (number == 0) != (kind == b"IHDR"):
            raise Damaged("is a damaged PNG (chunks out of order)")
        if kind == b"IHDR":
            header = _header(content, height=height, width=width, bits=bits)
        elif kind == b"IDAT":
            if closed:
                raise Damaged("is a damaged PNG (chunks out of order)")
            packed += content
        elif kind in (b"acTL", b"fcTL", b"fdAT"):
            raise Rejected("is animated, expected one image")
        elif kind == b"tRNS":
            raise Rejected("has transparent pixels, expected one grey channel")
        elif kind[:1].isupper() and kind not in (b"PLTE", b"IEND"):
            raise Rejected(f"is a PNG with an unknown chunk {_shown(kind)}")
        closed = closed or (kind != b"IDAT" and bool(packed))
    assert header is not None  # the first chunk is IHDR
    return header, bytes(packed)


def _shown(kind: bytes) -> str:
    return ascii(kind.decode("latin-1"))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of each chunk of a PNG up to IEND; Rejected if it is truncated or damaged."""
    if not data:
        raise Damaged("is empty, not a PNG file")
    if not data.startswith(SIGNATURE):
        raise Rejected("is not a PNG file")
    at = len(SIGNATURE)
    while True:
        if at + 12 > len(data):
            raise Damaged("is a truncated PNG")
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            raise Damaged("is a truncated PNG")
        kind, content = data[at + 4 : at + 8], data[at + 8 : end - 4]
        if zlib.crc32(kind + content) != struct.unpack_from(">I", data, end - 4)[0]:
            raise Damaged(f"is a damaged PNG (checksum of chunk {_shown(kind)})")
        yield kind, content
        at = end
        if kind == b"IEND":
            if at != len(data):
                raise Damaged(f"is a PNG with {counted(len(data) - at, 'byte')} after its end")
            return


def _header(content: bytes, *, height: int, width: int, bits: Collection[int]) -> _Header:
    if len(content) != 13:
        raise Damaged("is a damaged PNG (length of its header)")
    found_width, found_height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", content)
    if (found_height, found_width) != (height, width):
        raise Rejected(f"has {found_height} x {found_width} pixels (height x width), expected {height} x {width}")
    if depth not in bits:
        wanted = " or ".join(map(str, bits))
        fix = WINDOWED if depth == 16 else GREY
        article = "an" if depth == 8 else "a"
        it_is = f"it is {article} {depth}-bit PNG"
        raise Rejected(f"has {counted(depth, 'bit')} per channel, expected {wanted} ({it_is})", fix=fix)
    channels = {0: 1, 2: 3 if depth == 8 else None}.get(colour)
    if channels is None:
        kind = {2: "three channels of 16 bits", 3: "a palette", 4: "an alpha channel", 6: "an alpha channel"}.get(
            colour, f"colour type {colour}"
        )
        raise Rejected(f"has {kind}, expected one grey channel")
    if (compression, filtering) != (0, 0):
        raise Damaged("is a damaged PNG (unknown compression or filter)")
    if interlace != 0:
        raise Rejected("is interlaced, expected a plain PNG")
    return _Header(height, width, channels, depth)


def stored_png(pixels: Image) -> bytes:
    """A slice as a grey PNG of 8 or 16 bits, neither filtered nor compressed, which takes a twentieth of the time that
    Pillow takes to choose filters."""
    height, width = pixels.shape
    header = _Header(height, width, 1, 8 * pixels.itemsize)
    rows = np.zeros((height, header.row_bytes), np.uint8)
    rows[:, 1:] = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">")).view(np.uint8)
    return _png(header, zlib.compress(rows.tobytes(), 0))


def _png(header: _Header, packed: bytes) -> bytes:
    colour = 0 if header.channels == 1 else 2
    ihdr = struct.pack(">IIBBBBB", header.width, header.height, header.bits, colour, 0, 0, 0)
    file = [SIGNATURE]
    for kind, content in ((b"IHDR", ihdr), (b"IDAT", packed), (b"IEND", b"")):
        file += [struct.pack(">I", len(content)), kind, content]
        file.append(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))
    return b"".join(file)
