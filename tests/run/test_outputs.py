from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.base.errors import OutputQuotaError, OutputsError
from harness.base.png import Rejected, Slice
from harness.run.outputs import check_levels, read_outputs
from harness.sandbox import output_quota
from tests.png_files import GOOD, HEIGHT, IEND, PIXELS, WIDTH, ihdr, png

SIZES = {"a1": (HEIGHT, WIDTH), "b2": (HEIGHT, WIDTH)}
QUOTA = output_quota(SIZES.values())


# -------------------------------------------------------------------------------- grey levels
@pytest.mark.parametrize(("level", "said"), [(0, "constant"), (128, "constant")])
def test_a_constant_slice_is_refused(level: int, said: str) -> None:
    with pytest.raises(Rejected, match=said):
        check_levels(np.full((4, 4), level, dtype=np.uint8))


def test_a_slice_scaled_to_one_is_refused_with_a_hint() -> None:
    with pytest.raises(Rejected, match="multiply by 255"):
        check_levels(np.array([[0, 1]], dtype=np.uint8))
    check_levels(np.array([[0, 2]], dtype=np.uint8))


# -------------------------------------------------------------------------------- the tar
def file_entry(name: str, data: bytes = GOOD) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, data


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def tar_of(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def in_pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def read(*entries: tuple[tarfile.TarInfo, bytes]) -> dict[str, Slice]:
    return read_outputs(in_pieces(tar_of(special("./", tarfile.DIRTYPE), *entries)), sizes=SIZES, quota=QUOTA)


A, B = file_entry("./a1.png"), file_entry("./b2.png")


def test_complete_outputs_are_read_in_the_order_of_the_cases() -> None:
    outputs = read(B, A)
    assert list(outputs) == ["a1", "b2"]
    np.testing.assert_array_equal(outputs["b2"].pixels, PIXELS)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ((), "/output is empty, expected 2 files"),
        ((A,), "1 missing: b2.png"),
        ((A, B, file_entry("./c3.png")), "1 not expected: 'c3.png'"),
        ((A, B, file_entry("./b2.PNG")), "1 not expected: 'b2.PNG'"),
        ((A, B, file_entry("./a1.png\n")), r"1 not expected: 'a1.png\n'"),
        ((A, file_entry("./b2")), "1 missing: b2.png. 1 not expected: 'b2'"),
        ((A, file_entry("./sub/b2.png")), "not expected: 'sub/b2.png'"),
        ((A, file_entry("../b2.png")), "not expected: '../b2.png'"),
        ((A, file_entry("/b2.png")), "not expected: '/b2.png'"),
        ((A, B, special("./" + "x" * 200, tarfile.DIRTYPE)), f"1 not expected: '{'x' * 57}...' (folder)"),
        ((A, special("./b2.png", tarfile.SYMTYPE, "/input/b2.png")), "b2.png is a symbolic link"),
        ((A, special("./b2.png", tarfile.LNKTYPE, "./a1.png")), "b2.png is a hard link"),
        ((A, special("./b2.png", tarfile.FIFOTYPE)), "b2.png is a FIFO"),
        ((A, special("./b2.png", tarfile.CHRTYPE)), "b2.png is a special file"),
        ((A, special("./b2.png", tarfile.DIRTYPE)), "b2.png is a folder"),
        ((A, file_entry("./b2.png", b"text")), "1 wrong: b2.png is not a PNG file"),
        ((A, file_entry("./b2.png", bytes(100_000))), "b2.png has 100000 bytes"),
    ],
)
def test_everything_that_is_wrong_is_listed(entries: tuple[tuple[tarfile.TarInfo, bytes], ...], said: str) -> None:
    with pytest.raises(OutputsError) as caught:
        read(*entries)
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.fix


def test_long_lists_are_cut() -> None:
    with pytest.raises(OutputsError, match=r"9 not expected: 's0'; 's1'; 's2'; 's3'; 's4'; and 4 more"):
        read(A, B, *(file_entry(f"./s{number}") for number in range(9)))


def test_files_that_are_wrong_alike_share_one_reason() -> None:
    with pytest.raises(OutputsError) as caught:
        read(file_entry("./a1.png", b"text"), file_entry("./b2.png", b"more text"))
    assert "2 wrong: a1.png is not a PNG file (likewise b2.png)" in caught.value.message


