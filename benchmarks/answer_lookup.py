"""How near do honest denoisers come to the answers? Prints the tables of docs/cheating.md.

    .venv/bin/python -m benchmarks.answer_lookup [-p phantom]

For each slice, the share of the body's pixels that equal the label and the truth, and the distances from both: for
denoisers, the learned ones among them, for another normal-dose scan aligned with the truth, and for looked-up answers,
as they are and in disguise.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from benchmarks.battery import LEARNED
from harness.base.slices import read_grey
from harness.base.workers import map_slices
from harness.dataset.cases import Case
from harness.dataset.load import load_data
from harness.imaging.regions import shrink
from harness.labels.battery import BATTERY
from harness.labels.label_set import build_labels
from harness.protocol import load_protocol
from harness.scoring.answer_lookup import INSIDE, LOOKED_UP_SHARE, equal_share
from harness.scoring.answer_nearness import OF_LABEL, bounds, distances, nearness, share_of_label

Image = NDArray[np.uint8]
DISGUISES: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "looked up": lambda image, _: image,
    "noise of 0.3 grey": lambda image, rng: _grey(image + rng.normal(0, 0.3, image.shape)),
    "noise of 1 grey": lambda image, rng: _grey(image + rng.normal(0, 1, image.shape)),
    "noise of 2 grey": lambda image, rng: _grey(image + rng.normal(0, 2, image.shape)),
    "26 % of pixels 1 off": lambda image, rng: _grey(image + (rng.random(image.shape) < 0.26) * _signs(image, rng)),
    "every other pixel 1 up": lambda image, rng: _grey(image + rng.integers(0, 2, image.shape)),
    "1 up everywhere": lambda image, _: _grey(image + 1.0),
    "times 1.01": lambda image, _: _grey(image * 1.01),
    "times 0.9, 5 up": lambda image, _: _grey(image * 0.9 + 5),
    "JPEG 90": lambda image, _: _jpeg(image, 90),
    "JPEG 75": lambda image, _: _jpeg(image, 75),
    "JPEG 50": lambda image, _: _jpeg(image, 50),
}


class Found(NamedTuple):
    """Of one image of a slice: shares of pixels with label and truth; its least distance from the truth as a share of
    the bound, and what it lacks of the label's detail."""

    equal_label: float
    equal_truth: float
    of_bound: float
    of_label: float


def measure(case: Case, label_path: Path, regions: Path) -> dict[str, Found]:
    """Kind of image -> what it has of the answers."""
    low, label, truth = (read_grey(Path(path)) for path in (case.lq, label_path, str(case.truth)))
    scan, codes = read_grey(Path(str(case.aligned_gt))), read_grey(regions)
    images = {name: np.asarray(denoise(low), np.uint8) for name, denoise in {**BATTERY, **LEARNED}.items()}
    images |= {"another normal-dose scan, aligned": scan, "the normal-dose scan itself": read_grey(Path(case.gt))}
    rng = np.random.default_rng([1, *case.name.encode()])
    for kind, answer in (("label", label), ("truth", truth)):
        images |= {f"{kind}, {name}": disguise(answer, rng) for name, disguise in DISGUISES.items()}
    inside, masks = np.isin(codes, INSIDE), shrink(codes)
    normal, noisy = distances(scan, truth, masks), distances(low, truth, masks)
    bound = {region: bounds(normal[region], noisy[region]) for region in normal}
    found = {}
    for name, image in images.items():
        own = distances(image, truth, masks)
        found[name] = Found(
            equal_share(image, label, inside),
            equal_share(image, truth, inside),
            min(nearness(own[region], bound[region]) for region in own),
            share_of_label(image, label, masks["body"]),
        )
    return found


def _signs(image: Image, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(0, 2, image.shape) * 2 - 1


def _jpeg(image: Image, quality: int) -> Image:
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Pillow.open(file))


def _grey(values: NDArray[Any]) -> Image:
    grey: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return grey


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-p", "--protocol", default="phantom")
    protocol = load_protocol(parser.parse_args().protocol)
    dataset = load_data(protocol)
    labels = build_labels(dataset, protocol.purify)
    tasks = [(case, labels.path(case.name), labels.regions_path(case)) for case in dataset.cases]
    found = map_slices(measure, tasks)
    print(
        f"`{protocol.identity}`, {len(found)} slices; an output is flagged with {LOOKED_UP_SHARE:g} or more of the "
        f"pixels equal, below 1 times the bound, below {OF_LABEL:.2f} of the label's detail\n"
    )
    print("| image | equal the label, most | equal the truth, most | of the bound, least | lacks of the label, least |")
    print("|---|--:|--:|--:|--:|")
    for name in found[0]:
        of_name = np.array([one[name] for one in found])
        most, least = of_name.max(axis=0), of_name.min(axis=0)
        print(f"| {name} | {most[0]:.3f} | {most[1]:.3f} | {least[2]:.2f} | {least[3]:.2f} |")


if __name__ == "__main__":
    main()
