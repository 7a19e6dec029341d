"""PNG files, good ones and bad ones, chunk by chunk."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 12, 20
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)


def pillow_png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks)


def ihdr(*, width: int = WIDTH, height: int = HEIGHT, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)


ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)
IDAT = (b"IDAT", zlib.compress(ROWS))
IEND = (b"IEND", b"")
GOOD = png((b"IHDR", ihdr()), IDAT, IEND)
