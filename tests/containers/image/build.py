"""What a RUN line may do: `build.py BEHAVIOUR [ARGUMENTS]`, run as root while an image is built."""

import errno
import os
import socket
import sys
import time
from pathlib import Path

ARGUMENTS = sys.argv[2:]
CANARY = b"canary" + b"-label"  # in two parts, or this file would be found


def endless() -> None:
    time.sleep(10**6)


def fork_bomb() -> None:
    made = 0
    try:
        while True:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            made += 1
    except BlockingIOError:  # EAGAIN
        print("held", made)
        sys.exit(1)


def memory_hog() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(os.urandom(2**20)))


def disk_fill() -> None:
    """A gigabyte, if nobody stops it: 4 MB every 20 ms."""
    for number in range(250):
        Path(f"/filler{number}").write_bytes(bytes(4_000_000))
        time.sleep(0.02)


def disk_fill_a_little() -> None:
    Path(f"/filler{ARGUMENTS[0]}").write_bytes(bytes(25_000_000))


def pretends() -> None:
    """Says what the builder says: that another container runs, that an image of ours was made. Then fills the disk."""
    for identity in ARGUMENTS:
        print(f" ---> Running in {identity}\n ---> {identity}", flush=True)
        time.sleep(0.1)
        os.write(1, f" ---> {identity}\n".encode())
        time.sleep(0.1)
    disk_fill()


def pretends_a_lot() -> None:
    for number in range(10**5):
        os.write(1, f" ---> {number:012x}\n".encode())
        time.sleep(0.001)


def prints() -> None:
    print(ARGUMENTS[0] * 2**16)
    sys.exit(1)


def log_flood() -> None:
    while True:
        os.write(1, b"x" * 1000 + b"\n")


def egress() -> None:
    with socket.socket() as out:
        out.settimeout(5)
        host, port = ARGUMENTS[0].split(":")
        reached = out.connect_ex((host, int(port)))
    print("connect:", errno.errorcode.get(reached, reached))
    sys.exit(1)


def looks_everywhere() -> None:
    """No label and no proxy of the host, in no file and no variable."""
    names = {name for name in os.environ if "proxy" in name.lower()}
    assert not names, names
    for folder, folders, files in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys")]
        for path in (Path(folder, name) for name in files):
            assert not path.is_file() or CANARY not in path.read_bytes(), path


globals()[sys.argv[1]]()
