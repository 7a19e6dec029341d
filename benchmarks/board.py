"""How long a leaderboard of many rows takes: reading the records, making the board from nothing, adding one row.

    python benchmarks/board.py --rows 1000

The records are copies of the committed phantom-3 ones with values, slices and spectra of their own: as many numbers,
as large files. All rows stand in one protocol, which is the dearest case for tiers and pages.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from harness.base.digests import digest_bytes
from harness.board.build import write_board
from harness.records.schema import Record, make_record
from harness.records.slice_table import read_slices, write_slices
from harness.records.store import keep_protocol, read_protocol, read_records, record_folder, write_record
from harness.scoring.attachment_names import PICTURES, SLICES, SPECTRA, STRIP

COMMITTED = Path(__file__).resolve().parents[1] / "leaderboard"
PROTOCOL = ("phantom", 3)
T = TypeVar("T")


def made_up(template: Record, number: int) -> tuple[Record, dict[str, bytes]]:
    """A record like `template` of a submission of its own, every value moved by some percent, and its small files."""
    factors = np.random.default_rng(number).normal(1, 0.05, size=4096).tolist()

    def moved(value: Any, digits: int = 7) -> Any:
        if isinstance(value, float):
            return float(f"{value * factors[hash(value) % len(factors)]:.{digits}g}")
        if isinstance(value, dict):
            return {key: moved(one, digits) for key, one in value.items()}
        return [moved(one, digits) for one in value] if isinstance(value, list) else value

    plain = msgspec.to_builtins(template.result)
    plain |= {"metrics": moved(plain["metrics"]), "truth": moved(plain["truth"])}
    plain["outputs"] = digest_bytes(str(number).encode())
    plain["submission"] |= {"slug": f"made-up-{number:04}", "name": f"Made up {number}", "anchor": False}
    record = make_record(msgspec.convert(plain, type(template.result)), template.observed)
    folder = record_folder(COMMITTED, template)
    slices = [
        msgspec.structs.replace(one, value=one.value and one.value * factors[index % len(factors)])
        for index, one in enumerate(read_slices(template, folder))
    ]
    spectra = msgspec.json.encode(moved(msgspec.json.decode((folder / SPECTRA).read_bytes()), digits=5))
    kept = {name: (folder / name).read_bytes() for name in (PICTURES, STRIP)}
    return record, {SLICES: write_slices(slices), SPECTRA: spectra, **kept}


def templates() -> list[Record]:
    """The committed rows that others are made up from."""
    found = [one for one in read_records(COMMITTED) if one.result.protocol.name == PROTOCOL[0]]
    found = [one for one in found if one.result.protocol.version == PROTOCOL[1] and one.result.status == "scored"]
    return [
        one for one in found if {SPECTRA, PICTURES} <= one.observed.files.keys() and not one.result.submission.anchor
    ]


def fill(leaderboard: Path, rows: int, *, first: int = 0) -> None:
    """Add `rows` made-up records to a leaderboard."""
    keep_protocol(leaderboard, read_protocol(COMMITTED, *PROTOCOL))
    models = templates()
    for number in range(first, first + rows):
        write_record(leaderboard, *made_up(models[number % len(models)], number))


def timed(what: str, function: Callable[[], T]) -> T:
    """Do it and print a line of a table: how long it took, and how much of that a core was busy, which is all of it on
    an idle machine."""
    begun, busy = time.perf_counter(), time.process_time()
    found = function()
    took, busy = time.perf_counter() - begun, time.process_time() - busy
    print(f"| {what} | {took:.1f} | {busy:.1f} |", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="Make the leaderboard in this folder, or use the one that is there.")
    options = parser.parse_args()
    print("| | s | s of a core |\n|---|--:|--:|")
    with tempfile.TemporaryDirectory() as temporary:
        board = options.keep or Path(temporary)
        if not (board / "records").is_dir():
            timed(f"making {options.rows} records", lambda: fill(board, options.rows))
        shutil.rmtree(board / "site", ignore_errors=True)
        records = timed("reading and verifying the records", lambda: list(read_records(board)))
        timed("the board from nothing", lambda: write_board(board))
        again = timed("the board again, nothing new", lambda: write_board(board))
        fill(board, 1, first=len(records) + 1000)
        more = timed("the board with one row more", lambda: write_board(board))
        print(f"\nPages rendered: {len(again.rendered)} with nothing new, {len(more.rendered)} with one row more.")


if __name__ == "__main__":
    main()
