"""The limits of a container run as data, and the plan of a run: pure values that tests can look at."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from harness.base.errors import ImagePolicyError, UsageError
from harness.base.structs import Strict

Device = Literal["cpu", "cuda"]

# Changed whenever what a container is given or denied changes: part of the key of the inference cache.
POLICY_VERSION = 1

# Neither root nor an account that an image is likely to own files by.
USER = "65532:65532"

INPUT, OUTPUT, MODEL, TMP = "/input", "/output", "/opt/ml/model", "/tmp"

GPU_REQUIRED_EXIT = 69

MAX_VOLUMES = 8

VOLUME_BYTES = 64 * 2**20  # the size of the memory file system that covers an image's own VOLUME

MAX_IMAGE_BYTES = 20 * 10**9  # unpacked, the base image's bytes included

LOG_BYTES = 2**20

# 8 bits in up to three channels never compress to more than this per pixel; the constant holds headers and texts.
PNG_BYTES_PER_PIXEL, PNG_BYTES_CONSTANT = 4, 64 * 1024

PAGE = 4096


def _check_positive(limits: Limits | AskedLimits) -> None:
    for name in limits.__struct_fields__:
        value = getattr(limits, name)
        if value is not None and not 0 < value < 1e7:
            raise ValueError(f"{name} must be above 0, not {value}")


class Limits(Strict, frozen=True, kw_only=True):
    """Ceilings of one container run. GB are 10^9 bytes; seconds are wall time.

    A protocol states them, a submission may ask for less, and what the machine has less of is lowered and recorded.
    """

    # floats even where whole: a default must digest as the same number does once it was written and read
    wall_s: float = 3600.0  # from the container's start to its end
    memory_gb: float = 16.0  # of its processes, no swap
    cpus: float = 4.0
    shm_gb: float = 2.0  # size of /dev/shm
    tmp_gb: float = 4.0  # size of /tmp, and of the largest file
    pids: int = 512  # processes and threads

    def __post_init__(self) -> None:
        _check_positive(self)


class AskedLimits(Strict, frozen=True, kw_only=True):
    """What a submission asks for, where that is less than a protocol grants; None leaves the protocol's ceiling."""

    wall_s: float | None = None
    memory_gb: float | None = None
    cpus: float | None = None
    shm_gb: float | None = None
    tmp_gb: float | None = None
    pids: int | None = None

    def __post_init__(self) -> None:
        _check_positive(self)


class Machine(Strict, frozen=True, kw_only=True):
    """What the engine's machine has. `gpus` are the ids by which a device can be asked for."""

    cpus: float
    memory_bytes: int
    os: str
    architecture: str
    gpus: tuple[str, ...] = ()


def share_of(machine: Machine, *, part: int, parts: int) -> Machine:
    """What run `part` (from 0) of `parts` side by side may count on: its share of cores and memory, one GPU in turn."""
    gpus = machine.gpus and (machine.gpus[part % len(machine.gpus)],)
    return msgspec.structs.replace(
        machine, cpus=machine.cpus / parts, memory_bytes=machine.memory_bytes // parts, gpus=gpus
    )


class Granted(Strict, frozen=True, kw_only=True):
    """The limits in force on this machine, and in words what was lowered and why."""

    limits: Limits
    lowered: tuple[str, ...] = ()


def lower(limits: Limits, *, machine: Machine, asked: AskedLimits | None = None) -> Granted:
    """The protocol's ceilings, lowered to what the submission asked for and to what the machine has.

    memory_gb, tmp_gb and shm_gb are all RAM (the latter two are memory file systems). Where their sum exceeds
    nine tenths of the machine's, all three shrink by one factor (to whole MB, at least one).
    """
    lowered: list[str] = []
    values = {name: getattr(limits, name) for name in limits.__struct_fields__}

    def reduce(name: str, value: float, why: str) -> None:
        if value < values[name]:
            lowered.append(f"{name} {values[name]:g} -> {value:g} ({why})")
            values[name] = value

    if asked is not None:
        for name in asked.__struct_fields__:
            if (value := getattr(asked, name)) is not None:
                reduce(name, value, "the submission asks for less")
    reduce("cpus", machine.cpus, "the machine has no more")
    in_memory = ("memory_gb", "tmp_gb", "shm_gb")
    share = 0.9 * machine.memory_bytes / 1e9 / sum(values[name] for name in in_memory)
    if share < 1:
        for name in in_memory:
            reduce(
                name,
                max(0.001, math.floor(values[name] * share * 1000) / 1000),
                f"of {machine.memory_bytes / 1e9:.1f} GB RAM",
            )
    return Granted(limits=Limits(**values), lowered=tuple(lowered))


class Quota(Strict, frozen=True, kw_only=True):
    """Hard bounds of /output; `bytes` are rounded up to pages, as the memory file system counts."""

    bytes: int
    inodes: int


