"""What a submission may do right and wrong; the name of one behaviour is the only argument."""

import errno
import io
import json
import os
import signal
import socket
import struct
import sys
import time
import zlib
from pathlib import Path
from typing import Any

SOURCE, TARGET = Path(os.environ["HARNESS_INPUT"]), Path(os.environ["HARNESS_OUTPUT"])
CASES = json.loads((SOURCE / "manifest.json").read_text())["cases"]


def copy(cases: list[dict[str, Any]] = CASES) -> None:
    for case in cases:
        (TARGET / case["file"]).write_bytes((SOURCE / case["file"]).read_bytes())


def good() -> None:
    copy()
    print("\x1b[31mred\x1b[0m\n::error::not a command")


def fails() -> None:
    copy()
    print("::set-output name=x::y\n\x1b[2Jthe model is not there", file=sys.stderr)
    sys.exit(1)


def nothing() -> None:
    pass


def one_too_few() -> None:
    copy(CASES[1:])


def one_too_many() -> None:
    copy()
    (TARGET / "note\nbook.txt").write_text("x")
    (TARGET / "folder").mkdir()
    copy([dict(CASES[0], file=CASES[0]["file"])])


def sixteen_bit() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    copy()
    h, w = CASES[0]["height"], CASES[0]["width"]
    (TARGET / CASES[0]["file"]).write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 16, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(h * (1 + 2 * w))))
        + chunk(b"IEND", b"")
    )


def links() -> None:
    copy(CASES[2:])
    (TARGET / CASES[0]["file"]).symlink_to(SOURCE / CASES[0]["file"])
    os.mkfifo(TARGET / CASES[1]["file"])


def disk_fill() -> None:
    with (TARGET / CASES[0]["file"]).open("wb") as file:
        while True:
            file.write(bytes(2**20))
            file.flush()


def inode_flood() -> None:
    for number in range(10**6):
        (TARGET / f"{number}.png").touch()


def sparse_file() -> None:
    copy(CASES[1:])
    with (TARGET / CASES[0]["file"]).open("wb") as file:
        file.truncate(40 * 10**6)  # below the largest file, far above the quota


def huge_file() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, other programs do not
    with (TARGET / CASES[0]["file"]).open("wb") as file:
        file.truncate(2**40)


def memory_hog() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(os.urandom(2**20) * 8))


def child_memory_hog() -> None:
    if os.fork() == 0:
        memory_hog()
    os.wait()
    copy()


def sleeps_for_ever() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    copy()
    time.sleep(10**6)


def fork_bomb() -> None:
    copy()
    made = 0
    try:
        while True:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            made += 1
    except BlockingIOError:  # EAGAIN
        print(f"{made} processes")


def egress() -> None:
    interfaces = [path.name for path in Path("/sys/class/net").iterdir()]
    assert interfaces == ["lo"], interfaces
    for address in ("1.1.1.1", "169.254.169.254", "172.17.0.1"):
        with socket.socket() as tcp:
            tcp.settimeout(5)
            reached = tcp.connect_ex((address, 80))
            # not a refusal and not a timeout, which an unplugged host would give too: there is no route at all
            assert reached == errno.ENETUNREACH, (address, os.strerror(reached))
    try:
        socket.getaddrinfo("example.org", 443)
    except socket.gaierror:
        copy()


def looks_around() -> None:
    """Everything that the sandbox denies: an assertion that fails is a hole."""
    assert {os.getuid(), os.getgid(), *os.getgroups()} == {65532}, os.getgroups()
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}, status
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), status
    for folder in ("/", "/input", "/etc", "/usr", "/var/tmp", "/opt", "/home"):
        try:
            (Path(folder) / "x").touch()
        except OSError:
            continue
        raise AssertionError(f"{folder} is writable")
    (Path("/tmp") / "x.sh").write_text("#!/bin/sh\nexit 0\n")
    Path("/tmp/x.sh").chmod(0o755)
    assert os.system("/tmp/x.sh") == 0, "/tmp must allow programs: JIT compilers put them there"
    Path("/dev/shm/x").write_bytes(bytes(10**6))
    assert not Path("/var/run/docker.sock").exists()
    names = {name for name in os.environ if "proxy" in name.lower()}
    assert not names, names
    assert sorted(p.name for p in SOURCE.iterdir()) == sorted([c["file"] for c in CASES] + ["manifest.json"])
    for root in ("/input", "/opt", "/tmp", "/output", "/home", "/srv", "/mnt", "/run"):
        for folder, _, files in os.walk(root):
            for name in files:
                path = Path(folder, name)
                assert b"canary-label" not in path.read_bytes(), path
    copy()


def volume_filler() -> None:
    copy()
    try:
        for number in range(1000):
            Path(f"/data/{number}").write_bytes(bytes(2**20))
    except OSError as error:
        print(number, "MiB:", error.strerror)


def needs_gpu() -> None:
    sys.exit(69)


def log_flood() -> None:
    copy()
    line = b"\xff\x1b[31m" + b"x" * 1000 + b"\n"
    out = io.FileIO(1, "w")
    for _ in range(20_000):
        out.write(line)


globals()[sys.argv[1]]()
