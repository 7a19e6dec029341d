"""Podman: that its service confirms every bound, from the outside and from inside the container."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from harness.base.errors import BuildError
from harness.engines import BASE_IMAGE, Engine
from harness.engines.podman import PodmanEngine
from harness.sandbox import BuildPolicy, Limits, output_quota, plan_container

pytestmark = [pytest.mark.engine, pytest.mark.parametrize("engine", ["podman"], indirect=True)]
BASE = {"BASE_IMAGE": BASE_IMAGE}
FROM = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n"
LOOK = 'CMD ["sh", "-c", "cat /proc/mounts /proc/net/dev /proc/self/status; ulimit -n; cat /proc/1/cmdline; sleep 1"]\n'


@pytest.fixture
def podman(engine: Engine) -> PodmanEngine:
    assert isinstance(engine, PodmanEngine)
    return engine


def context(folder: Path, dockerfile: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    return folder


def test_every_bound_of_the_plan_holds(podman: PodmanEngine, tmp_path: Path) -> None:
    image = podman.build(context(tmp_path / "a", f"{FROM}{LOOK}USER 0\nVOLUME /data\n"), arguments=BASE)
    (tmp_path / "input").mkdir()
    quota = output_quota([(64, 64)])
    plan = plan_container(
        podman.inspect(image),
        limits=Limits(wall_s=9, memory_gb=0.1, cpus=0.5, shm_gb=0.01, tmp_gb=0.02, pids=20),
        quota=quota,
        input_folder=str(tmp_path / "input"),
        model_folder=None,
        seed=1,
        gpu=None,
    )
    with podman.start(plan) as container:
        facts = podman.client.inspect_container(container.main)
        for _ in container.wait(deadline_s=20):
            pass
        ended = container.exit()
    host, config = facts["HostConfig"], facts["Config"]
    assert facts["Image"] == image
    assert config["User"] == plan.user
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert host["PidsLimit"] == 20
    assert host["Memory"] == host["MemorySwap"] == plan.memory_bytes
    assert (host["NanoCpus"] or host["CpuQuota"] * 10**4) == 5 * 10**8
    assert host["ShmSize"] == 10**7
    limits = {one["Name"].removeprefix("RLIMIT_").lower(): one["Hard"] for one in host["Ulimits"]}
    assert limits == {"nofile": 4096, "core": 0, "fsize": 2 * 10**7, "cpu": 65, "nproc": 32768}
    # what the container itself sees
    lines = re.findall(r"^\S+ (/\S*) \S+ (\S+) 0 0$", ended.log, re.MULTILINE)
    mounts = {path: options.split(",") for path, options in lines}
    writable = {path for path, options in mounts.items() if "rw" in options and not path.startswith(("/dev", "/proc"))}
    assert writable == {"/tmp", "/data", "/output", "/sys/fs/cgroup"} & set(mounts)
    assert {"noexec", "nosuid", "nodev", f"nr_inodes={quota.inodes}"} <= set(mounts["/output"])
    assert f"size={quota.bytes // 1024}k" in mounts["/output"]
    assert "noexec" not in mounts["/tmp"]
    status = dict(line.split(":\t", 1) for line in ended.log.splitlines() if ":\t" in line)
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Uid"].split()[0]) == ("1", "2", plan.user.split(":")[0])
    assert re.findall(r"^ *(\w+): +\d+ +\d+ ", ended.log, re.MULTILINE) == ["lo"], "no network but the container's own"
    assert "podman-init" in ended.log


def test_the_filter_holds_for_a_build_as_well_whose_run_lines_are_roots(podman: PodmanEngine, tmp_path: Path) -> None:
    probe = "import ctypes; print('unshare', ctypes.CDLL(None).unshare(0x10000000))"
    with pytest.raises(BuildError, match="unshare -1"):
        podman.build(
            context(tmp_path / "a", f'{FROM}RUN : {os.getpid()}; python3 -c "{probe}"; exit 1\n'), arguments=BASE
        )


def test_a_build_has_no_network(podman: PodmanEngine, tmp_path: Path) -> None:
    look = f"{FROM}RUN : {os.getpid()}; sleep 1; readlink /proc/self/ns/net; cat /proc/net/dev; exit 1\n"
    with pytest.raises(BuildError) as caught:
        podman.build(context(tmp_path / "a", look), arguments=BASE)
    assert re.findall(r"^ *(\w+): +\d+ +\d+ ", caught.value.message, re.MULTILINE) == ["lo"]
    assert str(Path("/proc/self/ns/net").readlink()) not in caught.value.message


def test_an_equal_folder_builds_the_same_image_and_a_failed_build_leaves_nothing(
    podman: PodmanEngine, tmp_path: Path
) -> None:
    first = podman.build(context(tmp_path / "a", FROM + "COPY Dockerfile /x\n"), arguments=BASE)
    assert podman.build(context(tmp_path / "b", FROM + "COPY Dockerfile /x\n"), arguments=BASE) == first
    before = {image["Id"] for image in podman.client.images(all=True)}
    with pytest.raises(BuildError, match="not finished within 2 s"):
        podman.build(
            context(tmp_path / "c", f"{FROM}RUN echo {os.getpid()}\nRUN sleep 300\n"),
            arguments=BASE,
            policy=BuildPolicy(wall_s=2),
        )
    assert {image["Id"] for image in podman.client.images(all=True)} == before
    assert not list(Path("/sys/fs/cgroup").rglob("ipv2-harness-build-*"))
