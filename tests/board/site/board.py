"""A leaderboard on disk that has something of everything, for tests of its site."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.base.structs import canonical_json
from harness.protocol import FidelityGate, Protocol
from harness.records.schema import About, Record, make_record
from harness.records.slice_table import write_slices
from harness.records.store import keep_protocol, write_record
from harness.records.withdrawal import withdraw
from harness.run.result import Times
from harness.scoring.attachment_names import SLICES, SPECTRA
from harness.scoring.per_slice import MeanSpectrum
from harness.scoring.pictures import make_pictures
from tests.board_records import PROTOCOL, failed, scored, value
from tests.picture_set import CASES, picture_set, scorecard, slice_values

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{ 7 * 7 }} 中文 \u202e'
LOG = "epoch 1 </pre><script>alert(3)</script>"
ABOUT = About(
    description="Says what it is.", license="MIT", code="javascript:alert(4)", paper="https://arxiv.org/abs/1"
)


def error_of(index: int, shift: float) -> float:
    """The RMSE that slice `index` has in these records."""
    return 10.0 + index + shift * (index % 3)


def attachments(folder: Path, shift: float) -> dict[str, bytes]:
    """Slices, a spectrum and pictures, as the pipeline writes them."""
    errors = {case: error_of(index, shift) for index, case in enumerate(CASES)}
    spectrum = MeanSpectrum(frequency=(0.1, 0.2, 0.3), power=(100.0 * shift, 40.0, 5.0), n=6, unit="HU")
    dataset, labels, outputs = picture_set(folder, noise=5.0 * shift)
    return {
        SLICES: write_slices(slice_values(dict(errors))),
        SPECTRA: canonical_json({"truth": {"lung": spectrum}}),
        **make_pictures(dataset, labels, outputs, scorecard(dict(errors)), FidelityGate()),
    }


def with_circumstances(record: Record, *, seconds: float, log: str = "") -> Record:
    """The record with what it says of itself, its times and its log."""
    times = Times(build_s=1.0, run_s=2.0, seconds_per_slice=seconds)
    observed = msgspec.structs.replace(
        record.observed, times=times, peak_memory_bytes=250_000_000, log=log, about=ABOUT, image="sha256:0", commit="c0"
    )
    return make_record(record.result, observed)


def leaderboard(root: Path, protocol: Protocol = PROTOCOL) -> dict[str, Record]:
    """Write three ranked, a reference, a superseded, a failed and a withdrawn record; returns them by what they are."""
    board = root / "leaderboard"
    records = {
        "first": with_circumstances(scored("alpha", 1.0, protocol=protocol, version="2"), seconds=0.5, log=LOG),
        "superseded": scored("alpha", 1.2, protocol=protocol, date="2025-01-01T00:00:00Z"),
        "second": with_circumstances(scored("beta", 2.0, protocol=protocol), seconds=0.1),
        "hostile": scored("evil", 3.0, protocol=protocol, name=HOSTILE, authors=(HOSTILE,)),
        "anchor": scored("anchor-input", 9.0, protocol=protocol, anchor=True),
        "failed": failed("broken"),
        "withdrawn": scored("gone", 0.1, protocol=protocol),
    }
    records["second"] = with_table(records["second"], 1.5)
    keep_protocol(board, protocol)
    shifts = {"first": 1.0, "second": 3.0, "anchor": 6.0}
    for name, record in records.items():
        files = attachments(root / name, shifts[name]) if name in shifts else {}
        folder, _ = write_record(board, record, files)
        if name == "withdrawn":
            withdraw(folder, "trained on the test set")
    return records


def with_table(record: Record, spread: float) -> Record:
    """The record with a second metric whose differences to others are not the same for every patient."""
    rmse = msgspec.structs.replace(
        value(60.0), unit="HU", without={"p1": 60.0 - spread, "p2": 60.0 + 2 * spread, "p3": 60.0 - spread}
    )
    table = record.result.metrics | {"RMSE": {"whole": rmse}}
    return make_record(msgspec.structs.replace(record.result, metrics=table), record.observed)
