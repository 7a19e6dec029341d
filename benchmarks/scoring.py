"""What scoring costs: against clean-fid, against the floor, as n grows, on a device.

    python benchmarks/scoring.py tools --slices 200        # FID, KID and CLIP-FID: clean-fid's calls against one pass
    python benchmarks/scoring.py growth                    # distances and memory from 200 to 10,000 slices
    python benchmarks/scoring.py device --device cuda      # end to end against the networks alone, TF32 against float32

Networks have seeded random weights, so that no download is needed; both sides run the same ones. clean-fid reads,
resizes and passes every image once a metric, through its own data loader, resizers and distances.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch.utils.flop_counter import FlopCounterMode

from harness import features
from harness.base.slices import read_grey, write_grey
from harness.features import Features
from harness.imaging.regions import Code, shrink
from harness.metrics import frechet, kernel
from harness.reference_check import reference_tools

# isort: split
from cleanfid import fid as cleanfid
from cleanfid.clip_features import img_preprocess_clip

Folder = list[Path]
NETWORKS = ("inception-random", "clip-random")
FeatureSet = Mapping[str, Mapping[str, Features]]


# -------------------------------------------------------------------------------- material
def write_slices(folder: Path, count: int, size: int, seed: int) -> Folder:
    """Chest-like slices, the noisier the higher the seed: the networks' time does not depend on what they show."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    body, lung = x**2 / 0.7 + y**2 / 0.5 < 1, (np.abs(x) - 0.4) ** 2 / 0.08 + y**2 / 0.25 < 1
    picture = gaussian_filter(np.where(lung, 25.0, np.where(body, 110.0, 0.0)), 1)
    paths = []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        paths.append(folder / f"{index:05}.png")
        write_grey(paths[-1], np.clip(picture + rng.normal(0, 5 + 5 * seed, picture.shape), 0, 255).astype(np.uint8))
    codes = np.where(lung, Code.LUNG, np.where(body, Code.BODY, Code.AIR)).astype(np.uint8)
    codes[-size // 8 :] = Code.TABLE
    write_grey(folder / "codes.dat", codes)  # no .png: clean-fid reads every image of a folder
    return paths


def masks_of(folder: Path) -> Callable[[int], dict[str, NDArray[np.bool_]]]:
    """Region masks of every slice, read and shrunk anew for each, as scoring does."""
    return lambda _index: shrink(read_grey(folder / "codes.dat"))


# -------------------------------------------------------------------------------- tools
def harness_features(paths: Folder, extractors: list[features.Extractor], *, regions: bool = False) -> FeatureSet:
    return features.extract(paths, extractors, regions=masks_of(paths[0].parent) if regions else None)


def harness_values(of: FeatureSet, against: FeatureSet) -> list[float]:
    inception, clip = ([rows[name]["whole"].values for rows in (of, against)] for name in NETWORKS)
    return [frechet.distance(*inception), kernel.distance(*inception), frechet.distance(*clip)]


class CleanFid:
    """clean-fid's compute_fid, compute_kid and CLIP-FID; its features and the seconds of its distances are kept."""

    def __init__(self) -> None:
        self.inception, self.clip = (reference_tools.network(name) for name in NETWORKS)
        self.distance_s = 0.0
        self.rows: list[reference_tools.Rows] = []  # Inception features of outputs and labels

    def __call__(self, outputs: Folder, labels: Folder) -> list[float]:
        self.distance_s = 0.0
        options = {
            "num_workers": torch.get_num_threads(),
            "batch_size": 32,
            "device": reference_tools.CPU,
            "verbose": False,
        }
        folders = [str(paths[0].parent) for paths in (outputs, labels)]
        frechet_distance = cleanfid.frechet_distance

        def timed(*arguments: object) -> float:
            start = time.perf_counter()
            value = float(frechet_distance(*arguments))
            self.distance_s += time.perf_counter() - start
            return value

        cleanfid.frechet_distance = timed
        try:
            fid = cleanfid.compute_fid(*folders, custom_feat_extractor=self.inception, **options)
            # compute_kid takes no extractor: these are its two lines
            rows = [cleanfid.get_folder_features(folder, self.inception, mode="clean", **options) for folder in folders]
            self.rows = [one.astype(np.float64) for one in rows]
            start = time.perf_counter()
            kid = cleanfid.kernel_distance(*rows)
            self.distance_s += time.perf_counter() - start
            clip_fid = cleanfid.compute_fid(
                *folders, custom_feat_extractor=self.clip, custom_fn_resize=img_preprocess_clip, **options
            )
        finally:
            cleanfid.frechet_distance = frechet_distance
        return [float(fid), float(kid), float(clip_fid)]


def floor_s(slices: int) -> tuple[float, float, float]:
    """Seconds that the published networks' multiplications and additions alone take for so many slices at the rate of a
    float32 matrix product on this machine, that rate in GFLOP/s, and GFLOP a slice."""
    operations = 0
    for name, side in zip(NETWORKS, (299, 224), strict=True):
        network = reference_tools.network(name)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network(torch.zeros(1, 3, side, side))
        operations += counter.get_total_flops()
    a = torch.rand(2048, 2048)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    rate = 2 * 2048**3 / statistics.median(times)
    return operations * slices / rate, rate / 1e9, operations / 1e9


def tools(slices: int, size: int, rounds: int) -> None:
    extractors = [features.load(name) for name in NETWORKS]
    clean_fid = CleanFid()
    with tempfile.TemporaryDirectory() as folder:
        outputs, labels = (Path(folder) / name for name in ("outputs", "labels"))
        sets = [write_slices(path, slices, size, seed) for seed, path in enumerate((outputs, labels))]
        cached: dict[bool, FeatureSet] = {}
        values: dict[str, list[float]] = {}
        seconds: dict[str, list[float]] = {}

        def timed(name: str, function: Callable[[], list[float]]) -> None:
            start = time.perf_counter()
            values[name] = function()
            seconds.setdefault(name, []).append(time.perf_counter() - start)

        def cold(regions: bool) -> list[float]:
            of, cached[regions] = (harness_features(paths, extractors, regions=regions) for paths in sets)
            return harness_values(of, cached[regions])

        harness_features(sets[0][:2], extractors)  # first calls choose kernels
        for _ in range(rounds):
            timed("clean-fid, three calls", lambda: clean_fid(*sets))
            seconds.setdefault("clean-fid, without its distances", []).append(
                seconds["clean-fid, three calls"][-1] - clean_fid.distance_s
            )
            timed("one pass", lambda: cold(False))
            timed(
                "one pass, label features cached",
                lambda: harness_values(harness_features(sets[0], extractors), cached[False]),
            )
            timed("one pass, regions too", lambda: cold(True))
        floor, rate, operations = floor_s(2 * slices)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        f"{slices} slices of {size} x {size} a folder, median of {rounds} rounds, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}\n"
    )
    print("| way | s | times as fast | so without clean-fid's distances | FID | KID | CLIP-FID |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    whole, bare = medians["clean-fid, three calls"], medians["clean-fid, without its distances"]
    for name, median in medians.items():
        numbers = [f"{one:.7g}" for one in values.get(name, [])] or ["", "", ""]
        print(f"| {name} | {median:.1f} | {whole / median:.2f} | {bare / median:.2f} | {' | '.join(numbers)} |")
    print(
        f"\nFloor of the networks: {operations:.1f} GFLOP a slice at {rate:.0f} GFLOP/s (float32 matrix product, same "
        f"run) are {floor:.1f} s cold and {floor / 2:.1f} s with label features cached: "
        f"one pass takes {medians['one pass'] / floor:.2f} and "
        f"{medians['one pass, label features cached'] / (floor / 2):.2f} times that. "
        f"Regions add {medians['one pass, regions too'] / medians['one pass'] - 1:.1%}.\n\n"
        f"clean-fid computes KID in float32; of the same features in float64 its function gives "
        f"{cleanfid.kernel_distance(*clean_fid.rows, 1):.7g}."
    )


# -------------------------------------------------------------------------------- growth
def growth(counts: list[int]) -> None:
    print(
        "Distances of features with a decaying spectrum, seconds, median of 3 (jackknife: 20 patients, 21 distances)\n"
    )
    print("| n | d | FID | FID, jackknife | KID | KID, jackknife |\n|--:|--:|--:|--:|--:|--:|")
    for count in counts:
        for dimension in (192, 512, 2048):
            x, y = (_decaying(count, dimension, seed) for seed in (0, 1))
            row = []
            for metric in (frechet, kernel):
                times = []
                for _ in range(3):
                    start = time.perf_counter()
                    metric.distance(x, y)
                    times.append(time.perf_counter() - start)
                once = statistics.median(times)
                row += [f"{once:.3f}", f"{20 * once * 0.95 + once:.1f}"]
            print(f"| {count} | {dimension} | {' | '.join(row)} |")
    print("\nThe jackknife's seconds are computed: 20 distances of 95 % of the slices and one of all.\n")
    print("Peak memory of a process that extracts the features of so many slices of 512 x 512, both networks\n")
    print("| slices | MB | MB of features |\n|--:|--:|--:|")
    for count in (32, 128, 512):
        done = subprocess.run(
            [sys.executable, __file__, "_memory", str(count)], capture_output=True, text=True, check=True
        )
        print(f"| {count} | {float(done.stdout):.0f} | {count * (2048 + 512) * 4 / 1e6:.1f} |")


def _decaying(count: int, dimension: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, dimension)) * np.arange(1, dimension + 1) ** -0.7
    return rows.astype(np.float32)


