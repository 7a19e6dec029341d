"""Time the embedded phantom from nothing and print what its images are like, as a markdown table.

    python benchmarks/phantom.py [--patients 8] [--slices 6] [--size 512] [--processes 2]

Compiled code is reused where it is cached; `NUMBA_CACHE_DIR=$(mktemp -d)` times a first run.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

from harness.imaging.regions import Code
from harness.phantom import PhantomSlice, levels, make_patient, scan_slice

DOSE = 0.02


def scan_patient(index: int, *, seed: int, slices: int, size: int) -> tuple[list[PhantomSlice], float]:
    """All slices of one patient, and the processor seconds they took."""
    start = time.process_time()
    patient = make_patient(seed, index)
    return [scan_slice(patient, level, size=size, dose=DOSE) for level in levels(slices)], time.process_time() - start


def row(index: int, scans: list[PhantomSlice], seconds: float) -> str:
    """One line of the table: what one patient's lungs look like, in HU."""
    window = scans[0].window_hu
    hu_per_grey = (window[1] - window[0]) / 255
    lung = np.concatenate([scan.truth[scan.regions == Code.LUNG] for scan in scans]) * hu_per_grey + window[0]
    shares = [float((scan.regions == Code.LUNG).mean()) for scan in scans]
    noise = [
        float((scan.lq.astype(float) - scan.truth)[scan.regions == code].std()) * hu_per_grey
        for code in (Code.LUNG, Code.BODY)
        for scan in scans
    ]
    in_lung, in_body = noise[: len(scans)], noise[len(scans) :]
    return (
        f"| {index} | {scans[0].pixel_mm:.2f} | {min(shares):.0%}-{max(shares):.0%} "
        f"| {lung.mean():.0f} / {lung.std():.0f} "
        f"| {min(in_lung):.0f}-{max(in_lung):.0f} | {min(in_body):.0f}-{max(in_body):.0f} | {seconds:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("patients", 8), ("slices", 6), ("size", 512), ("processes", 2), ("seed", 2602)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    work = partial(scan_patient, seed=options.seed, slices=options.slices, size=options.size)

    start = time.perf_counter()
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        patients = list(pool.map(work, range(options.patients)))
    wall = time.perf_counter() - start

    print(
        f"{options.patients * options.slices} slices of {options.patients} patients, {options.size} x {options.size}, "
        f"{options.processes} processes on {os.cpu_count()} cores: **{wall:.0f} s**\n"
    )
    print("| patient | mm/pixel | lung share | lung HU mean / std | noise in lung, HU | noise in body, HU | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for index, (scans, seconds) in enumerate(patients):
        print(row(index, scans, seconds))


if __name__ == "__main__":
    main()
