"""The tables of docs/validity.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import kendalltau

from benchmarks.battery import HARMFUL, unspoilt
from benchmarks.observer import NOISY
from harness.base.structs import Strict
from harness.metrics import load
from harness.observer.detection import Detection
from harness.protocol import Protocol
from harness.scoring.values import Table, Value
from harness.statistics import Replicates, interval

Reference = Literal["label", "truth"]
Ranked = Callable[[str | None], Sequence[float]]
"""Patient to leave out, or None -> how bad each denoiser is."""
OBSERVERS: dict[str, Callable[[Detection], Replicates]] = {
    "d'": lambda one: one.hotelling,
    "d' of the eye": lambda one: one.eye,
}


class Scored(Strict, frozen=True, kw_only=True):
    """The values of one set of images."""

    label: Table
    truth: Table


class Study(NamedTuple):
    """All that was measured: denoiser -> values; damage -> the truth and its steps; denoiser -> d' by condition."""

    protocol: Protocol
    battery: Mapping[str, Scored]
    ladders: Mapping[str, Sequence[Scored]]
    lesions: Mapping[str, Sequence[Detection]]

    @property
    def ideal(self) -> Scored:
        """The values of the truth itself."""
        return next(iter(self.ladders.values()))[0]

    @property
    def patients(self) -> list[str]:
        return sorted(next(iter(self.battery.values())).truth["RMSE"]["whole"].without)

    def higher_is_better(self, metric: str) -> bool | None:
        """Which end of a metric is better; None where neither is."""
        return next(load(one.metric).higher_is_better for one in self.protocol.metrics if one.name == metric)

    def present(self, reference: Reference) -> list[tuple[str, str]]:
        """Metrics and regions that every denoiser has a value of."""
        tables = [getattr(one, reference) for one in self.battery.values()]
        pairs = ((one.name, region) for one in self.protocol.metrics for region in self.protocol.regions)
        return [(metric, region) for metric, region in pairs if all(region in t.get(metric, {}) for t in tables)]


# -------------------------------------------------------------------------------- rankings
def by_metric(study: Study, reference: Reference, metric: str, region: str) -> Ranked:
    """How bad by a metric; descriptive values by their distance from the truth's own, or from the noisy input's where
    the truth, as against itself, has none. The metric itself decides what is descriptive, not the protocol, which may
    only show a distance of random features."""
    tables: list[Table] = [getattr(one, reference) for one in study.battery.values()]
    ideal = getattr(study.ideal, reference).get(metric, {}).get(region)
    best = ideal or getattr(study.battery[NOISY], reference)[metric][region]
    better = study.higher_is_better(metric)
    return lambda patient: [badness(table[metric][region], best, better, patient) for table in tables]


def badness(value: Value, ideal: Value, higher_is_better: bool | None, patient: str | None) -> float:
    """How bad a value is, with all patients or without one."""
    number, aim = (one.value if patient is None else one.without[patient] for one in (value, ideal))
    if higher_is_better is None:
        return abs(number - aim)
    return -number if higher_is_better else number


def by_observer(study: Study, observer: str) -> Ranked:
    """How badly lesions are seen: minus d', averaged over the conditions."""
    of = OBSERVERS[observer]
    found = [[of(one) for one in detections] for detections in study.lesions.values()]
    return lambda patient: [
        -float(np.mean([one.value if patient is None else one.without[patient] for one in conditions]))
        for conditions in found
    ]


def agreement(one: Ranked, other: Ranked, patients: Sequence[str], count: int) -> str:
    """Kendall's tau of two rankings of `count` denoisers, with its 95 % interval; – where one ranks them all equal."""

    def tau(patient: str | None) -> float:
        return float(kendalltau(one(patient), other(patient)).statistic)

    value = tau(None)
    if not np.isfinite(value):
        return "–"
    try:
        without = {name: tau(name) for name in patients}
    except KeyError:  # too few lesions without some patient
        without = {}
    finite = bool(np.isfinite(list(without.values())).all())
    bounds = interval(Replicates(value=value, n=count, without=without if finite else {}))
    if bounds.low is None or bounds.high is None:
        return f"{bounds.value:.2f}"
    return f"{bounds.value:.2f} ({max(bounds.low, -1):.2f} to {min(bounds.high, 1):.2f})"


