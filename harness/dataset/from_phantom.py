"""The embedded phantom's slices, scanned once and kept in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.base.code_digest import digest_code
from harness.base.digests import digest_bytes, digest_json
from harness.base.files import cache_root
from harness.base.progress import Progress
from harness.base.slice_cache import keep_slice, make_slices, slice_path
from harness.base.structs import Strict
from harness.dataset.cases import Case, Dataset
from harness.protocol import PhantomData

if TYPE_CHECKING:
    from harness.phantom import View

KINDS = ("lq", "gt", "truth", "aligned_gt", "regions")  # the images of a phantom's slice, as `Case` names them


class _Scanned(Strict, frozen=True, kw_only=True):
    """What is known of a scanned slice."""

    pixel_mm: float
    window_hu: tuple[float, float]
    digest: str  # of the pixels of all its images


def phantom_slices(data: PhantomData, progress: Progress | None) -> Dataset:
    """The phantom's slices from the cache, scanned there first if they are missing or damaged."""
    key = digest_json({"data": data, "code": digest_code("harness.phantom")})
    folder = cache_root() / "data" / f"phantom-{key[:20]}"
    places = {
        f"p{patient + 1:02d}-s{number + 1:02d}": (patient, number)
        for patient in range(data.patients)
        for number in range(data.slices)
    }
    tasks = {name: (name, data, *place) for name, place in places.items()}
    slices, _ = make_slices(folder, tasks, _scan, _Scanned, progress=progress)
    cases: list[Case] = []
    people: dict[str, str] = {}
    parts: list[bytes] = []
    for name, (patient, _) in places.items():
        one = slices[name]
        paths = {kind: str(folder / slice_path(kind, name)) for kind in KINDS}
        cases.append(Case(name=name, patient=f"p{patient + 1:02d}", pixel_mm=one.pixel_mm, **paths))
        people[cases[-1].patient] = digest_json(["phantom", data.seed, patient, _view(data, patient)])
        parts += [name.encode(), repr((one.pixel_mm, one.window_hu)).encode(), one.digest.encode()]
    window_hu = slices[next(iter(places))].window_hu
    return Dataset(cases=tuple(cases), window_hu=window_hu, digest=digest_bytes(*parts), people=people)


def _view(data: PhantomData, patient: int) -> View:
    """The field of view of a patient's scans."""
    if data.view != "mixed":
        return data.view
    from harness.phantom import VIEWS

    difficult = [view for view in VIEWS if view != "full"]
    return difficult[patient % len(difficult)]


def _scan(name: str, data: PhantomData, patient: int, number: int, folder: str) -> _Scanned:
    """Scan one slice and keep its images."""
    from harness.phantom import levels_with_nodules, make_patient, scan_slice

    assert isinstance(data.seed, int), "load_data replaces a commitment with its secret seed"
    person = make_patient(data.seed, patient, view=_view(data, patient))
    heights = levels_with_nodules(person, data.slices, nodule_slices=data.nodule_slices)
    scanned = scan_slice(person, heights[number], size=data.size, dose=data.dose, window_hu=data.window_hu)
    images = {kind: getattr(scanned, kind) for kind in KINDS}
    facts = _Scanned(
        pixel_mm=scanned.pixel_mm,
        window_hu=scanned.window_hu,
        digest=digest_bytes(*(image.tobytes() for image in images.values())),
    )
    return keep_slice(Path(folder), name, images, facts)
