"""The one door to a real container engine for all tests that need it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.engines import Engine, connect
from harness.errors import InfrastructureError

DOCKER = Path(__file__).resolve().parent.parent / "docker"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A running engine with the base image; both are made if need be. In CI their absence is a failure."""
    # one worker of pytest-xdist makes them, the others wait
    with open(Path(tempfile.gettempdir()) / "ipv2-harness-tests.lock", "w") as lock:  # noqa: PTH123
        fcntl.flock(lock, fcntl.LOCK_EX)
        for script in ("start-engine", "build-base"):
            made = subprocess.run([DOCKER / script], capture_output=True, text=True, check=False)
            if made.returncode != 0:
                message = f"docker/{script}: {made.stdout}{made.stderr}"
                if os.environ.get("CI"):
                    pytest.fail(message)
                pytest.skip(message)
    try:
        connected = connect()
    except InfrastructureError as error:
        pytest.fail(error.message)
    with connected:
        yield connected
