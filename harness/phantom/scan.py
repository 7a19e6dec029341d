"""Scan a slice of a patient: the normal-dose and the low-dose image, the noise-free truth and the true regions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.base.structs import Strict
from harness.imaging.draws import generator
from harness.imaging.hounsfield import Image
from harness.imaging.regions import Code
from harness.imaging.tomography import detect, fbp, hu_to_mu, mu_to_hu, radon
from harness.phantom.anatomy import Anatomy, Breath
from harness.phantom.bones import paint_bones
from harness.phantom.parenchyma import paint_lungs
from harness.phantom.patient import Patient
from harness.phantom.section import Section
from harness.phantom.shapes import Array
from harness.phantom.softtissue import paint_abdomen, paint_body_wall, paint_mediastinum
from harness.phantom.surfaces import material_height
from harness.phantom.table import paint_table

Value = TypeVar("Value", bound=np.generic)

WINDOW_HU = (-1024.0, 1200.0)
NORMAL_PHOTONS = 2e5
"""Photons per ray of the normal-dose scan, before the patient."""
ELECTRONIC_NOISE = 4.0
"""Standard deviation of the detector's own noise, in photons."""
VIEWS_PER_CHANNEL = 720 / 512
SUPERSAMPLING = 2
TOP, BOTTOM = 0.15, 0.76
"""Slices lie between these relative heights."""
GT, LQ, ALIGNED_GT = 0, 1, 2
"""Numbers of the exposures of a pair; `harness.phantom.lesions` and `harness.phantom.further` go on counting."""
ROUND_VIEWS = ("full", "closed-cavity")
"""Views that show the scanner's whole circular field; the others are zoomed in until it fills the square image."""


class PhantomSlice(Strict, frozen=True, kw_only=True):
    """One slice scanned twice. All images are (size, size), `window_hu` being the HU of value 0 and of the largest one;
    `regions` is uint8, the others have the scanner's bits.

    `gt` is the normal-dose scan; `lq` the low-dose scan, in another breath; `truth` the noise-free reconstruction of
    what `lq` saw, through the same kernel; `aligned_gt` a normal-dose scan of that, the best that any scan can be;
    `regions` its region map (harness.imaging.regions.Code).
    """

    gt: Image
    lq: Image
    truth: Image
    aligned_gt: Image
    regions: NDArray[np.uint8]
    window_hu: tuple[float, float]
    pixel_mm: float


class Plane(NamedTuple):
    """A section of a patient before any scan: densities in HU and region codes, (n, n)."""

    hu: Array
    regions: NDArray[np.uint8]


def levels(slices: int) -> list[float]:
    """Relative heights of `slices` slices through the lungs, from near the apices (0.15) to the diaphragm (0.76)."""
    return [TOP + (BOTTOM - TOP) * (i + 0.5) / slices for i in range(slices)]


def levels_with_nodules(patient: Patient, slices: int, *, nodule_slices: int) -> list[float]:
    """`levels(slices)`, with up to `nodule_slices` of them moved to nodules, from the apices down.

    For each nodule the nearest level moves. Moved levels stay at least half the even distance apart, so of nodules
    closer together than that only one gets a slice.
    """
    even, moved = levels(slices), list[float]()
    apart = (BOTTOM - TOP) / slices / 2
    for level in nodule_levels(patient) if nodule_slices else []:
        if len(moved) < nodule_slices and all(abs(level - other) >= apart for other in moved):
            even.pop(int(np.argmin(np.abs(np.subtract(even, level)))))
            moved.append(level)
    return sorted(even + moved)


def nodule_levels(patient: Patient) -> list[float]:
    """Relative heights at which the low-dose scan passes through the middle of a nodule, from the apices down.

    Evenly spaced slices seldom hit one. Nodules that `draw_anatomy` placed outside the lungs are not painted, and are
    left out.
    """
    a, breath = patient.anatomy, patient.low_dose_breath
    found = sorted(_height_of(a, nodule.z, breath) / a.lung_height for nodule in a.nodules)
    return [level for level in found if (cut(patient, level, breath, size=128).regions == Code.NODULE).any()]


