"""The workflows as data, and their scripts as GitHub runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
GITHUB = ROOT / ".github"
ENVIRONMENT = Path(sys.executable).parent.parent  # has bin/harness


def load(path: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text())
    return loaded


def steps_of(path: Path) -> Iterator[dict[str, Any]]:
    loaded = load(path)
    for part in loaded["jobs"].values() if "jobs" in loaded else [loaded["runs"]]:
        yield from part["steps"]


def script(workflow: str, name: str) -> str:
    (found,) = (step["run"] for step in steps_of(GITHUB / "workflows" / workflow) if step.get("name") == name)
    return str(found)


def bash(text: str, *, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """As GitHub runs a step of `shell: bash` after the action has installed the harness in `.venv`."""
    installed = cwd / ".venv"
    if not installed.exists():
        installed.symlink_to(ENVIRONMENT)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
