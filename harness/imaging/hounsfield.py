"""Hounsfield units: what the pixel values of a slice mean, at 8 and at 16 bits.

A window is the HU of value 0 and of the largest value of a slice's type: of grey 0 and 255 at 8 bits, of 0 and 65535
at 16. A slice of 16 bits always has the window `HU16`, so that its values are HU + 8192, one HU a step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from harness.base.png import Image

__all__ = [
    "HU16",
    "OFFSET_HU",
    "Image",
    "Window",
    "clipped",
    "data_range",
    "grey",
    "hounsfield",
    "hu_per_level",
    "levels",
    "own_window",
    "remap",
    "whole_levels",
]

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
    return whole_levels((hu - window_hu[0]) / hu_per_level(window_hu, dtype), dtype)


def whole_levels(values: NDArray[np.floating[Any]], dtype: DTypeLike) -> Image:
    """Pixel values as a slice of that type: rounded half to even, cut off at its ends."""
    image: Image = np.clip(np.rint(values), 0, np.iinfo(np.dtype(dtype)).max).astype(dtype)
    return image


def clipped(image: Image) -> NDArray[np.bool_]:
    """The pixels at either end of a slice's type: bool of its shape."""
    ends: NDArray[np.bool_] = (image == 0) | (image == np.iinfo(image.dtype).max)
    return ends


def remap(image: Image, window_hu: Window, to: Window, dtype: DTypeLike) -> Image:
    """A slice in another window and type; itself where both are its own."""
    if image.dtype == np.dtype(dtype) and window_hu == to:
        return image
    return levels(hounsfield(image, window_hu), to, dtype)


def own_window(image: Image, window_hu: Window) -> Window:
    """The window of a slice: that of grey levels at 8 bits, `HU16` at 16."""
    return window_hu if image.dtype == np.uint8 else HU16


def data_range(image: Image, window_hu: Window | None) -> float:
    """The range of a slice's values that PSNR and SSIM relate errors to: 255, and of 16 bits the window's width."""
    if image.dtype == np.uint8:
        return 255.0
    if window_hu is None:
        raise ValueError("a slice of 16 bits is compared within a window: state window_hu")
    return window_hu[1] - window_hu[0]


def grey(image: Image, window_hu: Window | None) -> NDArray[np.uint8]:
    """A slice as grey levels: itself at 8 bits, at 16 bits through a window. ValueError where it needs one."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    if window_hu is None:
        raise ValueError("a slice of 16 bits is shown through a window: state window_hu")
    return remap(image, HU16, window_hu, np.uint8).astype(np.uint8, copy=False)
