"""What a folder of slices holds, by name alone."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.base.png import COPY_ANEW, GREY, WINDOWED, Rejected
from harness.base.slices import LONGEST_NAME, PUT_FILE, find_slices, read_slice


def touch(folder: Path, *names: str | bytes) -> None:
    for name in names:
        os.close(os.open(os.path.join(os.fsencode(folder), os.fsencode(name)), os.O_CREAT))  # noqa: PTH118 -- bytes


def test_slices_litter_and_strays(tmp_path: Path) -> None:
    touch(tmp_path, "b 1.png", "a.PNG", "._a.png", ".DS_Store", "Thumbs.db", "notes.txt", ".png", ".hidden.png")
    (tmp_path / "more.png").mkdir()
    found = find_slices(tmp_path)
    assert found.slices == {"a": tmp_path / "a.PNG", "b 1": tmp_path / "b 1.png"}
    assert found.litter == [".DS_Store", "._a.png", "Thumbs.db"]
    assert [stray.split(" (")[0] for stray in found.strays] == ["'.hidden.png'", "'.png'", "'more.png'", "'notes.txt'"]


@pytest.mark.parametrize(
    "name", [b"P\xe9.png", b"a\n.png", b"\x1b[2J.png", "\u2028.png", "\u202e.png", "x" * 201 + ".png"]
)
def test_names_that_are_no_text_are_shown_escaped(tmp_path: Path, name: str | bytes) -> None:
    touch(tmp_path, name)
    found = find_slices(tmp_path)
    assert (found.slices, found.litter) == ({}, [])
    (stray,) = found.strays
    assert stray.isascii()
    assert stray.isprintable()


def test_long_and_foreign_names_are_taken_in_one_form(tmp_path: Path) -> None:
    names = ["x" * LONGEST_NAME, "Pérez", "患者"]
    touch(tmp_path, *(unicodedata.normalize("NFD", f"{name}.png") for name in names))
    assert set(find_slices(tmp_path).slices) == set(names)


def test_each_kind_of_wrong_file_has_its_own_remedy(tmp_path: Path) -> None:
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    grey.save(tmp_path / "truncated.png")
    whole = (tmp_path / "truncated.png").read_bytes()
    (tmp_path / "truncated.png").write_bytes(whole[:-20])
    (tmp_path / "empty.png").touch()
    (tmp_path / "trailing.png").write_bytes(whole + b"x")
    os.mkfifo(tmp_path / "fifo.png")
    grey.save(tmp_path / "photo.png", format="JPEG")
    grey.convert("1").save(tmp_path / "bit.png")
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(tmp_path / "deep.png")
    fixes = {}
    for path in tmp_path.iterdir():
        with pytest.raises(Rejected) as caught:
            read_slice(path)
        fixes[path.stem] = caught.value.fix
    assert fixes == {
        **dict.fromkeys(("truncated", "empty", "trailing"), COPY_ANEW),
        "fifo": PUT_FILE,
        **dict.fromkeys(("photo", "bit"), GREY),
        "deep": WINDOWED,
    }


def test_one_name_in_two_forms_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "é.png", "e\u0301.png", "b.png", "b.PNG")
    found = find_slices(tmp_path)
    assert set(found.slices) == {"é", "b"}
    assert len(found.strays) == 2
    assert all("a second file of" in stray for stray in found.strays)
