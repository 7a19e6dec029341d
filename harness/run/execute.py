"""Execute: Submission x Inputs -> Run. Builds the image, runs it in the sandbox, verifies and keeps its outputs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.base.digests import digest_file, digest_json
from harness.base.errors import GpuRequiredError, SubmissionError
from harness.base.files import cache_root, in_turn, write_text
from harness.base.png import Image, Slice, pixels_of
from harness.base.progress import Progress, later_part
from harness.base.slices import read_slices
from harness.base.text import sanitise
from harness.dataset.cases import Inputs, NoisySlice
from harness.engines import Engine, Exit
from harness.run.cache import amend_run, cached_run, keep_run, run_folder
from harness.run.container_image import checked_image, removed_if_refused
from harness.run.context import Told, told
from harness.run.failures import raise_for, withheld
from harness.run.input_kinds import bits_of, from_container, refuse_unmapped, to_container
from harness.run.outputs import read_outputs
from harness.run.result import Costs, Run, Times, compare, digest_outputs
from harness.run.staging import rounds_of, staged
from harness.run.weights import weights_of
from harness.sandbox import (
    BuildPolicy,
    Device,
    Granted,
    ImageFacts,
    Limits,
    Machine,
    build_policy,
    lower,
    output_quota,
    plan_container,
    policy_of,
    share_of,
)
from harness.submission.manifest import Manifest, Submission


class _Job(NamedTuple):
    """What is to run, all settled before an image is built."""

    submission: Submission
    dataset: Inputs
    engine: Engine
    seed: int
    machine: Machine
    granted: Granted
    device: Device
    gpu: str | None  # the id of the one that is asked for
    weights: list[tuple[str, Path]]  # name under /opt/ml/model, file


class _Built(NamedTuple):
    """A submission's image, checked."""

    facts: ImageFacts
    policy: BuildPolicy
    seconds: float


class _Round(NamedTuple):
    """What one container gets to see, by the names that it sees: slices, their pixels in the kind of its input, and
    (height, width); and what it is told of their order."""

    cases: dict[str, NoisySlice]
    slices: dict[str, Image]
    sizes: dict[str, tuple[int, int]]
    told: Told


LOG_BYTES = 64 * 1024
"""Of the joined logs of several containers."""


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

    Where the data have further slices several containers run one after another, each on a part in which no plane occurs
    twice (`harness.run.staging.rounds_of`). The limits hold for each of them. If one fails, the submission fails. Of a
    slice that several show, as its neighbours need it, the first output stands.

    A run of the same image, weights, data, device, seed and limits is taken from the cache unless `fresh`. Of a run
    that fails only the end of its log is kept (`log_file`). With `publish_logs=False` no message holds anything that
    the container chose (`harness.run.failures.withheld`).
    `build` bounds the build, if there is one; by default it is the organiser's policy (`harness.sandbox.build_policy`).
    `share` is (which, of how many) runs side by side on the machine. `repeat` is how often to run it, a cached run
    counting as once: the outputs are compared, and those of the first run stand. Where another process is at the same
    run, this one waits for it and then takes its outputs. `note` receives a line that the user should read,
    `progress` (files written, slices).

    Raises a SubmissionError where the submission is to blame, GpuRequiredError, UsageError, InfrastructureError.
    """
    job = _settle(submission, dataset, limits, seed=seed, engine=engine, share=share)

    def waiting() -> None:
        if note is not None:
            note(f"another harness process is running {submission.slug}; waiting for it")

    locks = cache_root() / "locks"
    with removed_if_refused(submission, engine), contextlib.ExitStack() as held:
        # two builds at the same time would make two images of different ids
        with in_turn(locks / submission.digest, waiting=waiting):
            built = _build(job, build_policy(os.environ) if build is None else build)
        folder = run_folder(_key(job, built))
        held.enter_context(in_turn(locks / folder.name, waiting=waiting))  # not of this submission on other data
        run = None if fresh else cached_run(folder, dataset)
        if run is not None and repeat == 1:
            return run
        rounds = _rounds(dataset, submission.manifest)
        if run is None:
            found, ends = _execute(job, built, rounds, publish_logs=publish_logs, progress=progress)
            run = keep_run(folder, _finished(job, built, rounds, found, ends), found)
        if repeat > 1:
            others = [
                pixels_of(_execute(job, built, rounds, publish_logs=publish_logs, progress=progress)[0])
                for _ in range(1, repeat)
            ]
            run = msgspec.structs.replace(run, repeat=compare(read_slices(run.outputs), others))
            amend_run(folder, run)
        return run


def joined_logs(logs: Sequence[str]) -> str:
    """The logs of a submission's containers, one after the other; of several the ends, so that all fit into LOG_BYTES.

    A single one stays as it is: the engine has bounded it.
    """
    if len(logs) == 1:
        return logs[0]
    heads = [f"[run {number} of {len(logs)}]\n" for number in range(1, len(logs) + 1)]
    room = LOG_BYTES // len(logs)
    parts = []
    for head, log in zip(heads, logs, strict=True):
        end = log.rstrip("\n").encode()[-(room - len(head) - 1) :].decode(errors="ignore")
        parts.append(f"{head}{end}\n")
    return "".join(parts)


def log_file(slug: str) -> Path:
    """Where the end of the log of a submission's last failed run is kept, for the user of this machine alone."""
    return cache_root() / "logs" / f"{slug}.log"


