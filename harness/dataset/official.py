"""The official bytes of a test set: what was imported of them, and where other bytes differ.

A protocol's file of digests (`harness.protocol.OfficialSet`) says which bytes rank. They need not be made here: a
phantom's test set can be imported as one file (`harness data import`), and is then used in place of what this machine
makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from harness.base.digests import digest_json
from harness.base.errors import UsageError
from harness.base.files import cache_root
from harness.base.slice_cache import find_slice, slice_path
from harness.base.slices import read_image
from harness.base.structs import Strict, read_json
from harness.base.text import first_few
from harness.dataset.cases import KINDS, Dataset
from harness.dataset.from_phantom import Scanned, image_kinds, phantom_dataset, places
from harness.imaging.lesion import Site
from harness.protocol import OfficialSet, OfficialSlice, PhantomData

LABELS = "labels"  # where a set's folder keeps the labels, as `harness.labels.label_set` does
SITES = "sites"  # where it keeps the sites of lesions, and what a difference of them is called
TAKE_THEIRS = (
    "harness data import FILE, where FILE is what `harness data export` wrote on a machine on which "
    "`harness data check` finds no difference; then run it again"
)
COMPARE = "compare your files of these slices, and your versions of libraries, with the organiser's"

Differences = Mapping[str, Mapping[str, int | None]]
"""By slice and kind of image, how many grey levels two images differ at most; None where only digests are known."""


class Imported(Strict, frozen=True, kw_only=True):
    """An imported test set: its folder, and the slices that are missing or damaged there since."""

    folder: str
    damaged: tuple[str, ...]

    def label(self, name: str) -> Path:
        """The label of a slice."""
        return Path(self.folder) / slice_path(LABELS, name)

    def sites(self, name: str) -> tuple[Site, ...]:
        """The sites of a slice's lesions; none where the set has no lesions."""
        path = Path(self.folder) / sites_path(name)
        return read_json(path, tuple[Site, ...]) if path.is_file() else ()


def imported_folder(official: OfficialSet) -> Path:
    """Where an imported test set lies."""
    return cache_root() / "official" / f"{official.name}-{official.version}-{digest_json(official)[:16]}"


def find_imported(official: OfficialSet) -> Imported | None:
    """The official test set if it was imported, its files checked."""
    folder = imported_folder(official)
    if not folder.is_dir():
        return None
    damaged = [one.name for one in official.slices if find_slice(folder, one.name, OfficialSlice) != one]
    return Imported(folder=str(folder), damaged=tuple(damaged))


def official_dataset(official: OfficialSet, data: PhantomData, imported: Imported) -> Dataset:
    """The official test set of a phantom, as it was imported."""
    dataset = stated_dataset(official, data, Path(imported.folder))
    sites = {name: imported.sites(name) for name in dataset.sites}
    return msgspec.structs.replace(dataset, sites=sites)


def stated_dataset(official: OfficialSet, data: PhantomData, folder: Path) -> Dataset:
    """The official test set of a phantom as its digests state it, without sites; the images would lie in `folder` as
    `slice_path` says.

    Its digest is computed from those of the slices. UsageError where `official` has other slices than the phantom, or
    lacks a digest.
    """
    slices: dict[str, Scanned] = {}
    wanted = places(data)
    for one in official.slices:
        images = images_of(one)
        kinds = image_kinds(data, wanted[one.name][1]) if one.name in wanted else ()
        if one.pixel_mm is None or one.images is None or official.window_hu is None or images.keys() != set(kinds):
            break
        slices[one.name] = Scanned(
            pixel_mm=one.pixel_mm, window_hu=official.window_hu, digest=one.images, images=images
        )
    if list(slices) != list(wanted):
        identity = f"{official.name}-{official.version}"
        raise UsageError(
            f"{identity}.slices.json: expected all digests of the {len(wanted)} slices of the phantom, in order",
            fix="restore the file as harness data digests wrote it",
        )
    return phantom_dataset(data, slices, folder)


def images_of(one: OfficialSlice) -> dict[str, str]:
    """The digests of a slice's images by kind."""
    return {kind: digest for kind in KINDS if (digest := getattr(one, kind)) is not None} | one.further


def sites_path(name: str) -> str:
    """Where a set's folder keeps the sites of the slice `name`."""
    return f"{SITES}/{name}.json"


def differing_images(dataset: Dataset, official: OfficialSet) -> dict[str, list[str]]:
    """The slices of a test set that are not the official ones, each with what differs: kinds of images (as the fields
    of `Case` and `OfficialSlice.further` name them), sites of lesions, pixel size, or the whole slice where one of the
    sets lacks it."""
    mine = {case.name: case for case in dataset.cases}
    theirs = {one.name: one for one in official.slices}
    found: dict[str, list[str]] = {}
    for name in sorted(mine.keys() | theirs.keys()):
        if name not in mine or name not in theirs:
            found[name] = ["not official" if name in mine else "missing"]
            continue
        expected = images_of(theirs[name])
        found_here = dataset.pixels[name]
        kinds = [kind for kind in found_here | theirs[name].further if found_here.get(kind) != expected.get(kind)]
        if not kinds and name in dataset.sites and dataset.slices[name] != theirs[name].images:
            kinds = [SITES]  # of all that the digest covers nothing else is left
        kinds += ["pixel size"] if mine[name].pixel_mm != theirs[name].pixel_mm else []
        if kinds:
            found[name] = kinds
    return found


def grey_levels(pairs: Iterable[tuple[Path, Path]]) -> int | None:
    """How many grey levels the images of some pairs differ at most; None for images of other sizes or without pairs."""
    most: int | None = None
    for one, other in pairs:
        left, right = read_image(one).astype(np.int32), read_image(other).astype(np.int32)
        if left.shape != right.shape:
            return None
        most = max(most or 0, int(np.abs(left - right).max()))
    return most


def measured(dataset: Dataset, official: OfficialSet, imported: Imported | None) -> dict[str, dict[str, int | None]]:
    """`differing_images`, with the grey levels where the official bytes were imported."""
    found: dict[str, dict[str, int | None]] = {}
    files = dataset.files()
    for name, kinds in differing_images(dataset, official).items():
        found[name] = dict.fromkeys(kinds)
        if imported is None or name in imported.damaged:
            continue
        for kind in kinds:
            theirs = Path(imported.folder) / slice_path(kind, name)
            if kind in files.get(name, {}) and theirs.is_file():
                found[name][kind] = grey_levels([(Path(files[name][kind]), theirs)])
    return found


def in_words(differences: Differences) -> list[str]:
    """A line for each of the first few slices: `p01-s02: lq by up to 3 grey levels, gt`."""
    return first_few(
        [
            f"{name}: "
            + ", ".join(
                kind if most is None else f"{kind} by up to {most} grey level{'' if most == 1 else 's'}"
                for kind, most in kinds.items()
            )
            for name, kinds in differences.items()
        ]
    )


def difference_note(what: str, differences: Differences, official: OfficialSet) -> str:
    """What the user should read where `what` (slices or labels) are not the official ones."""
    fix = TAKE_THEIRS if all(one.images for one in official.slices) else COMPARE  # only a phantom's can be imported
    identity = f"{official.name}-{official.version}"
    head = f"{len(differences)} of {len(official.slices)} {what} differ from the official test set of {identity}"
    if not differences:
        head = f"no slice differs from the official test set of {identity}, but the {what} as a whole do"
        fix = f"restore {identity}.slices.json, whose parts do not fit together"
    return "\n  ".join([f"{head}; no record made with them ranks:", *in_words(differences), f"fix: {fix}"])
