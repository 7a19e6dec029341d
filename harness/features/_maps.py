"""Geometry of the Inception maps and which share of each cell a region covers."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

SIZE = 299
MAP_CHANNELS = 192
MAP_SIZE = 35
MAP_STRIDE = 8
# The 31-pixel receptive field of cell 0 is centred on pixel 13 of 299; the 8 pixels that are its own begin at 9.
MAP_ORIGIN = 9


@cache
def _overlap(pixels: int) -> NDArray[np.float32]:
    """(35, pixels): the share of each cell along one axis that each of `pixels` image pixels covers; rows sum to 1."""
    edges = (MAP_ORIGIN + MAP_STRIDE * np.arange(MAP_SIZE + 1)) * pixels / SIZE
    pixel = np.arange(pixels)
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    shares: NDArray[np.float32] = (covered.clip(0) / np.diff(edges)[:, None]).astype(np.float32)
    return shares


def region_weights(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """bool (h, w) -> float32 (35, 35): how much of each map cell the region covers, 0..1.

    Cell (i, j) stands for the 8 x 8 pixels around the centre of its receptive field, which begin at (9 + 8 i, 9 + 8 j)
    of the network's 299 x 299; the outermost pixels belong to no cell.
    """
    weights: NDArray[np.float32] = _overlap(mask.shape[0]) @ mask.astype(np.float32) @ _overlap(mask.shape[1]).T
    return weights
