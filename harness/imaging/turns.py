"""The seven ways in which an image can lie other than it was taken, by the words for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

TURNS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "transposed (rows and columns exchanged)": np.transpose,
    "flipped upside down": np.flipud,
    "flipped left to right": np.fliplr,
    "turned by 180 degrees": lambda image: np.rot90(image, 2),
    "turned by 90 degrees": np.rot90,
    "turned by 270 degrees": lambda image: np.rot90(image, 3),
    "transposed along the other diagonal": lambda image: np.rot90(image, 2).T,
}
