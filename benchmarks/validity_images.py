"""The images of docs/validity.md: planes without and with lesions, and what every denoiser makes of both; all kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from benchmarks.battery import DENOISERS, LEARNED
from benchmarks.observer import CONDITIONS, MOST, Seen, outputs
from benchmarks.train import ROOT
from harness.base.code_digest import digest_code
from harness.base.digests import digest_bytes, digest_file, digest_json
from harness.base.files import cache_root
from harness.base.progress import Progress
from harness.base.slice_cache import find_slice, keep_slice, make_slices, read_facts, slice_path
from harness.base.slices import read_grey
from harness.base.structs import Strict
from harness.base.workers import map_slices
from harness.dataset.cases import KINDS, Case, Dataset
from harness.dataset.from_phantom import places
from harness.imaging.lesion import Site
from harness.observer.detection import Outputs
from harness.observer.hotelling import CHANNELS
from harness.phantom import levels_with_nodules, make_patient
from harness.phantom.lesions import scan_lesions
from harness.protocol import PhantomData

LESIONS = "lesions"  # beside KINDS: the low-dose scan with lesions


class Planted(Strict, frozen=True, kw_only=True):
    """What is known of a plane: digest of all its images, and where its lesions are."""

    pixel_mm: float
    window_hu: tuple[float, float]
    digest: str
    sites: tuple[Site, ...]


class Kept(Strict, frozen=True, kw_only=True):
    """`harness.observer.detection.Outputs` as plain numbers."""

    hotelling: list[list[float]]
    eye: list[list[list[float]]]


class Looked(Strict, frozen=True, kw_only=True):
    """Of one denoiser and plane: for each condition what the observers keep of the images without and with lesions."""

    conditions: tuple[tuple[Kept, Kept], ...]


class Planes(NamedTuple):
    """The population: its planes without lesions, and by name their scans with lesions and the sites of these."""

    dataset: Dataset
    lesions: Mapping[str, Path]
    sites: Mapping[str, tuple[Site, ...]]


# -------------------------------------------------------------------------------- planes
def population(data: PhantomData, progress: Progress | None = None) -> Planes:
    """Every plane scanned without and with lesions of all CONDITIONS; found in the cache, or scanned."""
    code = digest_code("harness.phantom")
    folder = cache_root() / "validity" / f"planes-{digest_json([data, CONDITIONS, MOST, code])[:20]}"
    tasks = {name: (name, data, *place) for name, place in places(data).items()}
    planted, _ = make_slices(folder, tasks, _scan, Planted, progress=progress)
    cases = []
    for name, (patient, _) in places(data).items():
        paths: dict[str, Any] = {kind: str(folder / slice_path(kind, name)) for kind in KINDS}
        cases.append(Case(name=name, patient=f"p{patient + 1:02d}", pixel_mm=planted[name].pixel_mm, **paths))
    dataset = Dataset(
        cases=tuple(cases),
        window_hu=planted[cases[0].name].window_hu,
        digest=digest_bytes(*(f"{name} {one.digest}".encode() for name, one in planted.items())),
    )
    lesions = {name: folder / slice_path(LESIONS, name) for name in planted}
    return Planes(dataset, lesions, {name: one.sites for name, one in planted.items()})


def _scan(name: str, data: PhantomData, patient: int, number: int, folder: str) -> Planted:
    assert isinstance(data.seed, int)
    person = make_patient(data.seed, patient)
    level = levels_with_nodules(person, data.slices, nodule_slices=data.nodule_slices)[number]
    scans = scan_lesions(person, level, size=data.size, dose=data.dose, lesions=CONDITIONS, most=MOST)
    images = {kind: getattr(scans.absent, kind) for kind in KINDS} | {LESIONS: scans.present.lq}
    facts = Planted(
        pixel_mm=scans.absent.pixel_mm,
        window_hu=scans.absent.window_hu,
        digest=digest_bytes(*(image.tobytes() for image in images.values())),
        sites=scans.sites,
    )
    return keep_slice(Path(folder), name, images, facts)


# -------------------------------------------------------------------------------- denoising
def denoised(planes: Planes, names: Sequence[str], progress: Progress | None = None) -> dict[str, Path]:
    """Denoiser -> the folder of its outputs, one PNG a plane (`output_path`); those that are missing are made.

    Kept under the weights of today: a network that was trained again denoises again, the others do not.
    """
    folders = {name: cache_root() / "validity" / "outputs" / _key(planes.dataset, name) for name in names}
    tasks = []
    for case in planes.dataset.cases:
        there = {name for name in names if find_slice(folders[name], case.name, Looked) is not None}
        missing = {name: str(folders[name]) for name in names if name not in there}
        if missing:
            tasks.append((case, str(planes.lesions[case.name]), planes.sites[case.name], missing))
    map_slices(_denoise, tasks, progress=progress)
    return folders


def output_path(folder: Path, case: Case) -> Path:
    return folder / slice_path("outputs", case.name)


def seen(planes: Planes, folders: Mapping[str, Path]) -> list[Seen]:
    """For each plane what the observers see of it in the images of every denoiser, as `benchmarks.observer.measure`
    takes it."""
    return [
        {
            name: [(_arrays(absent), _arrays(present)) for absent, present in looked.conditions]
            for name, folder in folders.items()
            for looked in [read_facts(folder, case.name, Looked)]
        }
        for case in planes.dataset.cases
    ]


def _denoise(case: Case, lesions: str, sites: tuple[Site, ...], folders: Mapping[str, str]) -> None:
    """One plane by every denoiser that lacks it."""
    cv2.setNumThreads(1)
    absent, present = read_grey(Path(case.lq)), read_grey(Path(lesions))
    assert case.pixel_mm is not None
    found = {}
    for image, kind in ((absent, "absent"), (present, "present")):  # denoisers share what they compute of one image
        for name in folders:
            found[name, kind] = DENOISERS[name](image)
    for name, folder in folders.items():
        pairs = outputs(found[name, "absent"], found[name, "present"], sites, pixel_mm=case.pixel_mm)
        looked = Looked(conditions=tuple((_plain(one), _plain(other)) for one, other in pairs))
        keep_slice(Path(folder), case.name, {"outputs": found[name, "absent"]}, looked)


def _key(dataset: Dataset, name: str) -> str:
    own = [ROOT / "benchmarks" / "battery.py", ROOT / "benchmarks" / "spoils.py"]
    if name in LEARNED:
        own += [ROOT / "submissions" / name / file for file in ("model.py", "weights.safetensors")]
    code = digest_code("harness.labels.battery", "harness.imaging.segment", "harness.phantom", "harness.observer")
    return digest_json([dataset.digest, name, code, *map(digest_file, own)])[:20]


def _plain(of: Outputs) -> Kept:
    return Kept(hotelling=of.hotelling.tolist(), eye=of.eye.tolist())


def _arrays(kept: Kept) -> Outputs:
    return Outputs(np.reshape(kept.hotelling, (-1, CHANNELS)), np.reshape(kept.eye, (-1, 2, CHANNELS)))
