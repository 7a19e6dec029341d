"""Pairs: slice pairs -> purified training pairs, `lq_bar` -> `gt`, in the authors' layout."""

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

from harness.data import Case, Dataset
from harness.errors import UsageError
from harness.files import (
    Strict,
    cache_root,
    digest_code,
    digest_json,
    digest_pixels,
    read_grey,
    write_bytes,
    write_json,
)
from harness.imaging import insertion, noise
from harness.imaging.blend import STRATEGIES, training_input
from harness.imaging.noise_fit import Fit, fit_scanner, training_dose
from harness.labels import refuse_existing
from harness.process import part_of
from harness.protocol import Noise, Purify
from harness.purify import (
    Progress,
    Purified,
    Refused,
    build_slices,
    implausible_slices,
    keep,
    manifest,
    mask_of,
    notes_folder,
    quality_of,
    refuse_slices,
)
from harness.training import TRAINED_ON, fingerprints, write_fingerprints

Image = NDArray[np.uint8]


class Written(Strict, frozen=True, kw_only=True):
    """What `write_pairs` wrote: how many pairs, a line for every slice that was left out, and for every slice whose
    purification does not look right."""

    count: int
    left_out: tuple[str, ...]
    implausible: tuple[str, ...]


class NoiseFit(Strict, frozen=True, kw_only=True):
    """What the noise of a data set's slices says of the scanner: the noise to insert into its normal-dose slices, and
    how well both fits imitate the slices that they were made from."""

    noise: Noise
    low: Fit
    normal: Fit


def fit_noise(dataset: Dataset, *, slices: int, seed: int, progress: Progress | None = None) -> NoiseFit:
    """Fit scanner and dose to so many of a data set's slices, evenly spaced (`harness.imaging.noise_fit`).

    UsageError where window or pixel size is unknown, or the slices do not tell (too few, too little smooth tissue, no
    less noise at normal dose).
    """
    _check_calibration(dataset)
    chosen = [dataset.cases[index] for index in np.linspace(0, len(dataset.cases) - 1, slices).round().astype(int)]
    chosen = list(dict.fromkeys(chosen))
    assert dataset.window_hu is not None, "_check_calibration"
    fits = []
    try:
        for position, kind in enumerate(("lq", "gt")):
            fits.append(
                fit_scanner(
                    [read_grey(Path(getattr(case, kind))) for case in chosen],
                    window_hu=dataset.window_hu,
                    pixel_mm=[case.pixel_mm for case in chosen if case.pixel_mm is not None],
                    seed=seed,
                    progress=part_of(progress, position, 2),
                )
            )
        scanner, dose = training_dose(*fits)
    except ValueError as error:
        raise UsageError(
            f"the scanner cannot be told from these slices: {error}", fix="give more or other slices"
        ) from error
    return NoiseFit(noise=Noise(dose=dose, scanner=scanner), low=fits[0], normal=fits[1])


def write_pairs(
    dataset: Dataset,
    purify: Purify,
    folder: Path,
    *,
    seed: int,
    leave_out: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write training pairs as the authors lay them out: inputs `lq_bar/`, targets `gt/`, a `manifest.json`, and the
    fingerprints of what they were made of (`harness.training`), for the submission that is trained on them.

    All cores are used. A run that was killed left what it had finished beside `folder`; the same call goes on with it.
    Every slice draws its noise from `seed` and its own name, so that a slice is the same whatever others there are.
    UsageError where `folder` exists, the data lack what the noise needs, or slices cannot be purified and are not to
    be left out.
    """
    refuse_existing(folder)
    if STRATEGIES[purify.strategy].add_noise and purify.variant == "corrected":
        _check_calibration(dataset)
        if purify.noise is None:
            raise UsageError(
                "corrected Add Noise needs purify.noise: the normal-dose slices' scanner and the dose to simulate",
                fix="state it in the protocol, or fit it to your own slices: harness noise",
            )
    part = folder.with_name(f".{folder.name}.{_key(dataset, purify, seed)[:12]}.part")
    slices, refused = build_slices(
        part, dataset.cases, _make, lambda _: (purify, seed, dataset.window_hu), progress=progress
    )
    if not leave_out or not slices:
        refuse_slices(refused, "remove them, or leave them out with --leave-out; what is finished is kept")
    write_json(part / "manifest.json", manifest(dataset, purify, slices, seed=seed, left_out=refused))
    write_fingerprints(part / TRAINED_ON, fingerprints(dataset))
    shutil.rmtree(notes_folder(part))
    part.rename(folder)
    return Written(
        count=len(slices),
        left_out=tuple(f"{name}: {reason}" for name, reason in refused.items()),
        implausible=tuple(implausible_slices(slices, purify)),
    )


def _check_calibration(dataset: Dataset) -> None:
    lacking = []
    if dataset.window_hu is None:
        lacking.append("the window in HU (data.window_hu)")
    if any(case.pixel_mm is None for case in dataset.cases):
        lacking.append("the pixel size in mm (data.pixel_mm)")
    if lacking:
        raise UsageError(
            f"corrected Add Noise works on calibrated attenuation and lacks {' and '.join(lacking)}",
            fix="state it in the protocol",
        )


def _key(dataset: Dataset, purify: Purify, seed: int) -> str:
    libraries = [version(name) for name in ("numpy", "opencv-python-headless", "scipy")]
    code = digest_code("harness.imaging", "harness.purify", "harness.pairs")
    return digest_json({"purify": purify, "data": dataset.digest, "seed": seed, "code": code, "libraries": libraries})


def _make(
    case: Case, purify: Purify, seed: int, window_hu: tuple[float, float] | None, folder: str
) -> Purified | Refused:
    """Write the pair of one slice."""
    low, normal = read_grey(Path(case.lq)), read_grey(Path(case.gt))
    try:
        mask = mask_of(case, low, normal, purify, window_hu=window_hu)
        noisy = _with_noise(case, normal, purify, seed, window_hu) if STRATEGIES[purify.strategy].add_noise else None
    except ValueError as error:
        return Refused(reason=str(error))
    image = training_input(purify.strategy, mask, low=low, normal=normal, noisy=noisy)
    line = quality_of(case, mask, image, low=low, normal=normal, window_hu=window_hu)
    return keep(Path(folder), case.name, {"lq_bar": image, "gt": normal}, line=line)


def _with_noise(case: Case, normal: Image, purify: Purify, seed: int, window_hu: tuple[float, float] | None) -> Image:
    """N(B) of the recipe's variant, drawn from `seed` and the slice's name."""
    own = int.from_bytes(hashlib.sha256(f"{seed}/{case.name}".encode()).digest()[:4])
    if purify.variant == "published":
        sinogram = _sinogram(lambda: noise.project(normal), "published", normal)
        return noise.add_noise(sinogram, rng=np.random.RandomState(own))
    assert window_hu is not None, "_check_calibration"
    assert case.pixel_mm is not None, "_check_calibration"
    assert purify.noise is not None, "_check_calibration"
    window, pixel_mm = window_hu, case.pixel_mm
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
        rng=np.random.default_rng(own),
    )


def _sinogram(
    project: Callable[[], NDArray[np.floating]], variant: str, normal: Image, scale: Any = None
) -> NDArray[Any]:
    """A slice's sinogram, kept in the cache: the projection takes longest, and every dose and seed share it."""
    code = digest_code("harness.imaging.tomography", "harness.imaging.noise", "harness.imaging.insertion")
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
