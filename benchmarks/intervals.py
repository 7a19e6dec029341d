"""How often the intervals, ties and extrapolations of scores hold what they promise, by simulation; markdown tables.

    python benchmarks/intervals.py intervals      # 95 % intervals over patients: how many cover
    python benchmarks/intervals.py ties           # equal submissions torn apart, without and with Holm
    python benchmarks/intervals.py extrapolation  # Frechet distance at infinite n: what it is worth from which n on

Features are Gaussian with eigenvalues 1, 1/2, 1/3 ... around a mean, part of their variance shared by the slices of a
patient. "inception" and "clip" are as the features of the embedded phantom by the random networks are (variance, share
between patients; the Frechet distance mostly of means, mostly of covariances); "heavy" has a variance above mean^2,
where the cubic kernel has its longest tails. Errors of slices (for the mean) are log-normal. Outputs are made from
the labels of the same slices.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from harness import statistics as st
from harness.metrics import frechet, kernel, kernel_paired

Rows = NDArray[np.float64]
DISTANCES: dict[str, Callable[[Rows, Rows], float]] = {
    "Frechet": frechet.distance,
    "kernel, clean-fid's": kernel.distance,
    "kernel, paired": kernel_paired.distance,
}


@dataclass(frozen=True, kw_only=True)
class World:
    """What features are like: dimensions, mean and std of a feature, share of the variance between patients.

    `shift` is the distance of the outputs' mean from the labels', in standard deviations of every feature.
    """

    d: int
    mean: float
    std: float
    share: float
    shift: float


WORLDS = {
    "inception": World(d=128, mean=1.0, std=0.01, share=0.6, shift=0.5),
    "clip": World(d=128, mean=1.0, std=0.08, share=0.4, shift=0.05),
    "heavy": World(d=32, mean=0.5, std=1.0, share=0.6, shift=0.2),
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Labels and the outputs of submissions on the same slices: features, and every slice's error of a submission."""

    labels: Rows
    outputs: Sequence[Rows]
    errors: Sequence[Rows]
    groups: list[str]


def draw(world: World, slices: Sequence[int], rng: np.random.Generator, *, equal: bool, submissions: int) -> Sample:
    """`slices[g]` slices of patient g. Submissions are `equal` but for chance, or each is worse than the one before."""
    scale = 1.0 / np.arange(1, world.d + 1)
    scale = world.std * np.sqrt(scale * world.d / scale.sum())

    def noise(size: int) -> Rows:
        between = np.repeat(rng.normal(size=(len(slices), size)), slices, axis=0)
        within = rng.normal(size=(sum(slices), size))
        found: Rows = np.sqrt(world.share) * between + np.sqrt(1 - world.share) * within
        return found

    anatomy, common, difficulty = noise(world.d) * scale, 0.4 * noise(world.d) * scale, noise(1)[:, 0]
    outputs, errors = [], []
    for index in range(submissions):
        worse = 0.0 if equal else 0.1 * index
        shift = world.shift * (1 + worse) * scale
        own = 0.3 * noise(world.d) * scale
        outputs.append(world.mean + (0.85 - worse / 2) * anatomy + shift + common + own)
        errors.append(20 * np.exp(0.2 * worse + 0.5 * difficulty + 0.1 * noise(1)[:, 0]))
    groups = [f"patient {patient:03}" for patient in np.repeat(np.arange(len(slices)), slices)]
    return Sample(labels=world.mean + anatomy, outputs=outputs, errors=errors, groups=groups)


def statistics(sample: Sample, submission: int) -> dict[str, st.Statistic]:
    """Every statistic of a submission as a function of the slices it is computed from."""

    def of(distance: Callable[[Rows, Rows], float]) -> st.Statistic:
        return lambda rows: distance(sample.outputs[submission][rows], sample.labels[rows])

    return {"mean": lambda rows: float(sample.errors[submission][rows].mean())} | {
        name: of(distance) for name, distance in DISTANCES.items()
    }


