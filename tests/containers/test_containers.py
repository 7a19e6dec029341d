"""Hostile and faulty submissions against the real engine: the right error, the bound that held, nothing left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.data import Case, Dataset
from harness.engines import Engine
from harness.engines._owner import OWNER, owner_labels
from harness.engines.docker import DockerEngine
from harness.errors import (
    ContainerError,
    ContainerOutOfMemory,
    ContainerTimeout,
    GpuRequiredError,
    HarnessError,
    ImagePolicyError,
    OutputQuotaError,
    OutputsError,
)
from harness.files import read_grey, write_grey
from harness.run import Run, run_submission
from harness.sandbox import Limits
from harness.submission import load_submission

pytestmark = pytest.mark.engine
IMAGE = Path(__file__).with_name("image")
LIMITS = Limits(wall_s=60, memory_gb=0.2, cpus=1, shm_gb=0.01, tmp_gb=0.05, pids=40)

Start = Callable[..., Run]


def make_dataset(folder: Path) -> Dataset:
    """Three noisy slices of 64 x 48 pixels beside a label that no container may ever read."""
    rng = np.random.default_rng(1)
    cases = []
    for name in ("p1-s1", "p1-s2", "p2-s1"):
        for kind in ("lq", "gt"):
            write_grey(folder / kind / f"{name}.png", rng.integers(0, 256, (64, 48), dtype=np.uint8))
        cases.append(
            Case(name=name, patient=name[:2], lq=str(folder / f"lq/{name}.png"), gt=str(folder / f"gt/{name}.png"))
        )
    (folder / "gt" / "canary").write_text("canary-label")
    return Dataset(cases=tuple(cases), window_hu=(-1024, 1200), digest="three slices")


def make_submission(folder: Path, behaviour: str, *, dockerfile: str = "", manifest: str = "") -> Path:
    """A submission folder whose container shows one behaviour of image/behave.py."""
    shutil.copytree(IMAGE, folder)
    with (folder / "Dockerfile").open("a") as file:
        file.write(f'{dockerfile}\nCMD ["python3", "/behave.py", "{behaviour}"]\n')
    (folder / "submission.yaml").write_text(
        f'schema: 1\nname: Test\nversion: "1"\nauthors: [Test]\nimage: {{build: .}}\n{manifest}\n'
    )
    return folder


def of_this_process(engine: Engine) -> list[str]:
    """The containers and volumes that this process has made and that still exist."""
    assert isinstance(engine, DockerEngine)
    ours = {"label": f"{OWNER}={owner_labels(lifetime_s=0)[OWNER]}"}
    containers = [one["Names"][0] for one in engine.client.containers(all=True, filters=ours)]
    return containers + [one["Name"] for one in engine.client.volumes(filters=ours)["Volumes"] or ()]


@pytest.fixture
def start(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Run a behaviour; afterwards nothing of it may be left in the engine."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    dataset = make_dataset(tmp_path / "data")

    def start(behaviour: str, *, limits: Limits = LIMITS, dockerfile: str = "", manifest: str = "") -> Run:
        folder = make_submission(tmp_path / "sub", behaviour, dockerfile=dockerfile, manifest=manifest)
        return run_submission(load_submission(folder), dataset, limits, seed=7, engine=engine)

    yield start
    assert of_this_process(engine) == []


def outputs_equal_inputs(run: Run, tmp_path: Path) -> bool:
    return all(
        (read_grey(Path(path)) == read_grey(tmp_path / "data" / "lq" / f"{name}.png")).all()
        for name, path in run.outputs.items()
    )


# -------------------------------------------------------------------------------- good ones
def test_a_good_container_is_run_and_its_log_is_harmless(start: Start, tmp_path: Path) -> None:
    run = start("good")
    assert sorted(run.outputs) == ["p1-s1", "p1-s2", "p2-s1"]
    assert outputs_equal_inputs(run, tmp_path)
    assert run.device == "cpu"
    if "DOCKER_HOST" not in os.environ:  # the kernel's own figure needs an engine on this machine
        assert run.peak_memory_bytes is not None
        assert 4e6 < run.peak_memory_bytes < 300e6  # more than a bare interpreter takes, less than the limits' sum
    assert run.log == "red\nerror::not a command\n"


def test_the_sandbox_denies_what_it_says_and_shows_no_label(start: Start, tmp_path: Path) -> None:
    assert outputs_equal_inputs(start("looks_around"), tmp_path)


def test_there_is_no_network(start: Start, tmp_path: Path) -> None:
    assert outputs_equal_inputs(start("egress"), tmp_path)


def test_a_volume_of_the_image_is_covered_by_a_bounded_one(start: Start) -> None:
    assert start("volume_filler", dockerfile="VOLUME /data").log == "64 MiB: No space left on device\n"


def test_a_fork_bomb_stops_at_the_limit(start: Start) -> None:
    made = int(start("fork_bomb").log.split()[0])
    # 40 less the init process and the script itself; the engine may count one more of its own
    assert 36 <= made <= 38


def test_a_log_flood_is_cut(start: Start) -> None:
    assert 0 < len(start("log_flood").log) <= 64 * 1024


# -------------------------------------------------------------------------------- faulty and hostile ones
@pytest.mark.parametrize(
    ("behaviour", "error", "said"),
    [
        ("fails", ContainerError, "exit status 1: the model is not there"),
        ("nothing", OutputsError, "/output is empty, expected 3 files"),
        ("one_too_few", OutputsError, "1 missing: "),
        ("one_too_many", OutputsError, r"2 not expected: "),
        ("sixteen_bit", OutputsError, "has 16 bits per channel, expected 8"),
        ("links", OutputsError, "2 wrong: "),
        ("disk_fill", OutputQuotaError, "more than /output may hold"),
        ("inode_flood", OutputQuotaError, "more than /output may hold"),
        ("sparse_file", OutputQuotaError, "claims 40000000 bytes"),
        ("huge_file", OutputQuotaError, "more than /output may hold"),
        ("memory_hog", ContainerOutOfMemory, "for memory"),
        ("child_memory_hog", ContainerOutOfMemory, "for memory"),
        ("needs_gpu", GpuRequiredError, "needs a GPU"),
    ],
)
def test_what_a_container_does_wrong_is_named(
    start: Start, tmp_path: Path, behaviour: str, error: type[HarnessError], said: str
) -> None:
    with pytest.raises(error) as caught:
        start(behaviour)
    assert type(caught.value) is error
    assert said in caught.value.message
    assert caught.value.fix
    assert not (tmp_path / "cache" / "runs").exists()  # nothing of a failed run is kept


def test_a_container_that_ignores_every_request_to_end_is_killed_at_its_deadline(start: Start) -> None:
    began = time.monotonic()
    with pytest.raises(ContainerTimeout, match="deadline, 2 s"):
        start("sleeps_for_ever", limits=Limits(wall_s=2, memory_gb=0.2, cpus=1, shm_gb=0.01, tmp_gb=0.05, pids=40))
    assert time.monotonic() - began < 12


def test_a_submission_may_ask_for_less(start: Start) -> None:
    with pytest.raises(ContainerTimeout, match="deadline, 1 s"):
        start("sleeps_for_ever", manifest="limits: {wall_s: 1}")


def test_a_command_that_does_not_exist_is_named(start: Start) -> None:
    with pytest.raises(ContainerError, match=r"127: .*/nothing/there"):
        start("good", dockerfile='ENTRYPOINT ["/nothing/there"]')


def test_a_file_in_the_place_of_input_is_the_images_fault(start: Start) -> None:
    with pytest.raises(ImagePolicyError, match="not a directory"):
        start("good", dockerfile="COPY behave.py /input")


def test_a_required_gpu_that_is_not_there(start: Start, engine: Engine) -> None:
    if engine.machine.gpus:
        pytest.skip("this machine has a GPU")
    with pytest.raises(GpuRequiredError, match="no GPU"):
        start("good", manifest="gpu: required")


# -------------------------------------------------------------------------------- interruptions
SLEEPER = """
import signal, sys
from pathlib import Path
sys.path[:0] = [{here!r}, {root!r}]
from test_containers import LIMITS, make_dataset, make_submission
from harness.engines import connect
from harness.run import run_submission
from harness.submission import load_submission
folder = Path(sys.argv[1])
with connect() as engine:
    submission = load_submission(make_submission(folder / "sub", "sleeps_for_ever"))
    run_submission(submission, make_dataset(folder / "data"), LIMITS, seed=7, engine=engine,
                   progress=lambda done, total: print(done, flush=True))
