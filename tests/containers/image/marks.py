"""Marks that one run of a container leaves for the next, in files, shared memory, keys and a process that listens."""

import ctypes
import errno
import os
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

MARK = "kept" + "-by-a-run"  # in two parts, or this file would be found
LISTENS = f"\0{MARK}"  # an abstract socket
NUMBER = 0x6B657074
LIBC = ctypes.CDLL(None, use_errno=True)
ADD_KEY, REQUEST_KEY = {"x86_64": (248, 249), "aarch64": (217, 218)}[os.uname().machine]
USER_KEYRING = -4
FOLDERS = ("/tmp", "/dev/shm", "/data", "/run", "/var/tmp", "/output", "/input")


def files_under(root: str) -> Iterator[Path]:
    if not Path(root).is_dir():
        yield Path(root)
    for folder, folders, files in os.walk(root):
        if folder == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys")]
        yield from (path for name in files if (path := Path(folder, name)).is_file())  # through links, too


def look_for_marks(files: Iterable[Path]) -> None:
    """End badly at a mark that is there."""
    for path in files:
        assert MARK not in path.name, path
        try:
            with path.open("rb") as file:
                start = file.read(2**22)
        except OSError:
            continue
        assert MARK.encode() not in start, path
    assert LIBC.shmget(NUMBER, 4096, 0) == -1, "shared memory"
    assert LIBC.syscall(REQUEST_KEY, b"user", MARK.encode(), None, USER_KEYRING) == -1, "a key"
    with socket.socket(socket.AF_UNIX) as out:
        assert out.connect_ex(LISTENS) == errno.ECONNREFUSED, "a process that listens"


def leave_marks() -> None:
    """Leave marks wherever that is possible; it must be in /tmp and in shared memory, or the case would be vacuous."""
    written = []
    for folder in FOLDERS:
        path = Path(folder, MARK)
        try:
            path.write_text(MARK)
            written.append(folder)
            if folder == "/output":
                path.unlink()  # a stray file would only end this run
        except OSError:
            continue
    assert {"/tmp", "/dev/shm", "/data"} <= set(written), written
    assert LIBC.shmget(NUMBER, 4096, 0o1666) != -1
    LIBC.syscall(ADD_KEY, b"user", MARK.encode(), MARK.encode(), len(MARK), USER_KEYRING)
    if os.fork() == 0:
        os.setsid()
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(LISTENS)
            server.listen()
            time.sleep(10**6)
