"""GPUs as this machine's driver sees them, by nvidia-smi: which there are, and how much memory a run takes of one."""

from __future__ import annotations

import contextlib
import shutil

from harness.base import process
from harness.base.errors import GpuRequiredError, InfrastructureError
from harness.base.text import sanitise

QUERY_IDS = ("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader")
MIB = 2**20


def gpus() -> tuple[str, ...]:
    """The ids (UUIDs) of this machine's GPUs, in the driver's order; none where there is no driver."""
    if shutil.which(QUERY_IDS[0]) is None:
        return ()
    listing = process.run(QUERY_IDS)
    return tuple(listing.stdout.split()) if listing.returncode == 0 else ()


def check_seen(gpu: str, *, listing: str, engine: str) -> None:
    """Refuse to run unless `listing`, what `QUERY_IDS` prints inside a container, is exactly the asked GPU.

    An engine may ignore a request for a device without a word (Podman's Docker API does), or hand over all of them.
    """
    seen = listing.split()
    if seen != [gpu]:
        raise GpuRequiredError(
            f"{engine} was asked for the GPU {gpu}; a container of the harness's own sees "
            f"{sanitise(listing).strip()[-200:] or 'none'}",
            fix="install nvidia-container-toolkit and use Docker (HARNESS_ENGINE=docker), or say gpu: none",
        )


class GpuMemory:
    """The peak of a GPU's used memory while a run has it, in bytes above what was in use when this was made.

    Looked at from outside, about once a second: a shorter peak is missed, and what other programs take on the same
    device meanwhile is counted too.
    """

    def __init__(self, gpu: str | None) -> None:
        self.gpu = gpu
        self.before = self._used()
        self.peak: int | None = None

    def sample(self) -> None:
        """Look now."""
        used = self._used()
        if used is not None and self.before is not None:
            self.peak = max(self.peak or 0, used - self.before)

    def _used(self) -> int | None:
        if self.gpu is None:
            return None
        query = ["nvidia-smi", f"--id={self.gpu}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        with contextlib.suppress(InfrastructureError, ValueError):  # a measurement that fails must not fail the run
            return int(process.run(query, timeout_s=10).stdout) * MIB
        return None
