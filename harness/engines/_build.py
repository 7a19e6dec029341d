"""A build by Docker's classic builder, and the bounds that the builder itself does not know."""

from __future__ import annotations

import collections
import contextlib
import re
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker.errors
import docker.utils
import requests
import urllib3

import docker
from harness.engines._container import ASKED_AT_MOST, engine_errors
from harness.engines._images import build_context
from harness.errors import BuildError, InfrastructureError
from harness.sandbox import MAX_INSTRUCTIONS, BuildPolicy, sanitise

LOOKS_EVERY_S = 0.3
KILL_WAIT_S = 30  # how long the builder may take to notice that its container is gone
ENGINE_RESERVE = 200 * 10**6  # bytes: with less left on its disk an engine does not build, whoever filled it
LAST_LAYER_S = 10  # how long we wait for what a builder still makes after we left
MEMORY_SHARE = 0.75  # of the machine's, that a build may have at most
# of a message of the engine: an image that it cannot fetch because of the network, not because it does not exist
NETWORK = re.compile(
    r"lookup |dial tcp|i/o timeout|TLS handshake|Client\.Timeout|connection (refused|reset)|toomanyrequests"
)


def build(
    client: Any,
    folder: Path,
    *,
    dockerfile: str | None,
    tag: str | None,
    arguments: Mapping[str, str],
    labels: Mapping[str, str],
    policy: BuildPolicy,
) -> str:
    """`harness.engines.Engine.build`. Of a build that fails no container and no layer is left."""
    log: collections.deque[str] = collections.deque(maxlen=200)
    image = error = None
    with (
        build_context(folder, max_bytes=policy.context_bytes, dockerfile=dockerfile) as context,
        engine_errors(f"building {folder}"),
        _Watch(client, policy) as watch,
    ):
        memory = min(policy.memory_bytes, round(MEMORY_SHARE * client.info()["MemTotal"]))
        try:
            stream = client.build(
                fileobj=context,
                custom_context=True,
                buildargs=dict(arguments),
                labels=dict(labels),
                network_mode=policy.network,
                container_limits={"memory": memory, "memswap": memory},
                rm=True,
                forcerm=True,
                decode=True,
                use_config_proxy=False,
                timeout=policy.wall_s + KILL_WAIT_S,
            )
            with contextlib.closing(stream):
                # To the end if it comes: a builder whose reader leaves goes on for a while.
                for event in stream:
                    line = event.get("stream", "") or event.get("status", "")
                    if watch.verdict is None:
                        log.append(line)
                    if not watch.hear(line):
                        break
                    error = event.get("error", error)
                    image = event.get("aux", {}).get("ID", image)
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            error = f"not done within {policy.wall_s:g} s"
        except docker.errors.APIError as refusal:
            if refusal.status_code is None or refusal.status_code >= 500:
                raise
            error = refusal.explanation  # a Dockerfile that does not parse
        if watch.starved:
            raise InfrastructureError(
                f"the container engine's disk ({watch.root}) is full: less than {ENGINE_RESERVE / 1e6:g} MB are left",
                fix="make room there (docker system df, docker system prune), then run again",
            )
        error = watch.verdict or error
        if error is not None:
            raise _error(folder, error, log)
        if image is None:
            raise _error(folder, "the engine names no image", log)
        if tag is not None:
            client.tag(image, *tag.rsplit(":", 1))
        watch.keep = True
        return str(image)


