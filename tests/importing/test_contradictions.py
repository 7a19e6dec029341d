"""Files that contradict themselves or each other: nothing but a refusal, or what they surely hold, comes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from harness.base.errors import UsageError
from harness.base.png import Rejected
from harness.importing.dicom import planes_of
from harness.importing.planes import Stated
from tests.importing.made import HU, anatomy, ct, hu_of, imported, multi_frame, save, study

NOISY = {"ldct": 40, "ndct": 10}
BARE: dict[str, Any] = {"patient": "(p1)", "pixel_mm": 1.25, "paired": True}


def said(root: Path, **stated: Any) -> str:
    with pytest.raises(UsageError) as error:
        imported(root, **stated)
    return str(error.value)


def why_not(folder: Path, dataset: FileDataset) -> str:
    """Why a file cannot be read."""
    save(dataset, folder / "a.dcm", syntax=dataset.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian))
    with pytest.raises(Rejected) as error:
        for plane in planes_of(folder, Path("a.dcm"), Stated()):
            plane.read()
    return str(error.value)


@pytest.mark.parametrize("size", [(56, 64), (64, 32), (32, 64)])
def test_pixels_beyond_the_stated_size_are_not_cut_off(tmp_path: Path, size: tuple[int, int]) -> None:
    rows, columns = size
    assert "bytes of pixels, and its size takes" in why_not(tmp_path, ct(anatomy(), Rows=rows, Columns=columns))


def test_frames_beyond_the_stated_number_are_not_cut_off(tmp_path: Path) -> None:
    dataset = multi_frame([anatomy(plane=plane) for plane in range(4)], places=[1, 2, 3, 4])
    dataset.NumberOfFrames = 2
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:2]
    assert "holds 32768 bytes of pixels, and its size takes 16384" in why_not(tmp_path, dataset)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("size", [(56, 64), (32, 128)])
def test_the_codestreams_size_is_the_headers(tmp_path: Path, syntax: str, size: tuple[int, int]) -> None:
    dataset = ct(anatomy(), LossyImageCompression="00")
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(ExplicitVRLittleEndian)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.Rows, dataset.Columns = size
    assert "holds pixels of another size than it states" in why_not(tmp_path, dataset)


@pytest.mark.parametrize("name", ["DerivationImageSequence", "RealWorldValueMappingSequence", "private"])
def test_a_frames_facts_are_not_those_of_its_sources(tmp_path: Path, name: str) -> None:
    """Groups that speak of other images, or that only their vendor understands, change no HU."""
    hus = [anatomy(plane=plane) for plane in range(2)]
    dataset = multi_frame(hus, places=[1, 2])
    other = Dataset()
    other.RescaleIntercept, other.SliceThickness = -1000, 3
    for group in dataset.PerFrameFunctionalGroupsSequence:
        if name == "private":
            group.private_block(0x2005, "VENDOR", create=True).add_new(1, "SQ", [other])
        else:
            setattr(group, name, [other])
    save(dataset, tmp_path / "a.dcm")
    for plane, hu in zip(planes_of(tmp_path, Path("a.dcm"), Stated()), hus, strict=True):
        assert np.abs(plane.read().hu - hu).max() <= 1
        assert plane.thickness_mm == 1.0


def test_values_beyond_12_bits_are_no_lost_signs_where_nothing_is_stored_below_zero(tmp_path: Path) -> None:
    """Metal of 1800 HU, stored as 2824 in what claims to be 12 signed bits: no -1272 HU."""
    hu = np.maximum(anatomy(), -1024)
    hu[30:33, 30:33] = 1800
    assert "beyond its number of bits" in why_not(tmp_path, ct(hu, BitsStored=12, HighBit=11))


def two_kernels(root: Path, **habits: Any) -> None:
    """Two studies interleaved, of the kernels B30f and B70f, each of two doses."""
    study(root, **habits)
    for plane in range(4):
        for number, folder in enumerate(("quarter_1mm", "full_1mm"), start=1):
            hu = anatomy(plane=plane, noise=40)
            shared = "SeriesInstanceUID" not in habits
            image = ct(hu, z=10.5 + plane, series=str(number if shared else number + 2), patient="L067", **habits)
            image.ConvolutionKernel = "B70f"
            save(image, root / "L067" / folder / f"b{plane}.IMA")


def test_series_of_one_uid_or_of_none_are_not_mixed(tmp_path: Path) -> None:
    """As some software leaves them that takes the identity out."""
    two_kernels(tmp_path / "one/scans")
    assert "has planes of several kernels in one series" in said(tmp_path / "one/scans")
    two_kernels(tmp_path / "none/scans", SeriesInstanceUID=None)
    assert "a patient has 2 series of low dose" in said(tmp_path / "none/scans")


@pytest.mark.parametrize("differs", [False, True])
def test_nifti_that_states_two_places(tmp_path: Path, differs: bool) -> None:
    affine = np.diag([-1.25, -1.25, 1, 1])
    for folder, noise in NOISY.items():
        (tmp_path / "scans" / folder).mkdir(parents=True)
        data = np.stack([anatomy(plane=plane, noise=noise) for plane in range(3)]).transpose(2, 1, 0)
        image: Any = nibabel.Nifti1Image(data.astype(np.int16), affine)  # type: ignore[no-untyped-call]
        image.set_sform(affine @ np.diag([-1 if differs else 1, 1, 1, 1]), 1)
        image.set_qform(affine, 1)
        nibabel.save(image, tmp_path / "scans" / folder / "p1.nii.gz")
    if differs:
        assert "states two places that differ (sform and qform)" in said(tmp_path / "scans", patient="(p1)")
    else:
        imported(tmp_path / "scans", patient="(p1)")


HEADER = (
    "NDims = 3\nBinaryData = True\nDimSize = 64 64 3\nElementSpacing = 1.25 1.25 2\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 7\nElementType = MET_SHORT\n"
)


def metaimages(root: Path, line: str, dtype: str = "<i2") -> None:
    for folder, noise in NOISY.items():
        pixels = np.stack([anatomy(plane=plane, noise=noise) for plane in range(3)]).astype(dtype).tobytes()
        (root / folder).mkdir(parents=True)
        (root / folder / "p1.mha").write_bytes(f"{HEADER}{line}ElementDataFile = LOCAL\n".encode() + pixels)


def test_metaimage_whose_values_are_no_intensities_is_refused(tmp_path: Path) -> None:
    metaimages(tmp_path / "scans", "ElementToIntensityFunctionSlope = 1.05\n")
    assert "its values are not its intensities" in said(tmp_path / "scans", patient="(p1)")


@pytest.mark.parametrize("word", ["true", "1"])
def test_metaimage_says_true_in_several_ways(tmp_path: Path, word: str) -> None:
    metaimages(tmp_path / "scans", f"ElementByteOrderMSB = {word}\n", ">i2")
    _, data = imported(tmp_path / "scans", patient="(p1)")
    assert np.array_equal(hu_of(data, "lq", "p001-0001"), anatomy(plane=0, noise=40))


Names = Callable[[str, int], str]


@pytest.mark.parametrize(
    ("gone", "name", "words"),
    [
        (("ldct 1", "ndct 4"), lambda dose, plane: f"p1_{plane}_{dose}", "do not go on alike"),
        (("ldct 1", "ndct 1"), lambda dose, plane: f"p1_{plane}_{dose}", ""),
        ((), lambda dose, plane: f"p1_{plane + 7 * (dose == 'ldct')}", ""),  # counted from another number
        ((), lambda dose, plane: f"p1_dose{25 if dose == 'ldct' else 100}_{plane:03}", ""),
    ],
)
def test_a_plane_that_is_missing_on_each_side_does_not_shift_the_pairs(
    tmp_path: Path, gone: tuple[str, ...], name: Names, words: str
) -> None:
    for dose, noise in NOISY.items():
        (tmp_path / "scans" / dose).mkdir(parents=True)
        for plane in range(6):
            file = tmp_path / "scans" / dose / f"{name(dose, plane)}.npy"
            if f"{dose} {plane}" in gone:
                file.write_bytes(b"damaged")
            else:
                np.save(file, anatomy(plane=plane, noise=noise))
    if words:
        assert words in said(tmp_path / "scans", **BARE)
    else:
        found, _ = imported(tmp_path / "scans", **BARE)
        assert found.report.patients[0].slices == 6 - len(gone) // 2


def test_planes_last_of_an_array_are_refused(tmp_path: Path) -> None:
    for dose, noise in NOISY.items():
        planes: HU = np.stack([anatomy(plane=plane, noise=noise)[:60] for plane in range(3)])
        (tmp_path / "scans" / dose).mkdir(parents=True)
        np.save(tmp_path / "scans" / dose / "p1.npy", planes.transpose(1, 2, 0))
    assert "has the shape (60, 64, 3): planes last?" in said(tmp_path / "scans", **BARE)
