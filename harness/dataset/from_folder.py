"""Slice pairs from a folder in the authors' layout: lq/NAME.png and gt/NAME.png."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness import metrics
from harness.base.digests import digest_bytes
from harness.base.errors import UsageError
from harness.base.png import Rejected
from harness.base.slices import PUT_FILE, find_slices, litter_note, read_slice
from harness.base.structs import expand_variables
from harness.base.text import first_few
from harness.dataset.cases import Case, Dataset, refuse_slices
from harness.dataset.pairs_fit import Look, look_at, misfits
from harness.dataset.scans_file import DATASET
from harness.protocol import FolderData, Protocol

LAYOUT = "put the slices into lq/ and gt/, as NAME.png in both"

SLICE_MM = (50.0, 700.0)
"""Width of a slice: a child's field of view is 100 mm and more, the largest scanner's 820 mm, of which 700 mm are
reconstructed."""


class ReadImage(NamedTuple):
    """What is kept of one image (height, width): its file, its size, its pixels and how it looks."""

    path: Path
    shape: tuple[int, ...]
    pixels: bytes
    look: Look


Pair = tuple[ReadImage, ReadImage]  # low dose, normal dose


def folder_slices(data: FolderData, protocol: Protocol) -> Dataset:
    """The slice pairs of a folder, read and checked for `protocol`.

    UsageError names the folder, or every file that does not fit: what is no slice, lacks a partner, cannot be read, is
    constant or too small for a metric of the protocol, differs from its partner in size, or shows something else
    (`harness.dataset.pairs_fit`). What may not fit is told in the set's notes.
    """
    root = data_folder(data.path, protocol)
    if (root / DATASET).is_file():
        raise UsageError(
            f"{root}: holds scans in HU that harness import wrote", fix="state source: scans in place of source: folder"
        )
    files, notes = _files(root)
    patients = _patients(data.patient, list(files), protocol.name)
    pairs = _read(files)
    check_pairs(root, [(pair, data.pixel_mm) for pair in pairs.values()], protocol)
    notes += misfit_notes({name: (low.look, normal.look) for name, (low, normal) in pairs.items()}, patients)
    parts = [repr((data.window_hu, data.pixel_mm)).encode()]
    for name, (low, normal) in pairs.items():
        parts += [name.encode(), patients[name].encode(), repr(low.shape).encode(), low.pixels, normal.pixels]
    return Dataset(
        cases=tuple(
            Case(name=name, patient=patients[name], lq=str(low.path), gt=str(normal.path), pixel_mm=data.pixel_mm)
            for name, (low, normal) in pairs.items()
        ),
        window_hu=data.window_hu,
        digest=digest_bytes(*parts),
        pixels={name: {"lq": low.look.digest, "gt": normal.look.digest} for name, (low, normal) in pairs.items()},
        notes=tuple(notes),
    )


def data_folder(path: str, protocol: Protocol) -> Path:
    """The folder that a protocol's data.path names; UsageError for a variable that is not set."""
    expanded = expand_variables(path, where=f"protocol {protocol.name}, data.path")
    return Path(os.path.expanduser(expanded))  # noqa: PTH111 -- Path's raises where `~name` is nobody


def _files(root: Path) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """The files of each slice by name, and lines on what was skipped; UsageError for all that fits nowhere."""
    for kind in ("lq", "gt"):
        if not (root / kind).is_dir():
            raise UsageError(f"{root / kind}: no such folder", fix=LAYOUT)
    lq, gt = (find_slices(root / kind) for kind in ("lq", "gt"))
    both = [("lq", lq), ("gt", gt)]
    strays = [f"{root / kind}: {stray}" for kind, found in both for stray in found.strays]
    refuse_slices(
        strays,
        "cannot be taken (lq/ and gt/ hold grey images, NAME.png each)",
        "convert images to PNG, rename or remove the others",
        noun="file",
    )
    refuse_slices(
        [str(root / "gt" / path.name) for name, path in lq.slices.items() if name not in gt.slices]
        + [str(root / "lq" / path.name) for name, path in gt.slices.items() if name not in lq.slices],
        "have no partner (each needs lq/NAME.png and gt/NAME.png); missing",
    )
    if not lq.slices:
        raise UsageError(f"{root / 'lq'}: holds no .png", fix=LAYOUT)
    notes = [litter_note(root / kind, found) for kind, found in both if found.litter]
    # sorted as the files `NAME.png` are: the set's digest covers the order
    return {name: (lq.slices[name], gt.slices[name]) for name in sorted(lq.slices, key="{}.png".format)}, notes


