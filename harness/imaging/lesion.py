"""Lesions that are planted in a phantom, and where."""

from __future__ import annotations

from typing import Annotated

import msgspec

from harness.base.structs import Strict


class Lesion(Strict, frozen=True, kw_only=True):
    """One condition: a sphere's section of this diameter in mm and this contrast to the lung around it in HU."""

    diameter_mm: Annotated[float, msgspec.Meta(gt=0, le=30)]
    contrast_hu: Annotated[float, msgspec.Meta(ge=-1000, le=2000)]

    def __str__(self) -> str:
        return f"{self.diameter_mm:g} mm, {self.contrast_hu:+g} HU"


class Site(Strict, frozen=True, kw_only=True):
    """Pixel of the image on which a lesion is centred, and the number of its condition."""

    row: int
    column: int
    condition: int


def roi_half(size: int) -> int:
    """Pixels from a site to the edge of its region of interest, which has 2 x half + 1 pixels a side: 16 at 512."""
    return size // 32
