"""Score: outputs x labels -> Scorecard: metric x region with intervals, against the label and the truth where known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness import features as extractors_of
from harness import metrics as metrics_of
from harness.base.errors import UsageError
from harness.base.progress import Progress, part_of
from harness.base.structs import Strict
from harness.base.workers import shared_workers
from harness.dataset.cases import Case, Dataset
from harness.features import Extractor, LazyExtractors
from harness.imaging.anatomy import ANATOMIES
from harness.labels.label_set import LabelSet
from harness.metrics import DistributionMetric, ImageMetric
from harness.protocol import Metric, PhantomData, Protocol
from harness.scoring.answer_lookup import find_looked_up
from harness.scoring.coupled import METRIC as COUPLED_METRIC
from harness.scoring.coupled import clipped_regions, coupled_notes
from harness.scoring.feature_sets import FeatureSet, feature_key, features_of, npz_of
from harness.scoring.further import further_tables
from harness.scoring.per_slice import SliceValue, Spectra, image_values, mean_spectra
from harness.scoring.values import Table, tables_of, value_of
from harness.statistics import Statistic, interval, replicates


class Fidelity(Strict, frozen=True, kw_only=True):
    """The paired fidelity gate's verdict: the outputs' error against its bound, a multiple of the noisy input's."""

    reference: str
    metric: str
    region: str
    value: float
    bound: float
    passed: bool


class ExtractorFacts(Strict, frozen=True, kw_only=True):
    """SHA-256 of an extractor's weights, and what readers of its values must know."""

    weights: str
    note: str


class Scorecard(Strict, frozen=True, kw_only=True):
    """The scores of a set of outputs. `truth` is null for data without known truth; `further` holds the tables that
    need further slices: `lesions` (observer -> condition), `scans` (part of the error -> region), `coupled`."""

    label: Table
    truth: Table | None
    further: dict[str, Table] = msgspec.field(default_factory=dict)
    gate: Fidelity
    extractors: dict[str, ExtractorFacts]
    implementations: dict[str, str]  # metric -> its recipe and whose code computed it, in one clause
    slices: tuple[SliceValue, ...]
    spectra: Spectra
    features: bytes  # npz of the outputs' features, slices in the order of their names (`feature_sets.npz_of`)
    flags: tuple[str, ...]  # outputs that match an answer too well, in plain words (`harness.scoring.answer_lookup`)
    notes: tuple[str, ...]  # what else is worth knowing about the outputs

    @property
    def tables(self) -> dict[str, Table]:
        """Every table by its name: `label`, `truth` where it is known, and the further ones."""
        return tables_of(self.label, self.truth, self.further)


def load_extractors(protocol: Protocol, *, device: str) -> LazyExtractors:
    """Check a protocol's metrics and find the extractors they need, before any container runs; their networks are
    loaded at the first use.

    UsageError for an unknown metric or extractor, a distribution metric without features (or an image metric with
    them), a metric of regions that the protocol's anatomy lacks, a gate that is not an error of images, a gate or
    ranking by a descriptive metric, a ranking against what the data do not hold, a lesion gate without lesions, a
    metric in HU of data without a window, and missing weights (with the fix).
    """
    _check_ranking(protocol)
    for one in protocol.metrics:
        metric = metrics_of.load(one.metric)
        is_error = isinstance(metric, ImageMetric) and metric.higher_is_better is False
        if isinstance(metric, DistributionMetric) != (one.features is not None):
            wants = "needs `features: <extractor>`" if one.features is None else "takes no `features`"
            raise UsageError(
                f"protocol {protocol.name}: metric {one.name} ({one.metric}) {wants}",
                fix=f"{'add' if one.features is None else 'remove'} this key of the metric",
            )
        _check_regions(one, metric, protocol)
        if isinstance(metric, ImageMetric) and metric.in_hu and not _has_window(protocol):
            raise UsageError(
                f"protocol {protocol.name}: metric {one.name} ({one.metric}) is computed in HU, but data.window_hu is "
                "not stated",
                fix=metrics_of.WINDOW_FIX,
            )
        if one.name == protocol.gate.metric and not is_error:
            raise UsageError(
                f"protocol {protocol.name}: gate.metric {one.name} must be an error of images, as rmse is",
                fix="name a metric of the protocol whose `metric` is rmse",
            )
        for role, by in (("rank_by", protocol.rank_by.metric), ("gate", protocol.gate.metric)):
            if one.name == by and _higher_is_better(one, metric) is None:
                raise UsageError(
                    f"protocol {protocol.name}: {role}.metric {one.name} is descriptive: neither a higher nor a lower "
                    "value is better",
                    fix="name another of the protocol's metrics",
                )
    names = dict.fromkeys(one.features for one in protocol.metrics if one.features is not None)
    return extractors_of.lazy(names, device=device)


