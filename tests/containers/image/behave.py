"""What a submission may do right and wrong: `behave.py BEHAVIOUR [ARGUMENTS]`, run in the sandbox.

Whatever it does, it looks for a label first, and says so and ends with status 99 if it finds one.
"""

import ctypes
import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from doors import DOORS, refused  # type: ignore[import-not-found]  # beside this file in the image
from faulty_png import faulty_pngs  # type: ignore[import-not-found]
from marks import files_under, leave_marks, look_for_marks  # type: ignore[import-not-found]

SOURCE, TARGET = Path(os.environ["HARNESS_INPUT"]), Path(os.environ["HARNESS_OUTPUT"])
CASES = json.loads((SOURCE / "manifest.json").read_text())["cases"]
FIRST = CASES[0]["file"]
HEIGHT, WIDTH = CASES[0]["height"], CASES[0]["width"]
CANARY = b"canary" + b"-label"  # in two parts, or this file would be found
ARGUMENTS, OWN_USERS = sys.argv[2:], range(61184, 65520)


# -------------------------------------------------------------------------------- labels
def look_for_labels(roots: list[str]) -> None:
    for root in roots:
        for path in files_under(root):
            try:
                with path.open("rb") as file:
                    data = file.read(2**26)
            except OSError:
                continue
            if CANARY in data:
                print(f"label seen at {path}", file=sys.stderr)
                sys.exit(99)


