"""Files and folders: atomic writes, locks, private folders, the cache folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from harness.base.errors import InfrastructureError, UsageError

# Of a folder that somebody hands in: far above what an honest one needs, and so little that a walk takes seconds.
MAX_FILES, MAX_DEPTH, MAX_PATH, MAX_FOLDER_BYTES = 20_000, 32, 1024, 24 * 10**9

PART = ".harness.part"  # the names of files and folders end so while they are being written

MAX_BYTES = 32 << 20
"""Of a file of facts (a record, a protocol, a list of slices); the largest that the harness writes has about 1 MB."""


def cache_root() -> Path:
    """The cache folder: `$HARNESS_CACHE`, else `~/.cache/ipv2-harness`."""
    return Path(os.environ.get("HARNESS_CACHE") or Path.home() / ".cache" / "ipv2-harness").expanduser()


@contextlib.contextmanager
def _name_the_disk(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into an InfrastructureError that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise InfrastructureError(
            f"cannot write {path}: {error.strerror}",
            fix=f"free some space, or {elsewhere(path)}; nothing half-written was kept",
        ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Lock a file or folder; the kernel frees the lock when this process dies, however it dies. Yields its descriptor.

    BlockingIOError if another process holds it, FileNotFoundError if it does not exist (any more).
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or not os.path.samestat(os.fstat(handle), path.stat()):
            raise FileNotFoundError(errno.ENOENT, "removed meanwhile", str(path))
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def in_turn(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[int]:
    """Run the block while no other process runs one for the same `path` (a lock file): of this machine, and of others
    where the file system passes `flock` on to them (docs/campaigns.md).

    If one does, `waiting` is called once, and the block begins when the other process has finished or died. Yields the
    lock's descriptor: a child process that inherits it holds the lock as well, even if this one is killed.
    """
    with contextlib.ExitStack() as held:
        with _name_the_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    path.touch()
                    handle = held.enter_context(_locked(path))
                    break
                except BlockingIOError:
                    if waiting is not None:
                        waiting()
                        waiting = None
                    time.sleep(0.2)
                except FileNotFoundError:
                    pass  # its holder has just removed it
        held.callback(path.unlink, missing_ok=True)
        yield handle


@contextlib.contextmanager
def _part_of(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A new sibling of `path` to write to, created by `make` and locked while this process lives."""
    with _name_the_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        with contextlib.ExitStack() as held:
            while True:
                part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{PART}")
                make(part)
                try:
                    held.enter_context(_locked(part))
                    break
                except OSError as error:  # another process swept it away before it was locked
                    if error.errno not in (errno.EWOULDBLOCK, errno.ENOENT):
                        raise
            yield part


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; once per process."""
    for part in folder.glob(f".*{PART}"):
        with contextlib.suppress(OSError), _locked(part):  # its process lives
            shutil.rmtree(part) if part.is_dir() else part.unlink()


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; it is renamed to `path` only if the block succeeds.

    The sibling already exists, empty: write to it, do not replace it.
    """
    with _part_of(path, Path.touch) as part:
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder that becomes `path` if the block succeeds.

    If another process finished the same folder first, its folder stays and ours is dropped: a cached folder is named
    by the digest of what made it, so both hold the same.
    """
    with _part_of(path, Path.mkdir) as part:
        try:
            yield part
            try:
                part.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def private_folder(root: Path) -> Iterator[Path]:
    """A temporary folder in `root` that other users cannot enter. What killed processes left there is removed first,
    since it may be patient data."""
    with _part_of(root / "private", functools.partial(Path.mkdir, mode=0o700)) as part:
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


def read_regular(path: Path, *, at_most: int = MAX_BYTES) -> bytes:
    """The bytes of a file that a stranger may have made: a regular one, of at most `at_most` bytes, or a link to one.

    UsageError for anything else, which would hang (a FIFO) or fill the memory; FileNotFoundError, OSError as usual.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise UsageError(f"{path}: is not a regular file", fix="put the file itself there")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(at_most + 1) if facts.st_size <= at_most else b""
    finally:
        os.close(handle)
    if max(facts.st_size, len(data)) > at_most:
        raise UsageError(
            f"{path}: has {facts.st_size} bytes, at most {at_most} are allowed", fix="restore the file, or remove it"
        )
    return data


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_file(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    write_bytes(path, text.encode())


def refuse_unwritable(folder: Path) -> None:
    """UsageError unless `folder`, or the nearest one above it that exists, is a folder that can be written to."""
    above = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not above.is_dir():
        raise UsageError(f"{folder}: expected a folder to write into, found the file {above}", fix="name another place")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(
            f"{folder}: {above} cannot be written to", fix="correct its permissions, or name another place"
        )


def refuse_existing(path: Path) -> None:
    """UsageError if a file or folder that is to be written exists, or its place cannot be written to."""
    if path.exists():
        raise UsageError(f"{path}: already exists", fix="name one that does not exist yet")
    refuse_unwritable(path)


def elsewhere(path: Path) -> str:
    """What to do where `path` cannot be written."""
    return "set HARNESS_CACHE to another folder" if path.is_relative_to(cache_root()) else "name another place"


def folder_content(folder: Path, *, without: Collection[str] = ()) -> list[Path]:
    """The regular files, links and empty folders in a folder and below, relative to it, in the order of their parts.

    Links are not followed, other kinds of files left out, names in `without` left out with all below them. UsageError
    for more than MAX_FILES, more than MAX_FOLDER_BYTES by the files' stated sizes, folders deeper than MAX_DEPTH or
    paths longer than MAX_PATH, and what cannot be read.
    """
    found: list[tuple[str, ...]] = []
    waiting: list[tuple[str, ...]] = [()]
    seen = size = 0
    while waiting:
        parts = waiting.pop()
        kept = 0
        try:
            with os.scandir(folder.joinpath(*parts)) as entries:
                for entry in entries:
                    seen += 1
                    one = (*parts, entry.name)
                    if entry.name in without:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(one)
                    elif entry.is_symlink() or entry.is_file():
                        found.append(one)
                        size += entry.stat(follow_symlinks=False).st_size
                    else:
                        continue
                    kept += 1
                    long = len(one) > MAX_DEPTH or len("/".join(one)) > MAX_PATH
                    if seen > MAX_FILES or long or size > MAX_FOLDER_BYTES:
                        raise UsageError(
                            f"{folder}: more than {MAX_FILES} files, {MAX_DEPTH} folders within each other, a path of "
                            f"{MAX_PATH} characters or {MAX_FOLDER_BYTES / 1e9:g} GB",
                            fix="leave out what is not needed, and pack many files into one",
                        )
        except OSError as error:
            raise UsageError(f"{folder}: cannot be read: {error}", fix="correct its permissions") from error
        if parts and not kept:
            found.append(parts)
    return [Path(*parts) for parts in sorted(found)]
