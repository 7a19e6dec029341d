"""Run: Submission x Inputs -> Run. Builds the image, runs it in the sandbox, keeps its outputs once verified."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.base.digests import digest_bytes, digest_json
from harness.base.errors import (
    ContainerError,
    ContainerOutOfMemory,
    ContainerTimeout,
    GpuRequiredError,
    OutputQuotaError,
    UsageError,
)
from harness.base.files import atomic_folder, cache_root, in_turn, write_text
from harness.base.progress import Progress
from harness.base.slices import read_slices
from harness.base.structs import Strict, read_json, write_json
from harness.base.text import sanitise
from harness.dataset.cases import Inputs
from harness.engines import Engine, Exit
from harness.run.container_image import image_of
from harness.run.outputs import read_outputs
from harness.run.staging import opaque_names, staged
from harness.run.untrusted_png import Slice, pixels_of
from harness.run.weights import fetch_weights, weights_name
from harness.sandbox import (
    GPU_REQUIRED_EXIT,
    BuildPolicy,
    ContainerPlan,
    Device,
    Granted,
    Limits,
    Machine,
    build_policy,
    check_image,
    lower,
    output_quota,
    plan_container,
    policy_of,
    share_of,
)
from harness.submission.manifest import Submission

SIGNALLED = 128  # an exit status above it is a signal's number, as the init process passes it on

KILLED_FOR_FILE_SIZE = SIGNALLED + signal.SIGXFSZ

ADVICE = {
    r"name resolution|getaddrinfo|network is unreachable|max retries|urlopen error": "there is no network in the "
    "sandbox: put what it downloads into the image, or declare it under weights in submission.yaml",
    r"read-only file system|permission denied": "only /output and /tmp can be written to, and nobody is root: "
    "send scratch files and caches to /tmp",
    r"no space left on device": "/tmp and /output are size-limited (tmp_gb of the protocol's limits): write less",
    r"no module named|modulenotfounderror": "install the package in the Dockerfile; without a network it comes as a "
    "wheel in the folder",
    r"cuda|nvidia": "run on the device that HARNESS_DEVICE names (cpu, cuda); gpu: in submission.yaml asks for one",
}
"""What the last line of a failed container's stderr points to (a pattern, in small letters), and what helps."""


class Repeat(Strict, frozen=True, kw_only=True):
    """What several runs of the same thing had in common: in how many slices any of them differed from the first, and
    by how many grey levels at most."""

    runs: int
    differing_slices: int
    largest_difference: int

    def __str__(self) -> str:
        if self.largest_difference == 0:
            return "equal outputs"
        return f"outputs of {self.differing_slices} slices differ, by {self.largest_difference} grey levels at most"


class Run(Strict, frozen=True, kw_only=True):
    """A finished run, all outputs valid. `outputs` maps each case's name to its 8-bit grey PNG in the cache."""

    image: str
    outputs: dict[str, str]
    outputs_digest: str  # names and pixels, in the order of names
    device: Device
    seed: int
    limits: Limits
    lowered: tuple[str, ...]
    engine: str
    build_s: float
    run_s: float  # the container alone, from its start to its end
    seconds_per_slice: float  # the start included
    first_output_s: float | None = None  # from the container's start: how long it takes to get going
    peak_memory_bytes: int | None
    peak_gpu_memory_bytes: int | None = None
    log: str
    build: BuildPolicy | None = None  # what its Dockerfile was held to, if it has one
    repeat: Repeat | None = None
    reused: bool = False


