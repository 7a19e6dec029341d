"""Which maps keep regions apart, and still rank denoisers? Pooled features of networks, at several depths and sizes.

    .venv/bin/python benchmarks/regions.py [--patients 4 --slices 2] [--maps NAME ...]

Leak: the low-dose scan's noise is put into one region of the truth only, and the Frechet distance of every other region
to the truth is taken as a share of what the noise does to it in its own place; the largest share of all pairs of
regions is printed. Tau: Kendall's, of the ranking of denoisers by KID against the truth with that by RMSE against the
truth in the same region. Prints markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from harness import features
from harness.base.slices import read_grey, write_grey
from harness.base.workers import map_slices
from harness.dataset.cases import Case
from harness.dataset.load import load_data
from harness.features import weights
from harness.features._efficientnet_network import MEAN, STD, EfficientNetLite, build
from harness.features._extractor import MapPass
from harness.features._maps import Grid
from harness.features._preprocess import square
from harness.features._torch import map_forward
from harness.imaging.regions import shrink
from harness.labels.battery import BATTERY
from harness.metrics import frechet, kernel
from harness.protocol import PhantomData, load_protocol

REGIONS = ("background", "body", "lung")
DENOISERS = ("noisy input", "gaussian 2", "median 3", "bilateral", "tv", "nlm", "cnn half", "cnn")
NETWORKS = ("inception-random", "efficientnet-lite0")
SIZES = {224: (3, 4, 8, 11), 512: (3, 5, 8)}  # of the image -> blocks of EfficientNet-Lite0; its own are 4 at 512

Image = NDArray[np.uint8]
Pooled = dict[str, NDArray[np.float32]]  # by region


# -------------------------------------------------------------------------------- maps
def at_depth(extractor: features.Extractor, network: EfficientNetLite, size: int, block: int) -> features.Extractor:
    """EfficientNet-Lite0 with the maps at the start of a block, of images of a size, and no features of the whole."""
    with torch.inference_mode():
        cells = network.maps(torch.zeros(1, 1, size, size), block).shape[-1]
    stride = size // cells
    maps = partial(network.maps, number=block)
    return replace(
        extractor,
        name=f"{extractor.name}, block {block} at {size}",
        grid=Grid(size=size, cells=cells, stride=stride, origin=0),
        forward=lambda images: features.Output(np.empty((len(images), 0), np.float32), None),
        map_pass=MapPass(
            partial(square, size=size), map_forward(maps, mean=[MEAN], std=[STD], device=torch.device("cpu"))
        ),
    )


def candidates() -> dict[str, Callable[[], features.Extractor]]:
    """Name -> extractor with these maps."""
    found: dict[str, Callable[[], features.Extractor]] = {name: partial(features.load, name) for name in NETWORKS}

    def deep(size: int, block: int) -> features.Extractor:
        state = torch.load(weights.find(NETWORKS[1])[1], weights_only=True)
        return at_depth(features.load(NETWORKS[1]), build(state), size, block)

    for size, blocks in SIZES.items():
        found |= {f"lite0-{size}-{block}": partial(deep, size, block) for block in blocks}
    return found


# -------------------------------------------------------------------------------- images
def masks_of(case: Case) -> dict[str, NDArray[np.bool_]]:
    masks = shrink(read_grey(Path(str(case.regions))))
    return {name: masks[name] for name in REGIONS}


def write(case: Case, folder: str) -> None:
    """The truth, the truth with noise in one region, and the low-dose slice denoised, each in a folder of its own."""
    truth, low = read_grey(Path(str(case.truth))), read_grey(Path(case.lq))
    images = {"truth": truth} | {name: np.where(mask, low, truth) for name, mask in masks_of(case).items()}
    images |= {name: BATTERY[name](low) for name in DENOISERS}
    for name, image in images.items():
        path = Path(folder) / name / f"{case.name}.png"
        path.parent.mkdir(exist_ok=True)
        write_grey(path, image)


# -------------------------------------------------------------------------------- the two questions
def leak(pooled: Mapping[str, Pooled]) -> tuple[float, str]:
    """The largest share of its own noise that a region's distance gets from noise in another, and which two."""

    def moved(noisy: str, seen: str) -> float:
        return frechet.distance(pooled[noisy][seen], pooled["truth"][seen])

    return max(
        (moved(noisy, seen) / moved(seen, seen), f"{noisy} to {seen}") for noisy, seen in permutations(REGIONS, 2)
    )


def taus(pooled: Mapping[str, Pooled], errors: Mapping[str, Sequence[float]]) -> list[float]:
    """For each region, Kendall's tau of KID with RMSE over the denoisers, both against the truth."""
    return [
        float(
            kendalltau(
                [kernel.distance(pooled[name][region], pooled["truth"][region]) for name in DENOISERS], errors[region]
            ).statistic
        )
        for region in REGIONS
    ]


def rmse(cases: Sequence[Case], folder: Path, denoiser: str, region: str) -> float:
    """Mean over slices of the RMSE against the truth within a region, in grey levels."""
    found = []
    for case in cases:
        name, mask = f"{case.name}.png", masks_of(case)[region]
        difference = read_grey(folder / denoiser / name).astype(np.float64) - read_grey(folder / "truth" / name)
        found.append(float(np.sqrt(np.mean(difference[mask] ** 2))))
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patients", type=int, default=4)
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--maps", nargs="+", choices=list(candidates()), default=list(candidates()))
    given = parser.parse_args()
    protocol = load_protocol("phantom")
    assert isinstance(protocol.data, PhantomData)
    data = msgspec.structs.replace(protocol.data, patients=given.patients, slices=given.slices, nodule_slices=0)
    cases = load_data(msgspec.structs.replace(protocol, data=data)).cases
    print(f"{len(cases)} slices of {given.patients} patients of the phantom, {len(DENOISERS)} denoisers\n")
    print(
        "| maps | channels | stride, pixels of 512 | leak | from where | "
        + " | ".join(f"tau {r}" for r in REGIONS)
        + " |"
    )
    print("|---|--:|--:|--:|---|" + "--:|" * len(REGIONS))
    with TemporaryDirectory() as folder:
        map_slices(write, [(case, folder) for case in cases])
        errors = {r: [rmse(cases, Path(folder), name, r) for name in DENOISERS] for r in REGIONS}
        for name in given.maps:
            extractor = candidates()[name]()
            pooled: dict[str, Pooled] = {}
            for kind in ("truth", *REGIONS, *DENOISERS):
                paths = [Path(folder) / kind / f"{case.name}.png" for case in cases]
                found = features.extract(paths, [extractor], regions=lambda index: masks_of(cases[index]))
                pooled[kind] = {region: one.values for region, one in found[extractor.name].items()}
            share, where = leak(pooled)
            grid = extractor.grid
            assert grid is not None
            ranks = " | ".join(f"{tau:.2f}" for tau in taus(pooled, errors))
            channels = pooled["truth"]["lung"].shape[1]
            print(f"| {name} | {channels} | {grid.stride * 512 / grid.size:.1f} | {share:.2%} | {where} | {ranks} |")


if __name__ == "__main__":
    main()
