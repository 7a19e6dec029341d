"""Damage in graded steps, which every metric should notice, and the false vessels that harmful denoisers draw too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.base.slices import read_grey
from harness.dataset.cases import Case
from harness.imaging.regions import Code, erode
from harness.protocol import PHANTOM_WINDOW_HU

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
GREY_PER_HU = 255 / (PHANTOM_WINDOW_HU[1] - PHANTOM_WINDOW_HU[0])
STEPS = 4
BLOOD = 105.0
"""The grey of a large vessel: blood at some 0 HU with a little lung."""


def draw_vessels(image: Image, lung: Mask, count: int, rng: np.random.Generator) -> Image:
    """Vessels that are not there: bright curved lines of 1.5 to 3 pixels in the lung."""
    rows, columns = np.nonzero(lung)
    drawn: NDArray[np.float32] = np.zeros(image.shape, np.float32)
    for _ in range(count if len(rows) else 0):
        start = int(rng.integers(len(rows)))
        heading, bend, along = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.04), np.arange(rng.integers(10, 40))
        angle = heading + bend * along
        path = np.stack([columns[start] + np.cumsum(np.cos(angle)), rows[start] + np.cumsum(np.sin(angle))], axis=1)
        layer = np.zeros(image.shape, np.float32)
        points = np.rint(path * 16).astype(np.int32)
        cv2.polylines(layer, [points], isClosed=False, color=1.0, thickness=2, lineType=cv2.LINE_AA, shift=4)
        drawn = np.maximum(drawn, layer)
    soft = np.asarray(cv2.GaussianBlur(drawn, (0, 0), 0.7)) * lung
    return to_grey(image + soft * np.maximum(BLOOD - image, 0))


def to_grey(values: object) -> Image:
    """Rounded and cut off, uint8."""
    grey: Image = np.clip(np.rint(np.asarray(values)), 0, 255).astype(np.uint8)
    return grey


def _blur(truth: Image, _case: Case, step: int) -> Image:
    return to_grey(cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 0.4 * 2 ** (step - 1)))


def _noise(truth: Image, case: Case, step: int) -> Image:
    """A share of the very noise that the low-dose scan has: its colour, its streaks."""
    low = read_grey(Path(case.lq)).astype(np.float32)
    return to_grey(truth + (low - truth) * step / STEPS)


def _shift(truth: Image, _case: Case, step: int) -> Image:
    return to_grey(truth.astype(np.float32) + 10 * 2 ** (step - 1) * GREY_PER_HU)


def _vessels(truth: Image, case: Case, step: int) -> Image:
    """8 to 64 a slice."""
    lung = erode(read_grey(Path(str(case.regions))) == Code.LUNG, 3)
    return draw_vessels(truth, lung, 8 * 2 ** (step - 1), np.random.default_rng([1, *case.name.encode()]))


SPOILS: dict[str, Callable[[Image, Case, int], Image]] = {
    "blur": _blur,
    "noise": _noise,
    "HU shift": _shift,
    "false vessels": _vessels,
}
"""Damage -> the truth of a case, damaged by 1 to STEPS steps."""
