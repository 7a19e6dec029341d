"""Show how well adaptive noise recovers a known scanner, and how its noise compares with real slices', as tables.

    python benchmarks/adaptive_noise.py [--slices 6] [--size 512] [--real FOLDER]

The known scanners scan planes of the phantom. `--real` is a folder of aligned slices, each reconstructed with a sharp
and a smooth kernel, with their `manifest.csv` (file, px, group, role, ...; uint16 PNG, HU + 1024).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.imaging.insertion import VIEWS_PER_CHANNEL, Scanner, insert_noise
from harness.imaging.noise_fit import Fit, fit_scanner, training_dose
from harness.imaging.regions import Code, erode
from harness.imaging.tomography import Kernel, detect, fbp, filter_response, hu_to_mu, mu_to_hu, radon
from harness.phantom import levels, make_patient
from harness.phantom.scan import NORMAL_PHOTONS, WINDOW_HU, Plane, cut, to_grey

Slice = NDArray[np.uint8]
FREQUENCIES = np.linspace(0.15, 0.95, 13)
"""Where kernels are compared, in units of Nyquist."""


class Case(NamedTuple):
    kernel: Kernel
    electronic: float
    dose: float


CASES = (
    Case("sharp", 4.0, 0.02),
    Case("sharp", 4.0, 0.05),
    Case("sharp", 10.0, 0.05),
    Case("hann", 4.0, 0.02),
    Case("ramp", 4.0, 0.05),
)


class Sinogram(NamedTuple):
    paths: NDArray[np.float32]
    plane: Plane
    pixel_mm: float


def sinograms(count: int, size: int) -> Iterator[Sinogram]:
    """Planes of two phantom patients, from the apex to the diaphragm."""
    for index in range(2):
        patient = make_patient(2602, index)
        for level in levels(count // 2):
            plane = cut(patient, level, patient.low_dose_breath, size=size)
            mm = patient.anatomy.fov_mm / size
            yield Sinogram(radon(hu_to_mu(plane.hu), pixel_mm=mm, views=round(VIEWS_PER_CHANNEL * size)), plane, mm)


def scan(sinogram: Sinogram, scanner: Scanner, rng: np.random.Generator | None) -> Slice:
    """A scan of a plane; without noise where there is no generator."""
    paths, mm = sinogram.paths, sinogram.pixel_mm
    if rng is not None:
        paths = detect(paths, photons=scanner.photons, pixel_mm=mm, electronic=scanner.electronic, rng=rng)
    hu = mu_to_hu(fbp(paths, pixel_mm=mm, kernel=scanner.kernel))
    return to_grey(np.where(sinogram.plane.regions == Code.PADDING, np.float32(-1024), hu))


def window_of(kernel: Kernel) -> NDArray[np.float64]:
    """Gains of a kernel at `FREQUENCIES`, 1 at frequency 0."""
    gains = filter_response(2048, kernel=kernel) / filter_response(2048, kernel="ramp")
    return np.asarray(np.interp(FREQUENCIES, np.linspace(0, 1, len(gains)), gains / gains[0]), np.float64)


def spread(noise: list[NDArray[np.float64]], inside: list[NDArray[np.bool_]]) -> float:
    """Standard deviation of the noise in a region of all slices, in HU."""
    per_grey = (WINDOW_HU[1] - WINDOW_HU[0]) / 255
    return float(np.concatenate([n[i] for n, i in zip(noise, inside, strict=True)]).std() * per_grey)


def mean_frequency(noise: list[NDArray[np.float64]], inside: list[NDArray[np.bool_]], mm: list[float]) -> float:
    """Mean frequency of the noise power spectrum in a region, in 1/mm: squares of 32 pixels that lie in it."""
    side = 32
    taper = np.outer(np.hanning(side), np.hanning(side))
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    rings = np.rint(f * side).astype(int)
    power, weighted = 0.0, 0.0
    for n, region, pixel in zip(noise, inside, mm, strict=True):
        for top in range(0, len(n) - side, side // 2):
            for left in range(0, len(n) - side, side // 2):
                square = np.s_[top : top + side, left : left + side]
                if region[square].mean() > 0.9:
                    spectrum = np.abs(np.fft.fft2((n[square] - n[square].mean()) * taper)) ** 2
                    radial = np.bincount(rings.ravel(), spectrum.ravel()) / np.bincount(rings.ravel())
                    power += float(radial[: side // 2 + 1].sum())
                    weighted += float((radial * np.arange(len(radial)))[: side // 2 + 1].sum()) / side / pixel
    return weighted / power


def phantom_rows(case: Case, planes: list[Sinogram]) -> tuple[str, str]:
    """A case's line of the recovery table and of the table of inserted noise."""
    normal = Scanner(photons=NORMAL_PHOTONS, electronic=case.electronic, kernel=case.kernel)
    low = Scanner(photons=NORMAL_PHOTONS * case.dose, electronic=case.electronic, kernel=case.kernel)
    mm = [plane.pixel_mm for plane in planes]
    normal_dose, low_dose = (
        [scan(plane, scanner, np.random.default_rng([which, i])) for i, plane in enumerate(planes)]
        for which, scanner in enumerate((normal, low))
    )
    fit = fit_scanner(low_dose, window_hu=WINDOW_HU, pixel_mm=mm)
    scanner, dose = training_dose(fit, fit_scanner(normal_dose, window_hu=WINDOW_HU, pixel_mm=mm))
    truth = [scan(plane, low, None) for plane in planes]
    inserted = [
        insert_noise(
            image, window_hu=WINDOW_HU, pixel_mm=pixel, scanner=scanner, dose=dose, rng=np.random.default_rng([9, i])
        )
        for i, (image, pixel) in enumerate(zip(normal_dose, mm, strict=True))
    ]
    error = np.abs(window_of(fit.scanner.kernel) / window_of(case.kernel) - 1)[FREQUENCIES < 0.8]
    name = f"{case.kernel}, {low.photons:.0f}, {case.electronic:.0f}"
    first = (
        f"| {name} | {fit.scanner.photons:.0f} | {fit.scanner.photons / low.photons - 1:+.0%} "
        f"| {fit.scanner.electronic:.1f} ± {fit.electronic_error:.1f} | {error.mean():.0%} / {error.max():.0%} "
        f"| {fit.variance_residual:.0%} | {dose:.3f} ({case.dose}) |"
    )
    own, made = (
        [image.astype(np.float64) - t for image, t in zip(images, truth, strict=True)]
        for images in (low_dose, inserted)
    )
    cells = []
    for code in (Code.LUNG, Code.BODY):
        region = [erode(plane.plane.regions == code, 2) for plane in planes]
        cells.append(f"{spread(own, region):.1f} / {spread(made, region):.1f}")
        cells.append(f"{mean_frequency(own, region, mm):.3f} / {mean_frequency(made, region, mm):.3f}")
    return first, f"| {name} | " + " | ".join(cells) + " |"


