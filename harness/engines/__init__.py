"""Container engines behind one small interface. An engine is a module here with `connect()`, named as its file."""

from __future__ import annotations

import importlib
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, Self

from harness.base.errors import UsageError
from harness.base.structs import Strict
from harness.sandbox import BuildPolicy, ContainerPlan, ImageFacts, Machine

# What submissions build on and what the harness itself runs beside them (harness/run/base_image.py).
BASE_IMAGE = "ipv2-harness/base:1"
TORCH_IMAGE = "ipv2-harness/torch:1"  # the base image with PyTorch, made only on request


class Exit(Strict, frozen=True, kw_only=True):
    """How a container ended. Its texts come from a stranger: they are hostile until `harness.base.text.sanitise` cleans
    them."""

    code: int
    timed_out: bool
    out_of_memory: bool  # the kernel killed at least one of its processes, whatever the exit code
    output_full: bool  # /output had no space or no inode left at the end
    seconds: float  # from start to end
    first_output_s: float | None  # from start until the first file of /output was finished; None if unknown
    peak_memory_bytes: int | None  # file system pages included; None if it cannot be measured, as on another machine
    peak_gpu_memory_bytes: int | None = None  # on its GPU, beyond what was in use before its start
    log: str  # the end of stdout and stderr
    stderr: str  # the end of stderr alone


class Container(Protocol):
    """A started container. It is removed, with all that belongs to it, when the `with` block of `Engine.start` ends."""

    def wait(self, *, deadline_s: float) -> Iterator[int]:
        """Yield the number of files in /output about once a second, until the container ends or is killed `deadline_s`
        seconds after its start."""
        ...

    def exit(self) -> Exit:
        """How it ended; call it once `wait` is exhausted."""
        ...

    def output(self) -> Generator[bytes]:
        """The content of /output as the bytes of a tar; close it, even before its end."""
        ...


class Engine(Protocol):
    """A container engine. Every method raises InfrastructureError if the engine does not answer."""

    @property
    def name(self) -> str:
        """The name by which it is chosen."""
        ...

    @property
    def machine(self) -> Machine:
        """What the engine's machine has."""
        ...

    @property
    def description(self) -> str:
        """Name, version, runtime, cgroup version and the bounds that it cannot enforce, for the record."""
        ...

    @property
    def runtime(self) -> str | None:
        """The runtime that HARNESS_RUNTIME names, if that is not the engine's default."""
        ...

    @property
    def builds(self) -> bool:
        """Whether it builds Dockerfiles and pulls images."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        ...

    def sweep(self) -> list[str]:
        """Remove what dead harness processes left behind and return the names; what living ones own is not touched."""
        ...

    def find_image(self, name: str) -> str | None:
        """The id of a local image by tag or id, or None."""
        ...

    def build(
        self,
        folder: Path,
        *,
        dockerfile: str | None = None,
        tag: str | None = None,
        arguments: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        policy: BuildPolicy | None = None,
    ) -> str:
        """Build `folder` by the text `dockerfile`, else by its own Dockerfile, and return the image's id.

        The Dockerfile is not checked here, but in `harness.submission.dockerfile`. A build that fails leaves nothing in
        the engine; BuildError carries the end of its log.
        """
        ...

    def load(self, archive: Path, *, tag: str | None = None) -> str:
        """Check and load a `docker save` archive of exactly one image and return its id; its own tags are ignored.

        BuildError, ImagePolicyError.
        """
        ...

    def resolve(self, reference: str, *, policy: BuildPolicy | None = None) -> str:
        """The id of `name@sha256:...`, pulled if necessary, within the policy's time and bytes.

        BuildError if it does not exist or does not arrive in time, ImagePolicyError if it is too large.
        """
        ...

    def inspect(self, image: str) -> ImageFacts:
        """What the image's configuration says."""
        ...

    def untag(self, name: str) -> None:
        """Remove a name of an image if it exists, and the image where it has no other."""
        ...

    def start(self, plan: ContainerPlan) -> AbstractContextManager[Container]:
        """Start a container as planned; ImagePolicyError if the engine starts a trusted image so, but not this one."""
        ...


def engine_names() -> tuple[str, ...]:
    """The names of the engines, each of which is a module here."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")))


def engine_name(asked: str | None = None) -> str:
    """The engine that is asked for, else the one in HARNESS_ENGINE, else docker. UsageError for an unknown name."""
    name = asked or os.environ.get("HARNESS_ENGINE") or "docker"
    if name not in engine_names():
        raise UsageError(f"unknown engine {name!r}", fix=f"choose one of {', '.join(engine_names())}")
    return name


def connect(name: str | None = None) -> Engine:
    """Connect to the engine `name` (`engine_name`) and remove what dead harness processes left there.

    InfrastructureError, with the fix, if it does not answer.
    """
    engine: Engine = importlib.import_module(f"harness.engines.{engine_name(name)}").connect()
    engine.sweep()
    return engine
