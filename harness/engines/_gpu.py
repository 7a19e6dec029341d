"""GPUs as nvidia-smi reports them: which ones this machine has, and how much memory a run takes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping

from harness.base.errors import GpuRequiredError, InfrastructureError
from harness.base.process import run
from harness.base.text import sanitise

QUERY_IDS = ("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader")
MIB = 2**20


def gpus() -> tuple[str, ...]:
    """The ids (UUIDs) of this machine's GPUs, in the driver's order; in a job of a batch system those that it was given
    (`given`). Empty without a driver."""
    if shutil.which(QUERY_IDS[0]) is None:
        return ()
    listing = run(QUERY_IDS)
    return given(tuple(listing.stdout.split()), os.environ) if listing.returncode == 0 else ()


def given(ids: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Those of the GPUs `ids`, all that the driver shows, that this process may use: CUDA_VISIBLE_DEVICES names them,
    else SLURM_JOB_GPUS, by number or by the beginning of an id. All of them where neither is set.

    As for CUDA, nothing counts that comes after a name of no GPU. Slurm's numbers are those of the machine: where it
    hides the other GPUs from the job, those that are left are the job's.
    """
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        named = environment.get("SLURM_JOB_GPUS")
        if named is None or named.count(",") + 1 >= len(ids):
            return ids
    chosen: list[str] = []
    for name in named.replace(" ", "").split(","):
        by_number = ids[int(name)] if name.isdecimal() and int(name) < len(ids) else None
        found = by_number or next((one for one in ids if name and one.startswith(name)), None)
        if found is None:
            break
        chosen.append(found)
    return tuple(dict.fromkeys(chosen))


def check_seen(gpu: str, *, listing: str, engine: str) -> None:
    """GpuRequiredError unless `listing`, what `QUERY_IDS` prints inside a container, is exactly the requested GPU.

    An engine may silently ignore a request for a device (Podman's Docker API does), or pass all of them on.
    """
    seen = listing.split()
    if seen != [gpu]:
        raise GpuRequiredError(
            f"{engine} was asked for the GPU {gpu}, but a test container sees "
            f"{sanitise(listing).strip()[-200:] or 'none'}",
            fix="install nvidia-container-toolkit and use Docker (HARNESS_ENGINE=docker), or state gpu: none",
        )


class GpuMemory:
    """The peak memory use of a GPU during a run, in bytes beyond what was in use when this object was created.

    It is sampled from outside, about once a second: shorter peaks are missed, and what other programs take on the same
    device meanwhile counts too.
    """

    def __init__(self, gpu: str | None) -> None:
        self.gpu = gpu
        self.before = self._used()
        self.peak: int | None = None

    def sample(self) -> None:
        """Take one sample."""
        used = self._used()
        if used is not None and self.before is not None:
            self.peak = max(self.peak or 0, used - self.before)

    def _used(self) -> int | None:
        if self.gpu is None:
            return None
        query = ["nvidia-smi", f"--id={self.gpu}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        with contextlib.suppress(InfrastructureError, ValueError):  # a failed measurement must not fail the run
            return int(run(query, timeout_s=10).stdout) * MIB
        return None