def memory(count: int) -> None:
    """Print the peak memory in MB of extracting features of `count` slices; run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_slices(Path(folder), 8, 512, 0)
        harness_features((paths * count)[:count], [features.load(name) for name in NETWORKS])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


# -------------------------------------------------------------------------------- device
def _print_networks(extractors: list[features.Extractor], batches: list[NDArray[Any]]) -> None:
    """Each network beside the published one that it equals, taking turns."""
    print("| network | ms a slice | as published, ms | times as fast |\n|---|--:|--:|--:|")
    for extractor, batch in zip(extractors, batches, strict=True):
        published = reference_tools.network(extractor.name)
        x = torch.from_numpy(batch).float()[:, None].expand(-1, 3, -1, -1).contiguous()
        own, others = [], []
        for _ in range(7):
            start = time.perf_counter()
            extractor.forward(batch)
            middle = time.perf_counter()
            with torch.inference_mode():
                published(x)
            own.append(1e3 * (middle - start) / len(batch))
            others.append(1e3 * (time.perf_counter() - middle) / len(batch))
        median, theirs = statistics.median(own), statistics.median(others)
        print(f"| {extractor.name} | {median:.1f} | {theirs:.1f} | {theirs / median:.2f} |")
    print()


def device(name: str, slices: int) -> None:
    extractors = [features.load(network, device=name) for network in NETWORKS]
    with tempfile.TemporaryDirectory() as folder:
        paths = write_slices(Path(folder), slices, 512, 0)
        first = [read_grey(path) for path in paths[:16]]
        batches = [np.stack([one.prepare(image) for image in first]) for one in extractors]

        def alone() -> None:
            for _ in range(0, slices, 16):
                for extractor, batch in zip(extractors, batches, strict=True):
                    extractor.forward(batch)

        alone()
        start = time.perf_counter()
        alone()
        middle = time.perf_counter()
        found = harness_features(paths, extractors)
        end = time.perf_counter()
    rates = slices / (middle - start), slices / (end - middle)
    if name == "cpu":
        _print_networks(extractors, batches)
    print(
        f"{name}: networks alone {rates[0]:.1f} slices/s, end to end {rates[1]:.1f} slices/s: {rates[1] / rates[0]:.0%}"
    )
    if torch.device(name).type == "cuda":
        ours = [extractor.forward(batch).features for extractor, batch in zip(extractors, batches, strict=True)]
        torch.backends.cuda.matmul.allow_tf32 = True
        theirs = [extractor.forward(batch).features for extractor, batch in zip(extractors, batches, strict=True)]
        for extractor, one, other in zip(extractors, ours, theirs, strict=True):
            print(f"{extractor.name}: TF32 in matrix products moves features by {np.abs(one - other).max():.2e}")
    del found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    one = what.add_parser("tools")
    one.add_argument("--slices", type=int, default=200, help="slices a folder")
    one.add_argument("--size", type=int, default=512, help="pixels along a side")
    one.add_argument("--rounds", type=int, default=1)
    what.add_parser("growth")
    where = what.add_parser("device")
    where.add_argument("--device", default="cpu")
    where.add_argument("--slices", type=int, default=64)
    what.add_parser("_memory").add_argument("count", type=int)
    options = parser.parse_args()
    match options.what:
        case "tools":
            tools(options.slices, options.size, options.rounds)
        case "growth":
            growth([200, 2000, 10_000])
        case "device":
            device(options.device, options.slices)
        case _:
            memory(options.count)


if __name__ == "__main__":
    main()
