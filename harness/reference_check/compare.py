"""A record, its data and labels -> every value beside that of a reference tool from the same images or features, and,
where the outputs are here, beside that of the harness on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import pandas

from harness import metrics as metrics_of
from harness.base.errors import UsageError
from harness.base.progress import Progress
from harness.base.slices import read_grey, read_image, write_grey
from harness.base.structs import Strict
from harness.base.text import first_few
from harness.base.workers import map_slices
from harness.dataset.cases import Dataset
from harness.features import Extractor
from harness.imaging.hounsfield import Window, data_range, grey
from harness.imaging.regions import shrink
from harness.labels.label_set import LabelSet
from harness.metrics import ImageMetric, comparisons
from harness.protocol import Metric, Protocol
from harness.records.agreement import of_tables, tolerance
from harness.records.attachments import Store, attachment
from harness.records.schema import Record
from harness.records.slice_table import read_slices
from harness.reference_check import reference_tools as tools
from harness.run.result import digest_outputs
from harness.scoring.attachment_names import FEATURES
from harness.scoring.feature_sets import FeatureSet, feature_key, features_of, read_features
from harness.scoring.score import score
from harness.scoring.values import Table, Value

HARNESS = "harness"  # as a tool: its own values, computed anew

OF_TERMS = 1e-6  # by which another order of float32 additions in a network may move a distance, relative to its terms


class Comparison(Strict, frozen=True, kw_only=True):
    """One value of a record beside a reference tool's.

    `of` says what the tool computed it from. `agrees`: the two are as close as those of two machines must be
    (`harness.records.agreement`), beside 1e-6 of the terms that a distance is the difference of.
    """

    reference: str
    metric: str
    region: str
    ours: float
    tool: str
    theirs: float
    of: str
    agrees: bool


class _Images(Strict, frozen=True, kw_only=True):
    """The images behind a record, slices in the order of their names."""

    outputs: Sequence[Path] | None
    references: Mapping[str, Sequence[Path]]  # "label" and, where the record has it, "truth"
    region_maps: Sequence[Path]


def compare(
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
) -> list[Comparison]:
    """Recompute a scored record's values with the reference tools.

    `folder` is the record's, already verified (`read_record`); data and labels are those of its protocol, built here.
    With `outputs` (case -> 8-bit grey PNG) everything is computed from the images; without them distances start from
    the features that the record keeps in the `store`, and means of image metrics from its values per slice. What no
    reference tool computes (regional features, GMSD, contrasts, ...) is compared from the features on, and, with
    `outputs`, with what the harness itself computes here.
    UsageError where data, labels, weights or outputs are not those of the record.
    """
    _require_recorded_material(record, dataset, labels, extractors, outputs)
    cases = sorted(dataset.cases, key=lambda case: case.name)
    references = {"label": [labels.path(case.name) for case in cases]}
    if record.result.truth is not None:
        references["truth"] = [Path(str(case.truth)) for case in cases]
    images = _Images(
        outputs=None if outputs is None else [outputs[case.name] for case in cases],
        references=references,
        region_maps=[labels.regions_path(case) for case in cases],
    )
    done = count(1)

    def step() -> None:
        if progress is not None:
            progress(next(done), 2 * (len(references) + 1) + 2)

    networks = {one.name: tools.network(one.name) for one in extractors if one.name in tools.NETWORKS}
    kept = _features_of_outputs(images, record, folder, store, extractors, protocol, dataset.window_hu)
    step()
    own = _whole(images.outputs, networks, dataset)
    step()
    comparisons: list[Comparison] = []
    for name, paths in references.items():
        theirs = _whole(paths, networks, dataset)
        step()
        regional = features_of(paths, images.region_maps, extractors, protocol, window_hu=dataset.window_hu)
        comparisons += _distances(name, record, protocol, kept, regional, own, theirs)
        step()
    comparisons += _image_metrics(record, folder, protocol, images, dataset)
    step()
    if outputs is not None:
        card = score(outputs, dataset, labels, protocol, extractors=extractors)
        comparisons += _anew(record, card.tables)
    step()
    return comparisons


def _require_recorded_material(
    record: Record,
    dataset: Dataset,
    labels: LabelSet,
    extractors: Sequence[Extractor],
    outputs: Mapping[str, Path] | None,
) -> None:
    """UsageError unless data, labels, weights and outputs here are those that the record was made with."""
    result = record.result
    found = {"data": dataset.digest, "labels": labels.digest}
    found |= {f"weights of {one.name}": one.digest for one in extractors}
    recorded = {"data": result.data, "labels": result.labels}
    recorded |= {f"weights of {name}": facts.weights for name, facts in result.extractors.items()}
    if outputs is not None:
        missing = [case.name for case in dataset.cases if case.name not in outputs]
        if missing:
            raise UsageError(f"the outputs lack {', '.join(first_few(missing))}", fix="give one <case>.png per case")
        found["outputs"] = digest_outputs({name: read_image(path) for name, path in outputs.items()})
        recorded["outputs"] = str(result.outputs)
    for name, digest in recorded.items():
        if found.get(name) != digest:
            raise UsageError(
                f"record {record.id}: the digest of its {name} is {digest}, but here it is {found.get(name)}",
                fix="use the version of the harness that wrote the record (observed.commit), and the record's own data",
            )


def _anew(record: Record, found: Mapping[str, Table]) -> list[Comparison]:
    """Every value with its interval beside the one that the harness computes on this machine (reference -> table)."""
    comparisons = []
    invented = sorted(record.result.tables.keys() - found.keys())
    if invented:
        raise UsageError(
            f"record {record.id} has a table {invented[0]!r}, which is not computed here",
            fix="use the version of the harness that wrote the record (observed.commit)",
        )
    for name in found:
        table = record.result.tables.get(name, {})
        differing = {(one.metric, one.region) for one in of_tables(name, table, found[name])}
        for metric, regions in found[name].items():
            for region, value in regions.items():
                own = table.get(metric, {}).get(region)
                if own is None:
                    raise UsageError(
                        f"record {record.id} has no {metric} ({region}, {name}), which is computed here",
                        fix="use the version of the harness that wrote the record (observed.commit)",
                    )
                comparisons.append(
                    Comparison(
                        reference=name,
                        metric=metric,
                        region=region,
                        ours=own.value,
                        tool=HARNESS,
                        theirs=value.value,
                        of="images",
                        agrees=(metric, region) not in differing,
                    )
                )
    return comparisons


# -------------------------------------------------------------------------------- distances
Whole = Mapping[str, tools.Rows]


def _whole(paths: Sequence[Path] | None, networks: Mapping[str, Callable[..., object]], dataset: Dataset) -> Whole:
    """Whole-image features by the reference tools, of images as grey levels; empty without images."""
    if paths is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        if dataset.bits == 16:  # the tools read files, of 8 bits
            shown = [Path(folder) / f"{index:06d}.png" for index in range(len(paths))]
            for path, grey_path in zip(paths, shown, strict=True):
                write_grey(grey_path, grey(read_image(path), dataset.window_hu))
            paths = shown
        return {name: tools.features(paths, model) for name, model in networks.items()}  # type: ignore[arg-type]


def _features_of_outputs(
    images: _Images,
    record: Record,
    folder: Path,
    store: Store,
    extractors: Sequence[Extractor],
    protocol: Protocol,
    window_hu: Window | None,
) -> FeatureSet:
    """The harness's features of the outputs: from the images where they are here, else those that the record keeps."""
    if images.outputs is not None:
        return features_of(images.outputs, images.region_maps, extractors, protocol, window_hu=window_hu)
    if FEATURES not in record.observed.files:
        raise UsageError(f"{folder}: the record keeps no features", fix="give the outputs: --outputs FOLDER")
    return read_features(store.get(attachment(record, folder, FEATURES))) or {}


