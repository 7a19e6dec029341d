"""FID, KID and CLIP-FID of two folders: one pass of the harness against clean-fid's way of three calls.

    python benchmarks/scoring.py                  # 24 slices of 512 x 512, 3 rounds
    python benchmarks/scoring.py --slices 200 --rounds 1

clean-fid reads, resizes and passes every image once per metric, through its own data loader and resizers. Both sides
run the same networks (seeded random weights, so that no download is needed) and take turns in every round; clean-fid's
distances are left out where they take longer than all the rest (its matrix root at 2048 dimensions), in its favour.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from harness import features, torchvision_shim  # noqa: F401 -- the shim before cleanfid
from harness.features import clip_random, inception_random
from harness.features._clip_network import tower
from harness.features._inception_network import InceptionNetwork
from harness.files import write_grey
from harness.metrics import frechet, kernel

Folder = list[Path]


def write_slices(folder: Path, count: int, size: int, seed: int) -> Folder:
    """Noisy chest-like slices: the networks' time does not depend on what they show."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    body = 110.0 * (x**2 / 0.7 + y**2 / 0.5 < 1)
    body[(np.abs(x) - 0.4) ** 2 / 0.08 + y**2 / 0.25 < 1] = 25
    paths = []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        image = gaussian_filter(body, 1) + rng.normal(0, 10, body.shape)
        paths.append(folder / f"{index:04}.png")
        write_grey(paths[-1], np.clip(image, 0, 255).astype(np.uint8))
    return paths


def harness_way(outputs: Folder, labels: Folder, extractors: list[features.Extractor]) -> list[float]:
    """FID, KID, CLIP-FID from one pass over either folder."""
    inception, clip = extractors
    of, against = (features.extract(paths, extractors, regions=None) for paths in (outputs, labels))
    values = [[rows[name]["whole"].values for rows in (of, against)] for name in (inception.name, clip.name)]
    return [frechet.distance(*values[0]), kernel.distance(*values[0]), frechet.distance(*values[1])]


class _Whole(torch.nn.Module):
    """The Inception network as clean-fid calls one: grey levels in, features out; batch norm and layout left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.network = InceptionNetwork().eval()
        state = {key: torch.from_numpy(tensor) for key, tensor in inception_random.weights().items()}
        self.network.load_state_dict(state, strict=False)  # without the batch-norm counters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network((x - 128) / 128)[0]
        return found


def clean_fid_way() -> Callable[[Folder, Folder], list[float]]:
    """A function that makes clean-fid's three calls, features and KID by its own code."""
    sys.modules.setdefault("clip", types.ModuleType("clip"))  # imported by clean-fid's preprocessing, not used by it
    from cleanfid import fid
    from cleanfid.clip_features import CLIP_fx, img_preprocess_clip

    cpu = torch.device("cpu")
    inception = _Whole()
    vision = tower().eval()
    vision.load_state_dict({key: torch.from_numpy(tensor) for key, tensor in clip_random.weights().items()})
    clip = CLIP_fx.__new__(CLIP_fx)
    clip.model = types.SimpleNamespace(encode_image=vision)

    def extract(paths: Folder, model: Any, **options: Any) -> NDArray[np.float64]:
        found = fid.get_files_features(
            [str(path) for path in paths],
            model=model,
            num_workers=torch.get_num_threads(),
            batch_size=16,
            device=cpu,
            mode="clean",
            verbose=False,
            **options,
        )
        return np.asarray(found, dtype=np.float64)

    def run(outputs: Folder, labels: Folder) -> list[float]:
        fid_value = frechet.distance(extract(outputs, inception), extract(labels, inception))
        kid_value = fid.kernel_distance(extract(outputs, inception), extract(labels, inception))
        clip_call = partial(extract, model=clip, custom_fn_resize=img_preprocess_clip)
        return [fid_value, float(kid_value), frechet.distance(clip_call(outputs), clip_call(labels))]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=24, help="slices per folder")
    parser.add_argument("--size", type=int, default=512, help="pixels along a side")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outputs, labels = (
            write_slices(Path(folder) / name, options.slices, options.size, seed)
            for seed, name in enumerate(("outputs", "labels"))
        )
        extractors = [features.load(name) for name in ("inception-random", "clip-random")]
        ways: dict[str, Callable[[Folder, Folder], list[float]]] = {
            "clean-fid, three calls": clean_fid_way(),
            "harness, one pass": partial(harness_way, extractors=extractors),
        }
        for way in ways.values():
            way(outputs[:2], labels[:2])  # first calls choose kernels and start workers
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        values: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                values[name] = way(outputs, labels)
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    slowest = max(medians.values())
    print(
        f"{options.slices} slices of {options.size} x {options.size} a folder, median of {options.rounds} rounds, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    print("| way | seconds | range | times as fast | FID | KID | CLIP-FID |\n|---|---|---|---|---|---|---|")
    for name, times in seconds.items():
        fid_value, kid_value, clip_value = values[name]
        print(
            f"| {name} | {medians[name]:.1f} | {min(times):.1f}-{max(times):.1f} | {slowest / medians[name]:.2f} "
            f"| {fid_value:.6f} | {kid_value:.8f} | {clip_value:.6f} |"
        )


if __name__ == "__main__":
    main()