def harm_noticed(study: Study, ranked: Ranked) -> str:
    """Of the denoisers that do harm, how many are ranked below the one that they spoil."""
    bad = dict(zip(study.battery, ranked(None), strict=True))
    harmful = [name for name in study.battery if name in HARMFUL and unspoilt(name) in bad]
    return f"{sum(bad[name] > bad[unspoilt(name)] for name in harmful)} of {len(harmful)}"


# -------------------------------------------------------------------------------- tables
def print_battery(study: Study) -> None:
    """The denoisers by the truths, the smallest error first."""
    ranks = {name: by_observer(study, name) for name in OBSERVERS}
    seen = {name: dict(zip(study.battery, ranked(None), strict=True)) for name, ranked in ranks.items()}
    kernel = next((one.name for one in study.protocol.metrics if one.metric == "kernel"), None)
    columns = ["RMSE, HU", "RMSE of the lung, HU", *OBSERVERS, "the lung's against the label, HU"]
    columns += [f"1000 x {kernel} against the label"] if kernel else []
    print(f"| denoiser | {' | '.join(columns)} |")
    print("|---|" + "--:|" * len(columns))
    for name, one in sorted(study.battery.items(), key=lambda item: item[1].truth["RMSE"]["whole"].value):
        whole, lung = (one.truth["RMSE"][region].value for region in ("whole", "lung"))
        lesions = " | ".join(f"{-values[name]:.2f}" for values in seen.values())
        cells = [name, f"{whole:.1f}", f"{lung:.1f}", lesions, f"{one.label['RMSE']['lung'].value:.1f}"]
        cells += [f"{1000 * one.label[kernel]['whole'].value:.2f}"] if kernel else []
        print(f"| {' | '.join(cells)} |")


def print_ranks(study: Study, reference: Reference) -> None:
    """Tau of every metric and region with every truth."""
    observers = {name: by_observer(study, name) for name in OBSERVERS}
    lung = by_metric(study, "truth", "RMSE", "lung")
    print(f"| metric | region | RMSE there | RMSE of the lung | {' | '.join(OBSERVERS)} | harm noticed |")
    print("|---|---|" + "--:|" * (len(observers) + 3))
    for metric, region in study.present(reference):
        own = by_metric(study, reference, metric, region)
        truths = [by_metric(study, "truth", "RMSE", region), lung, *observers.values()]
        taus = [agreement(own, truth, study.patients, len(study.battery)) for truth in truths]
        print(f"| {metric} | {region} | {' | '.join(taus)} | {harm_noticed(study, own)} |")
    print(f"\nHarm that the truths notice: RMSE of the lung {harm_noticed(study, lung)}", end="")
    print("".join(f", {name} {harm_noticed(study, ranked)}" for name, ranked in observers.items()))


def print_ladders(study: Study) -> None:
    print(f"| metric | region | {' | '.join(study.ladders)} |")
    print("|---|---|" + "--:|" * len(study.ladders))
    for metric, region in study.present("truth"):
        ladders = [
            monotone([one.truth for one in steps], metric, region, higher_is_better=study.higher_is_better(metric))
            for steps in study.ladders.values()
        ]
        print(f"| {metric} | {region} | {' | '.join(ladders)} |")


def monotone(steps: Sequence[Table], metric: str, region: str, *, higher_is_better: bool | None) -> str:
    """Whether every step of a ladder is worse than the one before: the steps that are, of all."""
    if any(region not in table.get(metric, {}) for table in steps):
        return "–"
    values = [badness(table[metric][region], steps[0][metric][region], higher_is_better, None) for table in steps]
    worse = sum(later > earlier for earlier, later in pairwise(values))
    return "yes" if worse == len(values) - 1 else f"{worse} of {len(values) - 1}"
