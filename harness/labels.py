"""Labels: slice pairs -> purified test labels and region maps, kept under the digest of what made them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data import Case, Dataset
from harness.errors import UsageError
from harness.files import (
    Strict,
    atomic_folder,
    cache_root,
    digest_code,
    digest_json,
    digest_pixels,
    read_grey,
    read_json,
    write_grey,
    write_json,
)
from harness.imaging import denoise
from harness.imaging.blend import STRATEGIES
from harness.imaging.blend import label as label_of
from harness.imaging.masks import common_mask, remove_background
from harness.imaging.regions import consensus
from harness.imaging.segment import segment
from harness.process import map_slices
from harness.protocol import Purify

REGIONS_DENOISER = "nlm"
"""Regions are sought on this denoiser's output and on the IPv2 label with it, so that they are the same for all
strategies; the labels of IPv1 and of remove background hold raw noise, on which no segmentation is to be trusted."""


class LabelSet(Strict, frozen=True, kw_only=True):
    """Purified labels and region maps of a test set.

    `digest` covers names and pixels of every label and of every region map that was found by segmentation:
    what an identical run must repeat. `consensus` is the mean fraction of a slice on which the segmentations
    of IPv2 label and denoised low-dose slice agree; None where all regions are known truth.
    """

    folder: str
    digest: str
    consensus: float | None

    def path(self, name: str) -> Path:
        """The label of the case `name`: an 8-bit grey PNG of the case's size."""
        return Path(self.folder) / "labels" / f"{name}.png"

    def regions(self, case: Case) -> NDArray[np.uint8]:
        """Label map (uint8, codes of `harness.imaging.regions`) of a case: its truth, else found by consensus."""
        return read_grey(Path(case.regions) if case.regions else Path(self.folder) / "regions" / f"{case.name}.png")


class _Slice(Strict, frozen=True, kw_only=True):
    """What a worker wrote of one slice: digests of its pixels, and the consensus if regions were sought."""

    label: str
    regions: str | None
    consensus: float | None


class _Index(Strict, frozen=True, kw_only=True):
    """`labels.json` of a cached set."""

    purify: Purify
    data: str
    slices: dict[str, _Slice]


def build_labels(dataset: Dataset, purify: Purify, *, progress: Callable[[int, int], None] | None = None) -> LabelSet:
    """The labels of a test set, built on all cores or found in the cache under `labels/<key>`.

    The key is the digest of recipe, data set and the code that makes labels. What is found is read back and
    compared with its digests; a damaged set is built again. `progress` is told (done, total) while building.
    UsageError if the weak denoiser is unknown.
    """
    weak = purify.weak_denoiser if purify.strategy == "ipv2" else None
    if weak:
        denoise.load(weak)  # an unknown name is refused before any work
    folder = cache_root() / "labels" / _key(dataset, purify, weak)[:20]
    index = _intact(folder, dataset)
    if index is None:
        index = _build(folder, dataset, purify, weak, progress)
    fractions = [s.consensus for s in index.slices.values() if s.consensus is not None]
    return LabelSet(
        folder=str(folder),
        digest=digest_json({name: (s.label, s.regions) for name, s in index.slices.items()}),
        consensus=sum(fractions) / len(fractions) if fractions else None,
    )


def _key(dataset: Dataset, purify: Purify, weak: str | None) -> str:
    modules = ["masks", "blend", "regions", "segment", "denoise"]
    return digest_json(
        {
            "strategy": purify.strategy,
            "variant": purify.variant,
            "weak_denoiser": weak,
            "data": dataset.digest,
            "code": digest_code(*(f"harness.imaging.{module}" for module in modules)),
            "libraries": [version(name) for name in ("opencv-python-headless", "scikit-image")],
        }
    )


def _build(
    folder: Path, dataset: Dataset, purify: Purify, weak: str | None, progress: Callable[[int, int], None] | None
) -> _Index:
    with atomic_folder(folder) as part:
        tasks = [(case, purify, weak, dataset.window_hu, str(part)) for case in dataset.cases]
        made = map_slices(_make, tasks, progress=progress)
        names = [case.name for case in dataset.cases]
        index = _Index(purify=purify, data=dataset.digest, slices=dict(zip(names, made, strict=True)))
        write_json(part / "labels.json", index)
    return index


def _make(
    case: Case,
    purify: Purify,
    weak: str | None,
    window_hu: tuple[float, float] | None,
    folder: str,
) -> _Slice:
    """Write the label of one slice, and its regions if they are not known."""
    low, normal = read_grey(Path(case.lq)), read_grey(Path(case.gt))
    mask = common_mask(low, normal)
    if STRATEGIES[purify.strategy].remove_background:
        mask = remove_background(mask)
    label = label_of(purify.strategy, mask, low=low, normal=normal, weak=denoise.load(weak)(low) if weak else None)
    write_grey(Path(folder) / "labels" / f"{case.name}.png", label)
    if case.regions:
        return _Slice(label=digest_pixels(label), regions=None, consensus=None)
    quiet = denoise.load(REGIONS_DENOISER)(low)
    codes, fraction = consensus(
        segment(
            label_of("ipv2", remove_background(common_mask(low, normal)), low=low, normal=normal, weak=quiet),
            window_hu=window_hu,
            pixel_mm=case.pixel_mm,
        ),
        segment(quiet, window_hu=window_hu, pixel_mm=case.pixel_mm),
    )
    write_grey(Path(folder) / "regions" / f"{case.name}.png", codes)
    return _Slice(label=digest_pixels(label), regions=digest_pixels(codes), consensus=fraction)


def _intact(folder: Path, dataset: Dataset) -> _Index | None:
    """The index of a cached set that is complete and undamaged; a damaged set is removed."""
    if not folder.is_dir():
        return None
    try:
        index = read_json(folder / "labels.json", _Index)
        stored = [
            (folder / kind / f"{name}.png", digest)
            for name, made in index.slices.items()
            for kind, digest in (("labels", made.label), ("regions", made.regions))
            if digest is not None
        ]
        if set(index.slices) == {case.name for case in dataset.cases} and all(
            digest_pixels(read_grey(path)) == digest for path, digest in stored
        ):
            return index
    except (UsageError, OSError):
        pass  # unreadable is damaged, too
    shutil.rmtree(folder)
    return None
