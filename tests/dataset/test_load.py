from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from harness.base.errors import UsageError
from harness.base.slices import read_grey, write_grey
from harness.dataset.cases import Dataset, first_cases
from harness.dataset.load import load_data
from harness.imaging.regions import Code
from harness.phantom import levels, levels_with_nodules, make_patient
from harness.protocol import FolderData, PhantomData, Protocol, load_protocol
from tests.chest import chest_pair
from tests.png_files import IEND, ihdr, png

SHARED = Path(__file__).resolve().parents[3] / "shared"
SMALL = PhantomData(patients=2, slices=2, size=64, seed=5)


def with_data(data: PhantomData | FolderData) -> Protocol:
    return msgspec.structs.replace(load_protocol("phantom-mini"), data=data)


def folder(root: Path, **changes: object) -> Dataset:
    return load_data(with_data(FolderData(path=str(root), **changes)))  # type: ignore[arg-type]


@pytest.fixture
def authors_layout(tmp_path: Path) -> Path:
    """Four slices of two patients as the authors lay them out."""
    for name in ("P1_01", "P1_02", "P2_01", "P2_02"):
        for kind, image in zip(("lq", "gt"), chest_pair(patient=int(name[1]), slice=int(name[-1])), strict=True):
            write_grey(tmp_path / kind / f"{name}.png", image)
    return tmp_path


