"""A picture of a denoiser's systematic error: the mean of its outputs of one plane less the truth, in two colours."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.base.slices import read_image
from harness.base.structs import Strict
from harness.dataset.cases import Case, Dataset
from harness.scoring.scans import scans_of

FILE: Literal["bias-map.webp"] = "bias-map.webp"
FULL_HU, FULL_GREY = 100.0, 12.0
"""Where a colour is full, in HU or, of an unknown window, in grey levels: the same on every map, to compare rows."""
BELOW, ABOVE = (33, 102, 172), (178, 24, 43)
"""Blue and red of ColorBrewer's RdBu, which the colour-blind can tell apart; white is no error."""
QUALITY = 90  # of WebP


class BiasMap(Strict, frozen=True, kw_only=True):
    """What `pictures.json` says of the map: the plane and how many outputs of it were averaged, the colours' range.

    White is no error, blue `-full` and red `full` or more, in `unit`. `noise` is the root mean square that the noise of
    single outputs leaves in the map. `crop` as of a slice's pictures.
    """

    case: str
    patient: str
    outputs: Annotated[int, msgspec.Meta(ge=2)]
    full: float
    unit: Literal["HU", "grey"]
    noise: float
    crop: tuple[int, int, int, int]
    file: Literal["bias-map.webp"] = FILE

    def __str__(self) -> str:
        return (
            f"Mean of {self.outputs} outputs of {self.case} less the truth: blue {-self.full:g} {self.unit} or less, "
            f"white 0, red {self.full:+g} {self.unit} or more. Noise that is left: {self.noise:.3g} {self.unit}."
        )


class Map(NamedTuple):
    """A map and its picture's bytes."""

    facts: BiasMap
    picture: bytes


def bias_map(
    outputs: Mapping[str, Path], dataset: Dataset, *, box: Callable[[Case], tuple[int, int, int, int]]
) -> Map | None:
    """The map of the middle one of the planes that were scanned several times; None where there are none.

    Which plane follows from the test set alone, so that maps of different rows can be compared. `box` gives row,
    column, height and width of what is shown of a case.
    """
    planes = scans_of(outputs, dataset)
    if not planes:
        return None
    plane = planes[len(planes) // 2]
    crop = top, left, height, width = box(plane.case)
    window = np.s_[top : top + height, left : left + width]
    images = np.stack([read_image(path)[window] for path in plane.outputs]).astype(np.float64)
    known = dataset.hu_per_level
    scale, full = (1.0, FULL_GREY) if known is None else (known, FULL_HU)
    difference = (images.mean(axis=0) - read_image(Path(str(plane.case.truth)))[window]) * scale
    left_over = float(np.sqrt(images.var(axis=0, ddof=1).mean() / len(images))) * scale
    buffer = io.BytesIO()
    Image.fromarray(coloured(difference / full)).save(buffer, "WEBP", quality=QUALITY, method=4)
    facts = BiasMap(
        case=plane.case.name,
        patient=plane.case.patient,
        outputs=len(images),
        full=full,
        unit="grey" if dataset.window_hu is None else "HU",
        noise=float(f"{left_over:.3g}"),
        crop=crop,
    )
    return Map(facts, buffer.getvalue())


def coloured(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Shares of the full colours (height, width) as uint8 (height, width, 3): BELOW at -1, white at 0, ABOVE at 1."""
    amount = np.clip(np.abs(share), 0, 1)[..., None]
    end = np.where(share[..., None] < 0, np.array(BELOW), np.array(ABOVE))
    return np.rint(255 + amount * (end - 255.0)).astype(np.uint8)