def _distances(
    name: str,
    record: Record,
    protocol: Protocol,
    kept: FeatureSet,
    regional: FeatureSet,
    own: Whole,
    theirs: Whole,
) -> list[Comparison]:
    """The distances between the outputs and the reference `name`."""
    comparisons = []
    for metric in protocol.metrics:
        distances = tools.DISTANCES.get(metric.metric, {})
        for region, value in record.result.tables[name].get(metric.name, {}).items():
            x, y, of = _pair(metric, region, kept, regional, own, theirs)
            rounding = OF_TERMS * _terms(metric, x, y) if distances else 0.0
            for tool, distance in distances.items():
                found = distance(x, y)
                if found is not None:
                    comparisons.append(_comparison(name, metric, region, value, tool, found, of, rounding))
    return comparisons


def _pair(
    metric: Metric, region: str, kept: FeatureSet, regional: FeatureSet, own: Whole, theirs: Whole
) -> tuple[tools.Rows, tools.Rows, str]:
    """Features of the outputs and of the reference, by the reference tools where possible, and their origin."""
    name, key = str(metric.features), feature_key(metric, region)
    if metric.features is None:
        return np.empty((0, 0)), np.empty((0, 0)), ""
    if key != "whole" or name not in theirs:
        x, y = kept[name][key].values, regional[name][key].values
        return x.astype(np.float64), y.astype(np.float64), "the harness's features"
    if name in own:
        return own[name], theirs[name], "images"
    return kept[name][key].values.astype(np.float64), theirs[name], "the record's features and the reference's images"


