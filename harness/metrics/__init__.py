"""Metrics, one file each; the name in a protocol is the file's name.

A file gives its metric as `METRIC`: an `ImageMetric` (the value of one slice in one region), a `SpectralMetric` (an
image metric that summarises a noise power spectrum) or a `DistributionMetric` (a distance between two sets of
features). A file of several metrics of one kind gives them as `METRICS`, by name, and a protocol names them
`file.name`. A file is imported only when named. Files that begin with an underscore are not metrics.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

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


Metric = ImageMetric | DistributionMetric


def names() -> list[str]:
    """The metrics there are."""
    return [name for file in _files() for name in _metrics_of(file)]


def load(name: str) -> Metric:
    """Import the metric of that name; UsageError lists the names there are."""
    file = name.partition(".")[0]
    metric = _metrics_of(file).get(name) if file in _files() else None
    if metric is None:
        raise UsageError(f"no metric {name!r} (there are: {', '.join(names())})", fix="correct the protocol's metrics")
    return metric


def _files() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def _metrics_of(file: str) -> Mapping[str, Metric]:
    """The metrics of a file, by the names that protocols give them."""
    module = importlib.import_module(f"{__name__}.{file}")
    if hasattr(module, "METRICS"):
        return {f"{file}.{name}": metric for name, metric in module.METRICS.items()}
    return {file: module.METRIC}
