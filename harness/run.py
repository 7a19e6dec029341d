"""Run: Submission x Dataset -> Run. Builds the image, runs it in the sandbox, keeps its outputs once verified."""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import os
import secrets
import shutil
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data import Case, Dataset
from harness.download import NotTheFile, download
from harness.engines import Engine, Exit
from harness.errors import (
    BuildError,
    ContainerError,
    ContainerOutOfMemory,
    ContainerTimeout,
    GpuRequiredError,
    OutputQuotaError,
    UsageError,
)
from harness.files import (
    Strict,
    atomic_folder,
    cache_root,
    digest_bytes,
    digest_json,
    read_grey,
    read_json,
    write_grey,
    write_json,
    write_text,
)
from harness.image import image_of
from harness.outputs import read_outputs
from harness.sandbox import (
    GPU_REQUIRED_EXIT,
    BuildPolicy,
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
    sanitise,
    share_of,
)
from harness.submission import Submission, Weights

Progress = Callable[[int, int], None]
MAX_WEIGHTS_BYTES = 20 * 10**9
KILLED_FOR_FILE_SIZE = 128 + 25  # SIGXFSZ, as the init process passes it on


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
    seconds_per_slice: float
    peak_memory_bytes: int | None
    peak_gpu_memory_bytes: int | None = None
    log: str
    reused: bool = False


def run_submission(
    submission: Submission,
    dataset: Dataset,
    limits: Limits,
    *,
    seed: int,
    engine: Engine,
    fresh: bool = False,
    publish_logs: bool = True,
    build: BuildPolicy | None = None,
    share: tuple[int, int] = (0, 1),
    progress: Progress | None = None,
) -> Run:
    """Build or fetch the submission's image, run it on the data's noisy slices and verify every output.

    A run of the same image, weights, data, device, seed and limits is taken from the cache unless `fresh`. Nothing
    of a run that fails is kept but the end of its log (cache folder, logs/<slug>.log). With `publish_logs=False` no
    message quotes the container. `build` bounds the build, if there is one; by default it is the organiser's policy
    (`harness.sandbox.build_policy`). `share` is the part that this run has of how many side by side on the machine.
    `progress` hears (files written, cases).

    Raises a SubmissionError where the submission is to blame, GpuRequiredError, UsageError, InfrastructureError.
    """
    machine = share_of(engine.machine, part=share[0], parts=share[1])
    granted = lower(limits, machine=machine, asked=submission.manifest.limits)
    device, gpu = _device(submission, machine)
    weights = [(_weights_name(one, submission), fetch_weights(one)) for one in submission.manifest.weights]

    began = time.monotonic()
    image = image_of(submission, engine, build_policy(os.environ) if build is None else build)
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
    if not fresh and (kept := _kept(folder, dataset)) is not None:
        return kept

    cases = _opaque(dataset)
    slices = {name: read_grey(Path(case.lq)) for name, case in cases.items()}
    sizes = {name: (pixels.shape[0], pixels.shape[1]) for name, pixels in slices.items()}
    quota = output_quota(sizes.values())
    with _staged(slices, cases, dataset.window_hu, weights) as (inputs, model):
        plan = plan_container(
            facts,
            limits=granted.limits,
            quota=quota,
            input_folder=str(inputs),
            model_folder=None if model is None else str(model),
            seed=seed,
            gpu=gpu,
            runtime=engine.runtime,
        )
        with engine.start(plan) as container:
            for written in container.wait(deadline_s=granted.limits.wall_s):
                if progress is not None:
                    progress(min(written, len(sizes)), len(sizes))
            ended = container.exit()
            try:
                _raise_for(ended, device=device, limits=granted.limits, quote=publish_logs)
                with contextlib.closing(container.output()) as tar:
                    pixels = read_outputs(tar, sizes=sizes, quota=quota)
            except Exception:
                write_text(cache_root() / "logs" / f"{submission.slug}.log", sanitise(ended.log))
                raise
    if progress is not None:
        progress(len(sizes), len(sizes))
    outputs = {case.name: pixels[name] for name, case in cases.items()}
    return _keep(
        folder,
        outputs,
        ended,
        image=image,
        device=device,
        seed=seed,
        granted=granted,
        engine=engine.description,
        build_s=build_s,
        log=sanitise(ended.log),
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


# -------------------------------------------------------------------------------- what the container sees
def installation_secret() -> bytes:
    """32 random bytes of this installation: case names are keyed by them, so that no look-up table fits two of them."""
    path = cache_root() / "secret"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".secret.{secrets.token_hex(4)}.part")
    try:
        if not path.exists():
            part.touch(mode=0o600, exist_ok=False)
            part.write_bytes(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):  # a sibling was first: its secret stands
                os.link(part, path)
        return path.read_bytes()
    finally:
        part.unlink(missing_ok=True)


