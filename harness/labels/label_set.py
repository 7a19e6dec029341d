"""Label sets: slice pairs -> purified test labels and region maps, cached under the digest of what made them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.base.code_digest import digest_code
from harness.base.digests import digest_file, digest_json, digest_pixels
from harness.base.errors import UsageError
from harness.base.files import atomic_folder, cache_root, refuse_existing
from harness.base.progress import Progress
from harness.base.slice_cache import Refused, make_slices, read_facts
from harness.base.slices import read_grey, read_image, write_grey
from harness.base.structs import Strict, write_json
from harness.dataset.cases import Case, Dataset
from harness.dataset.official import difference_note, differing_images, find_imported
from harness.imaging import denoise
from harness.imaging.anatomy import ANATOMIES, Anatomy, region_map
from harness.imaging.blend import label as label_of
from harness.imaging.hounsfield import Image, grey
from harness.imaging.masks import common_mask, remove_background
from harness.imaging.regions import consensus
from harness.labels.recipe import (
    Purified,
    implausible_slices,
    keep,
    manifest,
    mask_of,
    quality_of,
    refuse_unpurified,
)
from harness.protocol import OfficialSet, Purify

REGIONS_DENOISER = "nlm"
"""Regions are segmented on this denoiser's output and on the IPv2 label made with it, so that they are the same for all
strategies; labels of IPv1 and of remove background contain raw noise, on which no segmentation can be trusted. Where
no organ is dark, the second is the normal-dose slice."""

REGIONS_WINDOW_HU = (-1024.0, 1200.0)
"""Slices of 16 bits are segmented through this window: the protocol's may cut air or bone off."""


IMAGES = ("label", "regions")  # of a slice, as `OfficialSlice` names them


class LabelSet(Strict, frozen=True, kw_only=True):
    """Purified labels and region maps of a test set.

    `digest` covers names and pixels of every label and of every region map found by segmentation: what an identical run
    must repeat. `consensus` is the mean fraction of a slice on which the segmentations of IPv2 label and denoised
    low-dose slice agree; None where all regions are known. `implausible` has a line for every slice whose purification
    looks wrong, `notes` are lines on how the set differs from the protocol's official one.
    """

    folder: str
    digest: str
    consensus: float | None
    implausible: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def path(self, name: str) -> Path:
        """The label of the case `name`: a grey PNG of the case's size and bits."""
        return Path(self.folder) / "labels" / f"{name}.png"

    def regions(self, case: Case) -> NDArray[np.uint8]:
        """Region map (uint8, codes of `harness.imaging.regions`) of a case: its truth, else found by consensus."""
        return read_grey(self.regions_path(case))

    def regions_path(self, case: Case) -> Path:
        """The file of `regions`: an 8-bit grey PNG of codes."""
        return Path(case.regions) if case.regions else Path(self.folder) / "regions" / f"{case.name}.png"


def build_labels(
    dataset: Dataset,
    purify: Purify,
    *,
    anatomy: Anatomy = "chest",
    weak_outputs: Mapping[str, Path] | None = None,
    official: OfficialSet | None = None,
    progress: Progress | None = None,
) -> LabelSet:
    """The labels of a test set, built on all cores or found in the cache under `labels/<key>`.

    Regions that are not known are found as `anatomy` has it (`harness.imaging.anatomy`).
    The key is the digest of recipe, data set, code that makes labels, and imported labels. Cached slices are verified
    by their digests; missing or damaged ones are built again. `weak_outputs` are the outputs (case name -> 8-bit grey
    PNG) of the submission that serves as weak denoiser, required where `purify.weak_submission` names one. `official`
    is the official test set of these data and this recipe: its labels are taken if they were imported, and others are
    compared with it. `progress` is told (done, total). UsageError if the weak denoiser is unknown or a slice cannot be
    purified.
    """
    imported = _imported_labels(dataset, official)
    weak: str | None = None
    if purify.weak_submission is not None and purify.removes_noise:
        if weak_outputs is None:
            raise UsageError(
                f"the weak denoiser {purify.weak_denoiser} is a submission, and its outputs are missing",
                fix="run it first (harness.pipeline.prepare does), or choose a built-in one: nlm, tv, cnn",
            )
        weak = digest_json({case.name: digest_file(weak_outputs[case.name]) for case in dataset.cases})
    elif purify.removes_noise:
        weak, weak_outputs = purify.weak_denoiser, None
        denoise.load(weak)  # an unknown name is refused before any work
    folder = cache_root() / "labels" / _key(dataset, purify, anatomy, weak, imported)[:20]
    tasks = {
        case.name: (
            case,
            purify,
            anatomy,
            weak_outputs and weak_outputs[case.name],
            imported.get(case.name),
            dataset.window_hu,
        )
        for case in dataset.cases
    }
    slices, refused = make_slices(folder, tasks, _make, Purified, progress=progress)
    refuse_unpurified(
        refused,
        "remove them from the test set (of imported scans by the protocol: data.leave_out: "
        f"[{', '.join(refused)}]); IPv2 purifies chest slices that show lung",
    )
    fractions = [made.consensus for made in slices.values() if made.consensus is not None]
    labels = LabelSet(
        folder=str(folder),
        digest=labels_digest({name: _digests(made, name) for name, made in slices.items()}),
        consensus=sum(fractions) / len(fractions) if fractions else None,
        implausible=tuple(implausible_slices(slices, purify)),
    )
    return labels if official is None else msgspec.structs.replace(labels, notes=_notes(dataset, labels, official))


def labels_digest(slices: Mapping[str, tuple[str, str | None]]) -> str:
    """The digest of a label set from those of the pixels of each label and, where it was found by segmentation, of
    each region map."""
    return digest_json(slices)


