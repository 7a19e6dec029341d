"""Podman, through the Docker API of its service: the same sandbox, and what else Podman needs to enforce it.

Tested with Podman 4.3.1; docs/engines.md says which bounds it cannot enforce.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any

import docker.errors
import docker.types
import requests

import docker
from harness.base.errors import InfrastructureError
from harness.base.files import cache_root
from harness.base.structs import write_json
from harness.engines import Exit
from harness.engines._build import KILL_WAIT_S, MEMORY_SHARE, Watch
from harness.engines._container import ASKED_AT_MOST, DockerContainer
from harness.engines._seccomp import seccomp_profile
from harness.engines.docker import DockerEngine
from harness.sandbox import INPUT, MODEL, OUTPUT, PAGE, BuildPolicy, ContainerPlan, Quota, chosen_runtime

SOCKET = "unix:///run/ipv2-harness-engine/podman.sock"  # where docker/start-engine lets it listen
START = "harness engine start --engine podman starts it (as root on Debian or Ubuntu)"
PROCESSES_OF_A_USER = 32768  # the least that a kernel has; Podman would ask for more than a bounded root may set
# What Podman passes on from its service's environment into containers: an empty value of ours comes first.
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
READ_ONLY = "ro,nosuid,nodev,noexec,size=4096"  # mounted over /run and /var/tmp, which Podman makes writable
KILLED = 137
CGROUPS = Path("/sys/fs/cgroup")
GROUPS_WITHIN_S = 5  # how long Podman may take to remove its cgroups below ours


def open_client() -> Any:
    """A connection to the service of CONTAINER_HOST or to the one that `harness engine start` starts."""
    where = os.environ.get("CONTAINER_HOST") or SOCKET
    return docker.APIClient(base_url=where, version="auto", timeout=60)


def connect() -> PodmanEngine:
    """Connect to the service of CONTAINER_HOST or to the one that `harness engine start` starts."""
    try:
        return PodmanEngine(open_client(), reopen=open_client)
    except (docker.errors.DockerException, requests.RequestException) as error:
        where = os.environ.get("CONTAINER_HOST") or SOCKET
        raise InfrastructureError(
            f"no Podman service answers at {where}: {error}", fix=f"start it as root on Debian or Ubuntu: {START}"
        ) from error


class PodmanEngine(DockerEngine):
    """`harness.engines.Engine` for a Podman service that root runs on this machine, with cgroups managed by Podman."""

    name = "podman"

    def __init__(self, client: Any, *, reopen: Callable[[], Any]) -> None:
        super().__init__(client, reopen=reopen)
        self.container = PodmanContainer
        self.runtime = chosen_runtime(os.environ)  # any other than the service's own was refused
        info = client.info()
        if "name=rootless" in info["SecurityOptions"] or info["CgroupDriver"] != "cgroupfs" or os.geteuid() != 0:
            raise InfrastructureError(
                "root must run both the harness and Podman's service, the latter with --cgroup-manager=cgroupfs: "
                "otherwise the bounds of a build cannot be enforced",
                fix=f"as root: {START}",
            )
        self.layers = Path(info["DockerRootDir"]) / "overlay"
        if info["Driver"] != "overlay":
            raise InfrastructureError(
                f"Podman stores images with {info['Driver']!r}, expected 'overlay', which lets us watch a build's disk",
                fix='set driver = "overlay" in /etc/containers/storage.conf',
            )
        profile = cache_root() / "seccomp.json"  # its API takes a file
        write_json(profile, seccomp_profile())
        self.seccomp = str(profile)

    def _check_runtime(self, runtime: str, info: dict[str, Any]) -> None:
        # its API lists many runtimes, installed or not, and ignores the one that a container asks for
        raise InfrastructureError(
            f"HARNESS_RUNTIME: Podman's service runs {info['DefaultRuntime']}, not {runtime!r}, and has one for all",
            fix=f"harness engine start --stop, then HARNESS_RUNTIME={runtime} " + START,
        )

    def _builder(
        self, policy: BuildPolicy, *, arguments: dict[str, str], labels: dict[str, str]
    ) -> tuple[Watch, Callable[[IO[bytes]], Generator[dict[str, Any]]]]:
        watch = _PodmanWatch(self.client, policy, layers=self.layers)
        memory = min(policy.memory_bytes, round(MEMORY_SHARE * self.machine.memory_bytes))
        parameters = {
            # its builder's own words: it takes Docker's "none" for the machine's network
            "networkmode": "NetworkDisabled" if policy.network == "none" else "NetworkEnabled",
            "nsoptions": json.dumps([{"Name": "network", "Host": False}]),
            "memory": memory,
            "memswap": memory,
            "cgroupparent": watch.cgroup_parent,
            "buildargs": json.dumps(arguments),
            "labels": json.dumps(labels),
            "forcerm": True,
            "httpproxy": False,
            "securityopt": json.dumps([f"seccomp={self.seccomp}"]),
        }

        def begin(context: IO[bytes]) -> Generator[dict[str, Any]]:
            # by hand: the SDK has no parameter for the parent cgroup
            with self.client.post(
                f"{self.client.base_url}/v{self.client.api_version}/build",
                params=parameters,
                data=context,
                headers={"Content-Type": "application/x-tar"},
                stream=True,
                timeout=policy.wall_s + KILL_WAIT_S,
            ) as answer:
                self.client._raise_for_status(answer)
                for line in answer.iter_lines():
                    yield json.loads(line)

        return watch, begin

    def _mounts(self, plan: ContainerPlan, volume: str) -> dict[str, Any]:
        # as binds: for mounts Podman's API drops noexec
        binds = [f"{plan.input}:{INPUT}:ro", f"{volume}:{OUTPUT}:rw,nocopy,nosuid,nodev,noexec"]
        if plan.model is not None:
            binds.append(f"{plan.model}:{MODEL}:ro")
        return {"binds": binds, "tmpfs": {"/run": READ_ONLY, "/var/tmp": READ_ONLY, **plan.tmpfs}}

    def _create_arguments(self, plan: ContainerPlan, **names: Any) -> dict[str, Any]:
        arguments = super()._create_arguments(plan, **names)
        proxies = {name: "" for lower in PROXIES for name in (lower, lower.upper())}
        return {**arguments, "environment": {**proxies, **plan.environment}}

    def _volume_size(self, quota: Quota) -> str:
        # Podman takes `size` for a project quota, which most file systems lack
        return f"nr_blocks={-(-quota.bytes // os.sysconf('SC_PAGE_SIZE'))}"

    def _ulimits(self, **limits: int) -> list[docker.types.Ulimit]:
        return super()._ulimits(nproc=PROCESSES_OF_A_USER, **limits)


class PodmanContainer(DockerContainer):
    """A container that asks the kernel whether it killed a process for lack of memory, which Podman does not say."""

    oom_kills = 0

    def exit(self) -> Exit:
        self.state["OOMKilled"] = (
            self.state["OOMKilled"]
            or self.oom_kills > 0
            # it ended between two looks: from outside only the kernel sends this signal
            or (self.state["ExitCode"] == KILLED and not self.timed_out)
        )
        return super().exit()

    def _sample_memory(self) -> None:
        super()._sample_memory()
        for path in self._memory_files:
            for name in ("memory.oom_control", "memory.events"):  # cgroup v1 and v2
                with contextlib.suppress(OSError):
                    counted = re.search(r"^oom_kill (\d+)$", path.with_name(name).read_text(), re.MULTILINE)
                    self.oom_kills = max(self.oom_kills, int(counted[1]) if counted else 0)

    def _inspect(self, container: str) -> dict[str, Any]:
        for _ in range(ASKED_AT_MOST - 1):
            try:
                return super()._inspect(container)
            except docker.errors.APIError:  # it ended just while the service looked at its process
                time.sleep(0.1)
        return super()._inspect(container)

    def _log_tail(self, *, stdout: bool) -> str:
        # `tail` loses the beginnings of lines that were written in parts; the log is bounded anyway
        return self._end_of(self.client.logs(self.main, stdout=stdout, stderr=True, tail="all"))


class _PodmanWatch(Watch):
    """Runs the processes of a build below a cgroup of ours, where they are limited, found and killed."""

    builder = "podman build"
    layer_line = re.compile(r"--> ([0-9a-f]{11,12})\n")

    def __init__(self, client: Any, policy: BuildPolicy, *, layers: Path) -> None:
        super().__init__(client, policy)
        self.group = f"ipv2-harness-build-{uuid.uuid4().hex[:12]}"
        self.cgroup_parent = (
            f"/{self.group}/run"  # below ours, since Podman sets its own limits on the one that it is given
        )
        self.store = layers
        self.outside: set[int] = set()  # processes that were in the machine's network at the last look

    def __enter__(self) -> Watch:
        group = self._pids_root() / self.group
        try:
            group.mkdir()
            (group / "pids.max").write_text(str(self.policy.pids))
        except OSError as error:
            raise InfrastructureError(
                f"{group}: cannot limit the processes of a build: {error.strerror}",
                fix="run the harness as root, with cgroups mounted writable",
            ) from error
        self.others = set(self._layer_folders())
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._kill()
        _remove_groups(self.group)

    @staticmethod
    def _pids_root() -> Path:
        return CGROUPS / "pids" if (CGROUPS / "pids").is_dir() else CGROUPS

    def _layer_folders(self) -> list[Path]:
        return [folder for folder in self.store.iterdir() if (folder / "diff").is_dir()]

    def _written(self) -> int:
        """All that is new in the store, so what parallel builds write counts as well."""
        self._check_network()
        folders = [folder / "diff" for folder in self._layer_folders() if folder not in self.others]
        return sum(_disk_use(folder) for folder in folders)

    def _check_network(self) -> None:
        """Check that the build has no network: another version's API may silently misunderstand that request."""
        own = Path("/proc/self/ns/net").stat().st_ino
        outside = set()
        for process in self._processes():
            with contextlib.suppress(OSError):  # it has just ended
                if Path(f"/proc/{process}/ns/net").stat().st_ino == own:
                    outside.add(process)
        if (
            outside & self.outside and self.policy.network == "none"
        ):  # at two looks in a row, since every process starts there
            self._stop("runs in the machine's network: this version of Podman is not supported")
        self.outside = outside

    def _kill(self) -> None:
        for process in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _processes(self) -> list[int]:
        groups = (self._pids_root() / self.group).rglob("cgroup.procs")
        return [int(process) for members in groups for process in members.read_text().split()]


def _remove_groups(name: str) -> None:
    """Remove the cgroups of a build once Podman, which may still be removing its own below them, has let go."""
    groups = [top / name / below for top in (CGROUPS, *CGROUPS.iterdir()) for below in ("run", "")]  # v2, and v1's each
    until = time.monotonic() + GROUPS_WITHIN_S
    while True:
        for group in groups:
            with contextlib.suppress(OSError):
                group.rmdir()
        if time.monotonic() > until or not any(group.exists() for group in groups):
            return
        time.sleep(0.1)


def _disk_use(folder: Path) -> int:
    """Bytes on disk of everything in a folder, each file as at least one block; what vanishes meanwhile is left out."""
    total = 0
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):
                facts = os.lstat(os.path.join(top, name))  # noqa: PTH118  # many thousands
                total += max(facts.st_blocks * 512, PAGE)
    return total
