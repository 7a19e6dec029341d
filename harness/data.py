"""Data: Protocol -> slice pairs on disk (phantom or folder)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.files import (
    Strict,
    cache_root,
    digest_bytes,
    digest_code,
    digest_file,
    digest_json,
    expand_variables,
    read_grey,
    read_json,
    write_grey,
    write_json,
)
from harness.process import map_slices
from harness.protocol import FolderData, PhantomData, Protocol
from harness.secret import find_secret

if TYPE_CHECKING:
    from harness.phantom import View

Progress = Callable[[int, int], None]
KINDS = ("lq", "gt", "truth", "again", "regions")  # the images of a phantom's slice, as `Case` names them
NAMED_AT_MOST = 8  # offenders that an error message lists before it only counts


class NoisySlice(Strict, frozen=True, kw_only=True):
    """What a run may know of one slice: `lq` leads to an 8-bit grey PNG, whose pixels are `pixel_mm` wide."""

    name: str
    lq: str
    pixel_mm: float | None = None


class Case(NoisySlice, frozen=True, kw_only=True):
    """One slice of a test set; the paths lead to 8-bit grey PNGs of one size.

    `truth` is the noise-free reference aligned with `lq`, `again` another normal-dose scan aligned with it, and
    `regions` the label map of the low-dose slice (codes of `harness.imaging.regions`); only the phantom has them.
    """

    patient: str
    gt: str
    truth: str | None = None
    again: str | None = None
    regions: str | None = None


class Inputs(Strict, frozen=True, kw_only=True):
    """The noisy slices of a test set, which are all that a run needs of it: a machine that runs strangers' containers
    need hold no answer. `window_hu` is the HU of grey 0 and of grey 255.

    `digest` is the whole test set's. `names_key` keys the names that containers see where the protocol has a secret;
    else they are keyed by the installation.
    """

    cases: tuple[NoisySlice, ...]
    window_hu: tuple[float, float] | None
    digest: str
    names_key: bytes | None = None


class Dataset(Inputs, frozen=True, kw_only=True):
    """A checked test set. `digest` covers names, patients, the pixels of every image, window and pixel sizes.

    `people` holds, for patients that are known beyond a name (the phantom's), a digest of what makes them by name.
    """

    cases: tuple[Case, ...]
    people: dict[str, str] = msgspec.field(default_factory=dict)


def load_data(
    protocol: Protocol, *, leaderboard: Path = Path("leaderboard"), progress: Progress | None = None
) -> Dataset:
    """The test set of a protocol: built or found in the cache (phantom), or read and checked (folder).

    `leaderboard` is where a secret seed may have been disclosed. UsageError names the files that do not fit, or the
    secret that is not here; a damaged cached set is built again.
    """
    if isinstance(protocol.data, PhantomData):
        secret = find_secret(protocol, leaderboard, os.environ)
        if secret is None:
            return _phantom(protocol.data, progress)
        dataset = _phantom(msgspec.structs.replace(protocol.data, seed=secret.seed), progress)
        return msgspec.structs.replace(dataset, names_key=secret.names_key)
    return _folder(protocol.data, protocol.name)


def first_cases(dataset: Dataset, count: int) -> Dataset:
    """The first `count` slices of a set, as a set of its own (for a check, not for scores)."""
    digest = digest_bytes(dataset.digest.encode(), str(count).encode())
    return msgspec.structs.replace(dataset, cases=dataset.cases[:count], digest=digest)


# ------------------------------------------------------------------------------------------------ phantom
class _Slice(Strict, frozen=True, kw_only=True):
    """The note of a cached slice: what is known of it, and the SHA-256 of each of its files."""

    pixel_mm: float
    window_hu: tuple[float, float]
    digest: str  # of the pixels of all its images
    files: dict[str, str]


def _phantom(data: PhantomData, progress: Progress | None) -> Dataset:
    """The phantom's slices from the cache; those that are missing or damaged there are scanned (again)."""
    key = digest_json({"data": data, "code": digest_code("harness.phantom", "harness.imaging.tomography")})
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


# ------------------------------------------------------------------------------------------------ folder
def _folder(data: FolderData, protocol: str) -> Dataset:
    root = Path(expand_variables(data.path, where=f"protocol {protocol}, data.path")).expanduser()
    for kind in ("lq", "gt"):
        if not (root / kind).is_dir():
            raise UsageError(
                f"{root / kind}: no such folder", fix="lay the data out as lq/*.png and gt/*.png with the same names"
            )
    names = {kind: {path.name for path in (root / kind).glob("*.png")} for kind in ("lq", "gt")}
    refuse(
        [str(root / "gt" / name) for name in sorted(names["lq"] - names["gt"])]
        + [str(root / "lq" / name) for name in sorted(names["gt"] - names["lq"])],
        "have no partner: each slice needs lq/NAME.png and gt/NAME.png; missing",
    )
    if not names["lq"]:
        raise UsageError(f"{root / 'lq'}: holds no .png", fix="lay the data out as lq/*.png and gt/*.png")
    patient = _patient_pattern(data.patient, protocol)
    cases: list[Case] = []
    sizes: list[str] = []
    constant: list[str] = []
    parts = [repr((data.window_hu, data.pixel_mm)).encode()]
    for name in sorted(names["lq"]):
        paths = [root / "lq" / name, root / "gt" / name]
        images: list[NDArray[np.uint8]] = [read_grey(path) for path in paths]
        if images[0].shape != images[1].shape:
            sizes.append(f"{paths[0]} {images[0].shape} but {paths[1]} {images[1].shape}")
        constant += [str(path) for path, image in zip(paths, images, strict=True) if image.min() == image.max()]
        stem = Path(name).stem
        case = Case(name=stem, patient=patient(stem), lq=str(paths[0]), gt=str(paths[1]), pixel_mm=data.pixel_mm)
        cases.append(case)
        parts += [stem.encode(), case.patient.encode(), repr(images[0].shape).encode(), *(i.tobytes() for i in images)]
    refuse(sizes, "differ in size (height, width)")
    refuse(constant, "are constant images, which no scanner makes")
    return Dataset(cases=tuple(cases), window_hu=data.window_hu, digest=digest_bytes(*parts))


def _patient_pattern(pattern: str | None, protocol: str) -> Callable[[str], str]:
    if pattern is None:
        return lambda stem: stem
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"protocol {protocol}, data.patient: {pattern!r}: {error}") from None
    if compiled.groups < 1:
        raise UsageError(f"protocol {protocol}, data.patient: {pattern!r} has no group (...) for the patient")

    def patient(stem: str) -> str:
        match = compiled.match(stem)
        if match is None:
            raise UsageError(f"slice {stem!r} does not match data.patient {pattern!r} of protocol {protocol}")
        return match.group(1)

    return patient


def refuse(offenders: list[str], problem: str, fix: str = "mend or remove them") -> None:
    """UsageError that names the slices that have a problem; nothing where there are none."""
    if offenders:
        listed = "\n  ".join(offenders[:NAMED_AT_MOST])
        more = f"\n  and {len(offenders) - NAMED_AT_MOST} more" if len(offenders) > NAMED_AT_MOST else ""
        raise UsageError(f"{len(offenders)} slices {problem}:\n  {listed}{more}", fix=fix)
