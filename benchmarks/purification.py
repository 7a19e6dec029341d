"""Purification as published against corrected: masks and added noise, on the phantom and on real slices.

    python benchmarks/purification.py [--real FOLDER] [--patients 3] [--pictures docs]

The phantom's truth is known. Of a real slice the segmentation of the normal-dose image stands for it, and noise at 2 %
dose is inserted for want of a low-dose scan. `--pictures` writes phantom pictures only.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.base.slices import write_grey
from harness.imaging.blend import label
from harness.imaging.insertion import Scanner, insert_noise
from harness.imaging.lungs import DARKER_THAN_AIR_HU, SMOOTHING_MM, Unpurifiable, corrected_masks
from harness.imaging.masks import common_mask, remove_background
from harness.imaging.montage import lung_window, montage
from harness.imaging.noise import add_noise, project
from harness.imaging.quality import Quality, implausible, quality
from harness.imaging.regions import Code, shrink
from harness.imaging.segment import blur, calibrated, segment
from harness.metrics.nps_frequency import radial_spectrum
from harness.phantom import VIEWS, make_patient, scan_slice

Image = NDArray[np.uint8]

SEED, SIZE, DOSE = 2602, 512, 0.02
LEVELS = (0.25, 0.5, 0.72)
SCANNER = Scanner(photons=2e5, electronic=4, kernel="sharp")
WINDOW = (-1024.0, 1200.0)
CROPS = (0, 40, 80, 110, 130, 150)
"""Pixels cut from every side of a slice of 512 x 512."""


class Pair(NamedTuple):
    """A slice at two doses; `truth` is None where there is none, `regions` then a segmentation of `normal`."""

    group: str
    name: str
    low: Image
    normal: Image
    truth: Image | None
    regions: Image
    pixel_mm: float


class Shares(NamedTuple):
    """What a mask does to the background, the lung and the body, and the quality line of its label."""

    removed: float
    covered: float
    body: float
    line: Quality


class Noise(NamedTuple):
    """Grey levels and 1/mm; all but the bias from the difference of two realisations where there are two."""

    bias_lung: float
    bias_body: float
    in_lung: float
    in_body: float
    frequency_lung: float
    frequency_body: float


# -------------------------------------------------------------------------------- the slices
def phantom_pairs(patients: int) -> Iterator[Pair]:
    """All views of so many patients, and a view with bright padding and a bright corner."""
    for view in VIEWS:
        for index in range(patients):
            patient = make_patient(SEED, index, view=view)
            for level in LEVELS:
                scan = scan_slice(patient, level, size=SIZE, dose=DOSE)
                name = f"patient {index}, level {level}"
                yield Pair(view, name, scan.lq, scan.gt, scan.truth, scan.regions, scan.pixel_mm)
                if view == "full":
                    for group, where in (("bright padding", scan.regions == Code.PADDING), ("bright corner", corner())):
                        low, normal = (np.where(where, np.uint8(200), image) for image in (scan.lq, scan.gt))
                        yield Pair(group, name, low, normal, scan.truth, scan.regions, scan.pixel_mm)


def corner() -> NDArray[np.bool_]:
    """The upper left 40 x 40 pixels."""
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:40, :40] = True
    return mask


def real_pairs(folder: Path) -> Iterator[Pair]:
    """Every slice of a manifest, windowed to 8 bits, and two crops for a tight field of view."""
    with (folder / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        hu = np.asarray(Pillow.open(folder / row["file"])).astype(np.float32) - 1024
        normal = np.clip(np.rint((hu - WINDOW[0]) * 255 / (WINDOW[1] - WINDOW[0])), 0, 255).astype(np.uint8)
        pixel_mm = float(row["px"])
        low = inserted(normal, pixel_mm, [SEED, number])
        group = f"{row['collection']}, {row['kernel']}"
        for cut in (0, 90) if row["file"] in ("xcist_033.png", "A0002_18_B40f.png") else (0,):
            a, b = (image[cut : SIZE - cut, cut : SIZE - cut].copy() for image in (low, normal))
            regions = segment(b, window_hu=WINDOW, pixel_mm=pixel_mm)
            yield Pair(f"{group}, crop" if cut else group, row["sha256"], a, b, None, regions, pixel_mm)


def inserted(normal: Image, pixel_mm: float, seed: list[int]) -> Image:
    """The corrected Add Noise."""
    return insert_noise(
        normal,
        window_hu=WINDOW,
        pixel_mm=pixel_mm,
        scanner=SCANNER,
        dose=DOSE,
        rng=np.random.default_rng(seed),
    )


# -------------------------------------------------------------------------------- masks
def shares(mask: Image, pair: Pair) -> Shares:
    """Judge a mask by the pair's regions, and its label by the quality line that a user sees."""
    background = np.isin(pair.regions, (Code.AIR, Code.TABLE, Code.PADDING))
    lung = np.isin(pair.regions, (Code.LUNG, Code.NODULE))
    line = quality(
        mask,
        label("rb", mask, low=pair.low, normal=pair.normal),
        low=pair.low,
        normal=pair.normal,
        window_hu=WINDOW,
        pixel_mm=pair.pixel_mm,
    )
    return Shares(
        float((mask[background] == 0).mean()),
        float((mask[lung] > 0).mean()),
        float((mask[shrink(pair.regions)["body"]] > 0).mean()),
        line,
    )