class _Watch:
    """Holds a build to its policy: wall time, processes, disk, output. Of a build that fails it removes everything.

    The reader of the builder's stream tells it every line (`hear`); a thread with a connection of its own looks at
    the build's containers meanwhile. Too much sets `verdict` and kills them, upon which the builder ends.

    A RUN line may print what the builder prints. It gains nothing: no container is ever forgotten before the engine
    says that it is gone, ids of others cannot be guessed, and an image that has a name or was there before the build
    is neither counted nor removed.
    """

    def __init__(self, client: Any, policy: BuildPolicy) -> None:
        self.client = client
        self.policy = policy
        self.verdict: str | None = None
        self.starved = False  # the machine has no more disk, though the policy would allow it
        local = client.base_url.startswith("http+docker://")
        self.root = Path(client.info()["DockerRootDir"]) if local else None
        self.keep = False  # the layers, after success
        self.heard = 0  # characters of output
        self.named = 0  # lines that name a container or an image
        self.reached = 0  # bytes of the image that was named last
        self.layers: dict[str, int] = {}  # bytes of each layer that this build made, in their order
        self.containers: list[str] = []
        self.left = False  # while the builder was at work

    def __enter__(self) -> _Watch:
        self.deadline = time.monotonic() + self.policy.wall_s
        self.before = {image["Id"] for image in self.client.images(all=True)}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        if self.keep:
            return
        with contextlib.suppress(requests.RequestException):  # an engine that is lost keeps what it has
            if self.left:
                self._await_last_layer()
            self._remove_containers()
            for image in reversed(self.layers):
                with contextlib.suppress(docker.errors.APIError):  # in use by an equal build beside this one
                    self.client.remove_image(image, noprune=True)

    def hear(self, line: str) -> bool:
        """Take in a line of the builder's stream. False says that after a verdict it does not end of itself, as it does
        when its container is gone: it copies on and on, and the reader had better leave."""
        stopped = self.verdict is not None
        self.heard += len(line)
        if self.heard > self.policy.log_bytes:
            self._stop(f"prints more than {self.policy.log_bytes / 2**20:g} MiB")
        found = re.fullmatch(r" ---> (Running in )?([0-9a-f]{12})\n", line)
        if found is not None:
            self.named += 1
            if self.named > 3 * MAX_INSTRUCTIONS:  # to look at each takes time, in which the next container starts
                self._stop("prints lines that look like the builder's own")
            if found[1]:
                self._limit_processes(found[2])
                if stopped:
                    self._remove_containers()
            else:
                self._count(found[2])
        copied = found is not None and not found[1] and not self.containers
        self.left = (stopped and copied) or time.monotonic() > self.deadline + KILL_WAIT_S
        return not self.left

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

    def _count(self, image: str) -> None:
        """Note the layer that a finished instruction made."""
        with contextlib.suppress(docker.errors.ImageNotFound):
            facts = self.client.inspect_image(image)
            # what the layer stands on: as the engine says, else what the instruction before made
            parent = self.client.inspect_image(facts["Parent"])["Size"] if facts.get("Parent") else self.reached
            self.reached = facts["Size"]
            if facts["Id"] not in self.before and not facts.get("RepoTags"):
                self.layers[facts["Id"]] = max(0, facts["Size"] - parent)
                self._check_disk(sum(self.layers.values()))

    def _remove_containers(self) -> None:
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

    def _check_disk(self, written: int) -> None:
        if written > self.policy.disk_bytes:
            self._stop(f"takes more than {self.policy.disk_bytes / 1e9:g} GB of disk")

    def _look(self) -> None:
        """The thread: compare clock and disk with the policy until the build ends."""
        pause = LOOKS_EVERY_S
        with contextlib.closing(docker.APIClient(version="auto", timeout=60, **docker.utils.kwargs_from_env())) as own:
            while not self.ended.wait(pause):
                began = time.monotonic()
                with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                    self._look_once(own)
                pause = LOOKS_EVERY_S + 2 * (time.monotonic() - began)  # the engine walks through every file

    def _look_once(self, own: Any) -> None:
        written = sum(list(self.layers.values()))
        for container in list(self.containers):
            answer = self._ask(own, "GET", f"{container}/json", params={"size": 1})
            if answer.status_code == 200:
                written += answer.json().get("SizeRw") or 0
            elif answer.status_code == 404:
                self.containers.remove(container)
        self._check_disk(written)
        if self.root is not None and self.root.is_dir() and shutil.disk_usage(self.root).free < ENGINE_RESERVE:
            self.starved = True
            self._stop("no room")
        if time.monotonic() > self.deadline:
            self._stop(f"not done within {self.policy.wall_s:g} s")
        if self.verdict is not None:
            for container in list(self.containers):
                with contextlib.suppress(docker.errors.APIError):  # created, not started, or just ended
                    own.kill(container)

    def _stop(self, verdict: str) -> None:
        self.verdict = self.verdict or verdict

    @staticmethod
    def _ask(client: Any, method: str, path: str, **arguments: Any) -> requests.Response:
        """What the SDK has no parameter for."""
        url = f"{client.base_url}/v{client.api_version}/containers/{path}"
        answer: requests.Response = client.request(method, url, timeout=client.timeout, **arguments)
        return answer


def _error(folder: Path, message: str, log: collections.deque[str]) -> BuildError | InfrastructureError:
    message = sanitise(message).strip()
    if message.endswith("non-zero code: 137"):
        message += " (killed, most often for memory)"
    if NETWORK.search(message):
        return InfrastructureError(
            f"{folder}: the engine could not fetch an image: {message}",
            fix="give the engine a network, or begin the Dockerfile with ARG BASE_IMAGE and FROM ${BASE_IMAGE}",
        )
    lines = sanitise("".join(log)).splitlines()
    # without the ids of layers and containers, which differ from build to build
    tail = [
        line for line in lines if line.strip() and not re.match(r" ---> |Removing intermediate|Sending build", line)
    ]
    return BuildError(
        "\n  ".join([f"{folder}: docker build failed: {message}", *tail[-20:]]),
        fix="correct the Dockerfile; the build has no network, so either build on the base image alone "
        "(docker/base/requirements.txt says what is in it) or hand in an image by archive",
    )
