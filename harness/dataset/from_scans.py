"""Scans in 16-bit HU, as `harness import` wrote them: `dataset.json`, lq/NAME.png and gt/NAME.png."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from harness.base.digests import digest_bytes, digest_json, digest_pixels
from harness.base.errors import UsageError
from harness.base.png import Rejected
from harness.base.slices import read_slice
from harness.base.structs import read_json
from harness.base.text import counted
from harness.dataset.cases import Acquisition, Case, Dataset, refuse_slices
from harness.dataset.from_folder import Pair, ReadImage, check_pairs, data_folder, misfit_notes
from harness.dataset.pairs_fit import Look, look_at
from harness.dataset.scans_file import DATASET, ScanCase, ScansFile
from harness.imaging.hounsfield import Window, grey
from harness.protocol import Protocol, ScansData

MOST_BYTES = 2**28  # of dataset.json: some 700,000 slices
AGAIN = "import them again: harness import SOURCE -o DATA"


def scan_slices(data: ScansData, protocol: Protocol) -> Dataset:
    """The slice pairs of imported scans, read and checked for `protocol`.

    UsageError names the folder, what `leave_out` says in vain, or every file that is missing, damaged, too small for a
    metric of the protocol, or shows something else than its partner (`harness.dataset.pairs_fit`; partners that show
    different planes are not compared, and refused where the protocol purifies nothing). What may not fit is told in
    the set's notes.
    """
    root = data_folder(data.path, protocol)
    if not (root / DATASET).is_file():
        raise UsageError(
            f"{root / DATASET}: no such file", fix="give a folder that harness import wrote (docs/import.md)"
        )
    imported = read_json(root / DATASET, ScansFile, at_most=MOST_BYTES).cases
    listed = _kept(imported, data.leave_out or (), root / DATASET)
    if not protocol.purify.purifies:
        refuse_slices(
            [one.name for one in listed if not one.paired],
            "show another plane at normal dose than at low dose (paired: false), so that the normal-dose slice is no "
            f"label of the low-dose one, as purify.strategy {protocol.purify.strategy} takes it",
            "import pairs that show one plane, or choose a strategy that purifies (docs/anatomy.md)",
        )
    pairs: list[tuple[Pair, float | None]] = []
    looks: dict[str, tuple[Look, Look]] = {}
    wrong: list[str] = []
    for one in listed:
        low, normal = (
            _read(root / kind / f"{one.name}.png", digest, data.window_hu, wrong)
            for kind, digest in _digests(one).items()
        )
        if low is not None and normal is not None:
            pairs.append(((low, normal), one.pixel_mm))
            looks |= {one.name: (low.look, normal.look)} if one.paired else {}
    refuse_slices(wrong, f"are not as {DATASET} says", AGAIN)
    check_pairs(root, pairs, protocol)
    notes = misfit_notes(looks, {one.name: one.patient for one in listed})
    return Dataset(
        cases=tuple(_case(one, root) for one in listed),
        window_hu=data.window_hu,
        bits=16,
        digest=digest_bytes(digest_json(listed).encode(), repr(data.window_hu).encode()),
        pixels={one.name: _digests(one) for one in listed},
        notes=tuple(notes),
    )


def _kept(cases: Sequence[ScanCase], leave_out: Sequence[str], path: Path) -> list[ScanCase]:
    """The cases that no pattern of `leave_out` names. UsageError for a pattern that names none, and if none is kept."""
    idle = [pattern for pattern in leave_out if not any(fnmatchcase(one.name, pattern) for one in cases)]
    kept = [one for one in cases if not any(fnmatchcase(one.name, pattern) for pattern in leave_out)]
    if idle or not kept:
        what = f"data.leave_out names no slice by {idle[0]!r}" if idle else "data.leave_out names every slice"
        raise UsageError(
            f"{path}: {what}; it has {counted(len(cases), 'slice')}, {cases[0].name} to {cases[-1].name}",
            fix="correct data.leave_out in the protocol",
        )
    return kept


def _digests(one: ScanCase) -> dict[str, str]:
    return {"lq": one.lq, "gt": one.gt}


def _read(path: Path, digest: str, window_hu: Window, wrong: list[str]) -> ReadImage | None:
    """The file of that digest; None, and a line in `wrong`, if it is another one."""
    try:
        image = read_slice(path, bits=(16,))
    except Rejected as error:
        wrong.append(f"{path} {error}")
        return None
    except FileNotFoundError:
        wrong.append(f"{path} is missing")
        return None
    if digest_pixels(image) != digest:
        wrong.append(f"{path} has other pixels")
        return None
    shown = grey(image, window_hu)
    return ReadImage(path, shown.shape, shown.tobytes(), look_at(shown))


def _case(one: ScanCase, root: Path) -> Case:
    return Case(
        name=one.name,
        patient=one.patient,
        lq=str(root / "lq" / f"{one.name}.png"),
        gt=str(root / "gt" / f"{one.name}.png"),
        pixel_mm=one.pixel_mm,
        series=one.patient,
        position_mm=one.position_mm,
        acquisition=Acquisition(thickness_mm=one.thickness_mm, kvp=one.kvp, mas=one.mas, kernel=one.kernel),
    )
