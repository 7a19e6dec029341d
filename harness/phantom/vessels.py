"""The trees of the lungs: arteries with their bronchi, and veins, grown into the lung's volume, drawn slice by slice.

A tree is an array (segments, 8) float32: x, y, z of both ends at full inspiration and the radii there, in mm.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.phantom.anatomy import INSPIRED, Anatomy
from harness.phantom.shapes import Array
from harness.phantom.surfaces import chest_wall, diaphragm, lungs, mediastinum

ARTERY_TIPS, VEIN_TIPS = 5200, 3100
TIP_RADIUS = 0.34
MURRAY = 1 / 2.8
"""A vessel that feeds n tips has the radius TIP_RADIUS * n^MURRAY (Murray's law; his own exponent is 1/3)."""


def grow_trees(a: Anatomy, rng: np.random.Generator) -> tuple[Array, Array]:
    """Arteries and veins of both lungs, two trees (segments, 8)."""
    arteries: list[Array] = []
    veins: list[Array] = []
    for side in (-1, 1):
        inside = _points_in_lung(a, rng, side=side)
        hilum = np.array([side * 36 * a.size, 6.0, 0.46 * a.lung_height])
        for trees, tips, shift in (
            (arteries, ARTERY_TIPS, (0.0, -6.0, 0.0)),
            (veins, VEIN_TIPS, (0.0, 6.0, 14.0)),
        ):
            fed = inside[rng.choice(len(inside), tips, replace=False)]
            nodes = 2 * tips
            trees.append(_grow(fed, hilum + shift, rng.random((nodes, 2)), rng.normal(0, 0.02, (nodes, 3))))
    return np.concatenate(arteries), np.concatenate(veins)


def _points_in_lung(a: Anatomy, rng: np.random.Generator, *, side: int) -> NDArray[np.float64]:
    """Points (n, 3) spread evenly over one lung, at least as many as the arteries need."""
    slab = 6.0
    found: list[NDArray[np.float64]] = []
    while sum(map(len, found)) < ARTERY_TIPS:
        for z in np.arange(slab / 2, a.lung_height + 60, slab):
            # One row of points: the surfaces take arrays of two dimensions.
            x, y = side * rng.uniform(0, a.half_width, (1, 400)), rng.uniform(-a.half_depth, a.half_depth, (1, 400))
            x32, y32 = x.astype(np.float32), y.astype(np.float32)
            chest, middle = chest_wall(a, x32, y32, z, INSPIRED), mediastinum(a, x32, y32, z, INSPIRED)
            inside = lungs(chest, middle, diaphragm(a, x32, y32, INSPIRED), z) < -1.5
            heights = rng.uniform(z - slab / 2, z + slab / 2, x.shape)
            found.append(np.stack([x[inside], y[inside], heights[inside]], axis=1))
    return np.concatenate(found)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _grow(
    tips: NDArray[np.float64], root: NDArray[np.float64], chances: NDArray[np.float64], bends: NDArray[np.float64]
) -> Array:
    """Grow one tree from `root` to every tip: go some way to the middle of the tips, split them, repeat.

    A short way (0.22 to 0.38) sends branches outwards from the hilum; half way and more would make them turn back.

    `chances` (nodes, 2) uniform and `bends` (nodes, 3) normal numbers decide step, split and curvature of each branch.
    """
    count = len(tips)
    order = np.arange(count)
    segments = np.empty((4 * count, 8), np.float32)
    drawn, node = 0, 0
    # A branch still to grow: its tips order[first:last], its start, its direction (zero at the root).
    waiting = [(0, count, root.copy(), np.zeros(3))]
    while waiting:
        first, last, start, heading = waiting.pop()
        fed = last - first
        middle = np.zeros(3)
        for i in range(first, last):
            middle += tips[order[i]]
        middle /= fed
        way = middle - start
        length = math.sqrt((way * way).sum())
        end = middle
        if fed > 1 and length > 1.5:
            course = way / length + 0.4 * min(1.0, length / 12) * heading
            end = start + course * (length * (0.22 + 0.16 * chances[node, 0]) / math.sqrt((course * course).sum()))
        step = end - start
        reach = math.sqrt((step * step).sum())
        direction = step / (reach + 1e-9)
        bow = (start + end) / 2 + reach * bends[node]
        if heading.any():
            bow += 0.13 * reach * (heading - direction)
        radius = TIP_RADIUS * fed**MURRAY
        for p, q, r, narrower in ((start, bow, radius, 0.97 * radius), (bow, end, 0.97 * radius, 0.93 * radius)):
            segments[drawn, :3] = p
            segments[drawn, 3:6] = q
            segments[drawn, 6] = r
            segments[drawn, 7] = narrower
            drawn += 1
        if fed > 1:
            along = _spread(tips, order[first:last], middle, direction)
            ranks = np.argsort(along)
            order[first:last] = order[first:last][ranks]
            cut = first + min(max(int(fed * (0.36 + 0.28 * chances[node, 1]) + 0.5), 1), fed - 1)
            waiting.append((first, cut, end, direction))
            waiting.append((cut, last, end, direction))
        node += 1
    return segments[:drawn]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _spread(
    tips: NDArray[np.float64], chosen: NDArray[np.int64], middle: NDArray[np.float64], direction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coordinate of the chosen tips along their main spread, the branch's own direction counting a quarter."""
    flat = np.empty((len(chosen), 3))
    for i in range(len(chosen)):
        offset = tips[chosen[i]] - middle
        flat[i] = offset - 0.75 * (offset * direction).sum() * direction
    scatter = np.zeros((3, 3))
    for i in range(len(chosen)):
        for j in range(3):
            for k in range(3):
                scatter[j, k] += flat[i, j] * flat[i, k]
    axis = np.array([1.0, 0.9, 0.8])
    for _ in range(24):  # power iteration
        turned = np.zeros(3)
        for j in range(3):
            for k in range(3):
                turned[j] += scatter[j, k] * axis[k]
        axis = turned / (math.sqrt((turned * turned).sum()) + 1e-12)
    along = np.empty(len(chosen))
    for i in range(len(chosen)):
        along[i] = (flat[i] * axis).sum()
    return along


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

    A tube thinner than `finest` could slip between pixels and planes: it is drawn with that radius and thinned in
    proportion to its cross-section, which keeps its mass.
    """
    size = filled.shape[0]
    centre = (size - 1) / 2.0
    plane = np.zeros_like(filled)
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
                    drawn = max(radius, finest)
                    inside = 0.5 + (drawn - math.sqrt(eu * eu + ev * ev + ew * ew)) / pixel_mm
                    if inside > 0:
                        share_filled = np.float32(min(inside, 1.0) * (radius / drawn) ** 2)
                        plane[i, j] = max(plane[i, j], share_filled)
        filled += plane
    filled /= np.float32(len(heights))