def _terms(metric: Metric, x: tools.Rows, y: tools.Rows) -> float:
    """The size of the terms that a distance is the difference of."""
    if metric.metric == "frechet":
        return float(x.var(axis=0, ddof=1).sum() + y.var(axis=0, ddof=1).sum())
    return float(np.mean((np.einsum("ij,ij->i", x, y) / x.shape[1] + 1) ** 3)) if metric.metric == "kernel" else 0.0


def _comparison(
    name: str, metric: Metric, region: str, value: Value, tool: str, theirs: float, of: str, rounding: float
) -> Comparison:
    return Comparison(
        reference=name,
        metric=metric.name,
        region=region,
        ours=value.value,
        tool=tool,
        theirs=theirs,
        of=of,
        agrees=abs(value.value - theirs) <= tolerance(value) + rounding,
    )


# -------------------------------------------------------------------------------- image metrics
def _image_metrics(
    record: Record, folder: Path, protocol: Protocol, images: _Images, dataset: Dataset
) -> list[Comparison]:
    """Image metrics: by the reference tools from the images, and as means of the record's values per slice."""
    listed = pandas.DataFrame(map(msgspec.to_builtins, read_slices(record, folder)))
    by_tools = _values_by_tools(protocol, images, dataset.window_hu)
    compared = []
    for name in images.references:
        for metric in protocol.metrics:
            if not isinstance(metrics_of.load(metric.metric), ImageMetric):
                continue
            for region, value in record.result.tables[name].get(metric.name, {}).items():
                for tool in tools.IMAGES.get(metric.metric, {}):
                    found = by_tools.get((name, metric.name, region, tool))
                    if found:
                        scale = dataset.hu_per_level or 1.0 if value.unit == "HU" else 1.0
                        mean = float(np.mean(found)) * scale
                        compared.append(_comparison(name, metric, region, value, tool, mean, "images", 1e-9))
                if len(listed):
                    rows = listed[
                        (listed.reference == name) & (listed.metric == metric.name) & (listed.region == region)
                    ]
                    mean = float(rows.value.mean())
                    of = "the record's slices"
                    compared.append(_comparison(name, metric, region, value, "pandas", mean, of, 1e-6))
    return compared


Key = tuple[str, str, str, str]
"""Reference, metric, region, tool."""


def _values_by_tools(protocol: Protocol, images: _Images, window_hu: Window | None) -> dict[Key, list[float]]:
    """Values per slice by the reference tools, on all cores; empty without images."""
    if images.outputs is None:
        return {}
    wanted = [(one.name, one.metric) for one in protocol.metrics if one.metric in tools.IMAGES]
    tasks = [
        (
            output,
            {name: paths[index] for name, paths in images.references.items()},
            images.region_maps[index],
            wanted,
            window_hu,
        )
        for index, output in enumerate(images.outputs)
    ]
    found: dict[Key, list[float]] = {}
    for of_slice in map_slices(_values_of_slice, tasks):
        for key, value in of_slice.items():
            found.setdefault(key, []).append(value)
    return found


def _values_of_slice(
    output: Path,
    references: Mapping[str, Path],
    region_map: Path,
    wanted: Sequence[tuple[str, str]],
    window_hu: Window | None,
) -> dict[Key, float]:
    image, masks = read_image(output), shrink(read_grey(region_map))
    full = data_range(image, window_hu)
    targets = {name: read_image(path) for name, path in references.items()}
    metrics = {display: metric for display, name in wanted if isinstance(metric := metrics_of.load(name), ImageMetric)}
    by_tool = {display: tools.IMAGES[name] for display, name in wanted}
    return {
        (one.reference, one.name, one.region, tool): found
        for one in comparisons(targets, metrics, masks)
        if one.mask.any()
        for tool, value in by_tool[one.name].items()
        if (found := value(image, one.target, one.mask, full)) is not None
    }
