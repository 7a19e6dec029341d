"""Layers: what Python's own tar writes passes as it is, and what its reader and ours read differently is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.base.errors import BuildError, ImagePolicyError
from harness.engines._layers import CHUNK, Unreadable, measured, unpacked

KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    """A tar as honest programs write them, long names and times of fractions among it."""
    file = io.BytesIO()
    format = draw(FORMATS)
    longest = 90 if format == tarfile.USTAR_FORMAT else 300
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for kind in draw(st.lists(KINDS, max_size=4)):
            info = tarfile.TarInfo(draw(st.text("ab/. \u00e4", min_size=1, max_size=longest // 3)).strip("/") or "x")
            info.type, info.linkname = kind, "there" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            info.mtime = draw(st.sampled_from([0, 2**31]))
            data = draw(st.binary(max_size=2000)) if kind == tarfile.REGTYPE else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def read(layer: bytes, *, room: int = 10**9) -> tuple[int, int, str]:
    return tuple(measured(io.BytesIO(layer), room=room, until=math.inf))  # type: ignore[return-value]


@given(tar=tars(), packed=st.booleans(), parts=st.integers(1, 3))
def test_an_honest_layer_is_handed_over_as_it_is(tar: bytes, packed: bool, parts: int) -> None:
    cut = -(-len(tar) // parts)
    layer = b"".join(gzip.compress(tar[at : at + cut]) for at in range(0, len(tar), cut)) if packed else tar
    assert b"".join(unpacked(io.BytesIO(layer))) == tar
    size, on_disk, digest = read(layer)
    assert (size, digest) == (len(tar), hashlib.sha256(tar).hexdigest())
    with tarfile.open(fileobj=io.BytesIO(tar)) as whole:
        assert on_disk == sum(max(one.size, 4096) for one in whole)


@given(tar=tars(), place=st.integers(0, 511), value=st.integers(0, 255))
def test_a_changed_header_is_read_as_python_reads_it_or_refused_by_one_of_us(
    tar: bytes, place: int, value: int
) -> None:
    changed = bytearray(tar)
    changed[place] = value
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed[:512])
    try:
        _, on_disk, _ = read(bytes(changed))
        with tarfile.open(fileobj=io.BytesIO(bytes(changed)), mode="r:") as whole:
            by_python = sum(max(one.size, 4096) for one in whole)
    except (Unreadable, ImagePolicyError, tarfile.TarError):
        return
    assert on_disk == by_python


def test_a_small_file_that_unpacks_without_end_stops_at_the_bound() -> None:
    packed = gzip.compress(bytes(10**7))
    with pytest.raises(Unreadable, match="has the number"):
        read(gzip.compress(b"x" * 10**7))
    with pytest.raises(ImagePolicyError, match="have more than"):
        read(packed, room=10**6)
    assert max(map(len, unpacked(io.BytesIO(packed)))) <= CHUNK
    with pytest.raises(BuildError, match="take too long"):
        measured(io.BytesIO(packed * 3), room=10**9, until=0)
