"""Slices as files: 8-bit grey PNGs that we or the organiser made, read and written here alone.

Files of strangers are another matter: `harness.run.untrusted_png` checks every byte of them before a decoder sees it,
and shares no code with this module, so that a convenience here never weakens a check there.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import UsageError
from harness.base.files import write_bytes


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read an 8-bit grey PNG, or one with three equal channels, as uint8 (height, width).

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
                    fix="map every slice to 8 bits through one fixed HU window and save it as mode L",
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


# How hard a PNG is compressed: zlib's default; nearly as small for noise in a third of the time; not at all.
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


def read_slices(paths: Mapping[str, str]) -> dict[str, NDArray[np.uint8]]:
    """`read_grey` of many files by name, on all cores: a quick denoiser takes no longer than reading does."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(paths, pool.map(read_grey, map(Path, paths.values())), strict=True))


def write_slices(folder: Path, images: Mapping[str, NDArray[np.uint8]], *, compression: str = "quick") -> None:
    """Write `<name>.png` into `folder`, on all cores and not atomically: nobody else may see the folder yet.

    `images` are uint8 (height, width); `compression` is a key of `COMPRESSION`.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str) -> None:
        (folder / f"{name}.png").write_bytes(png_bytes(images[name], compression=compression))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, images))
