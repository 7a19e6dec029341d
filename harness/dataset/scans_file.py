"""The file format of imported scans: `dataset.json` of 16-bit slice pairs in Hounsfield units (docs/import.md).

Beside it lie lq/NAME.png and gt/NAME.png, 16-bit grey, whose pixels are HU + `offset_hu`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from harness.base.structs import Strict
from harness.base.text import shortened, visible

DATASET = "dataset.json"
MOST_MM, MOST_KERNEL = 1e5, 64  # of a place, of a kernel's name
Positive = Annotated[float, msgspec.Meta(gt=0)]
Position = Annotated[float, msgspec.Meta(ge=-MOST_MM, le=MOST_MM)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class ScanCase(Strict, frozen=True, kw_only=True):
    """One slice pair: the files lq/NAME.png and gt/NAME.png, of one size.

    `position_mm` is the low-dose plane's place along the patient's axis (towards the head), `thickness_mm`, `kvp`,
    `mas` and `kernel` are the low-dose scan's; None is what the source does not state. Where `paired` is false, lq and
    gt show the same patient and not the same plane. `lq` and `gt` are the digests of the pixels, uint16
    (`harness.base.digests.digest_pixels`).
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^p[0-9]{3,}-[0-9]{4,}\Z")]
    patient: Annotated[str, msgspec.Meta(pattern=r"^p[0-9]{3,}\Z")]
    position_mm: Position | None
    pixel_mm: Positive
    thickness_mm: Positive | None
    kvp: Positive | None
    mas: Positive | None
    kernel: str | None
    paired: bool
    lq: Sha256
    gt: Sha256

    def __post_init__(self) -> None:
        if not self.name.startswith(f"{self.patient}-"):
            raise ValueError(f"name is {self.name}, and patient {self.patient}")
        if self.kernel is not None and self.kernel != kernel_name(self.kernel):
            raise ValueError(f"kernel is no line of text of {MOST_KERNEL} characters at most")


class MadeBy(Strict, frozen=True, kw_only=True):
    """What wrote the data set: the version of the harness, and the kind of files it read ("dicom", "nifti", ...)."""

    harness: str
    kind: str


class ScansFile(Strict, frozen=True, kw_only=True):
    """The content of `dataset.json`; `cases` are in the order of patient, then position."""

    schema: Literal[1] = 1
    offset_hu: Literal[8192] = 8192
    slope_hu: Literal[1] = 1
    cases: Annotated[tuple[ScanCase, ...], msgspec.Meta(min_length=1)]
    made_by: MadeBy

    def __post_init__(self) -> None:
        if len({one.name for one in self.cases}) < len(self.cases):
            raise ValueError("two cases have one name")


def kernel_name(stated: str) -> str:
    """A kernel's name as a file states it, safe to print and to store."""
    return shortened(visible(stated), MOST_KERNEL)
