"""Docker's classic builder: it limits memory itself; processes, disk and time are limited from outside."""

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

LAST_LAYER_S = 10  # how long we wait for the layer that a builder still makes after we hung up


def classic_build(
    client: Any, policy: BuildPolicy, *, arguments: dict[str, str], labels: dict[str, str], reopen: Callable[[], Any]
) -> tuple[Watch, Callable[[IO[bytes]], Generator[dict[str, Any]]]]:
    """What `harness.engines._build.build` needs for the classic builder: the watch, and the function that begins."""

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
    """The builder prints every container's id before it starts it: that is when its processes are limited."""

    builder = "docker build"
    layer_line = re.compile(r" ---> (Running in )?([0-9a-f]{12})\n")

    def __init__(self, client: Any, policy: BuildPolicy, *, reopen: Callable[[], Any]) -> None:
        super().__init__(client, policy)
        self.reopen = reopen
        self.containers: list[str] = []
        self.left = False  # we hung up while the builder was working

    def hear(self, line: str) -> bool:
        """Also False while it keeps copying after a verdict: only a killed container makes it end by itself."""
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
        """Limit the number of a container's processes, which the builder cannot.

        The builder prints its id before it starts it, and the engine locks it while it starts: the limit holds before
        the first process, or milliseconds after it.
        """
        for _ in range(ASKED_AT_MOST):
            answer = self._ask(self.client, "POST", f"{container}/update", json={"PidsLimit": self.policy.pids})
            if answer.status_code == 200:
                self.containers.append(container)
                return
            state = self._ask(
                self.client, "GET", f"{container}/json"
            )  # it may have ended already, or never have existed
            if state.status_code == 404 or state.json()["State"]["Status"] in ("exited", "dead", "removing"):
                return
        answer.raise_for_status()

    def _look(self) -> None:
        with contextlib.closing(self.reopen()) as self.own:  # the thread's own connection
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
            with contextlib.suppress(docker.errors.APIError):  # created but not started, or just ended
                self.own.kill(container)

    def _clear(self) -> None:
        if self.left and self.ended.is_set():
            self._await_last_layer()
        for container in list(self.containers):
            with contextlib.suppress(docker.errors.APIError):  # the builder removes it as well
                self.client.remove_container(container, force=True, v=True)

    def _await_last_layer(self) -> None:
        """Wait: the builder finishes its current instruction before it notices that we hung up."""
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
        """A request that the SDK has no parameters for."""
        url = f"{client.base_url}/v{client.api_version}/containers/{path}"
        answer: requests.Response = client.request(method, url, timeout=client.timeout, **arguments)
        return answer
