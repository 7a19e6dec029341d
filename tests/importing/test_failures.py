"""What goes wrong with real files, by public reports: each gives right HU within 1 HU, or is refused by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from harness.base.errors import UsageError
from harness.base.structs import read_json
from harness.dataset.scans_file import ScansFile
from tests.importing.made import HU, anatomy, ct, hu_of, imported, multi_frame, save, study

NOISY = {"ldct": 40, "ndct": 10}


def pairs(root: Path, hus: list[HU] | None = None, **habits: Any) -> dict[str, list[HU]]:
    """`ldct/` and `ndct/` of one patient, every file with these habits; the HU of both."""
    made: dict[str, list[HU]] = {}
    for number, (folder, noise) in enumerate(NOISY.items(), start=1):
        made[folder] = hus or [anatomy(plane=plane, noise=noise) for plane in range(3)]
        for plane, hu in enumerate(made[folder]):
            save(ct(hu, z=plane, series=str(number), **habits), root / folder / f"{plane}.dcm")
    return made


def assert_right(data: Path, made: dict[str, list[HU]], *, within: float = 0) -> None:
    cases = read_json(data / "dataset.json", ScansFile).cases
    for dose, folder in (("lq", "ldct"), ("gt", "ndct")):
        for case, hu in zip(cases, made[folder], strict=True):
            assert np.abs(hu_of(data, dose, case.name) - hu).max() <= within


def refusal(root: Path, **stated: Any) -> str:
    with pytest.raises(UsageError) as error:
        imported(root, **stated)
    assert not root.with_name("data").exists()
    return str(error.value)


@pytest.mark.parametrize(
    ("slope", "intercept", "within"), [(1, -1024, 0), (1, -1000, 0), (1, -8192, 0), (2, -1024, 1), (0.5, -1024, 0)]
)
def test_slope_and_intercept_are_those_of_the_file(tmp_path: Path, slope: float, intercept: int, within: float) -> None:
    made = pairs(tmp_path / "scans", RescaleSlope=slope, RescaleIntercept=intercept)
    _, data = imported(tmp_path / "scans")
    assert_right(data, made, within=within)


def test_slope_and_intercept_are_each_slices_own(tmp_path: Path) -> None:
    made = pairs(tmp_path / "scans")
    for plane, folder in itertools.product(range(3), NOISY):
        number = list(NOISY).index(folder) + 1
        image = ct(made[folder][plane], z=plane, series=str(number), RescaleIntercept=-1024 - 100 * plane)
        save(image, tmp_path / "scans" / folder / f"{plane}.dcm")
    _, data = imported(tmp_path / "scans")
    assert_right(data, made)


def test_without_slope_and_intercept_they_are_asked_for(tmp_path: Path) -> None:
    made = pairs(tmp_path / "scans")
    for path in tmp_path.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.save_as(path)
    assert "give --slope and --intercept" in refusal(tmp_path / "scans")
    _, data = imported(tmp_path / "scans", slope=1.0, intercept=-1024.0)
    assert_right(data, made)


def to_grey(hu: HU) -> HU:
    return np.rint(np.clip((hu + 1000) / 2000 * 255, 0, 255)).astype(np.int64)


def stretched(hu: HU) -> HU:
    found: HU = np.rint((hu - hu.min()) / (hu.max() - hu.min()) * 4095).astype(np.int64)
    return found


NO_HU: dict[str, tuple[Callable[[HU], Any], str]] = {
    "raw values": (lambda hu: hu + 1024, "raw values"),
    "0 to 1": (lambda hu: (hu + 1024) / 4096, "a scale of 0 to 1"),
    "grey levels of -1000 to 1000": (to_grey, "8-bit grey levels"),
    "the window -160 to 240": (lambda hu: np.clip(hu, -160, 240), "a display window"),
    "the window -1000 to 100": (lambda hu: np.clip(hu, -1000, 100), "a display window"),
    "min-max of each image": (stretched, "stretched by its own range"),
    "the intercept twice": (lambda hu: hu - 1024, "its air at about"),
    "inverted": (lambda hu: 3071 - hu, "inverted"),
    "mu": (lambda hu: 0.0195 * (1 + hu / 1000), "a scale of 0 to 1"),
}


@pytest.mark.parametrize("name", NO_HU)
def test_what_is_no_hu_is_refused_by_name(tmp_path: Path, name: str) -> None:
    spoilt, words = NO_HU[name]
    for folder, noise in NOISY.items():
        planes = [spoilt(anatomy(plane=plane, noise=noise)) for plane in range(3)]
        (tmp_path / "scans" / folder).mkdir(parents=True)
        np.save(tmp_path / "scans" / folder / "p1.npy", np.stack(planes))
    assert words in refusal(tmp_path / "scans", patient="(p[0-9]+)", pixel_mm=1.25, paired=True)


def disk(size: int = 64) -> Any:
    across = np.arange(size) - (size - 1) / 2
    return across[:, None] ** 2 + across**2 <= (size / 2) ** 2


@pytest.mark.parametrize(
    "habits",
    [
        {"PixelPaddingValue": -2000, "RescaleIntercept": -1024},  # GE
        {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990},
        {"PixelPaddingValue": 63536 - 65536},
        {},  # no tag
    ],
)
@pytest.mark.parametrize("bits", [(16, 1), (16, 0), (12, 1)])
def test_padding_becomes_air_of_the_scanner(tmp_path: Path, habits: dict[str, Any], bits: tuple[int, int]) -> None:
    """Signed or stored as unsigned, with or without the tag; of 12 bits, padding has its sign in all 16."""
    hus = [np.where(disk(), np.clip(anatomy(plane=plane, noise=9), -1024, 1000), 0) for plane in range(3)]
    stored = [np.where(disk(), hu + 1024, -2000) for hu in hus]
    if habits and bits[1] == 0:
        habits = {**habits, "PixelPaddingValue": 63536}
        habits.pop("PixelPaddingRangeLimit", None)
    for number, folder in enumerate(NOISY, start=1):
        for plane, values in enumerate(stored):
            image = ct(
                hus[plane],
                z=plane,
                series=str(number),
                BitsStored=bits[0],
                HighBit=bits[0] - 1,
                PixelRepresentation=bits[1],
                PixelData=(values & 0xFFFF).astype("<u2").tobytes(),
                **habits,
            )
            save(image, tmp_path / "scans" / folder / f"{plane}.dcm")
    found, data = imported(tmp_path / "scans")
    assert found.report.patients[0].padded == 2 * 3 * int((~disk()).sum())
    right = [np.where(disk(), hu, -1024) for hu in hus]
    assert_right(data, {"ldct": right, "ndct": right})


def test_noise_that_has_the_value_of_a_corner_is_no_padding(tmp_path: Path) -> None:
    """Of many pixels on a border, some have any value that noise has."""
    hus = [np.clip(anatomy(plane=plane, noise=40), -1024, None) for plane in range(3)]
    for hu in hus:
        hu[0, ::3] = -1060
    for number, folder in enumerate(NOISY, start=1):
        for plane, hu in enumerate(hus):
            save(ct(hu, z=plane, series=str(number)), tmp_path / "scans" / folder / f"{plane}.dcm")
    found, data = imported(tmp_path / "scans", paired=True)
    assert found.report.patients[0].padded == 0
    assert_right(data, {"ldct": hus, "ndct": hus})


def test_padding_is_found_where_a_table_covers_a_corner(tmp_path: Path) -> None:
    outside = ~disk()
    hu = np.where(outside, -3024, np.clip(anatomy(noise=9), -1024, 1000))
    hu[-12:, :12] = -200
    made = pairs(tmp_path / "scans", [hu])
    _, data = imported(tmp_path / "scans", paired=True)
    right = np.where(hu == -3024, -1024, hu)
    assert_right(data, {folder: [right] for folder in made})


def test_signed_values_of_12_bits_without_their_sign_in_the_unused_bits(tmp_path: Path) -> None:
    made = {folder: [np.clip(anatomy(plane=plane, noise=9), -1024, 1000)] * 1 for plane, folder in enumerate(NOISY)}
    for number, folder in enumerate(NOISY, start=1):
        hu = made[folder][0]
        image = ct(
            hu,
            series=str(number),
            RescaleIntercept=0,
            BitsStored=12,
            HighBit=11,
            PixelData=(hu & 0x0FFF).astype("<u2").tobytes(),
        )
        save(image, tmp_path / "scans" / folder / "1.dcm")
    _, data = imported(tmp_path / "scans", paired=True)
    assert_right(data, made)


def test_signed_values_stored_as_unsigned_are_refused(tmp_path: Path) -> None:
    pairs(tmp_path / "scans", PixelRepresentation=0, RescaleIntercept=0)
    assert "signed values stored as unsigned" in refusal(tmp_path / "scans")


def test_monochrome1_does_not_invert_hu(tmp_path: Path) -> None:
    made = pairs(tmp_path / "scans", PhotometricInterpretation="MONOCHROME1")
    found, data = imported(tmp_path / "scans")
    assert_right(data, made)
    assert any("MONOCHROME1" in note for note in found.report.patients[0].notes)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("signed", [0, 1])
def test_compressed_pixels_are_those_that_were_compressed(tmp_path: Path, syntax: str, signed: int) -> None:
    hus = [np.clip(anatomy(plane=plane, noise=9), -1024, 1000) for plane in range(2)]
    intercept = 0 if signed else -1024
    for number, (folder, hu) in enumerate(itertools.product(NOISY, hus)):
        image = ct(
            hu,
            z=number % 2,
            series=str(number // 2 + 1),
            PixelRepresentation=signed,
            RescaleIntercept=intercept,
            PixelData=((hu - intercept) & 0xFFFF).astype("<u2").tobytes(),
        )
        image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        image.compress(syntax, generate_instance_uid=False)
        save(image, tmp_path / "scans" / folder / f"{number}.dcm", syntax=syntax)
    _, data = imported(tmp_path / "scans", paired=True)
    assert_right(data, {"ldct": hus, "ndct": hus})


@pytest.mark.parametrize("stated", [0, 1])
def test_a_sign_in_jpeg_2000_that_the_header_denies(tmp_path: Path, stated: int) -> None:
    """The codestream's own sign decides what the values are: signed ones come out signed if the header says so."""
    hu = np.clip(anatomy(noise=9), -1024, 1000)
    for number, folder in enumerate(NOISY, start=1):
        image = ct(hu, series=str(number), RescaleIntercept=0, PixelRepresentation=1 - stated)
        if stated:  # unsigned codestream of values that are negative in the header's eyes
            image.PixelData = (hu & 0xFFFF).astype("<u2").tobytes()
        image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        image.compress(JPEG2000Lossless, generate_instance_uid=False)
        image.PixelRepresentation = stated
        save(image, tmp_path / "scans" / folder / "1.dcm", syntax=JPEG2000Lossless)
    if stated:
        _, data = imported(tmp_path / "scans", paired=True)
        assert_right(data, {"ldct": [hu], "ndct": [hu]})
    else:
        assert "signed values stored as unsigned" in refusal(tmp_path / "scans", paired=True)