def _opaque(dataset: Dataset) -> dict[str, Case]:
    """The cases by the names that a container sees, in the order of these: names and order say nothing."""
    secret = installation_secret()
    names = {
        hmac.digest(secret, f"{dataset.digest}\0{case.name}".encode(), "sha256").hex()[:16]: case
        for case in dataset.cases
    }
    return dict(sorted(names.items()))


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """A temporary folder that other users cannot enter; what killed processes left there (patient data?) goes."""
    root = cache_root() / "staging"
    root.mkdir(parents=True, exist_ok=True)
    for old in root.iterdir():
        # an empty one may be a sibling's that is about to be locked
        with contextlib.suppress(OSError), _locked(old):
            if any(old.iterdir()):
                shutil.rmtree(old)
    with tempfile.TemporaryDirectory(dir=root) as name, _locked(Path(name)):
        yield Path(name)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock that the kernel frees when this process dies; OSError if another process holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _staged(
    slices: Mapping[str, NDArray[np.uint8]],
    cases: Mapping[str, Case],
    window_hu: tuple[float, float] | None,
    weights: list[tuple[str, Path]],
) -> Iterator[tuple[Path, Path | None]]:
    """A folder with what the container may read: /input and, if weights are declared, /opt/ml/model.

    The slices are written anew from their pixels, so that no text or time of the source files comes along.
    """
    with _private_folder() as private:
        inputs = private / "input"
        inputs.mkdir()
        for name, pixels in slices.items():
            # the level matters: noise hardly compresses, and at the usual one this takes longer than a quick denoiser
            Image.fromarray(pixels).save(inputs / f"{name}.png", compress_level=1)
        listed = [
            {
                "name": name,
                "file": f"{name}.png",
                "height": slices[name].shape[0],
                "width": slices[name].shape[1],
                "pixel_mm": case.pixel_mm,
            }
            for name, case in cases.items()
        ]
        write_json(inputs / "manifest.json", {"cases": listed, "window_hu": window_hu})
        model = None
        if weights:
            model = private / "model"
            model.mkdir()
            for name, path in weights:
                shutil.copyfile(path, model / name)
        for path in private.rglob("*"):  # for the uid that the sandbox forces, whatever our umask is
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield inputs, model


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
        raise ContainerError(f"the container ended with exit status {ended.code}{said}", fix=f"correct it; {see}")


# -------------------------------------------------------------------------------- the cache
def digest_outputs(outputs: Mapping[str, NDArray[np.uint8]]) -> str:
    """SHA-256 (hex) of names and pixels of outputs, in the order of names."""
    parts: list[bytes] = []
    for name in sorted(outputs):
        parts += [name.encode(), repr(outputs[name].shape).encode(), outputs[name].tobytes()]
    return digest_bytes(*parts)


def _kept(folder: Path, dataset: Dataset) -> Run | None:
    """The cached run, or None where there is none or it is damaged; a damaged one is removed."""
    if not folder.exists():
        return None
    paths = {case.name: str(folder / "outputs" / f"{case.name}.png") for case in dataset.cases}
    try:
        run = read_json(folder / "run.json", Run)
        if digest_outputs({name: read_grey(Path(path)) for name, path in paths.items()}) != run.outputs_digest:
            raise UsageError(f"{folder}: the outputs' digest differs")
    except UsageError:
        shutil.rmtree(folder)
        return None
    return msgspec.structs.replace(run, outputs=paths, reused=True)


def cached_outputs(dataset: Dataset, digest: str) -> dict[str, Path] | None:
    """Outputs of that digest (`digest_outputs`) for a data set among the cached runs: case name -> PNG, or None."""
    for folder in sorted((cache_root() / "runs").glob("[!.]*")):
        # by what it says of itself first: `_kept` reads every image, and removes what is not whole for this data set
        noted = folder / "run.json"
        if noted.is_file() and read_json(noted, dict[str, Any]).get("outputs_digest") == digest:
            run = _kept(folder, dataset)
            if run is not None:
                return {name: Path(path) for name, path in run.outputs.items()}
    return None


def _keep(
    folder: Path, outputs: Mapping[str, NDArray[np.uint8]], ended: Exit, *, granted: Granted, **facts: Any
) -> Run:
    """Write a finished run to the cache, in place of an older one."""
    run = Run(
        **facts,
        outputs={name: str(folder / "outputs" / f"{name}.png") for name in outputs},
        outputs_digest=digest_outputs(outputs),
        limits=granted.limits,
        lowered=granted.lowered,
        run_s=ended.seconds,
        seconds_per_slice=ended.seconds / len(outputs),
        peak_memory_bytes=ended.peak_memory_bytes,
        peak_gpu_memory_bytes=ended.peak_gpu_memory_bytes,
    )
    with atomic_folder(folder) as part:
        (part / "outputs").mkdir()
        for name, pixels in outputs.items():
            write_grey(part / "outputs" / f"{name}.png", pixels)
        write_json(part / "run.json", run)
        shutil.rmtree(folder, ignore_errors=True)
    return run


# -------------------------------------------------------------------------------- declared weights
def _weights_name(weights: Weights, submission: Submission) -> str:
    name = urllib.parse.unquote(urllib.parse.urlsplit(weights.url).path).rsplit("/", 1)[-1]
    others = [one for one in submission.manifest.weights if one.url.endswith(f"/{name}")]
    if not name or name.startswith(".") or len(others) > 1:
        raise UsageError(f"weights: the URL {weights.url!r} must end in a file name of its own")
    return name


def fetch_weights(weights: Weights) -> Path:
    """The cached file of declared weights, downloaded once (https, public addresses, capped, digest checked)."""
    path = cache_root() / "weights" / weights.sha256
    if path.exists():
        return path
    try:
        download(weights.url, path, sha256=weights.sha256, max_bytes=MAX_WEIGHTS_BYTES, public_only=True)
    except NotTheFile as error:
        raise BuildError(str(error), fix="correct weights in submission.yaml") from error
    return path
