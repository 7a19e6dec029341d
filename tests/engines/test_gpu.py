"""GPUs without one: nvidia-smi is a script that prints what the real one does; the engines are real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.base.errors import GpuRequiredError
from harness.engines import BASE_IMAGE, Engine, connect
from harness.engines._gpu import GpuMemory, check_seen, given, gpus
from harness.records.store import read_record
from harness.run.execute import run_submission
from harness.sandbox import Limits, output_quota, plan_container
from harness.submission.manifest import load_submission
from tests.conftest import EVERY_ENGINE
from tests.containers.cases import LIMITS
from tests.containers.world import make_dataset, make_submission, of_this_process
from tests.small import small_protocol

GPU, OTHER = "GPU-4b3f1a52-7a6e-1f0c-9a51-0d3f1c2b4e55", "GPU-00000000-0000-0000-0000-000000000001"
ROOT = Path(__file__).resolve().parent.parent.parent
# the formats of driver 535: one line a device; --id of one that is not there fails
NVIDIA_SMI = """#!/bin/sh
case "$*" in
  "--query-gpu=uuid --format=csv,noheader") echo "{gpu}" ;;
  "--id={gpu} --query-gpu=memory.used --format=csv,noheader,nounits") cat "{used}" ;;
  *) echo "Invalid combination of input arguments." >&2; exit 2 ;;
esac
"""


@pytest.fixture
def used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a GPU, as nvidia-smi tells; the file holds its used memory in MiB."""
    path, programs = tmp_path / "used", tmp_path / "bin"
    programs.mkdir()
    script = programs / "nvidia-smi"
    script.write_text(NVIDIA_SMI.format(gpu=GPU, used=path))
    script.chmod(0o755)
    path.write_text("1000\n")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return path


def test_gpus_are_told_by_their_ids(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus() == (GPU,)
    (used.parent / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed' ; exit 9\n")
    assert gpus() == ()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "abc"),
        ({"CUDA_VISIBLE_DEVICES": "2,0", "SLURM_JOB_GPUS": "1"}, "ca"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-b"}, "b"),
        ({"CUDA_VISIBLE_DEVICES": ""}, ""),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,0"}, "b"),  # as for CUDA
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ""),  # Slurm's word for none
        ({"SLURM_JOB_GPUS": "1"}, "b"),
        ({"SLURM_JOB_GPUS": "5,6,7"}, "abc"),  # numbers of the machine, of which the job sees its own three
    ],
)
def test_a_job_uses_the_gpus_that_the_batch_system_gave_it(environment: dict[str, str], expected: str) -> None:
    assert given(("GPU-a", "GPU-b", "GPU-c"), environment) == tuple(f"GPU-{letter}" for letter in expected)


def test_the_peak_is_what_a_run_took_above_what_was_in_use(used: Path) -> None:
    memory = GpuMemory(GPU)
    assert memory.peak is None
    for now in ("3000\n", "[N/A]\n", "1500\n"):  # a driver that does not tell is no end of a run
        used.write_text(now)
        memory.sample()
    assert memory.peak == 2000 * 2**20
    without = GpuMemory(None)
    without.sample()
    assert without.peak is None


@pytest.mark.parametrize("seen", ["", f"{GPU}\n{OTHER}\n", f"{OTHER}\n", "exec: nvidia-smi: not found"])
def test_another_device_than_the_asked_is_refused(seen: str) -> None:
    check_seen(GPU, listing=f"{GPU}\n", engine="docker")
    with pytest.raises(GpuRequiredError, match=f"was asked for the GPU {GPU}") as caught:
        check_seen(GPU, listing=seen, engine="docker")
    assert caught.value.exit_code == 24


@pytest.mark.engine
@EVERY_ENGINE
def test_a_gpu_that_the_engine_cannot_hand_over_is_no_silent_fall_back(
    engine: Engine, used: Path, tmp_path: Path
) -> None:
    folder = make_submission(tmp_path / f"gpu-{os.getpid()}", "good", manifest="gpu: optional")
    with connect(engine.name) as asked:
        assert asked.machine.gpus == (GPU,)
        # Docker finds no driver for the request; Podman's API ignores it, which the look from inside finds out
        with pytest.raises(GpuRequiredError):
            run_submission(load_submission(folder), make_dataset(used.parent / "data"), LIMITS, seed=7, engine=asked)
        assert of_this_process(asked) == []


@pytest.mark.engine
@EVERY_ENGINE
def test_a_gpus_memory_is_looked_at_while_a_container_runs(engine: Engine, used: Path, tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "Dockerfile").write_text('ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCMD ["sleep", "3"]\n')
    plan = plan_container(
        engine.inspect(engine.build(tmp_path, arguments={"BASE_IMAGE": BASE_IMAGE})),
        limits=Limits(wall_s=30, memory_gb=0.1, cpus=0.5, shm_gb=0.01, tmp_gb=0.02, pids=20),
        quota=output_quota([(64, 64)]),
        input_folder=str(tmp_path / "input"),
        model_folder=None,
        seed=1,
        gpu=None,
    )
    with engine.start(plan) as container:
        container.gpu_memory = GpuMemory(GPU)  # type: ignore[attr-defined]  # no engine here hands one over
        used.write_text("5096\n")
        for _ in container.wait(deadline_s=30):
            pass
        assert container.exit().peak_gpu_memory_bytes == 4096 * 2**20


@pytest.mark.engine
def test_a_required_gpu_ends_in_24_without_a_record_and_an_optional_one_runs_on_the_cpu(
    engine: Engine, tmp_path: Path
) -> None:
    if engine.machine.gpus:
        pytest.skip("this machine has a GPU")
    (tmp_path / "small.yaml").write_text(small_protocol())
    options = ("-p", str(tmp_path / "small.yaml"), "--leaderboard", str(tmp_path))
    for wanted, status in (("required", 24), ("optional", 0)):
        folder = make_submission(tmp_path / f"gpu-{wanted}-{os.getpid()}", "good", manifest=f"gpu: {wanted}")
        done = subprocess.run(
            [sys.executable, "-m", "harness", "run", str(folder), *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
    records = list(tmp_path.glob("records/*/*/*/record.json"))
    assert [path.parent.parent.name.split("-")[1] for path in records] == ["optional"]
    assert read_record(records[0].parent).result.device == "cpu"
    assert read_record(records[0].parent).observed.peak_gpu_memory_bytes is None
