"""All scans of a plane in one go: the usual ones, those with lesions, and more low-dose ones.

What they share is cut and projected once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.base.structs import Strict
from harness.imaging.hounsfield import Image
from harness.imaging.lesion import Lesion, Site
from harness.phantom.lesions import PRESENT_LOW, PRESENT_NORMAL, plant
from harness.phantom.patient import Patient
from harness.phantom.scan import WINDOW_HU, PhantomSlice, Scan

AGAIN = 10
"""Further exposures take the numbers from here on; those below belong to the other modules."""


class PlaneScans(Strict, frozen=True, kw_only=True):
    """The usual scans of a plane; with lesions at `sites`, the low-dose and the normal-dose one, None where there are
    none to plant; and more low-dose scans of the plane as it is. All images are (size, size), of the scanner's bits."""

    usual: PhantomSlice
    sites: tuple[Site, ...]
    lesions_lq: Image | None
    lesions_gt: Image | None
    again: tuple[Image, ...]


def scan_plane(
    patient: Patient,
    level: float,
    *,
    size: int,
    dose: float,
    window_hu: tuple[float, float] = WINDOW_HU,
    bits: Literal[8, 16] = 8,
    lesions: Sequence[Lesion] = (),
    most: int = 0,
    realisations: int = 1,
) -> PlaneScans:
    """Scan a plane as `scan_slice` does, as `scan_lesions` does with `lesions` at up to `most` sites, and at low dose
    until there are `realisations`, of which `usual.lq` is the first.

    Every exposure has noise of its own. The same arguments give the same bytes, and an image does not depend on which
    others are made. ValueError as `scan_lesions`, and for less than one realisation.
    """
    if realisations < 1:
        raise ValueError(f"expected at least one realisation, found {realisations}")
    scanner = Scan(patient=patient, level=level, size=size, dose=dose, window_hu=window_hu, bits=bits)
    seen = scanner.see()
    planted = plant(scanner, seen, lesions, most=most) if lesions else None
    return PlaneScans(
        usual=scanner.pair(seen),
        sites=planted.sites if planted else (),
        lesions_lq=scanner.low_dose(planted.sinogram, number=PRESENT_LOW) if planted else None,
        lesions_gt=scanner.normal_dose(planted.sinogram, number=PRESENT_NORMAL) if planted else None,
        again=tuple(scanner.low_dose(seen.sinogram, number=AGAIN + more) for more in range(1, realisations)),
    )
