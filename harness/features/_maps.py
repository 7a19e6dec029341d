"""Where the cells of a network's maps lie in the image, and the share of each cell that a region covers."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray


class Grid(NamedTuple):
    """The cells of square maps, in pixels of the network's input.

    Cell (i, j) of `cells` x `cells` stands for the `stride` x `stride` pixels that begin at (origin + stride i,
    origin + stride j) of the `size` x `size` pixels that the network sees; its receptive field is larger.
    """

    size: int
    cells: int
    stride: int
    origin: float


def region_weights(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """bool (h, w) -> float32 (cells, cells): how much of each map cell the region covers, 0..1.

    The grid must lie within the image; pixels of no cell count nowhere.
    """
    # The area covered up to a point within a pixel is bilinear between the integral image's values at its corners. No
    # matrix product, because the threads of numpy's BLAS would compete with torch's for the cores.
    area: NDArray[np.float64] = cv2.integral(mask.view(np.uint8)).astype(np.float64)
    for axis, pixels in enumerate(mask.shape):
        edges = (grid.origin + grid.stride * np.arange(grid.cells + 1)) * pixels / grid.size
        below = np.minimum(edges.astype(np.intp), pixels - 1)
        part = np.expand_dims(edges - below, 1 - axis)
        area = area.take(below, axis) * (1 - part) + area.take(below + 1, axis) * part
        area = np.diff(area, axis=axis) / (grid.stride * pixels / grid.size)
    return area.clip(0, 1).astype(np.float32)
