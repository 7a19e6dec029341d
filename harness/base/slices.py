"""Slices as files: grey PNGs of 8 or 16 bits, found, read and written here alone (but for strangers' archives:
`harness.run.outputs`)."""

from __future__ import annotations

import io
import os
import stat
import unicodedata
import zlib
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import UsageError
from harness.base.files import write_bytes
from harness.base.png import MOST_PIXELS, Image, Rejected, read_png, stated_size, stored_png
from harness.base.text import first_few

PUT_FILE = "put the file itself there"

MOST_BYTES = 4 * MOST_PIXELS
"""Of a file: more than any PNG of so many pixels needs."""

LITTER = frozenset({".DS_Store", ".directory", "__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini", "Icon\r"})
"""What systems put into folders unasked, beside macOS's `._NAME`."""

LONGEST_NAME = 200
"""Bytes of a slice's name in UTF-8: the names of what is made of it are longer, and a file system takes 255."""


class Found(NamedTuple):
    """What a folder holds: the files of its slices by name, what a system left there, and what is no slice and why."""

    slices: dict[str, Path]
    litter: list[str]
    strays: list[str]


def find_slices(folder: Path) -> Found:
    """Everything that lies in `folder`, by kind. No file is opened.

    A slice is `NAME.png` (or `.PNG`). Its name is text in the Unicode form NFC, in which the forms that macOS and
    Linux give one name are the same.
    """
    slices: dict[str, Path] = {}
    litter: list[str] = []
    strays: list[str] = []
    for path in sorted(folder.iterdir()):
        name, wrong = _slice_name(path)
        if path.name in LITTER or path.name.startswith("._"):
            litter.append(path.name)
        elif wrong or name in slices:
            strays.append(f"{path.name!a} ({wrong or f'a second file of {name}, beside {slices[name].name!a}'})")
        else:
            slices[name] = path
    return Found(slices, litter, strays)


def litter_note(folder: Path, found: Found) -> str:
    """The line that says what was skipped in a folder."""
    return f"{folder}: skipped what a system left there: {', '.join(first_few([ascii(one) for one in found.litter]))}"


def _slice_name(path: Path) -> tuple[str, str]:
    """The name of the slice that a file holds, and why it holds none, if so."""
    try:
        name = unicodedata.normalize("NFC", os.fsencode(path.name).decode())
    except UnicodeDecodeError:
        return "", "its name is not UTF-8"
    stem, suffix = name[:-4], name[-4:]
    if path.is_dir():
        return stem, "a folder"
    if suffix.lower() != ".png":
        return stem, "not a .png"
    if not stem or stem.startswith(".") or not stem.isprintable():
        return stem, "its name is hidden, or has characters that cannot be printed"
    if len(stem.encode()) > LONGEST_NAME:
        return stem, f"its name has more than {LONGEST_NAME} bytes"
    return stem, ""


def read_slice(path: Path, *, bits: Collection[int] = (8,)) -> Image:
    """Read a grey PNG of 8 bits (one channel, or three equal ones) as uint8 (height, width), or of 16 as uint16;
    `bits` says which may be.

    Rejected for everything else (`harness.base.png`), for what is no regular file, and for one that is too large.
    FileNotFoundError if there is none.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # to open a FIFO would mean to wait for its writer
            raise Rejected("is not a regular file", fix=PUT_FILE)
        if about.st_size > MOST_BYTES:
            raise Rejected(f"has {about.st_size} bytes, while a slice needs at most {MOST_BYTES}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Rejected(f"cannot be read: {error.strerror}", fix="correct its permissions, or copy it anew") from None
    height, width = stated_size(data)
    return read_png(data, height=height, width=width, bits=bits).pixels


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read an 8-bit grey PNG as uint8 (height, width); UsageError names the file that is missing or no such PNG."""
    return _read(path, (8,)).astype(np.uint8, copy=False)


def read_image(path: Path) -> Image:
    """Read a slice of a test set or of its labels and outputs, of 8 or 16 bits; UsageError as `read_grey`."""
    return _read(path, (8, 16))


def _read(path: Path, bits: Collection[int]) -> Image:
    try:
        return read_slice(path, bits=bits)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", fix="check the path") from None
    except Rejected as error:
        raise UsageError(f"{path}: {error}", fix=error.fix) from None


# How hard a PNG is compressed: zlib's default; nearly as small for noise in a third of the time.
COMPRESSION: dict[str, dict[str, int]] = {
    "usual": {},
    "quick": {"compress_level": 1, "compress_type": zlib.Z_RLE},
}


def png_bytes(pixels: Image, *, compression: str = "usual") -> bytes:
    """uint8 or uint16 (height, width) as the bytes of a grey PNG of 8 or 16 bits.

    `compression` is a key of `COMPRESSION`, or "none".
    """
    from PIL import Image as Pillow

    assert pixels.dtype in (np.uint8, np.uint16), pixels.dtype
    if compression == "none":
        return stored_png(pixels)
    buffer = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", **COMPRESSION[compression])
    return buffer.getvalue()


def write_grey(path: Path, pixels: Image) -> None:
    """Write uint8 or uint16 (height, width) as a grey PNG of 8 or 16 bits, atomically."""
    write_bytes(path, png_bytes(pixels))


def read_slices(paths: Mapping[str, str]) -> dict[str, Image]:
    """`read_image` of many files by name, on all cores: a quick denoiser takes no longer than reading does."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(paths, pool.map(read_image, map(Path, paths.values())), strict=True))


def write_slices(folder: Path, images: Mapping[str, Image], *, compression: str = "quick") -> None:
    """Write `<name>.png` into `folder`, on all cores and not atomically: nobody else may see the folder yet.

    `images` are uint8 or uint16 (height, width); `compression` is as for `png_bytes`.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str) -> None:
        (folder / f"{name}.png").write_bytes(png_bytes(images[name], compression=compression))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, images))
