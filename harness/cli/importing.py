"""`import`: real scans -> a data set in Hounsfield units."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from harness.base.text import counted
from harness.cli._common import console, json_option, print_json, print_table

if TYPE_CHECKING:
    from harness.importing.scans import Imported

PATTERN = "PATTERN"


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="DATA", type=click.Path(path_type=Path), required=True, help="New folder.")
@click.option("--low", multiple=True, metavar=PATTERN, help="Which series are the low dose: `quarter_1mm`. Repeat it.")
@click.option(
    "--normal", multiple=True, metavar=PATTERN, help="Which series are the normal dose: `full_1mm`. Repeat it."
)
@click.option("--patient", metavar="REGEX", help="Its first group is the patient in a file's path: `(L[0-9]+)/`.")
@click.option("--paired/--unpaired", "paired", default=None, help="Whether a pair shows one plane of one breath.")
@click.option("--slope", type=float, help="HU = slope x value + intercept, where files do not state it.")
@click.option("--intercept", type=float, help="See --slope.")
@click.option("--pixel-mm", type=click.FloatRange(min=0, min_open=True), help="Pixel size where files do not state it.")
@click.option("--owner-table", type=click.Path(path_type=Path), help="Who is who. [default: DATA.owner.csv]")
@json_option
def import_(
    source: Path,
    output: Path,
    low: tuple[str, ...],
    normal: tuple[str, ...],
    patient: str | None,
    paired: bool | None,
    slope: float | None,
    intercept: float | None,
    pixel_mm: float | None,
    owner_table: Path | None,
    as_json: bool,
) -> None:
    """Make a data set of slice pairs in 16-bit Hounsfield units from scans: DICOM, NIfTI, MetaImage, NumPy, PNG, TIFF.

    Needs low and normal dose of each patient. Nothing is guessed: what files do not state is asked for. No identity
    enters DATA; the table of who is who stays with you (docs/import.md).
    """
    from harness.cli.terminal import TerminalReporter
    from harness.importing.planes import Stated
    from harness.importing.scans import import_scans

    stated = Stated(
        low=low,
        normal=normal,
        patient=patient,
        slope=slope,
        intercept=intercept,
        pixel_mm=pixel_mm,
        paired=paired,
    )
    table = owner_table or output.parent / f"{output.resolve().name}.owner.csv"
    found = import_scans(source, output, stated, TerminalReporter(), owner_table=table)
    if as_json:
        left = [{"file": one.where, "cause": one.cause} for one in found.left]
        print_json({"output": str(output), "new": found.new, "report": found.report, "left": left})
        return
    _show(found)
    slices = sum(one.slices for one in found.report.patients)
    screen = console()
    if found.new:
        wrote = f"wrote {counted(slices, 'slice pair')} of {counted(len(found.report.patients), 'patient')} to {output}"
        screen.print(f"{wrote}; who is who: {table}", highlight=False, soft_wrap=True)
    else:
        screen.print(f"{output}: already there, the same", highlight=False, soft_wrap=True)


def _show(found: Imported) -> None:
    from rich.table import Table
    from rich.text import Text

    patients = Table("patient", "slices", "size", "mm", "pairs", "notes")
    for one in found.report.patients:
        size = f"{one.size[0]} x {one.size[1]}"
        notes = [*one.notes, *_counted(one.padded, "padding"), *_counted(one.clipped, "beyond 16 bits")]
        pairs = "one plane" if one.paired else "unpaired"
        patients.add_row(one.name, str(one.slices), size, f"{one.pixel_mm:g}", pairs, Text("\n".join(notes)))
    print_table(patients)
    if found.left:
        first = {one.cause: one.where for one in reversed(found.left)}
        left = Table("left out", "because it", "first")
        for cause, count in found.report.left.items():
            left.add_row(str(count), Text(cause), Text(first[cause]))
        print_table(left)


def _counted(pixels: int, what: str) -> list[str]:
    return [f"{counted(pixels, 'pixel')} {what}"] if pixels else []