# ------------------------------------------------------------------------------------------------ folder
def test_folder_is_read_with_patients_window_and_digest(authors_layout: Path) -> None:
    dataset = folder(authors_layout, patient="([^_]+)", window_hu=(-1024.0, 1200.0), pixel_mm=5.0)
    assert [case.name for case in dataset.cases] == ["P1_01", "P1_02", "P2_01", "P2_02"]
    assert [case.patient for case in dataset.cases] == ["P1", "P1", "P2", "P2"]
    assert {case.truth for case in dataset.cases} == {None}
    assert dataset.window_hu == (-1024.0, 1200.0)
    again = folder(authors_layout, patient="([^_]+)", window_hu=(-1024.0, 1200.0), pixel_mm=5.0)
    assert again.digest == dataset.digest
    assert folder(authors_layout, patient="([^_]+)").digest != dataset.digest
    write_grey(Path(dataset.cases[0].gt), read_grey(Path(dataset.cases[0].gt)) // 2 * 2)
    changed = folder(authors_layout, patient="([^_]+)", window_hu=(-1024.0, 1200.0), pixel_mm=5.0)
    assert changed.digest != dataset.digest


def test_folder_may_be_an_environment_variable(authors_layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULDCT_DATA", str(authors_layout))
    assert len(load_data(load_protocol("patient-uldct")).cases) == 4
    monkeypatch.delenv("ULDCT_DATA")
    with pytest.raises(UsageError, match="ULDCT_DATA"):
        load_data(load_protocol("patient-uldct"))


def remove_partner(root: Path) -> None:
    (root / "gt" / "P1_02.png").unlink()


def other_size(root: Path) -> None:
    write_grey(root / "lq" / "P1_02.png", np.arange(48 * 48, dtype=np.uint8).reshape(48, 48))


def sixteen_bit(root: Path) -> None:
    Image.fromarray(np.arange(192, dtype=np.uint16).reshape(12, 16) * 300).save(root / "lq" / "P1_02.png")


def colour(root: Path) -> None:
    Image.fromarray(np.arange(576, dtype=np.uint16).reshape(12, 16, 3).astype(np.uint8)).save(root / "lq" / "P1_02.png")


def unreadable(root: Path) -> None:
    (root / "lq" / "P1_02.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def constant(root: Path) -> None:
    write_grey(root / "lq" / "P1_02.png", np.full((64, 64), 7, np.uint8))


def empty(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.unlink()


def sub_folder(root: Path) -> None:
    (root / "gt" / "more").mkdir()


def other_format(root: Path) -> None:
    (root / "lq" / "P1_02.jpg").write_bytes(b"")


def other_encoding(root: Path) -> None:
    for kind in ("lq", "gt"):
        os.rename(root / kind / "P1_02.png", os.fsencode(root / kind) + b"/P\xe9rez_2.png")  # noqa: PTH104 -- bytes


def two_spellings(root: Path) -> None:
    for name in ("P\u00e9_1.png", "Pe\u0301_1.png"):
        shutil.copy(root / "lq" / "P1_02.png", root / "lq" / name)


def no_text(root: Path) -> None:
    shutil.copy(root / "lq" / "P1_02.png", root / "lq" / "P1\u202e_02.png")


def pipe(root: Path) -> None:
    (root / "lq" / "P1_02.png").unlink()
    os.mkfifo(root / "lq" / "P1_02.png")


def link_to_nothing(root: Path) -> None:
    (root / "lq" / "P1_02.png").unlink()
    (root / "lq" / "P1_02.png").symlink_to("gone")


def deep_colour(root: Path) -> None:
    rows = b"\0" + bytes(range(6)) * 50
    data = png((b"IHDR", ihdr(width=50, height=1, depth=16, colour=2)), (b"IDAT", zlib.compress(rows)), IEND)
    (root / "lq" / "P1_02.png").write_bytes(data)


def four_bits(root: Path) -> None:
    data = png((b"IHDR", ihdr(width=4, height=1, depth=4)), (b"IDAT", zlib.compress(bytes(3))), IEND)
    (root / "lq" / "P1_02.png").write_bytes(data)


def transparent(root: Path) -> None:
    Image.fromarray(read_grey(root / "lq" / "P1_02.png")).save(root / "lq" / "P1_02.png", transparency=7)


def twice(root: Path) -> None:
    for kind in ("lq", "gt"):
        shutil.copy(root / kind / "P1_02.png", root / kind / "P9_02.png")


def mirrored(root: Path) -> None:
    write_grey(root / "gt" / "P1_02.png", read_grey(root / "gt" / "P1_02.png")[:, ::-1])


def no_folder(root: Path) -> None:
    shutil.rmtree(root / "gt")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (remove_partner, r"no partner(.|\n)*gt/P1_02\.png"),
        (other_size, r"differs in size(.|\n)*lq/P1_02\.png \(48, 48\)"),
        (sixteen_bit, r"lq/P1_02\.png.*16-bit"),
        (colour, r"lq/P1_02\.png.*colour"),
        (unreadable, r"lq/P1_02\.png is a truncated PNG"),
        (constant, r"constant(.|\n)*lq/P1_02\.png"),
        (empty, "holds no .png"),
        (no_folder, "gt: no such folder"),
        (sub_folder, r"gt: 'more' \(a folder\)"),
        (other_format, r"lq: 'P1_02\.jpg' \(not a \.png\)"),
        (other_encoding, r"lq: 'P\\udce9rez_2\.png' \(its name is not UTF-8\)"),
        (two_spellings, r"lq: 'P\\xe9_1\.png' \(a second file of P\u00e9_1, beside 'Pe\\u0301_1.png'\)"),
        (no_text, r"lq: 'P1\\u202e_02\.png' \(its name"),
        (pipe, r"lq/P1_02\.png is not a regular file"),
        (link_to_nothing, r"lq/P1_02\.png is a link to nothing"),
        (deep_colour, r"lq/P1_02\.png has 16 bits per channel.*16-bit"),
        (four_bits, r"lq/P1_02\.png has 4 bits per channel"),
        (transparent, r"lq/P1_02\.png has transparent pixels"),
        (twice, r"P9_02: its low-dose image is that of P1_02"),
        (mirrored, r"P1_02: one of its images is flipped left to right"),
    ],
)
def test_folder_faults_name_the_file(authors_layout: Path, spoil: Callable[[Path], None], complaint: str) -> None:
    spoil(authors_layout)
    with pytest.raises(UsageError, match=complaint):
        folder(authors_layout)


def test_what_a_system_left_is_skipped_and_named(authors_layout: Path) -> None:
    dataset = folder(authors_layout)
    assert dataset.notes == ()
    (authors_layout / "lq" / "._P1_01.png").write_bytes(b"\0\5\x16\7")
    (authors_layout / "gt" / ".DS_Store").write_bytes(b"")
    littered = folder(authors_layout)
    assert (littered.cases, littered.digest) == (dataset.cases, dataset.digest)
    assert ["'._P1_01.png'" in littered.notes[0], "'.DS_Store'" in littered.notes[1]] == [True, True]


def test_the_spelling_of_a_name_does_not_matter(authors_layout: Path) -> None:
    """macOS writes an umlaut as two characters, Windows a suffix in capitals."""
    for kind, name in (("lq", "Pe\u0301_1.PNG"), ("gt", "P\u00e9_1.png")):
        (authors_layout / kind / "P1_01.png").rename(authors_layout / kind / name)
    dataset = folder(authors_layout, patient="([^_]+)")
    assert [case.name for case in dataset.cases] == ["P1_02", "P2_01", "P2_02", "P\u00e9_1"]
    assert dataset.cases[-1].patient == "P\u00e9"


def test_another_patients_slice_is_named(authors_layout: Path) -> None:
    one, other = (authors_layout / "gt" / name for name in ("P1_01.png", "P2_01.png"))
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)
    notes = folder(authors_layout, patient="([^_]+)").notes
    assert len(notes) == 2
    assert notes[0].startswith("slice P1_01 may not fit: the normal-dose image of P2_01, another patient's, fits")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"pixel_mm": 0.005}, r"not 50 to 700 mm wide(.|\n)*lq/P1_01\.png: 64 pixels of 0\.005 mm are 0\.32 mm"),
        ({"pixel_mm": 64.0}, "not 50 to 700 mm wide"),
    ],
)
def test_a_pixel_in_another_unit_is_refused(authors_layout: Path, changes: dict[str, float], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        folder(authors_layout, **changes)


@pytest.mark.parametrize(
    "window",
    [
        *[(1200, -1024), (0, 0), (float("-inf"), 0), (-1024, float("nan")), (-1024, 1e300)],
        *[(0, 1e-9), (0, 1), (-1, 1), (0, 255), (0, 4095)],  # other units: shares, grey levels, stored values
    ],
)
def test_a_window_that_is_none_of_hu_is_refused(window: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected the HU of grey 0 "):
        FolderData(path=".", window_hu=window)


def test_slices_suit_every_metric_of_the_protocol(authors_layout: Path) -> None:
    for path in authors_layout.rglob("*.png"):
        write_grey(path, read_grey(path)[:40])
    with pytest.raises(UsageError, match=r"too small for metrics of the protocol(.|\n)*P1_01\.png \(40, 64\): VIF"):
        folder(authors_layout)


def test_one_slice_is_no_set(authors_layout: Path) -> None:
    for path in [*authors_layout.rglob("P1_02.png"), *authors_layout.rglob("P2_*.png")]:
        path.unlink()
    with pytest.raises(UsageError, match="holds one slice, while FID"):
        folder(authors_layout)


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("(", "data.patient"),
        ("P.", "group"),
        ("(X)", "do not match"),
        (r"(X\d)", r"do not match '\(X\\d\)'"),  # as it was written
        ("(?:(q)|P)", "P1_01: its first group is empty"),
        ("(Q*)P", "P1_01: its first group is empty"),
    ],
)
def test_patient_patterns_that_cannot_work_are_refused(authors_layout: Path, pattern: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        folder(authors_layout, patient=pattern)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the slices that stay outside the project")
def test_published_slices_in_the_authors_layout_are_read(tmp_path: Path) -> None:
    for case in sorted((SHARED / "golden").iterdir()):
        for kind in ("lq", "gt"):
            if (case / f"{kind}.png").is_file():
                (tmp_path / kind).mkdir(exist_ok=True)
                shutil.copyfile(case / f"{kind}.png", tmp_path / kind / f"{case.name}.png")
    assert len(folder(tmp_path).cases) == 14


# ------------------------------------------------------------------------------------------------ phantom
def test_phantom_is_built_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    dataset = load_data(with_data(SMALL))
    assert [case.name for case in dataset.cases] == ["p01-s01", "p01-s02", "p02-s01", "p02-s02"]
    assert {read_grey(Path(str(path))).shape for case in dataset.cases for path in (case.lq, case.truth)} == {(64, 64)}
    built = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.png"))]
    assert load_data(with_data(SMALL)) == dataset
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.png"))] == built

    # one damaged slice, one that was never finished: these two are scanned again, the others stay
    Path(dataset.cases[0].lq).write_bytes(b"truncated")
    (tmp_path / "data" / Path(dataset.cases[2].lq).parents[1].name / "slices" / "p02-s01.json").unlink()
    heard: list[tuple[int, int]] = []
    assert load_data(with_data(SMALL), progress=lambda done, total: heard.append((done, total))) == dataset
    assert heard == [(3, 4), (4, 4)]
    assert read_grey(Path(dataset.cases[0].lq)).shape == (64, 64)
    now = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.png"))]
    assert sum(old != new for old, new in zip(built, now, strict=True)) == 2 * 5


def test_the_phantoms_window_reaches_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    one = PhantomData(patients=1, slices=1, size=64, seed=5)
    usual, wide = (
        load_data(with_data(msgspec.structs.replace(one, window_hu=(low, 1200.0)))) for low in (-1024, -1424)
    )
    assert (usual.window_hu, wide.window_hu) == ((-1024.0, 1200.0), (-1424.0, 1200.0))
    assert usual.digest != wide.digest
    assert usual.people == wide.people  # the same patients, which a training set of either must not share


def test_slices_asked_to_meet_nodules_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    few = PhantomData(patients=2, slices=2, size=256, seed=2603)  # the first patient has no nodule, the second has two
    even, moved = (load_data(with_data(msgspec.structs.replace(few, nodule_slices=count))) for count in (0, 2))

    def with_nodule(dataset: Dataset) -> list[str]:
        return [case.name for case in dataset.cases if (read_grey(Path(str(case.regions))) == Code.NODULE).any()]

    assert with_nodule(even) == []
    assert with_nodule(moved) == ["p02-s02"]  # one slice shows both, 5 mm apart
    kept = [case.name for case in even.cases if case.name != "p02-s02"]
    pixels = [{case.name: read_grey(Path(case.lq)).tobytes() for case in one.cases} for one in (even, moved)]
    assert [name for name in kept if pixels[0][name] == pixels[1][name]] == kept
    assert even.digest != moved.digest


def test_the_phantom_shows_as_many_nodules_as_the_readme_says() -> None:
    data = load_protocol("phantom").data
    assert isinstance(data, PhantomData)
    assert isinstance(data.seed, int)
    heights = [
        levels_with_nodules(make_patient(data.seed, index), data.slices, nodule_slices=data.nodule_slices)
        for index in range(data.patients)
    ]
    # counted in the region maps of the set itself: 10 slices of 7 patients
    assert [len(set(of_one) - set(levels(data.slices))) for of_one in heights] == [1, 1, 1, 2, 2, 1, 2, 0]


def test_first_cases_are_a_set_of_their_own(authors_layout: Path) -> None:
    dataset = folder(authors_layout)
    few = first_cases(dataset, 3)
    assert few.cases == dataset.cases[:3]
    assert few.digest != dataset.digest