def test_a_missing_decoder_is_named(tmp_path: Path) -> None:
    pairs(tmp_path / "scans")
    for path in tmp_path.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    decoder = get_decoder(JPEGLosslessSV1)
    decoder.remove_plugin("gdcm")
    try:
        said = refusal(tmp_path / "scans")
    finally:
        decoder.add_plugin("gdcm", ("pydicom.pixels.decoders.gdcm", "_decode_frame"))
    assert "whose decoder is missing: pip install" in said
    assert "python-gdcm" in said
    assert "cannot be read" in refusal(tmp_path / "scans")  # with the decoder, what is no JPEG


def test_a_tilted_gantry_is_said_and_nothing_is_sheared(tmp_path: Path) -> None:
    tilt = np.deg2rad(12)
    made = pairs(tmp_path / "scans", ImageOrientationPatient=[1, 0, 0, 0, float(np.cos(tilt)), float(np.sin(tilt))])
    found, data = imported(tmp_path / "scans")
    assert_right(data, made)
    assert any("tilted by 12.0 degrees" in note for note in found.report.patients[0].notes)


def test_another_direction_is_refused(tmp_path: Path) -> None:
    pairs(tmp_path / "scans", ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    assert "is no axial plane" in refusal(tmp_path / "scans")


def test_missing_planes_are_said_and_not_filled(tmp_path: Path) -> None:
    low, _ = study(tmp_path / "scans", planes=6)
    for path in (tmp_path / "scans").rglob("*.IMA"):
        if pydicom.dcmread(path).ImagePositionPatient[2] in (12, 13):
            path.unlink()
    found, data = imported(tmp_path / "scans")
    assert found.report.patients[0].notes == ("2 planes missing between others (1 mm apart)",)
    cases = read_json(data / "dataset.json", ScansFile).cases
    assert [case.position_mm for case in cases] == [10, 11, 14, 15]
    assert np.array_equal(hu_of(data, "lq", cases[2].name), low[4])


def test_a_multi_frame_file_has_the_facts_of_each_frame(tmp_path: Path) -> None:
    made = {folder: [anatomy(plane=plane, noise=noise) for plane in range(4)] for folder, noise in NOISY.items()}
    for number, (folder, hus) in enumerate(made.items(), start=1):
        places = [3.0, 1.0, 2.0, 0.0]
        save(multi_frame(hus, places=places, series=str(number)), tmp_path / "scans" / folder / "all.dcm")
    _, data = imported(tmp_path / "scans")
    assert_right(data, {folder: [hus[at] for at in (3, 1, 2, 0)] for folder, hus in made.items()}, within=1)
    assert [case.kvp for case in read_json(data / "dataset.json", ScansFile).cases] == [100] * 4