def _settle(
    submission: Submission, dataset: Inputs, limits: Limits, *, seed: int, engine: Engine, share: tuple[int, int]
) -> _Job:
    """Grant limits, choose the device and fetch declared weights."""
    refuse_unmapped(submission.manifest.input, dataset)
    machine = share_of(engine.machine, part=share[0], parts=share[1])
    device, gpu = _device(submission, machine)
    return _Job(
        submission=submission,
        dataset=dataset,
        engine=engine,
        seed=seed,
        machine=machine,
        granted=lower(limits, machine=machine, asked=submission.manifest.limits),
        device=device,
        gpu=gpu,
        weights=weights_of(submission),
    )


def _device(submission: Submission, machine: Machine) -> tuple[Device, str | None]:
    """The device kind and, for a GPU, the id of the one that is asked for."""
    wanted = submission.manifest.gpu
    if wanted == "none" or (wanted == "optional" and not machine.gpus):
        return "cpu", None
    if not machine.gpus:
        raise GpuRequiredError(
            f"{submission.slug} states gpu: required, but the engine's machine has no GPU",
            fix="run it on a machine with an NVIDIA GPU and nvidia-container-toolkit, or state gpu: optional",
        )
    return "cuda", machine.gpus[0]


def _build(job: _Job, policy: BuildPolicy) -> _Built:
    """Build, load or pull the image, and check what its configuration says."""
    began = time.monotonic()
    facts = checked_image(job.submission, job.engine, policy, machine=job.machine, device=job.device)
    return _Built(facts, policy, time.monotonic() - began)


def _key(job: _Job, built: _Built) -> str:
    """The key of the run in the cache: all that can change its outputs."""
    further, context = job.dataset.further, job.submission.manifest.context
    places = [(case.series, case.position_mm) for case in job.dataset.cases]
    return digest_json(
        {
            "image": built.facts.id,
            "weights": {name: path.name for name, path in job.weights},
            "data": job.dataset.digest,
            "cases": [case.name for case in job.dataset.cases],
            **({"further": {one.name: (one.of, digest_file(Path(one.lq))) for one in further}} if further else {}),
            **({"input": kind} if (kind := job.submission.manifest.input) != "uint8" else {}),
            **({"context": context, "places": places} if context is not None else {}),
            "device": job.device,
            "seed": job.seed,
            "policy": policy_of(job.granted.limits, runtime=job.engine.runtime),
        }
    )


