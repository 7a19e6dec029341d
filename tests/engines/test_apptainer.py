"""Apptainer: its command line as a value, its container with other children, the whole where it is installed."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import tarfile
from pathlib import Path

import msgspec
import pytest

from harness.base import process
from harness.base.errors import InfrastructureError, UsageError
from harness.engines import Exit, connect
from harness.engines._gpu import GpuMemory
from harness.engines.apptainer import ApptainerContainer, ApptainerEngine, run_command
from harness.run.container_image import checked_image
from harness.sandbox import (
    NOT_ISOLATED,
    TRUSTED,
    BuildPolicy,
    ContainerPlan,
    ImageFacts,
    Limits,
    Quota,
    plan_container,
)
from harness.submission.manifest import load_submission
from tests.containers.world import make_submission

FACTS = ImageFacts(id=f"sha256:{'a' * 64}", os="linux", architecture="amd64", command=("python3", "/run.py"))
QUOTA = Quota(bytes=100_000, inodes=20)


def planned(gpu: str | None = None, model: str | None = None) -> ContainerPlan:
    return plan_container(
        FACTS,
        limits=Limits(wall_s=9, memory_gb=0.1, cpus=0.5, shm_gb=0.01, tmp_gb=0.02, pids=20),
        quota=QUOTA,
        input_folder="/cache/in",
        model_folder=model,
        seed=1,
        gpu=gpu,
    )


def command_of(plan: ContainerPlan) -> list[str]:
    return run_command(
        plan, image=Path("/cache/i.sif"), command=FACTS.command, output=Path("/cache/o"), scratch=Path("/cache/t")
    )


def options(command: list[str], name: str) -> list[str]:
    return [value for option, value in itertools.pairwise(command) if option == name]


# -------------------------------------------------------------------------------- the plan
def test_the_command_line_holds_what_apptainer_can() -> None:
    plan = planned(model="/cache/m")
    command = command_of(plan)
    assert command[:5] == ["prlimit", "--nofile=4096", "--core=0", "--fsize=20000000", "--cpu=65"]
    assert {"--containall", "--cleanenv", "--no-home", "--no-privs", "--net"} <= set(command)
    assert not {"--writable", "--writable-tmpfs", "--fakeroot", "--nv", "--keep-privs", "--allow-setuid"} & set(command)
    assert options(command, "--network") == ["none"]
    assert options(command, "--drop-caps") == ["all"]
    assert options(command, "--no-mount") == ["bind-paths,hostfs"]
    assert options(command, "--memory") == options(command, "--memory-swap") == [str(plan.memory_bytes)]
    assert (options(command, "--cpus"), options(command, "--pids-limit")) == (["0.5"], ["20"])
    assert options(command, "--bind") == [
        "/cache/in:/input:ro",
        "/cache/o:/output:rw",
        "/cache/t:/tmp:rw",
        "/cache/m:/opt/ml/model:ro",
    ]
    environment = dict(entry.split("=", 1) for entry in options(command, "--env"))
    assert environment == plan.environment
    assert command[-3:] == ["/cache/i.sif", "python3", "/run.py"]


def test_a_gpu_is_asked_for_by_its_id() -> None:
    command = command_of(planned(gpu="GPU-1"))
    assert "--nv" in command
    assert "CUDA_VISIBLE_DEVICES=GPU-1" in options(command, "--env")


# -------------------------------------------------------------------------------- what it does not do
def test_a_trusted_run_asks_for_no_namespace_and_no_control_group_and_says_so() -> None:
    whole, trusted = command_of(planned()), command_of(msgspec.structs.replace(planned(), runtime=TRUSTED))
    assert [word for word in whole if word not in trusted] == [
        *("--net", "--network", "none", "--memory", "130100000", "--memory-swap", "130100000"),  # + tmp, shm, quota
        *("--cpus", "0.5", "--pids-limit", "20"),
    ]  # fmt: skip
    engine = ApptainerEngine("1.3.0", runtime=TRUSTED)
    assert engine.runtime == TRUSTED  # part of the key of cached runs
    assert NOT_ISOLATED in engine.description
    assert NOT_ISOLATED not in ApptainerEngine("1.3.0").description


def test_a_submission_that_is_to_be_built_is_told_what_to_do(tmp_path: Path) -> None:
    submission = load_submission(make_submission(tmp_path / "built", "good"))
    with pytest.raises(UsageError) as caught:
        engine = ApptainerEngine("1.3.0")
        checked_image(submission, engine, BuildPolicy(), machine=engine.machine, device="cpu")
    assert "docker save" in caught.value.fix


def test_the_record_says_which_bounds_do_not_hold() -> None:
    assert "not held: own user" in ApptainerEngine("1.3.0").description


# -------------------------------------------------------------------------------- the container, with other children
def ended(tmp_path: Path, script: str, *, deadline_s: float = 20) -> Exit:
    """How a shell script ends that runs where the program of a container would."""
    (tmp_path / "output").mkdir()
    (tmp_path / "scratch").mkdir()
    with (
        (tmp_path / "log").open("wb") as log,
        (tmp_path / "err").open("wb") as err,
        process.started(["sh", "-c", f"cd {tmp_path}/output; {script}"], stdout=log, stderr=err) as child,
    ):
        container = ApptainerContainer(child, plan=planned(), folder=tmp_path, gpu_memory=GpuMemory(None))
        for _ in container.wait(deadline_s=deadline_s):
            pass
        return container.exit()


def test_a_good_end_and_its_outputs(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "a.png").write_bytes(b"12")
    (tmp_path / "output" / "link").symlink_to("/etc/passwd")
    with (tmp_path / "log").open("wb") as log, process.started(["true"], stdout=log, stderr=log) as child:
        container = ApptainerContainer(child, plan=planned(), folder=tmp_path, gpu_memory=GpuMemory(None))
        data = b"".join(container.output())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        kinds = {member.name: member.type for member in tar}
    assert kinds == {".": tarfile.DIRTYPE, "./a.png": tarfile.REGTYPE, "./link": tarfile.SYMTYPE}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo a; echo b >&2; echo x > a.png", {"code": 0, "stderr": "b\n", "log": "a\nb\n"}),
        ("exit 7", {"code": 7}),
        ("kill -9 $$", {"code": 137, "out_of_memory": True}),
        ("trap '' TERM; while true; do sleep 0.1; done", {"timed_out": True, "out_of_memory": False}),
        ("head -c 200000 /dev/zero > a; sleep 30", {"output_full": True, "timed_out": False, "out_of_memory": False}),
        ("head -c 200000 /dev/zero > a", {"output_full": True}),  # whether it still runs when that is seen is chance
        ("touch $(seq 30)", {"output_full": True}),
    ],
)
def test_how_it_ended(tmp_path: Path, script: str, expected: dict[str, object]) -> None:
    found = ended(tmp_path, script, deadline_s=2 if "trap" in script else 20)
    assert {name: getattr(found, name) for name in expected} == expected


def test_what_apptainer_itself_cannot_do_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="cgroups are not delegated"):
        ended(tmp_path, "echo 'FATAL:   cgroups are not delegated' >&2; exit 255")


def test_a_log_without_end_ends_the_container(tmp_path: Path) -> None:
    found = ended(tmp_path, "while true; do echo yyyyyyyyyyyyyyyyyyyy; done")
    assert (found.code, found.out_of_memory) == (137, False)
    assert len(found.log) <= 64 * 1024


# -------------------------------------------------------------------------------- the real one
@pytest.mark.skipif(os.geteuid() == 0, reason="apptainer is refused to root")
@pytest.mark.skipif(shutil.which("apptainer") is None, reason="apptainer is not installed")
def test_apptainer_runs_an_archive(tmp_path: Path) -> None:
    archive = Path(os.environ.get("HARNESS_TEST_ARCHIVE", ""))
    if not archive.is_file():
        pytest.skip("HARNESS_TEST_ARCHIVE names no archive of docker save")
    (tmp_path / "in").mkdir()
    with connect("apptainer") as engine:
        plan = msgspec.structs.replace(planned(), image=engine.load(archive), input=str(tmp_path / "in"))
        with engine.start(plan) as container:
            for _ in container.wait(deadline_s=60):
                pass
            assert container.exit().code == 0
