"""Scans that no patient had, as files: DICOM with the habits of several vendors, and other formats."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)
from scipy.ndimage import gaussian_filter

from harness.base.progress import Quiet
from harness.importing.planes import Stated
from harness.importing.scans import Imported, import_scans
from tests.chest import chest

SIZE = 64
HU = NDArray[np.int64]


def anatomy(*, patient: int = 1, plane: int = 1, noise: float = 0, size: int = SIZE) -> HU:
    """A chest plane in whole HU, (size, size), air -1000, with noise of that standard deviation."""
    grey = chest(patient=patient, slice=plane, size=size)
    hu = np.where(grey == 0, -1000, grey / 255 * 2224 - 1024)
    grain = np.random.default_rng([patient, plane, int(noise)]).normal(size=hu.shape) * noise
    return np.rint(hu + grain).astype(np.int64)


def uid(*parts: object) -> str:
    return str(generate_uid(entropy_srcs=[str(one) for one in parts]))


def ct(hu: HU, *, z: float = 0.0, series: str = "1", patient: str = "DOE^JANE", **habits: Any) -> FileDataset:
    """A CT image of these HU, stored signed with the intercept -1024; `habits` replace attributes, None removes."""
    dataset = FileDataset(io.BytesIO(), {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid(series, z, hu.tobytes())
    dataset.Modality = "CT"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Doe^Jane", patient, "19500101"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study", patient), uid(patient, series)
    dataset.SeriesNumber, dataset.ImageType = int(series), ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-40.0, -40.0, z], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1.25, 1.25], 1.0
    dataset.KVP, dataset.Exposure, dataset.ConvolutionKernel = 120, 200, "B30f"
    dataset.PatientPosition, dataset.PhotometricInterpretation = "HFS", "MONOCHROME2"
    dataset.Rows, dataset.Columns = hu.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.SamplesPerPixel, dataset.RescaleSlope, dataset.RescaleIntercept = 1, 1, -1024
    for name, value in habits.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    if "PixelData" not in habits:
        stored = np.rint((hu - float(dataset.get("RescaleIntercept", -1024))) / float(dataset.get("RescaleSlope", 1)))
        dataset.PixelData = (stored.astype(np.int64) & 0xFFFF).astype("<u2").tobytes()
    return dataset


def multi_frame(planes: list[HU], *, places: list[float], series: str = "1", patient: str = "DOE^JANE") -> FileDataset:
    """An enhanced CT image whose facts stand in its functional groups, each frame with a slope of its own."""
    dataset = ct(planes[0], series=series, patient=patient)
    dataset.SOPClassUID, dataset.NumberOfFrames = EnhancedCTImageStorage, len(planes)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope"):
        delattr(dataset, name)
    del dataset.RescaleIntercept, dataset.Exposure, dataset.KVP

    def item(**attributes: Any) -> Dataset:
        made = Dataset()
        for name, value in attributes.items():
            setattr(made, name, value)
        return made

    dataset.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[1.25, 1.25], SliceThickness=1.0)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[-40.0, -40.0, z])],
            PixelValueTransformationSequence=[
                item(RescaleSlope=1 + index % 2, RescaleIntercept=-1024 - 10 * index, RescaleType="HU")
            ],
            CTXRayDetailsSequence=[item(KVP=100)],
        )
        for index, z in enumerate(places)
    ]
    stored = [(hu + 1024 + 10 * index) // (1 + index % 2) for index, hu in enumerate(planes)]
    dataset.PixelData = np.stack(stored).astype("<u2").tobytes()
    return dataset


def save(dataset: FileDataset, path: Path, *, syntax: str = ExplicitVRLittleEndian, preamble: bool = True) -> Path:
    """Write a dataset that is not compressed, with or without the preamble."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not preamble:
        implicit = syntax == ImplicitVRLittleEndian
        pydicom.dcmwrite(path, Dataset(dataset), implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        return path
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    dataset.save_as(path, enforce_file_format=True)
    return path


def study(root: Path, *, planes: int = 4, patient: str = "L067", low: str = "quarter_1mm", normal: str = "full_1mm",
          seed: int = 1, **habits: Any) -> tuple[list[HU], list[HU]]:  # fmt: skip
    """Low and normal dose of one patient as `ROOT/PATIENT/quarter_1mm/*.IMA`, the files in an order that is not that of
    the places; the HU of both, from the feet to the head."""
    found: tuple[list[HU], list[HU]] = [], []
    for number, (folder, noise, hus) in enumerate(zip((low, normal), (40, 10), found, strict=True), start=1):
        for plane in range(planes):
            hus.append(anatomy(patient=seed, plane=plane, noise=noise))
            image = ct(hus[-1], z=10.0 + plane, series=str(number), patient=patient, **habits)
            save(image, root / patient / folder / f"{patient}.{(plane * 7) % 10:04}.IMA")
    return found


def chest_study(root: Path, *, size: int = 96) -> None:
    """Chests of two patients, 36 cm wide, with the habits of two vendors: Mayo's tree of a Siemens scanner, both doses
    of one breath; and TCIA's tree of a GE scanner, compressed, padded outside the circle, normal dose a breath later,
    with a localizer and a page of text."""
    across = np.arange(size) - (size - 1) / 2
    beyond = across[:, None] ** 2 + across**2 > (size / 2) ** 2
    siemens: dict[str, Any] = {"Manufacturer": "SIEMENS", "ConvolutionKernel": ["B30f", "2"]}
    ge: dict[str, Any] = {"Manufacturer": "GE MEDICAL SYSTEMS", "ConvolutionKernel": "STANDARD"}
    ge |= {"PixelPaddingValue": -2000, "PatientPosition": "FFS", "KVP": 100}
    for patient, folders, breath, habits in (
        ("L067", ("quarter_1mm", "full_1mm"), 0, siemens),
        ("C121", ("08-30-2018/1.000000-Low Dose Images-1", "08-30-2018/2.000000-Full Dose Images-2"), 9, ge),
    ):
        for series, (folder, noise, moved) in enumerate(zip(folders, (90, 15), (0, breath), strict=True), start=1):
            for plane in range(3):
                clean = gaussian_filter(anatomy(patient=ord(patient[0]), plane=plane + moved, size=size) * 1.0, 1.2)
                grain = np.random.default_rng([ord(patient[0]), series, plane]).normal(size=clean.shape) * noise
                hu = np.rint(clean + grain).astype(np.int64)
                if "PixelPaddingValue" in habits:
                    hu[beyond] = habits["PixelPaddingValue"] - 1024
                image = ct(hu, z=5.0 * plane + moved / 2, series=str(series), patient=patient,
                           PixelSpacing=[360 / size] * 2, SliceThickness=5.0, **habits)  # fmt: skip
                if patient == "L067":
                    save(image, root / patient / folder / f"{patient}.{(plane * 7) % 10:04}.IMA")
                    continue
                image.file_meta.TransferSyntaxUID = pydicom.uid.UID(ExplicitVRLittleEndian)
                image.compress(RLELossless, generate_instance_uid=False)
                save(image, root / patient / folder / f"1-{3 - plane:03}.dcm", syntax=RLELossless)
    scout = ct(anatomy(size=size), patient="C121", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    save(scout, root / "C121/08-30-2018/3.000000-Scout-3/1-001.dcm", syntax=ImplicitVRLittleEndian)
    (root / "readme.txt").write_text("how these were exported")


def imported(root: Path, **stated: Any) -> tuple[Imported, Path]:
    """What an import of ROOT gives, and where it lies: beside ROOT."""
    output = root.with_name("data")
    table = output.with_name("data.owner.csv")
    return import_scans(root, output, Stated(**stated), Quiet(), owner_table=table), output


def hu_of(data: Path, dose: str, name: str) -> HU:
    """The HU of an imported slice."""
    with Image.open(data / dose / f"{name}.png") as image:
        assert image.mode == "I;16"
        return np.asarray(image).astype(np.int64) - 8192
