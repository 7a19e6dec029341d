"""Phantom slices whose right chest wall is cut down to a stated thickness, with or without a gap."""

from __future__ import annotations

from functools import cache

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.imaging.regions import Code, dilate
from harness.imaging.segment import segment
from harness.phantom import PhantomSlice, View, make_patient, scan_slice

_AIR = 3.0  # grey of -1000 HU in the phantom's window


@cache
def scan(patient: int, level: float, view: View, size: int = 256) -> PhantomSlice:
    """A phantom slice at 2 % dose."""
    return scan_slice(make_patient(2602, patient, view=view), level, size=size, dose=0.02)


def cut_wall(whole: PhantomSlice, *, wall_mm: float, gap_mm: float = 0) -> PhantomSlice:
    """`whole` with at most `wall_mm` of tissue outside the lung of either breath over a sector of 40 degrees, and
    nothing over `gap_mm` in its middle. The noise stays as it was."""
    seen_in_gt = segment(whole.gt, window_hu=whole.window_hu, pixel_mm=whole.pixel_mm)
    lung = (whole.regions == Code.LUNG) | (whole.regions == Code.NODULE) | (seen_in_gt == Code.LUNG)
    rows, columns = np.nonzero(lung)
    middle = columns[columns < lung.shape[1] // 2].mean()
    y, x = np.indices(lung.shape) - np.array([rows.mean(), middle])[:, None, None]
    sector = (x < 0) & (np.abs(y) < np.tan(np.radians(20)) * -x)
    cut = sector & ~dilate(lung, wall_mm / whole.pixel_mm)
    cut |= (x < 0) & (np.abs(y) < gap_mm / 2 / whole.pixel_mm) & ~lung
    soft = cv2.GaussianBlur(cut.astype(np.float32), (0, 0), 0.6)  # as sharp as the scanner

    def opened(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(image * (1 - soft) + _AIR * soft, dtype=np.float32)

    noise = whole.lq.astype(np.float32) - whole.truth
    return msgspec.structs.replace(
        whole,
        gt=_grey(opened(whole.gt)),
        lq=_grey(opened(whole.truth) + noise),
        truth=_grey(opened(whole.truth)),
        regions=np.where(cut, np.uint8(Code.AIR), whole.regions),
    )


def _grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return grey
