"""Label sets, the battery's outputs and the truth -> Audit."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from harness import features as extractors_of
from harness import metrics as metrics_of
from harness.base.errors import ScoringError, UsageError
from harness.base.progress import Progress, part_of
from harness.base.slices import read_grey, write_grey
from harness.base.structs import Strict
from harness.base.workers import map_slices
from harness.dataset.cases import Case, Dataset
from harness.features import Extractor, Features
from harness.imaging import denoise
from harness.imaging.masks import dark_mask
from harness.imaging.regions import shrink
from harness.labels.acceptance_gates import GATES, measure
from harness.labels.battery import BATTERY, family
from harness.labels.label_set import build_labels
from harness.labels.recipe import mask_of
from harness.protocol import Metric, Purify, Region
from harness.statistics import Interval, jackknife

DATA_RANGE = 255.0  # of 8-bit slices

TRUTH = "truth"

NEEDS_TRUTH = "needs truth"


class Gate(Strict, frozen=True, kw_only=True):
    """One gate: bounds (None: unbounded), mean and range over `n` slices, the share of them within the bounds, and
    whether the mean passes. Where nothing could be measured all but the bounds are None, and `reason` says why."""

    low: float | None
    high: float | None
    meaning: str
    n: int
    mean: float | None = None
    least: float | None = None
    most: float | None = None
    within: float | None = None
    passed: bool | None = None
    reason: str = ""


class Ranking(Strict, frozen=True, kw_only=True):
    """The battery by one metric: value and rank (1 is best) of each denoiser.

    `tau` is Kendall's tau-b with the ranking by truth, over the denoisers that are not of the weak denoiser's own
    family (which no board ranks), with the jackknife's 95 % interval over patients cut to [-1, 1]; `tau_all` is over
    all of them. Both are None without truth, and for the truth itself.
    """

    values: dict[str, float]
    ranks: dict[str, int]
    tau: Interval | None = None
    tau_all: Interval | None = None


class LabelAudit(Strict, frozen=True, kw_only=True):
    """One label set: gates by name, rankings by metric and region ("RMSE lung")."""

    weak: str
    gates: dict[str, Gate]
    rankings: dict[str, Ranking]


class Audit(Strict, frozen=True, kw_only=True):
    """The label set that was asked about first, then those with the other weak denoisers. `truth` holds the rankings
    by the noise-free reference; None for data without it."""

    strategy: str
    slices: int
    patients: int
    denoisers: tuple[str, ...]
    labels: tuple[LabelAudit, ...]
    truth: dict[str, Ranking] | None


class _Measure(Strict, frozen=True, kw_only=True):
    """What the battery is ranked by."""

    metric: Metric
    region: Region

    @property
    def name(self) -> str:
        return f"{self.metric.name} {self.region}"


class _Found(Strict, frozen=True, kw_only=True):
    """What a worker found of one slice: gates by label set; image metrics by measure, reference and denoiser."""

    gates: dict[str, dict[str, float | None]]
    values: dict[str, dict[str, dict[str, float]]]


def audit(
    dataset: Dataset,
    purify: Purify,
    *,
    weak: Sequence[str] | None = None,
    outputs: Mapping[str, Mapping[str, Path]] | None = None,
    metric: Metric | None = None,
    region: Region = "whole",
    extractor: Extractor | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Audit the labels of a recipe, on all cores.

    The battery is ranked by the RMSE in the lung and, if given, by `metric` in `region` (a protocol's `rank_by`), for
    which a distribution metric needs its `extractor`. Where the recipe removes noise, labels are made with each of
    `weak` too (default: all weak denoisers that there are), and with each of `outputs`: name -> case name -> denoised
    8-bit grey PNG, of a submission or anything else. A recipe whose weak denoiser is a submission needs its outputs
    there under the same name. `progress` is told (done, total). UsageError as `build_labels`.
    """
    outputs = outputs or {}
    if metric is not None and metrics_of.load(metric.metric).HIGHER_IS_BETTER is None:
        raise UsageError(f"metric {metric.name} is descriptive: nothing can be ranked by it")
    if metric is not None and (metrics_of.load(metric.metric).KIND == "distribution") != (extractor is not None):
        raise UsageError(f"metric {metric.name}: a distribution metric takes an extractor, an image metric none")
    measures = [_Measure(metric=Metric(name="RMSE", metric="rmse"), region="lung")]
    if metric is not None:
        measures.append(_Measure(metric=metric, region=region))
    recipes = _recipes(purify, denoise.names() if weak is None else weak, outputs)
    has_truth = all(case.truth for case in dataset.cases)
    passes = len(recipes) + 1 + (0 if extractor is None else len(BATTERY) + len(recipes) + has_truth)
    parts = iter([part_of(progress, index, passes) for index in range(passes)])
    sets = {
        name: build_labels(dataset, recipe, weak_outputs=outputs.get(name), progress=next(parts))
        for name, recipe in recipes.items()
    }
    references: dict[str, list[Path]] = {
        name: [labels.path(case.name) for case in dataset.cases] for name, labels in sets.items()
    }
    if has_truth:
        references[TRUTH] = [Path(str(case.truth)) for case in dataset.cases]
    codes = [next(iter(sets.values())).regions(case) for case in dataset.cases]
    with tempfile.TemporaryDirectory(prefix="ipv2-audit-") as folder:
        found = _slices(dataset, recipes, references, codes, measures, folder, next(parts))
        errors: dict[str, _Error] = {
            one.name: _of_images([f.values[one.name] for f in found])
            for one in measures
            if metrics_of.load(one.metric.metric).KIND == "image"
        }
        if metric is not None and extractor is not None:
            produced = {name: [Path(folder) / name / f"{case.name}.png" for case in dataset.cases] for name in BATTERY}
            errors[measures[-1].name] = _of_features(produced, references, codes, measures[-1], extractor, parts)

    patients = [case.patient for case in dataset.cases]
    higher = {one.name: bool(metrics_of.load(one.metric.metric).HIGHER_IS_BETTER) for one in measures}
    return Audit(
        strategy=purify.strategy,
        slices=len(dataset.cases),
        patients=len(set(patients)),
        denoisers=tuple(BATTERY),
        labels=tuple(
            LabelAudit(
                weak=name,
                gates={gate: _gate(gate, [f.gates[name][gate] for f in found], has_truth) for gate in GATES},
                rankings={
                    key: _ranking(error, name, patients, higher=higher[key], with_truth=has_truth)
                    for key, error in errors.items()
                },
            )
            for name in sets
        ),
        truth={
            key: _ranking(error, TRUTH, patients, higher=higher[key], with_truth=False) for key, error in errors.items()
        }
        if has_truth
        else None,
    )


