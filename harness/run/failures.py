"""Failures: how a container ended -> the error that says so, and what helps."""

from __future__ import annotations

import re
import signal

from harness.base.errors import (
    ContainerError,
    ContainerOutOfMemory,
    ContainerTimeout,
    GpuRequiredError,
    OutputQuotaError,
    OutputsError,
    SubmissionError,
)
from harness.base.text import sanitise
from harness.engines import Exit
from harness.sandbox import GPU_REQUIRED_EXIT, Device, Limits

SIGNALLED = 128  # an exit status above it is a signal's number, as the init process passes it on

KILLED_FOR_FILE_SIZE = SIGNALLED + signal.SIGXFSZ

ADVICE = {
    r"cannot write mode [fi]\b|cannot handle this data type": "PIL writes arrays of uint8, or of uint16 in HU "
    "(height, width): drop the axes of batch and channel (array.squeeze()), and convert: "
    "np.uint8(np.clip(array, 0, 255).round()), or np.uint16(np.clip(hu + 8192, 0, 65535).round())",
    r"tensor to numpy|call numpy\(\) on tensor|__array_interface__": "take a tensor to the CPU before it becomes an "
    "array: tensor.detach().cpu().numpy()",
    r"name resolution|getaddrinfo|network is unreachable|max retries|urlopen error": "the sandbox has no network: put "
    "what the program downloads into the image, or declare it under weights in submission.yaml",
    r"read-only file system|permission denied": "only /output and /tmp are writable, and the container does not run as "
    "root: put scratch files and caches in /tmp",
    r"no space left on device": "/tmp and /output are size-limited (tmp_gb of the protocol's limits): write less",
    r"no module named|modulenotfounderror": "install the package in the Dockerfile; the build has no network, so put "
    "its wheel in the submission's folder",
    r"cuda|nvidia": "run on the device that HARNESS_DEVICE names (cpu or cuda); gpu: in submission.yaml asks for one",
}
"""A pattern for the last line of a failed container's stderr, in lower case -> what helps."""


WITHHELD = {
    ContainerError: "the container ended with an error",
    ContainerOutOfMemory: "the container ran out of memory",
    ContainerTimeout: "the container was still running at its deadline",
    OutputQuotaError: "the container wrote more than /output may hold",
    OutputsError: "outputs are missing, not expected or wrong",
}
"""What is said of a failed run whose protocol publishes no logs."""


def withheld(error: SubmissionError) -> SubmissionError:
    """The error of a run without anything that the container chose: its words, the names and sizes of its files, its
    exit status. Each of them can carry pixels of a slice out. An error from before its start stays as it is."""
    if type(error) not in WITHHELD:  # of an image that cannot be started: no container has seen a slice
        return error
    return type(error)(
        f"{WITHHELD[type(error)]}; this protocol publishes nothing of what a container says",
        fix="what it said, and all of this message, are in the cache folder of the machine that ran it, "
        "logs/<submission>.log",
    )


def raise_for(ended: Exit, *, device: Device, limits: Limits) -> None:
    """Raise the error that the end of a container amounts to, which ends in the last line of its stderr, sanitised;
    nothing for a clean one."""
    lines = sanitise(ended.stderr).strip().splitlines()
    said = f": {lines[-1].strip()[:500]}" if lines else ""
    if ended.out_of_memory:
        raise ContainerOutOfMemory(
            f"the container ran out of memory ({limits.memory_gb:g} GB), and the kernel killed one of its processes"
            f"{said}",
            fix="hold fewer slices in memory or start fewer processes (OMP_NUM_THREADS gives the number of cores); "
            "files in /tmp and /output count as memory too",
        )
    if ended.timed_out:
        raise ContainerTimeout(
            f"the container was still running at its deadline, {limits.wall_s:g} s after its start{said}",
            fix="make it faster, or check whether it waits for something that it cannot have (network, keyboard)",
        )
    if ended.code == GPU_REQUIRED_EXIT and device == "cpu":
        raise GpuRequiredError(
            f"the container ended with exit status {GPU_REQUIRED_EXIT}, so it needs a GPU, and it was given none",
            fix="state gpu: required in submission.yaml and run it on a machine with a GPU",
        )
    if ended.output_full or ended.code == KILLED_FOR_FILE_SIZE:
        raise OutputQuotaError(
            f"the container wrote more than /output may hold{said}",
            fix="write one 8-bit PNG per case there and nothing else; scratch files belong in /tmp",
        )
    if ended.code != 0:
        number = ended.code - SIGNALLED
        by = f" (killed by {signal.Signals(number).name})" if number in set(signal.Signals) else ""
        helps = [advice for pattern, advice in ADVICE.items() if re.search(pattern, said.lower())]
        raise ContainerError(
            f"the container ended with exit status {ended.code}{by}{said}",
            fix=f"{(helps or ['correct the program'])[0]}; the end of its log is in the cache folder, "
            "logs/<submission>.log",
        )
