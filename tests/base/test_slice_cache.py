from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.base.slice_cache import Refused, keep_slice, make_slices, read_facts
from harness.base.slices import read_grey
from harness.base.structs import Strict


class Facts(Strict, frozen=True, kw_only=True):
    value: int


def make(name: str, value: int, folder: str) -> Facts | Refused:
    if value > 255:
        return Refused(reason=f"{value} is too bright")
    return keep_slice(Path(folder), name, {"lq": np.full((4, 6), value, np.uint8)}, Facts(value=value))


def test_slices_are_made_once_and_refusals_are_told(tmp_path: Path) -> None:
    tasks = {name: (name, value) for name, value in {"a": 1, "b": 300, "c": 3}.items()}
    heard: list[tuple[int, int]] = []
    made, refused = make_slices(tmp_path, tasks, make, Facts, progress=lambda *done: heard.append(done))
    assert made == {"a": Facts(value=1), "c": Facts(value=3)}
    assert refused == {"b": "300 is too bright"}
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert read_facts(tmp_path, "c", Facts) == Facts(value=3)
    assert (read_grey(tmp_path / "lq" / "c.png") == 3).all()

    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    (tmp_path / "lq" / "a.png").write_bytes(b"damaged")
    again, _ = make_slices(tmp_path, {"a": ("a", 1), "c": ("c", 3)}, make, Facts, progress=None)
    assert again == made
    assert (read_grey(tmp_path / "lq" / "a.png") == 1).all()
    assert (tmp_path / "lq" / "c.png").stat().st_mtime_ns == written[tmp_path / "lq" / "c.png"]


def test_a_note_of_another_kind_is_no_note(tmp_path: Path) -> None:
    class Other(Strict, frozen=True, kw_only=True):
        name: str

    keep_slice(tmp_path, "a", {"lq": np.zeros((4, 6), np.uint8)}, Other(name="x"))
    made, _ = make_slices(tmp_path, {"a": ("a", 7)}, make, Facts, progress=None)
    assert made == {"a": Facts(value=7)}
