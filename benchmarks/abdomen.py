"""An abdomen of ellipses, scanned at normal dose and at a quarter of it: imported scans whose every tissue is known.

.venv/bin/python -m benchmarks.abdomen -o abdomen     # data in abdomen/, and abdomen.yaml, a protocol of them

It stands for data that cannot be shipped (docs/anatomy.md). Both scans show one plane, as simulated low-dose scans do.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import __version__
from harness.base.digests import digest_pixels
from harness.base.slices import write_grey
from harness.base.structs import write_json
from harness.dataset.scans_file import DATASET, MadeBy, ScanCase, ScansFile
from harness.imaging.draws import generator
from harness.imaging.hounsfield import HU16, Image, levels
from harness.imaging.regions import Code
from harness.imaging.tomography import detect, fbp, hu_to_mu, mu_to_hu, radon
from harness.phantom.shapes import Array, coverage, ellipse

WIDE_MM = 400.0
PHOTONS, ELECTRONIC, DOSE = 3e5, 4.0, 0.25
PROTOCOL = """\
schema: 1
name: abdomen
version: 1
title: Abdomen of ellipses at a quarter of the dose
anatomy: abdomen
data: {{source: scans, path: "{folder}"}}
purify: {{strategy: none}}
regions: [whole, background, body, soft, fat, bone, gas, boundary]
metrics:
  - {{name: RMSE, metric: rmse}}
  - {{name: bias, metric: bias}}
rank_by: {{metric: RMSE, region: soft}}
gate: {{metric: RMSE, region: whole}}
"""


class Organ(NamedTuple):
    """An ellipse of one density, which covers what was drawn before it: mm to the right and down from the middle."""

    name: str
    centre: tuple[float, float]
    radii: tuple[float, float]
    hu: float
    code: Code


def organs(patient: int, slice: int) -> list[Organ]:
    """What a plane holds, from the outside in: patients differ in girth, slices in the size of their organs."""
    wide, grown = 1 + 0.05 * patient, 1 + 0.06 * slice
    back = 62.0 * wide
    return [
        Organ("table", (0, 150), (190, 10), -750, Code.TABLE),
        Organ("skin", (0, 0), (160 * wide, 118 * wide), 40, Code.BODY),
        Organ("fat", (0, 0), (157 * wide, 115 * wide), -100, Code.FAT),
        Organ("muscle", (0, 5), (142 * wide, 100 * wide), 55, Code.SOFT),
        Organ("mesentery", (0, 0), (132 * wide, 90 * wide), -95, Code.FAT),
        Organ("liver", (-66 * wide, -18), (58 * grown, 60), 110, Code.SOFT),
        Organ("cyst", (-80 * wide, -30), (9, 9), 10, Code.SOFT),
        Organ("spleen", (92 * wide, 2), (27, 42 / grown), 120, Code.SOFT),
        Organ("right kidney", (-58, back), (22, 27 * grown), 190, Code.SOFT),
        Organ("left kidney", (58, back), (22, 27 * grown), 190, Code.SOFT),
        Organ("bowel", (22, -42), (44 / grown, 30), 45, Code.SOFT),
        Organ("gas", (22, -50), (30 / grown, 16), -1000, Code.GAS),
        Organ("cortex", (0, back), (27, 22), 550, Code.BONE),
        Organ("marrow", (0, back), (23, 18), 200, Code.BONE),
        Organ("aorta", (10, back - 38), (10, 10), 160, Code.SOFT),
    ]


def draw(patient: int, slice: int, *, size: int) -> tuple[Array, NDArray[np.uint8]]:
    """A plane in HU, float32 (size, size), and its region map (uint8)."""
    pixel_mm = WIDE_MM / size
    along = ((np.arange(size) - (size - 1) / 2) * pixel_mm).astype(np.float32)
    x, y = np.meshgrid(along, along)
    hu = np.full((size, size), -1000, np.float32)
    codes = np.full((size, size), Code.AIR, np.uint8)
    for organ in organs(patient, slice):
        share = coverage(ellipse(x, y, organ.centre, organ.radii), pixel_mm)
        hu += (np.float32(organ.hu) - hu) * share
        codes[share > 0.5] = organ.code
    seen = x**2 + y**2 < (WIDE_MM / 2) ** 2
    codes[~seen] = Code.PADDING
    return np.where(seen, hu, np.float32(-1000)), codes


def scan(hu: Array, *, dose: float, numbers: tuple[int, ...]) -> Image:
    """A plane as a scanner shows it at a share of the normal dose, uint16; `numbers` decide its noise."""
    size, pixel_mm = len(hu), WIDE_MM / len(hu)
    paths = radon(hu_to_mu(hu), pixel_mm=pixel_mm, views=round(1.4 * size))
    measured = detect(paths, photons=PHOTONS * dose, pixel_mm=pixel_mm, electronic=ELECTRONIC, rng=generator(*numbers))
    shown = mu_to_hu(fbp(measured, pixel_mm=pixel_mm, kernel="hann", size=size)).astype(np.float64)
    along = np.arange(size) - (size - 1) / 2
    return levels(np.where(along**2 + along[:, None] ** 2 < (size / 2) ** 2, shown, -1024.0), HU16, np.uint16)


def write(folder: Path, *, patients: int, slices: int, size: int) -> None:
    """Write the scans as `harness import` would, and `<folder>.yaml`."""
    cases = []
    for patient in range(patients):
        for slice in range(slices):
            hu, _ = draw(patient, slice, size=size)
            name, digests = f"p{patient + 1:03}-{slice + 1:04}", {}
            for number, (kind, dose) in enumerate((("lq", DOSE), ("gt", 1.0))):
                image = scan(hu, dose=dose, numbers=(18, patient, slice, number))
                write_grey(folder / kind / f"{name}.png", image)
                digests[kind] = digest_pixels(image)
            cases.append(
                ScanCase(
                    name=name,
                    patient=f"p{patient + 1:03}",
                    position_mm=5.0 * slice,
                    pixel_mm=WIDE_MM / size,
                    thickness_mm=5.0,
                    kvp=120,
                    mas=None,
                    kernel="hann",
                    paired=True,
                    **digests,
                )
            )
    write_json(folder / DATASET, ScansFile(cases=tuple(cases), made_by=MadeBy(harness=__version__, kind="phantom")))
    folder.with_name(f"{folder.name}.yaml").write_text(PROTOCOL.format(folder=folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write (new)")
    parser.add_argument("--patients", type=int, default=3)
    parser.add_argument("--slices", type=int, default=2, help="of each patient")
    parser.add_argument("--size", type=int, default=192, help="pixels")
    given = parser.parse_args()
    write(given.output, patients=given.patients, slices=given.slices, size=given.size)
