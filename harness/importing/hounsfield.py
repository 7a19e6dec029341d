"""Hounsfield: stored values -> HU with padding found, and whether a scan's values are HU at all."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.base.png import Rejected
from harness.importing.planes import Pixels

PADDING_HU = -1024.0
CORNERS = 0.1
"""Share of a plane outside the circle of reconstruction, at least: 1 - pi/4 is 0.21, of which a bed may cover some."""
PATCH = 16
"""Equal pixels of a corner that are no noise."""
NO_TISSUE_HU, NO_METAL_HU = 10_000.0, 31_000.0
"""No tissue reads the one, and no scale of a scanner reaches the other: metal is cut off at 3071 HU, or 30,710."""

BIN, FIRST, LAST = 20, -4000, 12_000  # HU of the histogram of block means
AIR_HU = (-1100, -850)
"""Where the commonest air is: about -1000, higher where noise was cut off at -1024 HU."""
TISSUE_HU = (-180, 200)
"""Where the commonest block above -500 HU is: fat, muscle, organs, brain."""
DENSE_HU, DENSE = 700, 0.2
"""Share of blocks as dense as bone: a skull's are a tenth of a plane."""
FEW = 0.01
"""Share of blocks below -500 HU that shows air: planes that the body fills have less."""

Values = NDArray[np.int64] | NDArray[np.float64]


def to_hu(
    values: Values, *, slope: float, intercept: float, stated: tuple[float, float] | None, beyond: NDArray[np.bool_]
) -> Pixels:
    """HU = slope x value + intercept of (rows, columns), to the whole, padding set to -1024 HU.

    Padding is what touches the border and has a stored value in the range `stated`; or a patch of one value in a corner
    that no material reads. `beyond` marks values that the file's number of bits cannot hold: these are padding, or the
    plane is Rejected; so is one whose corners share a value that might be tissue.
    """
    hu = np.rint(np.asarray(values, np.float64) * slope + intercept)  # whole, so that all sums of them are exact
    if not np.isfinite(hu).all():
        raise Rejected("holds values that are no numbers")
    padded = np.zeros(hu.shape, np.bool_)
    if stated is not None:
        padded |= _from_border((values >= stated[0]) & (values <= stated[1]))
    corners = [(row, column) for row in (0, -1) for column in (0, -1)]
    for at in corners:
        if padded[at] or not (beyond[at] or hu[at] < PADDING_HU or hu[at] > NO_TISSUE_HU):
            continue
        alike = values == values[at]
        if _patch(alike, at) >= PATCH:
            padded |= _from_border(alike)
    same = len({float(values[at]) for at in corners}) == 1 and not padded[0, 0] and hu[0, 0] > AIR_HU[1]
    if same and _from_border(values == values[0, 0]).mean() > CORNERS:
        raise Rejected(f"has {hu[0, 0]:g} HU in every corner: padding that nothing states, or a display window")
    if ((beyond | (hu > NO_METAL_HU)) & ~padded).any():
        raise Rejected("holds values beyond its number of bits, or signed values stored as unsigned")
    hu[padded] = PADDING_HU
    return Pixels(hu, padded)


def _patch(mask: NDArray[np.bool_], at: tuple[int, int]) -> int:
    """The pixels of the part of a mask that holds `at`; the same value elsewhere may be noise."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return int(np.count_nonzero(labels == labels[at]))


def _from_border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The parts of a mask that touch the border."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    touching = np.zeros(int(labels.max()) + 1, np.bool_)
    touching[border] = True
    touching[0] = False
    return np.asarray(touching[labels], np.bool_)


def block_means(pixels: Pixels, *, count: int) -> NDArray[np.float64]:
    """The means of square blocks, (rows, columns), `count` of them along the shorter side; NaN where one holds
    padding."""
    block = max(1, min(pixels.hu.shape) // count)
    rows, columns = (side // block for side in pixels.hu.shape)

    def blocks(array: NDArray[np.float64]) -> NDArray[np.float64]:
        cut = array[: rows * block, : columns * block]
        return np.asarray(cut.reshape(rows, block, columns, block).mean(axis=(1, 3)))

    means = blocks(pixels.hu)
    means[blocks(pixels.padded.astype(np.float64)) > 0] = np.nan
    return means


class Look:
    """What the planes of a series look like together, added one by one."""

    def __init__(self) -> None:
        self.histogram = np.zeros((LAST - FIRST) // BIN, np.int64)
        self.ranges: list[tuple[float, float]] = []
        self.at_ends = [0, 0]
        self.pixels = 0
        self.grain = 0.0  # the change of the change from pixel to pixel, summed: mostly noise

    def add(self, pixels: Pixels) -> None:
        """One more plane."""
        means = block_means(pixels, count=64)
        bins = (np.clip(means[~np.isnan(means)], FIRST, LAST - 1) - FIRST) // BIN
        self.histogram += np.bincount(bins.astype(np.int64), minlength=self.histogram.size)
        self.grain += float(np.abs(np.diff(np.diff(pixels.hu, axis=0), axis=1)).sum())
        seen = pixels.hu[~pixels.padded]
        if seen.size:
            low, high = float(seen.min()), float(seen.max())
            self.ranges.append((low, high))
            self.at_ends[0] += int((seen == low).sum())
            self.at_ends[1] += int((seen == high).sum())
            self.pixels += seen.size

    def wrong(self) -> str:
        """Why the values are no HU; empty if they may be."""
        if not self.ranges or not self.histogram.any():
            return "holds no pixels beside padding"
        low, high = min(one[0] for one in self.ranges), max(one[1] for one in self.ranges)
        if low >= -1.1 and high <= 1.1:
            return f"has values from {low:g} to {high:g}: a scale of 0 to 1 or -1 to 1, no HU"
        if low >= 0 and high <= 255:
            return f"has values from {low:g} to {high:g}: 8-bit grey levels, no HU"
        if len(self.ranges) > 1 and len(set(self.ranges)) == 1 and max(self.at_ends) < 4 * len(self.ranges):
            return f"has {low:g} and {high:g} as the ends of every plane: each was stretched by its own range"
        if low > AIR_HU[1] and self.at_ends[0] > FEW * self.pixels:
            return f"is cut off at {low:g} HU: a display window, not the whole range"
        return self._peaks() or self._cut_above(high)

    def _cut_above(self, high: float) -> str:
        if high < 1000 and self.at_ends[1] > 0.005 * self.pixels:
            return f"is cut off at {high:g} HU: a display window, not the whole range"
        return ""

    def _peaks(self) -> str:
        whole = int(self.histogram.sum())
        dense = self.histogram[(DENSE_HU - FIRST) // BIN :].sum() / whole
        if dense > DENSE:
            return f"has {dense:.0%} of its area above {DENSE_HU} HU: raw values without their intercept, or inverted"
        smooth = np.convolve(self.histogram, [1, 2, 3, 4, 3, 2, 1], mode="same")
        dark = np.arange(smooth.size) * BIN + FIRST < -500
        hu = np.arange(smooth.size) * BIN + FIRST + BIN // 2
        air = int(hu[dark][np.argmax(smooth[dark])])
        if self.histogram[dark].sum() > FEW * whole and not AIR_HU[0] <= air <= AIR_HU[1]:
            return f"has its air at about {air} HU, and -1000 is expected"
        if self.histogram[~dark].sum() <= FEW * whole:
            return "shows nothing but air"
        tissue = int(hu[~dark][np.argmax(smooth[~dark])])
        if not TISSUE_HU[0] <= tissue <= TISSUE_HU[1]:
            return f"has its soft tissue at about {tissue} HU, and 0 to 100 is expected"
        return ""
