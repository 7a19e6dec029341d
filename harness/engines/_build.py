"""A build by an engine's builder, and the bounds that the builder itself cannot enforce."""

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
from harness.base.text import sanitise, shortened
from harness.engines._archives import build_context
from harness.engines._container import engine_errors
from harness.sandbox import MAX_INSTRUCTIONS, BuildPolicy

LOOKS_EVERY_S = 0.3
KILL_WAIT_S = 30  # how long the builder may take to notice that its container was killed
ENGINE_RESERVE = 200 * 10**6  # bytes that must stay free on the engine's disk during a build, whoever fills it
MEMORY_SHARE = 0.75  # of the machine's memory, at most, for a build
FULL = "no space left on device"
LONGEST_LINE = 1000  # of a message

FIX = (
    "correct the Dockerfile; the build has no network, so use only what is in the base image "
    "(docker/base/requirements.txt) or in the folder, or submit an image archive"
)

ADVICE = {
    r"COPY failed|copier: stat": "COPY takes files of the submission's own folder (image.build): put the file "
    "there, or correct its name; what .dockerignore lists is not there either",
    r"No matching distribution found": "the build has no network: put wheels of the package, and what it needs, into "
    "the folder wheels/ (harness new SLUG --package NAME); harness engine build-base renews an old base image",
}
"""A pattern for what a failed build said -> what helps, where it is more than `FIX`."""


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
    """`harness.engines.Engine.build`: `begin` gives the builder the context and yields its events, `watch` bounds it.

    A build that fails leaves no container and no layer.
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
                # Read to the end if possible: a builder whose reader hangs up goes on for a while.
                for event in events:
                    line = event.get("stream", "") or event.get("status", "")
                    if watch.verdict is None:
                        log.append(line)
                    if not watch.hear(line):
                        break
                    error = event.get("error", error)
                    image = event.get("aux", {}).get("ID", image)
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            error = f"not finished within {policy.wall_s:g} s"
        except docker.errors.APIError as refusal:
            if refusal.status_code is None or refusal.status_code >= 500:
                raise
            error = refusal.explanation  # as for a Dockerfile that does not parse
        said = f"{error} {''.join(log)}"
        if watch.starved or (error and not watch.verdict and watch.scant and FULL in said.lower()):
            raise InfrastructureError(
                f"the container engine's disk ({watch.root}) is full, though the build wrote less than it may",
                fix="free some space there (docker system df, docker system prune), then run it again",
            )
        error = watch.verdict or error
        if error is not None:
            raise _error(folder, error, log, builder=watch.builder)
        if image is None:
            raise _error(folder, "the engine reported no image", log, builder=watch.builder)
        if tag is not None:
            client.tag(image, *tag.rsplit(":", 1))
        watch.keep = True
        return str(image)


class Watch:
    """Holds a build to its policy (wall time, disk, output) and removes everything that a failed build made.

    The reader of the builder's stream passes on every line (`hear`), while a thread checks the build. Whatever exceeds
    its bound sets `verdict` and kills what runs, upon which the builder ends. Subclasses know the builders.

    A RUN line may print lines that look like the builder's. It gains nothing by that: a container is forgotten only
    once the engine says that it is gone, other containers' ids cannot be guessed, and an image that has a name or
    existed before the build is neither counted nor removed.
    """

    builder: str  # its name in messages
    layer_line: re.Pattern[str]  # by which the builder reports a finished layer; its id is the last group

    def __init__(self, client: Any, policy: BuildPolicy) -> None:
        self.client = client
        self.policy = policy
        self.verdict: str | None = None
        self.starved = False  # the disk is full, though the policy would allow more
        local = client.base_url.startswith("http+docker://")
        self.root = Path(client.info()["DockerRootDir"]) if local else None
        # whether a build within the policy could fill the engine's disk, maybe faster than we check
        self.scant = (free := self._free()) is not None and free < policy.disk_bytes + ENGINE_RESERVE
        self.keep = False  # set after success: the layers stay
        self.heard = 0  # characters of output
        self.named = 0  # lines that report a container or an image
        self.reached = 0  # bytes of the image that was reported last
        self.layers: dict[str, int] = {}  # bytes of each layer that this build made, in order

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
        with contextlib.suppress(requests.RequestException):  # an engine that is gone keeps what it has
            self._clear()
            for image in reversed(self.layers):
                with contextlib.suppress(docker.errors.APIError):  # in use by an identical build that runs in parallel
                    self.client.remove_image(image, noprune=True)

    def hear(self, line: str) -> bool:
        """Take a line of the builder's stream. Returns False if the builder does not end by itself after a verdict."""
        self.heard += len(line)
        if self.heard > self.policy.log_bytes:
            self._stop(f"prints more than {self.policy.log_bytes / 2**20:g} MiB")
        found = self.layer_line.fullmatch(line)
        if found is not None:
            self.named += 1
            if self.named > 3 * MAX_INSTRUCTIONS:  # looking at each takes time, while the next container starts
                self._stop("prints lines that imitate the builder's own")
            self._named(found)
        return time.monotonic() < self.deadline + KILL_WAIT_S

    def _named(self, found: re.Match[str]) -> None:
        """The builder has reported what it made."""
        self._count(found[found.re.groups])

    def _count(self, image: str) -> None:
        """Note the layer that a finished instruction made."""
        with contextlib.suppress(docker.errors.ImageNotFound):
            facts = self.client.inspect_image(image)
            # the layer below: the parent that the engine names, else the result of the previous instruction
            parent = self.client.inspect_image(facts["Parent"])["Size"] if facts.get("Parent") else self.reached
            self.reached = facts["Size"]
            if facts["Id"] not in self.before and not facts.get("RepoTags"):
                self.layers[facts["Id"]] = max(0, facts["Size"] - parent)
                self._check_disk(sum(self.layers.values()))

    def _check_disk(self, written: int) -> None:
        if written > self.policy.disk_bytes:
            self._stop(f"takes more than {self.policy.disk_bytes / 1e9:g} GB of disk")

    def _free(self) -> int | None:
        """Free bytes on the engine's disk; None if that is on another machine."""
        return shutil.disk_usage(self.root).free if self.root is not None and self.root.is_dir() else None

    def _look(self) -> None:
        """The thread: check time and disk against the policy until the build ends."""
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
                self._stop(f"not finished within {self.policy.wall_s:g} s")
            if self.verdict is not None:
                with contextlib.suppress(docker.errors.DockerException, requests.RequestException, OSError):
                    self._kill()
            pause = LOOKS_EVERY_S + 2 * (time.monotonic() - began)  # a look walks through every file

    def _written(self) -> int:
        """Bytes that the build takes on disk, including its finished layers."""
        raise NotImplementedError

    def _kill(self) -> None:
        """Kill the running processes of the build."""
        raise NotImplementedError

    def _clear(self) -> None:
        """Remove what a failed build left behind, except its layers."""

    def _stop(self, verdict: str) -> None:
        self.verdict = self.verdict or verdict


def _error(folder: Path, message: str, log: collections.deque[str], *, builder: str) -> BuildError:
    message = sanitise(message).strip()
    if re.search(r"(non-zero code:|exit status) 137$", message):
        message += " (killed, most likely because memory ran out)"
    lines = sanitise("".join(log)).splitlines()
    # without the ids of layers and containers, which differ with every build
    tail = [
        line for line in lines if line.strip() and not re.match(r" ---> |Removing intermediate|Sending build", line)
    ]
    said = "\n  ".join(
        [f"{folder}: {builder} failed: {shortened(message, LONGEST_LINE)}"]
        + [shortened(line, LONGEST_LINE) for line in tail[-20:]]
    )
    return BuildError(said, fix=next((fix for pattern, fix in ADVICE.items() if re.search(pattern, said)), FIX))
