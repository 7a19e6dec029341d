"""What the phantom's images are like as numbers, to compare two versions of it; and the seconds that a slice takes.

    python benchmarks/portability.py statistics new.json [--patients 24] [--slices 2] [--size 512] [--processes 2]
    python benchmarks/portability.py compare old.json new.json
    python benchmarks/portability.py seconds [--rounds 5]

`PYTHONPATH=OTHER_CHECKOUT` in front of the first command measures another version's phantom. `--write FILE` keeps the
patients, `--read FILE` scans kept ones: two versions then differ by painting and scanning alone, not by who was drawn.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from harness.imaging.regions import Code
from harness.metrics.nps_frequency import value as mean_frequency
from harness.phantom import PhantomSlice, levels, levels_with_nodules, make_patient, nodule_levels, scan_slice
from harness.phantom.anatomy import draw_anatomy
from harness.phantom.patient import Patient

DOSE = 0.02
SEED = 2608
DRAWN = 40_000
"""Anatomies that are drawn for the traits of the population: each costs a third of a millisecond."""

Numbers = dict[str, float]


def of_slice(scan: PhantomSlice) -> Numbers:
    """Numbers of one slice; HU and noise in HU."""
    low, high = scan.window_hu
    images = (scan.gt, scan.lq, scan.truth, scan.aligned_gt)
    gt, lq, truth, again = ((high - low) / 255 * image.astype(float) + low for image in images)
    inside = {name: scan.regions == Code[name.upper()] for name in ("lung", "body", "table", "air", "gas")}
    found: Numbers = {f"share of the image, {name} (%)": 100 * float(mask.mean()) for name, mask in inside.items()}
    for name in ("lung", "body", "table"):
        mask = inside[name]
        if not mask.any():
            continue
        found[f"mean HU, {name}"] = float(truth[mask].mean())
        found[f"SD of HU, {name}"] = float(truth[mask].std())
        found[f"mean HU at normal dose, {name}"] = float(gt[mask].mean())
        found[f"noise at low dose, {name} (HU)"] = float((lq - truth)[mask].std())
        found[f"noise at normal dose, {name} (HU)"] = float((again - truth)[mask].std())
    found["between the two breaths, lung (HU)"] = float((gt - truth)[inside["lung"]].std())
    found["denser than -600 HU, of the lung (%)"] = 100 * float((truth[inside["lung"]] > -600).mean())
    frequency = mean_frequency(scan.lq, scan.truth, inside["lung"], data_range=255, pixel_mm=scan.pixel_mm)
    if frequency is not None:
        found["mean frequency of the noise, lung (1/mm)"] = frequency
    return found


def of_patient(patient: Patient, *, slices: int, size: int) -> Numbers:
    """Means over a patient's slices, and what can be counted without a scan."""
    rows = [of_slice(scan_slice(patient, level, size=size, dose=DOSE)) for level in levels(slices)]
    found = {name: mean for name, (mean, _) in summary(rows).items()}
    found["segments of arteries"] = len(patient.arteries)
    found["mean radius of arteries (mm)"] = float(patient.arteries[:, 6].mean())
    found["nodules in the lungs"] = len(nodule_levels(patient))
    found["slices of 6 moved to a nodule"] = len(set(levels_with_nodules(patient, 6, nodule_slices=2)) - set(levels(6)))
    return found


TRAITS = (
    *("female", "contrast", "table", "half_width", "half_depth", "lung_height", "fat", "muscle", "lung_hu"),
    *("gravity_hu", "emphysema", "dome_left", "fov_mm"),
)


def of_people() -> list[Numbers]:
    """Traits of DRAWN anatomies."""
    rows = []
    for index in range(DRAWN):
        person = draw_anatomy(np.random.default_rng([SEED, index]), view="full")
        row: Numbers = {"drawn nodules": len(person.nodules), "drawn opacities": len(person.opacities)}
        row |= {f"drawn {name}": float(getattr(person, name)) for name in TRAITS}
        rows.append(row)
    return rows


def summary(rows: list[Numbers]) -> dict[str, list[float]]:
    """Name -> mean over the rows that have it, and its standard error."""
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values: NDArray[np.float64] = np.array([row[name] for row in rows if name in row], np.float64)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        found[name] = [float(values.mean()), float(error)]
    return found


def statistics(options: argparse.Namespace) -> None:
    """Measure the phantom of the harness that is imported, and write the numbers."""
    if options.read:
        people = pickle.loads(options.read.read_bytes())
    else:
        people = [make_patient(SEED, index) for index in range(options.patients)]
    if options.write:
        options.write.write_bytes(pickle.dumps(people))
    work = partial(of_patient, slices=options.slices, size=options.size)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(work, people))
    options.file.write_text(json.dumps(summary(rows) | summary(of_people()), indent=1))


def compare(options: argparse.Namespace) -> None:
    """Print two files of `statistics` side by side; the difference of a mean HU in % of HU + 1000, its attenuation."""
    old, new = (json.loads(file.read_text()) for file in (options.old, options.new))
    print("| | old | new | difference, % | difference, standard errors |")
    print("|---|--:|--:|--:|--:|")
    for name, (before, error_before) in old.items():
        after, error_after = new[name]
        whole = before + 1000 if name.startswith("mean HU") else before
        errors = float(np.hypot(error_before, error_after)) or float("nan")
        print(
            f"| {name} | {before:.4g} ± {error_before:.2g} | {after:.4g} ± {error_after:.2g} "
            f"| {100 * (after - before) / whole if whole else 0:+.2f} | {(after - before) / errors:+.1f} |"
        )


def seconds(options: argparse.Namespace) -> None:
    """Print the seconds of 4 slices of 4 patients from nothing, one process, compiled code kept."""

    def once(index: int) -> float:
        start = time.process_time()
        scan_slice(make_patient(SEED, index), 0.45, size=options.size, dose=DOSE)
        return time.process_time() - start

    once(0)  # compiles
    taken = [sum(once(4 * turn + index) for index in range(4)) for turn in range(options.rounds)]
    size = options.size
    print(f"4 slices of 4 patients, {size} x {size}: {median(taken):.2f} processor seconds, median of {options.rounds}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    measured = commands.add_parser("statistics", help="measure a population and write its numbers")
    measured.add_argument("file", type=Path)
    for name, default in (("patients", 24), ("slices", 2), ("size", 512), ("processes", 2)):
        measured.add_argument(f"--{name}", type=int, default=default)
    measured.add_argument("--write", type=Path, help="keep the patients in this file")
    measured.add_argument("--read", type=Path, help="scan the patients of this file")
    measured.set_defaults(run=statistics)
    side_by_side = commands.add_parser("compare", help="print two such files side by side")
    side_by_side.add_argument("old", type=Path)
    side_by_side.add_argument("new", type=Path)
    side_by_side.set_defaults(run=compare)
    timed = commands.add_parser("seconds", help="time slices from nothing")
    for name, default in (("rounds", 5), ("size", 512)):
        timed.add_argument(f"--{name}", type=int, default=default)
    timed.set_defaults(run=seconds)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
