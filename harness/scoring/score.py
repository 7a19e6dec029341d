"""Score: outputs x labels -> Scorecard: metric x region with intervals, against the label and the truth where known."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import features as extractors_of
from harness import metrics as metrics_of
from harness.base.code_digest import digest_code
from harness.base.digests import digest_file, digest_json
from harness.base.errors import UsageError
from harness.base.files import cache_root, write_bytes
from harness.base.progress import Progress, part_of
from harness.base.slices import read_grey
from harness.base.structs import Strict
from harness.dataset.cases import Case, Dataset
from harness.features import Extractor, Features
from harness.imaging.regions import shrink
from harness.labels.label_set import LabelSet
from harness.protocol import Metric, Protocol, Region
from harness.scoring.answer_lookup import find_copies
from harness.scoring.per_slice import DATA_RANGE, SliceValue, Spectra, image_values, mean_spectra
from harness.statistics import interval, replicates

FeatureSet = dict[str, dict[str, Features]]  # extractor -> region -> features

MASKED = "masked-"


class Value(Strict, frozen=True, kw_only=True):
    """A metric's value over `n` slices with its 95 % interval over patients; no bounds below two patients.

    `higher_is_better` is null for a descriptive metric. `without` holds the value without each patient in turn, from
    which intervals of differences between two submissions are made. `extrapolated` is the value at infinitely many
    patients, for metrics that are biased at few (FID); null where n does not allow it.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    higher_is_better: bool | None
    unit: str
    without: dict[str, float]
    extrapolated: float | None = None


Table = dict[str, dict[str, Value]]  # metric -> region -> value

Kind = tuple[str, str, str]  # reference, metric, region


class Fidelity(Strict, frozen=True, kw_only=True):
    """The paired fidelity gate: the outputs' error, its bound (a multiple of the noisy input's), the verdict."""

    reference: str
    metric: str
    region: str
    value: float
    bound: float
    passed: bool


class ExtractorFacts(Strict, frozen=True, kw_only=True):
    """SHA-256 of an extractor's weights, and what a reader of its values must know."""

    weights: str
    note: str


class Scorecard(Strict, frozen=True, kw_only=True):
    """What a set of outputs is worth. `truth` is null for data without known truth."""

    label: Table
    truth: Table | None
    gate: Fidelity
    extractors: dict[str, ExtractorFacts]
    implementations: dict[str, str]  # metric -> its recipe and whose code computed it, in one clause
    slices: tuple[SliceValue, ...]
    spectra: Spectra
    features: bytes  # npz of the outputs' features, slices in the order of their names; keys as `_npz` says
    flags: tuple[str, ...]  # outputs that match an answer too well, in plain words (`harness.scoring.answer_lookup`)
    notes: tuple[str, ...]  # what else is worth knowing of the outputs


def load_extractors(protocol: Protocol, *, device: str) -> list[Extractor]:
    """Check a protocol's metrics and load what they need, before any container runs.

    UsageError for an unknown metric or extractor, a distribution metric without features, a gate that is no error of
    images, and weights that are not there (with what to do).
    """
    for one in protocol.metrics:
        module = metrics_of.load(one.metric)
        if (module.KIND == "distribution") != (one.features is not None):
            wants = "needs `features: <extractor>`" if one.features is None else "takes no `features`"
            raise UsageError(f"protocol {protocol.name}: metric {one.name} ({one.metric}) {wants}")
        if one.name == protocol.gate.metric and (module.KIND != "image" or module.HIGHER_IS_BETTER is not False):
            raise UsageError(f"protocol {protocol.name}: gate.metric {one.name} must be an error of images, as rmse is")
        if one.name == protocol.rank_by.metric and module.HIGHER_IS_BETTER is None:
            raise UsageError(
                f"protocol {protocol.name}: rank_by.metric {one.name} is descriptive: it has no better end"
            )
    names = dict.fromkeys(one.features for one in protocol.metrics if one.features is not None)
    return [extractors_of.load(name, device=device) for name in names]


