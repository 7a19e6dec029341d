"""What `behave.py` writes in the place of a slice: PNG files with one fault each."""

import os
import struct
import zlib
from collections.abc import Callable
from functools import partial


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    *extra: tuple[bytes, bytes], height: int, width: int, depth: int = 8, colour: int = 0, interlace: int = 0,
    data: bytes | None = None,
) -> bytes:  # fmt: skip
    """A PNG of noise; `data` are the compressed rows, right for 8 bits in one channel if None."""
    rows = b"".join(b"\0" + os.urandom(width) for _ in range(height if data is None else 0))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows) if data is None else data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks)


def bomb() -> bytes:
    packer = zlib.compressobj(9)
    zeros = bytes(2**20)
    return b"".join(packer.compress(zeros) for _ in range(100)) + packer.flush()


def faulty_pngs(sound: bytes, height: int, width: int) -> dict[str, Callable[[], bytes]]:
    """A maker of the file for each fault; `sound` is a correct PNG of this size."""

    def rows_of(sample: bytes) -> bytes:
        return zlib.compress((b"\0" + sample * width) * height)

    sized = partial(png, height=height, width=width)
    return {
        "text": lambda: b"not a picture",
        "truncated": lambda: sound[:-30],
        "wrong_size": lambda: png(height=height + 1, width=width),
        "lying_header": lambda: png(height=2**31 - 1, width=2**31 - 1, data=rows_of(b"x")),
        "colour": lambda: sized(colour=2, data=rows_of(b"abc")),
        "sixteen_bit": lambda: sized(depth=16, data=rows_of(b"ab")),
        "palette": lambda: sized((b"PLTE", bytes(range(9))), colour=3),
        "alpha": lambda: sized(colour=4, data=rows_of(b"ab")),
        "animated": lambda: sized((b"acTL", struct.pack(">II", 2, 0))),
        "interlaced": lambda: sized(interlace=1),
        "zlib_bomb": lambda: sized(data=bomb()),
        "constant": lambda: sized(data=rows_of(b"\x80")),
        "scaled_to_one": lambda: sized(data=zlib.compress((b"\0" + b"\0\1" * (width // 2)) * height)),
    }
