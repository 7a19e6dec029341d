"""Geometry of the Inception maps and which share of each cell a region covers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 299
MAP_CHANNELS = 192
MAP_SIZE = 35
MAP_STRIDE = 8
# The 31-pixel receptive field of cell 0 is centred on pixel 13 of 299; the 8 pixels that are its own begin at 9.
MAP_ORIGIN = 9


def region_weights(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """bool (h, w) -> float32 (35, 35): how much of each map cell the region covers, 0..1.

    The mask is brought to the network's 299 x 299 pixels by area. Cell (i, j) stands for the 8 x 8 pixels around the
    centre of its receptive field, which begin at (9 + 8 i, 9 + 8 j); the outermost pixels belong to no cell.
    """
    scaled = Image.fromarray(mask.astype(np.float32)).resize((SIZE, SIZE), Image.Resampling.BOX)
    inner = slice(MAP_ORIGIN, MAP_ORIGIN + MAP_SIZE * MAP_STRIDE)
    cells = np.asarray(scaled, dtype=np.float32)[inner, inner].reshape(MAP_SIZE, MAP_STRIDE, MAP_SIZE, MAP_STRIDE)
    weights: NDArray[np.float32] = cells.mean(axis=(1, 3), dtype=np.float32)
    return weights
