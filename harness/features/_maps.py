"""Geometry of the Inception maps, and the share of each cell that a region covers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 299
MAP_CHANNELS = 192
MAP_SIZE = 35
MAP_STRIDE = 8
# The 31-pixel receptive field of cell 0 is centred on pixel 13 of 299; the 8 pixels that it stands for begin at 9.
MAP_ORIGIN = 9


def region_weights(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """bool (h, w) -> float32 (35, 35): how much of each map cell the region covers, 0..1.

    Cell (i, j) stands for the 8 x 8 pixels around the centre of its receptive field, which begin at (9 + 8 i, 9 + 8 j)
    of the network's 299 x 299; the outermost pixels belong to no cell.
    """
    # The area covered up to a point within a pixel is bilinear between the integral image's values at its corners. No
    # matrix product, because the threads of numpy's BLAS would compete with torch's for the cores.
    area: NDArray[np.float64] = cv2.integral(mask.view(np.uint8)).astype(np.float64)
    for axis, pixels in enumerate(mask.shape):
        edges = (MAP_ORIGIN + MAP_STRIDE * np.arange(MAP_SIZE + 1)) * pixels / SIZE
        below = edges.astype(np.intp)
        part = np.expand_dims(edges - below, 1 - axis)
        area = area.take(below, axis) * (1 - part) + area.take(below + 1, axis) * part
        area = np.diff(area, axis=axis) / (MAP_STRIDE * pixels / SIZE)
    return area.clip(0, 1).astype(np.float32)
