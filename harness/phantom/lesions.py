"""Lesions planted in a plane before it is scanned: is a nodule still seen after denoising?

A lesion is the section through the middle of a sphere: a disk of one contrast with a soft edge, added to the lung. Each
plane is scanned without lesions and with one at every site, with noise of its own, so that absent and present sites
have the same anatomy. The sites of a plane take the conditions in turn: one scan serves all of them, and every
condition has the same kind of surroundings. `harness.observer` measures how well lesions are seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.base.structs import Strict
from harness.imaging.draws import Draws, generator
from harness.imaging.lesion import Lesion, Site, roi_half
from harness.imaging.regions import Code, erode
from harness.phantom.patient import Patient
from harness.phantom.scan import NORMAL_PHOTONS, PhantomSlice, Plane, Scan, cut, middle, scan_slice
from harness.phantom.shapes import Array, coverage

EDGE_MM = 1.0
"""Over this width a lesion's contrast falls from all to nothing; half of it is left at the stated radius."""
CLEARANCE_MM = 2.0
"""Least distance of a lesion's radius from vessels, nodules and the lung's border."""
DENSE_HU = -600.0
"""What is denser within the lung is a vessel, a bronchial wall or an opacity."""
SUBSAMPLES = 5
"""Points a side at which a pixel asks how much of it a lesion fills."""
PRESENT_LOW, PRESENT_NORMAL, PLACES = 3, 4, 5
"""Numbers of the streams behind those of `scan_slice`: two exposures with lesions, and the sites."""


class LesionScans(Strict, frozen=True, kw_only=True):
    """One plane without and with lesions at its sites.

    `present` has its own noise in `lq` and in `aligned_gt`; its `truth` shows the lesions. `gt`, the scan in another
    breath, does not cut them, and is the same; `regions` are those of the anatomy alone.
    """

    absent: PhantomSlice
    present: PhantomSlice
    sites: tuple[Site, ...]


def scan_lesions(
    patient: Patient, level: float, *, size: int, dose: float, lesions: Sequence[Lesion], most: int
) -> LesionScans:
    """Scan a plane as `scan_slice` does, and once more with lesions at up to `most` sites.

    A plane may have room for fewer, or for none. The same arguments give the same bytes, in any order and any process.
    ValueError as `scan_slice` and `choose_sites`.
    """
    absent = scan_slice(patient, level, size=size, dose=dose)
    plane = cut(patient, level, patient.low_dose_breath, size=size)
    sites = choose_sites(patient, level, plane, size=size, lesions=lesions, most=most)
    scanner = Scan(patient=patient, level=level, size=size)
    sinogram = scanner.project(paint_lesions(plane.hu, sites, lesions, size=size, pixel_mm=scanner.pixel_mm))
    present = msgspec.structs.replace(
        absent,
        lq=scanner.image(scanner.exposed(sinogram, photons=NORMAL_PHOTONS * dose, number=PRESENT_LOW)),
        truth=scanner.image(sinogram),
        aligned_gt=scanner.image(scanner.exposed(sinogram, photons=NORMAL_PHOTONS, number=PRESENT_NORMAL)),
    )
    return LesionScans(absent=absent, present=present, sites=sites)


def choose_sites(
    patient: Patient, level: float, plane: Plane, *, size: int, lesions: Sequence[Lesion], most: int
) -> tuple[Site, ...]:
    """Up to `most` sites of a plane, in random order, with the conditions in turn from a random one on.

    Every site keeps the largest lesion at least CLEARANCE_MM from vessels, nodules and the lung's border, so that
    places do not differ between conditions. Regions of interest lie within the image and do not overlap. ValueError
    without lesions, or for one that is not positive in diameter or has no contrast.
    """
    if not lesions or not all(lesion.diameter_mm > 0 and lesion.contrast_hu for lesion in lesions):
        raise ValueError(f"expected lesions of a diameter above 0 and a contrast other than 0, found {list(lesions)}")
    reach = max(lesion.diameter_mm for lesion in lesions) / 2 + CLEARANCE_MM
    half = roi_half(size)
    clear = (plane.regions == Code.LUNG) & (plane.hu < np.float32(DENSE_HU))
    free = middle(erode(clear, reach * size / patient.anatomy.fov_mm), size)
    inside = np.zeros_like(free)
    inside[half : size - half, half : size - half] = True
    rows, columns = np.nonzero(free & inside)
    draws = Draws(generator(patient.seed, patient.index, round(level * 1e6), PLACES))
    first = draws.integer(0, len(lesions))
    order = draws.chosen(len(rows), len(rows))
    rows, columns = rows[order], columns[order]
    sites: list[Site] = []
    while len(rows) and len(sites) < most:
        row, column = int(rows[0]), int(columns[0])
        sites.append(Site(row=row, column=column, condition=(first + len(sites)) % len(lesions)))
        apart = np.maximum(np.abs(rows - row), np.abs(columns - column)) > 2 * half
        rows, columns = rows[apart], columns[apart]
    return tuple(sites)


def paint_lesions(
    hu: Array, sites: Sequence[Site], lesions: Sequence[Lesion], *, size: int, pixel_mm: float
) -> NDArray[np.float32]:
    """The plane, float32 (n, n) in HU, with a lesion at every site of its middle (size, size) pixels; a copy."""
    painted = hu.copy()
    border = (len(hu) - size) // 2
    for site in sites:
        patch = section(lesions[site.condition], pixel_mm=pixel_mm)
        half = len(patch) // 2
        row, column = site.row + border, site.column + border
        painted[row - half : row + half + 1, column - half : column + half + 1] += patch
    return painted


def section(lesion: Lesion, *, pixel_mm: float) -> Array:
    """What a lesion adds to the pixels around its middle, in HU: float32, an odd number of pixels a side.

    A pixel's value is the mean over SUBSAMPLES x SUBSAMPLES points. The contrast falls linearly across the edge, so
    that the sum of all pixels is that of a disk of radius^2 + EDGE_MM^2 / 12, whose area is 1 to 8 % above a sharp
    disk's for diameters of 6 to 2 mm.
    """
    radius = lesion.diameter_mm / 2
    half = int((radius + EDGE_MM / 2) / pixel_mm + 0.5) + 1
    steps = ((np.arange(SUBSAMPLES) - (SUBSAMPLES - 1) / 2) / SUBSAMPLES).tolist()
    offsets = np.arange(-half, half + 1)
    share = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for down in steps:  # one after the other: numpy's mean may add them up in any order
        for right in steps:
            y, x = (offsets + down) * pixel_mm, (offsets + right) * pixel_mm
            distance = np.sqrt(y[:, None] ** 2 + x**2) - radius
            share += coverage(distance.astype(np.float32), EDGE_MM)
    return share * np.float32(lesion.contrast_hu / SUBSAMPLES**2)
