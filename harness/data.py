"""Data: Protocol -> slice pairs on disk (phantom or folder)."""

from __future__ import annotations

from harness.files import Strict


class Case(Strict, frozen=True, kw_only=True):
    """One slice of a test set; the paths lead to 8-bit grey PNGs of the same size.

    `truth` is the noise-free aligned reference and `regions` the label map of the low-dose slice
    (codes of `harness.imaging.regions`); only data with known truth have them.
    """

    name: str
    patient: str
    lq: str
    gt: str
    truth: str | None = None
    regions: str | None = None


class Dataset(Strict, frozen=True, kw_only=True):
    """A checked test set. All slices of a case share one size; `window_hu` is the HU of grey 0 and 255.

    `digest` covers names, patients, pixels of every image, window and pixel size.
    """

    cases: tuple[Case, ...]
    window_hu: tuple[float, float] | None
    pixel_mm: float | None
    digest: str