# -------------------------------------------------------------------------------- real slices
class Pairs(NamedTuple):
    """Aligned slices of one patient: HU with the sharp and with the smooth kernel."""

    sharp: list[NDArray[np.float64]]
    smooth: list[NDArray[np.float64]]
    kernels: tuple[str, str]
    pixel_mm: list[float]


def read_pairs(folder: Path) -> dict[str, Pairs]:
    """The aligned pairs of a folder, by patient (the group's name before its last underscore)."""
    with (folder / "manifest.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if row["role"] in ("sharp kernel", "smooth kernel")]
    found: dict[str, Pairs] = {}
    for patient in sorted({row["group"].rsplit("_", 1)[0] for row in rows}):
        own = sorted((row for row in rows if row["group"].startswith(patient + "_")), key=lambda row: row["group"])
        sharp, smooth = ([row for row in own if row["role"] == f"{kind} kernel"] for kind in ("sharp", "smooth"))
        images = [
            [np.asarray(Image.open(folder / row["file"]), np.float64) - 1024 for row in part]
            for part in (sharp, smooth)
        ]
        mm = [float(row["px"]) for row in sharp]
        found[patient] = Pairs(images[0], images[1], (sharp[0]["kernel"], smooth[0]["kernel"]), mm)
    return found


def transfer(pairs: Pairs) -> NDArray[np.float64]:
    """Sharp over smooth kernel at `FREQUENCIES`, from the cross-spectrum of the aligned slices."""
    cross, power = np.zeros(len(FREQUENCIES)), np.zeros(len(FREQUENCIES))
    for one, other in zip(pairs.sharp, pairs.smooth, strict=True):
        taper = np.outer(np.hanning(len(one)), np.hanning(len(one)))
        s, t = (np.fft.fft2((image - image.mean()) * taper) for image in (one, other))
        f = np.fft.fftfreq(len(one)) * 2
        radius = np.hypot(f[:, None], f)
        for i, centre in enumerate(FREQUENCIES):
            weight = np.exp(-(((radius - centre) / 0.05) ** 2))
            cross[i] += float((weight * (s * t.conj()).real).sum())
            power[i] += float((weight * np.abs(t) ** 2).sum())
    return cross / power


def real_rows(patient: str, pairs: Pairs) -> tuple[list[str], str]:
    """Lines of a patient's two fits, and of the comparison of their kernels."""
    fits: list[Fit] = []
    lines = []
    for name, images in zip(pairs.kernels, (pairs.sharp, pairs.smooth), strict=True):
        fit = fit_scanner([to_grey(image.astype(np.float32)) for image in images], window_hu=WINDOW_HU,
                          pixel_mm=pairs.pixel_mm)  # fmt: skip
        fits.append(fit)
        lung = "-" if fit.lung_hu is None else f"{fit.lung_hu.measured:.1f} / {fit.lung_hu.reproduced:.1f}"
        lines.append(
            f"| {patient}, {name} | {len(images)} | {fit.scanner.photons:.2g} "
            f"| {fit.scanner.electronic:.1f} ± {fit.electronic_error:.1f} "
            f"| {fit.body_hu.measured:.1f} / {fit.body_hu.reproduced:.1f} | {lung} "
            f"| {fit.frequency.measured:.3f} / {fit.frequency.reproduced:.3f} | {fit.variance_residual:.0%} |"
        )
    measured = transfer(pairs)
    # Both kernels are known up to their gain at frequency 0, which the photons carry.
    amplitude = [window_of(fit.scanner.kernel) / np.sqrt(fit.scanner.photons) for fit in fits]
    error = amplitude[0] / amplitude[1] / measured
    cells = " | ".join(f"{error[np.argmin(np.abs(FREQUENCIES - f))]:.2f}" for f in (0.15, 0.28, 0.42, 0.55, 0.68, 0.82))
    photons = fits[0].scanner.photons / fits[1].scanner.photons
    return lines, f"| {patient} | {photons:.2f} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()

    planes = list(sinograms(options.slices, options.size))
    first, second = zip(*(phantom_rows(case, planes) for case in CASES), strict=True)
    print(f"{len(planes)} slices of the phantom, {options.size} x {options.size}\n")
    print(
        "| true kernel, photons, electronic noise | photons | error | electronic | kernel's error, mean / worst "
        "| variance residual | dose (true) |\n|---|---|---|---|---|---|---|"
    )
    print("\n".join(first))
    print("\nNoise of the low-dose scan / inserted into the normal-dose scan, against the noise-free truth\n")
    print("| scanner | lung, HU | lung, 1/mm | body, HU | body, 1/mm |\n|---|---|---|---|---|")
    print("\n".join(second))
    if options.real is not None:
        results = [real_rows(patient, pairs) for patient, pairs in read_pairs(options.real).items()]
        print("\nReal slices, measured / reproduced by the fitted scanner\n")
        print(
            "| patient, kernel | slices | photons | electronic | body, HU | lung, HU | frequency, 1/mm "
            "| variance residual |\n|---|---|---|---|---|---|---|---|"
        )
        print("\n".join(line for lines, _ in results for line in lines))
        print("\nSharp over smooth noise amplitude as fitted, over the transfer ratio of the aligned slices\n")
        print(
            "| patient | photons, sharp / smooth | 0.15 Nyquist | 0.28 | 0.42 | 0.55 | 0.68 | 0.82 |\n"
            "|---|---|---|---|---|---|---|---|"
        )
        print("\n".join(line for _, line in results))


if __name__ == "__main__":
    main()