def largest_png(height: int, width: int) -> int:
    """The largest size of an 8-bit PNG of `height` x `width` pixels that is accepted, in bytes."""
    return PNG_BYTES_PER_PIXEL * height * width + PNG_BYTES_CONSTANT


def output_quota(sizes: Iterable[tuple[int, int]]) -> Quota:
    """The quota for one PNG per case of the given (height, width), plus room to write one under another name."""
    files = [math.ceil(largest_png(height, width) / PAGE) * PAGE for height, width in sizes]
    return Quota(bytes=sum(files) + max(files, default=0) + 2**20, inodes=2 * len(files) + 64)


# -------------------------------------------------------------------------------- what may be built
MAX_INSTRUCTIONS = 200  # of one Dockerfile


class BuildPolicy(Strict, frozen=True, kw_only=True):
    """What a Dockerfile may build on beside the base image, and the bounds of one build.

    A build runs as root with the engine's default capabilities, since package installers need that; so these are
    all that stands between a stranger's RUN line and the machine (docs/security.md).
    """

    images: tuple[str, ...] = ()  # names that FROM and COPY --from may use, letter for letter
    network: str = "none"  # the engine's name of a network
    wall_s: float = 1800
    memory_bytes: int = 8 * 10**9  # of each RUN line, no swap
    pids: int = 1024  # of each RUN line
    disk_bytes: int = MAX_IMAGE_BYTES  # that its layers and its running container may take
    context_bytes: int = 4 * 10**9
    log_bytes: int = 16 * 2**20


def build_policy(environment: Mapping[str, str]) -> BuildPolicy:
    """The organiser's policy for builds on this machine, from two variables of the environment.

    HARNESS_BUILD_IMAGES names images, separated by blanks or commas; HARNESS_BUILD_NETWORK a network of the engine
    (`bridge`). UsageError for what is no name.
    """
    images = tuple(re.split(r"[\s,]+", environment.get("HARNESS_BUILD_IMAGES", "").strip(" ,")))
    network = environment.get("HARNESS_BUILD_NETWORK") or BuildPolicy().network
    if not re.fullmatch(r"[\w.-]+", network):
        raise UsageError(f"HARNESS_BUILD_NETWORK: {network!r} is no network", fix="unset it, or say bridge")
    for image in images:
        if not re.fullmatch(r"[\w./:@-]*", image, re.ASCII):
            raise UsageError(f"HARNESS_BUILD_IMAGES: {image!r} is no name of an image", fix="unset or correct it")
    return BuildPolicy(images=tuple(image for image in images if image), network=network)


def chosen_runtime(environment: Mapping[str, str]) -> str | None:
    """The organiser's low-level runtime for runs (HARNESS_RUNTIME: runc, runsc, kata, ...), by the engine's name of it;
    None leaves the engine's own. UsageError for what is no name."""
    runtime = environment.get("HARNESS_RUNTIME") or None
    if runtime is not None and not re.fullmatch(r"[\w.-]+", runtime, re.ASCII):
        raise UsageError(
            f"HARNESS_RUNTIME: {runtime!r} is no name of a runtime", fix="unset it, or say runc, runsc, kata"
        )
    return runtime


# -------------------------------------------------------------------------------- what may run
class ImageFacts(Strict, frozen=True, kw_only=True):
    """What an image's configuration says, as far as the policy is concerned."""

    id: str
    os: str
    architecture: str
    command: tuple[str, ...]
    volumes: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    bytes: int = 0  # unpacked


def check_image(facts: ImageFacts, *, machine: Machine, device: Device) -> None:
    """Refuse an image that cannot or may not run here; ImagePolicyError says why."""
    if (facts.os, facts.architecture) != (machine.os, machine.architecture):
        raise ImagePolicyError(
            f"the image is for {facts.os}/{facts.architecture}, the engine runs {machine.os}/{machine.architecture}",
            fix=f"build it with --platform {machine.os}/{machine.architecture}",
        )
    if facts.bytes > MAX_IMAGE_BYTES:
        raise ImagePolicyError(
            f"the image holds {facts.bytes / 1e9:.1f} GB, at most {MAX_IMAGE_BYTES / 1e9:g} GB are allowed",
            fix="leave out what it does not need; weights are better declared in submission.yaml",
        )
    if not facts.command:
        raise ImagePolicyError("the image has neither ENTRYPOINT nor CMD", fix="say in the Dockerfile what to run")
    if len(facts.volumes) > MAX_VOLUMES:
        raise ImagePolicyError(
            f"the image declares {len(facts.volumes)} VOLUMEs, at most {MAX_VOLUMES} are covered",
            fix="write to /tmp and remove the VOLUMEs",
        )
    for volume in facts.volumes:
        ours = any(volume.startswith(f"{mount}/") for mount in (INPUT, OUTPUT, MODEL))
        system = re.match(r"/(proc|sys|dev)(/|$)", volume)
        if (
            ours
            or system
            or volume == "/"
            or volume != posixpath.normpath(volume)
            or not re.match(r"/[\w./-]+$", volume)
        ):
            raise ImagePolicyError(f"the image declares VOLUME {volume!r}", fix="write to /tmp and remove the VOLUME")
    if device == "cuda" and any(entry.startswith("LD_PRELOAD=") for entry in facts.environment):
        # the GPU hook runs as root on the host with the image's environment (CVE-2025-23266)
        raise ImagePolicyError("the image sets LD_PRELOAD, which is refused with a GPU", fix="remove that ENV line")


