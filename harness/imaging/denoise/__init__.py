"""Weak denoisers: one file each, the name in a protocol is the file's name (`-` for `_`).

A file offers `VERSION` (raised whenever its output changes, so that cached labels are made anew) and
`denoise(image)`, uint8 (height, width) to the same. It is imported only when named.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError


class Denoiser(NamedTuple):
    """A weak denoiser: call it with uint8 (height, width); `name` and `version` identify its output."""

    name: str
    version: int
    denoise: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return self.denoise(image)


def names() -> tuple[str, ...]:
    """Names of the weak denoisers that there are, sorted."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def load(name: str) -> Denoiser:
    """Import the weak denoiser `name`; UsageError lists what there is if it is unknown."""
    if name not in names():
        raise UsageError(
            f"weak denoiser {name!r}: expected one of {', '.join(names())}",
            fix="correct purify.weak_denoiser in the protocol, or add harness/imaging/denoise/<name>.py",
        )
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    return Denoiser(name, module.VERSION, module.denoise)
