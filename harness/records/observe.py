"""Observe: the circumstances of a run: machine, versions, date."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from harness import __version__
from harness.base.process import source_commit
from harness.base.processor import processor
from harness.records.schema import Observed
from harness.sandbox import Limits

DATE = "%Y-%m-%dT%H:%M:%SZ"

VALUES = (
    "numpy",
    "scipy",
    "numba",
    "opencv-python-headless",
    "scikit-image",
    "pillow",
    "torch",
    "torchmetrics",
    "open_clip_torch",
)
"""The packages whose arithmetic is part of a value."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that set the threads of linear algebra; without them it takes every core."""


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
    return datetime.now(UTC).strftime(DATE)


def latest() -> str:
    """The latest date that another machine's clock may show."""
    return (datetime.now(UTC) + timedelta(days=1)).strftime(DATE)


def scored_here(observed: Observed) -> Observed:
    """The circumstances of a run whose outputs this machine scored: named where another one ran the container."""
    here = _machine()
    return msgspec.structs.replace(observed, scored_on=None if here == observed.machine else here)


def _machine() -> dict[str, str]:
    """What the last digits of values may follow from: processor, threads, versions."""
    from importlib.metadata import version

    cpu = processor()
    return {
        "cpu": cpu.model,
        "cpu_id": cpu.id,
        "level": cpu.level,
        "cores": str(os.cpu_count()),
        "threads": _threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "memory_gb": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f}",
        "python": platform.python_version(),
        **{package: version(package) for package in VALUES},
    }


def _threads() -> str:
    import numba
    import torch

    numbers = [f"torch {torch.get_num_threads()}", f"numba {numba.config.NUMBA_NUM_THREADS}"]
    return ", ".join(numbers + [f"{name} {os.environ[name]}" for name in THREADS if os.environ.get(name)])