def _rounds(dataset: Inputs, manifest: Manifest) -> list[_Round]:
    rounds, kind, context = [], manifest.input, manifest.context
    for cases in rounds_of(dataset, complete=context is not None):
        read = read_slices({name: one.lq for name, one in cases.items()})
        slices = {name: to_container(image, kind, dataset) for name, image in read.items()}
        sizes = {name: (one.shape[0], one.shape[1]) for name, one in slices.items()}
        rounds.append(_Round(cases, slices, sizes, told(context, dataset, cases)))
    return rounds


def _execute(
    job: _Job, built: _Built, rounds: list[_Round], *, publish_logs: bool, progress: Progress | None
) -> tuple[dict[str, Slice], list[Exit]]:
    """Show all rounds, each to a container of its own: the verified outputs by slice, and how the containers ended."""
    found: dict[str, Slice] = {}
    ends: list[Exit] = []
    done, total = 0, sum(len(one.cases) for one in rounds)
    for number, one in enumerate(rounds, start=1):
        try:
            outputs, ended = _show(job, built, one, progress=later_part(progress, done, total))
        except KeyboardInterrupt as stop:
            stop.add_note("the container is removed")
            raise
        except (SubmissionError, GpuRequiredError) as failure:
            error = withheld(failure) if isinstance(failure, SubmissionError) and not publish_logs else failure
            if len(rounds) == 1:
                raise error from None
            raise type(error)(f"run {number} of {len(rounds)}: {error.message}", fix=error.fix) from error
        kind = job.submission.manifest.input
        for name, out in outputs.items():
            if one.cases[name].name not in found:
                found[one.cases[name].name] = from_container(out, kind, job.dataset)
        ends.append(ended)
        done += len(one.cases)
    return found, ends


def _show(job: _Job, built: _Built, one: _Round, *, progress: Progress | None) -> tuple[dict[str, Slice], Exit]:
    """Run a container on the slices of one round: its outputs, verified, by the names that it knows.

    What it may read is laid out for it alone and gone afterwards. At an error its log is kept.
    """
    limits, total = job.granted.limits, len(one.cases)
    bits = bits_of(job.submission.manifest.input)
    with staged(one.slices, one.cases, one.told, job.dataset.window_hu, job.weights) as (inputs, model):
        plan = plan_container(
            built.facts,
            limits=limits,
            quota=output_quota(one.sizes.values(), bits=bits),
            input_folder=str(inputs),
            model_folder=None if model is None else str(model),
            seed=job.seed,
            gpu=job.gpu,
            runtime=job.engine.runtime,
        )
        with job.engine.start(plan) as container:
            for written in container.wait(deadline_s=limits.wall_s):
                if progress is not None:
                    progress(min(written, total), total)
            ended = container.exit()
            try:
                raise_for(ended, device=job.device, limits=limits)
                with contextlib.closing(container.output()) as tar:
                    outputs = read_outputs(tar, sizes=one.sizes, quota=plan.quota, bits=bits)
            except Exception as error:
                write_text(log_file(job.submission.slug), sanitise(f"{ended.log}\n{error}\n"))
                raise
    if progress is not None:
        progress(total, total)
    return outputs, ended


def _finished(job: _Job, built: _Built, rounds: list[_Round], found: dict[str, Slice], ends: list[Exit]) -> Run:
    """What a run was and what it cost; its outputs are still to be kept."""
    seconds = sum(one.seconds for one in ends)
    times = Times(
        build_s=built.seconds,
        run_s=seconds,
        seconds_per_slice=seconds / sum(len(one.cases) for one in rounds),
        first_output_s=ends[0].first_output_s,
    )
    return Run(
        image=built.facts.id,
        outputs={},
        outputs_digest=digest_outputs(pixels_of(found)),
        device=job.device,
        seed=job.seed,
        limits=job.granted.limits,
        lowered=job.granted.lowered,
        engine=job.engine.description,
        costs=Costs(
            times=times,
            peak_memory_bytes=_highest(one.peak_memory_bytes for one in ends),
            peak_gpu_memory_bytes=_highest(one.peak_gpu_memory_bytes for one in ends),
        ),
        log=sanitise(joined_logs([one.log for one in ends])),
        build=built.policy if job.submission.manifest.image.build is not None else None,
    )


def _highest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
