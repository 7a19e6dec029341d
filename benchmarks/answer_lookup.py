"""What do honest denoisers share with the answers, pixel for pixel? Prints the table of docs/cheating.md.

    .venv/bin/python benchmarks/answer_lookup.py [-p phantom]

For each slice, the share of the body's pixels that equal the label and the truth: for the denoisers of the battery,
for another normal-dose scan aligned with the truth, and for looked-up answers, as they are and hidden by noise or
dither.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.base.slices import read_grey
from harness.base.workers import map_slices
from harness.dataset.cases import Case
from harness.dataset.load import load_data
from harness.labels.battery import BATTERY
from harness.labels.label_set import build_labels
from harness.protocol import load_protocol
from harness.scoring.answer_lookup import INSIDE, LOOKED_UP_SHARE, equal_share

HIDING = {"noise of 0.3 grey": 0.3, "noise of 0.5 grey": 0.5, "noise of 1 grey": 1.0}


def shares(case: Case, label_path: Path, regions: Path) -> dict[str, tuple[float, float]]:
    """Kind of image -> its shares with label and truth."""
    low, label, truth = (read_grey(Path(path)) for path in (case.lq, label_path, str(case.truth)))
    inside = np.isin(read_grey(regions), INSIDE)
    images = {name: np.asarray(denoise(low), np.uint8) for name, denoise in BATTERY.items()}
    images["another normal-dose scan, aligned"] = read_grey(Path(str(case.aligned_gt)))
    images["the normal-dose scan itself"] = read_grey(Path(case.gt))
    images |= {"label, looked up": label, "truth, looked up": truth}
    rng = np.random.default_rng([1, *case.name.encode()])
    for name, sigma in HIDING.items():
        images[f"truth and {name}"] = _grey(truth + rng.normal(0, sigma, truth.shape))
    images["truth, every other pixel 1 up"] = _grey(truth + rng.integers(0, 2, truth.shape))
    return {
        name: (equal_share(image, label, inside), equal_share(image, truth, inside)) for name, image in images.items()
    }


def _grey(values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return grey


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-p", "--protocol", default="phantom")
    protocol = load_protocol(parser.parse_args().protocol)
    dataset = load_data(protocol)
    labels = build_labels(dataset, protocol.purify)
    tasks = [(case, labels.path(case.name), labels.regions_path(case)) for case in dataset.cases]
    found = map_slices(shares, tasks)
    print(f"`{protocol.identity}`, {len(found)} slices; an output counts as looked up from {LOOKED_UP_SHARE:g} on\n")
    print("| image | label, mean | label, most | truth, mean | truth, most |\n|---|--:|--:|--:|--:|")
    for name in found[0]:
        of_name = np.array([one[name] for one in found])
        mean, most = of_name.mean(axis=0), of_name.max(axis=0)
        print(f"| {name} | {mean[0]:.3f} | {most[0]:.3f} | {mean[1]:.3f} | {most[1]:.3f} |")


if __name__ == "__main__":
    main()
