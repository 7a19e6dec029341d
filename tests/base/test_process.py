from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.base import workers
from harness.base.errors import InfrastructureError, UsageError
from harness.base.files import in_turn
from harness.base.process import run, run_into, run_together, started
from harness.base.slices import read_grey
from harness.base.workers import map_slices


def test_run_gives_status_and_text() -> None:
    done = run([sys.executable, "-c", "import sys; print('out'); sys.exit(3)"])
    assert (done.returncode, done.stdout) == (3, "out\n")


def test_a_missing_or_silent_program_is_the_machines_fault() -> None:
    with pytest.raises(InfrastructureError, match="no-such-program"):
        run(["no-such-program"])
    with pytest.raises(InfrastructureError, match=r"within 0\.2 s"):
        run([sys.executable, "-c", "import time; time.sleep(30)"], timeout_s=0.2)


def test_what_was_started_is_killed_with_its_children_when_the_block_ends(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("wb") as log, started(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=log, stderr=log) as child:
        while not (said := out.read_text()).endswith("\n"):
            assert child.poll() is None
    assert child.returncode == -signal.SIGKILL
    grandchild = Path(f"/proc/{int(said)}/stat")
    for _ in range(100):  # the kernel takes a moment
        if not grandchild.exists() or grandchild.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("its child still runs")
    with (
        pytest.raises(InfrastructureError, match="no-such-program"),
        out.open("wb") as log,
        started(["no-such-program"], stdout=log, stderr=log),
    ):
        pass


IN_THIS_PROCESS_AND_IN_WORKERS = pytest.mark.parametrize("handful", [3, 2])


@IN_THIS_PROCESS_AND_IN_WORKERS
def test_slices_are_mapped_in_order_with_progress(monkeypatch: pytest.MonkeyPatch, handful: int) -> None:
    monkeypatch.setattr(workers, "HANDFUL", handful)
    heard: list[tuple[int, int]] = []
    tasks = [("a", str(number)) for number in range(3)]
    assert map_slices(os.path.join, tasks, progress=lambda *now: heard.append(now)) == ["a/0", "a/1", "a/2"]
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert (set(map_slices(os.getpid, [()] * 3)) == {os.getpid()}) == (handful == 3)
    assert map_slices(os.path.join, []) == []


@IN_THIS_PROCESS_AND_IN_WORKERS
def test_errors_of_a_worker_arrive_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handful: int) -> None:
    monkeypatch.setattr(workers, "HANDFUL", handful)
    with pytest.raises(UsageError, match=r"gone\.png"):
        map_slices(read_grey, [(tmp_path / "gone.png",)] * 3)


@pytest.mark.usefixtures("workers")
def test_a_dead_worker_is_the_machines_fault() -> None:
    with pytest.raises(InfrastructureError, match="worker process died"):
        map_slices(os._exit, [(1,)] * 3)


def test_commands_run_together_no_more_than_allowed_and_all_to_their_ends() -> None:
    """Each writes when it ran; exit statuses and texts are their own."""
    code = "import sys, time; a = time.time(); time.sleep(0.3); print(a, time.time()); sys.exit(int(sys.argv[1]))"
    found: dict[int, subprocess.CompletedProcess[str]] = {}
    begun: list[int] = []
    commands = [[sys.executable, "-c", code, str(status)] for status in (0, 3, 0, 7)]
    run_together(commands, jobs=2, started=begun.append, ended=found.__setitem__)
    assert sorted(begun) == sorted(found) == [0, 1, 2, 3]
    assert [found[index].returncode for index in range(4)] == [0, 3, 0, 7]
    times = [tuple(map(float, found[index].stdout.split())) for index in range(4)]
    most = max(sum(start <= moment < end for start, end in times) for moment, _ in times)
    assert most <= 2


def test_an_interrupt_ends_the_commands_that_run_and_starts_no_more(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1]).write_text('tidied'), sys.exit(130)))\n"
        "print('up', flush=True)\ntime.sleep(60)\n"
    )
    commands = [[sys.executable, "-c", code, str(tmp_path / name)] for name in ("one", "two")]
    ended: dict[int, subprocess.CompletedProcess[str]] = {}

    def started(_index: int) -> None:
        # as Ctrl-C does, once the first is up
        main = threading.main_thread().ident
        assert main is not None
        threading.Timer(1.5, signal.pthread_kill, (main, signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        run_together(commands, jobs=1, started=started, ended=ended.__setitem__)
    assert (tmp_path / "one").read_text() == "tidied"
    assert not (tmp_path / "two").exists()
    assert ended[0].returncode == 130


def test_output_goes_into_a_file_byte_for_byte(tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    source.write_bytes(bytes(range(256)) + b"\r\n")
    run_into(["cat", "source"], made, cwd=tmp_path)
    assert made.read_bytes() == source.read_bytes()
    with pytest.raises(InfrastructureError, match=r"status 1: .*No such file"):
        run_into(["cat", "not-there"], made, cwd=tmp_path)
    with pytest.raises(InfrastructureError, match="no such program"):
        run_into(["no-such-program"], made, cwd=tmp_path)
    with pytest.raises(InfrastructureError, match=r"no answer within 0\.1 s"):
        run_into(["sleep", "5"], made, cwd=tmp_path, timeout_s=0.1)


def test_an_interrupt_is_passed_on_and_waited_for_and_a_killed_parent_leaves_its_lock_with_the_child(
    tmp_path: Path,
) -> None:
    lock, end = tmp_path / "lock", tmp_path / "end"
    child = f"trap 'echo ended > {end}; exit 3' INT; echo begun; while :; do sleep 0.1; done"
    parent = (
        "import sys\nfrom pathlib import Path\nfrom harness.base.files import in_turn\n"
        "from harness.base.process import run_interruptible\n"
        f"with in_turn(Path({str(lock)!r})) as held:\n    run_interruptible(['sh', '-c', {child!r}], inherits=[held])\n"
    )

    def started() -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", parent], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert process.stderr.readline() == "begun\n"
        return process

    with started() as interrupted:
        interrupted.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in interrupted.communicate()[1]
    assert end.read_text() == "ended\n"
    assert not lock.exists()

    with started() as killed:
        (orphan,) = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
        killed.kill()
        killed.wait()
        waited: list[str] = []

        def end_the_child() -> None:
            waited.append("for the child")
            os.killpg(int(orphan), signal.SIGKILL)

        with in_turn(lock, waiting=end_the_child):
            assert waited == ["for the child"]
