"""The parts of scoring a test set, each timed alone, for `benchmarks/end_to_end.py`.

A module of its own: every worker process imports the main one again, and `harness`'s own is light.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
import unittest.mock
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from harness.base.progress import Quiet
from harness.base.slices import read_image, write_grey
from harness.features import Extractor
from harness.imaging.hounsfield import Window, grey, whole_levels
from harness.pipeline.prepare import Benchmark, prepare
from harness.pipeline.result import score_outputs
from harness.protocol import load_protocol
from harness.scoring.answer_lookup import find_looked_up
from harness.scoring.per_slice import image_values

BATCH = 16


class Took(NamedTuple):
    """Wall time, and that of processors, child processes included, in seconds."""

    wall: float
    processor: float


def took(function: Callable[[], Any]) -> Took:
    wall, processor = time.perf_counter(), _processor()
    function()
    return Took(time.perf_counter() - wall, _processor() - processor)


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def networks(paths: Sequence[Path], extractors: Sequence[Extractor], window_hu: Window | None) -> Took:
    """The forward passes of one set of images, prepared before the clock runs."""
    total = Took(0, 0)
    for start in range(0, len(paths), BATCH):
        images = [grey(read_image(path), window_hu) for path in paths[start : start + BATCH]]
        for one in extractors:
            for each in (one,) if one.map_pass is None else (one, one.map_pass):
                batch = np.stack([each.prepare(image) for image in images])
                part = took(partial(each.forward, batch))
                total = Took(total.wall + part.wall, total.processor + part.processor)
    return total


def prepared(protocol: str, leaderboard: Path) -> Benchmark:
    """The data, labels and extractors of a protocol, from the cache if they are there."""
    return prepare(load_protocol(protocol), Quiet(), leaderboard=leaderboard, writes=False)


def measure(benchmark: Benchmark, folder: Path) -> dict[str, Took]:
    """Seconds of each part of scoring the test set, one after the other."""
    dataset, labels, protocol = benchmark.dataset, benchmark.labels, benchmark.protocol
    outputs = {one.name: folder / f"{one.name}.png" for one in dataset.shown}
    for one in dataset.shown:
        image = read_image(Path(one.lq))
        write_grey(outputs[one.name], whole_levels(gaussian_filter(image.astype(np.float64), 1), image.dtype))
    cases = dataset.cases
    produced, maps = [outputs[case.name] for case in cases], [labels.regions_path(case) for case in cases]
    references = {"label": [labels.path(case.name) for case in cases]}
    if all(case.truth for case in cases):
        references["truth"] = [Path(str(case.truth)) for case in cases]
    networks(produced[:BATCH], benchmark.extractors, dataset.window_hu)  # first calls choose kernels
    seconds = {
        "networks, outputs": networks(produced, benchmark.extractors, dataset.window_hu),
        "image metrics, workers' start included": took(
            lambda: image_values(cases, produced, references, maps, protocol, dataset.window_hu)
        ),
        "answer look-up, workers' start included": took(lambda: find_looked_up(cases, produced, references, maps)),
    }
    sets = 1 + len(references)
    seconds[f"networks, outputs and references ({sets} sets)"] = Took(
        *(sets * part for part in seconds["networks, outputs"])
    )
    with tempfile.TemporaryDirectory() as empty, unittest.mock.patch.dict(os.environ, HARNESS_CACHE=empty):
        for name in ("scores, nothing cached", "scores again, unchanged"):
            seconds[name] = took(lambda: score_outputs(outputs, benchmark, lambda _done, _total: None))
    return seconds
