"""DICOM files one by one: what is left out, what a stranger's bytes can do, how planes are turned."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from harness.base.errors import UsageError
from harness.base.png import Rejected
from harness.base.structs import read_json
from harness.dataset.scans_file import ScansFile
from harness.importing.dicom import planes_of
from harness.importing.planes import Pixels, Stated, place_of
from tests.importing.made import anatomy, ct, hu_of, imported, save, study

LEFT_OUT: dict[str, tuple[dict[str, Any], str]] = {
    "localizer": ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "is a localizer"),
    "secondary capture": ({"SOPClassUID": SecondaryCaptureImageStorage}, "is no CT image: Secondary Capture"),
    "screen save": ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, "is a secondary image"),
    "reformation": ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 MPR"]}, "is calculated from other images"),
    "lossy": ({"LossyImageCompression": "01"}, "was compressed with loss"),
    "oblong pixels": ({"PixelSpacing": [1.25, 1.0]}, "pixels of 1.25 x 1 mm"),
    "no place": ({"ImagePositionPatient": None}, "its place is unknown"),
    "no spacing": ({"PixelSpacing": None}, "give --pixel-mm"),
    "spectral": ({"RescaleType": "Z_EFF"}, "its values are no HU"),
    "colour": ({"SamplesPerPixel": 3}, "is not grey of 16 bits"),
    "8 bits": ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "is not grey of 16 bits"),
    "writing": ({"BurnedInAnnotation": "YES"}, "something is written into its pixels"),
    "slope of nothing": ({"RescaleSlope": 0}, "has the slope 0"),
    "short": ({"PixelData": b"\0" * 100}, "holds 100 bytes of pixels, and its size takes 8192"),
    "huge": ({"Rows": 65535, "Columns": 65535}, "states 65535 x 65535 pixels"),
    "bad numbers": ({"ImagePositionPatient": ["nan", "0", "0"]}, "something else than 3 numbers"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_no_plane_is_left_out_and_said(tmp_path: Path, name: str) -> None:
    habits, words = LEFT_OUT[name]
    study(tmp_path / "scans", planes=2)
    odd = tmp_path / "scans/L067/full_1mm/odd.IMA"
    hu = anatomy()
    save(
        ct(hu, z=99, series="2", patient="L067", **({"PixelData": (hu & 0xFFFF).astype("<u2").tobytes()} | habits)), odd
    )
    save(ct(hu, z=99, series="1", patient="L067"), tmp_path / "scans/L067/quarter_1mm/odd.IMA")
    found, _ = imported(tmp_path / "scans")
    assert found.report.patients[0].slices == 2
    assert any(one.where == "L067/full_1mm/odd.IMA" and words in one.cause for one in found.left), found.left
    assert not any("L067" in cause for cause in found.report.left)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_plain_syntaxes(tmp_path: Path, syntax: str) -> None:
    hu = anatomy()
    image = ct(hu)
    if syntax == ExplicitVRBigEndian:
        image.PixelData = ((hu + 1024) & 0xFFFF).astype(">u2").tobytes()
        image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        pydicom.dcmwrite(tmp_path / "a", image, implicit_vr=False, little_endian=False)
    else:
        save(image, tmp_path / "a", syntax=syntax)
    (plane,) = planes_of(tmp_path, Path("a"), Stated())
    assert np.array_equal(plane.read().hu, hu)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, pydicom.uid.ExplicitVRLittleEndian])
def test_a_file_without_preamble(tmp_path: Path, syntax: str) -> None:
    hu = anatomy()
    save(ct(hu), tmp_path / "a.IMA", syntax=syntax, preamble=False)
    (plane,) = planes_of(tmp_path, Path("a.IMA"), Stated())
    assert np.array_equal(plane.read().hu, hu)


def test_lossless_jpeg(tmp_path: Path) -> None:
    hu = anatomy(noise=9)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(save(ct(hu), tmp_path / "plain.dcm")))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetFileName(str(tmp_path / "packed.dcm"))
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    (plane,) = planes_of(tmp_path, Path("packed.dcm"), Stated())
    assert np.array_equal(plane.read().hu, hu)


def test_copies_are_taken_once_and_different_planes_of_one_place_not_at_all(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    low, _ = study(root)
    save(ct(low[0], z=10, series="1", patient="L067"), root / "L067/quarter_1mm/copy.IMA")
    save(ct(low[0], z=12, series="1", patient="L067"), root / "L067/quarter_1mm/other.IMA")
    damaged = save(ct(low[3], z=13, series="1", patient="L067"), root / "L067/quarter_1mm/damaged.IMA")
    damaged.write_bytes(damaged.read_bytes()[:-500])
    found, data = imported(root)
    assert [case.position_mm for case in read_json(data / "dataset.json", ScansFile).cases] == [10, 11, 13]
    assert sorted(found.report.left.items()) == [
        ("has no partner at its place", 1),
        ("holds 7692 bytes of pixels, and its size takes 8192", 1),
        ("is one of several different planes at one place", 2),
        ("repeats another plane, pixel by pixel", 1),
    ]


def test_a_prone_patient_scanned_feet_first_stands_as_all_others(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    for number, folder in enumerate(("ldct", "ndct"), start=1):
        hu = anatomy(noise=number)
        turned = ct(
            hu[::-1, ::-1], series=str(number), PatientPosition="FFP", ImageOrientationPatient=[-1, 0, 0, 0, -1, 0]
        )
        save(turned, root / folder / "1.dcm")
    found, data = imported(root)
    assert np.array_equal(hu_of(data, "gt", "p001-0001"), anatomy(noise=2))
    notes = " ".join(found.report.patients[0].notes)
    assert all(words in notes for words in ("turned", "prone", "feet first"))


@given(st.permutations([0, 1]), st.sampled_from([1, -1]), st.sampled_from([1, -1]))
def test_however_a_plane_is_stored_it_stands_the_same(order: list[int], right: int, down: int) -> None:
    """An image whose values are its patient coordinates reads the same after turning."""
    axes = np.eye(3)[order] * np.array([[right], [down]])
    columns, rows = np.meshgrid(np.arange(5), np.arange(4))
    where = columns[..., None] * axes[0] + rows[..., None] * axes[1]
    place = place_of(axes[0], axes[1], np.zeros(3), shape=(4, 5), pixel_mm=1.0)
    for axis, along in ((0, 1), (1, 0)):  # x grows along the columns, y along the rows
        seen = place.turn.of(Pixels(where[..., axis], np.zeros((4, 5), bool))).hu
        assert (np.diff(seen, axis=along) == 1).all()
        assert (np.diff(seen, axis=1 - along) == 0).all()
    assert place.centre_mm == pytest.approx(where.reshape(-1, 3).mean(axis=0)[:2])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(ct(anatomy(size=16)), tmp_path_factory.mktemp("sound") / "whole.dcm")


@settings(max_examples=50)
@given(junk=st.binary(max_size=300), at=st.integers(0, 1500), cut=st.integers(0, 40))
def test_a_strangers_bytes_end_in_a_refusal(sound: Path, junk: bytes, at: int, cut: int) -> None:
    whole = sound.read_bytes()
    odd = sound.with_name("odd.dcm")
    for data in (junk, whole[:at], whole[:at] + junk[:8] + whole[at + 8 : len(whole) - cut]):
        odd.write_bytes(data)
        with contextlib.suppress(Rejected):
            for plane in planes_of(odd.parent, Path("odd.dcm"), Stated()):
                plane.read()


def test_what_is_no_regular_file_does_not_hang(tmp_path: Path) -> None:
    study(tmp_path / "scans", planes=2)
    os.mkfifo(tmp_path / "scans/L067/quarter_1mm/pipe.IMA")
    (tmp_path / "scans/L067/quarter_1mm/gone.IMA").symlink_to("nowhere")
    found, _ = imported(tmp_path / "scans")
    assert found.report.left == {"is no regular file": 2}


def test_other_sizes_and_thicknesses_of_the_two_doses_are_refused(tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {
        "slices of 1 mm and 3 mm": {"SliceThickness": 3.0},
        "pixels of 1 mm": {"PixelSpacing": [1, 1]},
    }
    for words, habit in cases.items():
        root = tmp_path / words / "scans"
        for number, (folder, plane) in enumerate(itertools.product(("ldct", "ndct"), range(2))):
            habits = habit if folder == "ndct" else {}
            save(ct(anatomy(), z=plane, series=str(number // 2 + 1), **habits), root / folder / f"{plane}.dcm")
        with pytest.raises(UsageError, match=words):
            imported(root)
