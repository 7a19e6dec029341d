"""The command `harness`: in the test's own process, or in one of its own, as a user starts it."""

from __future__ import annotations

import importlib.util
import io
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
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
    return _here(main, ["harness", *arguments], cwd=cwd, **environment)


def python(*arguments: str, cwd: Path | str = ROOT, **environment: str) -> Done:
    """`python3 -m MODULE ARGUMENTS` or `python3 FILE ARGUMENTS` in this process, for the same reason."""
    file, *rest = arguments
    if file == "-m":
        found = importlib.util.find_spec(rest.pop(0))
        assert found is not None
        file = str(found.origin)
    return _here(lambda: runpy.run_path(file, run_name="__main__"), [file, *rest], cwd=cwd, **environment)


def _here(call: Callable[[], object], command: list[str], *, cwd: Path | str, **environment: str) -> Done:
    out, err, status = io.StringIO(), io.StringIO(), None
    before, on_sigterm = dict(os.environ), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", command)
        os.environ.update({**ENVIRONMENT, **environment})
        try:
            call()
        except SystemExit as end:
            status = end.code
        finally:
            signal.signal(signal.SIGTERM, on_sigterm)
            os.environ.clear()  # --engine sets a variable for its process
            os.environ.update(before)
    assert status is None or isinstance(status, int), status
    return Done(command, status or 0, out.getvalue(), err.getvalue())


def harness_process(*arguments: str, cwd: Path | str = ROOT, **environment: str) -> Done:
    """`harness ARGUMENTS` in a process of its own, as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd,
        env={**os.environ, **ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