def mask_rows(pairs: list[Pair], *, each: bool) -> None:
    """Print published and corrected masks side by side: a row a group, or a row a slice.

    Of the quality lines of a group the worst values are given.
    """
    print(f"| {'group | slice' if each else 'group | slices'} | variant | background removed | lung covered ", end="")
    print("| body in the mask | quality line: left | lost | lung | implausible |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for group in dict.fromkeys(pair.group for pair in pairs):
        members = [pair for pair in pairs if pair.group == group]
        for chosen in [[pair] for pair in members] if each else [members]:
            for variant in ("published", "corrected"):
                found = [shares(mask_of(pair, variant), pair) for pair in chosen]
                cells = [_mean_and_worst([s.removed for s in found]), _mean_and_worst([s.covered for s in found])]
                body = f"{np.mean([s.body for s in found]):.1%}"
                who = chosen[0].name if each else str(len(chosen))
                lines = [s.line for s in found]
                cells += [body]
                cells += [f"{max(q.leftover_background for q in lines):.1%}", f"{max(q.lost_lung for q in lines):.1%}"]
                cells += [f"{min(q.lung_fraction for q in lines):.1%}"]
                cells += [f"{sum(bool(implausible(q)) for q in lines)} of {len(lines)}"]
                print(f"| {group} | {who} | {variant} | {' | '.join(cells)} |", flush=True)


def seconds_a_slice(pairs: list[Pair]) -> float:
    """Median processor seconds of the corrected masks."""
    seconds = []
    for pair in pairs:
        start = time.process_time()
        mask_of(pair, "corrected")
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


def mask_of(pair: Pair, variant: str) -> Image:
    """The mask of a pair after background removal."""
    if variant == "published":
        return remove_background(common_mask(pair.low, pair.normal))
    return corrected_masks(pair.low, pair.normal, window_hu=WINDOW, pixel_mm=pair.pixel_mm).lungs


def _mean_and_worst(values: list[float]) -> str:
    return f"{values[0]:.1%}" if len(values) == 1 else f"{np.mean(values):.1%} (worst {min(values):.1%})"


# -------------------------------------------------------------------------------- air of an unknown window
def air_row(name: str, pairs: list[Pair]) -> str:
    """How dark the darkest is where the grey of air was found rightly and where lung was taken for it."""
    right: list[float] = []
    wrong: list[float] = []
    refused: list[bool] = []
    not_served = 0
    for pair in pairs:
        for cut in CROPS:
            n = len(pair.normal)
            low, normal = (image[cut : n - cut, cut : n - cut].copy() for image in (pair.low, pair.normal))
            hu, seen, mm = calibrated(normal, None, None)
            known, _, _ = calibrated(normal, WINDOW, pair.pixel_mm)
            share = float((blur(hu, SMOOTHING_MM * mm)[seen] < DARKER_THAN_AIR_HU).mean())
            # The same pixels in both scales: where air lies in the one that was guessed.
            taken_for_air = float(np.median(known[seen][np.abs(hu[seen] + 1000) < 1e-3]))
            (right if taken_for_air < -950 else wrong).append(share)
            if taken_for_air >= -950:
                refused.append(not _served(low, normal, None, None))
            not_served += not _served(low, normal, WINDOW, pair.pixel_mm)
    return (
        f"| {name} | {len(right)} | {max(right, default=0):.5f} | {len(wrong)} | {min(wrong, default=0):.5f} "
        f"| {sum(refused)} | {not_served} |"
    )


def _served(low: Image, normal: Image, window_hu: tuple[float, float] | None, pixel_mm: float | None) -> bool:
    try:
        corrected_masks(low, normal, window_hu=window_hu, pixel_mm=pixel_mm)
    except Unpurifiable:
        return False
    return True


# -------------------------------------------------------------------------------- noise
def noise_of(one: Image, other: Image | None, clean: Image, pair: Pair) -> Noise:
    """Noise of one realisation against the clean image; its strength and texture from two, where there are two."""
    masks = shrink(pair.regions)
    offset = one.astype(np.float32) - clean
    noise = offset if other is None else (one.astype(np.float32) - other) / np.float32(np.sqrt(2))
    frequencies = []
    for region in ("lung", "body"):
        spectrum = radial_spectrum(noise, masks[region], pixel_mm=pair.pixel_mm)
        frequencies.append(np.nan if spectrum is None else float(np.average(spectrum[0], weights=spectrum[1])))
    biases = [float(offset[masks[region]].mean()) for region in ("lung", "body")]
    strengths = [float(noise[masks[region]].std()) for region in ("lung", "body")]
    return Noise(*biases, *strengths, *frequencies)


def noise_rows(pairs: list[Pair]) -> None:
    """Print what both ways of adding noise do, a row a group and way; a scan's own where there is one."""
    print("| group | noise | bias lung | bias body | std lung | std body | lung/body | 1/mm lung | 1/mm body |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for group in dict.fromkeys(pair.group for pair in pairs):
        found: dict[str, list[Noise]] = {}
        for number, pair in enumerate(pair for pair in pairs if pair.group == group):
            if pair.truth is not None:
                found.setdefault("low-dose scan", []).append(noise_of(pair.low, None, pair.truth, pair))
            sinogram = project(pair.normal)
            one, other = (add_noise(sinogram, rng=np.random.RandomState(seed)) for seed in (number, 1000 + number))
            mine, yours = (inserted(pair.normal, pair.pixel_mm, [SEED, number, seed]) for seed in (1, 2))
            # Regions are those of the low-dose breath: of the normal-dose slice they hold for the segmentation.
            there = pair._replace(regions=segment(pair.normal, window_hu=WINDOW, pixel_mm=pair.pixel_mm))
            found.setdefault("published", []).append(noise_of(one, other, pair.normal, there))
            found.setdefault("corrected", []).append(noise_of(mine, yours, pair.normal, there))
            if pair.truth is not None:
                mine, yours = (inserted(pair.truth, pair.pixel_mm, [SEED, number, seed]) for seed in (1, 2))
                found.setdefault("corrected, in the scan's breath", []).append(noise_of(mine, yours, pair.truth, pair))
        for way, values in found.items():
            mean = Noise(*np.nanmean(np.array(values), axis=0))
            print(
                f"| {group} | {way} | {mean.bias_lung:+.1f} | {mean.bias_body:+.1f} | {mean.in_lung:.1f} "
                f"| {mean.in_body:.1f} | {mean.in_lung / mean.in_body:.2f} | {mean.frequency_lung:.2f} "
                f"| {mean.frequency_body:.2f} |",
                flush=True,
            )


# -------------------------------------------------------------------------------- pictures and the command
def pictures(pairs: list[Pair], folder: Path) -> None:
    """The masks of the four views, and the noise of the first, through the lung window."""
    firsts = {pair.group: pair for pair in reversed(pairs) if "level 0.5" in pair.name}
    rows = []
    for view in VIEWS:
        pair = firsts[view]
        shown = lung_window(pair.normal, window_hu=WINDOW)
        rows.append([shown, mask_of(pair, "published"), mask_of(pair, "corrected")])
    write_grey(folder / "purification-masks.png", montage(rows, side=192))

    pair = firsts["full"]
    assert pair.truth is not None
    published = add_noise(project(pair.normal), rng=np.random.RandomState(SEED))
    corrected = inserted(pair.normal, pair.pixel_mm, [SEED])
    images = [(pair.low, pair.truth), (published, pair.normal), (corrected, pair.normal)]
    differences = [128 + 2 * (image.astype(np.int16) - clean) for image, clean in images]
    rows = [
        [lung_window(image, window_hu=WINDOW) for image, _ in images],
        [np.clip(difference, 0, 255).astype(np.uint8) for difference in differences],
    ]
    write_grey(folder / "purification-noise.png", montage(rows, side=256))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "ct"
    parser.add_argument("--real", type=Path, default=beside, help="folder of manifest.csv and its 16-bit slices")
    parser.add_argument("--patients", type=int, default=3)
    parser.add_argument("--pictures", type=Path, help="folder to write two PNG to")
    options = parser.parse_args()

    phantom = list(phantom_pairs(options.patients))
    views = [pair for pair in phantom if pair.group in VIEWS]
    if options.pictures:
        pictures(views, options.pictures)
    real = list(real_pairs(options.real)) if (options.real / "manifest.csv").is_file() else []

    print("### Masks on the phantom, by truth\n")
    mask_rows(phantom, each=False)
    print(f"\n{seconds_a_slice(views):.2f} processor seconds a slice for the corrected masks (median)")
    print("\n### Noise at 2 % dose on the phantom, grey levels (8.7 HU each)\n")
    noise_rows([pair for pair in views if "level 0.5" in pair.name])
    print("\n### Air of an unknown window, slices whole and cropped\n")
    print("| slices | air found rightly | most darker than it | lung taken for air | least darker ", end="")
    print("| refused of these | refused of all with the window known |\n|---|--:|--:|--:|--:|--:|--:|")
    print(air_row("phantom", [pair for pair in views if pair.group in ("full", "tight")]), flush=True)
    whole = [pair for pair in real if "crop" not in pair.group]
    if not real:
        print(f"\nno real slices in {options.real}: skipped")
        return
    print(air_row("real", whole))
    print("\n### Masks on real slices, by the segmentation of the normal-dose image\n")
    mask_rows(real, each=True)
    print("\n### Noise at 2 % dose on real slices, grey levels (8.7 HU each)\n")
    noise_rows(whole)


if __name__ == "__main__":
    main()
