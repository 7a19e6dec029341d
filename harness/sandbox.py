"""The sandbox: limits, build policy, image policy and the plan of a container run, all as values that tests can check.

It stays one file, so that the whole policy can be read, and reviewed, in one place."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from harness.base.errors import ImagePolicyError, UsageError
from harness.base.structs import Strict
from harness.base.text import shortened

Device = Literal["cpu", "cuda"]

# To be raised whenever what a container is given or denied changes: part of the key of the run cache.
POLICY_VERSION = 2

# Each run gets a user id of its own from this range, so that none can use up what the kernel grants to a user (inotify
# instances) at the cost of another. systemd reserves the range for services that come and go: no account has one.
USERS = range(61184, 65520)

INPUT, OUTPUT, MODEL, TMP = "/input", "/output", "/opt/ml/model", "/tmp"

GPU_REQUIRED_EXIT = 69

MAX_VOLUMES = 8

VOLUME_BYTES = 64 * 2**20  # size of the memory file system that is mounted over each VOLUME of an image

MAX_IMAGE_BYTES = 20 * 10**9  # unpacked, including the base image

LOG_BYTES = 2**20

TRUSTED = "trusted"
"""The runtime that an organiser names in HARNESS_RUNTIME to run submissions that are trusted where nothing can isolate
them: Apptainer on a site without user namespaces and delegated control groups (docs/campaigns.md)."""

NOT_ISOLATED = "not isolated: reaches the network; memory, processes and cores bounded by the batch system alone"
"""What a record's `observed.engine` says of such a run."""

# 8 bits in up to three channels never compress to more than this per pixel; the constant allows for headers and texts.
PNG_BYTES_PER_PIXEL, PNG_BYTES_CONSTANT = 4, 64 * 1024

PAGE = 4096


# The least that can be granted: an engine rounds less to nothing, or cannot start a container with it. No engine ever
# gets a zero, which all of them take for no limit.
LEAST = {"wall_s": 1, "memory_gb": 0.01, "cpus": 0.01, "shm_gb": 0.001, "tmp_gb": 0.001, "pids": 4}


def _check_range(limits: Limits | AskedLimits) -> None:
    for name, least in LEAST.items():
        value = getattr(limits, name)
        if value is not None and not least <= value < 1e7:
            raise ValueError(f"{name} must be at least {least} and below 10 million, found {value}")


class Limits(Strict, frozen=True, kw_only=True):
    """Ceilings of one run of the container. GB are 10^9 bytes; seconds are wall time.

    A protocol states them, a submission may ask for less, and limits that the machine cannot meet are lowered; the
    record says so.
    """

    # floats, whole ones too: a default must have the same digest after it was written and read
    wall_s: float = 3600.0  # of one run, from the container's start to its end; slices may be shown in several runs
    memory_gb: float = 16.0  # for its processes, without swap
    cpus: float = 4.0
    shm_gb: float = 2.0  # size of /dev/shm
    tmp_gb: float = 4.0  # size of /tmp, and of the largest file that may be written
    pids: int = 512  # processes and threads

    def __post_init__(self) -> None:
        _check_range(self)


class AskedLimits(Strict, frozen=True, kw_only=True):
    """Limits below the protocol's that a submission asks for; None leaves the protocol's."""

    wall_s: float | None = None
    memory_gb: float | None = None
    cpus: float | None = None
    shm_gb: float | None = None
    tmp_gb: float | None = None
    pids: int | None = None

    def __post_init__(self) -> None:
        _check_range(self)


class Machine(Strict, frozen=True, kw_only=True):
    """What the engine's machine has. `gpus` are the ids by which a GPU can be requested."""

    cpus: float
    memory_bytes: int
    os: str
    architecture: str
    gpus: tuple[str, ...] = ()


def share_of(machine: Machine, *, part: int, parts: int) -> Machine:
    """What run `part` (from 0) of `parts` parallel runs may use: its share of cores and memory, and one GPU in turn."""
    gpus = machine.gpus and (machine.gpus[part % len(machine.gpus)],)
    return msgspec.structs.replace(
        machine, cpus=machine.cpus / parts, memory_bytes=machine.memory_bytes // parts, gpus=gpus
    )


class Granted(Strict, frozen=True, kw_only=True):
    """The limits in force on this machine, and a line for each that was lowered: from what, to what and why."""

    limits: Limits
    lowered: tuple[str, ...] = ()


