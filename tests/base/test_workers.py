"""Worker processes end with their parent, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.base.workers import map_slices, shared_workers

PARENT = """
import time
from harness.base.workers import map_slices
if __name__ == "__main__":
    map_slices(time.sleep, [(600,)] * 3)
"""


def children(process: int) -> set[int]:
    """The process ids of the children of a process."""
    return {int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"])
    try:
        found: set[int] = set()
        cores = min(os.cpu_count() or 1, 3)
        while len(found) <= cores:  # the workers, and multiprocessing's resource tracker
            time.sleep(0.1)
            found |= children(parent.pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        while any(map(alive, found)):
            time.sleep(0.1)
    finally:
        parent.kill()


@pytest.mark.usefixtures("workers")
def test_a_block_shares_its_workers() -> None:
    with shared_workers():
        one, other = (set(map_slices(os.getpid, [()] * 8)) for _ in range(2))
    alone = set(map_slices(os.getpid, [()] * 2))
    assert len(one | other) <= (os.cpu_count() or 1)
    assert os.getpid() not in one | other
    assert not alone & (one | other)


@pytest.mark.usefixtures("workers")
def test_an_error_in_a_block_leaves_its_workers_usable() -> None:
    with shared_workers():
        with pytest.raises(ZeroDivisionError):
            map_slices(divmod, [(1, 0), (1, 1), (1, 0)])
        assert map_slices(divmod, [(7, 2), (9, 3), (5, 5)]) == [(3, 1), (3, 0), (1, 0)]