def mounted() -> list[str]:
    """Everything that the sandbox adds to the image, and what processes tell of themselves."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    told = [str(path) for name in ("environ", "cmdline", "mountinfo") for path in Path("/proc").glob(f"[0-9]*/{name}")]
    return told + [point for point in points if not point.startswith(("/proc", "/sys", "/dev/pts")) and point != "/"]


# -------------------------------------------------------------------------------- good ones
def copy(cases: list[dict[str, Any]] = CASES) -> None:
    for case in cases:
        (TARGET / case["file"]).write_bytes((SOURCE / case["file"]).read_bytes())


def good() -> None:
    copy()
    print("\x1b[31mred\x1b[0m\n::error::not a command")


def looks_everywhere() -> None:
    look_for_labels(["/"])
    for path in ARGUMENTS:  # where the labels lie on the host
        assert not Path(path).exists(), path
    copy()


# -------------------------------------------------------------------------------- faulty outputs
def first_is(content: bytes) -> None:
    copy(CASES[1:])
    (TARGET / FIRST).write_bytes(content)


def nothing() -> None:
    pass


def one_too_few() -> None:
    copy(CASES[1:])


def stray_names() -> None:
    copy()
    for name in ("note\nbook.png", "..\\..\\x.png", ".hidden", "-rf", "%2e%2e%2fx.png", f"{FIRST}.png", FIRST.upper()):
        (TARGET / name).write_text("x")


def nested() -> None:
    copy(CASES[1:])
    (TARGET / "sub").mkdir()
    (TARGET / "sub" / FIRST).write_bytes((SOURCE / FIRST).read_bytes())


def locked_folder() -> None:
    copy()
    (TARGET / "locked").mkdir()
    (TARGET / "locked" / "x").touch()
    (TARGET / "locked").chmod(0)


def name_of_no_text() -> None:
    copy()
    open(os.fsencode(TARGET) + b"/\xff.txt", "wb").close()  # noqa: PTH123


def deep_folders() -> None:
    copy()
    os.chdir(TARGET)
    for _ in range(30):
        Path("d" * 200).mkdir()
        os.chdir("d" * 200)


def link_to_input() -> None:
    copy(CASES[1:])
    (TARGET / FIRST).symlink_to(SOURCE / FIRST)


def link_to_label() -> None:
    copy(CASES[1:])
    (TARGET / FIRST).symlink_to(ARGUMENTS[0])


def hard_link() -> None:
    copy(CASES[1:])
    os.link(TARGET / CASES[1]["file"], TARGET / FIRST)


def fifo() -> None:
    copy(CASES[1:])
    os.mkfifo(TARGET / FIRST)


def unix_socket() -> None:
    copy(CASES[1:])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(TARGET / FIRST))


def fails() -> None:
    copy(CASES[1:])
    print("::set-output name=x::y\n\x1b[2Jthe model is not there", file=sys.stderr)
    sys.exit(1)


# -------------------------------------------------------------------------------- too much of a thing
def disk_fill() -> None:
    with (TARGET / FIRST).open("wb") as file:
        while True:
            file.write(bytes(2**20))
            file.flush()


def inode_flood() -> None:
    for number in range(10**6):
        (TARGET / f"{number}.png").touch()


def sparse_file() -> None:
    copy(CASES[1:])
    with (TARGET / FIRST).open("wb") as file:
        file.truncate(40 * 10**6)  # below the largest file, far above the quota


def huge_file() -> None:
    giant(TARGET / FIRST)


def huge_scratch_file() -> None:
    giant(Path("/tmp/x"))


def giant(path: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, other programs do not
    with path.open("wb") as file:
        file.truncate(2**40)


def fill(folder: str) -> int:
    """Write file after file until nothing more fits; the bytes that did."""
    written = 0
    for number in range(1000):
        with Path(folder, f"filler{number}").open("wb", buffering=0) as file:
            try:
                while True:
                    written += file.write(bytes(2**16))
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    return written
                if error.errno != errno.EFBIG:  # the largest file that is allowed: on to the next
                    raise
    raise AssertionError("never full")


def scratch_fill() -> None:
    copy()
    print("held", fill("/tmp"))


def shared_memory_fill() -> None:
    copy()
    print("held", fill("/dev/shm"))


def volume_fill() -> None:
    copy()
    print("held", fill("/data"))


def scratch_and_crash() -> None:
    with Path("/tmp/filler").open("wb") as file:
        while True:
            file.write(bytes(2**20))


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


def spins_for_ever() -> None:
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def stops_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def holds_its_init() -> None:
    """Stops the process that would pass on how it ended."""
    copy()
    attach = 16
    assert ctypes.CDLL(None).ptrace(attach, 1, 0, 0) == 0
    os._exit(0)


def leaves_a_child() -> None:
    """Ends, while a child that left its session would go on for ever."""
    copy()
    if os.fork() == 0:
        os.setsid()
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
        print("held", made)


def many_open_files() -> None:
    copy()
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        os.close(held[0])  # for what print needs
        print("held", len(held))


def log_flood() -> None:
    copy()
    line = b"\xff\x1b[31m" + b"x" * 1000 + b"\n"
    out = io.FileIO(1, "w")
    for _ in range(20_000):
        out.write(line)


def log_commands() -> None:
    print("\x1b]0;title\x07\x1b[2J::error file=a::b\n##[group]x\r::add-mask::y", file=sys.stderr)
    sys.exit(3)


def log_of_one_sign() -> None:
    print("#" * 2**16, file=sys.stderr)
    sys.exit(3)


def needs_gpu() -> None:
    sys.exit(69)


# -------------------------------------------------------------------------------- ways out: a failure is a hole
def egress() -> None:
    """Neither the address that is known to be reachable from a container of this engine, nor others, nor names."""
    interfaces = [path.name for path in Path("/sys/class/net").iterdir()]
    assert interfaces == ["lo"], interfaces
    for address in (*ARGUMENTS, "1.1.1.1:53", "169.254.169.254:80", "172.17.0.1:80"):
        host, port = address.split(":")
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(type=kind) as out:
                out.settimeout(5)
                reached = out.connect_ex((host, int(port)))
                # not a refusal and not a timeout, which an unplugged host would give too: there is no route at all
                assert reached == errno.ENETUNREACH, (address, os.strerror(reached))
    try:
        socket.getaddrinfo("example.org", 443)
    except socket.gaierror:
        copy()


def keeps_state() -> None:
    planes = [case["pixel_mm"] for case in CASES]
    assert len(set(planes)) == len(planes), "a plane is shown twice"
    look_for_marks(files_under("/"))
    copy()
    leave_marks()


def looks_around() -> None:
    (own,) = {os.getuid(), os.getgid(), *os.getgroups()}
    assert own in OWN_USERS, own
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}, status
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), status
    for folder in ("/", "/input", "/etc", "/usr", "/var/tmp", "/opt", "/home", "/sys", "/proc/sys/kernel"):
        try:
            (Path(folder) / "x").touch()
        except OSError:
            continue
        raise AssertionError(f"{folder} is writable")
    (Path("/tmp") / "x.sh").write_text("#!/bin/sh\nexit 0\n")
    Path("/tmp/x.sh").chmod(0o755)
    assert os.system("/tmp/x.sh") == 0, "/tmp must allow programs: JIT compilers put them there"
    Path("/dev/shm/x").write_bytes(bytes(10**6))
    assert sorted(p.name for p in SOURCE.iterdir()) == sorted([c["file"] for c in CASES] + ["manifest.json"])
    copy()


def environment() -> None:
    """The image's own variables do not stand in the way of the contract's, and no proxy of the host is passed on."""
    names = {name for name, value in os.environ.items() if "proxy" in name.lower() and value}
    assert not names, names
    assert os.environ["HARNESS_DEVICE"] == "cpu"
    assert os.environ["NVIDIA_VISIBLE_DEVICES"] == "void"
    copy()


def engine_socket() -> None:
    for path in (
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/containerd/containerd.sock",
        "/run/podman/podman.sock",
    ):
        assert not Path(path).exists(), path
    copy()


def setuid() -> None:
    said = subprocess.run(["/setuid-id", "-u"], capture_output=True, text=True, check=True).stdout
    assert int(said) == os.getuid() in OWN_USERS, said
    assert refused(lambda: os.setuid(0))
    assert refused(lambda: os.setgroups([0]))
    copy()


def outlives_a_health_check() -> None:
    time.sleep(2.5)
    copy()


look_for_labels(mounted())
behaviour = sys.argv[1]
faulty = faulty_pngs((SOURCE / FIRST).read_bytes(), HEIGHT, WIDTH)
if behaviour in faulty:
    first_is(faulty[behaviour]())
elif behaviour in DOORS:
    DOORS[behaviour]()
    copy()
else:
    globals()[behaviour]()
