"""Outputs: the untrusted files of a submission -> verified slices, or everything that is wrong with them."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import OutputQuotaError, OutputsError, UsageError
from harness.base.png import Rejected, Slice, read_png
from harness.base.slices import find_slices, litter_note
from harness.base.text import counted, first_few, shortened
from harness.dataset.cases import Inputs
from harness.sandbox import Quota, largest_png

FIX = (
    "write one 8-bit single-channel PNG of the input's size and name per case to $HARNESS_OUTPUT, as "
    "submissions/template does: np.uint8(np.clip(clean, 0, 255).round()), saved under case['file']"
)

FOLDER_FIX = (
    "write one 8-bit single-channel PNG of the input's size and name per case to the folder, and nothing else: "
    "np.uint8(np.clip(clean, 0, 255).round()); harness labels -o SET writes the inputs (SET/lq)"
)


def check_grey_levels(pixels: NDArray[np.uint8]) -> None:
    """Refuse slices (uint8, height x width) that no denoiser can mean to write; Rejected says why."""
    low, high = int(pixels.min()), int(pixels.max())
    if low == high:
        raise Rejected(f"is constant (every pixel is {low})")
    if high <= 1:
        raise Rejected("holds only 0 and 1, so it was saved on a scale of [0, 1]: multiply by 255 before rounding")


# -------------------------------------------------------------------------------- the tar
class _Bounded(io.RawIOBase):
    """An iterator of bytes as a file that delivers at most `limit` bytes; OutputQuotaError beyond."""

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
                raise OutputQuotaError("/output sends more bytes than its quota allows", fix=FIX)
            self.rest = chunk
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        return count


def read_outputs(tar: Iterable[bytes], *, sizes: Mapping[str, tuple[int, int]], quota: Quota) -> dict[str, Slice]:
    """Read and check a submission's outputs from the tar stream of its /output.

    `sizes` is the (height, width) of each case by the name that the container knows. Returns a slice for every case, by
    that name. OutputsError lists everything that is missing, not expected or wrong; OutputQuotaError for files that
    are larger than the quota (sparse ones).
    """
    read: dict[str, Future[Slice]] = {}
    wrong: dict[str, str] = {}
    stray: list[str] = []
    # decompressing takes longer than the stream: this many files at most wait for it in memory
    cores = os.cpu_count() or 1
    room = threading.BoundedSemaphore(2 * cores)
    # with 4 kB of headers for each member
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
                        f"{name!r} claims {member.size} bytes, while all of /output may hold {quota.bytes}", fix=FIX
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
    found: dict[str, Slice] = {}
    for case, one in read.items():
        try:
            found[case] = one.result()
        except Rejected as error:
            wrong[case] = str(error)
    return _complete(found, wrong=wrong, stray=stray, sizes=sizes)


def read_folder(
    folder: Path, *, sizes: Mapping[str, tuple[int, int]], note: Callable[[str], None] | None = None
) -> dict[str, Slice]:
    """Read and check outputs in a folder, `<case>.png` each (`harness.base.slices.find_slices`), as strictly as a
    container's.

    `sizes` is the (height, width) of each case. Returns the slices by case. What a system left there (`.DS_Store`, ...)
    is told to `note` and skipped; without `note` it is as wrong as anything else. UsageError if there is no such
    folder; OutputsError as `read_outputs`.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", fix="name a folder that holds one <case>.png per case")
    there = find_slices(folder)
    if note is not None and there.litter:
        note(litter_note(folder, there))
    found: dict[str, Slice] = {}
    wrong: dict[str, str] = {}
    stray = [*there.strays, *(_shown(path.name) for name, path in there.slices.items() if name not in sizes)]
    stray += [] if note is not None else map(_shown, there.litter)
    for case, path in there.slices.items():
        if case not in sizes:
            continue
        try:
            if path.is_symlink() or not path.is_file():
                raise Rejected("is not a regular file")
            _check_length(path.stat().st_size, size=sizes[case])
            found[case] = _read_slice(path.read_bytes(), size=sizes[case])
        except Rejected as error:
            wrong[case] = str(error)
    return _complete(found, wrong=wrong, stray=stray, sizes=sizes, place=str(folder), fix=FOLDER_FIX)


def output_files(folder: Path, dataset: Inputs) -> dict[str, Path]:
    """The files of a folder of outputs by slice: of the cases, and where it holds one further slice, of all of them.

    A slice whose file is missing has the path where it ought to lie.
    """
    there = find_slices(folder).slices if folder.is_dir() else {}
    expected = dataset.shown if any(one.name in there for one in dataset.further) else dataset.cases
    return {one.name: there.get(one.name, folder / f"{one.name}.png") for one in expected}


def _complete(
    found: dict[str, Slice],
    *,
    wrong: dict[str, str],
    stray: list[str],
    sizes: Mapping[str, tuple[int, int]],
    place: str = "/output",
    fix: str = FIX,
) -> dict[str, Slice]:
    """The slices in the order of `sizes`; OutputsError unless there is one for every case and nothing else.

    `wrong` maps a case to what is wrong with it, `stray` names the files that belong to no case; `place` is where they
    were looked for.
    """
    missing = [f"{case}.png" for case in sizes if case not in found and case not in wrong]
    if missing or wrong or stray:
        message = _complaint(missing=missing, wrong=wrong, stray=stray, total=len(sizes), place=place)
        raise OutputsError(message, fix=fix)
    return {case: found[case] for case in sizes}


def _check_length(length: int, *, size: tuple[int, int]) -> None:
    height, width = size
    if length > largest_png(height, width):
        raise Rejected(f"has {length} bytes, while a PNG of that size needs at most {largest_png(height, width)}")


def _read_slice(data: bytes, *, size: tuple[int, int]) -> Slice:
    """The slice in a file whose length was checked."""
    height, width = size
    found = read_png(data, height=height, width=width)
    check_grey_levels(found.pixels)
    return found


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
    return ascii(shortened(name, 60))


def _complaint(*, missing: list[str], wrong: dict[str, str], stray: list[str], total: int, place: str) -> str:
    lines = []
    for what, count, items in (
        ("missing", len(missing), missing),
        ("wrong", len(wrong), _by_reason(wrong)),
        ("not expected", len(stray), stray),
    ):
        if count:
            lines.append(f"{count} {what}: {'; '.join(first_few(items, at_most=5))}")
    if len(missing) == total and not wrong and not stray:
        lines = [f"{place} is empty, expected {counted(total, 'file')}"]
    return f"outputs of {counted(total, 'case')}: " + ". ".join(lines)


def _by_reason(wrong: dict[str, str]) -> list[str]:
    """One clause for each reason, since most often all files share one."""
    clauses = []
    for reason in dict.fromkeys(wrong.values()):
        first, *others = [f"{case}.png" for case, why in wrong.items() if why == reason]
        likewise = f" (likewise {', '.join(first_few(others, at_most=5))})" if others else ""
        clauses.append(f"{first} {reason}{likewise}")
    return clauses
