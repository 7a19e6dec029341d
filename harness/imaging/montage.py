"""Slices side by side in one picture, for records and the README."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

LUNG_WINDOW_HU = (-1350.0, 150.0)


def lung_window(image: NDArray[np.uint8], *, window_hu: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Show uint8 (h, w) through the lung window (-600 +- 750 HU); images of an unknown window stay as they are."""
    return reading_window(image, LUNG_WINDOW_HU, window_hu=window_hu)


def reading_window(
    image: NDArray[np.uint8], reading_hu: tuple[float, float], *, window_hu: tuple[float, float] | None
) -> NDArray[np.uint8]:
    """Show uint8 (h, w) through the window `reading_hu`; images of an unknown window stay as they are."""
    if window_hu is None:
        return image
    low, high = window_hu
    hu = image.astype(np.float32) / 255 * (high - low) + low
    shown = (hu - reading_hu[0]) / (reading_hu[1] - reading_hu[0]) * 255
    return np.asarray(np.clip(np.rint(shown), 0, 255), dtype=np.uint8)


def montage(rows: Sequence[Sequence[NDArray[np.uint8]]], *, side: int, gap: int = 4) -> NDArray[np.uint8]:
    """Rows of uint8 (h, w) images as one picture; each is scaled to `side` pixels of height, `gap` between them."""
    lines = []
    for row in rows:
        tiles: list[NDArray[np.uint8]] = []
        for image in row:
            width = max(1, round(image.shape[1] * side / image.shape[0]))
            scaled = cv2.resize(image, (width, side), interpolation=cv2.INTER_AREA)
            tiles += [scaled.astype(np.uint8), np.full((side, gap), 255, np.uint8)]
        lines.append(np.hstack(tiles[:-1]))
    width = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, gap), (0, width - line.shape[1])), constant_values=255) for line in lines]
    return np.vstack(padded)[:-gap]