def test_a_sparse_giant_is_refused_by_its_header() -> None:
    info = tarfile.TarInfo("./a1.png")
    info.size = 2**40
    header = info.tobuf(tarfile.GNU_FORMAT)

    def stream() -> Iterator[bytes]:
        yield header
        while True:  # for ever
            yield bytes(2**16)

    with pytest.raises(OutputQuotaError, match="claims 1099511627776 bytes"):
        read_outputs(stream(), sizes=SIZES, quota=QUOTA)


def test_an_endless_stream_is_cut() -> None:
    def stream() -> Iterator[bytes]:
        for number in range(10**9):
            info, data = file_entry(f"./{number}")
            yield info.tobuf() + data + bytes(-len(data) % 512)

    with pytest.raises(OutputQuotaError, match="more bytes than its quota"):
        read_outputs(stream(), sizes=SIZES, quota=QUOTA)


@given(st.binary(max_size=3000))
def test_any_stream_is_read_or_refused(data: bytes) -> None:
    with pytest.raises((OutputsError, OutputQuotaError)):
        read_outputs([data], sizes=SIZES, quota=QUOTA)


@given(st.integers(0, 1500), st.binary(min_size=1, max_size=8))
def test_a_damaged_tar_gives_the_pixels_or_is_refused(at: int, junk: bytes) -> None:
    tar = tar_of(A, B)
    data = tar[:at] + junk + tar[at + len(junk) :]
    try:
        outputs = read_outputs([data], sizes=SIZES, quota=QUOTA)
    except (OutputsError, OutputQuotaError):
        return
    for one in outputs.values():
        np.testing.assert_array_equal(one.pixels, PIXELS)


# -------------------------------------------------------------------------------- 16 bits
HU = (40 + 8192 + PIXELS.astype(np.uint16)).astype(np.uint16)
HU_QUOTA = output_quota(SIZES.values(), bits=16)


def deep(pixels: bytes, *, colour: int = 0, interlace: int = 0, height: int = HEIGHT) -> bytes:
    return png(
        (b"IHDR", ihdr(depth=16, colour=colour, interlace=interlace, height=height)),
        (b"IDAT", zlib.compress(pixels)),
        IEND,
    )


def rows_of(pixels: np.ndarray[Any, np.dtype[np.uint16]]) -> bytes:
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)


def read_hu(data: bytes) -> dict[str, Slice]:
    entries = (file_entry("./a1.png", deep(rows_of(HU))), file_entry("./b2.png", data))
    return read_outputs(in_pieces(tar_of(*entries)), sizes=SIZES, quota=HU_QUOTA, bits=16)


def test_outputs_in_hu_are_read_to_the_hu() -> None:
    outputs = read_hu(deep(rows_of(HU[::-1])))
    assert outputs["a1"].pixels.dtype == np.uint16
    np.testing.assert_array_equal(outputs["a1"].pixels, HU)
    np.testing.assert_array_equal(outputs["b2"].pixels, HU[::-1])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (GOOD, "has 8 bits per channel, expected 16"),
        (deep(rows_of(HU), interlace=1), "is interlaced"),
        (deep(rows_of(HU), height=HEIGHT + 1), "expected 12 x 20"),
        (deep(bytes(HEIGHT * (1 + 6 * WIDTH)), colour=2), "has three channels of 16 bits"),
        (deep(rows_of(HU)[:-1]), "holds more or fewer bytes"),
        (deep(rows_of(HU) + b"\0"), "holds more or fewer bytes"),
        (deep(rows_of(HU)[: HEIGHT * (1 + WIDTH)]), "holds more or fewer bytes"),  # so many as 8 bits take
        (deep(bytes(50_000_000)), "holds more or fewer bytes"),  # a bomb: 50 kB
        (deep(rows_of(np.full_like(HU, 65535))), "is constant (every pixel is 65535)"),
        (deep(rows_of(HU - np.uint16(8192))), "HU without the offset of 8192"),
    ],
)
def test_what_is_wrong_with_an_output_in_hu_is_named(data: bytes, said: str) -> None:
    with pytest.raises(OutputsError) as caught:
        read_hu(data)
    assert said in caught.value.message or "bytes, while a PNG of that size needs" in caught.value.message
    assert "np.uint16(np.clip(hu + 8192, 0, 65535).round())" in caught.value.fix