def score(
    outputs: Mapping[str, Path],
    dataset: Dataset,
    labels: LabelSet,
    protocol: Protocol,
    *,
    extractors: Sequence[Extractor],
    progress: Progress | None = None,
) -> Scorecard:
    """Score verified outputs (case name -> 8-bit grey PNG) by every metric and region of the protocol.

    Image metrics are computed per slice and averaged, in HU instead of grey levels where the window is known;
    distribution metrics compare features of all slices, per region by the metric's definition (`pooled` where the
    extractor gives maps, `masked`). `extractors` are the protocol's (`load_extractors`).
    ScoringError where numbers cannot be had.
    """
    cases = sorted(dataset.cases, key=lambda case: case.name)
    references = {"label": [labels.path(case.name) for case in cases]}
    if all(case.truth for case in cases):
        references["truth"] = [Path(str(case.truth)) for case in cases]
    produced = [outputs[case.name] for case in cases]
    regions = [labels.regions_path(case) for case in cases]

    window = dataset.window_hu
    hu_per_grey = None if window is None else (window[1] - window[0]) / DATA_RANGE

    slices, spectra, noisy = image_values(cases, produced, references, regions, protocol, hu_per_grey)
    sets = [produced, *references.values()]
    features = [
        features_of(paths, regions, extractors, protocol, progress=part_of(progress, index, len(sets)))
        for index, paths in enumerate(sets)
    ]
    copies = find_copies(cases, produced, references, regions)
    by_kind = _by_kind(slices)
    tables = {
        name: _table(name, features[0], features[index], by_kind, cases, protocol, hu_per_grey)
        for index, name in enumerate(references, start=1)
    }
    return Scorecard(
        label=tables["label"],
        truth=tables.get("truth"),
        gate=_gate(tables, noisy, protocol),
        extractors={one.name: ExtractorFacts(weights=one.digest, note=one.describe()) for one in extractors},
        implementations={one.name: _implementation(one) for one in protocol.metrics},
        slices=tuple(slices),
        spectra=mean_spectra(spectra, hu_per_grey),
        features=_npz(features[0]),
        flags=copies.flags,
        notes=copies.notes,
    )


def _table(
    reference: str,
    outputs: FeatureSet,
    targets: FeatureSet,
    slices: Mapping[Kind, NDArray[np.float64]],
    cases: Sequence[Case],
    protocol: Protocol,
    hu_per_grey: float | None,
) -> Table:
    table: Table = {}
    patients = [case.patient for case in cases]
    for metric in protocol.metrics:
        module = metrics_of.load(metric.metric)
        for region in protocol.regions:
            extrapolated = None
            if module.KIND == "distribution":
                key = feature_key(metric, region)
                x = outputs[str(metric.features)].get(key)
                y = targets[str(metric.features)].get(key)
                if x is None or y is None or (region != "whole" and len(x.rows) < 2):
                    continue  # no maps and so the whole image only, or a region, as nodules, that one slice has
                present = x.rows  # the same as y's: both sets were read with the same masks
                statistic = _distance(module.distance, x.values, y.values)
                if hasattr(module, "extrapolated"):
                    of_rows = [patients[int(index)] for index in present]
                    rng = np.random.default_rng(protocol.seed)
                    extrapolated = module.extrapolated(x.values, y.values, groups=of_rows, rng=rng)
            else:
                values = slices.get((reference, metric.name, region), np.empty(0))
                present = np.flatnonzero(np.isfinite(values))
                statistic = _mean(values[present])
            if len(present):
                found = replicates(statistic, [patients[int(index)] for index in present])
                bounds = interval(found)
                table.setdefault(metric.name, {})[region] = Value(
                    value=found.value,
                    low=bounds.low,
                    high=bounds.high,
                    n=found.n,
                    higher_is_better=module.HIGHER_IS_BETTER,
                    unit=_unit(module, cases, hu_per_grey),
                    without=found.without,
                    extrapolated=extrapolated,
                )
    return table


def _by_kind(slices: Sequence[SliceValue]) -> dict[Kind, NDArray[np.float64]]:
    """One array a reference, metric and region, over slices in order; NaN where a slice has no value."""
    found: dict[Kind, list[float]] = {}
    for one in slices:
        value = np.nan if one.value is None else one.value
        found.setdefault((one.reference, one.metric, one.region), []).append(value)
    return {kind: np.array(values) for kind, values in found.items()}


def _distance(
    distance: Callable[..., float], x: NDArray[np.float32], y: NDArray[np.float32]
) -> Callable[[NDArray[np.intp]], float]:
    return lambda chosen: distance(x[chosen], y[chosen])


def _mean(values: NDArray[np.float64]) -> Callable[[NDArray[np.intp]], float]:
    return lambda chosen: float(values[chosen].mean())