def _check_regions(one: Metric, metric: ImageMetric | DistributionMetric, protocol: Protocol) -> None:
    """UsageError for a metric that means something only in regions that the protocol's anatomy lacks."""
    wants = metric.regions if isinstance(metric, ImageMetric) else None
    if wants is not None and not set(wants) & set(ANATOMIES[protocol.anatomy].regions):
        raise UsageError(
            f"protocol {protocol.name}: metric {one.name} ({one.metric}) is of {', '.join(wants)}, which anatomy "
            f"{protocol.anatomy} does not have",
            fix="leave the metric out of the protocol",
        )


def _has_window(protocol: Protocol) -> bool:
    return isinstance(protocol.data, PhantomData) or protocol.data.window_hu is not None


def _check_ranking(protocol: Protocol) -> None:
    """UsageError unless the protocol's data hold what it ranks by."""
    by, phantom, name = protocol.rank_by, isinstance(protocol.data, PhantomData), f"protocol {protocol.name}"
    source = type(protocol.data).__struct_config__.tag
    if by.reference == "truth" and not phantom:
        raise UsageError(
            f"{name}: rank_by.reference is truth, but data of source {source} come without truth",
            fix="rank against the label, or by coupled noise (rank_by.reference: coupled)",
        )
    if by.reference == "coupled" and protocol.coupled is None:
        raise UsageError(
            f"{name}: rank_by.reference is coupled, but the protocol has no coupled",
            fix="add coupled with the scanner and the dose of the noisy slices, or rank against the label",
        )
    if by.reference == "coupled" and by.metric != COUPLED_METRIC:
        raise UsageError(
            f"{name}: rank_by.metric is {by.metric}, but against coupled noise there is {COUPLED_METRIC} alone",
            fix=f"set rank_by.metric: {COUPLED_METRIC}",
        )
    if protocol.lesion_gate and not (isinstance(protocol.data, PhantomData) and protocol.data.lesions):
        raise UsageError(
            f"{name}: it has a lesion_gate, but its data have no lesions",
            fix="give data of source phantom lesions (data.lesions), or remove lesion_gate",
        )


@shared_workers()
def score(
    outputs: Mapping[str, Path],
    dataset: Dataset,
    labels: LabelSet,
    protocol: Protocol,
    *,
    extractors: Sequence[Extractor],
    progress: Progress | None = None,
) -> Scorecard:
    """Score verified outputs (case name -> grey PNG) by every metric and region of the protocol.

    Image metrics are computed per slice and averaged, in HU instead of grey levels where the window is known;
    distribution metrics compare features of all slices, per region by the metric's definition (`pooled` where the
    extractor gives maps, `masked`). `extractors` are the protocol's (`load_extractors`).
    ScoringError where a value cannot be computed.
    """
    cases = sorted(dataset.cases, key=lambda case: case.name)
    references = {"label": [labels.path(case.name) for case in cases]}
    if all(case.truth for case in cases):
        references["truth"] = [Path(str(case.truth)) for case in cases]
    produced = [outputs[case.name] for case in cases]
    region_maps = [labels.regions_path(case) for case in cases]

    hu_per_level = dataset.hu_per_level

    slices, spectra, noisy = image_values(cases, produced, references, region_maps, protocol, dataset.window_hu)
    sets = [produced, *references.values()]
    features = [
        features_of(
            paths,
            region_maps,
            extractors,
            protocol,
            window_hu=dataset.window_hu,
            progress=part_of(progress, index, len(sets)),
        )
        for index, paths in enumerate(sets)
    ]
    clipped = clipped_regions(dataset, labels, protocol)
    looked_up = find_looked_up(cases, produced, references, region_maps)
    of_slices = _by_reference(slices)
    tables = {
        name: _table(of_slices.get(name, {}), features[0], features[index], cases, protocol, hu_per_level)
        for index, name in enumerate(references, start=1)
    }
    return Scorecard(
        label=tables["label"],
        truth=tables.get("truth"),
        further=further_tables(outputs, dataset, labels, protocol, hu_per_level, clipped=clipped),
        gate=_gate(tables, noisy, protocol),
        extractors={one.name: ExtractorFacts(weights=one.digest, note=one.describe()) for one in extractors},
        implementations={one.name: _implementation(one) for one in protocol.metrics},
        slices=tuple(slices),
        spectra=mean_spectra(spectra, hu_per_level),
        features=npz_of(features[0]),
        flags=looked_up.flags,
        notes=(*looked_up.notes, *coupled_notes(clipped)),
    )


