"""What all tests share: the order, networks of random weights, and the one door to a real container engine.

A module or test that is to hold for every engine says `@EVERY_ENGINE`; the others run on Docker.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from harness import features
from harness.base import workers as worker_processes
from harness.base.errors import InfrastructureError
from harness.engines import Engine, connect
from harness.features import Extractor

TESTS = Path(__file__).resolve().parent
DOCKER = TESTS.parent / "docker"

# Tests have small slices and run side by side: in their own process what starting workers costs is never won back.
# What they start as a user does, `harness` in a process of its own, has its workers.
worker_processes.HANDFUL = 12

# How long an example takes says how busy the machine is, and no test is about time.
settings.register_profile("harness", deadline=None)
settings.load_profile("harness")


# The files that take longest, in that order: they start first, so that all workers end at the same time.
LONGEST = (
    *("containers/test_faults.py", "containers/test_hostile.py", "containers/test_hostile_on_podman.py"),
    "processors/test_processors.py",
    *("docs/test_commands.py", "scoring/test_score.py", "pipeline/test_evaluate.py", "cli/test_cli.py"),
    *(
        "ci/test_jobs.py",
        "reference_check/test_reference_tools.py",
        "reference_check/test_compare.py",
        "engines/test_gpu.py",
    ),
    *("labels/test_training_pairs.py", "imaging/test_segment.py", "board/site/test_browser.py"),
    *("phantom/test_scan.py", "features/test_inception.py", "imaging/test_lungs.py", "engines/test_docker.py"),
    *("imaging/test_noise_fit.py", "features/test_features.py", "engines/test_podman.py", "test_baselines.py"),
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files by how long they take; within a file the order stays."""
    rank = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def _random_networks_once() -> Iterator[None]:
    """Make networks of random weights once a process: they are always the same, and take seconds each."""
    load = features.load
    made = functools.cache(load)

    def remembered(name: str, *, device: str = "cpu") -> Extractor:
        return (made if name.endswith("-random") else load)(name, device=device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "load", remembered)
        yield


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes, however few the slices."""
    monkeypatch.setattr(worker_processes, "HANDFUL", 0)


EVERY_ENGINE = pytest.mark.parametrize("engine", ["docker", "podman"], indirect=True)


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A running engine with the base image; both are made if need be. In CI the absence of Docker is a failure."""
    name = getattr(request, "param", "docker")
    if name == "podman" and shutil.which("podman") is None:
        pytest.skip("podman is not installed (HARNESS_ENGINE=podman docker/start-engine installs it)")
    build_base(name)
    try:
        connected = connect(name)
    except InfrastructureError as error:
        pytest.fail(error.message)
    with connected:
        yield connected


def build_base(name: str, *options: str) -> None:
    """Start an engine and make its base image (with --torch the one with PyTorch, too), unless they are there."""
    # one worker of pytest-xdist makes them, the others wait
    with open(Path(tempfile.gettempdir()) / "ipv2-harness-tests.lock", "w") as lock:  # noqa: PTH123
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["start-engine"], ["build-base", *options]):
            made = subprocess.run(
                [DOCKER / command[0], *command[1:]],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "HARNESS_ENGINE": name},
            )
            if made.returncode != 0:
                message = f"docker/{' '.join(command)}: {made.stdout}{made.stderr}"
                if os.environ.get("CI") and name == "docker":
                    pytest.fail(message)
                pytest.skip(message)
