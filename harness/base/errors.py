"""The error tree: what went wrong, at which stage, who can fix it and how, and the exit status.

The exit statuses are a contract (docs/contract.md, "Exit status"): other people's CI scripts branch on them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Party = Literal["usage", "submission", "infrastructure"]


class HarnessError(Exception):
    """Base of every error that the harness raises on purpose.

    `message` names the file or thing, what was expected and what was found; `fix` says what to do next.
    """

    exit_code: ClassVar[int] = 50
    code: ClassVar[str] = "infrastructure"
    stage: ClassVar[str] = "harness"
    party: ClassVar[Party] = "infrastructure"

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class UsageError(HarnessError):
    """A wrong argument, protocol, manifest or data set."""

    exit_code = 2
    code = "usage"
    stage = "setup"
    party = "usage"


class SubmissionError(HarnessError):
    """Base of errors that the submission causes; these leave a failed record."""

    party = "submission"


def kinds_of(error: type[HarnessError]) -> list[type[HarnessError]]:
    """The kinds of an error that are raised."""
    return [kind for below in error.__subclasses__() for kind in (below, *kinds_of(below))]


class BuildError(SubmissionError):
    """The image cannot be built or loaded."""

    exit_code = 10
    code = "build"
    stage = "build"


class ImagePolicyError(SubmissionError):
    """The image is not allowed to run (platform, user, size, ...)."""

    exit_code = 11
    code = "image-policy"
    stage = "build"


class ContainerError(SubmissionError):
    """The container ended with a non-zero status."""

    exit_code = 20
    code = "container"
    stage = "run"


class ContainerTimeout(ContainerError):
    """The container was still running at its deadline."""

    exit_code = 21
    code = "timeout"


class ContainerOutOfMemory(ContainerError):
    """The container ran out of memory, and the kernel killed one of its processes."""

    exit_code = 22
    code = "out-of-memory"


class OutputQuotaError(ContainerError):
    """The container wrote more than /output may hold."""

    exit_code = 23
    code = "output-quota"


class GpuRequiredError(HarnessError):
    """The submission needs a GPU and this machine has none. Nobody is to blame, so there is no record."""

    exit_code = 24
    code = "gpu-required"
    stage = "run"


class OutputsError(SubmissionError):
    """An output is missing, unexpected or not a valid slice."""

    exit_code = 30
    code = "outputs"
    stage = "outputs"


class ScoringError(HarnessError):
    """Scores cannot be computed from valid outputs."""

    exit_code = 40
    code = "scoring"
    stage = "score"


class InfrastructureError(HarnessError):
    """The engine, the disk or the network failed: fix it and retry. Never the submission's fault."""
