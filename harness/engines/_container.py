"""A running Docker container, and the holder: a container that keeps /output mounted."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import docker.errors
import requests
import urllib3

from harness.base.errors import InfrastructureError
from harness.engines import Exit
from harness.engines._gpu import GpuMemory
from harness.sandbox import OUTPUT, ContainerPlan

LOG_TAIL_BYTES = 64 * 1024
ASKED_AT_MOST = 5
START_WITHIN_S, CLOCKS_DIFFER_S = 30, 1  # how much more, and less, time than the engine we may measure
KILL_WAIT_S = 60  # a killed container that has not ended after this time: the engine is broken


@contextlib.contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turn whatever the SDK raises into an InfrastructureError: engine trouble is never the submission's fault."""
    try:
        yield
    except (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        detail = getattr(error, "explanation", None) or error
        raise InfrastructureError(
            f"the container engine failed while {doing}: {detail}",
            fix="see whether it still runs (docker version), start it with harness engine start, then run again",
        ) from error


def duration(by_engine_s: float, *, noticed_s: float) -> float:
    """How long a container ran, in seconds by the engine's clock, unless that clock was set meanwhile.

    `noticed_s` is what the harness measured, monotonically, from before the start until it noticed the end: longer by
    the time to start and to notice. If the two differ by more than that, `noticed_s` counts.
    """
    return by_engine_s if -CLOCKS_DIFFER_S < noticed_s - by_engine_s < START_WITHIN_S else noticed_s


class DockerContainer:
    """`harness.engines.Container`: the submission's container, and the holder that keeps its /output mounted."""

    def __init__(
        self,
        client: Any,
        *,
        main: str,
        holder: str,
        plan: ContainerPlan,
        started: float,
        reopen: Callable[[], Any],
        gpu_memory: GpuMemory,
    ) -> None:
        self.client = client
        self.reopen = reopen
        self.gpu_memory = gpu_memory
        self.main = main
        self.holder = holder
        self.plan = plan
        self.started = started
        self.timed_out = False
        self.elapsed = 0.0  # at the last look
        self.peak: int | None = None
        self.state: dict[str, Any] = {}

    def wait(self, *, deadline_s: float) -> Iterator[int]:
        reported = 0.0
        while True:
            # Polling: a timeout of the SDK's wait() looks the same as an engine that is gone.
            with engine_errors("waiting for the container"):
                self.state = self._inspect(self.main)["State"]
                self.elapsed = elapsed = time.monotonic() - self.started
                if not self.state["Running"]:
                    return
                if elapsed > deadline_s:
                    self.timed_out = True
                    with contextlib.suppress(docker.errors.APIError):  # it may just have ended by itself
                        self.client.kill(self.main)
                if elapsed > deadline_s + KILL_WAIT_S:
                    raise InfrastructureError(
                        "the container engine failed to kill a container", fix="restart the engine"
                    )
                self._sample_memory()
                due = elapsed - reported > 1
                written = self._output_space()[1] if due else None
            if written is not None:
                reported = elapsed
                self.gpu_memory.sample()
                yield written
            time.sleep(0.02 if elapsed < 2 else 0.2)

    def exit(self) -> Exit:
        with engine_errors("reading how the container ended"):
            # An engine that shuts down stops the container first, so the exit status is not the container's own. The
            # holder is stopped with it, and new connections are refused.
            self.reopen().close()
            if not self._inspect(self.holder)["State"]["Running"]:
                raise InfrastructureError(
                    "the container engine stopped the run's containers", fix="start the engine again and repeat the run"
                )
            started, finished = (
                datetime.datetime.fromisoformat(self.state[key]).timestamp() for key in ("StartedAt", "FinishedAt")
            )
            seconds = duration(finished - started, noticed_s=self.elapsed)
            first = self._first_output()
            return Exit(
                code=self.state["ExitCode"],
                timed_out=self.timed_out,
                out_of_memory=self.state["OOMKilled"],
                output_full=self._output_space()[0],
                seconds=seconds,
                first_output_s=first - started if first and 0 <= first - started <= seconds else None,
                peak_memory_bytes=self.peak,
                peak_gpu_memory_bytes=self.gpu_memory.peak,
                log=self._log_tail(stdout=True),
                stderr=self._log_tail(stdout=False),
            )

    def output(self) -> Generator[bytes]:
        url = f"{self.client.base_url}/v{self.client.api_version}/containers/{self.holder}/archive"
        with engine_errors("reading the outputs"):
            response = self.client.get(url, params={"path": f"{OUTPUT}/."}, stream=True, timeout=self.client.timeout)
            try:
                response.raise_for_status()
                yield from response.iter_content(64 * 1024)
            finally:
                # without this the engine keeps writing to the abandoned stream and no longer answers anybody
                response.raw.close()
                response.close()

    def _inspect(self, container: str) -> dict[str, Any]:
        facts: dict[str, Any] = self.client.inspect_container(container)
        return facts

    def _log_tail(self, *, stdout: bool) -> str:
        return self._end_of(self.client.logs(self.main, stdout=stdout, stderr=True, tail=400))

    @staticmethod
    def _end_of(log: bytes) -> str:
        return log[-LOG_TAIL_BYTES:].decode("utf-8", "replace")

    def _output_space(self) -> tuple[bool, int]:
        """Whether /output has no byte or no inode left, and how many files it holds.

        If its mount is on this machine it is read directly, since a command in the holder costs the engine a tenth of a
        second of a core. A busy engine sometimes loses the output of so short a command: then it is asked again.
        """
        if self._output_mount is not None:
            space = os.statvfs(self._output_mount)
            return space.f_bavail == 0 or space.f_ffree == 0, space.f_files - space.f_ffree - 1
        for _ in range(ASKED_AT_MOST):
            command = self.client.exec_create(self.holder, ["stat", "-f", "-c", "%a %c %d", OUTPUT])
            answer = self.client.exec_start(command["Id"]).split()
            if len(answer) == 3:
                blocks, inodes, free = (int(number) for number in answer)
                return blocks == 0 or free == 0, inodes - free - 1
        raise InfrastructureError(
            f"the container engine did not report how full {OUTPUT} is (asked {ASKED_AT_MOST} times)",
            fix="the machine may be overloaded: run it again",
        )

    @functools.cached_property
    def _output_mount(self) -> str | None:
        """Where the volume of /output is mounted here; None on another machine or in another mount namespace."""
        mount = self.client.inspect_volume(self.holder.removesuffix("-holder"))["Mountpoint"]
        return mount if os.path.ismount(mount) else None

    def _first_output(self) -> float | None:
        """When the first file of /output was finished, by the engine's clock; None if there is none.

        Judged by the change time (ctime), which a program can only move to later; it can set the modification time.
        """
        look = ["find", OUTPUT, "-mindepth", "1", "-type", "f", "-printf", "%C@\n"]
        # without its complaints about folders that it may not enter
        answer = self.client.exec_start(self.client.exec_create(self.holder, look, stderr=False)["Id"]).split()
        return min((float(moment) for moment in answer), default=None)

    def _sample_memory(self) -> None:
        """Read the kernel's own maximum; the engine's statistics come once a second and miss short containers."""
        for path in self._memory_files:
            with contextlib.suppress(OSError, ValueError):  # the other cgroup version, or it has just ended
                self.peak = max(self.peak or 0, int(path.read_text()))

    @functools.cached_property
    def _memory_files(self) -> tuple[Path, ...]:
        """Where cgroup v1 and v2 keep the maximum; empty if the engine is on another machine."""
        facts = self._inspect(self.main)
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{facts['State']['Pid']}/cgroup").read_text().splitlines():
                _, controllers, group = line.split(":", 2)
                if facts["Id"] in group and controllers in ("memory", ""):  # or the pid is another process's, here
                    top = Path("/sys/fs/cgroup")
                    return (
                        top / "memory" / group.lstrip("/") / "memory.max_usage_in_bytes",
                        top / group.lstrip("/") / "memory.peak",
                    )
        return ()
