from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness.errors import InfrastructureError, UsageError
from harness.files import read_grey
from harness.process import map_slices, run


def test_run_gives_status_and_text() -> None:
    done = run([sys.executable, "-c", "import sys; print('out'); sys.exit(3)"])
    assert (done.returncode, done.stdout) == (3, "out\n")


def test_a_missing_or_silent_program_is_the_machines_fault() -> None:
    with pytest.raises(InfrastructureError, match="no-such-program"):
        run(["no-such-program"])
    with pytest.raises(InfrastructureError, match=r"within 0\.2 s"):
        run([sys.executable, "-c", "import time; time.sleep(30)"], timeout_s=0.2)


def test_slices_are_mapped_in_order_with_progress() -> None:
    heard: list[tuple[int, int]] = []
    for count in (2, 5):  # in this process, and in workers
        results = map_slices(
            os.path.join, [("a", str(n)) for n in range(count)], progress=lambda *now: heard.append(now)
        )
        assert results == [f"a/{n}" for n in range(count)]
        assert heard == [(n, count) for n in range(1, count + 1)]
        heard.clear()
    assert map_slices(os.path.join, []) == []


@pytest.mark.parametrize("count", [1, 3])  # in this process, and in workers
def test_errors_of_a_worker_arrive_as_they_are(tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError, match=r"gone\.png"):
        map_slices(read_grey, [(tmp_path / "gone.png",)] * count)


def test_a_dead_worker_is_the_machines_fault() -> None:
    with pytest.raises(InfrastructureError, match="worker process died"):
        map_slices(os._exit, [(1,)] * 3)