def _read(files: Mapping[str, tuple[Path, Path]]) -> dict[str, Pair]:
    """The images of each slice; UsageError for all that cannot be read."""
    pairs: dict[str, Pair] = {}
    wrong: list[str] = []
    fixes: list[str] = []

    def read(path: Path) -> ReadImage | None:
        try:
            image = read_slice(path)
        except Rejected as error:
            wrong.append(f"{path} {error}")
            fixes.append(error.fix)
            return None
        except FileNotFoundError:
            wrong.append(f"{path} is a link to nothing")
            fixes.append(PUT_FILE)
            return None
        return ReadImage(path, image.shape, image.tobytes(), look_at(image))

    for name, paths in files.items():
        low, normal = map(read, paths)
        if low is not None and normal is not None:
            pairs[name] = low, normal
    refuse_slices(
        wrong,
        "cannot be taken (expected an 8-bit grey PNG, or one with three equal channels)",
        "; ".join(dict.fromkeys(fixes)),
        noun="file",
    )
    return pairs


def check_pairs(root: Path, pairs: Sequence[tuple[Pair, float | None]], protocol: Protocol) -> None:
    """UsageError for pairs, each with the width of a pixel in mm, that a protocol cannot score: too few, constant, of a
    size that differs from the partner's, that a metric cannot take or that no scan has."""
    kinds = {one.name: metrics.load(one.metric) for one in protocol.metrics}
    smallest = {name: kind.smallest for name, kind in kinds.items() if isinstance(kind, metrics.ImageMetric)}
    _refuse_sizes(pairs, smallest)
    if len(pairs) < 2 and len(smallest) < len(kinds):
        sets = ", ".join(name for name in kinds if name not in smallest)
        raise UsageError(
            f"{root / 'lq'}: holds one slice, while {sets} of the protocol compares sets of slices",
            fix="give more slices, or leave such metrics out of the protocol",
        )


def misfit_notes(looks: Mapping[str, tuple[Look, Look]], patients: Mapping[str, str]) -> list[str]:
    """Lines on the pairs that may not fit (`harness.dataset.pairs_fit`), by name; UsageError for those that do not."""
    found = misfits(looks, patients)
    refuse_slices([f"{name}: {reason}" for name, reason in found.certain.items()], "do not fit")
    return first_few([f"slice {name} may not fit: {reason}" for name, reason in found.likely.items()], at_most=20)


def _refuse_sizes(pairs: Iterable[tuple[Pair, float | None]], smallest: Mapping[str, int]) -> None:
    differ: list[str] = []
    constant: list[str] = []
    small: list[str] = []
    scale: list[str] = []
    for (low, normal), pixel_mm in pairs:
        constant += [str(one.path) for one in (low, normal) if len(set(one.pixels)) == 1]
        if low.shape != normal.shape:
            differ.append(f"{low.path} {low.shape} but {normal.path} {normal.shape}")
        small += [f"{low.path} {low.shape}: {name}" for name, side in smallest.items() if min(low.shape) < side]
        width = max(low.shape) * (pixel_mm or 0.0)
        if pixel_mm is not None and not SLICE_MM[0] <= width <= SLICE_MM[1]:
            scale.append(f"{low.path}: {max(low.shape)} pixels of {pixel_mm:g} mm are {width:.4g} mm")
    refuse_slices(differ, "differ in size (height, width)")
    refuse_slices(constant, "are constant, as nothing from a scanner is", noun="image")
    needs = ", ".join(f"{name} {side} x {side}" for name, side in smallest.items() if side > 1)
    refuse_slices(
        small,
        f"are too small for metrics of the protocol ({needs} pixels at least)",
        "leave these metrics out of the protocol, or give larger slices",
    )
    refuse_slices(
        scale,
        f"are not {SLICE_MM[0]:g} to {SLICE_MM[1]:g} mm wide, as chest slices are",
        "correct the width of a pixel in mm (data.pixel_mm)",
    )


def _patients(pattern: str | None, names: list[str], protocol: str) -> dict[str, str]:
    """The patient of each slice; UsageError for a pattern that cannot tell, or that does not fit a slice's name."""
    if pattern is None:
        return {name: name for name in names}
    where = f"protocol {protocol}, data.patient: '{pattern}'"
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{where} is not a regular expression: {error}", fix="correct data.patient") from None
    if compiled.groups < 1:
        raise UsageError(
            f"{where} has no group (...) for the patient",
            fix="put parentheses around the part of a slice's name that identifies the patient",
        )
    matches = {name: compiled.match(name) for name in names}
    found = {name: match.group(1) if match else None for name, match in matches.items()}
    refuse_slices(
        [f"{name}{': its first group is empty' if matches[name] else ''}" for name in names if not found[name]],
        f"do not match '{pattern}', which is data.patient of protocol {protocol}",
        "correct data.patient, or rename the slices",
    )
    return {name: str(patient) for name, patient in found.items()}