# -------------------------------------------------------------------------------- tables
def _higher_is_better(one: Metric, metric: ImageMetric | DistributionMetric) -> bool | None:
    """Which end is better; None where the metric, or the protocol of it, is descriptive."""
    return None if one.descriptive else metric.higher_is_better


class _Sample(NamedTuple):
    """What a value is computed from: a statistic of images `present` (indices of cases), in their order."""

    statistic: Statistic
    present: NDArray[np.intp]
    extrapolated: float | None = None


_OfSlices = dict[tuple[str, str], NDArray[np.float64]]
"""(metric, region) -> one value a slice, in the order of the cases; NaN where the slice has none."""


def _table(
    of_slices: _OfSlices,
    outputs: FeatureSet,
    targets: FeatureSet,
    cases: Sequence[Case],
    protocol: Protocol,
    hu_per_level: float | None,
) -> Table:
    """Every value against one reference: its slices' values and its features."""
    table: Table = {}
    patients = [case.patient for case in cases]
    for one in protocol.metrics:
        metric = metrics_of.load(one.metric)
        for region in protocol.regions:
            sample = (
                _of_features(one, metric, region, outputs, targets, patients, seed=protocol.seed)
                if isinstance(metric, DistributionMetric)
                else _of_values(of_slices.get((one.name, region)))
            )
            if sample is None:
                continue
            found = replicates(sample.statistic, [patients[int(index)] for index in sample.present])
            table.setdefault(one.name, {})[region] = value_of(
                found,
                interval(found),
                higher_is_better=_higher_is_better(one, metric),
                unit=_unit(metric, cases, hu_per_level),
                extrapolated=sample.extrapolated,
            )
    return table


def _of_features(
    one: Metric,
    metric: DistributionMetric,
    region: str,
    outputs: FeatureSet,
    targets: FeatureSet,
    patients: Sequence[str],
    *,
    seed: int,
) -> _Sample | None:
    """A distance between features; None where the extractor has no maps, or fewer than two slices show the region."""
    key = feature_key(one, region)
    x, y = (features[str(one.features)].get(key) for features in (outputs, targets))
    if x is None or y is None or (region != "whole" and len(x.rows) < 2):
        return None
    present = x.rows  # the same as y's: both sets were read with the same masks
    extrapolated = None
    if metric.extrapolated is not None:
        groups = [patients[int(index)] for index in present]
        extrapolated = metric.extrapolated(x.values, y.values, groups=groups, rng=np.random.default_rng(seed))
    return _Sample(lambda chosen: metric.distance(x.values[chosen], y.values[chosen]), present, extrapolated)


def _of_values(values: NDArray[np.float64] | None) -> _Sample | None:
    """The mean over the slices that have a value; None where none has."""
    if values is None or not np.isfinite(values).any():
        return None
    present = np.flatnonzero(np.isfinite(values))
    known = values[present]
    return _Sample(lambda chosen: float(known[chosen].mean()), present)


def _by_reference(slices: Sequence[SliceValue]) -> dict[str, _OfSlices]:
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    for one in slices:
        value = np.nan if one.value is None else one.value
        found.setdefault(one.reference, {}).setdefault((one.metric, one.region), []).append(value)
    return {name: {key: np.array(values) for key, values in kinds.items()} for name, kinds in found.items()}


def _implementation(metric: Metric) -> str:
    """Recipe and code of a metric's values, for the record."""
    clause = metrics_of.load(metric.metric).implementation
    if metric.features is None:
        return clause
    regions = {
        "pooled": "regions pooled from the extractor's maps",
        "masked": "regions masked: the rest set to grey 0, the whole network run",
    }
    return f"{clause}; features of {metric.features}, images resized as clean-fid does; {regions[metric.definition]}"


def _unit(metric: ImageMetric | DistributionMetric, cases: Sequence[Case], hu_per_level: float | None) -> str:
    """The unit of a metric's values: HU for greys where the window is known, pixels for mm where their size is not."""
    if isinstance(metric, DistributionMetric):
        return ""
    if metric.unit == "grey" and hu_per_level is not None:
        return "HU"
    if metric.unit == "1/mm" and any(case.pixel_mm is None for case in cases):
        return "1/pixel"
    return metric.unit


def _gate(tables: Mapping[str, Table], noisy: Sequence[SliceValue], protocol: Protocol) -> Fidelity:
    """Compare with the noisy input: against the truth where it is known, since a label's lung is itself an estimate."""
    reference = "truth" if "truth" in tables else "label"
    name, region = protocol.gate.metric, protocol.gate.region
    value = tables[reference][name][region].value
    of_input = [one.value for one in noisy if one.reference == reference and one.value is not None]
    bound = float(np.mean(of_input)) * protocol.gate.times_input
    return Fidelity(reference=reference, metric=name, region=region, value=value, bound=bound, passed=value <= bound)
