"""Extractors: images -> feature matrices, in one pass over the images for all metrics that read them.

An extractor is a file here; its name in a protocol is the file's, with - for _. It is imported only when named.
Files that begin with an underscore, and `weights`, are no extractors.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.features._extractor import Extractor, Matrix, Output
from harness.features._maps import region_weights
from harness.files import digest_pixels, read_grey

__all__ = ["Extractor", "Features", "Output", "extract", "extract_masked", "load", "names"]

WHOLE = "whole"
Mask = NDArray[np.bool_]


class Features(NamedTuple):
    """Features `values` (k, d) float32 of those images that have the region; `rows` (k,) are their indices."""

    values: Matrix
    rows: NDArray[np.intp]


def names() -> list[str]:
    """The extractors there are."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in modules if not name.startswith("_") and name != "weights")


def load(name: str, *, device: str = "cpu") -> Extractor:
    """Import and load an extractor.

    UsageError for an unknown name, for a device that is not here, and where published weights are missing or
    damaged, with what to do.
    """
    if name not in names():
        raise UsageError(f"no extractor {name!r} (there are: {', '.join(names())})", fix="correct the protocol")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    extractor: Extractor = module.load(device=device)
    return extractor


def extract(
    images: Sequence[Path],
    extractors: Sequence[Extractor],
    *,
    regions: Callable[[int], Mapping[str, Mask]] | None,
    batch: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Features]]:
    """Features of PNG images by extractor and region, every image decoded once and every network run once.

    Region "whole" has the network's final features of all images. With `regions`, which gives the masks (bool, size
    of the image) of image i, extractors that have maps also give for every other region the `pooled` features: the
    maps averaged over the region, each cell by the share of it that the region covers. An image without the region
    (no mask of that name, or less than one map cell of it) has no row there; a region that no image has is no key.
    `progress` gets the number of images done, and of all.
    Images of 8-bit grey, or of three equal channels; UsageError names the file for any other.
    """
    whole: dict[str, list[Matrix]] = {extractor.name: [] for extractor in extractors}
    pooled: dict[str, dict[str, list[tuple[int, Matrix]]]] = {extractor.name: {} for extractor in extractors}
    for start in range(0, len(images), batch):
        chunk = [read_grey(path) for path in images[start : start + batch]]
        weights = []
        if regions is not None and any(extractor.has_maps for extractor in extractors):
            weights = [_weights(regions(start + offset)) for offset in range(len(chunk))]
        for extractor in extractors:
            features, maps = extractor(chunk)
            whole[extractor.name].append(features)
            if maps is None:
                continue
            for offset, of_image in enumerate(weights):
                for region, weight in of_image.items():
                    average = np.tensordot(maps[offset], weight, axes=2) / weight.sum()
                    pooled[extractor.name].setdefault(region, []).append((start + offset, average))
        if progress is not None:
            progress(min(start + batch, len(images)), len(images))
    return {
        extractor.name: {
            WHOLE: Features(
                np.concatenate(whole[extractor.name] or [np.empty((0, extractor.dimension), np.float32)]),
                np.arange(len(images)),
            ),
            **{
                region: Features(np.stack([row for _, row in found]), np.array([index for index, _ in found]))
                for region, found in pooled[extractor.name].items()
            },
        }
        for extractor in extractors
    }


def extract_masked(
    images: Sequence[Path],
    extractors: Sequence[Extractor],
    *,
    masks: Sequence[Mask],
    batch: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Features]:
    """Final features by extractor of the images with every pixel outside `masks[i]` set to grey 0: `masked` features.

    An image whose mask is empty has no row. Images that are equal once masked, such as clean backgrounds, are run once.
    """
    rows = [index for index, mask in enumerate(masks) if mask.any()]
    kept: dict[str, NDArray[np.uint8]] = {}
    digests = []
    for index in rows:
        image = np.where(masks[index], read_grey(images[index]), np.uint8(0))
        digests.append(digest_pixels(image))
        kept.setdefault(digests[-1], image)
    order = {digest: position for position, digest in enumerate(kept)}
    unique, positions = list(kept.values()), [order[digest] for digest in digests]
    found: dict[str, list[Matrix]] = {extractor.name: [] for extractor in extractors}
    for start in range(0, len(unique), batch):
        for extractor in extractors:
            found[extractor.name].append(extractor(unique[start : start + batch])[0])
        if progress is not None:
            progress(min(start + batch, len(unique)), len(unique))
    return {
        extractor.name: Features(
            np.concatenate(found[extractor.name] or [np.empty((0, extractor.dimension), np.float32)])[positions],
            np.array(rows, np.intp),
        )
        for extractor in extractors
    }


def _weights(masks: Mapping[str, Mask]) -> dict[str, Matrix]:
    """Map weights of the regions that an image has, "whole" left out."""
    weights = {name: region_weights(mask) for name, mask in masks.items() if name != WHOLE}
    return {name: weight for name, weight in weights.items() if weight.sum() >= 1.0}
