"""Hounsfield units: what the pixel values of a slice mean, at 8 and at 16 bits.

A window is the HU of value 0 and of the largest value of a slice's type: of grey 0 and 255 at 8 bits, of 0 and 65535
at 16. A slice of 16 bits always has the window `HU16`, so that its values are HU + 8192, one HU a step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Image = NDArray[np.unsignedinteger[Any]]
"""A slice, uint8 or uint16 (height, width)."""

Window = tuple[float, float]

OFFSET_HU = 8192
"""Added to the HU of a slice of 16 bits: with less, noise below -1024 HU would be cut off."""

HU16: Window = (-float(OFFSET_HU), 65535.0 - OFFSET_HU)


def hu_per_level(window_hu: Window, dtype: DTypeLike) -> float:
    """The width in HU of one step of a slice's values."""
    return (window_hu[1] - window_hu[0]) / float(np.iinfo(np.dtype(dtype)).max)


def hounsfield(image: Image, window_hu: Window) -> NDArray[np.float64]:
    """The HU of a slice, float64 (height, width)."""
    return window_hu[0] + image.astype(np.float64) * hu_per_level(window_hu, image.dtype)


def levels(hu: NDArray[np.floating[Any]], window_hu: Window, dtype: DTypeLike) -> Image:
    """HU as a slice of that type: rounded half to even, cut off at the ends of the window."""
    found = np.rint((hu - window_hu[0]) / hu_per_level(window_hu, dtype))
    image: Image = np.clip(found, 0, np.iinfo(np.dtype(dtype)).max).astype(dtype)
    return image


def remap(image: Image, window_hu: Window, to: Window, dtype: DTypeLike) -> Image:
    """A slice in another window and type; itself where both are its own."""
    if image.dtype == np.dtype(dtype) and window_hu == to:
        return image
    return levels(hounsfield(image, window_hu), to, dtype)
