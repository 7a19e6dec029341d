"""Does a metric measure anything? Every metric, region and extractor of a protocol against the true error.

    .venv/bin/python benchmarks/validity.py [-p phantom]

On the phantom the truth is known. A battery of denoisers of varied kind and strength is scored against the purified
label, as a board would, and ranked; Kendall's tau says how far that is the ranking by the true error (RMSE against the
truth in the same region), with the jackknife's 95 % interval over patients. Then the truth itself is spoilt in graded
steps: a metric that is any good gets worse with every step. Prints markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from harness.base.slices import read_grey, write_grey
from harness.base.workers import map_slices
from harness.dataset.cases import Case, Dataset
from harness.dataset.load import load_data
from harness.imaging.regions import Code, erode
from harness.labels.battery import BATTERY
from harness.labels.label_set import build_labels
from harness.protocol import Metric, Protocol, load_protocol
from harness.scoring.score import Scorecard, load_extractors, score
from harness.scoring.values import Table
from harness.statistics import Replicates, interval

Image = NDArray[np.uint8]
GREY_PER_HU = 255 / 2224  # of the phantom's window
CLIP_KID = Metric(name="CLIP-KID", metric="kernel", features="clip-random")  # beside the protocol's own
STEPS = 4


# -------------------------------------------------------------------------------- the truth, spoilt in graded steps
def _blur(truth: Image, _case: Case, step: int) -> Image:
    return _grey(cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 0.4 * 2 ** (step - 1)))


def _noise(truth: Image, case: Case, step: int) -> Image:
    """A share of the very noise that the low-dose scan has: its colour, its streaks."""
    low = read_grey(Path(case.lq)).astype(np.float32)
    return _grey(truth + (low - truth) * step / STEPS)


def _shift(truth: Image, _case: Case, step: int) -> Image:
    return _grey(truth.astype(np.float32) + 10 * 2 ** (step - 1) * GREY_PER_HU)


def _vessels(truth: Image, case: Case, step: int) -> Image:
    """Vessels that are not there: bright curved lines of 1.5 to 3 pixels in the lung, 8 to 64 a slice."""
    rng = np.random.default_rng([1, *case.name.encode()])
    lung = erode(read_grey(Path(str(case.regions))) == Code.LUNG, 3)
    rows, columns = np.nonzero(lung)
    drawn: NDArray[np.float32] = np.zeros(truth.shape, np.float32)
    for _ in range(8 * 2 ** (step - 1) if len(rows) else 0):
        start = int(rng.integers(len(rows)))
        heading, bend, along = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.04), np.arange(rng.integers(10, 40))
        angle = heading + bend * along
        path = np.stack([columns[start] + np.cumsum(np.cos(angle)), rows[start] + np.cumsum(np.sin(angle))], axis=1)
        layer = np.zeros(truth.shape, np.float32)
        points = np.rint(path * 16).astype(np.int32)
        cv2.polylines(layer, [points], isClosed=False, color=1.0, thickness=2, lineType=cv2.LINE_AA, shift=4)
        drawn = np.maximum(drawn, layer)
    soft = np.asarray(cv2.GaussianBlur(drawn, (0, 0), 0.7)) * lung
    return _grey(truth + soft * np.maximum(105.0 - truth, 0))  # as bright as blood at 0 HU


def _grey(values: object) -> Image:
    grey: Image = np.clip(np.rint(np.asarray(values)), 0, 255).astype(np.uint8)
    return grey


SPOILS: dict[str, Callable[[Image, Case, int], Image]] = {
    "blur": _blur,
    "noise": _noise,
    "HU shift": _shift,
    "false vessels": _vessels,
}


# -------------------------------------------------------------------------------- scoring
def _denoised(case: Case, name: str, folder: str) -> None:
    write_grey(Path(folder) / f"{case.name}.png", BATTERY[name](read_grey(Path(case.lq))))


def _spoilt(case: Case, kind: str, step: int, folder: str) -> None:
    truth = read_grey(Path(str(case.truth)))
    write_grey(Path(folder) / f"{case.name}.png", SPOILS[kind](truth, case, step) if step else truth)


def score_all(protocol: Protocol, dataset: Dataset) -> tuple[dict[str, Scorecard], dict[str, list[Scorecard]]]:
    """Scorecards of the battery, and of the truth spoilt in steps (the first is the truth itself)."""
    labels = build_labels(dataset, protocol.purify)
    extractors = load_extractors(protocol, device="cpu")

    def card(make: Callable[..., None], *arguments: object) -> Scorecard:
        with TemporaryDirectory() as folder:
            map_slices(make, [(case, *arguments, folder) for case in dataset.cases])
            outputs = {case.name: Path(folder) / f"{case.name}.png" for case in dataset.cases}
            return score(outputs, dataset, labels, protocol, extractors=extractors)

    battery = {name: card(_denoised, name) for name in BATTERY}
    truth = card(_spoilt, "truth", 0)
    spoilt = {kind: [truth, *(card(_spoilt, kind, step) for step in range(1, STEPS + 1))] for kind in SPOILS}
    return battery, spoilt


# -------------------------------------------------------------------------------- tables
def badness(tables: Mapping[str, Table], ideal: Table, metric: str, region: str, patient: str | None) -> list[float]:
    """How bad each is by a metric, without one patient or with all; descriptive values by their distance from the
    truth's own."""

    def of(table: Table) -> float:
        value, best = table[metric][region], ideal[metric][region]
        number, aim = (one.value if patient is None else one.without[patient] for one in (value, best))
        if value.higher_is_better is None:
            return abs(number - aim)
        return -number if value.higher_is_better else number

    return [of(table) for table in tables.values()]