# -------------------------------------------------------------------------------- what runs
class ContainerPlan(Strict, frozen=True, kw_only=True):
    """One container run, complete: an engine adds nothing to it and leaves nothing out.

    Always so, whatever the plan: no network, no capabilities, no new privileges, read-only root file system,
    private IPC, an init process, no core dumps, the engine's default seccomp filter, no health check.
    """

    image: str  # by id: tags move
    input: str  # host folder, mounted read-only
    model: str | None  # host folder of declared weights, mounted read-only
    quota: Quota
    wall_s: float
    cpus: float
    memory_bytes: int  # RAM and swap together; holds the pages of /tmp, /dev/shm and /output too
    shm_bytes: int
    pids: int
    file_bytes: int  # the largest file that a process can write: SIGXFSZ beyond it
    cpu_s: int  # per process: bounds a container whose harness was killed
    tmpfs: dict[str, str]  # path -> mount options
    environment: dict[str, str]
    gpu: str | None = None
    user: str = USER
    open_files: int = 4096
    log_bytes: int = LOG_BYTES
    runtime: str | None = None  # None: the engine's own


def plan_container(
    facts: ImageFacts,
    *,
    limits: Limits,
    quota: Quota,
    input_folder: str,
    model_folder: str | None,
    seed: int,
    gpu: str | None,
    runtime: str | None = None,
) -> ContainerPlan:
    """Plan the run of a checked image under limits that the machine has (`lower`)."""
    tmp, shm = round(limits.tmp_gb * 1e9), round(limits.shm_gb * 1e9)
    covered = [volume for volume in facts.volumes if volume not in (INPUT, OUTPUT, MODEL, TMP)]
    tmpfs = {TMP: f"rw,exec,nosuid,nodev,size={tmp},mode=1777"}
    tmpfs |= dict.fromkeys(covered, f"rw,noexec,nosuid,nodev,size={VOLUME_BYTES},mode=1777")
    return ContainerPlan(
        image=facts.id,
        input=input_folder,
        model=model_folder,
        quota=quota,
        wall_s=limits.wall_s,
        cpus=limits.cpus,
        memory_bytes=round(limits.memory_gb * 1e9) + quota.bytes + tmp + shm + VOLUME_BYTES * len(covered),
        shm_bytes=shm,
        pids=limits.pids,
        file_bytes=max(tmp, quota.bytes),
        cpu_s=math.ceil(limits.wall_s * limits.cpus) + 60,
        tmpfs=tmpfs,
        environment=container_environment(seed=seed, cpus=limits.cpus, gpu=gpu),
        gpu=gpu,
        runtime=runtime,
    )


def container_environment(*, seed: int, cpus: float, gpu: str | None) -> dict[str, str]:
    """The environment that a container sees beside its image's own: the contract, and every cache under /tmp."""
    return {
        "HARNESS_INPUT": INPUT,
        "HARNESS_OUTPUT": OUTPUT,
        "HARNESS_DEVICE": "cpu" if gpu is None else "cuda",
        "HARNESS_SEED": str(seed),
        # a CPU limit does not change what nproc says, so threads would crowd
        "OMP_NUM_THREADS": str(max(1, math.floor(cpus))),
        "NVIDIA_VISIBLE_DEVICES": gpu or "void",
        "HF_HUB_OFFLINE": "1",
        "HOME": TMP,
        "TMPDIR": TMP,
        "XDG_CACHE_HOME": f"{TMP}/.cache",
        "HF_HOME": f"{TMP}/.cache/huggingface",
        "TORCH_HOME": f"{TMP}/.cache/torch",
        "NUMBA_CACHE_DIR": f"{TMP}/.cache/numba",
        "MPLCONFIGDIR": f"{TMP}/.cache/matplotlib",
    }


def policy_of(limits: Limits, *, runtime: str | None = None) -> dict[str, object]:
    """What of the sandbox can change a result: goes into the key of the inference cache.

    A runtime that is not the engine's own is part of it: gVisor is another kernel to a program.
    """
    policy = {"version": POLICY_VERSION, "user": USER, "network": "none", "limits": msgspec.to_builtins(limits)}
    return policy if runtime is None else {**policy, "runtime": runtime}
