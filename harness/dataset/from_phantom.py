"""The embedded phantom's slices, scanned once and kept in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.base.code_digest import digest_code
from harness.base.digests import digest_bytes, digest_json, digest_pixels
from harness.base.files import cache_root
from harness.base.progress import Progress
from harness.base.slice_cache import find_slice, keep_slice, make_slices, slice_path
from harness.base.structs import Strict
from harness.dataset.cases import Case, Dataset
from harness.protocol import PhantomData

if TYPE_CHECKING:
    from harness.phantom import View

KINDS = ("lq", "gt", "truth", "aligned_gt", "regions")  # the images of a phantom's slice, as `Case` names them


class Scanned(Strict, frozen=True, kw_only=True):
    """What is known of a scanned slice: digests of all its pixels together, and of each image (`digest_pixels`)."""

    pixel_mm: float
    window_hu: tuple[float, float]
    digest: str
    images: dict[str, str]


def phantom_slices(data: PhantomData, progress: Progress | None) -> Dataset:
    """The phantom's slices from the cache, scanned there first if they are missing or damaged."""
    folder = _folder(data)
    tasks = {name: (name, data, *place) for name, place in places(data).items()}
    slices, _ = make_slices(folder, tasks, _scan, Scanned, progress=progress)
    return phantom_dataset(data, slices, folder)


def scanned_before(data: PhantomData) -> Dataset | None:
    """The phantom's slices if all of them lie in the cache, undamaged."""
    folder = _folder(data)
    slices = {name: facts for name in places(data) if (facts := find_slice(folder, name, Scanned)) is not None}
    return phantom_dataset(data, slices, folder) if len(slices) == len(places(data)) else None


def places(data: PhantomData) -> dict[str, tuple[int, int]]:
    """The names of a phantom's slices, in order, each with the numbers of patient and slice from 0."""
    return {
        f"p{patient + 1:02d}-s{number + 1:02d}": (patient, number)
        for patient in range(data.patients)
        for number in range(data.slices)
    }


def phantom_dataset(data: PhantomData, slices: Mapping[str, Scanned], folder: Path) -> Dataset:
    """The test set of a phantom whose images lie in `folder` as `slice_path` says.

    Its digest follows from what is known of the slices: names, pixel sizes, window and digests.
    """
    cases: list[Case] = []
    people: dict[str, str] = {}
    parts: list[bytes] = []
    for name, (patient, _) in places(data).items():
        one = slices[name]
        paths = {kind: str(folder / slice_path(kind, name)) for kind in KINDS}
        cases.append(Case(name=name, patient=f"p{patient + 1:02d}", pixel_mm=one.pixel_mm, **paths))
        people[cases[-1].patient] = digest_json(["phantom", data.seed, patient, _view(data, patient)])
        parts += [name.encode(), repr((one.pixel_mm, one.window_hu)).encode(), one.digest.encode()]
    return Dataset(
        cases=tuple(cases),
        window_hu=slices[cases[0].name].window_hu,
        digest=digest_bytes(*parts),
        people=people,
        pixels={name: slices[name].images for name in places(data)},
        slices={name: slices[name].digest for name in places(data)},
    )


def slice_digest(images: Mapping[str, NDArray[np.uint8]]) -> str:
    """The digest of all pixels of a slice, from its images by kind."""
    return digest_bytes(*(images[kind].tobytes() for kind in KINDS))


def _folder(data: PhantomData) -> Path:
    key = digest_json({"data": data, "code": digest_code("harness.phantom")})
    return cache_root() / "data" / f"phantom-{key[:20]}"


def _view(data: PhantomData, patient: int) -> View:
    """The field of view of a patient's scans."""
    if data.view != "mixed":
        return data.view
    from harness.phantom import VIEWS

    difficult = [view for view in VIEWS if view != "full"]
    return difficult[patient % len(difficult)]


def _scan(name: str, data: PhantomData, patient: int, number: int, folder: str) -> Scanned:
    """Scan one slice and keep its images."""
    from harness.phantom import levels_with_nodules, make_patient, scan_slice

    assert isinstance(data.seed, int), "load_data replaces a commitment with its secret seed"
    person = make_patient(data.seed, patient, view=_view(data, patient))
    heights = levels_with_nodules(person, data.slices, nodule_slices=data.nodule_slices)
    scanned = scan_slice(person, heights[number], size=data.size, dose=data.dose, window_hu=data.window_hu)
    images = {kind: getattr(scanned, kind) for kind in KINDS}
    facts = Scanned(
        pixel_mm=scanned.pixel_mm,
        window_hu=scanned.window_hu,
        digest=slice_digest(images),
        images={kind: digest_pixels(image) for kind, image in images.items()},
    )
    return keep_slice(Path(folder), name, images, facts)
