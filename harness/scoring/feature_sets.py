"""Feature sets: the features of one set of images by extractor and region, kept in the cache and in records."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import features as extractors_of
from harness.base.code_digest import digest_code
from harness.base.digests import digest_file, digest_json
from harness.base.files import cache_root, write_bytes
from harness.base.progress import Progress
from harness.base.slices import read_grey
from harness.features import Extractor, Features
from harness.imaging.hounsfield import Window
from harness.imaging.regions import Region, shrink
from harness.protocol import Metric, Protocol

FeatureSet = dict[str, dict[str, Features]]
"""Extractor -> `feature_key` of a region -> features."""

_MASKED = "masked-"

MOST_BYTES = 2 << 30  # of unpacked features: those of a record may be a stranger's; 2000 slices have 0.3 GB


def feature_key(metric: Metric, region: str) -> str:
    """Where a metric's features of a region stand in a FeatureSet: `<region>`, or `masked-<region>` by definition."""
    return f"{_MASKED}{region}" if metric.definition == "masked" else region


def features_of(
    paths: Sequence[Path],
    region_maps: Sequence[Path],
    extractors: Sequence[Extractor],
    protocol: Protocol,
    *,
    window_hu: Window | None = None,
    progress: Progress | None = None,
) -> FeatureSet:
    """Features of one set of images, from the cache where the same images were seen before.

    `paths` are grey PNGs, seen through `window_hu` where they have 16 bits, and `region_maps` those of their regions,
    in the same order. Memory holds features only, however many images there are. `progress` is told (done, total).
    """
    masked = _masked_regions(protocol)
    key = digest_json(
        {
            "images": [digest_file(path) for path in paths],
            "codes": [digest_file(path) for path in region_maps],
            "regions": protocol.regions,
            "window": window_hu,
            "masked": {name: sorted(regions) for name, regions in masked.items()},
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
        return {name: mask for name, mask in shrink(read_grey(region_maps[index])).items() if name in protocol.regions}

    features = extractors_of.extract(paths, extractors, regions=masks, window_hu=window_hu, progress=progress)
    for name, regions in masked.items():
        of_name = [one for one in extractors if one.name == name]
        for region in regions:

            def mask(index: int, region: Region = region) -> NDArray[np.bool_]:
                return shrink(read_grey(region_maps[index]))[region]

            of_region = extractors_of.extract_masked(paths, of_name, masks=mask, window_hu=window_hu)
            features[name][f"{_MASKED}{region}"] = of_region[name]
    write_bytes(cached, npz_of(features))
    return features


def npz_of(features: FeatureSet) -> bytes:
    """`<extractor>/<key>` -> float32 (k, d), and `<extractor>/<key>/rows` -> indices (k,) of the images they are of."""
    buffer = io.BytesIO()
    arrays: dict[str, NDArray[Any]] = {}
    for name, regions in features.items():
        for region, found in regions.items():
            arrays[f"{name}/{region}"] = found.values
            arrays[f"{name}/{region}/rows"] = found.rows
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def read_features(path: Path) -> FeatureSet | None:
    """Features that `npz_of` wrote; None where the file is missing, damaged, or unpacks to more than MOST_BYTES."""
    features: FeatureSet = {}
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(one.file_size for one in packed.infolist()) > MOST_BYTES:
                return None
        with np.load(path) as arrays:
            for key in arrays.files:
                if not key.endswith("/rows"):
                    name, region = key.split("/")
                    features.setdefault(name, {})[region] = Features(arrays[key], arrays[f"{key}/rows"])
    except (OSError, EOFError, ValueError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error):
        return None
    return features


def _masked_regions(protocol: Protocol) -> dict[str, set[Region]]:
    """The extractors and regions whose `masked` features a protocol asks for."""
    asked: dict[str, set[Region]] = {}
    for metric in protocol.metrics:
        if metric.definition == "masked":
            asked.setdefault(str(metric.features), set()).update(protocol.regions)
    return asked
