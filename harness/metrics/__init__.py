"""Metrics, one file each; the name in a protocol is the file's name.

Every module has `KIND` ("distribution" or "image") and `HIGHER_IS_BETTER`; by kind it has

    distance(x: (n, d) float, y: (m, d) float) -> float                                    # distribution
    value(image, reference: (h, w) uint8, mask: (h, w) bool, *, data_range) -> float      # image
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from harness.errors import UsageError


def names() -> list[str]:
    """The metrics there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> ModuleType:
    """Import the metric of that name; UsageError lists the names there are."""
    if name not in names():
        raise UsageError(f"no metric {name!r} (there are: {', '.join(names())})", fix="correct the protocol's metrics")
    return importlib.import_module(f"{__name__}.{name}")
