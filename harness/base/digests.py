"""SHA-256 of bytes, files, pixels, records and folders."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.base.files import folder_content
from harness.base.structs import canonical_json

if TYPE_CHECKING:
    from harness.base.png import Image

NOT_COPIED = frozenset(
    {".git", "__pycache__"}
)  # parts of a submission's folder that are in neither its digest nor its build


def digest_bytes(*parts: bytes) -> str:
    """SHA-256 (hex) of byte strings, each preceded by its length, so that ("ab", "c") and ("a", "bc") differ."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()


def digest_file(path: Path) -> str:
    """Plain SHA-256 (hex) of a file's bytes, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_pixels(image: Image) -> str:
    """SHA-256 (hex) of an image's shape and pixels, however it is stored; those of 16 bits low byte first."""
    return digest_bytes(repr(image.shape).encode(), pixel_bytes(image))


def pixel_bytes(image: Image) -> bytes:
    """The pixels of an image, row by row; those of 16 bits low byte first."""
    return image.astype(image.dtype.newbyteorder("<"), copy=False).tobytes()


def digest_json(value: Any) -> str:
    """SHA-256 (hex) of a record or of plain data, independent of key order."""
    return digest_bytes(canonical_json(value))


def digest_folder(folder: Path) -> str:
    """SHA-256 (hex) over relative names, contents and executable bits of the files under `folder`.

    That is whatever a build can copy (`folder_content`): hidden files, links by their targets and empty folders count,
    NOT_COPIED does not. UsageError for a folder beyond the bounds there.
    """
    sha = hashlib.sha256()

    def add(*parts: bytes) -> None:
        for part in parts:
            sha.update(len(part).to_bytes(8, "big"))
            sha.update(part)

    for relative in folder_content(folder, without=NOT_COPIED):
        path = folder / relative
        add(os.fsencode(relative.as_posix()))
        if path.is_symlink():
            add(b"link", os.fsencode(path.readlink()))
        elif path.is_dir():
            add(b"folder")
        else:
            add(b"x" if path.stat().st_mode & 0o100 else b"-")  # as the build has it, whoever asks, on any mount
            with path.open("rb") as file:  # may be larger than the memory
                sha.update(os.fstat(file.fileno()).st_size.to_bytes(8, "big"))
                while chunk := file.read(2**20):
                    sha.update(chunk)
    return sha.hexdigest()
