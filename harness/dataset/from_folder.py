"""Slice pairs from a folder in the authors' layout: lq/NAME.png and gt/NAME.png."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.base.digests import digest_bytes, digest_pixels
from harness.base.errors import UsageError
from harness.base.slices import read_grey
from harness.base.structs import expand_variables
from harness.dataset.cases import Case, Dataset, refuse_slices
from harness.protocol import FolderData


def folder_slices(data: FolderData, protocol: str) -> Dataset:
    """The slice pairs of a folder, read and checked; `protocol` is the protocol's name for messages.

    UsageError names the folder, or the files that lack a partner, differ in size, are constant or cannot be read.
    """
    root = Path(expand_variables(data.path, where=f"protocol {protocol}, data.path")).expanduser()
    for kind in ("lq", "gt"):
        if not (root / kind).is_dir():
            raise UsageError(
                f"{root / kind}: no such folder", fix="put the slices into lq/ and gt/, as NAME.png in both"
            )
    names = {kind: {path.name for path in (root / kind).glob("*.png")} for kind in ("lq", "gt")}
    refuse_slices(
        [str(root / "gt" / name) for name in sorted(names["lq"] - names["gt"])]
        + [str(root / "lq" / name) for name in sorted(names["gt"] - names["lq"])],
        "have no partner (each needs lq/NAME.png and gt/NAME.png); missing are",
    )
    if not names["lq"]:
        raise UsageError(f"{root / 'lq'}: holds no .png", fix="put the slices into lq/ and gt/, as NAME.png in both")
    patient = _patient_pattern(data.patient, protocol)
    cases: list[Case] = []
    sizes: list[str] = []
    constant: list[str] = []
    pixels: dict[str, dict[str, str]] = {}
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
        pixels[stem] = {kind: digest_pixels(image) for kind, image in zip(("lq", "gt"), images, strict=True)}
        parts += [stem.encode(), case.patient.encode(), repr(images[0].shape).encode(), *(i.tobytes() for i in images)]
    refuse_slices(sizes, "differ in size (height, width)")
    refuse_slices(constant, "are constant images, which no scanner produces")
    return Dataset(cases=tuple(cases), window_hu=data.window_hu, digest=digest_bytes(*parts), pixels=pixels)


def _patient_pattern(pattern: str | None, protocol: str) -> Callable[[str], str]:
    if pattern is None:
        return lambda stem: stem
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"protocol {protocol}, data.patient: {pattern!r} is not a regular expression: {error}",
            fix="correct data.patient",
        ) from None
    if compiled.groups < 1:
        raise UsageError(
            f"protocol {protocol}, data.patient: {pattern!r} has no group (...) for the patient",
            fix="put parentheses around the part of a slice's name that identifies the patient",
        )

    def patient(stem: str) -> str:
        match = compiled.match(stem)
        if match is None:
            raise UsageError(
                f"protocol {protocol}, data.patient: slice {stem!r} does not match {pattern!r}",
                fix="correct data.patient, or rename the slice",
            )
        return match.group(1)

    return patient
