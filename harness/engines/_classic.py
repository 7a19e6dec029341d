"""Docker's classic builder: it knows a limit on memory; processes, disk and time are bounded from outside."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Generator
from typing import IO, Any

import docker.errors
import requests

from harness.engines._build import KILL_WAIT_S, LOOKS_EVERY_S, MEMORY_SHARE, Watch
from harness.engines._container import ASKED_AT_MOST
from harness.sandbox import BuildPolicy

LAST_LAYER_S = 10  # how long we wait for what a builder still makes after we left


def classic_build(
    client: Any, policy: BuildPolicy, *, arguments: dict[str, str], labels: dict[str, str], reopen: Callable[[], Any]
) -> tuple[Watch, Callable[[IO[bytes]], Generator[dict[str, Any]]]]:
    """What `harness.engines._build.build` needs of the classic builder: the watch, and how to begin."""

    def begin(context: IO[bytes]) -> Generator[dict[str, Any]]:
        memory = min(policy.memory_bytes, round(MEMORY_SHARE * client.info()["MemTotal"]))
        stream = client.build(
            fileobj=context,
            custom_context=True,
            buildargs=arguments,
            labels=labels,
            network_mode=policy.network,
            container_limits={"memory": memory, "memswap": memory},
            rm=True,
            forcerm=True,
            decode=True,
            use_config_proxy=False,
            timeout=policy.wall_s + KILL_WAIT_S,
        )
        with contextlib.closing(stream):
            yield from stream

    return _ClassicWatch(client, policy, reopen=reopen), begin


class _ClassicWatch(Watch):
    """The builder names every container before it starts it: that is when its processes are limited."""

    builder = "docker build"
    layer_line = re.compile(r" ---> (Running in )?([0-9a-f]{12})\n")

    def __init__(self, client: Any, policy: BuildPolicy, *, reopen: Callable[[], Any]) -> None:
        super().__init__(client, policy)
        self.reopen = reopen
        self.containers: list[str] = []
        self.left = False  # while the builder was at work

    def hear(self, line: str) -> bool:
        """False, too, when it copies on and on after a verdict: it ends of itself only where a container is killed."""
        stopped = self.verdict is not None
        going = super().hear(line)
        found = self.layer_line.fullmatch(line)
        copied = found is not None and not found[1] and not self.containers
        if stopped and found is not None and found[1]:
            self._clear()
        self.left = (stopped and copied) or not going
        return not self.left

    def _named(self, found: re.Match[str]) -> None:
        if found[1]:
            self._limit_processes(found[2])
        else:
            super()._named(found)

    def _limit_processes(self, container: str) -> None:
        """Limit a container's processes, which the builder cannot.

        The builder names it before it starts it, and the engine holds its lock while it starts: the limit is there
        before the first process, or milliseconds after it.
        """
        for _ in range(ASKED_AT_MOST):
            answer = self._ask(self.client, "POST", f"{container}/update", json={"PidsLimit": self.policy.pids})
            if answer.status_code == 200:
                self.containers.append(container)
                return
            state = self._ask(self.client, "GET", f"{container}/json")  # has it ended already, or never been?
            if state.status_code == 404 or state.json()["State"]["Status"] in ("exited", "dead", "removing"):
                return
        answer.raise_for_status()

    def _look(self) -> None:
        with contextlib.closing(self.reopen()) as self.own:  # a connection of the thread's own
            super()._look()

    def _written(self) -> int:
        written = sum(list(self.layers.values()))
        for container in list(self.containers):
            answer = self._ask(self.own, "GET", f"{container}/json", params={"size": 1})
            if answer.status_code == 200:
                written += answer.json().get("SizeRw") or 0
            elif answer.status_code == 404:
                self.containers.remove(container)
        return written

    def _kill(self) -> None:
        for container in list(self.containers):
            with contextlib.suppress(docker.errors.APIError):  # created, not started, or just ended
                self.own.kill(container)

    def _clear(self) -> None:
        if self.left and self.ended.is_set():
            self._await_last_layer()
        for container in list(self.containers):
            with contextlib.suppress(docker.errors.APIError):  # the builder removes it, too
                self.client.remove_container(container, force=True, v=True)

    def _await_last_layer(self) -> None:
        """The builder finishes the instruction that it is at, and only then sees that nobody listens."""
        last = next(reversed(self.layers), None)
        until = time.monotonic() + LAST_LAYER_S
        while time.monotonic() < until:
            for image in self.client.images(all=True):
                if image["ParentId"] == last and image["Id"] not in self.before:
                    self.layers[image["Id"]] = 0
                    return
            time.sleep(LOOKS_EVERY_S)

    @staticmethod
    def _ask(client: Any, method: str, path: str, **arguments: Any) -> requests.Response:
        """What the SDK has no parameter for."""
        url = f"{client.base_url}/v{client.api_version}/containers/{path}"
        answer: requests.Response = client.request(method, url, timeout=client.timeout, **arguments)
        return answer
