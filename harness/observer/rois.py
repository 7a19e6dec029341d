"""Regions of interest around sites."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.base.errors import ScoringError

Floats = NDArray[np.float64]


def cut_rois(image: NDArray[np.generic], places: Sequence[tuple[int, int]], *, half: int) -> Floats:
    """Squares of 2 x `half` + 1 pixels around `places` (row, column), each less its mean: float64 (n, side, side).

    Without the mean an observer does not judge by how bright the surroundings are. ScoringError where a square reaches
    beyond the image.
    """
    side = 2 * half + 1
    rois = np.zeros((len(places), side, side))
    for roi, (row, column) in zip(rois, places, strict=True):
        if not (half <= row < image.shape[0] - half and half <= column < image.shape[1] - half):
            raise ScoringError(f"the site at row {row}, column {column} is nearer than {half} pixels to the border")
        roi[:] = image[row - half : row + half + 1, column - half : column + half + 1]
    rois -= rois.mean(axis=(1, 2), keepdims=True)
    return rois


def by_pixel(pixel_mm: ArrayLike, count: int) -> Iterator[tuple[float, NDArray[np.bool_]]]:
    """Each pixel size in mm among `count` regions of interest, one for all or one for each, and where it holds."""
    sizes = np.broadcast_to(np.asarray(pixel_mm, np.float64), count)
    for size in np.unique(sizes):
        yield float(size), sizes == size


def both_classes(absent: Floats, present: Floats) -> None:
    """ScoringError unless both hold one finite row a site, of the same shape, at two sites or more."""
    if absent.shape != present.shape or len(absent) < 2:
        raise ScoringError(
            f"expected the same two or more sites without and with a lesion, found {absent.shape} and {present.shape}"
        )
    if not (np.isfinite(absent).all() and np.isfinite(present).all()):
        raise ScoringError("what an observer sees holds values that are not finite")
