"""Training pairs: slice pairs -> purified pairs, `lq_bar` -> `gt`, in the authors' layout."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.code_digest import digest_code
from harness.base.digests import digest_json, digest_pixels
from harness.base.errors import UsageError
from harness.base.files import cache_root, refuse_existing, write_bytes
from harness.base.progress import Progress
from harness.base.slice_cache import Refused, make_slices, notes_folder
from harness.base.slices import read_image
from harness.base.structs import Strict, write_json
from harness.dataset.cases import Case, Dataset
from harness.dataset.fingerprints import TRAINED_ON, fingerprints, write_fingerprints
from harness.imaging import insertion, noise
from harness.imaging.blend import STRATEGIES, training_input
from harness.imaging.draws import generator
from harness.imaging.hounsfield import own_window
from harness.labels.noise_fit import refuse_uncalibrated
from harness.labels.recipe import (
    Purified,
    implausible_slices,
    keep,
    manifest,
    mask_of,
    quality_of,
    refuse_unpurified,
)
from harness.protocol import Purify

Image = NDArray[np.uint8]


class Written(Strict, frozen=True, kw_only=True):
    """What `write_pairs` wrote: the number of pairs, a line for every slice left out, and a line for every slice whose
    purification looks wrong."""

    count: int
    left_out: tuple[str, ...]
    implausible: tuple[str, ...]


def write_pairs(
    dataset: Dataset,
    purify: Purify,
    folder: Path,
    *,
    seed: int,
    leave_out: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write training pairs in the authors' layout: inputs `lq_bar/`, targets `gt/` and a `manifest.json`.

    The fingerprints of the source slices (`harness.dataset.fingerprints`) are added for the submission that is trained
    on the pairs. All cores are used. A killed run leaves its finished slices beside `folder`; the same call resumes it.
    Every slice draws its noise from `seed` and its own name, and so does not depend on the others.
    UsageError where `folder` exists, the data lack what the noise needs, or slices cannot be purified and `leave_out`
    is false.
    """
    refuse_existing(folder)
    if STRATEGIES[purify.strategy].add_noise and purify.variant == "published" and dataset.bits == 16:
        raise UsageError(
            "published Add Noise stretches 8-bit slices, and has no scale in HU, while the data are in HU",
            fix="state purify.variant: corrected, or strategy: rb, which adds no noise",
        )
    if STRATEGIES[purify.strategy].add_noise and purify.variant == "corrected":
        refuse_uncalibrated(dataset)
        if purify.noise is None:
            raise UsageError(
                "corrected Add Noise needs purify.noise: the normal-dose slices' scanner and the dose to simulate",
                fix="state it in the protocol, or fit it to your own slices: harness noise",
            )
    part = folder.with_name(f".{folder.name}.{_key(dataset, purify, seed)[:12]}.part")
    tasks = {case.name: (case, purify, seed, dataset.window_hu) for case in dataset.cases}
    slices, refused = make_slices(part, tasks, _make, Purified, progress=progress)
    if not leave_out or not slices:
        refuse_unpurified(refused, "remove them, or leave them out with --leave-out; finished slices are kept")
    write_json(part / "manifest.json", manifest(dataset, purify, slices, seed=seed, left_out=refused))
    write_fingerprints(part / TRAINED_ON, fingerprints(dataset))
    shutil.rmtree(notes_folder(part))
    part.rename(folder)
    return Written(
        count=len(slices),
        left_out=tuple(f"{name}: {reason}" for name, reason in refused.items()),
        implausible=tuple(implausible_slices(slices, purify)),
    )


def _key(dataset: Dataset, purify: Purify, seed: int) -> str:
    libraries = [version(name) for name in ("numpy", "opencv-python-headless", "scipy")]
    code = digest_code("harness.labels.training_pairs")
    return digest_json({"purify": purify, "data": dataset.digest, "seed": seed, "code": code, "libraries": libraries})


def _make(
    case: Case, purify: Purify, seed: int, window_hu: tuple[float, float] | None, folder: str
) -> Purified | Refused:
    """Write the pair of one slice."""
    low, normal = read_image(Path(case.lq)), read_image(Path(case.gt))
    try:
        mask = mask_of(case, low, normal, purify, window_hu=window_hu)
        noisy = _with_noise(case, normal, purify, seed, window_hu) if STRATEGIES[purify.strategy].add_noise else None
    except ValueError as error:
        return Refused(reason=str(error))
    image = training_input(purify.strategy, mask, low=low, normal=normal, noisy=noisy)
    line = quality_of(case, mask, image, purify, low=low, normal=normal, window_hu=window_hu)
    return keep(Path(folder), case.name, {"lq_bar": image, "gt": normal}, line=line)


def _with_noise(case: Case, normal: Image, purify: Purify, seed: int, window_hu: tuple[float, float] | None) -> Image:
    """The noisy slice N(B) of the recipe's variant, drawn from `seed` and the slice's name."""
    own = int.from_bytes(hashlib.sha256(f"{seed}/{case.name}".encode()).digest()[:4])
    if purify.variant == "published":
        sinogram = _sinogram(lambda: noise.project(normal), "published", normal)
        return noise.add_noise(sinogram, rng=np.random.RandomState(own))
    assert window_hu is not None, "refuse_uncalibrated"
    assert case.pixel_mm is not None, "refuse_uncalibrated"
    assert purify.noise is not None, "refuse_uncalibrated"
    window, pixel_mm = own_window(normal, window_hu), case.pixel_mm
    sinogram = _sinogram(
        lambda: insertion.line_integrals(normal, window_hu=window, pixel_mm=pixel_mm),
        "corrected",
        normal,
        (window, pixel_mm),
    )
    return insertion.insert_noise(
        normal,
        window_hu=window,
        pixel_mm=pixel_mm,
        sinogram=sinogram,
        scanner=purify.noise.scanner,
        dose=purify.noise.dose,
        rng=generator(own),
    )


def _sinogram(
    project: Callable[[], NDArray[np.floating]], variant: str, normal: Image, scale: Any = None
) -> NDArray[Any]:
    """A slice's sinogram, cached because projection is the slowest step and all doses and seeds share it."""
    code = digest_code("harness.imaging.noise", "harness.imaging.insertion")
    key = digest_json([digest_pixels(normal), variant, scale, code])
    path = cache_root() / "sinograms" / f"{key[:20]}.npz"
    try:
        with np.load(path) as kept:
            found: NDArray[Any] = kept["sinogram"]
            return found
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # not there, or damaged: an npz carries checksums
    sinogram = project()
    buffer = io.BytesIO()
    np.savez(buffer, sinogram=sinogram)
    write_bytes(path, buffer.getvalue())
    return sinogram
