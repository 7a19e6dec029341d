"""Metrics, one file each; the name in a protocol is the file's name.

A file gives its metric as `METRIC`: an `ImageMetric` (the value of one slice in one region), a `SpectralMetric` (an
image metric that summarises a noise power spectrum) or a `DistributionMetric` (a distance between two sets of
features). It is imported only when named. Files that begin with an underscore are not metrics.
"""

from __future__ import annotations

import importlib
import pkgutil

from harness.base.errors import UsageError
from harness.metrics._comparisons import WINDOW_FIX, Comparison, Measured, comparisons
from harness.metrics._metric import DistributionMetric, ImageMetric, SpectralMetric, Spectrum, Unit

__all__ = [
    "DATA_RANGE",
    "WINDOW_FIX",
    "Comparison",
    "DistributionMetric",
    "ImageMetric",
    "Measured",
    "SpectralMetric",
    "Spectrum",
    "Unit",
    "comparisons",
    "load",
    "names",
]

DATA_RANGE = 255.0
"""Range of the grey levels of an 8-bit slice."""


def names() -> list[str]:
    """The metrics there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> ImageMetric | DistributionMetric:
    """Import the metric of that name; UsageError lists the names there are."""
    if name not in names():
        raise UsageError(f"no metric {name!r} (there are: {', '.join(names())})", fix="correct the protocol's metrics")
    metric: ImageMetric | DistributionMetric = importlib.import_module(f"{__name__}.{name}").METRIC
    return metric
