"""The error tree: what went wrong, at which stage, whose fault it is, what to do, and the exit status for it.

The exit statuses are a contract (docs/contract.md, "Exit status"); CI scripts of other people branch on them.
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
    """Base of what a submission is to blame for; these leave a failed record."""

    party = "submission"


class BuildError(SubmissionError):
    """The image does not build or load."""

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
    """The kernel killed a process of the container for memory."""

    exit_code = 22
    code = "out-of-memory"


class OutputQuotaError(ContainerError):
    """The container wrote more than its output may hold."""

    exit_code = 23
    code = "output-quota"


class GpuRequiredError(HarnessError):
    """The submission needs a GPU and this machine has none; nobody's fault, so no record."""

    exit_code = 24
    code = "gpu-required"
    stage = "run"


class OutputsError(SubmissionError):
    """An output is missing, superfluous or not a valid slice."""

    exit_code = 30
    code = "outputs"
    stage = "outputs"


class ScoringError(HarnessError):
    """Scores could not be computed from valid outputs."""

    exit_code = 40
    code = "scoring"
    stage = "score"


class InfrastructureError(HarnessError):
    """Engine, disk or network: retry once it is mended; never the submission's fault."""
