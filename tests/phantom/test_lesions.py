from __future__ import annotations

import math
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.imaging.lesion import Lesion, Site, roi_half
from harness.imaging.regions import Code
from harness.phantom import Patient, make_patient, scan_slice
from harness.phantom.lesions import (
    CLEARANCE_MM,
    DENSE_HU,
    EDGE_MM,
    LesionScans,
    choose_sites,
    paint_lesions,
    scan_lesions,
    section,
)
from harness.phantom.scan import Plane, cut, field_of_view

SEED, SIZE, LEVEL = 2602, 256, 0.45
HU_PER_GREY = 2224 / 255
LESIONS = (Lesion(diameter_mm=4, contrast_hu=300), Lesion(diameter_mm=8, contrast_hu=200))


@pytest.fixture(scope="module")
def plane(patient: Patient) -> Plane:
    return cut(patient, LEVEL, patient.low_dose_breath, size=SIZE)


@pytest.fixture(scope="module")
def scans(patient: Patient) -> LesionScans:
    return scan_lesions(patient, LEVEL, size=SIZE, dose=0.02, lesions=LESIONS, most=8)


def placed(
    patient: Patient, plane: Plane, *, lesions: tuple[Lesion, ...] = LESIONS, most: int = 99
) -> tuple[Site, ...]:
    return choose_sites(patient, LEVEL, plane, size=SIZE, lesions=lesions, most=most)


# -------------------------------------------------------------------------------- sites
@pytest.mark.parametrize(("index", "view", "level"), [(0, "full", 0.45), (1, "tight", 0.3), (4, "full", 0.7)])
def test_sites_keep_their_distances(index: int, view: str, level: float) -> None:
    person = make_patient(SEED, index, view=view)  # type: ignore[arg-type]
    found = cut(person, level, person.low_dose_breath, size=SIZE)
    sites = choose_sites(person, level, found, size=SIZE, lesions=LESIONS, most=99)
    assert len(sites) >= 5
    border, pixel_mm = (len(found.hu) - SIZE) // 2, person.anatomy.fov_mm / SIZE
    clear = (found.regions == Code.LUNG) & (found.hu < DENSE_HU)
    rows, columns = np.nonzero(~clear)
    half = roi_half(SIZE)
    for site in sites:
        away = np.hypot(rows - border - site.row, columns - border - site.column) * pixel_mm
        assert away.min() > 4 + CLEARANCE_MM  # the larger lesion's radius and what is kept clear around it
        assert half <= min(site.row, site.column)
        assert max(site.row, site.column) < SIZE - half
        assert field_of_view(person, SIZE)[site.row, site.column]
    for number, one in enumerate(sites):
        for other in sites[:number]:
            assert max(abs(one.row - other.row), abs(one.column - other.column)) > 2 * half


def test_conditions_come_in_turn(patient: Patient, plane: Plane) -> None:
    four = (*LESIONS, Lesion(diameter_mm=3, contrast_hu=50), Lesion(diameter_mm=2, contrast_hu=-80))
    sites = placed(patient, plane, lesions=four)
    counts = Counter(site.condition for site in sites)
    assert set(counts) == {0, 1, 2, 3}
    assert max(counts.values()) - min(counts.values()) <= 1
    starts = {
        choose_sites(patient, level, plane, size=SIZE, lesions=four, most=1)[0].condition
        for level in np.linspace(0.3, 0.6, 20)
    }
    assert starts == {0, 1, 2, 3}  # otherwise planes with few sites would favour the first ones


def test_sites_are_the_same_on_every_call_and_fewer_are_the_first_ones(patient: Patient, plane: Plane) -> None:
    sites = placed(patient, plane)
    assert placed(pickle.loads(pickle.dumps(patient)), plane) == sites
    for most in (0, 1, 4):
        assert placed(patient, plane, most=most) == sites[:most]
    elsewhere = choose_sites(patient, LEVEL + 1e-3, plane, size=SIZE, lesions=LESIONS, most=99)
    assert elsewhere != sites


def test_places_do_not_depend_on_contrasts(patient: Patient, plane: Plane) -> None:
    """Only on the number of conditions and on the largest lesion: all conditions have the same surroundings."""
    fainter = tuple(Lesion(diameter_mm=lesion.diameter_mm, contrast_hu=20) for lesion in LESIONS)
    assert placed(patient, plane, lesions=fainter) == placed(patient, plane)


def test_a_plane_without_room_has_no_sites(patient: Patient, plane: Plane) -> None:
    assert placed(patient, plane, lesions=(Lesion(diameter_mm=120, contrast_hu=50),)) == ()


@pytest.mark.parametrize(
    "wrong", [(), (Lesion(diameter_mm=0, contrast_hu=9),), (Lesion(diameter_mm=9, contrast_hu=0),)]
)
def test_lesions_that_are_none_are_refused(patient: Patient, plane: Plane, wrong: tuple[Lesion, ...]) -> None:
    with pytest.raises(ValueError, match="expected lesions"):
        placed(patient, plane, lesions=wrong)


