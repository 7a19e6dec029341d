"""The embedded phantom's slices, scanned once and kept in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.base.code_digest import digest_code
from harness.base.digests import digest_bytes, digest_file, digest_json
from harness.base.errors import UsageError
from harness.base.files import cache_root
from harness.base.slices import write_grey
from harness.base.structs import Strict, read_json, write_json
from harness.base.workers import map_slices
from harness.protocol import PhantomData

if TYPE_CHECKING:
    from harness.phantom import View
from harness.base.progress import Progress
from harness.dataset.cases import Case, Dataset

KINDS = ("lq", "gt", "truth", "again", "regions")  # the images of a phantom's slice, as `Case` names them


class _Slice(Strict, frozen=True, kw_only=True):
    """The note of a cached slice: what is known of it, and the SHA-256 of each of its files."""

    pixel_mm: float
    window_hu: tuple[float, float]
    digest: str  # of the pixels of all its images
    files: dict[str, str]


def phantom_slices(data: PhantomData, progress: Progress | None) -> Dataset:
    """The phantom's slices from the cache; those that are missing or damaged there are scanned (again)."""
    key = digest_json({"data": data, "code": digest_code("harness.phantom")})
    folder = cache_root() / "data" / f"phantom-{key[:20]}"
    places = {
        f"p{patient + 1:02d}-s{number + 1:02d}": (patient, number)
        for patient in range(data.patients)
        for number in range(data.slices)
    }
    slices = {name: note for name in places if (note := _intact(folder, name)) is not None}
    missing = [name for name in places if name not in slices]
    total, before = len(places), len(slices)
    made = map_slices(
        _build_slice,
        [(data, *places[name], name, str(folder)) for name in missing],
        progress=None if progress is None else lambda done, _: progress(before + done, total),
    )
    slices |= dict(zip(missing, made, strict=True))
    cases: list[Case] = []
    people: dict[str, str] = {}
    parts: list[bytes] = []
    for name, (patient, _) in places.items():
        one = slices[name]
        paths = {kind: str(folder / _file(kind, name)) for kind in KINDS}
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


def _file(kind: str, name: str) -> str:
    return f"{kind}/{name}.png"


def _note(folder: Path, name: str) -> Path:
    return folder / "slices" / f"{name}.json"


def _intact(folder: Path, name: str) -> _Slice | None:
    """The note of a cached slice, if all its files are as the note says."""
    try:
        note = read_json(_note(folder, name), _Slice)
        if all(digest_file(folder / path) == digest for path, digest in note.files.items()):
            return note
    except (UsageError, OSError):
        pass  # missing or unreadable: made again
    return None


def _build_slice(data: PhantomData, patient: int, number: int, name: str, folder: str) -> _Slice:
    """Scan one slice and write its images, then the note of them."""
    from harness.phantom import levels_with_nodules, make_patient, scan_slice

    assert isinstance(data.seed, int), "load_data has put the secret seed in the place of its commitment"
    person = make_patient(data.seed, patient, view=_view(data, patient))
    heights = levels_with_nodules(person, data.slices, nodule_slices=data.nodule_slices)
    images = scan_slice(person, heights[number], size=data.size, dose=data.dose)
    parts = {kind: getattr(images, kind) for kind in KINDS}
    for kind, image in parts.items():
        write_grey(Path(folder) / _file(kind, name), image)
    note = _Slice(
        pixel_mm=images.pixel_mm,
        window_hu=images.window_hu,
        digest=digest_bytes(*(image.tobytes() for image in parts.values())),
        files={path: digest_file(Path(folder) / path) for path in (_file(kind, name) for kind in KINDS)},
    )
    write_json(_note(Path(folder), name), note)
    return note
