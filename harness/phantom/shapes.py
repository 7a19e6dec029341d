"""Building blocks of the phantom: signed distances of rounded shapes, their coverage of a pixel, band-limited texture.

A signed distance is negative inside; all lengths are in mm, all arrays float32 of one shape (rows, columns).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.imaging.draws import Draws
from harness.imaging.portable import cos, gaussian_weights, sin

Array = NDArray[np.float32]
GRID = 2.0**12
"""Steps of a texture between 0 and 1: no last bit of a sum moves a value to the next one."""
OUTSIDE = np.float32(1e3)
"""A signed distance far outside everything."""


def ellipse(
    x: Array, y: Array, centre: tuple[float, float], radii: tuple[float, float], *, square: float = 0, turn: float = 0
) -> Array:
    """Approximate signed distance of an ellipse, turned by `turn` rad; exact on its edge.

    `square` from 0 (ellipse) to 1 (rectangle) bulges the corners (Fernandez-Guasti's squircle).
    """
    return _ellipse(x, y, *centre, *radii, square, cos(turn), sin(turn))  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _ellipse(
    x: Array, y: Array, cx: float, cy: float, a: float, b: float, square: float, cosine: float, sine: float
) -> Array:
    distance = np.empty(x.shape, np.float32)
    x0, y0, along, across = np.float32(cx), np.float32(cy), np.float32(cosine), np.float32(sine)
    per_a, per_b, corner = np.float32(1 / a), np.float32(1 / b), np.float32(4 * square * square)
    tiny, half, one = np.float32(1e-6), np.float32(0.5), np.float32(1)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            u, v = x[i, j] - x0, y[i, j] - y0
            u, v = along * u + across * v, along * v - across * u
            uu, vv = u * per_a * u * per_a, v * per_b * v * per_b
            r = np.sqrt(half * (uu + vv + np.sqrt((uu + vv) * (uu + vv) - corner * uu * vv))) + tiny
            distance[i, j] = (r - one) * np.sqrt(u * u + v * v + tiny) / r
    return distance


def join(a: Array, b: Array, blend: float) -> Array:
    """Signed distance of the union of `a` and `b`, creases filled over about `blend` mm (smooth minimum)."""
    joined: Array = _join(a, b, blend)
    return joined


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _join(a: Array, b: Array, blend: float) -> Array:
    joined = np.empty(a.shape, np.float32)
    k, half, one = np.float32(blend), np.float32(0.5), np.float32(1)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            p, q = a[i, j], b[i, j]
            h = min(max(half + half * (q - p) / k, np.float32(0)), one)
            joined[i, j] = q + (p - q) * h - k * h * (one - h)
    return joined


def coverage(distance: Array, pixel_mm: float) -> Array:
    """Share of each pixel, 0 to 1, that a shape of this signed distance covers."""
    share: Array = np.clip(np.float32(0.5) - distance * np.float32(1 / pixel_mm), np.float32(0), np.float32(1))
    return share


def turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Coordinates in a frame that is turned by `angle` rad."""
    cosine, sine = np.float32(cos(angle)), np.float32(sin(angle))
    return cosine * x + sine * y, cosine * y - sine * x


def ramp(start: float, end: float, value: float) -> float:
    """0 up to `start`, 1 from `end`, smooth between (Hermite); also downwards if end < start."""
    t = min(max((value - start) / (end - start), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _smooth_first(block: NDArray[np.float64], taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convolve a periodic block along its first axis."""
    side, reach = block.shape[0], len(taps) // 2
    smoothed = np.zeros(block.shape)
    for i in range(side):
        for k in range(len(taps)):
            smoothed[i] += taps[k] * block[(i + k - reach) % side]
    return smoothed


class Texture:
    """A periodic block of smooth Gaussian noise in three dimensions, mean 0 and standard deviation 1."""

    def __init__(self, rng: np.random.Generator, *, side: int, smooth: float) -> None:
        block = Draws(rng).normals((side, side, side))
        for _ in range(3):  # along one axis after the other
            block = np.moveaxis(_smooth_first(block, gaussian_weights(smooth)), 0, -1)
        # Mean and deviation are sums, which numpy may order as it likes: their last bits are lost in the rounding.
        block = (block - block.mean()) / block.std()
        self.block: Array = (np.rint(block * GRID) / GRID).astype(np.float32)

    def __call__(self, x: Array, y: Array, z: float, voxel_mm: float) -> Array:
        """Values at the points (x, y) of the plane z, with the block's voxels `voxel_mm` wide."""
        side = len(self.block)
        height = z / voxel_mm
        below, share = math.floor(height), height - math.floor(height)
        plane = self.block[below % side] * np.float32(1 - share) + self.block[(below + 1) % side] * np.float32(share)
        return _sample_periodic(plane, x, y, np.float32(1 / voxel_mm))  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _sample_periodic(plane: Array, x: Array, y: Array, scale: np.float32) -> Array:
    side = plane.shape[0]
    sampled = np.empty(x.shape, np.float32)
    shift = np.float32(64 * side)  # keeps the truncation below a floor
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            u, v = x[i, j] * scale + shift, y[i, j] * scale + shift
            column, row = np.int32(u), np.int32(v)
            right, down = u - np.float32(column), v - np.float32(row)
            c0, c1, r0, r1 = column % side, (column + 1) % side, row % side, (row + 1) % side
            top = plane[r0, c0] + right * (plane[r0, c1] - plane[r0, c0])
            bottom = plane[r1, c0] + right * (plane[r1, c1] - plane[r1, c0])
            sampled[i, j] = top + down * (bottom - top)
    return sampled
