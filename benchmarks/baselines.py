"""The shipped denoisers against the noise-free truth, as docs/baselines.md shows them.

    .venv/bin/python -m benchmarks.baselines                    # patients of their own, with which sizes were chosen
    .venv/bin/python -m benchmarks.baselines --protocol phantom # the test patients
    .venv/bin/python -m benchmarks.baselines --only unet tv     # some of them

Every program (`submissions/<name>/denoise.py`) runs as in a container, but without one, in one thread. Prints a
markdown table: the root mean square error of each region, in HU, the mean over the slices; processor seconds a slice
and the peak memory of the program, its start included (the system counts no less than what this command itself needs).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.train import MODELS, Trained
from harness.base.slices import read_grey
from harness.base.structs import read_json, write_json
from harness.dataset.cases import Dataset
from harness.dataset.load import load_data
from harness.imaging.regions import shrink
from harness.protocol import PhantomData, load_protocol

ROOT = Path(__file__).resolve().parent.parent
CLASSICAL = ("tv", "nlm", "gaussian", "bilateral", "median", "wavelet")
OTHERS = ("cnn", "identity")
REGIONS = ("lung", "body", "whole", "nodules")
DEVELOPMENT = PhantomData(patients=6, slices=4, nodule_slices=1, seed=2714)


class Spent(NamedTuple):
    """What a program needed: processor seconds and peak memory in bytes."""

    seconds: float
    peak: int


def development_set() -> Dataset:
    """Slices of patients that nobody is trained on or tested with."""
    return load_data(msgspec.structs.replace(load_protocol("phantom"), data=DEVELOPMENT))


def apply(name: str, source: Path, target: Path) -> Spent:
    """Run a submission's program on the slices of `source`; RuntimeError where it fails."""
    target.mkdir()
    given = {"HARNESS_INPUT": source, "HARNESS_OUTPUT": target, "HARNESS_DEVICE": "cpu", "HARNESS_SEED": 0}
    environment = os.environ | {key: str(value) for key, value in given.items()} | {"OMP_NUM_THREADS": "1"}
    program = [sys.executable, str(ROOT / "submissions" / name / "denoise.py")]
    _, status, used = os.wait4(os.posix_spawn(program[0], program, environment), 0)
    if status:
        raise RuntimeError(f"{name}: exit status {os.waitstatus_to_exitcode(status)}")
    return Spent(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def errors(dataset: Dataset, outputs: Path) -> dict[str, float]:
    """The RMSE of each region against the truth, in HU: the mean over the slices that have the region."""
    assert dataset.window_hu is not None  # the phantom's is known
    hu = (dataset.window_hu[1] - dataset.window_hu[0]) / 255
    found: dict[str, list[float]] = {region: [] for region in REGIONS}
    for case in dataset.cases:
        assert case.truth is not None
        assert case.regions is not None
        regions = shrink(read_grey(Path(case.regions)))
        difference = _grey(outputs / f"{case.name}.png") - _grey(Path(case.truth))
        for region in REGIONS:
            if regions[region].any():
                found[region].append(hu * float(np.sqrt(np.mean(difference[regions[region]] ** 2))))
    return {region: float(np.mean(values)) for region, values in found.items() if values}


def _grey(path: Path) -> NDArray[np.float64]:
    return read_grey(path).astype(np.float64)


def measure(dataset: Dataset, names: list[str]) -> list[list[str]]:
    """The rows of the table, the smallest error in the lung first."""
    measured: list[tuple[float, list[str]]] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "input"
        source.mkdir()
        for case in dataset.cases:
            (source / f"{case.name}.png").write_bytes(Path(case.lq).read_bytes())
        write_json(source / "manifest.json", {"cases": [{"file": f"{case.name}.png"} for case in dataset.cases]})
        for name in names:
            spent = apply(name, source, Path(folder) / name)
            error = errors(dataset, Path(folder) / name)
            cost = [f"{spent.seconds / len(dataset.cases):.2f}", f"{spent.peak / 2**20:.0f}"]
            shown = [f"{error[region]:.1f}" if region in error else "–" for region in REGIONS]
            row = [name, *trained(name), *shown, *cost]
            measured.append((error["lung"], row))
    return [row for _, row in sorted(measured, key=lambda one: one[0])]


def trained(name: str) -> tuple[str, str]:
    """Parameters and minutes of training of a learned baseline; empty for others."""
    if name not in MODELS:
        return "", ""
    recipe = read_json(ROOT / "submissions" / name / "recipe.json", Trained)
    return f"{recipe.parameters:,}", f"{recipe.seconds / 60:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", help="a phantom protocol's test patients instead of the development patients")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[*MODELS, *CLASSICAL, *OTHERS])
    asked = parser.parse_args()
    dataset = load_data(load_protocol(asked.protocol)) if asked.protocol else development_set()
    head = ["submission", "parameters", "training, min", *(f"{one}, HU" for one in REGIONS), "s a slice", "MB"]
    print(f"{asked.protocol or 'development patients'}, {len(dataset.cases)} slices\n")
    for cells in (head, ["---", *["--:"] * (len(head) - 1)], *measure(dataset, asked.only)):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
