"""Weak denoisers, one file each; the name in a protocol is the file's name (`-` for `_`).

A file gives a function `denoise`, a `Denoise` that is pure and repeatable. It is imported only when named. Files that
begin with an underscore are not weak denoisers.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from harness.base.errors import UsageError
from harness.imaging.hounsfield import Image

Denoise = Callable[[Image], Image]
"""A slice, uint8 or uint16 (height, width), to the same."""


def names() -> tuple[str, ...]:
    """Names of the weak denoisers, sorted."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name.replace("_", "-") for name in modules if not name.startswith("_")))


def load(name: str) -> Denoise:
    """Import the weak denoiser of that name; UsageError lists the names there are."""
    if name not in names():
        raise UsageError(
            f"weak denoiser {name!r}: expected one of {', '.join(names())}",
            fix="correct purify.weak_denoiser in the protocol, or add harness/imaging/denoise/<name>.py",
        )
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    denoise: Denoise = module.denoise
    return denoise
