"""Per-slice values of a record: written as a small wide table, read from it and from the longer ones of older records.

`slices.csv.xz` has a line for each (reference, metric, region) and a column for each slice, under the slice's name; the
second line holds the patients. `slices.csv.gz` of older records has one value a line. An empty cell: no such region.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.base.errors import UsageError
from harness.base.files import read_regular
from harness.records.schema import Record
from harness.scoring.attachment_names import LONG_SLICES, SLICES
from harness.scoring.per_slice import SliceValue

Kind = tuple[str, str, str]  # reference, metric, region

DIGITS = 5  # significant ones; a mean over slices is then that of the record to about 1e-5 of itself

HEAD = ("reference", "metric", "region")

PATIENTS = ("", "", "patient")

MOST_BYTES = 64 << 20  # of an unpacked table: a stranger may have packed it; 2000 slices have 10 MB

MOST_CELLS = 8 << 20  # each takes far more memory than its comma; 2000 slices have 2 million

MEMORY = 256 << 20  # for unpacking: the preset takes 65 MB, a header may ask for 4 GB


def write_slices(slices: Sequence[SliceValue]) -> bytes:
    """The bytes of `slices.csv.xz`. The same values give the same bytes."""
    patients = {one.case: one.patient for one in slices}
    table: dict[Kind, dict[str, str]] = {}
    for one in slices:
        shown = "" if one.value is None else f"{one.value:.{DIGITS}g}"
        table.setdefault((one.reference, one.metric, one.region), {})[one.case] = shown
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*HEAD, *patients])
    writer.writerow([*PATIENTS, *patients.values()])
    writer.writerows([*kind, *(values.get(case, "") for case in patients)] for kind, values in table.items())
    return lzma.compress(text.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME)


def read_slices(record: Record, folder: Path, kind: Kind | None = None) -> list[SliceValue]:
    """The values of a record's slices, of one kind or of all; none where the record keeps none.

    UsageError for a file that is not such a table.
    """
    name = next((one for one in (SLICES, LONG_SLICES) if one in record.observed.files), None)
    if name is None:
        return []
    path = folder / name
    try:
        packed = read_regular(path)
        if name == SLICES:
            unpacker = lzma.LZMADecompressor(memlimit=MEMORY)
            text = unpacker.decompress(packed, max_length=MOST_BYTES + 1)
            if not unpacker.eof and len(text) <= MOST_BYTES:
                raise EOFError("it is cut off")
        else:
            with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
                text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES or text.count(b",") > MOST_CELLS:
            raise ValueError(f"it unpacks to more than {MOST_BYTES} bytes or {MOST_CELLS} cells")
        return list((_wide if name == SLICES else _long)(text.decode(), kind))
    except (OSError, EOFError, ValueError, LookupError, lzma.LZMAError, csv.Error) as error:
        raise UsageError(f"{path}: no table of slices: {error}", fix="restore it from version control") from error


def _wide(text: str, kind: Kind | None) -> Iterator[SliceValue]:
    lines = csv.reader(io.StringIO(text))
    head, patients = next(lines, []), next(lines, [])
    if tuple(head[:3]) != HEAD or tuple(patients[:3]) != PATIENTS:
        raise ValueError(f"its first lines begin with {head[:3]} and {patients[:3]}")
    for reference, metric, region, *values in lines:
        if kind in (None, (reference, metric, region)):
            for case, patient, value in zip(head[3:], patients[3:], values, strict=True):
                yield _value(case, patient, (reference, metric, region), value)


def _long(text: str, kind: Kind | None) -> Iterator[SliceValue]:
    lines = text.splitlines()
    if kind is not None:
        wanted = f",{','.join(kind)},"  # thousands of lines hold other metrics
        lines = [*lines[:1], *(line for line in lines if wanted in line)]
    for line in csv.DictReader(lines):
        found = (line["reference"], line["metric"], line["region"])
        if kind in (None, found):
            yield _value(line["case"], line["patient"], found, line["value"])


def _value(case: str, patient: str, kind: Kind, text: str) -> SliceValue:
    reference, metric, region = kind
    number = float(text) if text else None
    if number is not None and not math.isfinite(number):
        raise ValueError(f"{text} is no value of {metric}")
    return SliceValue(
        case=case,
        patient=patient,
        reference=reference,
        metric=metric,
        region=region,
        value=number,
    )