def _recipes(purify: Purify, weak: Sequence[str], outputs: Mapping[str, Mapping[str, Path]]) -> dict[str, Purify]:
    """The recipes to compare, by the name of their weak denoiser; the one that was asked about comes first."""
    if not purify.removes_noise:
        return {purify.strategy: purify}
    names = dict.fromkeys([purify.weak_denoiser, *weak, *outputs])
    if TRUTH in names:
        raise UsageError(f"{TRUTH!r} names the noise-free reference, no weak denoiser", fix="give it another name")
    return {
        # a weak denoiser with a slash in its name is one whose outputs are handed in
        name: msgspec.structs.replace(purify, weak_denoiser=f"outputs/{name}" if _handed_in(name, outputs) else name)
        for name in names
    }


def _handed_in(name: str, outputs: Mapping[str, object]) -> bool:
    return name in outputs and "/" not in name


# -------------------------------------------------------------------------------- slices
def _slices(
    dataset: Dataset,
    recipes: Mapping[str, Purify],
    references: Mapping[str, Sequence[Path]],
    codes: Sequence[NDArray[np.uint8]],
    measures: Sequence[_Measure],
    folder: str,
    progress: Progress | None,
) -> list[_Found]:
    for name in BATTERY:
        (Path(folder) / name).mkdir()
    tasks = []
    for index, case in enumerate(dataset.cases):
        paths = {name: of_cases[index] for name, of_cases in references.items()}
        tasks.append((case, dict(recipes), paths, codes[index], list(measures), dataset.window_hu, folder))
    return map_slices(_slice, tasks, progress=progress)


def _slice(
    case: Case,
    recipes: Mapping[str, Purify],
    references: Mapping[str, Path],
    codes: NDArray[np.uint8],
    measures: Sequence[_Measure],
    window_hu: tuple[float, float] | None,
    folder: str,
) -> _Found:
    """Denoise one slice by the whole battery, and compare the labels with the truth and the battery with both."""
    low, normal = read_grey(Path(case.lq)), read_grey(Path(case.gt))
    images = {name: read_grey(path) for name, path in references.items()}
    regions = shrink(codes)
    some = next(iter(recipes.values()))  # the mask does not depend on the weak denoiser
    lung = regions["lung"] & (mask_of(case, low, normal, some, window_hu=window_hu) > 0)
    normal_lung = lung & (dark_mask(normal) > 0)
    gates = {
        name: measure(images[name], low=low, normal=normal, truth=images.get(TRUTH), lung=lung, normal_lung=normal_lung)
        for name in recipes
    }
    values: dict[str, dict[str, dict[str, float]]] = {one.name: {name: {} for name in images} for one in measures}
    for denoiser, apply in BATTERY.items():
        output = apply(low)
        write_grey(Path(folder) / denoiser / f"{case.name}.png", output)
        for one in measures:
            module, mask = metrics_of.load(one.metric.metric), regions[one.region]
            if module.KIND == "image" and mask.any():
                for name, image in images.items():
                    found = module.value(output, image, mask, data_range=DATA_RANGE, pixel_mm=case.pixel_mm)
                    if found is not None:
                        values[one.name][name][denoiser] = float(found)
    return _Found(gates=gates, values=values)


