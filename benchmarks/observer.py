"""Are lesions still seen after denoising? Both model observers on the phantom; markdown tables.

    .venv/bin/python benchmarks/observer.py [--patients 8] [--slices 6] [--seed 2611] [--denoisers NAME ...]

Lesions of four conditions are planted in the planes of a population that no protocol uses. Denoisers are applied to the
low-dose scans without and with lesions; d' of each condition is measured at the same sites, and its difference from
that of the noisy input by the jackknife over patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.base.workers import map_slices
from harness.imaging.lesion import Lesion, Site, roi_half
from harness.labels.battery import BATTERY
from harness.observer import cut_rois
from harness.observer.detection import Detection, Outputs, detect, joined, observe, verdict
from harness.observer.hotelling import auc
from harness.phantom import levels, make_patient
from harness.phantom.lesions import scan_lesions
from harness.statistics import Difference, Interval, Replicates, interval, paired_difference

SIZE, DOSE, MOST = 512, 0.02, 20
CONDITIONS = (
    Lesion(diameter_mm=2, contrast_hu=140),
    Lesion(diameter_mm=2, contrast_hu=210),
    Lesion(diameter_mm=5, contrast_hu=65),
    Lesion(diameter_mm=5, contrast_hu=95),
)
"""d' of the noisy input is between 1 and 2."""
NORMAL, NOISY = "normal dose", "noisy input"
DENOISERS = ("gaussian 1.2", "gaussian 2", "median 5", "bilateral", "guided", "tv strong", "nlm strong", "cnn")
Image = NDArray[np.uint8]
Seen = dict[str, list[tuple[Outputs, Outputs]]]
"""Images -> for each condition the outputs without and with lesions."""


# -------------------------------------------------------------------------------- one plane
def look(seed: int, patient: int, level: float, denoisers: Sequence[str]) -> Seen:
    """What the observers see of a plane in the images of every denoiser."""
    scans = scan_lesions(make_patient(seed, patient), level, size=SIZE, dose=DOSE, lesions=CONDITIONS, most=MOST)
    pixel_mm = scans.absent.pixel_mm
    seen = {NORMAL: outputs(scans.absent.aligned_gt, scans.present.aligned_gt, scans.sites, pixel_mm=pixel_mm)}
    for name in (NOISY, *denoisers):
        pair = (BATTERY[name](scans.absent.lq), BATTERY[name](scans.present.lq))
        seen[name] = outputs(*pair, scans.sites, pixel_mm=pixel_mm)
    return seen


def outputs(absent: Image, present: Image, sites: Sequence[Site], *, pixel_mm: float) -> list[tuple[Outputs, Outputs]]:
    """For each of CONDITIONS what the observers keep of its sites in a square image without lesions and in one with."""
    found = []
    for number, lesion in enumerate(CONDITIONS):
        places = [(site.row, site.column) for site in sites if site.condition == number]
        rois = (cut_rois(image, places, half=roi_half(len(absent))) for image in (absent, present))
        one, other = (observe(roi, diameter_mm=lesion.diameter_mm, pixel_mm=pixel_mm) for roi in rois)
        found.append((one, other))
    return found


# -------------------------------------------------------------------------------- all planes
def measure(planes: Sequence[Seen], owners: Sequence[str]) -> dict[str, list[Detection]]:
    """Images -> d' of each condition, over the planes of all patients."""
    found: dict[str, list[Detection]] = {}
    for name in planes[0]:
        for condition in range(len(CONDITIONS)):
            pairs = [plane[name][condition] for plane in planes]
            patients = [
                owner for owner, (absent, _) in zip(owners, pairs, strict=True) for _ in range(len(absent.hotelling))
            ]
            absent, present = (joined([pair[side] for pair in pairs]) for side in (0, 1))
            found.setdefault(name, []).append(detect(absent, present, patients))
    return found


def print_conditions(noisy: Sequence[Detection]) -> None:
    """The noisy input's d' with all its intervals."""
    print("| lesion | sites | d' | jackknife | exact | AUC | d' of the eye | jackknife |")
    print("|---|--:|--:|---|---|--:|--:|---|")
    for lesion, found in zip(CONDITIONS, noisy, strict=True):
        own, eye = interval(found.hotelling), interval(found.eye)
        print(
            f"| {lesion} | {own.n} | {own.value:.2f} | {_bounds(own)} | {found.exact.low:.2f} to "
            f"{found.exact.high:.2f} | {auc(own.value):.2f} | {eye.value:.2f} | {_bounds(eye)} |"
        )


def print_differences(found: Mapping[str, list[Detection]], of: Callable[[Detection], Replicates]) -> None:
    """d' less the noisy input's, by images and condition, bold where the interval does not hold 0; the verdicts."""
    print(f"| d' less the noisy input's | {' | '.join(map(str, CONDITIONS))} | |")
    print("|---|" + "--:|" * len(CONDITIONS) + "---|")
    for name, detections in found.items():
        if name == NOISY:
            continue
        pairs = zip(detections, found[NOISY], strict=True)
        differences = [paired_difference(of(one), of(noisy)) for one, noisy in pairs]
        said = sorted({verdict(one) for one in differences} - {"no difference seen"})
        print(f"| {name} | {' | '.join(map(_difference, differences))} | {', '.join(said)} |")


def _bounds(of: Interval) -> str:
    return "–" if of.low is None or of.high is None else f"{of.low:.2f} to {of.high:.2f}"


def _difference(of: Difference) -> str:
    text = f"{of.value:+.2f} ({_bounds(of)})"
    return text if verdict(of) == "no difference seen" else f"**{text}**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--slices", type=int, default=6, help="planes of each patient")
    parser.add_argument("--seed", type=int, default=2611)
    parser.add_argument("--denoisers", nargs="*", choices=sorted(BATTERY), default=DENOISERS)
    given = parser.parse_args()
    planes_of = [(patient, level) for patient in range(given.patients) for level in levels(given.slices)]
    tasks = [(given.seed, patient, level, tuple(given.denoisers)) for patient, level in planes_of]
    planes = map_slices(look, tasks)
    found = measure(planes, [f"p{patient}" for patient, _ in planes_of])
    print(f"{len(tasks)} planes of {given.patients} patients, seed {given.seed}, {DOSE:.0%} dose\n")
    print_conditions(found[NOISY])
    print("\nHotelling observer\n")
    print_differences(found, lambda one: one.hotelling)
    print("\nNon-prewhitening observer with eye filter and internal noise\n")
    print_differences(found, lambda one: one.eye)


if __name__ == "__main__":
    main()