def lower(limits: Limits, *, machine: Machine, asked: AskedLimits | None = None) -> Granted:
    """The protocol's ceilings, lowered to what the submission asked for and to what the machine has.

    memory_gb, tmp_gb and shm_gb all take RAM (the last two are memory file systems). If their sum exceeds nine tenths
    of the machine's, all three shrink by the same factor (to whole MB, and never below what can be granted at all).
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
    reduce("cpus", max(LEAST["cpus"], machine.cpus), "the machine has no more")
    in_memory = ("memory_gb", "tmp_gb", "shm_gb")
    share = 0.9 * machine.memory_bytes / 1e9 / sum(values[name] for name in in_memory)
    if share < 1:
        for name in in_memory:
            reduce(
                name,
                max(LEAST[name], math.floor(values[name] * share * 1000) / 1000),
                f"of {machine.memory_bytes / 1e9:.1f} GB RAM",
            )
    return Granted(limits=Limits(**values), lowered=tuple(lowered))


class Quota(Strict, frozen=True, kw_only=True):
    """Hard bounds of /output; each file counts as whole pages, as in the memory file system."""

    bytes: int
    inodes: int


def largest_png(height: int, width: int, *, bits: int = 8) -> int:
    """The largest accepted size, in bytes, of a grey PNG of `height` x `width` pixels of `bits` bits."""
    return PNG_BYTES_PER_PIXEL * height * width * bits // 8 + PNG_BYTES_CONSTANT


def output_quota(sizes: Iterable[tuple[int, int]], *, bits: int = 8) -> Quota:
    """The quota for one PNG per case of the given (height, width) and bits, and room for one more: a file that is
    written first and renamed then."""
    files = [math.ceil(largest_png(height, width, bits=bits) / PAGE) * PAGE for height, width in sizes]
    return Quota(bytes=sum(files) + max(files, default=0) + 2**20, inodes=2 * len(files) + 64)


# -------------------------------------------------------------------------------- what may be built
MAX_INSTRUCTIONS = 200  # of one Dockerfile


class BuildPolicy(Strict, frozen=True, kw_only=True):
    """Which images a Dockerfile may build on besides the base image, and the bounds of one build.

    A build runs as root with the engine's default capabilities, since package installers need them. So these bounds are
    all that stands between a stranger's RUN line and the machine (docs/security.md).
    """

    images: tuple[str, ...] = ()  # names that FROM and COPY --from may use, exactly as written
    network: str = "none"  # the engine's name for a network
    wall_s: float = 1800
    memory_bytes: int = 8 * 10**9  # for each RUN line, without swap
    pids: int = 1024  # for each RUN line
    disk_bytes: int = MAX_IMAGE_BYTES  # for its layers and its running container
    context_bytes: int = 4 * 10**9
    log_bytes: int = 16 * 2**20


def build_policy(environment: Mapping[str, str]) -> BuildPolicy:
    """The organiser's policy for builds on this machine, from two environment variables.

    HARNESS_BUILD_IMAGES lists images, separated by blanks or commas; HARNESS_BUILD_NETWORK names a network of the
    engine (`bridge`). UsageError for a name that cannot be one.
    """
    images = tuple(re.split(r"[\s,]+", environment.get("HARNESS_BUILD_IMAGES", "").strip(" ,")))
    network = environment.get("HARNESS_BUILD_NETWORK") or BuildPolicy().network
    if not re.fullmatch(r"[\w.-]+", network):
        raise UsageError(
            f"HARNESS_BUILD_NETWORK: {network!r} is not a valid network name", fix="unset it, or set it to bridge"
        )
    for image in images:
        if not re.fullmatch(r"[\w./:@-]*", image, re.ASCII):
            raise UsageError(f"HARNESS_BUILD_IMAGES: {image!r} is not a valid image name", fix="unset or correct it")
    return BuildPolicy(images=tuple(image for image in images if image), network=network)


def chosen_runtime(environment: Mapping[str, str]) -> str | None:
    """The low-level runtime for runs that the organiser names in HARNESS_RUNTIME (runc, runsc, kata, ...); None leaves
    the engine's default. UsageError for a name that cannot be one."""
    runtime = environment.get("HARNESS_RUNTIME") or None
    if runtime is not None and not re.fullmatch(r"[\w.-]+", runtime, re.ASCII):
        raise UsageError(
            f"HARNESS_RUNTIME: {runtime!r} is not a valid runtime name",
            fix="unset it, or set it to runc, runsc or kata",
        )
    return runtime


# -------------------------------------------------------------------------------- what may run
class ImageFacts(Strict, frozen=True, kw_only=True):
    """What the policy needs to know of an image's configuration."""

    id: str
    os: str
    architecture: str
    command: tuple[str, ...]
    volumes: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    bytes: int = 0  # unpacked