def _height_of(a: Anatomy, tissue: float, breath: Breath) -> float:
    """The height at which a breath finds the tissue that lay at height `tissue` at full inspiration: bisection."""
    low, high = 0.0, tissue
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if material_height(a, middle, breath) < tissue else (low, middle)
    return low


def scan_slice(
    patient: Patient, level: float, *, size: int, dose: float, window_hu: tuple[float, float] = WINDOW_HU
) -> PhantomSlice:
    """Scan the plane at relative height `level` (0 = apex, 1 = base of the lungs) at normal dose and at `dose` of it.

    The same arguments give the same bytes, in any order and any process; another window shows the same scans in other
    grey levels. ValueError where size is below 16, dose is not in (0, 1], or the window does not rise.
    """
    scanner = Scan(patient=patient, level=level, size=size, dose=dose, window_hu=window_hu)
    return scanner.pair(scanner.see())


class Seen(NamedTuple):
    """What a low-dose scan sees: the plane and its noise-free line integrals."""

    plane: Plane
    sinogram: Array


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The scanner, set to one level of a patient, to images of `size` pixels, of `bits` bits, and to a low dose of
    `dose` of the normal one. ValueError as `scan_slice`."""

    patient: Patient
    level: float
    size: int
    dose: float
    window_hu: tuple[float, float] = WINDOW_HU
    bits: Literal[8, 16] = 8

    def __post_init__(self) -> None:
        if self.size < 16 or not 0 < self.dose <= 1:
            raise ValueError(f"expected a size of at least 16 and a dose in (0, 1], found {self.size} and {self.dose}")
        if not self.window_hu[0] < self.window_hu[1]:
            raise ValueError(f"expected a window from low to high HU, found {self.window_hu}")

    @property
    def pixel_mm(self) -> float:
        return self.patient.anatomy.fov_mm / self.size

    def see(self) -> Seen:
        """What every low-dose scan of this level sees."""
        plane = cut(self.patient, self.level, self.patient.low_dose_breath, size=self.size)
        return Seen(plane, self.project(plane.hu))

    def pair(self, seen: Seen) -> PhantomSlice:
        """The scans at low and at normal dose, of what `see` returned."""
        normal = self.project(cut(self.patient, self.level, self.patient.normal_dose_breath, size=self.size).hu)
        return PhantomSlice(
            gt=self.normal_dose(normal, number=GT),
            lq=self.low_dose(seen.sinogram, number=LQ),
            truth=self.image(seen.sinogram),
            aligned_gt=self.normal_dose(seen.sinogram, number=ALIGNED_GT),
            regions=middle(seen.plane.regions, self.size),
            window_hu=self.window_hu,
            pixel_mm=self.pixel_mm,
        )

    def project(self, hu: Array) -> Array:
        """Noise-free line integrals of a plane in HU, as `cut` gives it."""
        return radon(hu_to_mu(hu), pixel_mm=self.pixel_mm, views=round(VIEWS_PER_CHANNEL * self.size))

    def low_dose(self, sinogram: Array, *, number: int) -> Image:
        """An image of these line integrals at low dose; each `number` is an exposure with noise of its own."""
        return self.image(self._exposed(sinogram, photons=NORMAL_PHOTONS * self.dose, number=number))

    def normal_dose(self, sinogram: Array, *, number: int) -> Image:
        """As `low_dose`, at normal dose."""
        return self.image(self._exposed(sinogram, photons=NORMAL_PHOTONS, number=number))

    def image(self, sinogram: Array) -> Image:
        """The reconstruction, (size, size)."""
        hu = mu_to_hu(fbp(sinogram, pixel_mm=self.pixel_mm, kernel="sharp", size=self.size))
        shown = np.where(field_of_view(self.patient, self.size), hu, np.float32(-1024))
        return to_grey(shown, window_hu=self.window_hu, bits=self.bits)

    def _exposed(self, sinogram: Array, *, photons: float, number: int) -> Array:
        """The line integrals as measured with `photons` a ray."""
        rng = generator(self.patient.seed, self.patient.index, round(self.level * 1e6), number)
        return detect(sinogram, photons=photons, pixel_mm=self.pixel_mm, electronic=ELECTRONIC_NOISE, rng=rng)


def cut(patient: Patient, level: float, breath: Breath, *, size: int) -> Plane:
    """The section that a scan of `size` pixels sees; larger than the image where the body reaches beyond it."""
    channels = size if patient.anatomy.view in ROUND_VIEWS else 2 * math.ceil(size / math.sqrt(2))
    section = Section(
        patient,
        z=level * patient.anatomy.lung_height,
        breath=breath,
        size=channels * SUPERSAMPLING,
        pixel_mm=patient.anatomy.fov_mm / size / SUPERSAMPLING,
    )
    paint_table(section, patient.anatomy)
    table = section.hu > -990
    paint_body_wall(section)
    paint_mediastinum(section)
    gas = paint_abdomen(section)
    inside = paint_lungs(section)
    gas += inside.bronchial_air
    paint_bones(section)

    regions = np.full((channels, channels), Code.AIR, np.uint8)
    regions[_binned(table) > 0.5] = Code.TABLE
    regions[_binned(section.body) < 0] = Code.BODY
    lung = _binned(section.lungs) < 0
    regions[lung] = Code.LUNG
    regions[lung & (_binned(inside.nodules) > 0.5)] = Code.NODULE
    for airway in ("trachea", "right bronchus", "left bronchus"):
        if airway in section.organs:
            regions[_binned(section.organs[airway]) < 0] = Code.GAS
    regions[_binned(gas) > 0.5] = Code.GAS
    seen = _disk(channels)
    regions[~seen] = Code.PADDING
    return Plane(np.where(seen, _binned(section.hu), np.float32(-1000)), regions)


def field_of_view(patient: Patient, size: int) -> NDArray[np.bool_]:
    """Where the scanner shows an image, (size, size): a disk, or everywhere if the view is zoomed into the disk."""
    if patient.anatomy.view in ROUND_VIEWS:
        return _disk(size)
    return np.ones((size, size), bool)


def to_grey(hu: Array, *, window_hu: tuple[float, float] = WINDOW_HU, bits: Literal[8, 16] = 8) -> Image:
    """HU -> uint8 or uint16 through a window, rounded to the nearest level."""
    (low, high), largest = window_hu, 2**bits - 1
    levels = np.rint(np.clip((hu - low) * (largest / (high - low)), 0, largest))
    image: Image = levels.astype(np.uint8 if bits == 8 else np.uint16)
    return image


def _disk(size: int) -> NDArray[np.bool_]:
    offset = np.arange(size) - (size - 1) / 2
    inside: NDArray[np.bool_] = offset**2 + offset[:, None] ** 2 < ((size - 1) / 2) ** 2
    return inside


def _binned(image: NDArray[np.generic]) -> Array:
    """Mean over SUPERSAMPLING x SUPERSAMPLING pixels."""
    n = len(image) // SUPERSAMPLING
    parts = image[: n * SUPERSAMPLING, : n * SUPERSAMPLING].astype(np.float32)
    binned = np.zeros((n, n), np.float32)
    for row in range(SUPERSAMPLING):  # numpy's mean may add them up in any order
        for column in range(SUPERSAMPLING):
            binned += parts[row::SUPERSAMPLING, column::SUPERSAMPLING]
    return binned * np.float32(1 / SUPERSAMPLING**2)


def middle(image: NDArray[Value], size: int) -> NDArray[Value]:
    """The image's part of a plane that reaches beyond it: (n, n) -> (size, size), a copy."""
    border = (len(image) - size) // 2
    return image[border : border + size, border : border + size].copy()
