"""clean-fid's resizing for one grey channel: the same numbers as for three equal channels at a third of the cost.

Parmar, Zhang, Zhu, "On aliased resizing and surprising subtleties in GAN evaluation", arXiv 2104.11222.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def square(image: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """uint8 (h, w) -> float32 (size, size) in 0..255: antialiased bicubic in floating point, clipped, not rounded.

    An image of that size stays as it is.
    """
    resized = Image.fromarray(image.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.float32).clip(0, 255)


def inception_input(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (h, w) -> float32 (299, 299) in 0..255, as `square` makes it."""
    return square(image, 299)


def clip_input(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (h, w) -> uint8 (224, 224): bicubic in 8 bits to 224 on the shorter side, then the middle of the longer."""
    size = 224
    height, width = image.shape
    resized = (size, size * height // width) if width <= height else (size * width // height, size)
    left, top = round((resized[0] - size) / 2), round((resized[1] - size) / 2)
    scaled = Image.fromarray(image).resize(resized, Image.Resampling.BICUBIC)
    return np.asarray(scaled.crop((left, top, left + size, top + size)), dtype=np.uint8)