def half_samples(statistic: st.Statistic, groups: Sequence[str], rng: np.random.Generator) -> dict[int, float]:
    """Subsampling without replacement: the statistic of (at most 20) random halves of the patients."""
    labels = np.asarray(groups)
    halves = list(combinations(np.unique(labels), len(np.unique(labels)) // 2))
    chosen = rng.choice(len(halves), min(20, len(halves)), replace=False)
    return {int(index): statistic(np.flatnonzero(np.isin(labels, halves[index]))) for index in chosen}


def bootstrap(statistic: st.Statistic, groups: Sequence[str], rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile interval of 100 draws of patients with replacement."""
    labels = np.asarray(groups)
    rows = [np.flatnonzero(labels == name) for name in np.unique(labels)]
    draws = (rng.integers(0, len(rows), len(rows)) for _ in range(100))
    values = [statistic(np.concatenate([rows[one] for one in drawn])) for drawn in draws]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


class Tally:
    """Counts how many intervals cover."""

    def __init__(self) -> None:
        self.covered = self.of = 0

    def add(self, low: float | None, high: float | None, target: float) -> None:
        assert low is not None
        assert high is not None
        self.of += 1
        self.covered += low <= target <= high

    def __str__(self) -> str:
        return f"{self.covered / self.of:.1%}" if self.of else "-"


def coverage(
    world: World, slices: Sequence[int], *, repetitions: int, seed: int, others: bool
) -> dict[str, dict[str, Tally]]:
    """Statistic -> method -> tally, differences of two submissions among the statistics.

    Intervals are conditional on n, so the target is the mean of the statistic over 4 x as many samples of the same
    size. `others`: half-samples too, and the bootstrap in one of five repetitions.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for repetition in range(4 * repetitions):
        rng = np.random.default_rng((seed, 1, repetition))
        sample = draw(world, slices, rng, equal=False, submissions=2)
        everything = np.arange(len(sample.groups))
        for name in ("mean", *DISTANCES):
            value, other = (statistics(sample, one)[name](everything) for one in (0, 1))
            values[name].append(value)
            values[f"{name}, difference"].append(value - other)
    targets = {name: float(np.mean(found)) for name, found in values.items()}

    tallies: dict[str, dict[str, Tally]] = defaultdict(lambda: defaultdict(Tally))
    student = float(stdtrit(len(slices) - 1, 0.5 + st.LEVEL / 2))
    for repetition in range(repetitions):
        rng = np.random.default_rng((seed, 0, repetition))
        sample = draw(world, slices, rng, equal=False, submissions=2)
        for name in ("mean", *DISTANCES):
            first, second = (statistics(sample, one)[name] for one in (0, 1))
            one, two = st.replicates(first, sample.groups), st.replicates(second, sample.groups)
            found = {name: st.interval(one), f"{name}, difference": st.paired_difference(one, two)}
            for what, interval in found.items():
                tallies[what]["jackknife"].add(interval.low, interval.high, targets[what])
            if not others:
                continue
            seed_of_halves = int(rng.integers(2**32))
            of_halves = [
                half_samples(statistic, sample.groups, np.random.default_rng(seed_of_halves))
                for statistic in (first, second)
            ]
            spread = {
                name: np.std(list(of_halves[0].values())),
                f"{name}, difference": np.std([of_halves[0][key] - of_halves[1][key] for key in of_halves[0]]),
            }
            for what, interval in found.items():
                half = student * float(spread[what])
                tallies[what]["half-samples"].add(interval.value - half, interval.value + half, targets[what])
            if repetition % 5 == 0:
                tallies[name]["bootstrap"].add(*bootstrap(first, sample.groups, rng), targets[name])
    return tallies


def print_intervals(repetitions: int) -> None:
    print(
        f"Share of 95 % intervals that cover the expectation at the same n, {repetitions} repetitions "
        f"(standard error of a share near 95 %: {np.sqrt(0.95 * 0.05 / repetitions):.1%}; bootstrap: a fifth of them)\n"
    )
    print("| features | patients x slices | statistic | jackknife | half-samples | percentile bootstrap |")
    print("|---|---|---|--:|--:|--:|")
    unequal = [2, 4, 6, 8, 12, 16]
    settings = [(world, slices) for world in ("inception", "clip") for slices in ([8] * 6, [7] * 8, [6] * 12)]
    for world, slices in [*settings, ("inception", unequal), ("heavy", [8] * 6), ("heavy", [6] * 12)]:
        of = "-".join(map(str, slices)) if len(set(slices)) > 1 else f"{len(slices)} x {slices[0]}"
        tallies = coverage(WORLDS[world], slices, repetitions=repetitions, seed=0, others=True)
        for name, methods in sorted(tallies.items(), key=lambda item: "difference" in item[0]):
            columns = [str(methods[method]) for method in ("jackknife", "half-samples", "bootstrap")]
            print(f"| {world} | {of} | {name} | {' | '.join(columns)} |", flush=True)


def splits(results: Mapping[str, st.Replicates]) -> tuple[bool, bool]:
    """Whether tiers separate any of these submissions: without correction, with Holm."""
    ranks = {name: rank for rank, name in enumerate(sorted(results, key=lambda name: results[name].value), start=1)}

    def alone(first: str, second: str) -> bool:
        p = st.paired_difference(results[first], results[second]).p
        assert p is not None
        return p > 1 - st.LEVEL

    apart = st.distinguishable(results)
    with_holm = st.tiers(ranks, lambda first, second: frozenset((first, second)) not in apart)
    return len(st.tiers(ranks, alone)) > 1, len(with_holm) > 1


def print_ties(repetitions: int) -> None:
    print(
        f"Share of boards on which tiers separate submissions that are equal in expectation, {repetitions} repetitions "
        '("clip" features)\n'
    )
    print("| patients x slices | submissions | statistic | without correction | Holm |\n|---|--:|---|--:|--:|")
    for patients, slices in ((6, 8), (12, 6)):
        for submissions in (2, 5, 10):
            counts: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
            for repetition in range(repetitions):
                rng = np.random.default_rng((repetition, patients, submissions))
                sample = draw(WORLDS["clip"], [slices] * patients, rng, equal=True, submissions=submissions)
                for name in ("mean", "Frechet", "kernel, paired"):
                    counts[name].append(
                        splits(
                            {
                                str(one): st.replicates(statistics(sample, one)[name], sample.groups)
                                for one in range(submissions)
                            }
                        )
                    )
            for name, found in counts.items():
                alone, holm = np.mean(found, axis=0)
                print(f"| {patients} x {slices} | {submissions} | {name} | {alone:.1%} | {holm:.1%} |", flush=True)


def gaussians(
    units: int, slices: int, d: int, share: float, rng: np.random.Generator
) -> tuple[Rows, Rows, list[str], float]:
    """Paired features whose two distributions are Gaussian with commuting covariances; their true distance."""
    first = 1.0 / np.arange(1, d + 1)
    first *= d / first.sum()
    second, shift = first * np.linspace(0.5, 1.5, d), 0.2 * np.sqrt(first)

    def noise() -> Rows:
        between = np.repeat(rng.normal(size=(units, d)), slices, axis=0)
        found: Rows = np.sqrt(share) * between + np.sqrt(1 - share) * rng.normal(size=(units * slices, d))
        return found

    anatomy = noise()
    outputs = (0.8 * anatomy + 0.6 * noise()) * np.sqrt(second) + shift
    truth = float(np.sum(shift**2) + np.sum((np.sqrt(first) - np.sqrt(second)) ** 2))
    groups = [str(index // slices) for index in range(units * slices)]
    return outputs, anatomy * np.sqrt(first), groups, truth


def print_extrapolation(repetitions: int) -> None:
    d = 32
    print(
        f"Frechet distance of Gaussians in {d} dimensions, {repetitions} repetitions: mean (standard deviation); "
        "`harness` gives a value from 4 units per dimension on\n"
    )
    print("| patients x slices | patients / d | true | of the sample | extrapolated over patients | over slices |")
    print("|---|--:|--:|--:|--:|--:|")
    settings = [(16, 1), (32, 1), (64, 1), (128, 1), (256, 1), (512, 1), (8, 64), (32, 16), (64, 8), (128, 8)]
    for units, slices in settings:
        columns: dict[str, list[float]] = defaultdict(list)
        for repetition in range(repetitions):
            rng = np.random.default_rng((repetition, units, slices))
            x, y, groups, truth = gaussians(units, slices, d, 0.5 if slices > 1 else 0.0, rng)
            columns["plain"].append(frechet.distance(x, y))
            for name, of in (("patients", groups), ("slices", None)):
                value = frechet.extrapolated(x, y, groups=of, rng=rng, least=0)
                assert value is not None
                columns[name].append(value)
        shown = [f"{np.mean(columns[name]):.2f} ({np.std(columns[name]):.2f})" for name in ("plain", "patients")]
        shown.append(f"{np.mean(columns['slices']):.2f} ({np.std(columns['slices']):.2f})" if slices > 1 else "-")
        print(f"| {units} x {slices} | {units / d:g} | {truth:.2f} | {' | '.join(shown)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables: dict[str, Callable[[int], None]] = {
        "intervals": print_intervals,
        "ties": print_ties,
        "extrapolation": print_extrapolation,
    }
    parser.add_argument("table", choices=tables)
    parser.add_argument("--repetitions", type=int, default=300)
    options = parser.parse_args()
    tables[options.table](options.repetitions)


if __name__ == "__main__":
    main()
