"""Runs against the real engine that are no case of the table: what a submission asks for, interruptions, sweeping."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.base.errors import ContainerTimeout, GpuRequiredError, ImagePolicyError
from harness.engines import BASE_IMAGE, Engine
from harness.engines._owner import OWNER
from harness.run.execute import run_submission
from harness.submission.manifest import load_submission
from tests.conftest import EVERY_ENGINE
from tests.containers.cases import LIMITS
from tests.containers.world import client_of, make_dataset, make_submission, of_this_process

pytestmark = [pytest.mark.engine, EVERY_ENGINE]


@pytest.fixture(autouse=True)
def _nothing_is_left(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    yield
    assert of_this_process(engine) == []
    for image in client_of(engine).images(filters={"label": f"ipv2-harness.submission={slug(tmp_path)}"}):
        client_of(engine).remove_image(image["Id"], force=True)


def slug(tmp_path: Path) -> str:
    """A name of the test's own, since submissions of one name share a tag."""
    return f"test-{abs(hash(str(tmp_path))):x}"


def test_a_submission_may_ask_for_less(engine: Engine, tmp_path: Path) -> None:
    folder = make_submission(tmp_path / slug(tmp_path), "sleeps_for_ever", manifest="limits: {wall_s: 1}")
    with pytest.raises(ContainerTimeout, match="deadline, 1 s"):
        run_submission(load_submission(folder), make_dataset(tmp_path / "data"), LIMITS, seed=7, engine=engine)


def test_a_required_gpu_that_is_not_there(engine: Engine, tmp_path: Path) -> None:
    if engine.machine.gpus:
        pytest.skip("this machine has a GPU")
    folder = make_submission(tmp_path / slug(tmp_path), "good", manifest="gpu: required")
    with pytest.raises(GpuRequiredError, match="no GPU"):
        run_submission(load_submission(folder), make_dataset(tmp_path / "data"), LIMITS, seed=7, engine=engine)


def test_an_organiser_can_allow_another_image(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = slug(tmp_path)
    submission, dataset = make_submission(tmp_path / name, "good"), make_dataset(tmp_path / "data")
    dockerfile = (submission / "Dockerfile").read_text()
    (submission / "Dockerfile").write_text(dockerfile.replace("${BASE_IMAGE}", f"{name}:1"))
    client_of(engine).tag(BASE_IMAGE, name, "1")
    try:
        with pytest.raises(ImagePolicyError, match=f"FROM {name}:1: that image is not allowed"):
            run_submission(load_submission(submission), dataset, LIMITS, seed=7, engine=engine)
        monkeypatch.setenv("HARNESS_BUILD_IMAGES", f"{name}:1")
        assert run_submission(load_submission(submission), dataset, LIMITS, seed=7, engine=engine).outputs
    finally:
        client_of(engine).remove_image(f"{name}:1")


def test_a_runs_peak_memory_is_the_kernels_own_figure(engine: Engine, tmp_path: Path) -> None:
    if "DOCKER_HOST" in os.environ:
        pytest.skip("it needs an engine on this machine")
    folder = make_submission(tmp_path / slug(tmp_path), "good")
    run = run_submission(load_submission(folder), make_dataset(tmp_path / "data"), LIMITS, seed=7, engine=engine)
    assert run.costs.peak_memory_bytes is not None
    assert 4e6 < run.costs.peak_memory_bytes < 300e6  # more than a bare interpreter takes, less than the limits' sum
    assert run.log == "red\nerror::not a command\n"
    assert run.device == "cpu"


# -------------------------------------------------------------------------------- interruptions
SLEEPER = """
import sys
from pathlib import Path
sys.path[:0] = [{here!r}, {root!r}]
from cases import LIMITS
from world import make_dataset, make_submission
from harness.engines import connect
from harness.run.execute import run_submission
from harness.submission.manifest import load_submission
folder = Path(sys.argv[1])
with connect() as engine:
    submission = load_submission(make_submission(folder / sys.argv[2], "sleeps_for_ever"))
    run_submission(submission, make_dataset(folder / "data"), LIMITS, seed=7, engine=engine,
                   progress=lambda done, total: print(done, flush=True))
"""


def start_sleeper(engine: Engine, tmp_path: Path) -> subprocess.Popen[str]:
    """A harness process of its own with a container that sleeps; returns once the container has written."""
    here = Path(__file__).resolve().parent
    code = SLEEPER.format(here=str(here), root=str(here.parent.parent))
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), slug(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HARNESS_CACHE": str(tmp_path / "cache"), "HARNESS_ENGINE": engine.name},
    )
    timer = threading.Timer(60, child.kill)
    timer.start()
    assert child.stdout is not None
    while child.stdout.readline().strip() != "3":
        assert child.poll() is None, child.stderr and child.stderr.read()
    timer.cancel()
    return child


def running(engine: Engine, owner: str) -> list[str]:
    return [one["Names"][0] for one in client_of(engine).containers(all=True, filters={"label": f"{OWNER}={owner}"})]


def test_an_interrupt_removes_the_container_at_once(engine: Engine, tmp_path: Path) -> None:
    child = start_sleeper(engine, tmp_path)
    (owner,) = (path.stem for path in (tmp_path / "cache" / "owners").iterdir())
    assert len(running(engine, owner)) == 2
    child.send_signal(signal.SIGINT)
    child.wait(15)
    assert running(engine, owner) == []
    assert not (tmp_path / "cache" / "runs").exists()
    assert list((tmp_path / "cache" / "staging").iterdir()) == []


def test_a_killed_harness_is_cleared_up_after_and_a_living_one_is_left_alone(engine: Engine, tmp_path: Path) -> None:
    child = start_sleeper(engine, tmp_path)
    (owner,) = (path.stem for path in (tmp_path / "cache" / "owners").iterdir())
    assert engine.sweep() == []
    assert len(running(engine, owner)) == 2
    child.kill()
    child.wait()
    removed = engine.sweep()
    assert len(removed) == 3  # holder, submission, volume
    assert running(engine, owner) == []
    assert not (tmp_path / "cache" / "owners" / f"{owner}.lock").exists()
    # the slices that it had laid out for the container go when the next run lays out its own
    staging = tmp_path / "cache" / "staging"
    assert len(list(staging.glob("*/input/*.png"))) == 3
    submission = load_submission(make_submission(tmp_path / "next" / slug(tmp_path), "good"))
    run_submission(submission, make_dataset(tmp_path / "data"), LIMITS, seed=7, engine=engine)
    assert list(staging.iterdir()) == []