def _implementation(metric: Metric) -> str:
    """Recipe and code of a metric's values, for the record."""
    clause = str(metrics_of.load(metric.metric).IMPLEMENTATION)
    if metric.features is None:
        return clause
    regions = {
        "pooled": "regions pooled from the extractor's maps",
        "masked": "regions masked: the rest set to grey 0, the whole network run",
    }
    return f"{clause}; features of {metric.features}, images resized as clean-fid does; {regions[metric.definition]}"


def _unit(module: ModuleType, cases: Sequence[Case], hu_per_grey: float | None) -> str:
    """The unit of a metric's values: HU for greys where the window is known, pixels for mm where their size is not."""
    unit = getattr(module, "UNIT", "")
    if unit == "grey" and hu_per_grey is not None:
        return "HU"
    if unit == "1/mm" and any(case.pixel_mm is None for case in cases):
        return "1/pixel"
    return str(unit)


def _gate(tables: Mapping[str, Table], noisy: Sequence[SliceValue], protocol: Protocol) -> Fidelity:
    """Compare with the noisy input: against the truth where it is known, since a label's lung is itself an estimate."""
    reference = "truth" if "truth" in tables else "label"
    name, region = protocol.gate.metric, protocol.gate.region
    value = tables[reference][name][region].value
    of_input = [one.value for one in noisy if one.reference == reference and one.value is not None]
    bound = float(np.mean(of_input)) * protocol.gate.times_input
    return Fidelity(reference=reference, metric=name, region=region, value=value, bound=bound, passed=value <= bound)


# -------------------------------------------------------------------------------- features
def features_of(
    paths: Sequence[Path],
    codes: Sequence[Path],
    extractors: Sequence[Extractor],
    protocol: Protocol,
    *,
    progress: Progress | None = None,
) -> FeatureSet:
    """Features of one set of images by extractor and region, from the cache where the same images were seen before.

    `codes` are the files of the region maps. Only features are held in memory, whatever the number of images.
    """
    key = digest_json(
        {
            "images": [digest_file(path) for path in paths],
            "codes": [digest_file(path) for path in codes],
            "regions": protocol.regions,
            "masked": {name: sorted(regions) for name, regions in _masked_of(protocol).items()},
            "extractors": {one.name: one.digest for one in extractors},
            "code": digest_code("harness.features", "harness.imaging.regions"),
        }
    )
    cached = cache_root() / "features" / f"{key[:20]}.npz"
    found = read_features(cached)
    if found is not None:
        if progress:
            progress(len(paths), len(paths))
        return found

    def masks(index: int) -> dict[str, NDArray[np.bool_]]:
        return {name: mask for name, mask in shrink(read_grey(codes[index])).items() if name in protocol.regions}

    features = extractors_of.extract(paths, extractors, regions=masks, progress=progress)
    for name, regions in _masked_of(protocol).items():
        of_name = [one for one in extractors if one.name == name]
        for region in regions:

            def mask(index: int, region: Region = region) -> NDArray[np.bool_]:
                return shrink(read_grey(codes[index]))[region]

            features[name][f"{MASKED}{region}"] = extractors_of.extract_masked(paths, of_name, masks=mask)[name]
    write_bytes(cached, _npz(features))
    return features


def feature_key(metric: Metric, region: str) -> str:
    """The key of a metric's features of a region in a FeatureSet: the region, `masked-<region>` for masked ones."""
    return f"{MASKED}{region}" if metric.definition == "masked" else region


def _masked_of(protocol: Protocol) -> dict[str, set[Region]]:
    """The extractors and regions whose `masked` features a protocol asks for."""
    asked: dict[str, set[Region]] = {}
    for metric in protocol.metrics:
        if metric.definition == "masked":
            asked.setdefault(str(metric.features), set()).update(protocol.regions)
    return asked


def _npz(features: FeatureSet) -> bytes:
    """`<extractor>/<region>` -> float32 (k, d) and `<extractor>/<region>/rows` -> the k slices that have the region."""
    buffer = io.BytesIO()
    arrays: dict[str, NDArray[Any]] = {}
    for name, regions in features.items():
        for region, found in regions.items():
            arrays[f"{name}/{region}"] = found.values
            arrays[f"{name}/{region}/rows"] = found.rows
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def read_features(path: Path) -> FeatureSet | None:
    """Features that `_npz` wrote; None where there are none or the file is damaged."""
    features: FeatureSet = {}
    try:
        with np.load(path) as arrays:
            for key in arrays.files:
                if not key.endswith("/rows"):
                    name, region = key.split("/")
                    features.setdefault(name, {})[region] = Features(arrays[key], arrays[f"{key}/rows"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    return features
