"""The trees of the lungs: arteries with their bronchi, and veins, grown into the lung's volume, drawn slice by slice.

A tree is an array (segments, 8) float32: x, y, z of both ends at full inspiration and the radii there, in mm.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.imaging.draws import Draws
from harness.imaging.portable import powers
from harness.phantom.anatomy import INSPIRED, Anatomy
from harness.phantom.shapes import Array
from harness.phantom.surfaces import chest_wall, diaphragm, lungs, mediastinum

Points = NDArray[np.float64]

ARTERY_TIPS, VEIN_TIPS = 5200, 3100
TIP_RADIUS = 0.34
MURRAY = 1 / 2.8
"""A vessel that feeds n tips has the radius TIP_RADIUS * n^MURRAY (Murray's law; his own exponent is 1/3)."""


def grow_trees(a: Anatomy, rng: np.random.Generator) -> tuple[Array, Array]:
    """Arteries and veins of both lungs, two trees (segments, 8)."""
    arteries: list[Array] = []
    veins: list[Array] = []
    draws = Draws(rng)
    for side in (-1, 1):
        inside = _points_in_lung(a, draws, side=side)
        hilum = np.array([side * 36 * a.size, 6.0, 0.46 * a.lung_height])
        for trees, tips, shift in (
            (arteries, ARTERY_TIPS, (0.0, -6.0, 0.0)),
            (veins, VEIN_TIPS, (0.0, 6.0, 14.0)),
        ):
            fed = inside[draws.chosen(tips, len(inside))]
            trees.append(_grow(fed, hilum + shift, draws))
    return np.concatenate(arteries), np.concatenate(veins)


def _points_in_lung(a: Anatomy, draws: Draws, *, side: int) -> Points:
    """Points (n, 3) spread evenly over one lung, at least as many as the arteries need."""
    slab = 6.0
    found: list[Points] = []
    while sum(map(len, found)) < ARTERY_TIPS:
        for z in np.arange(slab / 2, a.lung_height + 60, slab):
            # One row of points: the surfaces take arrays of two dimensions.
            x = side * draws.uniforms(0, a.half_width, (1, 400))
            y = draws.uniforms(-a.half_depth, a.half_depth, (1, 400))
            x32, y32 = x.astype(np.float32), y.astype(np.float32)
            chest, middle = chest_wall(a, x32, y32, z, INSPIRED), mediastinum(a, x32, y32, z, INSPIRED)
            inside = lungs(chest, middle, diaphragm(a, x32, y32, INSPIRED), z) < -1.5
            heights = draws.uniforms(z - slab / 2, z + slab / 2, x.shape)
            found.append(np.stack([x[inside], y[inside], heights[inside]], axis=1))
    return np.concatenate(found)


def _grow(tips: Points, root: Points, draws: Draws) -> Array:
    """Grow one tree (segments, 8) from the point `root` to every one of the `tips` (n, 3).

    All branches of a generation grow at once: each goes part of the way to the middle of the tips that it feeds, splits
    them, and repeats. A short way (0.22 to 0.38) sends branches outwards from the hilum; half or more would turn them
    back.

    Where a branch forks decides all that follows: sums over tips and axes are added up in order, and nothing here
    calls BLAS, LAPACK or a vectorised power.
    """
    segments: list[Array] = []
    start, heading = root[None], np.zeros((1, 3))
    fed = np.array([len(tips)])  # tips per branch; each branch's tips lie together
    while len(fed):
        middle = _sums(tips, fed) / fed[:, None]
        way = middle - start
        length = _length(way)
        course = way / (length + 1e-9) + 0.4 * np.minimum(1, length / 12) * heading
        course /= _length(course) + 1e-9
        end = start + course * length * draws.uniforms(0.22, 0.38, length.shape)
        arrived = (fed == 1)[:, None] | (length < 1.5)
        end = np.where(arrived, middle, end)
        reach = _length(end - start)
        direction = (end - start) / (reach + 1e-9)
        bow = (start + end) / 2 + reach * (0.02 * draws.normals(end.shape))
        bow += 0.13 * reach * (heading - direction) * heading.any(axis=1, keepdims=True)
        radius = TIP_RADIUS * powers(fed.astype(np.float64), MURRAY)[:, None]
        segments.append(np.hstack([start, bow, radius, 0.97 * radius]).astype(np.float32))
        segments.append(np.hstack([bow, end, 0.97 * radius, 0.93 * radius]).astype(np.float32))

        forks = fed > 1
        tips, fed = tips[np.repeat(forks, fed)], fed[forks]
        middle, end, direction = middle[forks], end[forks], direction[forks]
        tips = _along_main_spread(tips, fed, middle, direction)
        lower = np.clip(np.rint(fed * draws.uniforms(0.36, 0.64, fed.shape)).astype(int), 1, fed - 1)
        fed = np.stack([lower, fed - lower], axis=1).ravel()
        start, heading = np.repeat(end, 2, axis=0), np.repeat(direction, 2, axis=0)
    return np.concatenate(segments)


def _along_main_spread(tips: Points, fed: NDArray[np.int64], middle: Points, direction: Points) -> Points:
    """Each branch's tips, ordered along their main spread; spread along the branch's own direction counts a quarter."""
    if not len(fed):
        return tips
    branch = np.repeat(np.arange(len(fed)), fed)
    offset, ahead = tips - middle[branch], direction[branch]
    offset -= 0.75 * _dot(offset, ahead) * ahead
    scatter = _sums((offset[:, :, None] * offset[:, None, :]).reshape(-1, 9), fed).reshape(-1, 3, 3)
    return tips[np.lexsort((_dot(offset, _main_axes(scatter)[branch])[:, 0], branch))]


def _dot(a: Points, b: Points) -> Points:
    """Scalar products (n, 1) of vectors (n, 3)."""
    products: Points = a[:, :1] * b[:, :1] + a[:, 1:2] * b[:, 1:2] + a[:, 2:] * b[:, 2:]
    return products


def _length(vectors: Points) -> Points:
    """Lengths (n, 1) of vectors (n, 3)."""
    return np.sqrt(_dot(vectors, vectors))


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _sums(rows: Points, counts: NDArray[np.int64]) -> Points:
    """Sums of so many rows after another, in their order."""
    sums = np.zeros((len(counts), rows.shape[1]))
    row = 0
    for group in range(len(counts)):
        for _ in range(counts[group]):
            for column in range(rows.shape[1]):
                sums[group, column] += rows[row, column]
            row += 1
    return sums


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _main_axes(scatter: Points) -> Points:
    """Unit vectors (n, 3) of the largest eigenvalue of symmetric matrices (n, 3, 3): Jacobi's rotations
    (Golub & Van Loan, Matrix Computations, section 8.5)."""
    axes = np.empty((len(scatter), 3))
    for index in range(len(scatter)):
        m, v = scatter[index].copy(), np.eye(3)
        for _ in range(12):  # sweeps; they converge quadratically, and five would do
            for p in range(2):
                for q in range(p + 1, 3):
                    if m[p, q] == 0.0:
                        continue
                    theta = (m[q, q] - m[p, p]) / (2.0 * m[p, q])
                    t = 1.0 / (abs(theta) + math.sqrt(theta * theta + 1.0))
                    t = -t if theta < 0.0 else t
                    c = 1.0 / math.sqrt(t * t + 1.0)
                    s = t * c
                    for k in range(3):
                        m[k, p], m[k, q] = c * m[k, p] - s * m[k, q], s * m[k, p] + c * m[k, q]
                    for k in range(3):
                        m[p, k], m[q, k] = c * m[p, k] - s * m[q, k], s * m[p, k] + c * m[q, k]
                    for k in range(3):
                        v[k, p], v[k, q] = c * v[k, p] - s * v[k, q], s * v[k, p] + c * v[k, q]
        largest = 0
        for k in range(1, 3):
            if m[k, k] > m[largest, largest]:
                largest = k
        axes[index] = v[:, largest]
    return axes


def draw_tubes(tubes: Array, *, z: float, thickness: float, size: int, pixel_mm: float) -> Array:
    """Share of each pixel of a slab that tubes fill: (segments, 8) -> (size, size) float32.

    The tubes' x and y are scanner coordinates in mm with 0 in the middle of the image; the slab has its middle at z.
    """
    planes = 5
    spacing = thickness / planes
    heights = z + spacing * (np.arange(planes) - (planes - 1) / 2)
    reach = np.maximum(tubes[:, 6], tubes[:, 7]) + thickness / 2 + spacing
    near = (np.minimum(tubes[:, 2], tubes[:, 5]) < z + reach) & (np.maximum(tubes[:, 2], tubes[:, 5]) > z - reach)
    filled = np.zeros((size, size), np.float32)
    _fill_tubes(tubes[near].astype(np.float64), heights, max(spacing, pixel_mm) / 2, pixel_mm, filled)
    return filled


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _fill_tubes(
    tubes: NDArray[np.float64], heights: NDArray[np.float64], finest: float, pixel_mm: float, filled: Array
) -> None:
    """Add the mean over the planes at `heights` of the tubes' union.

    A tube thinner than `finest` could fall between pixels and planes: it is drawn with that radius and made transparent
    in proportion to its cross-section, which keeps its mass.
    """
    size = filled.shape[0]
    centre = (size - 1) / 2.0
    plane = np.zeros_like(filled)
    finest_square = finest**2 + pixel_mm**2 / 12  # the second term is what a rim one pixel soft adds to a disk
    for height in heights:
        plane[:] = 0
        for s in range(len(tubes)):
            x0, y0, z0, x1, y1, z1, r0, r1 = tubes[s]
            widest = max(r0, r1, finest) + pixel_mm
            dx, dy, dz = x1 - x0, y1 - y0, z1 - z0
            # The part of the axis, as shares of its length, that comes as near to the plane as the tube is wide.
            low, high = 0.0, 1.0
            if abs(dz) > 1e-6:
                p, q = (height - widest - z0) / dz, (height + widest - z0) / dz
                low, high = max(0.0, min(p, q)), min(1.0, max(p, q))
            if low > high or min(abs(z0 + low * dz - height), abs(z0 + high * dz - height)) > widest + abs(dz):
                continue
            xa, xb, ya, yb = x0 + low * dx, x0 + high * dx, y0 + low * dy, y0 + high * dy
            left = max(0, math.floor((min(xa, xb) - widest) / pixel_mm + centre))
            right = min(size - 1, math.ceil((max(xa, xb) + widest) / pixel_mm + centre))
            top = max(0, math.floor((min(ya, yb) - widest) / pixel_mm + centre))
            bottom = min(size - 1, math.ceil((max(ya, yb) + widest) / pixel_mm + centre))
            squared = dx * dx + dy * dy + dz * dz + 1e-12
            for i in range(top, bottom + 1):
                v = (i - centre) * pixel_mm - y0
                for j in range(left, right + 1):
                    u, w = (j - centre) * pixel_mm - x0, height - z0
                    share = min(max((u * dx + v * dy + w * dz) / squared, 0.0), 1.0)
                    eu, ev, ew = u - share * dx, v - share * dy, w - share * dz
                    radius = r0 + share * (r1 - r0)
                    away = math.sqrt(eu * eu + ev * ev + ew * ew)
                    inside = min(0.5 + (max(radius, finest) - away) / pixel_mm, 1.0)
                    if inside > 0:
                        opacity = min(radius * radius / finest_square, 1.0)
                        plane[i, j] = max(plane[i, j], np.float32(inside * opacity))
        filled += plane
    filled /= np.float32(len(heights))
