"""A build by an engine's builder, and the bounds that the builder itself does not know."""

from __future__ import annotations

import collections
import contextlib
import re
import shutil
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any

import docker.errors
import requests
import urllib3

from harness.base.errors import BuildError, InfrastructureError
from harness.base.text import sanitise
from harness.engines._container import engine_errors
from harness.engines._images import build_context
from harness.sandbox import MAX_INSTRUCTIONS, BuildPolicy

LOOKS_EVERY_S = 0.3
KILL_WAIT_S = 30  # how long the builder may take to notice that its container is gone
ENGINE_RESERVE = 200 * 10**6  # bytes: with less left on its disk an engine does not build, whoever filled it
MEMORY_SHARE = 0.75  # of the machine's, that a build may have at most
FULL = "no space left on device"
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
    policy: BuildPolicy,
    watch: Watch,
    begin: Callable[[IO[bytes]], Generator[dict[str, Any]]],
) -> str:
    """`harness.engines.Engine.build`: `begin` hands the context to the builder and gives its events; `watch` bounds it.

    Of a build that fails no container and no layer is left.
    """
    log: collections.deque[str] = collections.deque(maxlen=200)
    image = error = None
    with (
        build_context(folder, max_bytes=policy.context_bytes, dockerfile=dockerfile) as context,
        engine_errors(f"building {folder}"),
        watch,
    ):
        try:
            with contextlib.closing(begin(context)) as events:
                # To the end if it comes: a builder whose reader leaves goes on for a while.
                for event in events:
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
        said = f"{error} {''.join(log)}"
        if watch.starved or (error and not watch.verdict and watch.scant and FULL in said.lower()):
            raise InfrastructureError(
                f"the container engine's disk ({watch.root}) is full, with less written than a build may take",
                fix="make room there (docker system df, docker system prune), then run again",
            )
        error = watch.verdict or error
        if error is not None:
            raise _error(folder, error, log, builder=watch.builder)
        if image is None:
            raise _error(folder, "the engine names no image", log, builder=watch.builder)
        if tag is not None:
            client.tag(image, *tag.rsplit(":", 1))
        watch.keep = True
        return str(image)


class Watch:
    """Holds a build to its policy: wall time, disk, output. Of a build that fails it removes everything.

    The reader of the builder's stream tells it every line (`hear`); a thread looks at the build meanwhile. Too much
    sets `verdict` and kills what runs, upon which the builder ends. What else a builder needs its own class knows.

    A RUN line may print what the builder prints. It gains nothing: no container is ever forgotten before the engine
    says that it is gone, ids of others cannot be guessed, and an image that has a name or was there before the build
    is neither counted nor removed.
    """

    builder: str  # what it is called in messages
    layer_line: re.Pattern[str]  # with which the builder names a layer that it has made, as the last group

    def __init__(self, client: Any, policy: BuildPolicy) -> None:
        self.client = client
        self.policy = policy
        self.verdict: str | None = None
        self.starved = False  # the machine has no more disk, though the policy would allow it
        local = client.base_url.startswith("http+docker://")
        self.root = Path(client.info()["DockerRootDir"]) if local else None
        # whether a build that keeps to the policy could fill the engine's disk, maybe faster than we look
        self.scant = (free := self._free()) is not None and free < policy.disk_bytes + ENGINE_RESERVE
        self.keep = False  # the layers, after success
        self.heard = 0  # characters of output
        self.named = 0  # lines that name a container or an image
        self.reached = 0  # bytes of the image that was named last
        self.layers: dict[str, int] = {}  # bytes of each layer that this build made, in their order

    def __enter__(self) -> Watch:
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
            self._clear()
            for image in reversed(self.layers):
                with contextlib.suppress(docker.errors.APIError):  # in use by an equal build beside this one
                    self.client.remove_image(image, noprune=True)

    def hear(self, line: str) -> bool:
        """Take in a line of the builder's stream. False says that after a verdict it does not end of itself."""
        self.heard += len(line)
        if self.heard > self.policy.log_bytes:
            self._stop(f"prints more than {self.policy.log_bytes / 2**20:g} MiB")
        found = self.layer_line.fullmatch(line)
        if found is not None:
            self.named += 1
            if self.named > 3 * MAX_INSTRUCTIONS:  # to look at each takes time, in which the next container starts
                self._stop("prints lines that look like the builder's own")
            self._named(found)
        return time.monotonic() < self.deadline + KILL_WAIT_S

    def _named(self, found: re.Match[str]) -> None:
        """The builder has named what it has made."""
        self._count(found[found.re.groups])

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

    def _check_disk(self, written: int) -> None:
        if written > self.policy.disk_bytes:
            self._stop(f"takes more than {self.policy.disk_bytes / 1e9:g} GB of disk")

    def _free(self) -> int | None:
        """Bytes left on the engine's disk, where that is on this machine."""
        return shutil.disk_usage(self.root).free if self.root is not None and self.root.is_dir() else None

    def _look(self) -> None:
        """The thread: compare clock and disk with the policy until the build ends."""
        pause = LOOKS_EVERY_S
        while not self.ended.wait(pause):
            began = time.monotonic()
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException, OSError):
                self._check_disk(self._written())
                if (free := self._free()) is not None:
                    self.starved = self.starved or free < ENGINE_RESERVE
            if self.starved:
                self._stop("no room")
            if time.monotonic() > self.deadline:
                self._stop(f"not done within {self.policy.wall_s:g} s")
            if self.verdict is not None:
                with contextlib.suppress(docker.errors.DockerException, requests.RequestException, OSError):
                    self._kill()
            pause = LOOKS_EVERY_S + 2 * (time.monotonic() - began)  # to look walks through every file

    def _written(self) -> int:
        """Bytes on disk that are the build's, its finished layers included."""
        raise NotImplementedError

    def _kill(self) -> None:
        """End what runs of the build."""
        raise NotImplementedError

    def _clear(self) -> None:
        """Remove what a build that failed left behind, but for its layers."""

    def _stop(self, verdict: str) -> None:
        self.verdict = self.verdict or verdict


def _error(
    folder: Path, message: str, log: collections.deque[str], *, builder: str
) -> BuildError | InfrastructureError:
    message = sanitise(message).strip()
    if re.search(r"(non-zero code:|exit status) 137$", message):
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
        "\n  ".join([f"{folder}: {builder} failed: {message}", *tail[-20:]]),
        fix="correct the Dockerfile; the build has no network, so either build on the base image alone "
        "(docker/base/requirements.txt says what is in it) or hand in an image by archive",
    )
