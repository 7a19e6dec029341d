"""`import_scans`: layouts, names, the format, what leaves of the identity."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from harness.base.digests import digest_pixels
from harness.base.errors import UsageError
from harness.base.progress import Quiet
from harness.base.structs import read_json
from harness.dataset.scans_file import ScansFile
from harness.importing.hounsfield import Look, to_hu
from harness.importing.pairing import Breath
from harness.importing.planes import Stated
from harness.importing.report import Report
from harness.importing.scans import import_scans
from tests.importing.made import anatomy, ct, hu_of, imported, save, study


def test_a_mayo_tree_becomes_pairs_in_the_order_of_their_places(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    low, normal = study(root)
    found, data = imported(root)
    file = read_json(data / "dataset.json", ScansFile)
    assert [case.name for case in file.cases] == ["p001-0001", "p001-0002", "p001-0003", "p001-0004"]
    assert [case.position_mm for case in file.cases] == [10, 11, 12, 13]
    for case, lq, gt in zip(file.cases, low, normal, strict=True):
        assert np.array_equal(hu_of(data, "lq", case.name), lq)
        assert np.array_equal(hu_of(data, "gt", case.name), gt)
        assert case.lq == digest_pixels((lq + 8192).astype(np.uint16))
        assert (case.pixel_mm, case.thickness_mm, case.kvp, case.mas, case.kernel) == (1.25, 1.0, 120, 200, "B30f")
        assert case.paired
    assert file.made_by.kind == "dicom"
    assert read_json(data / "import.json", Report) == found.report
    assert (data / "contact-sheet.png").is_file()
    assert not found.left


def test_nothing_of_the_identity_is_in_the_data_set_and_the_owner_has_it(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    study(root, patient="SECRET123")
    _, data = imported(root)
    for path in data.rglob("*"):
        assert "SECRET" not in path.name
        assert path.is_dir() or (b"SECRET" not in path.read_bytes() and b"Doe" not in path.read_bytes())
    table = data.with_name("data.owner.csv")
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    first = table.read_text().splitlines()[1].split(",")
    assert first[:3] == ["p001-0001", "low", "SECRET123"]
    assert first[4] == "SECRET123/quarter_1mm/SECRET123.0000.IMA"


def test_a_tcia_tree_needs_no_option(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    study(
        root,
        patient="C121",
        low="08-30-2018/1.000000-Low Dose Images-1",
        normal="08-30-2018/2.000000-Full Dose Images-2",
    )
    save(ct(anatomy()), root / "C121/08-30-2018/3.000000-Full Dose Projections-3/1-001.dcm")
    found, data = imported(root)
    assert len(read_json(data / "dataset.json", ScansFile).cases) == 4
    assert [one.cause for one in found.left] == ["is of a series that is neither the low nor the normal dose"]


def test_patients_are_numbered_by_their_pixels_and_the_same_import_is_the_same(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    for number, patient in enumerate(["L096", "L067", "L109"], start=1):
        study(root, patient=patient, seed=number, planes=2)
    first, data = imported(root)
    assert [one.name for one in first.report.patients] == ["p001", "p002", "p003"]
    again, _ = imported(root)
    assert (first.new, again.new) == (True, False)
    study(root, patient="L143", seed=4, planes=2)
    with pytest.raises(UsageError, match="already exists and holds another data set"):
        imported(root)
    assert len(read_json(data / "dataset.json", ScansFile).cases) == 6


def test_several_series_of_a_dose_are_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    study(root)
    study(root, low="quarter_3mm", normal="full_3mm", seed=2)
    # one UID per series in real exports: here the second pair has numbers 1 and 2, too
    for path in [*root.rglob("*_3mm/*.IMA")]:
        path.unlink()
    for number, folder in ((3, "quarter_3mm"), (4, "full_3mm")):
        for plane in range(2):
            image = ct(anatomy(plane=plane), z=plane, series=str(number), patient="L067")
            save(image, root / "L067" / folder / f"{plane}.IMA")
    with pytest.raises(UsageError, match="2 series of low dose") as error:
        imported(root)
    assert "L067/quarter_3mm, series 3 (2 planes)" in str(error.value)
    found, _ = imported(root, low=("quarter_1mm",), normal=("full_1mm",))
    assert found.report.patients[0].slices == 4


@pytest.mark.parametrize("by", [("1", "2"), ("thin low", "thin normal"), ("S0001/*", "S0002/*")])
def test_an_export_without_telling_names_takes_patterns(tmp_path: Path, by: tuple[str, str]) -> None:
    root = tmp_path / "export"
    for series, words in (("1", "Thin low"), ("2", "Thin normal")):
        for plane in range(3):
            image = ct(anatomy(plane=plane, noise=int(series)), z=plane, series=series, SeriesDescription=words)
            save(image, root / f"S000{series}" / f"I{plane}")  # no suffix
    (root / "DICOMDIR").write_bytes(b"\0" * 200)
    (root / "readme.txt").write_text("x")
    with pytest.raises(UsageError, match="no patient has a low-dose and a normal-dose series") as error:
        imported(root)
    assert "--low" in error.value.fix
    found, _ = imported(root, low=by[:1], normal=by[1:])
    assert found.report.patients[0].slices == 3
    assert [(one.where, one.cause) for one in found.left] == [("readme.txt", "is no file of a scan that is known")]


def test_a_patient_whose_files_do_not_tell_is_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    study(root, PatientID="")
    with pytest.raises(UsageError, match="whose scans these are is unknown") as error:
        imported(root)
    assert "--patient" in error.value.fix
    with pytest.raises(UsageError, match="no regular expression with a group"):
        imported(root, patient="L067")
    imported(root, patient="(L[0-9]+)/")


def test_a_breath_between_the_scans_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    for series, folder, breath in ((1, "ldct", 0), (2, "ndct", 9)):
        for plane in range(3):
            image = ct(anatomy(plane=plane + breath, noise=30), z=plane, series=str(series), patient="A")
            save(image, root / folder / f"{plane}.dcm")
    found, _ = imported(root)
    assert not found.report.patients[0].paired
    assert "another breath" in found.report.patients[0].notes[0]


def test_the_data_set_is_not_written_where_it_would_leak(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    study(root, planes=2)
    (tmp_path / ".git").mkdir()
    with pytest.raises(UsageError, match="lies in the repository") as error:
        imported(root)
    assert "--owner-table" in error.value.fix
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("output", "table", "words"),
    [
        ("scans/data", "o.csv", "lies in the folder that is read"),
        ("data", "data/o.csv", "lies in the data set"),
        ("there", "o.csv", "already exists and is no imported data set"),
        ("data", "kept.csv", "it is never overwritten"),
    ],
)
def test_nothing_is_written_over_what_is_there(tmp_path: Path, output: str, table: str, words: str) -> None:
    study(tmp_path / "scans", planes=2)
    (tmp_path / "there").mkdir()
    (tmp_path / "kept.csv").touch()
    with pytest.raises(UsageError, match=words):
        import_scans(tmp_path / "scans", tmp_path / output, Stated(), Quiet(), owner_table=tmp_path / table)
    assert not (tmp_path / "data").exists()


def test_planes_of_other_places_are_unpaired_and_the_surplus_is_left(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    for series, folder, step in ((1, "ldct", 1.0), (2, "ndct", 1.7)):
        for plane in range(4 - series):
            image = ct(anatomy(plane=plane, noise=50 - 20 * series), z=5 + step * plane, series=str(series))
            save(image, root / folder / f"{plane}.dcm")
    found, data = imported(root)
    assert found.report.patients[0].notes == ("unpaired: the two doses have other planes",)
    assert [case.paired for case in read_json(data / "dataset.json", ScansFile).cases] == [False, False]
    assert found.report.left == {"has no partner: the other dose has fewer planes": 1}


def test_exchanged_doses_are_asked_about(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    study(root)
    found, _ = imported(root, low=("full_1mm",), normal=("quarter_1mm",))
    assert found.report.patients[0].notes == ("the low dose is the less noisy one: --low and --normal exchanged?",)


def test_a_refused_patient_leaves_nothing_behind(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    study(root, planes=2)
    study(root, planes=2, patient="L096")
    for path in (root / "L096").rglob("*.IMA"):
        dataset = pydicom.dcmread(path)
        dataset.RescaleIntercept = 0
        dataset.save_as(path)
    found, data = imported(root)
    assert [one.name for one in found.report.patients] == ["p001"]
    assert len(list((data / "lq").iterdir())) == len(list((data / "gt").iterdir())) == 2
    assert [one.where for one in found.left] == ["L096/quarter_1mm"]
    assert "(the whole patient)" in found.left[0].cause


def test_a_reader_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study(tmp_path / "scans")
    monkeypatch.delitem(sys.modules, "pydicom")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UsageError, match="the package pydicom is needed") as error:
        imported(tmp_path / "scans")
    assert error.value.fix == "pip install 'ipv2-harness[scans]'"


REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "ct"


@pytest.mark.skipif(not REAL.is_dir(), reason="real slices are not here")
def test_real_slices_are_hu_at_any_dose() -> None:
    """The bounds of `harness.importing.hounsfield` and of a breath hold for real chests, with and without noise."""
    rng = np.random.default_rng(1)
    for path in sorted(REAL.glob("*_[0-9]*.png")):
        with Image.open(path) as image:
            hu = np.asarray(image, np.float64) - 1024
        none = np.zeros(hu.shape, np.bool_)
        grain = gaussian_filter(rng.normal(size=hu.shape), 0.7)
        noisy = np.maximum(hu + 200 * grain / grain.std(), -1024)
        shown = [
            to_hu(one, slope=1, intercept=0, stated=None, beyond=none) for one in (noisy, hu, np.roll(hu, 6, axis=0))
        ]
        for pixels in shown:
            look = Look()
            look.add(pixels)
            assert look.wrong() == ""
        for normal, one in ((shown[1], True), (shown[2], False)):
            breath = Breath()
            breath.add(shown[0], normal)
            assert breath.one() is one
