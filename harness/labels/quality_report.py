"""Quality report of labels: what each label set does to noise and anatomy, and whether it ranks as the truth does."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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
from harness.imaging.regions import Region, shrink
from harness.labels.acceptance_gates import ACCEPTANCE_GATES, gate_values
from harness.labels.battery import BATTERY, family
from harness.labels.label_set import build_labels
from harness.labels.recipe import mask_of
from harness.metrics import DATA_RANGE, DistributionMetric, ImageMetric, comparisons
from harness.protocol import Metric, Purify
from harness.statistics import Interval, jackknife

TRUTH = "truth"

NEEDS_TRUTH = "needs truth"


class AcceptanceVerdict(Strict, frozen=True, kw_only=True):
    """One acceptance gate: its bounds (None: unbounded), mean and range over `n` slices, the share of slices within the
    bounds, and whether the mean passes. Where nothing could be measured the numbers are None, and `reason` says why."""

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


class LabelSetQuality(Strict, frozen=True, kw_only=True):
    """One label set, made with the weak denoiser `weak`: its acceptance gates by name, and the rankings under it by
    metric and region ("RMSE lung")."""

    weak: str
    gates: dict[str, AcceptanceVerdict]
    rankings: dict[str, Ranking]


class QualityReport(Strict, frozen=True, kw_only=True):
    """The label set that was asked about first, then those made with other weak denoisers. `truth` holds the rankings
    by the noise-free reference; None for data without it."""

    strategy: str
    slices: int
    patients: int
    denoisers: tuple[str, ...]
    labels: tuple[LabelSetQuality, ...]
    truth: dict[str, Ranking] | None


class _Column(NamedTuple):
    """What the battery is ranked by: a metric of a protocol and its plug-in, in a region."""

    one: Metric
    metric: ImageMetric | DistributionMetric
    region: Region

    @property
    def name(self) -> str:
        return f"{self.one.name} {self.region}"


class _OfSlice(NamedTuple):
    """What a worker finds in one slice: gate values by label set; image metrics by column, reference and denoiser."""

    gates: dict[str, dict[str, float | None]]
    values: dict[str, dict[str, dict[str, float]]]


def assess_labels(
    dataset: Dataset,
    purify: Purify,
    *,
    weak: Sequence[str] | None = None,
    outputs: Mapping[str, Mapping[str, Path]] | None = None,
    metric: Metric | None = None,
    region: Region = "whole",
    extractor: Extractor | None = None,
    progress: Progress | None = None,
) -> QualityReport:
    """Report on the labels of a recipe, on all cores.

    The battery is ranked by the RMSE in the lung and, if given, by `metric` in `region` (a protocol's `rank_by`); a
    distribution metric needs its `extractor`. Where the recipe removes noise, labels are also made with each weak
    denoiser of `weak` (default: all there are) and with each of `outputs`: name -> case name -> denoised 8-bit grey
    PNG, of a submission or anything else. If the recipe's own weak denoiser is a submission, its outputs must be there
    under the same name. `progress` is told (done, total). UsageError as `build_labels`, and for a metric that cannot
    rank or does not fit the extractor.
    """
    outputs = outputs or {}
    columns = _columns(metric, region, extractor)
    recipes = _recipes(purify, denoise.names() if weak is None else weak, outputs)
    has_truth = all(case.truth for case in dataset.cases)
    passes = len(recipes) + 1 + (0 if extractor is None else len(BATTERY) + len(recipes) + has_truth)
    parts = iter([part_of(progress, index, passes) for index in range(passes)])
    sets = {
        name: build_labels(dataset, recipe, weak_outputs=outputs.get(name), progress=next(parts))
        for name, recipe in recipes.items()
    }
    references = {name: [labels.path(case.name) for case in dataset.cases] for name, labels in sets.items()}
    if has_truth:
        references[TRUTH] = [Path(str(case.truth)) for case in dataset.cases]
    region_maps = [next(iter(sets.values())).regions(case) for case in dataset.cases]
    with tempfile.TemporaryDirectory(prefix="ipv2-quality-report-") as folder:
        found = _slices(dataset, recipes, references, region_maps, columns, folder, next(parts))
        errors = {
            column.name: _of_images([one.values[column.name] for one in found])
            for column in columns
            if isinstance(column.metric, ImageMetric)
        }
        if extractor is not None:
            produced = {name: [Path(folder) / name / f"{case.name}.png" for case in dataset.cases] for name in BATTERY}
            errors[columns[-1].name] = _of_features(produced, references, region_maps, columns[-1], extractor, parts)
    return _report(dataset, purify, list(sets), found, errors, columns, has_truth=has_truth)


def _columns(metric: Metric | None, region: Region, extractor: Extractor | None) -> list[_Column]:
    """RMSE in the lung, then the metric that was asked for; UsageError where nothing can be ranked by that."""
    rmse = Metric(name="RMSE", metric="rmse")
    columns = [_Column(rmse, metrics_of.load(rmse.metric), "lung")]
    if metric is None:
        return columns
    asked = metrics_of.load(metric.metric)
    if metric.descriptive or asked.higher_is_better is None:
        raise UsageError(
            f"metric {metric.name} is descriptive: nothing can be ranked by it", fix="rank by an error, such as RMSE"
        )
    if isinstance(asked, DistributionMetric) != (extractor is not None):
        raise UsageError(
            f"metric {metric.name}: a distribution metric takes an extractor, an image metric none",
            fix="give `features: <extractor>` where the metric compares sets, and nowhere else",
        )
    return [*columns, _Column(metric, asked, region)]


def _recipes(purify: Purify, weak: Sequence[str], outputs: Mapping[str, Mapping[str, Path]]) -> dict[str, Purify]:
    """The recipes to compare, by the name of their weak denoiser; the one that was asked about comes first."""
    if not purify.removes_noise:
        return {purify.strategy: purify}
    names = dict.fromkeys([purify.weak_denoiser, *weak, *outputs])
    if TRUTH in names:
        raise UsageError(
            f"{TRUTH!r} names the noise-free reference and cannot name a weak denoiser", fix="give it another name"
        )
    return {
        # a slash in its name marks a weak denoiser whose outputs are handed in
        name: msgspec.structs.replace(purify, weak_denoiser=f"outputs/{name}" if _handed_in(name, outputs) else name)
        for name in names
    }


def _handed_in(name: str, outputs: Mapping[str, object]) -> bool:
    return name in outputs and "/" not in name


def _report(
    dataset: Dataset,
    purify: Purify,
    names: Sequence[str],
    found: Sequence[_OfSlice],
    errors: Mapping[str, _Error],
    columns: Sequence[_Column],
    *,
    has_truth: bool,
) -> QualityReport:
    """Put the findings together: verdicts and rankings of the label sets `names`, and the rankings by truth."""
    patients = [case.patient for case in dataset.cases]
    higher = {column.name: bool(column.metric.higher_is_better) for column in columns}

    def rankings(reference: str, *, with_truth: bool) -> dict[str, Ranking]:
        return {
            key: _ranking(error, reference, patients, higher=higher[key], with_truth=with_truth)
            for key, error in errors.items()
        }

    return QualityReport(
        strategy=purify.strategy,
        slices=len(dataset.cases),
        patients=len(set(patients)),
        denoisers=tuple(BATTERY),
        labels=tuple(
            LabelSetQuality(
                weak=name,
                gates={
                    gate: _verdict(gate, [one.gates[name][gate] for one in found], has_truth=has_truth)
                    for gate in ACCEPTANCE_GATES
                },
                rankings=rankings(name, with_truth=has_truth),
            )
            for name in names
        ),
        truth=rankings(TRUTH, with_truth=False) if has_truth else None,
    )


# -------------------------------------------------------------------------------- slices
def _slices(
    dataset: Dataset,
    recipes: Mapping[str, Purify],
    references: Mapping[str, Sequence[Path]],
    region_maps: Sequence[NDArray[np.uint8]],
    columns: Sequence[_Column],
    folder: str,
    progress: Progress | None,
) -> list[_OfSlice]:
    for name in BATTERY:
        (Path(folder) / name).mkdir()
    images = [column for column in columns if isinstance(column.metric, ImageMetric)]
    tasks = []
    for index, case in enumerate(dataset.cases):
        paths = {name: of_cases[index] for name, of_cases in references.items()}
        tasks.append((case, dict(recipes), paths, region_maps[index], images, dataset.window_hu, folder))
    return map_slices(_slice, tasks, progress=progress)


def _slice(
    case: Case,
    recipes: Mapping[str, Purify],
    references: Mapping[str, Path],
    region_map: NDArray[np.uint8],
    columns: Sequence[_Column],
    window_hu: tuple[float, float] | None,
    folder: str,
) -> _OfSlice:
    """Denoise one slice by the whole battery, and compare the labels with the truth and the battery with both."""
    low, normal = read_grey(Path(case.lq)), read_grey(Path(case.gt))
    images = {name: read_grey(path) for name, path in references.items()}
    masks = shrink(region_map)
    some = next(iter(recipes.values()))  # the mask does not depend on the weak denoiser
    lung = masks["lung"] & (mask_of(case, low, normal, some, window_hu=window_hu) > 0)
    normal_lung = lung & (dark_mask(normal) > 0)
    gates = {
        name: gate_values(
            images[name], low=low, normal=normal, truth=images.get(TRUTH), lung=lung, normal_lung=normal_lung
        )
        for name in recipes
    }
    values: dict[str, dict[str, dict[str, float]]] = {column.name: {name: {} for name in images} for column in columns}
    for denoiser, apply in BATTERY.items():
        output = apply(low)
        write_grey(Path(folder) / denoiser / f"{case.name}.png", output)
        for column in columns:
            assert isinstance(column.metric, ImageMetric), "_slices hands in no others"
            for one in comparisons(images, {column.name: column.metric}, {column.region: masks[column.region]}):
                found = one.measure(output, data_range=DATA_RANGE, pixel_mm=case.pixel_mm).value
                if found is not None:
                    values[column.name][one.reference][denoiser] = float(found)
    return _OfSlice(gates, values)


def _verdict(name: str, values: Sequence[float | None], *, has_truth: bool) -> AcceptanceVerdict:
    gate = ACCEPTANCE_GATES[name]
    low, high = (edge if math.isfinite(edge) else None for edge in (gate.low, gate.high))
    known = np.array([value for value in values if value is not None])
    if not known.size:
        reason = NEEDS_TRUTH if gate.needs_truth and not has_truth else "no slice shows enough of it"
        return AcceptanceVerdict(low=low, high=high, meaning=gate.meaning, n=0, reason=reason)
    mean = float(known.mean())
    return AcceptanceVerdict(
        low=low,
        high=high,
        meaning=gate.meaning,
        n=int(known.size),
        mean=mean,
        least=float(known.min()),
        most=float(known.max()),
        within=float(np.mean((known >= gate.low) & (known <= gate.high))),
        passed=gate.low <= mean <= gate.high,
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
    region_maps: Sequence[NDArray[np.uint8]],
    column: _Column,
    extractor: Extractor,
    parts: Iterator[Progress | None],
) -> _Error:
    """A distance between the features of all slices."""
    assert isinstance(column.metric, DistributionMetric), "_columns gives an extractor to no others"
    distance, region = column.metric.distance, column.region

    def masks(index: int) -> dict[str, NDArray[np.bool_]]:
        return {region: shrink(region_maps[index])[region]}

    def features(paths: Sequence[Path]) -> Features:
        if column.one.definition == "masked" and region != "whole":

            def mask(index: int) -> NDArray[np.bool_]:
                return masks(index)[region]

            return extractors_of.extract_masked(paths, [extractor], masks=mask, progress=next(parts))[extractor.name]
        regions = None if region == "whole" else masks
        found = extractors_of.extract(paths, [extractor], regions=regions, progress=next(parts))[extractor.name]
        if region not in found:
            raise UsageError(
                f"{extractor.name} gives no features of the region {region}",
                fix="say `definition: masked`, or rank by another region",
            )
        return found[region]

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
                raise ScoringError("all denoisers of the battery score the same, so they cannot be ranked")
            return found

        interval = jackknife(of, patients)
        low, high = (None if b is None else float(np.clip(b, -1, 1)) for b in (interval.low, interval.high))
        return msgspec.structs.replace(interval, low=low, high=high)

    others = [name for name in BATTERY if family(name) != family(reference)]
    return msgspec.structs.replace(ranking, tau=tau(others), tau_all=tau(list(BATTERY)))
