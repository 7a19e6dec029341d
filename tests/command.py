"""The command `harness`: in the test's own process, or in one of its own, as a user starts it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from harness.cli import main

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
Done = subprocess.CompletedProcess[str]


def harness(*arguments: str, cwd: Path | str = ROOT, **environment: str) -> Done:
    """`harness ARGUMENTS` in this process, which has imported already what a new one spends a second or more on.

    Whatever `harness` itself does not handle is raised here. `harness_process` is for what only a process of its own
    shows: signals, locks, what is imported, what the entry point does.
    """
    out, err = io.StringIO(), io.StringIO()
    before, on_sigterm = dict(os.environ), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["harness", *arguments])
        os.environ.update({**ENVIRONMENT, **environment})
        try:
            main()
        except SystemExit as end:
            status = end.code
        finally:
            signal.signal(signal.SIGTERM, on_sigterm)
            os.environ.clear()  # --engine sets a variable for its process
            os.environ.update(before)
    assert isinstance(status, int)
    return Done(["harness", *arguments], status, out.getvalue(), err.getvalue())


def harness_process(*arguments: str, cwd: Path | str = ROOT, **environment: str) -> Done:
    """`harness ARGUMENTS` in a process of its own, as a user starts it."""
    return run([sys.executable, "-m", "harness", *arguments], cwd=cwd, **ENVIRONMENT, **environment)


def run(command: Sequence[str], *, cwd: Path | str, **environment: str) -> Done:
    """A command to its end, however it ends, with its output."""
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
