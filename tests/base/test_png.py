from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.base.png import Rejected, read_png, stored_png
from tests.png_files import GOOD, HEIGHT, IDAT, IEND, PIXELS, ROWS, WIDTH, ihdr, pillow_png, png


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
    assert read.pixels.dtype == np.uint8
    np.testing.assert_array_equal(read.pixels, pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(read.png)).convert("L")), pixels)


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
    read = read_png(data, height=HEIGHT, width=WIDTH)
    np.testing.assert_array_equal(read.pixels, PIXELS)
    assert read.png == GOOD


def test_what_lies_behind_the_pixels_does_not_stay() -> None:
    data = png((b"IHDR", ihdr()), (b"IDAT", IDAT[1] + b"smuggled"), IEND)
    assert read_png(data, height=HEIGHT, width=WIDTH).png == GOOD


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
        (GOOD[:45] + b"\xff" + GOOD[46:], "checksum of chunk 'IDAT'"),
        (png((b"IHDR", ihdr(height=13)), IDAT, IEND), "has 13 x 20 pixels"),
        (png((b"IHDR", ihdr(width=10**9)), IDAT, IEND), "has 12 x 1000000000 pixels"),
        (pillow_png(Image.fromarray(PIXELS.astype(np.uint16) * 257)), "has 16 bits per channel"),
        (pillow_png(Image.fromarray(PIXELS).convert("P")), "a palette"),
        (pillow_png(Image.fromarray(PIXELS).convert("LA")), "an alpha channel"),
        (pillow_png(Image.fromarray(PIXELS).convert("RGBA")), "an alpha channel"),
        (pillow_png(Image.fromarray(PIXELS > 99)), "has 1 bit per channel"),
        (pillow_png(Image.fromarray(PIXELS), transparency=7), "transparent"),
        (ANIMATED, "animated"),
        (png((b"IHDR", ihdr(interlace=1)), IDAT, IEND), "interlaced"),
        (png((b"IHDR", ihdr(colour=5)), IDAT, IEND), "colour type 5"),
        (png((b"IHDR", ihdr()[:12]), IDAT, IEND), "length of its header"),
        (png(IDAT, (b"IHDR", ihdr()), IEND), "order"),
        (png((b"IHDR", ihdr()), (b"IHDR", ihdr()), IDAT, IEND), "order"),
        (png((b"IHDR", ihdr()), IDAT, (b"tEXt", b"x"), IDAT, IEND), "order"),
        (png((b"IHDR", ihdr()), (b"EVIL", b""), IDAT, IEND), "unknown chunk"),
        (png((b"IHDR", ihdr()), IEND), "more or fewer bytes"),
        (png((b"IHDR", ihdr()), (b"IDAT", zlib.compress(ROWS[:-1])), IEND), "more or fewer bytes"),
        (png((b"IHDR", ihdr()), (b"IDAT", zlib.compress(ROWS + b"x")), IEND), "more or fewer bytes"),
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
    with pytest.raises(Rejected, match="more or fewer bytes"):
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
    np.testing.assert_array_equal(read.pixels, PIXELS)


@given(st.binary(max_size=200), st.lists(st.tuples(st.binary(min_size=4, max_size=4), st.binary(max_size=40))))
def test_any_bytes_are_read_or_rejected(tail: bytes, chunks: list[tuple[bytes, bytes]]) -> None:
    for data in (tail, b"\x89PNG\r\n\x1a\n" + tail, png((b"IHDR", ihdr()), *chunks, IDAT, IEND)):
        try:
            read = read_png(data, height=HEIGHT, width=WIDTH)
        except Rejected:
            continue
        assert read.pixels.shape == (HEIGHT, WIDTH)


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_16_bits_are_read_where_they_may_be(height: int, width: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 65535), min_size=height * width, max_size=height * width))
    pixels = np.array(values, np.uint16).reshape(height, width)
    file = pillow_png(Image.fromarray(pixels))
    read = read_png(file, height=height, width=width, bits=(8, 16))
    assert read.pixels.dtype == np.uint16
    np.testing.assert_array_equal(read.pixels, pixels)
    np.testing.assert_array_equal(read_png(read.png, height=height, width=width, bits=(16,)).pixels, pixels)
    with pytest.raises(Rejected, match="has 16 bits per channel, expected 8"):
        read_png(file, height=height, width=width)


def test_only_16_bits_may_be_asked_for() -> None:
    with pytest.raises(Rejected, match="has 8 bits per channel, expected 16"):
        read_png(GOOD, height=HEIGHT, width=WIDTH, bits=(16,))
    colour = png((b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(7))), IEND)
    with pytest.raises(Rejected, match="three channels of 16 bits"):
        read_png(colour, height=1, width=1, bits=(8, 16))


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([np.uint8, np.uint16]), st.integers(0, 2**32 - 1))
def test_a_stored_slice_is_what_everybody_reads(
    height: int, width: int, kind: type[np.unsignedinteger], seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, (width, height), kind, endpoint=True).T
    file = stored_png(pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file))), pixels)
    read = read_png(file, height=height, width=width, bits=(8, 16))
    assert read.pixels.dtype == kind
    np.testing.assert_array_equal(read.pixels, pixels)
    assert read.png == file
