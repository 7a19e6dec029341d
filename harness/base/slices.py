"""Slices as files: 8-bit grey PNGs of our own or of the organiser, in and out."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import UsageError
from harness.base.files import write_bytes


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read an 8-bit grey PNG, or one of three equal channels, as uint8 (height, width).

    For files of our own or of the organiser; a submission's outputs go through `harness.run.outputs`.
    UsageError names the file for anything else: 16-bit, colour, palette, alpha, animated, unreadable.
    """
    from PIL import Image

    expected = "expected an 8-bit grey PNG (or three equal channels)"
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if getattr(image, "is_animated", False):
                raise UsageError(f"{path}: {expected}, found an animation")
            mode = image.mode
            if mode not in ("L", "RGB"):
                depth = "16-bit" if mode.startswith("I") else f"mode {mode}"
                raise UsageError(
                    f"{path}: {expected}, found {depth}",
                    fix="map the slice through one fixed HU window to 8 bits and save it as mode L",
                )
            pixels = np.asarray(image)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: {expected}, but it cannot be read: {error}") from error
    if pixels.ndim == 3:
        if not ((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()):
            raise UsageError(f"{path}: {expected}, found colour", fix="save one channel, mode L")
        pixels = pixels[..., 0]
    return np.array(pixels, dtype=np.uint8)


# How much time goes into making a PNG small: what zlib usually does; noise as small in a third of the time; none.
COMPRESSION: dict[str, dict[str, int]] = {
    "usual": {},
    "quick": {"compress_level": 1, "compress_type": zlib.Z_RLE},
    "none": {"compress_level": 0},
}


def png_bytes(pixels: NDArray[np.uint8], *, compression: str = "usual") -> bytes:
    """uint8 (height, width) as the bytes of an 8-bit grey PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8)).save(buffer, format="PNG", **COMPRESSION[compression])
    return buffer.getvalue()


def write_grey(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write uint8 (height, width) as an 8-bit grey PNG, atomically."""
    write_bytes(path, png_bytes(pixels))
