"""Segmentation against the phantom's truth, and on real slices where they are at hand."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image

from harness.imaging import denoise
from harness.imaging.blend import label
from harness.imaging.masks import common_mask, remove_background
from harness.imaging.regions import Code, consensus, shrink
from harness.imaging.segment import find_body, lung_left_outside, segment
from harness.phantom import PhantomSlice, View, make_patient, scan_slice
from tests.imaging.thin_wall import cut_wall

_REAL = Path(__file__).parents[3] / "shared" / "data" / "ct"
_FILES = ["xcist_018.png", "xcist_046.png", "A0001_25_B.png", "A0002_06_B40f.png", "A0002_18_B40f.png"]


@cache
def _scan(patient: int, level: float, view: View, size: int = 256) -> PhantomSlice:
    return scan_slice(make_patient(2602, patient, view=view), level, size=size, dose=0.02)


@cache
def _full_size() -> list[tuple[PhantomSlice, NDArray[np.uint8]]]:
    """Six patients at other heights and in other views, 512 x 512, with their denoised low-dose slices."""
    views: tuple[View, ...] = ("full", "tight", "table-across", "closed-cavity", "full", "full")
    levels = (0.25, 0.35, 0.45, 0.55, 0.4, 0.62)
    scans = [_scan(patient, *where, size=512) for patient, where in enumerate(zip(levels, views, strict=True))]
    return [(scan, denoise.load("nlm")(scan.lq)) for scan in scans]


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def _inside(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.isin(codes, [Code.BODY, Code.LUNG, Code.NODULE, Code.GAS])


def _lung(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.isin(codes, [Code.LUNG, Code.NODULE])


@pytest.mark.parametrize("known", [True, False], ids=["known window", "unknown window"])
@pytest.mark.parametrize(
    ("patient", "level", "view"),
    [(0, 0.3, "full"), (1, 0.6, "full"), (0, 0.35, "tight"), (1, 0.35, "table-across"), (1, 0.65, "closed-cavity")],
)
def test_regions_of_a_noisy_slice_match_the_truth(patient: int, level: float, view: View, known: bool) -> None:
    scan = _scan(patient, level, view)
    quiet = denoise.load("nlm")(scan.lq)
    window, pixel = (scan.window_hu, scan.pixel_mm) if known else (None, None)
    codes = segment(quiet, window_hu=window, pixel_mm=pixel)
    assert _dice(_lung(codes), _lung(scan.regions)) > 0.97
    assert _dice(_inside(codes), _inside(scan.regions)) > 0.99


@pytest.mark.parametrize("known", [True, False], ids=["known window", "unknown window"])
def test_regions_match_the_truth_on_average_over_patients(known: bool) -> None:
    """What the benchmark promises, at its own size. Measured over 42 slices: 0.987 and 0.996 (see segment.py)."""
    lung, inside = [], []
    for scan, quiet in _full_size():
        window, pixel = (scan.window_hu, scan.pixel_mm) if known else (None, None)
        codes = segment(quiet, window_hu=window, pixel_mm=pixel)
        lung.append(_dice(_lung(codes), _lung(scan.regions)))
        inside.append(_dice(_inside(codes), _inside(scan.regions)))
    assert np.mean(lung) >= 0.98
    assert np.mean(inside) >= 0.995


def test_a_chest_wall_of_few_millimetres_keeps_the_lung_in() -> None:
    """The opening that parts patient and table takes it away; a gap of 30 mm cannot be sealed, and is told."""
    # Not patient 0: what is left of its wall closes even the gap of 30 mm (of eight patients, two are like that).
    for wall_mm, gap_mm, sealed in ((4, 0, True), (4, 6, True), (8, 30, False)):
        pair = cut_wall(_scan(1, 0.5, "full"), wall_mm=wall_mm, gap_mm=gap_mm)
        window, pixel = pair.window_hu, pair.pixel_mm
        body = find_body(pair.truth, window_hu=window, pixel_mm=pixel)
        outside = lung_left_outside(pair.truth, body, window_hu=window, pixel_mm=pixel)
        lung = pair.regions == Code.LUNG
        assert (body[lung].mean() > 0.99) == sealed
        assert outside.any() == (not sealed)
        assert (outside & lung).sum() >= 0.95 * outside.sum()
        codes = segment(pair.truth, window_hu=window, pixel_mm=pixel)
        np.testing.assert_array_equal(_inside(codes), body)


def test_no_body_has_nothing_beside_it() -> None:
    with pytest.raises(ValueError, match="expected a body, found an empty mask"):
        empty = np.zeros((16, 16), np.uint8)
        lung_left_outside(empty, np.zeros((16, 16), bool), window_hu=None, pixel_mm=1)


def test_consensus_regions_hold_what_they_are_named_after() -> None:
    scan = _scan(0, 0.3, "full")
    quiet = denoise.load("nlm")(scan.lq)
    mask = remove_background(common_mask(scan.lq, scan.gt))
    codes, fraction = consensus(
        *(
            segment(image, window_hu=scan.window_hu, pixel_mm=scan.pixel_mm)
            for image in (label("ipv2", mask, low=scan.lq, normal=scan.gt, weak=quiet), quiet)
        )
    )
    assert fraction > 0.95
    found, truth = shrink(codes), shrink(scan.regions)
    for name, code in (("background", Code.AIR), ("body", Code.BODY), ("lung", Code.LUNG)):
        assert (scan.regions[found[name]] == code).mean() > 0.97
        assert (found[name] & truth[name]).sum() / truth[name].sum() > 0.9


def test_padding_outside_the_round_field_of_view_is_known() -> None:
    codes = segment(_scan(0, 0.3, "full").gt, window_hu=None, pixel_mm=None)
    assert codes[0, 0] == codes[-1, -1] == Code.PADDING
    assert codes[128, 0] != Code.PADDING
    assert not (segment(_scan(0, 0.35, "tight").lq, window_hu=None, pixel_mm=None) == Code.PADDING).any()


@settings(max_examples=25)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=48)))
def test_any_image_gets_a_map_of_its_shape(image: NDArray[np.uint8]) -> None:
    for pixel_mm in (None, 0.7):
        codes = segment(image, window_hu=None, pixel_mm=pixel_mm)
        assert codes.shape == image.shape
        assert codes.dtype == np.uint8
        assert codes.max() < Code.UNASSIGNED


@pytest.mark.parametrize("name", _FILES)
def test_a_real_slice_is_segmented_alike_in_two_unknown_windows(name: str) -> None:
    """Soft and lung window without their HU: the same lungs, two of them, of a plausible size."""
    if not (_REAL / name).is_file():
        pytest.skip("no real slices beside the project")
    with (_REAL / "manifest.csv").open() as file:
        pixel_mm = next(float(row["px"]) for row in csv.DictReader(file) if row["file"] == name)
    hu = np.asarray(Image.open(_REAL / name)).astype(float) - 1024
    wide, lung = (
        segment(_grey(hu, low, high), window_hu=None, pixel_mm=pixel_mm) == Code.LUNG
        for low, high in ((-1024, 1200), (-1350, 150))
    )
    assert _dice(wide, lung) > 0.98
    # both lungs of an adult cover 80 to 450 cm2 of an axial slice between apex and dome
    assert 80 < wide.sum() * pixel_mm**2 / 100 < 450
    middle = wide.shape[1] // 2
    assert min(wide[:, :middle].sum(), wide[:, middle:].sum()) > 0.25 * wide.sum()


def _grey(hu: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.clip(np.rint((hu - low) / (high - low) * 255), 0, 255).astype(np.uint8)
    return grey
