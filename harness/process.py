"""The one door to child processes (git, podman, apptainer, ...)."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.errors import InfrastructureError


def run(
    command: Sequence[str], *, cwd: Path | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a command without a shell and without standard input; text in, text out, whatever its exit status.

    InfrastructureError when the program does not exist or does not end within `timeout_s` seconds.
    """
    try:
        return subprocess.run(
            list(command),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise InfrastructureError(f"{command[0]}: no such program", fix=f"install {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise InfrastructureError(f"{' '.join(command)}: no answer within {timeout_s:g} s") from None
