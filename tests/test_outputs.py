from __future__ import annotations

import io
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from harness.errors import OutputQuotaError, OutputsError
from harness.outputs import Rejected, check_grey_levels, read_outputs, read_png
from harness.sandbox import output_quota

HEIGHT, WIDTH = 12, 20
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
SIZES = {"a1": (HEIGHT, WIDTH), "b2": (HEIGHT, WIDTH)}
QUOTA = output_quota(SIZES.values())


def pillow_png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks)


def ihdr(*, width: int = WIDTH, height: int = HEIGHT, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)


ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)
IDAT = (b"IDAT", zlib.compress(ROWS))
IEND = (b"IEND", b"")
GOOD = png((b"IHDR", ihdr()), IDAT, IEND)


# -------------------------------------------------------------------------------- one PNG
@given(
    st.integers(1, 40).flatmap(
        lambda width: st.lists(st.binary(min_size=width, max_size=width), min_size=1, max_size=20)
    ),
    st.booleans(),
    st.integers(0, 9),
)
def test_what_a_common_encoder_writes_is_read_back(rows: list[bytes], colour: bool, level: int) -> None:
    pixels = np.array([list(row) for row in rows], dtype=np.uint8)
    image = Image.fromarray(pixels).convert("RGB") if colour else Image.fromarray(pixels)
    read = read_png(pillow_png(image, compress_level=level), height=pixels.shape[0], width=pixels.shape[1])
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, pixels)


def test_texts_and_split_data_are_fine() -> None:
    half = len(IDAT[1]) // 2
    data = png(
        (b"IHDR", ihdr()),
        (b"tEXt", b"Comment\0from a viewer"),
        (b"IDAT", IDAT[1][:half]),
        (b"IDAT", IDAT[1][half:]),
        (b"tIME", bytes(7)),
        IEND,
    )
    np.testing.assert_array_equal(read_png(data, height=HEIGHT, width=WIDTH), PIXELS)


ANIMATED = png((b"IHDR", ihdr()), (b"acTL", struct.pack(">II", 2, 0)), IDAT, IEND)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a PNG"),
        (b"II*\0 a TIFF", "not a PNG"),
        (b"P5 20 12 255 " + bytes(240), "not a PNG"),
        (GOOD[:-1], "truncated"),
        (GOOD[:60], "truncated"),
        (GOOD + b"tail", "4 bytes after its end"),
        (GOOD[:45] + b"\xff" + GOOD[46:], "check sum"),
        (png((b"IHDR", ihdr(height=13)), IDAT, IEND), "has 13 x 20 pixels"),
        (png((b"IHDR", ihdr(width=10**9)), IDAT, IEND), "has 12 x 1000000000 pixels"),
        (pillow_png(Image.fromarray(PIXELS.astype(np.uint16) * 257)), "has 16 bits per channel"),
        (pillow_png(Image.fromarray(PIXELS).convert("P")), "a palette"),
        (pillow_png(Image.fromarray(PIXELS).convert("LA")), "an alpha channel"),
        (pillow_png(Image.fromarray(PIXELS).convert("RGBA")), "an alpha channel"),
        (pillow_png(Image.fromarray(PIXELS > 99)), "has 1 bits per channel"),
        (pillow_png(Image.fromarray(PIXELS), transparency=7), "transparent"),
        (ANIMATED, "animated"),
        (png((b"IHDR", ihdr(interlace=1)), IDAT, IEND), "interlaced"),
        (png((b"IHDR", ihdr(colour=5)), IDAT, IEND), "colour type 5"),
        (png((b"IHDR", ihdr()[:12]), IDAT, IEND), "length of its header"),
        (png(IDAT, (b"IHDR", ihdr()), IEND), "order"),
        (png((b"IHDR", ihdr()), (b"IHDR", ihdr()), IDAT, IEND), "order"),
        (png((b"IHDR", ihdr()), IDAT, (b"tEXt", b"x"), IDAT, IEND), "order"),
        (png((b"IHDR", ihdr()), (b"EVIL", b""), IDAT, IEND), "unknown chunk"),
        (png((b"IHDR", ihdr()), IEND), "do not fill"),
        (png((b"IHDR", ihdr()), (b"IDAT", zlib.compress(ROWS[:-1])), IEND), "do not fill"),
        (png((b"IHDR", ihdr()), (b"IDAT", zlib.compress(ROWS + b"x")), IEND), "do not fill"),
        (png((b"IHDR", ihdr()), (b"IDAT", b"not zlib"), IEND), "damaged"),
        (png((b"IHDR", ihdr()), (b"IDAT", zlib.compress(b"\x05" + ROWS[1:])), IEND), "row filter"),
        (pillow_png(Image.fromarray(np.dstack([PIXELS, PIXELS, 255 - PIXELS]))), "in colour"),
    ],
)
def test_what_is_not_an_acceptable_slice_is_named(data: bytes, said: str) -> None:
    with pytest.raises(Rejected, match=said):
        read_png(data, height=HEIGHT, width=WIDTH)


