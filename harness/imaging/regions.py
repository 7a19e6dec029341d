"""Regions of an axial chest slice: the codes of a label map and the scoring regions made of them."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Values of a label map (uint8). `LUNG` is parenchyma with its vessels, `GAS` air inside the body
    that is not lung: trachea, bronchi, bowel; `PADDING` lies outside the scanner's field of view."""

    PADDING = 0
    AIR = 1
    TABLE = 2
    BODY = 3
    LUNG = 4
    GAS = 5