"""


def start_sleeper(tmp_path: Path) -> subprocess.Popen[str]:
    """A harness process of its own with a container that sleeps; returns once the container has written."""
    here = Path(__file__).resolve().parent
    code = SLEEPER.format(here=str(here), root=str(here.parent.parent))
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HARNESS_CACHE": str(tmp_path / "cache")},
    )
    timer = threading.Timer(60, child.kill)
    timer.start()
    assert child.stdout is not None
    while child.stdout.readline().strip() != "3":
        assert child.poll() is None, child.stderr and child.stderr.read()
    timer.cancel()
    return child


def running(engine: Engine, owner: str) -> list[str]:
    assert isinstance(engine, DockerEngine)
    return [one["Names"][0] for one in engine.client.containers(all=True, filters={"label": f"{OWNER}={owner}"})]


def test_an_interrupt_removes_the_container_at_once(engine: Engine, tmp_path: Path) -> None:
    child = start_sleeper(tmp_path)
    (owner,) = (path.stem for path in (tmp_path / "cache" / "owners").iterdir())
    assert len(running(engine, owner)) == 2
    child.send_signal(signal.SIGINT)
    child.wait(15)
    assert running(engine, owner) == []
    assert not (tmp_path / "cache" / "runs").exists()
    assert list((tmp_path / "cache" / "staging").iterdir()) == []


def test_a_killed_harness_is_cleared_up_after_and_a_living_one_is_left_alone(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = start_sleeper(tmp_path)
    (owner,) = (path.stem for path in (tmp_path / "cache" / "owners").iterdir())
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
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
    submission = load_submission(make_submission(tmp_path / "next", "good"))
    run_submission(submission, make_dataset(tmp_path / "data"), LIMITS, seed=7, engine=engine)
    assert list(staging.iterdir()) == []
