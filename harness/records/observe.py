"""Observe: the circumstances of a run: machine, versions, date."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import __version__
from harness.base.process import source_commit
from harness.records.schema import Observed
from harness.sandbox import Limits


def observe(
    *,
    engine: str,
    image: str | None,
    limits: Limits,
    lowered: tuple[str, ...],
    **more: Any,
) -> Observed:
    """The circumstances of a run that ended just now on this machine; `more` sets further fields of `Observed`."""
    commit, dirty = source_commit()
    return Observed(
        date=now(),
        harness=__version__,
        commit=commit,
        dirty=dirty,
        machine=_machine(),
        engine=engine,
        image=image,
        limits=limits,
        lowered=lowered,
        **more,
    )


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _machine() -> dict[str, str]:
    from importlib.metadata import version

    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    facts = {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    facts["memory_gb"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f}"
    for package in ("numpy", "scipy", "opencv-python-headless", "scikit-image", "torch", "torchmetrics"):
        facts[package] = version(package)
    return facts


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