def _gate(name: str, values: Sequence[float | None], has_truth: bool) -> Gate:
    bound = GATES[name]
    low, high = (edge if math.isfinite(edge) else None for edge in (bound.low, bound.high))
    known = np.array([value for value in values if value is not None])
    if not known.size:
        reason = NEEDS_TRUTH if bound.needs_truth and not has_truth else "no slice shows enough of it"
        return Gate(low=low, high=high, meaning=bound.meaning, n=0, reason=reason)
    mean = float(known.mean())
    return Gate(
        low=low,
        high=high,
        meaning=bound.meaning,
        n=int(known.size),
        mean=mean,
        least=float(known.min()),
        most=float(known.max()),
        within=float(np.mean((known >= bound.low) & (known <= bound.high))),
        passed=bound.low <= mean <= bound.high,
    )


# -------------------------------------------------------------------------------- rankings
_Error = Callable[[str, str, NDArray[np.intp]], float]
"""(reference, denoiser, slices) -> the metric's value over those slices."""


def _of_images(found: Sequence[Mapping[str, Mapping[str, float]]]) -> _Error:
    """Mean over slices of an image metric, those without the region left out."""

    def value(reference: str, denoiser: str, chosen: NDArray[np.intp]) -> float:
        known = [found[i][reference][denoiser] for i in chosen if denoiser in found[i][reference]]
        return float(np.mean(known)) if known else math.nan

    return value


def _of_features(
    produced: Mapping[str, Sequence[Path]],
    references: Mapping[str, Sequence[Path]],
    codes: Sequence[NDArray[np.uint8]],
    measure: _Measure,
    extractor: Extractor,
    parts: Iterator[Progress | None],
) -> _Error:
    """A distance between the features of all slices."""
    distance = metrics_of.load(measure.metric.metric).distance

    def masks(index: int) -> dict[str, NDArray[np.bool_]]:
        return {measure.region: shrink(codes[index])[measure.region]}

    def features(paths: Sequence[Path]) -> Features:
        if measure.metric.definition == "masked" and measure.region != "whole":

            def mask(index: int) -> NDArray[np.bool_]:
                return masks(index)[measure.region]

            return extractors_of.extract_masked(paths, [extractor], masks=mask, progress=next(parts))[extractor.name]
        regions = None if measure.region == "whole" else masks
        found = extractors_of.extract(paths, [extractor], regions=regions, progress=next(parts))[extractor.name]
        if measure.region not in found:
            raise UsageError(f"{extractor.name} gives no features of the region {measure.region}")
        return found[measure.region]

    outputs = {name: features(paths) for name, paths in produced.items()}
    targets = {name: features(paths) for name, paths in references.items()}

    def value(reference: str, denoiser: str, chosen: NDArray[np.intp]) -> float:
        x, y = outputs[denoiser], targets[reference]
        rows = np.isin(x.rows, chosen)  # the same rows in both: they were read with the same masks
        return float(distance(x.values[rows], y.values[rows]))

    return value


def _ranking(error: _Error, reference: str, patients: Sequence[str], *, higher: bool, with_truth: bool) -> Ranking:
    everything = np.arange(len(patients))
    values = {name: error(reference, name, everything) for name in BATTERY}
    if not all(math.isfinite(value) for value in values.values()):
        raise ScoringError(f"no slice shows the region that the battery is ranked in, by the labels of {reference}")
    order = sorted(values, key=values.__getitem__, reverse=higher)
    ranking = Ranking(values=values, ranks={name: order.index(name) + 1 for name in BATTERY})
    if not with_truth:
        return ranking

    def tau(names: Sequence[str]) -> Interval:
        def of(chosen: NDArray[np.intp]) -> float:
            label, truth = ([error(of_, name, chosen) for name in names] for of_ in (reference, TRUTH))
            found = float(kendalltau(label, truth).statistic)
            if not math.isfinite(found):
                raise ScoringError("all denoisers of the battery are equal, so that none can be ranked")
            return found

        interval = jackknife(of, patients)
        low, high = (None if b is None else float(np.clip(b, -1, 1)) for b in (interval.low, interval.high))
        return msgspec.structs.replace(interval, low=low, high=high)

    others = [name for name in BATTERY if family(name) != family(reference)]
    return msgspec.structs.replace(ranking, tau=tau(others), tau_all=tau(list(BATTERY)))
