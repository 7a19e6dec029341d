"""The file format of imported scans: `dataset.json` of 16-bit slice pairs in Hounsfield units (docs/import.md).

Beside it lie lq/NAME.png and gt/NAME.png, 16-bit grey, whose pixels are HU + `offset_hu`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from harness.base.structs import Strict

DATASET = "dataset.json"
OFFSET_HU: Literal[8192] = 8192
"""Of a pixel above its HU: noise far below -1024 HU is kept, and so are metal and what lies above it."""

Positive = Annotated[float, msgspec.Meta(gt=0)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class ScanCase(Strict, frozen=True, kw_only=True):
    """One slice pair: the files lq/NAME.png and gt/NAME.png, of one size.

    `position_mm` is the low-dose plane's place along the patient's axis (towards the head), `thickness_mm`, `kvp`,
    `mas` and `kernel` are the low-dose scan's; None is what the source does not state. Where `paired` is false, lq and
    gt show the same patient and not the same plane. `lq` and `gt` are the digests of the pixels, uint16
    (`harness.base.digests.digest_pixels`).
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^p\d{3,}-\d{4,}$")]
    patient: Annotated[str, msgspec.Meta(pattern=r"^p\d{3,}$")]
    position_mm: float | None
    pixel_mm: Positive
    thickness_mm: Positive | None
    kvp: Positive | None
    mas: Positive | None
    kernel: str | None
    paired: bool
    lq: Sha256
    gt: Sha256


class MadeBy(Strict, frozen=True, kw_only=True):
    """What wrote the data set: the version of the harness, and the kind of files it read ("dicom", "nifti", ...)."""

    harness: str
    kind: str


class ScansFile(Strict, frozen=True, kw_only=True):
    """The content of `dataset.json`; `cases` are in the order of patient, then position."""

    schema: Literal[1] = 1
    offset_hu: Literal[8192] = OFFSET_HU
    slope_hu: Literal[1] = 1
    cases: Annotated[tuple[ScanCase, ...], msgspec.Meta(min_length=1)]
    made_by: MadeBy
