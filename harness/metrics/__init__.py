"""Metrics, one file each; the name in a protocol is the file's name.

Every module has `KIND` ("distribution" or "image"); by kind it has

    distance(x: (n, d) float, y: (m, d) float) -> float                                                   # distribution
    value(image, reference: (h, w) uint8, mask: (h, w) bool, *, data_range, pixel_mm) -> float | None     # image

`IMPLEMENTATION` is one clause that names the recipe and whose code computes it: values of one name differ between
packages. `HIGHER_IS_BETTER` is a bool, or None where a value is descriptive: the module says which value is ideal, and
neither more nor less of it is better. Image metrics also have

* `UNIT`: "grey" (times HU per grey level where the window is known), "1/mm" (per pixel where `pixel_mm` is None,
  the width of a pixel in mm being unknown) or "" for what has no unit or, as PSNR, its own;
* where the value sums up a radial spectrum, `spectrum(image, reference, mask, *, pixel_mm)` (frequencies and power, or
  None) and `of_spectrum`, which makes the value of it: records then hold the spectrum too;
* `REGIONS`: the regions of `harness.imaging.regions` that the metric means something in, None for all of them;
* `USES_TORCH = True` where torch computes the value: threads do it, worker processes are spared its import.

`value` is None where there is nothing to measure in this slice and region (no vessel, no nodule, no residual noise):
such a slice is left out of a mean, as one without the region is. ScoringError is for arguments that no slice has:
different sizes, a mask without a pixel.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from harness.base.errors import UsageError


def names() -> list[str]:
    """The metrics there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> ModuleType:
    """Import the metric of that name; UsageError lists the names there are."""
    if name not in names():
        raise UsageError(f"no metric {name!r} (there are: {', '.join(names())})", fix="correct the protocol's metrics")
    return importlib.import_module(f"{__name__}.{name}")