def agreement(battery: Mapping[str, Scorecard], truth: Scorecard, metric: str, region: str) -> str:
    """Kendall's tau of the ranking by a metric against the label with that by the true error, as text."""
    labels = {name: card.label for name, card in battery.items()}
    errors = {name: card.truth or {} for name, card in battery.items()}

    def tau(patient: str | None) -> float:
        own = badness(labels, truth.label, metric, region, patient)
        error = badness(errors, truth.truth or {}, "RMSE", region, patient)
        return float(kendalltau(own, error).statistic)

    patients = next(iter(labels.values()))[metric][region].without
    bounds = interval(Replicates(value=tau(None), n=len(battery), without={name: tau(name) for name in patients}))
    if bounds.low is None or bounds.high is None:
        return f"{bounds.value:.2f}"
    return f"{bounds.value:.2f} ({max(bounds.low, -1):.2f} to {min(bounds.high, 1):.2f})"


def monotone(cards: list[Scorecard], metric: str, region: str) -> str:
    """Whether every step of a ladder is worse than the one before: the steps that are, of all."""
    steps = {str(index): card.truth or {} for index, card in enumerate(cards)}
    if any(region not in table.get(metric, {}) for table in steps.values()):
        return "–"
    values = badness(steps, cards[0].truth or {}, metric, region, None)
    worse = sum(later > earlier for earlier, later in pairwise(values))
    return "yes" if worse == len(values) - 1 else f"{worse} of {len(values) - 1}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-p", "--protocol", default="phantom")
    given = load_protocol(parser.parse_args().protocol)
    protocol = msgspec.structs.replace(given, metrics=(*given.metrics, CLIP_KID))
    dataset = load_data(protocol)
    battery, spoilt = score_all(protocol, dataset)
    truth = spoilt["blur"][0]
    print(
        f"Protocol {given.identity}, {len(dataset.cases)} slices, labels by {given.purify.weak_denoiser}, "
        f"{len(battery)} denoisers: {', '.join(battery)}\n"
    )
    print("| metric | region | tau, label's ranking against the true error | " + " | ".join(spoilt) + " |")
    print("|---|---|--:|" + "--:|" * len(spoilt))
    for metric in protocol.metrics:
        for region in protocol.regions:
            if any(region not in card.label.get(metric.name, {}) for card in (truth, *battery.values())):
                continue
            ladders = [monotone(cards, metric.name, region) for cards in spoilt.values()]
            tau = agreement(battery, truth, metric.name, region)
            print(f"| {metric.name} | {region} | {tau} | " + " | ".join(ladders) + " |")


if __name__ == "__main__":
    main()
