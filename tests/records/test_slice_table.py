"""Tables of per-slice values, the present one and that of older records."""

from __future__ import annotations

import gzip
import lzma
import zlib
from pathlib import Path

import msgspec
import pytest

from harness.base.errors import UsageError
from harness.records.schema import Record
from harness.records.slice_table import MOST_CELLS, read_slices, write_slices
from harness.records.store import read_record, write_record
from harness.scoring.attachment_names import LONG_SLICES, SLICES
from harness.scoring.per_slice import SliceValue
from tests.board_records import scored

COMMITTED = Path(__file__).resolve().parents[2] / "leaderboard" / "records"


def one(case: str, value: float | None, *, metric: str = "RMSE", region: str = "lung") -> SliceValue:
    return SliceValue(case=case, patient=case[:2], reference="truth", metric=metric, region=region, value=value)


VALUES = [one("p1-s1", 12.3456), one("p1-s2", None), one("p2, s1", 3e-05), one("p1-s1", 0.5, metric="SSIM, whole")]


def with_table(root: Path, name: str, data: bytes) -> tuple[Record, Path]:
    folder, _ = write_record(root, scored("tv", 1.0), {name: data})
    return read_record(folder), folder


def test_values_survive_the_table_to_five_digits(tmp_path: Path) -> None:
    record, folder = with_table(tmp_path, SLICES, write_slices(VALUES))
    expected = [msgspec.structs.replace(VALUES[0], value=12.346), *VALUES[1:]]
    found = read_slices(record, folder)
    # a table has a cell for every slice: those that had no such metric are empty
    assert [one for one in found if one in expected] == expected
    assert [one.value for one in found if one not in expected] == [None, None]
    assert read_slices(record, folder, ("truth", "RMSE", "lung")) == expected[:3]
    assert write_slices(VALUES) == write_slices(list(VALUES))


def test_the_table_of_an_older_record_is_read(tmp_path: Path) -> None:
    lines = ["case,patient,reference,metric,region,value", "a,p1,truth,RMSE,lung,1.5", "b,p1,label,SSIM,lung,"]
    record, folder = with_table(tmp_path, LONG_SLICES, gzip.compress("\n".join(lines).encode()))
    assert [(one.case, one.value) for one in read_slices(record, folder)] == [("a", 1.5), ("b", None)]
    assert [one.case for one in read_slices(record, folder, ("truth", "RMSE", "lung"))] == ["a"]


def test_a_committed_table_takes_a_third_of_the_room_and_keeps_the_means() -> None:
    folder = next(path.parent for path in COMMITTED.glob("phantom-3/tv/*/record.json"))
    record = read_record(folder)
    slices = read_slices(record, folder)
    assert len(write_slices(slices)) < 12_000 < (folder / LONG_SLICES).stat().st_size / 2
    kind = ("label", "RMSE", "lung")
    values = [float(f"{one.value:.5g}") for one in read_slices(record, folder, kind) if one.value is not None]
    assert sum(values) / len(values) == pytest.approx(record.result.metrics["RMSE"]["lung"].value, rel=1e-5)


def test_a_record_without_slices_has_none(tmp_path: Path) -> None:
    folder, _ = write_record(tmp_path, scored("tv", 1.0), {})
    assert read_slices(read_record(folder), folder) == []


def lzma_that_asks_for_memory() -> bytes:
    """An xz header whose dictionary has 1.5 GB."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1536 << 20, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3}]
    unpacked = b"reference,metric,region\n"
    small = lzma.compress(unpacked, format=lzma.FORMAT_XZ, filters=[filters[0] | {"dict_size": 4096}])
    # the dictionary's size is one byte of the block's header, whose CRC follows it
    at = small.index(b"\x21\x01") + 2
    block = bytearray(small[12 : 12 + (small[12] + 1) * 4])
    block[at - 12] = 37  # 1.5 GiB
    block[-4:] = zlib.crc32(bytes(block[:-4])).to_bytes(4, "little")
    return small[:12] + bytes(block) + small[12 + len(block) :]


@pytest.mark.parametrize(
    "data",
    [
        lzma.compress(bytes((64 << 20) + 1), preset=0),
        lzma.compress(b"a" * 1000)[:-20],
        lzma_that_asks_for_memory(),
    ],
    ids=["bomb", "cut", "memory"],
)
def test_a_table_is_unpacked_within_bounds(tmp_path: Path, data: bytes) -> None:
    record, folder = with_table(tmp_path, SLICES, data)
    with pytest.raises(UsageError, match=r"slices\.csv\.xz: no table of slices: (it unpacks to more|it is cut|Memory)"):
        read_slices(record, folder)


def test_an_older_table_is_unpacked_within_bounds(tmp_path: Path) -> None:
    record, folder = with_table(tmp_path, LONG_SLICES, gzip.compress(bytes((64 << 20) + 1), 1))
    with pytest.raises(UsageError, match="it unpacks to more than"):
        read_slices(record, folder)


@pytest.mark.parametrize("data", [b"no xz", lzma.compress(b""), lzma.compress(b"a,b\nc,d\n"), lzma.compress(b"\xff")])
def test_a_file_that_is_no_table_is_named(tmp_path: Path, data: bytes) -> None:
    record, folder = with_table(tmp_path, SLICES, data)
    with pytest.raises(UsageError, match=r"slices\.csv\.xz: no table of slices"):
        read_slices(record, folder)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_what_is_no_number_is_refused_by_name(tmp_path: Path, text: str) -> None:
    table = f"reference,metric,region,a\n,,patient,p\nlabel,RMSE,lung,{text}\n"
    record, folder = with_table(tmp_path, SLICES, lzma.compress(table.encode()))
    with pytest.raises(UsageError, match=SLICES):
        read_slices(record, folder)


def test_a_table_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.records.slice_table.MOST_BYTES", 10_000)
    record, folder = with_table(tmp_path, SLICES, lzma.compress(bytes(20_000)))
    with pytest.raises(UsageError, match="unpacks to more than 10000 bytes"):
        read_slices(record, folder)


def test_a_table_of_commas_is_refused_before_they_are_cells(tmp_path: Path) -> None:
    record, folder = with_table(tmp_path, SLICES, lzma.compress(b"," * (MOST_CELLS + 1), preset=0))
    with pytest.raises(UsageError, match=f"or {MOST_CELLS} cells"):
        read_slices(record, folder)
