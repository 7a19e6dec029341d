"""A record, its data and labels -> every value beside what the reference tools make of the same images or features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pandas

from harness import metrics as metrics_of
from harness.base.errors import UsageError
from harness.base.progress import Progress
from harness.base.slices import read_grey
from harness.base.structs import Strict
from harness.base.workers import map_slices
from harness.dataset.cases import Dataset
from harness.features import Extractor
from harness.imaging.regions import shrink
from harness.labels.label_set import LabelSet
from harness.protocol import Metric, Protocol
from harness.records.attachments import Store, attachment
from harness.records.schema import Record
from harness.records.slice_table import read_slices
from harness.reference_check import tools as reference
from harness.run.execute import digest_outputs
from harness.scoring.attachment_names import FEATURES
from harness.scoring.per_slice import DATA_RANGE
from harness.scoring.score import FeatureSet, Value, feature_key, features_of, read_features

RELATIVE = 1e-4

OF_SPREAD = 1e-6  # what another order of float32 additions in a network may move a distance by, of its terms' size


class Check(Strict, frozen=True, kw_only=True):
    """One value of a record beside a tool's: `of` says from what the tool made it, `agrees` whether the two are within
    1e-4 of each other (or 1e-6 of the terms that a distance is the difference of)."""

    reference: str
    metric: str
    region: str
    ours: float
    tool: str
    theirs: float
    of: str
    agrees: bool


def audit_record(
    record: Record,
    folder: Path,
    protocol: Protocol,
    dataset: Dataset,
    labels: LabelSet,
    *,
    extractors: Sequence[Extractor],
    outputs: Mapping[str, Path] | None,
    store: Store,
    progress: Progress | None = None,
) -> list[Check]:
    """Recompute a scored record's values with the reference tools.

    `folder` is the record's, already verified (`read_record`); data and labels are those of its protocol, built here.
    With `outputs` (case name -> PNG) everything begins with the images; without them distances begin with the features
    that the record keeps in the `store`, and means of image metrics with its slices' values. Metrics of the harness's
    own that no reference tool has (regional features, GMSD, contrasts, ...) are left out, or checked from the features
    on.
    UsageError where data, labels, weights or outputs are not the record's.
    """
    _same_material(record, dataset, labels, extractors, outputs)
    cases = sorted(dataset.cases, key=lambda case: case.name)
    references = {"label": [labels.path(case.name) for case in cases]}
    if record.result.truth is not None:
        references["truth"] = [Path(str(case.truth)) for case in cases]
    produced = None if outputs is None else [outputs[case.name] for case in cases]
    tables = {"label": record.result.metrics, "truth": record.result.truth or {}}

    steps = 2 * (len(references) + 1) + 1
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, steps)

    networks = {one.name: reference.network(one.name) for one in extractors if one.name in reference.NETWORKS}
    regions = [labels.regions_path(case) for case in cases]
    if produced is not None:
        kept = features_of(produced, regions, extractors, protocol)
    elif FEATURES in record.observed.files:
        kept = read_features(store.get(attachment(record, folder, FEATURES))) or {}
    else:
        raise UsageError(f"{folder}: keeps no features", fix="give the outputs: --outputs FOLDER")
    step()
    own = _whole(produced, networks)
    step()
    checks: list[Check] = []
    for name, paths in references.items():
        theirs = _whole(paths, networks)
        step()
        regional = features_of(paths, regions, extractors, protocol)
        for metric in protocol.metrics:
            tools = reference.DISTANCES.get(metric.metric, {})
            for region, value in tables[name].get(metric.name, {}).items():
                x, y, of = _pair(metric, region, kept, regional, own, theirs)
                spread = OF_SPREAD * _terms(metric, x, y) if tools else 0.0
                for tool, distance in tools.items():
                    found = distance(x, y)
                    if found is not None:
                        checks.append(_check(name, metric, region, value, tool, found, of, spread))
        step()
    checks += _image_checks(record, folder, protocol, produced, references, regions, dataset.window_hu)
    step()
    return checks


def _same_material(
    record: Record,
    dataset: Dataset,
    labels: LabelSet,
    extractors: Sequence[Extractor],
    outputs: Mapping[str, Path] | None,
) -> None:
    result = record.result
    found = {"data": dataset.digest, "labels": labels.digest}
    found |= {f"weights of {one.name}": one.digest for one in extractors}
    recorded = {"data": result.data, "labels": result.labels}
    recorded |= {f"weights of {name}": facts.weights for name, facts in result.extractors.items()}
    if outputs is not None:
        missing = [case.name for case in dataset.cases if case.name not in outputs]
        if missing:
            raise UsageError(f"the outputs lack {', '.join(missing[:5])}", fix="one <case>.png per case")
        found["outputs"] = digest_outputs({name: read_grey(path) for name, path in outputs.items()})
        recorded["outputs"] = str(result.outputs)
    for name, digest in recorded.items():
        if found.get(name) != digest:
            raise UsageError(
                f"record {record.id}: its {name} digest to {digest}, those here to {found.get(name)}",
                fix="audit a record with the version of the harness that wrote it (observed.commit) and its own data",
            )


# -------------------------------------------------------------------------------- distances
Whole = Mapping[str, reference.Rows]


def _whole(paths: Sequence[Path] | None, networks: Mapping[str, Callable[..., object]]) -> Whole:
    """Whole-image features by the reference tools; empty without images."""
    if paths is None:
        return {}
    return {name: reference.features(paths, model) for name, model in networks.items()}  # type: ignore[arg-type]


def _pair(
    metric: Metric, region: str, kept: FeatureSet, regional: FeatureSet, own: Whole, theirs: Whole
) -> tuple[reference.Rows, reference.Rows, str]:
    """Features of outputs and reference, as far as may be made by the reference tools, and a word on their origin."""
    name, key = str(metric.features), feature_key(metric, region)
    if metric.features is None:
        return np.empty((0, 0)), np.empty((0, 0)), ""
    if key != "whole" or name not in theirs:
        x, y = kept[name][key].values, regional[name][key].values
        return x.astype(np.float64), y.astype(np.float64), "the harness's features"
    if name in own:
        return own[name], theirs[name], "images"
    return kept[name][key].values.astype(np.float64), theirs[name], "the record's features and the reference's images"


def _terms(metric: Metric, x: reference.Rows, y: reference.Rows) -> float:
    """How large the terms are that a distance is the difference of."""
    if metric.metric == "frechet":
        return float(x.var(axis=0, ddof=1).sum() + y.var(axis=0, ddof=1).sum())
    return float(np.mean((np.einsum("ij,ij->i", x, y) / x.shape[1] + 1) ** 3)) if metric.metric == "kernel" else 0.0


def _check(
    name: str, metric: Metric, region: str, value: Value, tool: str, theirs: float, of: str, spread: float
) -> Check:
    agrees = abs(value.value - theirs) <= RELATIVE * abs(theirs) + spread
    return Check(
        reference=name,
        metric=metric.name,
        region=region,
        ours=value.value,
        tool=tool,
        theirs=theirs,
        of=of,
        agrees=agrees,
    )


# -------------------------------------------------------------------------------- image metrics
def _image_checks(
    record: Record,
    folder: Path,
    protocol: Protocol,
    produced: Sequence[Path] | None,
    references: Mapping[str, Sequence[Path]],
    regions: Sequence[Path],
    window_hu: tuple[float, float] | None,
) -> list[Check]:
    tables = {"label": record.result.metrics, "truth": record.result.truth or {}}
    listed = pandas.DataFrame(map(msgspec.to_builtins, read_slices(record, folder)))
    hu_per_grey = 1.0 if window_hu is None else (window_hu[1] - window_hu[0]) / DATA_RANGE
    measured: dict[tuple[str, str, str, str], list[float]] = {}
    wanted = [(one.name, one.metric) for one in protocol.metrics if one.metric in reference.IMAGES]
    if produced is not None:
        tasks = [
            (output, {name: paths[index] for name, paths in references.items()}, regions[index], wanted)
            for index, output in enumerate(produced)
        ]
        for of_slice in map_slices(_measure, tasks):
            for kind, one in of_slice.items():
                measured.setdefault(kind, []).append(one)
    checks = []
    for name in references:
        for metric in protocol.metrics:
            if metrics_of.load(metric.metric).KIND != "image":
                continue
            for region, value in tables[name].get(metric.name, {}).items():
                for tool in reference.IMAGES.get(metric.metric, {}):
                    found = measured.get((name, metric.name, region, tool))
                    if found:
                        scale = hu_per_grey if value.unit == "HU" else 1.0
                        mean = float(np.mean(found)) * scale
                        checks.append(_check(name, metric, region, value, tool, mean, "images", 1e-9))
                if len(listed):
                    rows = listed[
                        (listed.reference == name) & (listed.metric == metric.name) & (listed.region == region)
                    ]
                    mean = float(rows.value.mean())
                    checks.append(_check(name, metric, region, value, "pandas", mean, "the record's slices", 1e-6))
    return checks


def _measure(
    output: Path, references: Mapping[str, Path], codes: Path, wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str, str, str], float]:
    """(reference, metric, region, tool) -> value of one slice."""
    image, masks = read_grey(output), shrink(read_grey(codes))
    return {
        (name, display, region, tool): value(image, read_grey(path), mask)
        for name, path in references.items()
        for display, metric in wanted
        for tool, value in reference.IMAGES[metric].items()
        for region, mask in masks.items()
        if mask.any()
    }
