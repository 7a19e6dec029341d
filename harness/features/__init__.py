"""Extractors, one file each: images -> feature matrices, in one pass over the images for all metrics that read them.

The name in a protocol is the file's name, with - for _. A file gives a function `load`, an `ExtractorFactory`, and is
imported only when named. Files that begin with an underscore, and `weights`, are not extractors.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.base.digests import digest_pixels
from harness.base.errors import UsageError
from harness.base.progress import Progress
from harness.base.slices import read_grey, read_image
from harness.features._extractor import Extractor, ExtractorFactory, Matrix, Output
from harness.features._lazy import LazyExtractors
from harness.features._maps import Grid, region_weights
from harness.imaging.hounsfield import Window, grey

__all__ = [
    "Extractor",
    "ExtractorFactory",
    "Features",
    "LazyExtractors",
    "Output",
    "extract",
    "extract_masked",
    "lazy",
    "load",
    "names",
]

WHOLE = "whole"
Mask = NDArray[np.bool_]
T = TypeVar("T")


class Features(NamedTuple):
    """Features `values` (k, d) float32 of the images that show the region; `rows` (k,) are their indices."""

    values: Matrix
    rows: NDArray[np.intp]


class _Loaded(NamedTuple):
    """An image as each extractor wants it, as its pass for maps wants it, and the image's regions on each grid."""

    prepared: dict[str, NDArray[Any]]
    for_maps: dict[str, NDArray[Any]]
    weights: dict[Grid, dict[str, Matrix]]