def run_submission(
    submission: Submission,
    dataset: Inputs,
    limits: Limits,
    *,
    seed: int,
    engine: Engine,
    fresh: bool = False,
    publish_logs: bool = True,
    build: BuildPolicy | None = None,
    share: tuple[int, int] = (0, 1),
    repeat: int = 1,
    note: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Run:
    """Build or fetch the submission's image, run it on the data's noisy slices and verify every output.

    A run of the same image, weights, data, device, seed and limits is taken from the cache unless `fresh`. Nothing
    of a run that fails is kept but the end of its log (cache folder, logs/<slug>.log). With `publish_logs=False` no
    message quotes the container. `build` bounds the build, if there is one; by default it is the organiser's policy
    (`harness.sandbox.build_policy`). `share` is the part that this run has of how many side by side on the machine.
    With `repeat` above 1 it is run so many times, a cached run counting as one, and the outputs are compared; those of
    the first run stand. Where another process runs the same, this one waits for it and then takes its outputs.
    `note` hears a line that the user should read, `progress` (files written, cases).

    Raises a SubmissionError where the submission is to blame, GpuRequiredError, UsageError, InfrastructureError.
    """
    machine = share_of(engine.machine, part=share[0], parts=share[1])
    granted = lower(limits, machine=machine, asked=submission.manifest.limits)
    device, gpu = _device(submission, machine)
    weights = [(weights_name(one, submission), fetch_weights(one)) for one in submission.manifest.weights]

    def waiting() -> None:
        if note is not None:
            note(f"another harness runs {submission.slug}: waiting for it")

    # the build as well: two at the same time would make two images of different ids
    with in_turn(cache_root() / "locks" / submission.digest, waiting=waiting):
        began = time.monotonic()
        policy = build_policy(os.environ) if build is None else build
        image = image_of(submission, engine, policy)
        build_s = time.monotonic() - began
        facts = engine.inspect(image)
        check_image(facts, machine=machine, device=device)

        key = digest_json(
            {
                "image": image,
                "weights": {name: path.name for name, path in weights},
                "data": dataset.digest,
                "cases": [case.name for case in dataset.cases],
                "device": device,
                "seed": seed,
                "policy": policy_of(granted.limits, runtime=engine.runtime),
            }
        )
        folder = cache_root() / "runs" / key[:32]
        run = None if fresh else _kept(folder, dataset)
        if run is not None and repeat == 1:
            return run
        cases = opaque_names(dataset)
        slices = read_slices({name: case.lq for name, case in cases.items()})
        with staged(slices, cases, dataset.window_hu, weights) as (inputs, model):
            sizes = {name: (pixels.shape[0], pixels.shape[1]) for name, pixels in slices.items()}
            plan = plan_container(
                facts,
                limits=granted.limits,
                quota=output_quota(sizes.values()),
                input_folder=str(inputs),
                model_folder=None if model is None else str(model),
                seed=seed,
                gpu=gpu,
                runtime=engine.runtime,
            )

            def execute() -> tuple[dict[str, Slice], Exit]:
                found, ended = _execute(
                    plan,
                    sizes,
                    limits=granted.limits,
                    engine=engine,
                    quote=publish_logs,
                    log=log_file(submission.slug),
                    progress=progress,
                )
                return {case.name: found[name] for name, case in cases.items()}, ended

            if run is None:
                found, ended = execute()
                outputs = pixels_of(found)
                run = _keep(
                    folder,
                    found,
                    ended,
                    image=image,
                    device=device,
                    seed=seed,
                    granted=granted,
                    engine=engine.description,
                    build_s=build_s,
                    log=sanitise(ended.log),
                    build=policy if submission.manifest.image.build is not None else None,
                )
            else:
                outputs = read_slices(run.outputs)
            if repeat > 1:
                run = msgspec.structs.replace(
                    run, repeat=_compare(outputs, [pixels_of(execute()[0]) for _ in range(1, repeat)])
                )
                write_json(folder / "run.json", run)
        return run


def log_file(slug: str) -> Path:
    """Where the end of the log of a submission's last failed run is kept, for its own eyes."""
    return cache_root() / "logs" / f"{slug}.log"


def _execute(
    plan: ContainerPlan,
    sizes: Mapping[str, tuple[int, int]],
    *,
    limits: Limits,
    engine: Engine,
    quote: bool,
    log: Path,
    progress: Progress | None,
) -> tuple[dict[str, Slice], Exit]:
    """Run the container once: its outputs, verified, by the names it knows, and how it ended. At an error the end of
    its log is kept in the file `log`."""
    with engine.start(plan) as container:
        for written in container.wait(deadline_s=limits.wall_s):
            if progress is not None:
                progress(min(written, len(sizes)), len(sizes))
        ended = container.exit()
        try:
            _raise_for(ended, device="cpu" if plan.gpu is None else "cuda", limits=limits, quote=quote)
            with contextlib.closing(container.output()) as tar:
                outputs = read_outputs(tar, sizes=sizes, quota=plan.quota)
        except Exception:
            write_text(log, sanitise(ended.log))
            raise
    if progress is not None:
        progress(len(sizes), len(sizes))
    return outputs, ended


def _compare(first: Mapping[str, NDArray[np.uint8]], others: Sequence[Mapping[str, NDArray[np.uint8]]]) -> Repeat:
    """How far repeated runs are from the first."""
    largest = {
        name: max(int(np.abs(one[name].astype(np.int16) - pixels).max()) for one in others)
        for name, pixels in first.items()
    }
    return Repeat(
        runs=1 + len(others),
        differing_slices=sum(value > 0 for value in largest.values()),
        largest_difference=max(largest.values()),
    )


def _device(submission: Submission, machine: Machine) -> tuple[Device, str | None]:
    """The device kind and, for a GPU, the id of the one that is asked for."""
    wanted = submission.manifest.gpu
    if wanted == "none" or (wanted == "optional" and not machine.gpus):
        return "cpu", None
    if not machine.gpus:
        raise GpuRequiredError(
            f"{submission.slug} says gpu: required, and the engine's machine has no GPU",
            fix="run it on a machine with an NVIDIA GPU and nvidia-container-toolkit, or say gpu: optional",
        )
    return "cuda", machine.gpus[0]


# -------------------------------------------------------------------------------- how it ended
def _raise_for(ended: Exit, *, device: Device, limits: Limits, quote: bool) -> None:
    """Raise what the end of a container amounts to; nothing for a clean one."""
    lines = sanitise(ended.stderr).strip().splitlines()
    said = f": {lines[-1].strip()[:500]}" if lines and quote else ""
    see = "the end of its log is in the cache folder, logs/<submission>.log"
    if ended.out_of_memory:
        raise ContainerOutOfMemory(
            f"the kernel killed a process of the container for memory ({limits.memory_gb:g} GB){said}",
            fix="hold fewer slices at a time or start fewer processes (OMP_NUM_THREADS says how many cores there are); "
            "files in /tmp and /output count too",
        )
    if ended.timed_out:
        raise ContainerTimeout(
            f"the container was still running at its deadline, {limits.wall_s:g} s after its start{said}",
            fix="make it faster, or see whether it waits for something that it cannot have (network, keyboard)",
        )
    if ended.code == GPU_REQUIRED_EXIT and device == "cpu":
        raise GpuRequiredError(
            "the container says that it needs a GPU (exit status 69), and it was given none",
            fix="say gpu: required in submission.yaml and run it on a machine with a GPU",
        )
    if ended.output_full or ended.code == KILLED_FOR_FILE_SIZE:
        raise OutputQuotaError(
            f"the container wrote more than /output may hold{said}",
            fix="write one 8-bit PNG per case and nothing else there; scratch files belong in /tmp",
        )
    if ended.code != 0:
        number = ended.code - SIGNALLED
        by = f" (killed by {signal.Signals(number).name})" if number in set(signal.Signals) else ""
        helps = [advice for pattern, advice in ADVICE.items() if re.search(pattern, said.lower())]
        raise ContainerError(
            f"the container ended with exit status {ended.code}{by}{said}", fix=f"{(helps or ['correct it'])[0]}; {see}"
        )


# -------------------------------------------------------------------------------- the cache
def digest_outputs(outputs: Mapping[str, NDArray[np.uint8]]) -> str:
    """SHA-256 (hex) of names and pixels of outputs, in the order of names."""
    parts: list[bytes] = []
    for name in sorted(outputs):
        parts += [name.encode(), repr(outputs[name].shape).encode(), outputs[name].tobytes()]
    return digest_bytes(*parts)


def _kept(folder: Path, dataset: Inputs) -> Run | None:
    """The cached run, or None where there is none or it is damaged; a damaged one is removed."""
    if not folder.exists():
        return None
    paths = {case.name: str(folder / "outputs" / f"{case.name}.png") for case in dataset.cases}
    try:
        run = read_json(folder / "run.json", Run)
        if digest_outputs(read_slices(paths)) != run.outputs_digest:
            raise UsageError(f"{folder}: the outputs' digest differs")
    except UsageError:
        shutil.rmtree(folder)
        return None
    return msgspec.structs.replace(run, outputs=paths, reused=True)


def cached_outputs(dataset: Inputs, digest: str) -> dict[str, Path] | None:
    """Outputs of that digest (`digest_outputs`) for a data set among the cached runs: case name -> PNG, or None."""
    for folder in sorted((cache_root() / "runs").glob("[!.]*")):
        # by what it says of itself first: `_kept` reads every image, and removes what is not whole for this data set
        noted = folder / "run.json"
        if noted.is_file() and read_json(noted, dict[str, Any]).get("outputs_digest") == digest:
            run = _kept(folder, dataset)
            if run is not None:
                return {name: Path(path) for name, path in run.outputs.items()}
    return None


def _keep(folder: Path, found: Mapping[str, Slice], ended: Exit, *, granted: Granted, **facts: Any) -> Run:
    """Write a finished run to the cache, in place of an older one."""
    run = Run(
        **facts,
        outputs={name: str(folder / "outputs" / f"{name}.png") for name in found},
        outputs_digest=digest_outputs(pixels_of(found)),
        limits=granted.limits,
        lowered=granted.lowered,
        run_s=ended.seconds,
        seconds_per_slice=ended.seconds / len(found),
        first_output_s=ended.first_output_s,
        peak_memory_bytes=ended.peak_memory_bytes,
        peak_gpu_memory_bytes=ended.peak_gpu_memory_bytes,
    )
    with atomic_folder(folder) as part:
        (part / "outputs").mkdir()
        for name, one in found.items():
            (part / "outputs" / f"{name}.png").write_bytes(one.png)  # as it was checked, and need not be packed again
        write_json(part / "run.json", run)
        shutil.rmtree(folder, ignore_errors=True)
    return run