# -------------------------------------------------------------------------------- sections
@given(diameter=st.floats(1.5, 12), contrast=st.floats(-300, 800).filter(bool), pixel_mm=st.floats(0.3, 1.0))
@settings(max_examples=25)
def test_a_section_has_the_stated_contrast_and_area(diameter: float, contrast: float, pixel_mm: float) -> None:
    """Integral of a disk whose edge falls linearly over e: pi (R^2 + e^2 / 12) times the contrast, for R >= e / 2."""
    found = section(Lesion(diameter_mm=diameter, contrast_hu=contrast), pixel_mm=pixel_mm)
    area = math.pi * (diameter**2 / 4 + EDGE_MM**2 / 12)
    assert found.sum() * pixel_mm**2 == pytest.approx(contrast * area, rel=0.02)
    assert not np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]]).any()
    for turned in (found.T, found[::-1], found[:, ::-1]):
        np.testing.assert_allclose(turned, found, rtol=1e-5, atol=1e-4)
    middle = found[len(found) // 2, len(found) // 2]
    if diameter / 2 > EDGE_MM / 2 + pixel_mm:
        assert middle == pytest.approx(contrast, rel=1e-5)
    assert (np.abs(found) <= abs(middle) * (1 + 1e-5)).all()


@pytest.mark.parametrize("diameter", [2.0, 5.0, 8.0])
def test_half_of_the_contrast_is_left_at_the_radius(diameter: float) -> None:
    found = section(Lesion(diameter_mm=diameter, contrast_hu=100), pixel_mm=0.05)
    assert (found > 50).sum() * 0.05**2 == pytest.approx(math.pi * diameter**2 / 4, rel=0.01)
    along = found[len(found) // 2]
    assert (along > 50).sum() * 0.05 == pytest.approx(diameter, abs=0.06)


def test_lesions_are_painted_at_their_sites_and_nowhere_else(patient: Patient, plane: Plane) -> None:
    sites = placed(patient, plane)
    pixel_mm, border = patient.anatomy.fov_mm / SIZE, (len(plane.hu) - SIZE) // 2
    before = plane.hu.copy()
    painted = paint_lesions(plane.hu, sites, LESIONS, size=SIZE, pixel_mm=pixel_mm)
    np.testing.assert_array_equal(plane.hu, before)
    added = painted - plane.hu
    for site in sites:
        row, column = site.row + border, site.column + border
        assert added[row, column] == pytest.approx(LESIONS[site.condition].contrast_hu, abs=0.01)
        added[row - 6 : row + 7, column - 6 : column + 7] = 0
    assert not added.any()


# -------------------------------------------------------------------------------- scans
def test_the_scan_without_lesions_is_that_of_every_plane(patient: Patient, scans: LesionScans) -> None:
    ordinary = scan_slice(patient, LEVEL, size=SIZE, dose=0.02)
    for name in ("gt", "lq", "truth", "aligned_gt", "regions"):
        np.testing.assert_array_equal(getattr(scans.absent, name), getattr(ordinary, name))
    for name in ("gt", "regions"):
        np.testing.assert_array_equal(getattr(scans.present, name), getattr(ordinary, name))


def test_the_scan_with_lesions_shows_them(scans: LesionScans) -> None:
    """Of the noise-free difference: the lesions' integrals at their sites, nothing elsewhere."""
    added = (scans.present.truth.astype(float) - scans.absent.truth) * HU_PER_GREY
    pixel_mm, half = scans.absent.pixel_mm, roi_half(SIZE)
    assert len(scans.sites) == 8
    for site in scans.sites:
        lesion = LESIONS[site.condition]
        box = slice(site.row - half, site.row + half + 1), slice(site.column - half, site.column + half + 1)
        area = math.pi * (lesion.diameter_mm**2 / 4 + EDGE_MM**2 / 12)
        assert added[box].sum() * pixel_mm**2 == pytest.approx(lesion.contrast_hu * area, rel=0.2)
        added[box] = 0
    assert np.abs(added).max() < 2.5 * HU_PER_GREY  # two steps of rounding and a faint streak


def test_the_noise_of_both_scans_is_alike_and_independent(scans: LesionScans) -> None:
    lung = scans.absent.regions == Code.LUNG
    absent, present = (
        (scan.lq.astype(float) - scan.truth)[lung] * HU_PER_GREY for scan in (scans.absent, scans.present)
    )
    assert present.std() == pytest.approx(absent.std(), rel=0.05)
    assert abs(np.corrcoef(absent, present)[0, 1]) < 0.05
    dose = scans.present.aligned_gt.astype(float) - scans.present.truth
    assert dose[lung].std() * HU_PER_GREY < 0.3 * present.std()
    assert (scans.present.aligned_gt != scans.absent.aligned_gt).any()
