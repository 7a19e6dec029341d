"""Apptainer, for clusters without root: archives only, and fewer bounds (`NOT_HELD`, docs/engines.md).

It was written from the manual of Apptainer 1.3 and never run with it: the tests check its command lines only.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Self

from harness.base.errors import BuildError, InfrastructureError, UsageError
from harness.base.files import atomic_file, cache_root
from harness.base.process import run, started
from harness.base.structs import read_json, write_json
from harness.engines import Exit
from harness.engines._archives import checked_archive
from harness.engines._gpu import QUERY_IDS, GpuMemory, check_seen, gpus
from harness.sandbox import (
    INPUT,
    MODEL,
    NOT_ISOLATED,
    OUTPUT,
    TMP,
    TRUSTED,
    BuildPolicy,
    ContainerPlan,
    ImageFacts,
    Machine,
    chosen_runtime,
)

# the bounds of ContainerPlan that it cannot enforce, as part of `description` in every record
NOT_HELD = "not held: own user, VOLUMEs read-only, /output and /tmp on disk and watched, shared memory unbounded"
KILLED, OWN_FAILURE = 137, 255
LOOKS_EVERY_S = 0.5
BUILD_ELSEWHERE = (
    "build it with Docker or Podman, run docker save IMAGE -o image.tar, and state image: {archive: image.tar}"
)


def connect() -> ApptainerEngine:
    """The apptainer of this machine, called by an ordinary user."""
    version = run(["apptainer", "--version"])
    if version.returncode != 0:
        raise InfrastructureError(f"apptainer --version: {version.stderr.strip()}", fix="repair its installation")
    if os.geteuid() == 0:
        raise InfrastructureError(
            "root runs the harness, so apptainer would run submissions as root",
            fix="run the harness as an ordinary user, or use Docker",
        )
    if (runtime := chosen_runtime(os.environ)) not in (None, TRUSTED):
        raise InfrastructureError(
            f"HARNESS_RUNTIME: apptainer cannot use {runtime!r}",
            fix=f"unset it, use Docker, or set it to {TRUSTED} for submissions that you trust (docs/campaigns.md)",
        )
    return ApptainerEngine(version.stdout.split()[-1], runtime=runtime)


def run_command(
    plan: ContainerPlan, *, image: Path, command: tuple[str, ...], output: Path, scratch: Path
) -> list[str]:
    """The complete command line of a run. `image` is a .sif file, `output` and `scratch` are empty folders here.

    A plan for the runtime `TRUSTED` asks for nothing that takes user namespaces or control groups.
    """
    limits = (f"--nofile={plan.open_files}", "--core=0", f"--fsize={plan.file_bytes}", f"--cpu={plan.cpu_s}")
    binds = [f"{plan.input}:{INPUT}:ro", f"{output}:{OUTPUT}:rw", f"{scratch}:{TMP}:rw"]
    if plan.model is not None:
        binds.append(f"{plan.model}:{MODEL}:ro")
    return [
        *("prlimit", *limits),
        *("apptainer", "--silent", "exec"),
        *("--containall", "--cleanenv", "--no-home", "--no-umask", "--no-eval"),
        # what the administrator mounts into every container may contain the labels
        *("--no-mount", "bind-paths,hostfs"),
        *("--no-privs", "--drop-caps", "all"),
        *(() if plan.runtime == TRUSTED else _isolation(plan)),
        *(word for bind in binds for word in ("--bind", bind)),
        *(word for name, value in sorted(plan.environment.items()) for word in ("--env", f"{name}={value}")),
        *_gpu_options(plan.gpu),
        *("--pwd", TMP),
        str(image),
        *command,
    ]


def _isolation(plan: ContainerPlan) -> tuple[str, ...]:
    return (
        *("--net", "--network", "none"),
        *("--memory", str(plan.memory_bytes), "--memory-swap", str(plan.memory_bytes)),
        *("--cpus", f"{plan.cpus:g}", "--pids-limit", str(plan.pids)),
    )


def _gpu_options(gpu: str | None) -> tuple[str, ...]:
    return () if gpu is None else ("--nv", "--env", f"CUDA_VISIBLE_DEVICES={gpu}")


class ApptainerEngine:
    """`harness.engines.Engine` for Apptainer with user namespaces and delegated cgroups v2.

    Images are .sif files in the cache folder, named by the digest of their configuration.
    """

    name = "apptainer"
    builds = False

    def __init__(self, version: str, *, runtime: str | None = None) -> None:
        self.runtime = runtime
        pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        self.machine = Machine(
            cpus=len(os.sched_getaffinity(0)),  # what the batch system granted
            memory_bytes=pages,
            os="linux",
            architecture=architecture,
            gpus=gpus(),
        )
        groups = NOT_ISOLATED if runtime == TRUSTED else "cgroup v2"
        self.description = f"apptainer {version}, {groups}, {NOT_HELD}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def sweep(self) -> list[str]:
        """Nothing is left behind: a container is a child process in a folder that the harness removes."""
        return []

    # ---------------------------------------------------------------------------- images
    def _sif(self, image: str) -> Path:
        return cache_root() / "apptainer" / f"{image.removeprefix('sha256:')}.sif"

    def find_image(self, name: str) -> str | None:
        return name if re.fullmatch(r"sha256:[0-9a-f]{64}", name) and self._sif(name).exists() else None

    def build(self, folder: Path, **_: object) -> str:
        raise UsageError(f"{folder}: apptainer cannot build a Dockerfile", fix=BUILD_ELSEWHERE)

    def resolve(self, reference: str, **_: object) -> str:
        raise UsageError(f"{reference}: the harness does not pull images with apptainer", fix=BUILD_ELSEWHERE)

    def load(self, archive: Path, **_: object) -> str:
        with checked_archive(archive, machine=self.machine) as (facts, data):
            sif = self._sif(facts.id)
            if not sif.exists():
                with tempfile.TemporaryDirectory(dir=cache_root()) as folder:
                    own = Path(folder) / "image.tar"
                    with own.open("wb") as file:
                        file.writelines(data)
                    with atomic_file(sif) as part:
                        command = ["apptainer", "--silent", "build", "--force", str(part), f"docker-archive:{own}"]
                        done = run(command, timeout_s=BuildPolicy().wall_s)
                        if done.returncode != 0:
                            raise BuildError(
                                f"{archive}: apptainer build failed: {done.stderr.strip()[-500:]}", fix=BUILD_ELSEWHERE
                            )
            write_json(sif.with_suffix(".json"), facts)
        return facts.id

    def untag(self, name: str) -> None:
        """Nothing to remove: images have no tags, and nothing that was refused is kept."""

    def inspect(self, image: str) -> ImageFacts:
        return read_json(self._sif(image).with_suffix(".json"), ImageFacts)

    # ---------------------------------------------------------------------------- runs
    @contextlib.contextmanager
    def start(self, plan: ContainerPlan) -> Iterator[ApptainerContainer]:
        sif = self._sif(plan.image)
        if plan.gpu is not None:
            look = ["apptainer", "--silent", "exec", "--containall", *_gpu_options(plan.gpu), str(sif), *QUERY_IDS]
            check_seen(plan.gpu, listing=run(look).stdout, engine=self.name)
        with (
            tempfile.TemporaryDirectory(dir=Path(plan.input).parent) as folder,
            (Path(folder) / "log").open("w+b") as log,
            (Path(folder) / "err").open("w+b") as err,
        ):
            output, scratch = Path(folder) / "output", Path(folder) / "scratch"
            output.mkdir()
            scratch.mkdir()
            command = run_command(
                plan, image=sif, command=self.inspect(plan.image).command, output=output, scratch=scratch
            )
            gpu_memory = GpuMemory(plan.gpu)
            with started(command, stdout=log, stderr=err) as child:
                yield ApptainerContainer(child, plan=plan, folder=Path(folder), gpu_memory=gpu_memory)


class ApptainerContainer:
    """`harness.engines.Container`: a child process and the folders that are mounted into it."""

    def __init__(
        self, child: subprocess.Popen[bytes], *, plan: ContainerPlan, folder: Path, gpu_memory: GpuMemory
    ) -> None:
        self.child = child
        self.plan = plan
        self.folder = folder
        self.gpu_memory = gpu_memory
        self.began = time.monotonic()
        self.seconds = 0.0
        self.timed_out = self.full = self.killed = False

    def wait(self, *, deadline_s: float) -> Iterator[int]:
        while self.child.poll() is None:
            self.seconds = time.monotonic() - self.began
            written, files = _contents(self.folder / "output")
            self.full = written > self.plan.quota.bytes or files > self.plan.quota.inodes
            self.timed_out = self.seconds > deadline_s
            log = sum((self.folder / name).stat().st_size for name in ("log", "err"))
            scratch = _contents(self.folder / "scratch")[0]
            if self.full or self.timed_out or log > self.plan.log_bytes or scratch > self.plan.memory_bytes:
                self.killed = True
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()
            self.gpu_memory.sample()
            yield files
            time.sleep(LOOKS_EVERY_S)

    def exit(self) -> Exit:
        code = self.child.returncode
        code = 128 - code if code < 0 else code
        err = self._end("err")
        if code == OWN_FAILURE and "FATAL:" in err:
            raise InfrastructureError(
                f"apptainer could not start the container: {err.strip()[-500:]}",
                fix="have cgroups v2 delegated to you and user namespaces allowed (docs/engines.md); for submissions "
                f"that you trust HARNESS_RUNTIME={TRUSTED} does without (docs/campaigns.md)",
            )
        written, files = _contents(self.folder / "output")
        full = self.full or written > self.plan.quota.bytes or files > self.plan.quota.inodes
        return Exit(
            code=code,
            timed_out=self.timed_out,
            out_of_memory=code == KILLED and not self.killed,  # only the kernel kills a container otherwise
            output_full=full,
            seconds=self.seconds,
            first_output_s=None,
            peak_memory_bytes=None,
            peak_gpu_memory_bytes=self.gpu_memory.peak,
            log=self._end("log") + err,
            stderr=err,
        )

    def output(self) -> Generator[bytes]:
        with tempfile.TemporaryFile(dir=self.folder) as file:
            with tarfile.open(fileobj=file, mode="w") as tar:  # links and devices are stored as such, never followed
                tar.add(self.folder / "output", ".")
            file.seek(0)
            while chunk := file.read(64 * 1024):
                yield chunk

    def _end(self, name: str) -> str:
        data = (self.folder / name).read_bytes()
        return data[-64 * 1024 :].decode("utf-8", "replace")


def _contents(folder: Path) -> tuple[int, int]:
    """(bytes, files) in a folder, by apparent size."""
    total = count = 0
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):
                total += (Path(top) / name).lstat().st_size
                count += 1
    return total, count
