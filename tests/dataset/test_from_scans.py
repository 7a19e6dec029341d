"""Imported scans: what `harness import` wrote is read back, and whatever is not as it says is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.base.digests import digest_pixels
from harness.base.errors import UsageError
from harness.base.slices import write_grey
from harness.base.structs import write_json
from harness.dataset.cases import Acquisition
from harness.dataset.load import load_data
from harness.dataset.scans_file import MadeBy, ScanCase, ScansFile
from harness.protocol import FidelityGate, FolderData, Metric, Protocol, RankBy, ScansData


def protocol(path: str, **more: object) -> Protocol:
    return Protocol(
        schema=1,
        name="mine",
        version=1,
        title="T",
        data=ScansData(path=path, **more),  # type: ignore[arg-type]
        metrics=(Metric(name="RMSE", metric="rmse"),),
        rank_by=RankBy(metric="RMSE"),
        gate=FidelityGate(metric="RMSE"),
    )


def scans(folder: Path) -> ScansFile:
    """Two patients, a slice of 96 x 96 each, at different places in the image."""
    rng = np.random.default_rng(1)
    cases = []
    for patient in (1, 2):
        rows, columns = np.mgrid[:96, :96]
        body = (rows - 48) ** 2 + (columns - 30 - 12 * patient) ** 2 < (1600 if patient == 1 else 400)
        lung = columns < 40 if patient == 1 else rows < 40
        hu = np.where(body, 40.0, -1000.0) + np.where(lung & body, -800.0, 0.0)
        name = f"p{patient:03d}-0001"
        digests = {}
        for kind, noise in (("lq", 90), ("gt", 15)):
            image = np.rint(hu + rng.normal(0, noise, hu.shape) + 8192).astype(np.uint16)
            write_grey(folder / kind / f"{name}.png", image)
            digests[kind] = digest_pixels(image)
        cases.append(
            ScanCase(
                name=name,
                patient=name[:4],
                position_mm=-12.5 if patient == 1 else None,
                pixel_mm=3.0,
                thickness_mm=1.0,
                kvp=120,
                mas=None,
                kernel="B30f",
                paired=True,
                **digests,
            )
        )
    file = ScansFile(cases=tuple(cases), made_by=MadeBy(harness="0", kind="test"))
    write_json(folder / "dataset.json", file)
    return file


def test_what_was_imported_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = scans(tmp_path)
    monkeypatch.setenv("SCANS", str(tmp_path))
    dataset = load_data(protocol("${SCANS}"))
    assert (dataset.bits, dataset.window_hu, dataset.scale_hu) == (16, (-1024, 1200), (-8192, 57343))
    assert dataset.hu_per_level == 1
    assert [case.name for case in dataset.cases] == ["p001-0001", "p002-0001"]
    assert [case.patient for case in dataset.cases] == ["p001", "p002"]
    assert [(case.series, case.position_mm) for case in dataset.cases] == [("p001", -12.5), ("p002", None)]
    assert dataset.cases[0].acquisition == Acquisition(thickness_mm=1.0, kvp=120, kernel="B30f")
    assert dataset.pixels["p001-0001"] == {"lq": file.cases[0].lq, "gt": file.cases[0].gt}
    assert dataset.notes == ()
    assert load_data(protocol(str(tmp_path))).digest == dataset.digest
    assert load_data(protocol(str(tmp_path), window_hu=(-1000.0, 1000.0))).digest != dataset.digest


def test_changed_lost_and_strange_files_are_named(tmp_path: Path) -> None:
    scans(tmp_path)
    write_grey(tmp_path / "lq" / "p001-0001.png", np.full((96, 96), 9000, np.uint16))
    (tmp_path / "gt" / "p001-0001.png").unlink()
    write_grey(tmp_path / "lq" / "p002-0001.png", np.zeros((96, 96), np.uint8))
    with pytest.raises(UsageError) as caught:
        load_data(protocol(str(tmp_path)))
    for said in (
        "lq/p001-0001.png has other pixels",
        "gt/p001-0001.png is missing",
        "lq/p002-0001.png has 8 bits per channel, expected 16",
        "dataset.json",
    ):
        assert said in caught.value.message
    assert "harness import" in caught.value.fix


def test_partners_of_two_patients_are_told_of_unless_they_are_unpaired(tmp_path: Path) -> None:
    file = scans(tmp_path)
    one, other = file.cases
    swapped = {one.name: other.gt, other.name: one.gt}
    paths = [tmp_path / "gt" / f"{case.name}.png" for case in file.cases]
    images = [path.read_bytes() for path in paths]
    for path, image in zip(paths, reversed(images), strict=True):
        path.write_bytes(image)
    cases = [msgspec.structs.replace(case, gt=swapped[case.name]) for case in file.cases]
    write_json(tmp_path / "dataset.json", msgspec.structs.replace(file, cases=tuple(cases)))
    assert ["may not fit" in line for line in load_data(protocol(str(tmp_path))).notes] == [True, True]
    unpaired = tuple(msgspec.structs.replace(case, paired=False) for case in cases)
    write_json(tmp_path / "dataset.json", msgspec.structs.replace(file, cases=unpaired))
    assert load_data(protocol(str(tmp_path))).notes == ()


def test_slices_and_patients_are_left_out_by_name(tmp_path: Path) -> None:
    scans(tmp_path)
    whole, one = (load_data(protocol(str(tmp_path), **more)) for more in ({}, {"leave_out": ("p002-*",)}))
    assert [case.name for case in one.cases] == ["p001-0001"]
    assert one.digest != whole.digest
    (tmp_path / "lq" / "p002-0001.png").unlink()  # nobody looks at it
    assert load_data(protocol(str(tmp_path), leave_out=("p002-000?",))).digest == one.digest


@pytest.mark.parametrize(("leave", "said"), [("p003-*", "names no slice by 'p003-"), ("p*", "names every slice")])
def test_a_name_that_leaves_out_nothing_or_all_is_refused(tmp_path: Path, leave: str, said: str) -> None:
    scans(tmp_path)
    with pytest.raises(UsageError, match=said) as caught:
        load_data(protocol(str(tmp_path), leave_out=(leave,)))
    assert "2 slices, p001-0001 to p002-0001" in caught.value.message


def test_scans_that_are_given_as_a_folder_are_known(tmp_path: Path) -> None:
    scans(tmp_path)
    folder = msgspec.structs.replace(protocol(""), data=FolderData(path=str(tmp_path)))
    with pytest.raises(UsageError, match="holds scans in HU") as caught:
        load_data(folder)
    assert "source: scans" in caught.value.fix


def test_a_folder_that_was_not_imported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset\.json: no such file"):
        load_data(protocol(str(tmp_path)))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("name", "p001-0001\n", "matching regex"),
        ("name", "p\u0660\u0660\u0661-0001", "matching regex"),
        ("name", "../p001-0001", "matching regex"),
        ("name", "p002-0001", "name is p002-0001, and patient p001"),
        ("patient", "p009", "name is p001-0001, and patient p009"),
        ("kernel", "\x1b[31mB30f", "kernel is no line of text of 64 characters at most"),
        ("kernel", "B" * 65, "kernel is no line of text of 64 characters at most"),
        ("position_mm", 1e308, "Expected `float` <= 100000.0"),
    ],
)
def test_a_strangers_data_set_is_checked(tmp_path: Path, key: str, value: object, words: str) -> None:
    """Names go into paths and messages, kernels to containers and pages, places into differences."""
    file = msgspec.to_builtins(scans(tmp_path))
    file["cases"][0][key] = value
    write_json(tmp_path / "dataset.json", file)
    with pytest.raises(UsageError, match=re.escape(words)):
        load_data(protocol(str(tmp_path)))


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    file = msgspec.to_builtins(scans(tmp_path))
    file["cases"] = [*file["cases"], file["cases"][0]]
    write_json(tmp_path / "dataset.json", file)
    with pytest.raises(UsageError, match="two cases have one name"):
        load_data(protocol(str(tmp_path)))