def test_a_bomb_is_not_inflated() -> None:
    packer = zlib.compressobj(9)
    zeros = bytes(2**20)
    bomb = b"".join(packer.compress(zeros) for _ in range(200)) + packer.flush()
    data = png((b"IHDR", ihdr()), (b"IDAT", bomb), IEND)
    tracemalloc.start()
    with pytest.raises(Rejected, match="do not fill"):
        read_png(data, height=HEIGHT, width=WIDTH)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * len(data) < 200 * 2**20


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.booleans())
def test_a_changed_byte_never_gives_other_pixels_unseen(at: int, value: int, cut: bool) -> None:
    data = GOOD[:at] if cut else GOOD[:at] + bytes([value]) + GOOD[at + 1 :]
    try:
        read = read_png(data, height=HEIGHT, width=WIDTH)
    except Rejected:
        return
    assert data == GOOD
    np.testing.assert_array_equal(read, PIXELS)


@given(st.binary(max_size=200), st.lists(st.tuples(st.binary(min_size=4, max_size=4), st.binary(max_size=40))))
def test_any_bytes_are_read_or_rejected(tail: bytes, chunks: list[tuple[bytes, bytes]]) -> None:
    for data in (tail, b"\x89PNG\r\n\x1a\n" + tail, png((b"IHDR", ihdr()), *chunks, IDAT, IEND)):
        try:
            read = read_png(data, height=HEIGHT, width=WIDTH)
        except Rejected:
            continue
        assert read.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize(("level", "said"), [(0, "constant"), (128, "constant")])
def test_a_constant_slice_is_refused(level: int, said: str) -> None:
    with pytest.raises(Rejected, match=said):
        check_grey_levels(np.full((4, 4), level, dtype=np.uint8))


def test_a_slice_scaled_to_one_is_refused_with_a_hint() -> None:
    with pytest.raises(Rejected, match="multiply by 255"):
        check_grey_levels(np.array([[0, 1]], dtype=np.uint8))
    check_grey_levels(np.array([[0, 2]], dtype=np.uint8))


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


def read(*entries: tuple[tarfile.TarInfo, bytes]) -> dict[str, NDArray[np.uint8]]:
    return read_outputs(in_pieces(tar_of(special("./", tarfile.DIRTYPE), *entries)), sizes=SIZES, quota=QUOTA)


A, B = file_entry("./a1.png"), file_entry("./b2.png")


def test_complete_outputs_are_read_in_the_order_of_the_cases() -> None:
    outputs = read(B, A)
    assert list(outputs) == ["a1", "b2"]
    np.testing.assert_array_equal(outputs["b2"], PIXELS)


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
    with pytest.raises(OutputsError, match=r"9 not expected: 's0'; 's1'; 's2'; 's3'; 's4', and 4 more"):
        read(A, B, *(file_entry(f"./s{number}") for number in range(9)))


def test_files_that_are_wrong_alike_share_one_reason() -> None:
    with pytest.raises(OutputsError) as caught:
        read(file_entry("./a1.png", b"text"), file_entry("./b2.png", b"more text"))
    assert "2 wrong: a1.png is not a PNG file (so it is with b2.png)" in caught.value.message


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
    for pixels in outputs.values():
        np.testing.assert_array_equal(pixels, PIXELS)