def names() -> list[str]:
    """The extractors there are."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in modules if not name.startswith("_") and name != "weights")


def load(name: str, *, device: str = "cpu") -> Extractor:
    """Import and load the extractor of that name.

    UsageError for an unknown name, for a device that this machine does not have, and for missing or damaged weights,
    with the fix.
    """
    _refuse_unknown(name)
    factory: ExtractorFactory = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").load
    return factory(device=device)


def lazy(chosen: Iterable[str], *, device: str = "cpu") -> LazyExtractors:
    """The extractors of those names, each loaded at its first use; UsageError as `load`, but at once.

    On another device than the CPU all are loaded at once: only that shows whether this machine has it.
    """
    wanted = list(chosen)
    for name in wanted:
        _refuse_unknown(name)
    found = LazyExtractors(wanted, partial(load, device=device))
    if device != "cpu":
        list(found)
    return found


def _refuse_unknown(name: str) -> None:
    if name not in names():
        raise UsageError(f"no extractor {name!r} (there are: {', '.join(names())})", fix="correct the protocol")


def extract(
    images: Sequence[Path],
    extractors: Sequence[Extractor],
    *,
    regions: Callable[[int], Mapping[str, Mask]] | None,
    window_hu: Window | None = None,
    batch: int = 16,
    progress: Progress | None = None,
) -> dict[str, dict[str, Features]]:
    """Features of PNG images by extractor and region, from one pass over the images.

    Every image is decoded once and run through each network once, or twice where maps have a pass of their own. Region
    "whole" has the network's final features of all images. `regions(i)` gives the masks (bool, of the image's size) of
    image i; with it, extractors with maps also give `pooled` features of every other region: the maps averaged over the
    region, each cell weighted by the share of it that the region covers. An image without the region (no mask of that
    name, or less than one map cell of it) has no row there; a region that no image shows has no key.
    `progress` is told (done, total). Images have 8 bits, or 16, which the networks see through `window_hu`.
    """
    whole: dict[str, list[Matrix]] = {extractor.name: [] for extractor in extractors}
    pooled: dict[str, dict[str, list[tuple[int, Matrix]]]] = {extractor.name: {} for extractor in extractors}
    wants_maps = regions is not None and any(extractor.grid for extractor in extractors)

    def loaded(index: int) -> _Loaded:
        masks = regions(index) if regions is not None and wants_maps else None
        return _load(_seen(images[index], window_hu), masks, extractors)

    done = 0
    for chunk in _ahead(loaded, len(images), batch):
        for extractor in extractors:
            name, grid = extractor.name, extractor.grid
            features, maps = extractor.forward(np.stack([one.prepared[name] for one in chunk]))
            whole[name].append(features)
            if grid is None or regions is None:
                continue
            if extractor.map_pass is not None:
                maps = extractor.map_pass.forward(np.stack([one.for_maps[name] for one in chunk]))
            assert maps is not None
            for offset, one in enumerate(chunk):
                for region, average in _averages(maps[offset], one.weights[grid]).items():
                    pooled[name].setdefault(region, []).append((done + offset, average))
        done += len(chunk)
        if progress is not None:
            progress(done, len(images))
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
    masks: Callable[[int], Mask],
    window_hu: Window | None = None,
    batch: int = 16,
    progress: Progress | None = None,
) -> dict[str, Features]:
    """`masked` features by extractor: final features of the images with every pixel outside the mask set to grey 0.

    `masks(i)` is the mask of image i (bool, of its size). An image with an empty mask has no row. Images that are equal
    once masked, such as clean backgrounds, are run once.
    """

    def loaded(index: int) -> tuple[str, list[NDArray[Any]]] | None:
        mask = masks(index)
        if not mask.any():
            return None
        image = np.where(mask, _seen(images[index], window_hu), np.uint8(0))
        return digest_pixels(image), [extractor.prepare(image) for extractor in extractors]

    rows: list[int] = []
    digests: list[str] = []  # of every row
    position: dict[str, int] = {}  # of a digest among the features
    found: dict[str, list[Matrix]] = {extractor.name: [] for extractor in extractors}
    done = 0
    for chunk in _ahead(loaded, len(images), batch):
        new: dict[str, list[NDArray[Any]]] = {}
        for index, one in enumerate(chunk, start=done):
            if one is not None:
                digest, prepared = one
                rows.append(index)
                digests.append(digest)
                if digest not in position:
                    position[digest] = len(position)
                    new[digest] = prepared
        for number, extractor in enumerate(extractors if new else ()):
            batch_of = np.stack([prepared[number] for prepared in new.values()])
            found[extractor.name].append(extractor.forward(batch_of).features)
        done += len(chunk)
        if progress is not None:
            progress(done, len(images))
    order = [position[digest] for digest in digests]
    return {
        extractor.name: Features(
            np.concatenate(found[extractor.name] or [np.empty((0, extractor.dimension), np.float32)])[order],
            np.array(rows, np.intp),
        )
        for extractor in extractors
    }


def _seen(path: Path, window_hu: Window | None) -> NDArray[np.uint8]:
    """An image as the networks see it; without a window it must have 8 bits."""
    return read_grey(path) if window_hu is None else grey(read_image(path), window_hu)


def _load(image: NDArray[np.uint8], masks: Mapping[str, Mask] | None, extractors: Sequence[Extractor]) -> _Loaded:
    """An image for the extractors; for their maps, too, where there are masks."""
    prepared = {one.name: one.prepare(image) for one in extractors}
    if masks is None:
        return _Loaded(prepared, {}, {})
    return _Loaded(
        prepared,
        {one.name: one.map_pass.prepare(image) for one in extractors if one.map_pass is not None},
        {grid: _weights(masks, grid) for grid in {one.grid for one in extractors} if grid is not None},
    )


def _ahead(load: Callable[[int], T], count: int, batch: int) -> Iterator[list[T]]:
    """`load(0)` to `load(count - 1)` in batches; threads load the next two while the caller works on one."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: deque[list[Future[T]]] = deque()
        for start in range(0, count, batch):
            waiting.append([pool.submit(load, index) for index in range(start, min(start + batch, count))])
            if len(waiting) > 2:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]


def _weights(masks: Mapping[str, Mask], grid: Grid) -> dict[str, Matrix]:
    """Map weights (cells, cells) of the regions that an image shows, without "whole"."""
    weights = {name: region_weights(mask, grid) for name, mask in masks.items() if name != WHOLE}
    return {name: weight for name, weight in weights.items() if weight.sum() >= 1.0}


def _averages(maps: Matrix, weights: Mapping[str, Matrix]) -> dict[str, Matrix]:
    """Maps (channels, cells, cells) averaged under each region's weights (cells, cells): (channels,) a region."""
    flat = maps.reshape(len(maps), -1)
    # einsum, because a matrix product would start the threads of numpy's BLAS, which compete with torch's
    return {name: np.einsum("cp,p->c", flat, (one / one.sum()).ravel()) for name, one in weights.items()}
