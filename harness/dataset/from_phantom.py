"""The embedded phantom's slices, scanned once and kept in the cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from harness.base.code_digest import digest_code
from harness.base.digests import digest_bytes, digest_json, digest_pixels, pixel_bytes
from harness.base.files import cache_root
from harness.base.progress import Progress
from harness.base.slice_cache import find_slice, keep_slice, make_slices, slice_path
from harness.base.structs import Strict, canonical_json
from harness.dataset.cases import KINDS, Case, Dataset, FurtherKind, FurtherSlice
from harness.imaging.hounsfield import HU16, Image
from harness.imaging.lesion import Site
from harness.protocol import PhantomData

if TYPE_CHECKING:
    from harness.phantom import PlaneScans, View

LESIONS, LESIONS_GT, AGAIN = "lesions", "lesions_gt", "again"
"""Kinds of further images: the plane with lesions at low and at normal dose; `again-1` and so on at low dose."""


class Scanned(Strict, frozen=True, kw_only=True):
    """What is known of a scanned slice: digests of all its pixels and sites together (`slice_digest`), and of each
    image (`digest_pixels`), and where its lesions are."""

    pixel_mm: float
    window_hu: tuple[float, float]
    digest: str
    images: dict[str, str]
    sites: tuple[Site, ...] = ()


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


def image_kinds(data: PhantomData, number: int) -> tuple[str, ...]:
    """The kinds of images that the slice `number`, from 0, of a patient has."""
    lesions = () if data.lesions is UNSET else (LESIONS, LESIONS_GT)
    return (*KINDS, *lesions, *(f"{AGAIN}-{more}" for more in range(1, _realisations(data, number))))


def _realisations(data: PhantomData, number: int) -> int:
    """How often the slice `number` of a patient is scanned at low dose."""
    return data.realisations if data.realisations is not UNSET and number == data.slices // 2 else 1


def phantom_dataset(data: PhantomData, slices: Mapping[str, Scanned], folder: Path) -> Dataset:
    """The test set of a phantom whose images lie in `folder` as `slice_path` says.

    Its digest follows from what is known of the slices: names, pixel sizes, window and digests.
    """
    cases: list[Case] = []
    further: list[FurtherSlice] = []
    people: dict[str, str] = {}
    parts: list[bytes] = []
    for name, (patient, number) in places(data).items():
        one = slices[name]
        paths = {kind: str(folder / slice_path(kind, name)) for kind in image_kinds(data, number)}
        own: dict[str, Any] = {kind: paths[kind] for kind in KINDS}
        who = f"p{patient + 1:02d}"
        # In order, without positions: a plane that is not evenly spaced would tell a container of a nodule.
        cases.append(Case(name=name, patient=who, series=who, pixel_mm=one.pixel_mm, **own))
        further += _further(cases[-1], paths)
        people[cases[-1].patient] = digest_json(["phantom", data.seed, patient, _view(data, patient)])
        parts += [name.encode(), repr((one.pixel_mm, one.window_hu)).encode(), one.digest.encode()]
    return Dataset(
        cases=tuple(cases),
        further=tuple(further),
        window_hu=slices[cases[0].name].window_hu,
        bits=data.bits,
        digest=digest_bytes(*parts),
        people=people,
        pixels={name: slices[name].images for name in places(data)},
        slices={name: slices[name].digest for name in places(data)},
        lesions=() if data.lesions is UNSET else data.lesions.conditions,
        sites={} if data.lesions is UNSET else {name: slices[name].sites for name in places(data)},
    )


def _further(case: Case, paths: Mapping[str, str]) -> Iterator[FurtherSlice]:
    """The further slices of a case, of whose images the paths are given by kind."""
    for kind, path in paths.items():
        what: FurtherKind = "lesions" if kind == LESIONS else "again"
        if kind not in (*KINDS, LESIONS_GT):
            yield FurtherSlice(
                name=f"{case.name}-{kind}",
                of=case.name,
                kind=what,
                lq=path,
                aligned_gt=paths[LESIONS_GT] if kind == LESIONS else None,
                pixel_mm=case.pixel_mm,
            )


def slice_digest(images: Mapping[str, Image], sites: Sequence[Site]) -> str:
    """The digest of all that a slice consists of: its images by kind and, where it is scanned with lesions, the sites.

    Nobody can try sites until they fit without the pixels, so that the digest of a secret seed's slice tells nothing.
    """
    parts = [pixel_bytes(images[kind]) for kind in KINDS]
    for kind in sorted(images.keys() - set(KINDS)):
        parts += [kind.encode(), pixel_bytes(images[kind])]
    return digest_bytes(*parts, *([canonical_json(sites)] if LESIONS in images else []))


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
    from harness.phantom import levels_with_nodules, make_patient, scan_plane

    assert isinstance(data.seed, int), "load_data replaces a commitment with its secret seed"
    person = make_patient(data.seed, patient, view=_view(data, patient))
    heights = levels_with_nodules(person, data.slices, nodule_slices=data.nodule_slices)
    lesions = data.lesions
    scans = scan_plane(
        person,
        heights[number],
        size=data.size,
        dose=data.dose,
        window_hu=data.window if data.bits == 8 else HU16,
        bits=data.bits,
        lesions=() if lesions is UNSET else lesions.conditions,
        most=0 if lesions is UNSET else lesions.sites,
        realisations=_realisations(data, number),
    )
    images = _images(scans)
    assert tuple(images) == image_kinds(data, number)
    facts = Scanned(
        pixel_mm=scans.usual.pixel_mm,
        window_hu=data.window,
        digest=slice_digest(images, scans.sites),
        images={kind: digest_pixels(image) for kind, image in images.items()},
        sites=scans.sites,
    )
    return keep_slice(Path(folder), name, images, facts)


def _images(scans: PlaneScans) -> dict[str, Image]:
    """The images of a slice by kind, in the order of `image_kinds`."""
    images = {kind: getattr(scans.usual, kind) for kind in KINDS}
    if scans.lesions_lq is not None and scans.lesions_gt is not None:
        images |= {LESIONS: scans.lesions_lq, LESIONS_GT: scans.lesions_gt}
    return images | {f"{AGAIN}-{more}": image for more, image in enumerate(scans.again, start=1)}
