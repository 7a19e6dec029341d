"""NIfTI, MetaImage, NumPy, PNG, TIFF: right HU, standing as DICOM's do, or a refusal."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from harness.base.errors import UsageError
from harness.base.structs import read_json
from harness.dataset.scans_file import ScansFile
from harness.importing.find import find_planes
from harness.importing.planes import Stated
from tests.importing.made import HU, anatomy, hu_of, imported

DOSES = {"ldct": 40, "ndct": 10}
NAMED: dict[str, Any] = {"patient": "(p[0-9]+)"}


def volume(noise: int) -> HU:
    """(planes, rows, columns) in HU, standing right."""
    return np.stack([anatomy(plane=plane, noise=noise) for plane in range(3)])


def assert_right(data: Path, kind: str) -> ScansFile:
    file = read_json(data / "dataset.json", ScansFile)
    assert file.made_by.kind == kind
    for dose, noise in (("lq", 40), ("gt", 10)):
        for case, hu in zip(file.cases, volume(noise), strict=True):
            assert np.abs(hu_of(data, dose, case.name) - hu).max() <= 1
    return file


def said(root: Path, **stated: Any) -> str:
    with pytest.raises(UsageError) as error:
        imported(root, **NAMED, **stated)
    return f"{error.value} {error.value.fix}"


Signs = tuple[int, int, int]
ORIENTATIONS: dict[str, Signs] = {"RAS": (1, 1, 1), "LPS": (-1, -1, 1), "LAI": (-1, 1, -1)}


def nifti(
    root: Path, *, signs: tuple[int, int, int] = (-1, -1, 1), sagittal: bool = False, scaled: bool = False
) -> None:
    """Both doses as .nii.gz whose x, y and z indices grow to the right, the front and the head times `signs`."""
    for folder, noise in DOSES.items():
        data = volume(noise).transpose(2, 1, 0)  # x to the left, y to the back, z to the head
        data = data[:: -signs[0], :: -signs[1], :: signs[2]]
        affine = np.diag([1.25 * signs[0], 1.25 * signs[1], 2.0 * signs[2], 1])
        affine[2, 3] = 20 if signs[2] > 0 else 24
        if sagittal:
            data, affine = data.transpose(2, 0, 1), affine[:, [2, 0, 1, 3]]
        (root / folder).mkdir(parents=True)
        save_nifti(root / folder / "p1.nii.gz", data.astype(np.float64 if scaled else np.int16), affine)


def save_nifti(path: Path, data: NDArray[Any], affine: NDArray[Any]) -> None:
    """Whole numbers as they are; of real ones it stores slope and intercept."""
    image: Any = nibabel.Nifti1Image(data, affine)  # type: ignore[no-untyped-call]
    image.set_data_dtype(np.int16)
    nibabel.save(image, path)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_nifti_of_any_orientation_stands_as_all_others(tmp_path: Path, name: str) -> None:
    nifti(tmp_path / "scans", signs=ORIENTATIONS[name], scaled=name == "RAS")
    _, data = imported(tmp_path / "scans", **NAMED)
    file = assert_right(data, "nifti")
    assert [case.position_mm for case in file.cases] == [20, 22, 24]
    assert {(case.pixel_mm, case.thickness_mm, case.kvp) for case in file.cases} == {(1.25, None, None)}


def test_nifti_whose_planes_do_not_lie_along_its_last_index(tmp_path: Path) -> None:
    nifti(tmp_path / "scans", sagittal=True)
    _, data = imported(tmp_path / "scans", **NAMED)
    assert_right(data, "nifti")


def test_padding_that_nifti_has_lost_is_found_or_refused(tmp_path: Path) -> None:
    across = np.arange(64) - 31.5
    outside = (across[:, None] ** 2 + across**2 > 32**2)[:, :, None]
    for value, words in ((-3024, ""), (0, "has 0 HU in every corner")):
        root = tmp_path / str(value) / "scans"
        nifti(root)
        for path in root.rglob("*.gz"):
            image: Any = nibabel.load(path)
            values = np.where(outside, value, np.asarray(image.dataobj)).astype(np.int16)
            save_nifti(path, values, image.affine)
        if words:
            assert words in said(root)
            continue
        found, data = imported(root, **NAMED)
        assert found.report.patients[0].padded == 6 * int(outside.sum())
        assert hu_of(data, "lq", "p001-0001")[0, 0] == -1024


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_metaimage(tmp_path: Path, compressed: bool, order: str) -> None:
    for folder, noise in DOSES.items():
        pixels = volume(noise)[:, ::-1].astype(f"{order}i2").tobytes()
        pixels = zlib.compress(pixels) if compressed else pixels
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 64 64 3\nElementSpacing = 1.25 1.25 2\n"
            "TransformMatrix = 1 0 0 0 -1 0 0 0 1\nPosition = 0 0 7\nElementType = MET_SHORT\n"
            f"BinaryDataByteOrderMSB = {order == '>'}\nCompressedData = {compressed}\nElementDataFile = "
        )
        place = tmp_path / "scans" / folder
        place.mkdir(parents=True)
        if compressed:
            (place / "p1.mha").write_bytes(f"{header}LOCAL\n".encode() + pixels)
        else:
            (place / "p1.mhd").write_text(f"{header}p1.raw\n")
            (place / "p1.raw").write_bytes(pixels)
    found, data = imported(tmp_path / "scans", **NAMED)
    assert [case.position_mm for case in assert_right(data, "metaimage").cases] == [7, 9, 11]
    assert not found.left


def write(root: Path, suffix: str, values: NDArray[Any], folder: str, plane: int) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    path = root / folder / f"p1_{plane}{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".npz":
        np.savez_compressed(path, values)
    else:
        Image.fromarray(values.astype(np.uint16)).save(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png", ".tif"])
def test_files_of_bare_numbers(tmp_path: Path, suffix: str) -> None:
    scaled = suffix in (".png", ".tif")
    for folder, noise in DOSES.items():
        for plane, hu in zip((2, 9, 10), volume(noise), strict=True):  # 2 before 10
            write(tmp_path / "scans", suffix, hu + 2048 if scaled else hu, folder, plane)
    scale = {"slope": 1.0, "intercept": -2048.0} if scaled else {}
    if scaled:
        assert "give --slope and --intercept" in said(tmp_path / "scans", pixel_mm=1.25)
    assert "give --pixel-mm" in said(tmp_path / "scans", **scale)
    assert "give --paired" in said(tmp_path / "scans", pixel_mm=1.25, **scale)
    found, data = imported(tmp_path / "scans", pixel_mm=1.25, paired=False, **NAMED, **scale)
    file = assert_right(data, "image" if scaled else "numpy")
    assert {(case.position_mm, case.paired) for case in file.cases} == {(None, False)}
    assert any("states no orientation" in note for note in found.report.patients[0].notes)


def test_two_doses_in_one_folder_are_told_apart_by_patterns(tmp_path: Path) -> None:
    for word, noise in (("input", 40), ("target", 10)):
        for plane, hu in enumerate(volume(noise)):
            (tmp_path / "scans").mkdir(exist_ok=True)
            np.save(tmp_path / "scans" / f"L067_{plane}_{word}.npy", hu)
    given = {"low": ("*_input.npy",), "normal": ("*_target.npy",), "patient": "(L[0-9]+)_"}
    _, data = imported(tmp_path / "scans", pixel_mm=1.25, paired=True, **given)
    assert_right(data, "numpy")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((64, 64, 3)), "planes last?"),
        (np.array([{}]), "is no NumPy array of numbers"),
        (np.zeros((64, 64), complex), "no whole or real numbers"),
        (np.full((64, 64), np.nan), "values that are no numbers"),
        (np.zeros(3), "(rows, columns)"),
    ],
)
def test_arrays_that_are_no_scan(tmp_path: Path, values: NDArray[Any], words: str) -> None:
    for folder in DOSES:
        (tmp_path / "scans" / folder).mkdir(parents=True)
        np.save(tmp_path / "scans" / folder / "p1.npy", values)
    assert words in said(tmp_path / "scans", pixel_mm=1.25, paired=True)


def test_8_bit_images_are_refused(tmp_path: Path) -> None:
    for folder in DOSES:
        (tmp_path / "scans" / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "scans" / folder / "p1.png")
    assert "8 bits hold no HU" in said(tmp_path / "scans", slope=1.0, intercept=0.0, pixel_mm=1.0)


SUFFIXES = ["nii", "nii.gz", "mha", "mhd", "npy", "npz", "png", "tif"]


@settings(max_examples=30)
@given(junk=st.binary(max_size=600), suffix=st.sampled_from(SUFFIXES))
def test_a_strangers_bytes_end_in_a_refusal(junk_folder: Path, junk: bytes, suffix: str) -> None:
    (junk_folder / f"a.{suffix}").write_bytes(STARTS.get(suffix, b"") + junk)
    stated = Stated(slope=1.0, intercept=0.0, pixel_mm=1.0)
    planes, left = find_planes(junk_folder / f"a.{suffix}", stated, lambda _done, _total: None)
    assert (planes, len(left)) == ([], 1)


def npy_header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i2", "fortran_order": False, "shape": shape})
    return header.getvalue()


STARTS = {
    "npy": npy_header((9_999_999, 999, 999)),
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "tif": b"II*\0\x08\0\0\0",
    "npz": b"PK\x03\x04",
    "nii": b"\x5c\x01\0\0",
    "nii.gz": b"\x1f\x8b\x08",
    "mha": b"NDims = 3\nDimSize = 99999 99999 99999\nElementDataFile = LOCAL\n",
}


@pytest.fixture(scope="module")
def junk_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("junk")
