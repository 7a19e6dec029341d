"""Report: what an import found and took. It lies in the data set, so it holds no identity and no file's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.base.structs import Strict
from harness.importing.planes import Left


class PatientReport(Strict, frozen=True, kw_only=True):
    """One patient of the data set: slice pairs, their size (height, width) and pixels, whether pairs are of one plane,
    how many pixels were padding (set to -1024 HU) and were cut off at the ends of 16 bits, and what is odd."""

    name: str
    slices: int
    size: tuple[int, int]
    pixel_mm: float
    paired: bool
    padded: int
    clipped: int
    notes: tuple[str, ...]


class Report(Strict, frozen=True, kw_only=True):
    """`import.json`: the patients taken, and how many planes or files were left out by cause."""

    schema: int = 1
    files: int
    kind: str
    patients: tuple[PatientReport, ...]
    left: dict[str, int]


def counts(left: Sequence[Left]) -> dict[str, int]:
    """How often each cause occurs, the commonest first."""
    return dict(Counter(one.cause for one in left).most_common())