def check_image(facts: ImageFacts, *, machine: Machine, device: Device) -> None:
    """Refuse an image that cannot run here, or must not; ImagePolicyError says why."""
    if (facts.os, facts.architecture) != (machine.os, machine.architecture):
        raise ImagePolicyError(
            f"the image is for {_shown(f'{facts.os}/{facts.architecture}')}, the engine runs "
            f"{machine.os}/{machine.architecture}",
            fix=f"build it with --platform {machine.os}/{machine.architecture}",
        )
    if facts.bytes > MAX_IMAGE_BYTES:
        raise ImagePolicyError(
            f"the image has {facts.bytes / 1e9:.1f} GB, at most {MAX_IMAGE_BYTES / 1e9:g} GB are allowed",
            fix="leave out what it does not need, and declare weights in submission.yaml",
        )
    if not facts.command:
        raise ImagePolicyError(
            "the image has neither ENTRYPOINT nor CMD", fix="state in the Dockerfile which program to run"
        )
    if len(facts.volumes) > MAX_VOLUMES:
        raise ImagePolicyError(
            f"the image declares {len(facts.volumes)} VOLUMEs, at most {MAX_VOLUMES} are allowed",
            fix="write to /tmp and remove the VOLUMEs",
        )
    for volume in facts.volumes:
        # one spelling for each path: what two programs could read differently is refused
        plain = re.fullmatch(r"(/(?!\.\.?(/|$))[\w.-]+)+", volume, re.ASCII)
        ours = any(volume.startswith(f"{mount}/") for mount in (INPUT, OUTPUT, MODEL))
        system = re.match(r"/(proc|sys|dev)(/|$)", volume)
        if not plain or ours or system:
            raise ImagePolicyError(
                f"the image declares VOLUME '{_shown(volume)}', which is not allowed",
                fix="write to /tmp and remove the VOLUME",
            )
    if device == "cuda" and any(entry.startswith("LD_PRELOAD=") for entry in facts.environment):
        # the GPU hook runs as root on the host with the image's environment (CVE-2025-23266)
        raise ImagePolicyError("the image sets LD_PRELOAD, which is not allowed with a GPU", fix="remove that ENV line")


def _shown(text: str) -> str:
    return shortened(ascii(text)[1:-1], 100)


# -------------------------------------------------------------------------------- what runs
class ContainerPlan(Strict, frozen=True, kw_only=True):
    """One container run in full: an engine adds nothing and leaves nothing out.

    The same for every plan: no network, no capabilities, no new privileges, read-only root file system,
    private IPC, an init process, no core dumps, the engine's default seccomp filter, no health check.
    """

    image: str  # by id: tags move
    input: str  # host folder, mounted read-only
    model: str | None  # host folder of declared weights, mounted read-only
    quota: Quota
    wall_s: float
    cpus: float
    memory_bytes: int  # RAM and swap together; the pages of /tmp, /dev/shm and /output count too
    shm_bytes: int
    pids: int
    file_bytes: int  # the largest file that a process can write; SIGXFSZ beyond it
    cpu_s: int  # per process; ends a container whose harness was killed
    tmpfs: dict[str, str]  # path -> mount options
    environment: dict[str, str]
    user: str  # uid:gid
    gpu: str | None = None
    open_files: int = 4096
    log_bytes: int = LOG_BYTES
    runtime: str | None = None  # None: the engine's default


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
    """Plan the run of a checked image under limits that the machine can meet (`lower`)."""
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
        user=_own_user(),
        environment=container_environment(seed=seed, cpus=limits.cpus, gpu=gpu),
        gpu=gpu,
        runtime=runtime,
    )


def _own_user() -> str:
    number = secrets.choice(USERS)
    return f"{number}:{number}"


def container_environment(*, seed: int, cpus: float, gpu: str | None) -> dict[str, str]:
    """The variables that a container sees besides its image's own: the contract's, and all caches under /tmp."""
    return {
        "HARNESS_INPUT": INPUT,
        "HARNESS_OUTPUT": OUTPUT,
        "HARNESS_DEVICE": "cpu" if gpu is None else "cuda",
        "HARNESS_SEED": str(seed),
        # a CPU limit does not change what nproc prints, so there would be too many threads
        "OMP_NUM_THREADS": str(max(1, math.floor(cpus))),
        "NVIDIA_VISIBLE_DEVICES": gpu or "void",
        "HF_HUB_OFFLINE": "1",
        # the forced user has no entry in /etc/passwd: whoever asks for its name (torch.compile does) reads it here
        "USER": "submission",
        "LOGNAME": "submission",
        "HOME": TMP,
        "TMPDIR": TMP,
        "XDG_CACHE_HOME": f"{TMP}/.cache",
        "HF_HOME": f"{TMP}/.cache/huggingface",
        "TORCH_HOME": f"{TMP}/.cache/torch",
        "NUMBA_CACHE_DIR": f"{TMP}/.cache/numba",
        "MPLCONFIGDIR": f"{TMP}/.cache/matplotlib",
    }


def policy_of(limits: Limits, *, runtime: str | None = None) -> dict[str, object]:
    """What in the sandbox can change a result: part of the key of the run cache.

    A runtime other than the engine's default belongs to it: to a program, gVisor is another kernel.
    """
    policy = {"version": POLICY_VERSION, "network": "none", "limits": msgspec.to_builtins(limits)}
    return policy if runtime is None else {**policy, "runtime": runtime}
