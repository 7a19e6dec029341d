"""Scans: `import_scans`, from a folder of files to a data set, the owner's table and a report."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness import __version__
from harness.base.errors import UsageError
from harness.base.files import atomic_file, atomic_folder
from harness.base.png import Rejected
from harness.base.private_files import refuse_shared_folder
from harness.base.progress import Reporter, later_part
from harness.base.slices import write_grey
from harness.base.structs import read_json, write_json
from harness.base.text import first_few
from harness.dataset.scans_file import DATASET, MadeBy, ScanCase, ScansFile, kernel_name
from harness.imaging.montage import montage
from harness.importing.choose import choose
from harness.importing.find import find_planes
from harness.importing.patient import Taken, take
from harness.importing.planes import Left, Stated
from harness.importing.report import PatientReport, Report, counts

SHEET_PATIENTS, SHEET_SIDE = 12, 192
NEW = "name a folder that does not exist yet"


class Imported(NamedTuple):
    """What was imported: the report, every file left out with its cause, and whether the data set is new."""

    report: Report
    left: list[Left]
    new: bool


def import_scans(source: Path, output: Path, stated: Stated, reporter: Reporter, *, owner_table: Path) -> Imported:
    """Read the scans in `source` and write them to the new folder `output` as slice pairs in 16-bit HU.

    `owner_table` is the file that tells whose scans they are; its owner alone may read it. UsageError where nothing can
    be taken, where the user must say what no file states, and where `output` exists and holds something else.
    """
    _refuse_places(source, output, owner_table)
    with reporter.stage("find") as progress:
        planes, left = find_planes(source, stated, progress)
    if not planes:
        raise _nothing(f"{source}: holds no plane of a CT scan that can be taken", left)
    patients, unchosen = choose(planes, stated)
    left += unchosen
    with atomic_folder(output) as part:
        for kind in ("lq", "gt"):
            (part / kind).mkdir()
        taken: list[Taken] = []
        with reporter.stage("import") as progress:
            start, total = 0, sum(len(patient.low) for patient in patients)
            for number, patient in enumerate(patients):
                own = later_part(progress, start, total)
                start += len(patient.low)
                try:
                    taken.append(take(patient, stated, part, stem=str(number), progress=own))
                except Rejected as error:
                    left.append(Left(str(patient.low[0].file.parent), f"{error} (the whole patient)"))
        if not taken:
            raise _nothing("no patient can be taken", left[::-1])
        # sorted by what nobody knows who has not the scans: the order of the names tells nothing of the identities
        taken.sort(key=lambda one: one.pairs[0].lq)
        left += [one for patient in taken for one in patient.left]
        file = _name(part, taken)
        new = not output.exists()
        if not new and read_json(output / DATASET, ScansFile).cases != file.cases:
            raise UsageError(f"{output}: already exists and holds another data set", fix=NEW)
        report = _report(taken, left, len({plane.file for plane in planes}), file.made_by.kind)
        write_json(part / DATASET, file)
        write_json(part / "import.json", report)
        rows = [row for patient in taken[:SHEET_PATIENTS] for row in [[*patient.shown[0], *patient.shown[1]]]]
        write_grey(part / "contact-sheet.png", montage(rows, side=SHEET_SIDE))
        if new:
            _write_owners(owner_table, file, taken)
    return Imported(report, left, new)


def _nothing(what: str, left: Sequence[Left]) -> UsageError:
    lines = [f"{one.where}: {one.cause}" for one in left]
    return UsageError("\n  ".join([f"{what}:", *first_few(lines)]), fix="correct what is named, or name another source")


def _refuse_places(source: Path, output: Path, owner_table: Path) -> None:
    """UsageError where the data set or the owner's table may not be written."""
    if output.exists() and not (output / DATASET).is_file():
        raise UsageError(f"{output}: already exists and is no imported data set", fix=NEW)
    if output.resolve() in [owner_table.resolve(), *owner_table.resolve().parents]:
        raise UsageError(
            f"{owner_table}: tells whose scans these are, and lies in the data set", fix="name another place"
        )
    if source.is_dir() and source.resolve() in [output.resolve(), *output.resolve().parents]:
        raise UsageError(f"{output}: lies in the folder that is read", fix=NEW)
    if owner_table.exists() and not output.exists():
        raise UsageError(f"{owner_table}: already exists, and it is never overwritten", fix="keep it elsewhere")
    try:
        refuse_shared_folder(owner_table)
    except UsageError as error:
        raise UsageError(error.message, fix="name another place for it with --owner-table") from None


def _name(part: Path, taken: Sequence[Taken]) -> ScansFile:
    """Give the written files their names, and describe them."""
    cases = []
    kinds: set[str] = set()
    for place, patient in enumerate(taken, start=1):
        for number, pair in enumerate(patient.pairs):
            name = f"p{place:03}-{number + 1:04}"
            for kind in ("lq", "gt"):
                (part / kind / f"{patient.stem}-{number}.png").rename(part / kind / f"{name}.png")
            low = pair.low
            kinds |= {low.kind, pair.normal.kind}
            cases.append(
                ScanCase(
                    name=name,
                    patient=f"p{place:03}",
                    position_mm=None if low.place is None else round(low.place.position_mm, 3) + 0.0,
                    pixel_mm=round(low.pixel_mm, 6),
                    thickness_mm=low.thickness_mm,
                    kvp=low.kvp,
                    mas=low.mas,
                    kernel=kernel_name(low.kernel) if low.kernel else None,
                    paired=patient.paired,
                    lq=pair.lq,
                    gt=pair.gt,
                )
            )
    return ScansFile(cases=tuple(cases), made_by=MadeBy(harness=__version__, kind="+".join(sorted(kinds))))


def _report(taken: Sequence[Taken], left: Sequence[Left], files: int, kind: str) -> Report:
    patients = tuple(
        PatientReport(
            name=f"p{place:03}",
            slices=len(one.pairs),
            size=one.pairs[0].low.standing,
            pixel_mm=round(one.pairs[0].low.pixel_mm, 6),
            paired=one.paired,
            padded=one.padded,
            clipped=one.clipped,
            notes=one.notes,
        )
        for place, one in enumerate(taken, start=1)
    )
    return Report(files=files, kind=kind, patients=patients, left=counts(left))


def _write_owners(path: Path, file: ScansFile, taken: Sequence[Taken]) -> None:
    """Write whose scans these are: one line a slice and dose, for nobody but the owner (mode 600)."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["name", "dose", "patient", "series", "file", "plane"])
    pairs = [(patient.identity, pair) for patient in taken for pair in patient.pairs]
    for case, (identity, pair) in zip(file.cases, pairs, strict=True):
        for dose, plane in (("low", pair.low), ("normal", pair.normal)):
            table.writerow([case.name, dose, identity, plane.series, plane.file, plane.frame + 1])
    with atomic_file(path) as part:
        os.chmod(part, 0o600)  # noqa: PTH101
        part.write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))  # names of files that are no text