def label_digests(dataset: Dataset, labels: LabelSet) -> dict[str, tuple[str, str]]:
    """The digests of the pixels of each slice's label and region map."""
    found: dict[str, tuple[str, str]] = {}
    for case in dataset.cases:
        label, sought = _digests(read_facts(Path(labels.folder), case.name, Purified), case.name)
        known = sought or dataset.pixels.get(case.name, {}).get("regions") or digest_pixels(labels.regions(case))
        found[case.name] = label, known
    return found


def differing_labels(dataset: Dataset, labels: LabelSet, official: OfficialSet) -> dict[str, list[str]]:
    """The slices whose label or region map is not the official one although their images are."""
    elsewhere = differing_images(dataset, official)
    expected = {one.name: (one.label, one.regions) for one in official.slices if one.name not in elsewhere}
    return {
        name: [kind for kind, one, other in zip(IMAGES, found, expected[name], strict=True) if one != other]
        for name, found in label_digests(dataset, labels).items()
        if name in expected and found != expected[name]
    }


def _imported_labels(dataset: Dataset, official: OfficialSet | None) -> dict[str, Path]:
    """The imported labels of an official test set, by slice; none where nothing was imported, or it is damaged."""
    if official is None or dataset.digest != official.data:
        return {}
    imported = find_imported(official)
    if imported is None or imported.damaged:
        return {}
    return {case.name: imported.label(case.name) for case in dataset.cases}


def _notes(dataset: Dataset, labels: LabelSet, official: OfficialSet) -> tuple[str, ...]:
    if labels.digest == official.labels:
        return ()
    found = differing_labels(dataset, labels, official)
    if not found and dataset.digest != official.data:
        return ()  # other images have other labels, and the notes of the data say it
    return (difference_note("labels", {name: dict.fromkeys(kinds) for name, kinds in found.items()}, official),)


def write_labels(dataset: Dataset, labels: LabelSet, purify: Purify, folder: Path) -> None:
    """Write a test set in the authors' layout: `lq/`, `gt_bar/` (the labels) and a `manifest.json`.

    `labels` is the label set that `build_labels` made of `dataset` by `purify`. UsageError where `folder` exists.
    """
    refuse_existing(folder)
    slices = {case.name: read_facts(Path(labels.folder), case.name, Purified) for case in dataset.cases}
    with atomic_folder(folder) as part:
        for kind in ("lq", "gt_bar"):
            (part / kind).mkdir()
        for case in dataset.cases:
            # written anew: an organiser's file may hold text, such as a patient's name
            write_grey(part / "lq" / f"{case.name}.png", read_image(Path(case.lq)))
            write_grey(part / "gt_bar" / f"{case.name}.png", read_image(labels.path(case.name)))
        write_json(part / "manifest.json", manifest(dataset, purify, slices, labels=labels.digest))


def _digests(made: Purified, name: str) -> tuple[str, str | None]:
    return made.files[f"labels/{name}.png"], made.files.get(f"regions/{name}.png")


def _key(dataset: Dataset, purify: Purify, anatomy: Anatomy, weak: str | None, imported: Mapping[str, Path]) -> str:
    return digest_json(
        {
            **({"imported": {name: digest_file(path) for name, path in imported.items()}} if imported else {}),
            "strategy": purify.strategy,
            "variant": purify.variant,
            "anatomy": anatomy,
            "weak_denoiser": weak,
            "data": dataset.digest,
            "code": digest_code("harness.labels.label_set"),
            "libraries": [version(name) for name in ("opencv-python-headless", "scikit-image")],
        }
    )


def _make(
    case: Case,
    purify: Purify,
    anatomy: Anatomy,
    weak_output: Path | None,
    imported: Path | None,
    window_hu: tuple[float, float] | None,
    folder: str,
) -> Purified | Refused:
    """Write the label of one slice, and its regions if they are not known."""
    low, normal = read_image(Path(case.lq)), read_image(Path(case.gt))
    try:
        mask = mask_of(case, low, normal, purify, window_hu=window_hu)
    except ValueError as error:
        return Refused(reason=str(error))
    if imported is not None:
        label = read_image(imported)
    else:
        weak = None
        if purify.removes_noise:
            weak = read_image(weak_output) if weak_output else denoise.load(purify.weak_denoiser)(low)
        label = label_of(purify.strategy, mask, low=low, normal=normal, weak=weak)
    images, agreed = {"labels": label}, None
    if not case.regions:
        images["regions"], agreed = _regions(case, low, normal, anatomy, window_hu)
    line = quality_of(case, mask, label, purify, low=low, normal=normal, window_hu=window_hu)
    return keep(Path(folder), case.name, images, line=line, consensus=agreed)


def _regions(
    case: Case, low: Image, normal: Image, anatomy: Anatomy, window_hu: tuple[float, float] | None
) -> tuple[NDArray[np.uint8], float]:
    """The regions of a slice on which two segmentations agree, and the fraction on which they do."""
    if low.dtype == np.uint16:
        window_hu = REGIONS_WINDOW_HU
    low, normal = grey(low, window_hu), grey(normal, window_hu)
    quiet = denoise.load(REGIONS_DENOISER)(low)
    if ANATOMIES[anatomy].dark_organ is None:
        other = normal
    else:
        mask = remove_background(common_mask(low, normal))
        other = label_of("ipv2", mask, low=low, normal=normal, weak=quiet)
    one, another = (region_map(image, anatomy, window_hu=window_hu, pixel_mm=case.pixel_mm) for image in (other, quiet))
    return consensus(one, another)
