"""The recipes of abdomen and head against ellipses whose tissues are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from benchmarks.abdomen import DOSE, WIDE_MM, draw, scan
from harness.imaging import denoise
from harness.imaging.anatomy import ANATOMIES, Anatomy, region_map
from harness.imaging.hounsfield import grey
from harness.imaging.regions import Code, consensus, shrink
from harness.imaging.segment import segment
from harness.phantom.shapes import coverage, ellipse
from tests.chest import chest_pair

Grey = NDArray[np.uint8]
WINDOW = (-1024.0, 1200.0)
SIZE = 192
HEAD_MM = 240.0
INSIDE = {
    "background": [Code.AIR],
    "body": [Code.BODY, Code.SOFT, Code.FAT, Code.BONE, Code.BRAIN],
    "soft": [Code.SOFT],
    "fat": [Code.FAT],
    "bone": [Code.BONE],
    "gas": [Code.GAS],
    "brain": [Code.BRAIN],
}


def abdomen_map(hu: NDArray[np.float32]) -> Grey:
    """The region map of a plane as labels get it: what normal-dose slice and denoised low-dose slice agree on."""
    low, normal = (grey(scan(hu, dose=dose, numbers=(1, seed)), WINDOW) for seed, dose in enumerate((DOSE, 1.0)))
    maps = (
        region_map(image, "abdomen", window_hu=WINDOW, pixel_mm=WIDE_MM / len(hu))
        for image in (normal, denoise.load("nlm")(low))
    )
    return consensus(*maps)[0]


@pytest.mark.parametrize("patient", [0, 2])
def test_tissues_of_an_abdomen_are_told_apart(patient: int) -> None:
    """Enhanced kidneys and aorta are no bone, and marrow is."""
    hu, codes = draw(patient, 1, size=SIZE)
    found, truth = shrink(abdomen_map(hu)), shrink(codes)
    for name in ("background", "body", "soft", "fat", "bone", "gas"):
        assert np.isin(codes[found[name]], INSIDE[name]).mean() > 0.99, name
        assert (found[name] & truth[name]).sum() > 0.85 * truth[name].sum(), name
    assert not found["brain"].any()
    assert not found["lung"].any()


def test_lung_above_the_diaphragm_is_neither_gas_nor_tissue() -> None:
    hu, codes = draw(0, 0, size=SIZE)
    along = ((np.arange(SIZE) - (SIZE - 1) / 2) * WIDE_MM / SIZE).astype(np.float32)
    base = coverage(ellipse(*np.meshgrid(along, along), (-70, 20), (35, 30)), WIDE_MM / SIZE)
    hu += (np.float32(-820) - hu) * base
    found = abdomen_map(hu)
    assert (found[base == 1] == Code.LUNG).mean() > 0.9
    assert (found[codes == Code.GAS] == Code.GAS).mean() > 0.8


def head(*, gap_mm: float = 0.0, skull: bool = True) -> tuple[Grey, Grey]:
    """A head in grey levels, and its region map: scalp, skull with a gap in front, brain with ventricles, a sinus."""
    pixel_mm = HEAD_MM / SIZE
    along = ((np.arange(SIZE) - (SIZE - 1) / 2) * pixel_mm).astype(np.float32)
    x, y = np.meshgrid(along, along)
    hu = np.full((SIZE, SIZE), -1000, np.float32)
    codes = np.full((SIZE, SIZE), Code.AIR, np.uint8)

    def paint(radii: tuple[float, float], value: float, code: Code, centre: tuple[float, float] = (0, 0)) -> None:
        share = coverage(ellipse(x, y, centre, radii), pixel_mm)
        hu[:] += (np.float32(value) - hu) * share
        codes[share > 0.5] = code

    paint((80, 98), 40, Code.SOFT)
    if skull:
        paint((74, 92), 900, Code.BONE)
        paint((68, 86), 35, Code.BRAIN)
        paint((8, 20), 5, Code.BRAIN)
        if gap_mm:
            where = (np.abs(x) < gap_mm / 2) & (y < -80) & (y > -95)
            hu[where], codes[where] = 40, Code.SOFT
        paint((22, 14), 900, Code.BONE, (0, 76))
        paint((14, 8), -1000, Code.GAS, (0, 76))
    noise = np.random.default_rng(3).normal(0, 6, hu.shape)
    return np.clip(np.rint((hu + noise + 1024) * 255 / 2224), 0, 255).astype(np.uint8), codes


@pytest.mark.parametrize("gap_mm", [0, 6])
def test_brain_is_what_the_skull_encloses(gap_mm: float) -> None:
    image, codes = head(gap_mm=gap_mm)
    found = shrink(region_map(image, "head", window_hu=WINDOW, pixel_mm=HEAD_MM / SIZE))
    for name in ("brain", "bone", "gas"):
        assert np.isin(codes[found[name]], INSIDE[name]).mean() > 0.99, name
        assert (found[name] & shrink(codes)[name]).sum() > 0.8 * shrink(codes)[name].sum(), name


def test_below_the_skull_there_is_soft_tissue_and_no_brain() -> None:
    image, _ = head(skull=False)
    found = shrink(region_map(image, "head", window_hu=WINDOW, pixel_mm=HEAD_MM / SIZE))
    assert not found["brain"].any()
    assert found["soft"].sum() > 0.9 * found["body"].sum() > 0


def test_a_chest_is_what_it_was() -> None:
    image = chest_pair(patient=1)[1]
    for window_hu in (WINDOW, None):
        np.testing.assert_array_equal(
            region_map(image, "chest", window_hu=window_hu, pixel_mm=6.0),
            segment(image, window_hu=window_hu, pixel_mm=6.0),
        )


@settings(max_examples=20)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=48)))
def test_any_image_gets_a_map_of_the_regions_that_its_anatomy_has(image: Grey) -> None:
    others: tuple[Anatomy, ...] = ("abdomen", "head")
    for anatomy in others:
        codes = region_map(image, anatomy, window_hu=None, pixel_mm=None)
        assert codes.shape == image.shape
        assert codes.dtype == np.uint8
        there = {name for name, mask in shrink(codes).items() if mask.any()} - {"lung"}  # found, to be left out
        assert there <= set(ANATOMIES[anatomy].regions)
